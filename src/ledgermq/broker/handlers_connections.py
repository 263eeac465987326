"""Who is connected, and who consumes what: GET_CONSUMER_CONNECTION_LIST, GET_PRODUCER_CONNECTION_LIST,
GET_ALL_PRODUCER_INFO, QUERY_TOPIC_CONSUME_BY_WHO, QUERY_TOPICS_BY_CONSUMER and
QUERY_SUBSCRIPTION_BY_CONSUMER."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from ledgermq.broker.clients import ClientRegistry, Member
from ledgermq.broker.heartbeat import SubscriptionData
from ledgermq.broker.offsets import OffsetTable
from ledgermq.message import names
from ledgermq.remoting.broker_headers import ConsumerGroup, Group, ProducerGroup, SubscriptionOfGroup
from ledgermq.remoting.codes import RequestCode, ResponseCode
from ledgermq.remoting.command import Command, PeerError
from ledgermq.remoting.connection import Connection, Handler
from ledgermq.remoting.headers import Topic, decode_header, json_response
from ledgermq.remoting.route_data import TopicList


class ConnectionInfo(msgspec.Struct, rename="camel"):
    """One client (Java: ``Connection``)."""

    client_addr: str
    client_id: str
    language: str
    version: int


class ConsumerConnection(msgspec.Struct, rename="camel"):
    """GET_CONSUMER_CONNECTION_LIST's answer."""

    connection_set: list[ConnectionInfo]
    consume_from_where: str
    consume_type: str
    message_model: str
    subscription_table: dict[str, SubscriptionData]


class ProducerConnection(msgspec.Struct, rename="camel"):
    """GET_PRODUCER_CONNECTION_LIST's answer."""

    connection_set: list[ConnectionInfo]


class ProducerInfo(msgspec.Struct, rename="camel"):
    """One producer in GET_ALL_PRODUCER_INFO's answer. The slash before the address is Java's."""

    client_id: str
    language: str
    last_update_timestamp: int
    remote_ip: str = msgspec.field(name="remoteIP")
    version: int


class ProducerTable(msgspec.Struct):
    """GET_ALL_PRODUCER_INFO's answer (Java: ``ProducerTableInfo``): group -> producers."""

    data: dict[str, list[ProducerInfo]]


class GroupList(msgspec.Struct, rename="camel"):
    """QUERY_TOPIC_CONSUME_BY_WHO's answer."""

    group_list: list[str]


class SubscriptionBody(msgspec.Struct, rename="camel", kw_only=True):
    """QUERY_SUBSCRIPTION_BY_CONSUMER's answer."""

    group: str
    subscription_data: SubscriptionData | UnsetType = UNSET
    topic: str


def _info(member: Member[Connection]) -> ConnectionInfo:
    client = member.client
    return ConnectionInfo(client.remote, client.client_id, client.language, client.version)


class ConnectionHandlers:
    """Handlers of questions about clients. ``broker_address`` is what clients are told."""

    def __init__(
        self, broker_address: str, clients: ClientRegistry[Connection], offsets: OffsetTable
    ) -> None:
        self._broker_address = broker_address
        self._clients = clients
        self._offsets = offsets

    def table(self) -> dict[int, Handler]:
        return {
            RequestCode.GET_CONSUMER_CONNECTION_LIST: self.list_consumers,
            RequestCode.GET_PRODUCER_CONNECTION_LIST: self.list_producers,
            RequestCode.GET_ALL_PRODUCER_INFO: self.list_all_producers,
            RequestCode.QUERY_TOPIC_CONSUME_BY_WHO: self.groups_of_topic,
            RequestCode.QUERY_TOPICS_BY_CONSUMER: self.topics_of_group,
            RequestCode.QUERY_SUBSCRIPTION_BY_CONSUMER: self.subscription,
        }

    def list_consumers(self, command: Command, connection: Connection) -> Command:
        name = decode_header(ConsumerGroup, command).consumer_group
        group = self._clients.consumer_groups.get(name)
        if group is None:
            remark = f"consumer group {name[: names.GROUP_CHARS_MAX]!r} is not online"
            raise PeerError(ResponseCode.CONSUMER_NOT_ONLINE, remark)
        body = ConsumerConnection(
            [_info(member) for member in group.members.values()],
            group.consume_from_where,
            group.consume_type,
            group.message_model,
            group.subscriptions,
        )
        return json_response(body)

    def list_producers(self, command: Command, connection: Connection) -> Command:
        name = decode_header(ProducerGroup, command).producer_group
        members = self._clients.producer_groups.get(name)
        if members is None:
            remark = f"producer group {name[: names.GROUP_CHARS_MAX]!r} is not online"
            raise PeerError(ResponseCode.SYSTEM_ERROR, remark)
        return json_response(ProducerConnection([_info(member) for member in members.values()]))

    def list_all_producers(self, command: Command, connection: Connection) -> Command:
        table = {
            group: [
                ProducerInfo(
                    member.client.client_id,
                    member.client.language,
                    member.seen_ms,
                    "/" + member.client.remote,
                    member.client.version,
                )
                for member in members.values()
            ]
            for group, members in self._clients.producer_groups.items()
        }
        return json_response(ProducerTable(table))

    def groups_of_topic(self, command: Command, connection: Connection) -> Command:
        topic = decode_header(Topic, command).topic
        groups = dict.fromkeys(self._clients.groups_subscribing(topic) + self._offsets.groups_of(topic))
        return json_response(GroupList(list(groups)))

    def topics_of_group(self, command: Command, connection: Connection) -> Command:
        group = decode_header(Group, command).group
        topics = TopicList(broker_addr=self._broker_address, topic_list=self._offsets.topics_of(group))
        return json_response(topics)

    def subscription(self, command: Command, connection: Connection) -> Command:
        header = decode_header(SubscriptionOfGroup, command)
        topic = header.topic or ""
        found = self._clients.subscription(header.group, topic)
        data = UNSET if found is None else found
        return json_response(SubscriptionBody(group=header.group, subscription_data=data, topic=topic))
