"""Clients come, go and ask about each other: HEART_BEAT, UNREGISTER_CLIENT, CHECK_CLIENT_CONFIG,
GET_CONSUMER_LIST_BY_GROUP (Java: ``ClientManageProcessor``, ``ConsumerManageProcessor``).

Whoever changes the registry wakes :meth:`ClientHandlers.announce`, which tells the members of changed groups
a moment later, so that what happens within the moment is told once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec

from ledgermq.broker.clients import Client, ClientRegistry
from ledgermq.broker.groups import GroupTable
from ledgermq.broker.heartbeat import CheckClient, ConsumerData, HeartbeatData
from ledgermq.broker.names import check_group, check_topic
from ledgermq.broker.topics import TopicTable
from ledgermq.message import names
from ledgermq.remoting.broker_headers import ConsumerGroup, UnregisterClient
from ledgermq.remoting.codes import RequestCode, ResponseCode
from ledgermq.remoting.command import Command, PeerError
from ledgermq.remoting.connection import Connection, Handler
from ledgermq.remoting.headers import decode_body, decode_header, json_response, oneway, response
from ledgermq.remoting.topic_config import PERM_READ, PERM_WRITE, SYS_FLAG_UNIT_SUB
from ledgermq.runtime.config import BrokerConfig
from ledgermq.runtime.limits import CLIENT_ID_CHARS_MAX

ANNOUNCE_AFTER_SECONDS: Final = 0.02


class ConsumerIds(msgspec.Struct, rename="camel"):
    """GET_CONSUMER_LIST_BY_GROUP's answer."""

    consumer_id_list: list[str]


class ClientHandlers:
    """Handlers of what clients say of themselves."""

    def __init__(
        self,
        config: BrokerConfig,
        topics: TopicTable,
        groups: GroupTable,
        clients: ClientRegistry[Connection],
        now_ms: Callable[[], int],
    ) -> None:
        self._config = config
        self._topics = topics
        self._groups = groups
        self._clients = clients
        self._now_ms = now_ms
        self._timer: asyncio.TimerHandle | None = None

    def table(self) -> dict[int, Handler]:
        return {
            RequestCode.HEART_BEAT: self.heart_beat,
            RequestCode.UNREGISTER_CLIENT: self.unregister,
            RequestCode.CHECK_CLIENT_CONFIG: self.check_config,
            RequestCode.GET_CONSUMER_LIST_BY_GROUP: self.list_consumers,
        }

    # ---- requests ----

    def heart_beat(self, command: Command, connection: Connection) -> Command:
        beat = decode_body(HeartbeatData, command)
        if not 0 < len(beat.client_id) <= CLIENT_ID_CHARS_MAX:
            remark = f"clientID of {len(beat.client_id)} characters, 1 to {CLIENT_ID_CHARS_MAX} are allowed"
            raise PeerError(ResponseCode.INVALID_PARAMETER, remark)
        for data in beat.consumers:
            for subscription in data.subscriptions:
                check_topic(subscription.topic)
        for producer in beat.producers:
            check_group(producer.group_name)
        client = Client(beat.client_id, connection.remote, command.language, command.version)
        now_ms = self._now_ms()
        must_resend = beat.heartbeat_fingerprint == 0
        try:
            for data in beat.consumers:
                if self._consumer_beats(data, client, connection, beat, now_ms):
                    must_resend = True
            for producer in beat.producers:
                self._clients.register_producer(connection, client, producer.group_name, now_ms)
        finally:
            # At a limit, those before it are registered nevertheless.
            self.announce()
        answer = response()
        answer.ext["IS_SUPPORT_HEART_BEAT_V2"] = "true"
        answer.ext["IS_SUB_CHANGE"] = "true" if must_resend else "false"
        return answer

    def _consumer_beats(
        self, data: ConsumerData, client: Client, connection: Connection, beat: HeartbeatData, now_ms: int
    ) -> bool:
        """Register one consumer group; True when its subscriptions are to be sent in full next time."""
        name = data.group_name
        group = self._groups.find_or_create(name, now_ms)
        if group is None:
            return False
        if not self._topics.following:  # Its master hears of the consumer too, and makes it.
            self._topics.create_for_retry(
                names.retry_topic(name),
                group.retry_queue_nums,
                PERM_WRITE | PERM_READ,
                SYS_FLAG_UNIT_SUB if data.unit_mode else 0,
                now_ms,
                order=any(self._is_ordered(subscription.topic) for subscription in data.subscriptions),
            )
        self._clients.register_consumer(
            connection,
            client,
            data,
            now_ms,
            notify=group.notify_consumer_ids_changed_enable,
            without_sub=beat.without_sub,
        )
        return self._clients.heard_fingerprint(name, beat.heartbeat_fingerprint, without_sub=beat.without_sub)

    def _is_ordered(self, topic: str) -> bool:
        found = self._topics.find(topic)
        return found is not None and found.order

    def unregister(self, command: Command, connection: Connection) -> Command:
        header = decode_header(UnregisterClient, command)
        if header.producer_group is not None:
            self._clients.unregister_producer(header.producer_group, connection)
        if header.consumer_group is not None:
            group = self._groups.find(header.consumer_group)
            notify = group is None or group.notify_consumer_ids_changed_enable
            self._clients.unregister_consumer(header.consumer_group, connection, notify=notify)
        self.announce()
        return response()

    def check_config(self, command: Command, connection: Connection) -> Command:
        if not command.body:
            return response()
        subscription = decode_body(CheckClient, command).subscription_data
        if subscription is not None and not subscription.by_tag:
            remark = (
                f"expressionType={subscription.expression_type!r} is not supported by this broker, TAG is"
            )
            raise PeerError(ResponseCode.SYSTEM_ERROR, remark)
        return response()

    def list_consumers(self, command: Command, connection: Connection) -> Command:
        name = decode_header(ConsumerGroup, command).consumer_group
        group = self._clients.consumer_groups.get(name)
        if group is None:
            remark = f"no consumer of group {name[: names.GROUP_CHARS_MAX]!r} is online"
            raise PeerError(ResponseCode.SYSTEM_ERROR, remark)
        return json_response(ConsumerIds([member.client.client_id for member in group.members.values()]))

    # ---- events ----

    def connection_closed(self, connection: Connection) -> None:
        self._clients.close(connection)
        self.announce()

    def expire(self) -> None:
        """Forget silent clients and close their connections; called every few seconds."""
        for connection in self._clients.expire(self._now_ms()):
            connection.close()
        self.announce()

    def announce(self) -> None:
        """Tell the members of changed groups, a moment from now."""
        if self._timer is None and self._clients.has_notifications:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(ANNOUNCE_AFTER_SECONDS, self._announce_now)

    def _announce_now(self) -> None:
        self._timer = None
        for group, connections in self._clients.take_notifications():
            if not self._config.notify_consumer_ids_changed_enable:
                continue
            for connection in connections:
                notice = oneway(RequestCode.NOTIFY_CONSUMER_IDS_CHANGED, ConsumerGroup(group))
                connection.notify(notice)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
