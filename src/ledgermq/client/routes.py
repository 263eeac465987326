"""What a topic's route means: the queues to write to and to read from, and who answers for them.

Source: Java's ``MQClientInstance.topicRouteData2TopicPublishInfo`` and ``findBrokerAddressInSubscribe``.
"""

from __future__ import annotations

from ledgermq.client.errors import ClientError
from ledgermq.client.queues import MessageQueue
from ledgermq.remoting.route_data import MASTER_ID, QueueData, TopicRouteData
from ledgermq.remoting.topic_config import PERM_READ, PERM_WRITE


def broker_address(
    route: TopicRouteData, broker_name: str, broker_id: int = MASTER_ID, *, or_any: bool = False
) -> str | None:
    """The address of one member of a broker's group; any member's when it is missing and ``or_any``."""
    for broker in route.broker_datas:
        if broker.broker_name == broker_name:
            found = broker.broker_addrs.get(broker_id)
            if found is None and or_any and broker.broker_addrs:
                found = broker.broker_addrs[min(broker.broker_addrs)]
            return found
    return None


def broker_names(route: TopicRouteData) -> list[str]:
    """The brokers that have the topic, sorted."""
    return sorted(broker.broker_name for broker in route.broker_datas)


def publish_queues(topic: str, route: TopicRouteData) -> list[MessageQueue]:
    """The queues that a producer may write to: writable, and of brokers that have a master."""
    if route.order_topic_conf:
        return _ordered_queues(topic, route.order_topic_conf)
    _check_not_static(topic, route)
    return [
        MessageQueue(topic, data.broker_name, number)
        for data in sorted(route.queue_datas, key=lambda data: data.broker_name)
        if data.perm & PERM_WRITE and broker_address(route, data.broker_name) is not None
        for number in range(data.write_queue_nums)
    ]


def subscribe_queues(topic: str, route: TopicRouteData) -> list[MessageQueue]:
    """The queues that a consumer may read, in the order in which all clients see them."""
    _check_not_static(topic, route)
    return sorted(
        MessageQueue(topic, data.broker_name, number)
        for data in route.queue_datas
        if data.perm & PERM_READ
        for number in range(data.read_queue_nums)
    )


def limit_queues(route: TopicRouteData, queue_count: int) -> TopicRouteData:
    """``route`` with at most ``queue_count`` queues a broker, for a topic that is yet to be created."""
    datas: list[QueueData] = []
    for data in route.queue_datas:
        count = min(queue_count, data.read_queue_nums)
        datas.append(
            QueueData(
                broker_name=data.broker_name, perm=data.perm, read_queue_nums=count, write_queue_nums=count
            )
        )
    return TopicRouteData(broker_datas=route.broker_datas, queue_datas=datas)


def _check_not_static(topic: str, route: TopicRouteData) -> None:
    if route.topic_queue_mapping_by_broker:
        raise ClientError(f"topic {topic} is a static topic, which this client does not support")


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
