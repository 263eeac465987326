"""Where a topic lives: the name server's answer, and the queues to write to and to read from.

Source: Java's ``TopicRouteData`` and ``MQClientInstance.topicRouteData2TopicPublishInfo``.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ledgermq.client.errors import ClientError
from ledgermq.client.queues import MessageQueue

MASTER_ID: Final = 0
PERM_READ: Final = 4
PERM_WRITE: Final = 2


class QueueData(msgspec.Struct, rename="camel"):
    """How many queues of a topic one broker has; ``perm`` is the sum of PERM_READ, PERM_WRITE and others."""

    broker_name: str
    read_queue_nums: int
    write_queue_nums: int
    perm: int


class BrokerData(msgspec.Struct, rename="camel"):
    """The addresses of a broker and its slaves, by broker id; the master's is MASTER_ID."""

    broker_name: str
    broker_addrs: dict[int, str]
    cluster: str = ""


class Route(msgspec.Struct, rename="camel"):
    """One topic's route. ``order_topic_conf`` is ``broker:queues;…`` for topics with a fixed layout."""

    queue_datas: list[QueueData] = []
    broker_datas: list[BrokerData] = []
    order_topic_conf: str | None = None

    def address(self, broker_name: str, broker_id: int = MASTER_ID, *, or_any: bool = False) -> str | None:
        """The address of one member of a broker's group; any member's when it is missing and ``or_any``."""
        for broker in self.broker_datas:
            if broker.broker_name == broker_name:
                found = broker.broker_addrs.get(broker_id)
                if found is None and or_any and broker.broker_addrs:
                    found = broker.broker_addrs[min(broker.broker_addrs)]
                return found
        return None


def publish_queues(topic: str, route: Route) -> list[MessageQueue]:
    """The queues that a producer may write to: writable, and of brokers that have a master."""
    if route.order_topic_conf:
        return _ordered_queues(topic, route.order_topic_conf)
    return [
        MessageQueue(topic, data.broker_name, number)
        for data in sorted(route.queue_datas, key=lambda data: data.broker_name)
        if data.perm & PERM_WRITE and route.address(data.broker_name) is not None
        for number in range(data.write_queue_nums)
    ]


def subscribe_queues(topic: str, route: Route) -> list[MessageQueue]:
    """The queues that a consumer may read, in the order in which all clients see them."""
    return sorted(
        MessageQueue(topic, data.broker_name, number)
        for data in route.queue_datas
        if data.perm & PERM_READ
        for number in range(data.read_queue_nums)
    )


def limit_queues(route: Route, queue_count: int) -> Route:
    """``route`` with at most ``queue_count`` queues a broker, for a topic that is yet to be created."""
    datas = [
        QueueData(data.broker_name, count, count, data.perm)
        for data in route.queue_datas
        for count in [min(queue_count, data.read_queue_nums)]
    ]
    return Route(datas, route.broker_datas, route.order_topic_conf)


def _ordered_queues(topic: str, layout: str) -> list[MessageQueue]:
    queues: list[MessageQueue] = []
    for part in layout.split(";"):
        if not part:
            continue
        name, colon, count = part.partition(":")
        if not colon or not count.isdigit():
            raise ClientError(f"route of topic {topic}: order layout {layout!r} is not broker:queues;…")
        queues.extend(MessageQueue(topic, name, number) for number in range(int(count)))
    return queues
