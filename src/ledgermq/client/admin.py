"""Topics, routes and single messages: what an operator asks first (Java: ``MQAdminImpl``, ``mqadmin``)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, Self

import msgspec

from ledgermq.client.errors import BrokerNotFoundError, ClientError, TopicNotFoundError
from ledgermq.client.names import check_topic
from ledgermq.client.queues import MessageQueue
from ledgermq.client.session import Session
from ledgermq.message.ids import parse_offset_message_id
from ledgermq.message.model import MessageExt, decode_messages
from ledgermq.message.record import RecordError
from ledgermq.remoting.broker_headers import CreateTopic, QueryMessage, ViewMessage
from ledgermq.remoting.codes import RequestCode, ResponseCode
from ledgermq.remoting.command import Command
from ledgermq.remoting.headers import Topic, request
from ledgermq.remoting.json_body import JsonError, T, decode_json, decode_object_map, parse_json
from ledgermq.remoting.nameserver_headers import DeleteTopicOfCluster
from ledgermq.remoting.route_data import (
    MASTER_ID,
    BrokerData,
    ClusterInfo,
    KvTable,
    TopicList,
    TopicRouteData,
)
from ledgermq.remoting.topic_config import PERM_READ, PERM_WRITE

TIMEOUT_MS: Final = 6000
_TIME_MAX: Final = 2**63 - 1
_UNIQUE_KEY_FLAG: Final = "_UNIQUE_KEY_QUERY"
"""How brokers before 5.4 are told that a key is a unique key; later ones read the index type."""


class QueueOffsets(msgspec.Struct, rename="camel"):
    """What one queue holds: offsets from ``min_offset`` up to, not including, ``max_offset``."""

    min_offset: int
    max_offset: int
    last_update_timestamp: int
    """When the last message was stored, in ms; 0 when there is none."""


class AdminClient:
    """Administration calls.

    ```python
    async with AdminClient("127.0.0.1:9876") as admin:
        await admin.create_topic("orders", queue_count=8)
        print(await admin.topic_status("orders"))
    ```
    All calls raise ClientError: BrokerError when a server refuses, UnreachableError, RequestTimeoutError.
    """

    def __init__(self, name_servers: str | Sequence[str]) -> None:
        self._session = Session(name_servers)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Reach a name server. Raises UnreachableError."""
        await self._session.open()

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    # ---- topics ----

    async def topics(self) -> list[str]:
        """All topics that the name server knows, sorted; system and retry topics too."""
        answer = await self._ask_name_server(request(RequestCode.GET_ALL_TOPIC_LIST_FROM_NAMESERVER))
        return sorted(_decode(TopicList, answer).topic_list)

    async def cluster(self) -> ClusterInfo:
        """All brokers, and which cluster they are of."""
        answer = await self._ask_name_server(request(RequestCode.GET_BROKER_CLUSTER_INFO))
        return _decode(ClusterInfo, answer)

    async def broker_info(self, address: str, *, timeout_ms: int = TIMEOUT_MS) -> dict[str, str]:
        """What the broker at ``address`` says of itself (``mqadmin brokerStatus``)."""
        command = request(RequestCode.GET_BROKER_RUNTIME_INFO)
        self._session.check_open()
        answer = await self._session.connections.ask(address, command, timeout_ms)
        return _decode(KvTable, answer, f"of broker {address}").table

    async def route(self, topic: str) -> TopicRouteData:
        """Where ``topic`` is. Raises TopicNotFoundError."""
        self._session.check_open()
        return await self._session.routes.refresh(topic)

    async def create_topic(
        self,
        topic: str,
        *,
        queue_count: int = 8,
        perm: int = PERM_READ | PERM_WRITE,
        cluster: str | None = None,
        ordered: bool = False,
        attributes: Mapping[str, str] | None = None,
    ) -> list[str]:
        """Create ``topic`` with ``queue_count`` queues on each master, or change it; the masters' addresses.

        ``cluster`` limits it to one cluster's brokers. ``attributes`` are ``{"+name": "value"}`` to set and
        ``{"-name": ""}`` to remove. Raises IllegalNameError; BrokerNotFoundError when there is no master.
        """
        check_topic(topic)
        header = CreateTopic(
            topic=topic,
            default_topic="TBW102",
            read_queue_nums=queue_count,
            write_queue_nums=queue_count,
            perm=perm,
            topic_sys_flag=0,
            order=ordered,
            attributes=_attribute_text(attributes or {}),
        )
        addresses = await self._masters(cluster)
        for address in addresses:
            await self._ask(address, request(RequestCode.UPDATE_AND_CREATE_TOPIC, header))
        return addresses

    async def delete_topic(self, topic: str, *, cluster: str | None = None) -> None:
        """Delete ``topic`` and its messages from every broker, and its route from every name server."""
        check_topic(topic)
        for address in await self._masters(cluster):
            await self._ask(address, request(RequestCode.DELETE_TOPIC_IN_BROKER, Topic(topic=topic)))
        header = DeleteTopicOfCluster(topic=topic, cluster_name=cluster)
        for address in self._session.name_servers.addresses:
            command = request(RequestCode.DELETE_TOPIC_IN_NAMESRV, header)
            await self._session.connections.ask(address, command, TIMEOUT_MS)

    async def topic_status(self, topic: str) -> dict[MessageQueue, QueueOffsets]:
        """What each queue of ``topic`` holds. Raises TopicNotFoundError."""
        status: dict[MessageQueue, QueueOffsets] = {}
        for broker in (await self.route(topic)).broker_datas:
            address = broker.broker_addrs[min(broker.broker_addrs)]
            answer = await self._ask(address, request(RequestCode.GET_TOPIC_STATS_INFO, Topic(topic=topic)))
            try:
                body = parse_json(answer.body)
                table = body.get("offsetTable") if isinstance(body, dict) else None
                status.update(decode_object_map(table, MessageQueue, QueueOffsets))
            except JsonError as error:
                raise ClientError(f"status of topic {topic} from {address} cannot be read: {error}") from None
        return dict(sorted(status.items()))

    # ---- messages ----

    async def message_by_id(self, topic: str, offset_message_id: str) -> MessageExt:
        """The message at the place that ``offset_message_id`` names.

        Raises MessageIdError when it is no such id; BrokerError when there is no message.
        """
        ip, port, offset = parse_offset_message_id(offset_message_id)
        address = f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
        command = request(RequestCode.VIEW_MESSAGE_BY_ID, ViewMessage(topic=topic, offset=offset))
        answer = await self._ask(address, command)
        messages = _messages(answer, await self._broker_name(topic, address), address)
        if len(messages) != 1:
            raise ClientError(f"{address} answered with {len(messages)} messages for id {offset_message_id}")
        return messages[0]

    async def messages_by_key(
        self, topic: str, key: str, *, count_max: int = 64, begin_ms: int = 0, end_ms: int = _TIME_MAX
    ) -> list[MessageExt]:
        """The messages of ``topic`` with the business key ``key``, stored between the two times, as stored.

        Raises TopicNotFoundError.
        """
        found = await self._query(topic, key, "K", count_max, begin_ms, end_ms)
        # The index knows the hash of topic and key alone, so strangers may be among them.
        return [message for message in found if message.topic == topic and key in message.keys]

    async def messages_by_unique_key(self, topic: str, unique_key: str) -> list[MessageExt]:
        """The messages of ``topic`` with this unique key: one, or more when a send was repeated."""
        found = await self._query(topic, unique_key, "U", 64, 0, _TIME_MAX)
        return [message for message in found if message.topic == topic and message.message_id == unique_key]

    async def _query(
        self, topic: str, key: str, index_type: str, count_max: int, begin_ms: int, end_ms: int
    ) -> list[MessageExt]:
        header = QueryMessage(
            topic=topic,
            key=key,
            max_num=count_max,
            begin_timestamp=begin_ms,
            end_timestamp=end_ms,
            index_type=index_type,
        )

        async def query(broker: BrokerData) -> list[MessageExt]:
            address = broker.broker_addrs[min(broker.broker_addrs)]
            command = request(RequestCode.QUERY_MESSAGE, header)
            command.ext[_UNIQUE_KEY_FLAG] = "true" if index_type == "U" else "false"
            answer = await self._ask(address, command, (ResponseCode.SUCCESS, ResponseCode.QUERY_NOT_FOUND))
            return _messages(answer, broker.broker_name, address)

        brokers = (await self.route(topic)).broker_datas
        found = await asyncio.gather(*(query(broker) for broker in brokers))
        messages = [message for part in found for message in part]
        return sorted(messages, key=lambda message: (message.store_timestamp_ms, message.log_offset))

    # ---- whom to ask ----

    async def _masters(self, cluster: str | None) -> list[str]:
        info = await self.cluster()
        if cluster is None:
            names = set(info.broker_addr_table)
        elif cluster in info.cluster_addr_table:
            names = set(info.cluster_addr_table[cluster])
        else:
            known = ", ".join(sorted(info.cluster_addr_table)) or "none"
            raise BrokerNotFoundError(f"cluster {cluster} does not exist; known clusters: {known}")
        masters = [
            data.broker_addrs[MASTER_ID]
            for name, data in sorted(info.broker_addr_table.items())
            if name in names and MASTER_ID in data.broker_addrs
        ]
        if not masters:
            raise BrokerNotFoundError(f"no master is registered{f' in cluster {cluster}' if cluster else ''}")
        return masters

    async def _broker_name(self, topic: str, address: str) -> str:
        """The name of the broker at ``address``, empty when the route of ``topic`` does not have it."""
        try:
            route = await self._session.routes.get(topic)
        except TopicNotFoundError:
            return ""
        names = [data.broker_name for data in route.broker_datas if address in data.broker_addrs.values()]
        return names[0] if names else ""

    async def _ask_name_server(self, command: Command) -> Command:
        self._session.check_open()
        return await self._session.name_servers.ask(lambda: command)

    async def _ask(
        self, address: str, command: Command, expected: Sequence[int] = (ResponseCode.SUCCESS,)
    ) -> Command:
        self._session.check_open()
        return await self._session.connections.ask(address, command, TIMEOUT_MS, expected)


def _attribute_text(attributes: Mapping[str, str]) -> str | None:
    parts = [name if name.startswith("-") else f"{name}={value}" for name, value in attributes.items()]
    return ",".join(parts) or None


def _decode(kind: type[T], answer: Command, who: str = "of the name server") -> T:
    try:
        return decode_json(kind, answer.body)
    except JsonError as error:
        raise ClientError(f"the answer {who} cannot be read: {error}") from None


def _messages(answer: Command, broker_name: str, address: str) -> list[MessageExt]:
    try:
        return decode_messages(answer.body, broker_name)
    except RecordError as error:
        raise ClientError(f"messages from {address} cannot be read: {error}") from None
