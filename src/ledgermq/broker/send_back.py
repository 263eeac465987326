"""CONSUMER_SEND_MSG_BACK: a consumer could not handle a message and wants it again, or wants to be rid of it.

The message is read from the log and appended again: to the group's retry topic, by way of the delay levels
(3 + how often it was retried: 10 s, 30 s, 1 m, …), or to its dead-letter topic when it was retried
often enough or the consumer says so with a negative level (Java: ``AbstractSendMessageProcessor``).
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Final

from ledgermq.broker.cold_reads import warm_record
from ledgermq.broker.commits import Commits
from ledgermq.broker.groups import GroupTable, SubscriptionGroupConfig
from ledgermq.broker.schedule import DELAY_LEVEL, as_scheduled
from ledgermq.broker.send import check_properties, outbox_of, refusal_of, refuse_if_unwritable
from ledgermq.broker.send_frame import SendFrame
from ledgermq.broker.send_path import SendPath
from ledgermq.broker.stats import BrokerStats
from ledgermq.broker.topics import TopicTable
from ledgermq.message import names
from ledgermq.message.delay_levels import DelayLevels
from ledgermq.message.ids import offset_message_id
from ledgermq.message.properties import PropertyScan, decode_properties, encode_properties
from ledgermq.message.record import Record
from ledgermq.remoting.broker_headers import SendMessageBack
from ledgermq.remoting.codes import VERSION_3_4_9, RequestCode, ResponseCode
from ledgermq.remoting.command import Command, PeerError, encode_command
from ledgermq.remoting.connection import Connection, Handler
from ledgermq.remoting.headers import decode_header, response
from ledgermq.remoting.topic_config import PERM_READ, PERM_WRITE, SYS_FLAG_UNIT_SUB
from ledgermq.runtime.config import BrokerConfig
from ledgermq.store.errors import StoreError
from ledgermq.store.message_store import MessageStore

RETRY_TOPIC: Final = "RETRY_TOPIC"
ORIGIN_MESSAGE_ID: Final = "ORIGIN_MESSAGE_ID"
DLQ_ORIGIN_TOPIC: Final = "DLQ_ORIGIN_TOPIC"
DLQ_ORIGIN_MESSAGE_ID: Final = "DLQ_ORIGIN_MESSAGE_ID"
RETRY_LEVEL_FIRST: Final = 3


def record_id(record: Record) -> str:
    """The offset message id of a stored record."""
    port = int.from_bytes(record.store_host[-4:], "big")
    return offset_message_id(record.store_host[:-4], port, record.log_offset)


class SendBackHandlers:
    """``executor`` reads what is not in memory."""

    def __init__(
        self,
        config: BrokerConfig,
        topics: TopicTable,
        groups: GroupTable,
        store: MessageStore,
        path: SendPath,
        commits: Commits,
        levels: DelayLevels,
        stats: BrokerStats,
        executor: Executor,
        now_ms: Callable[[], int],
    ) -> None:
        self._config = config
        self._topics = topics
        self._groups = groups
        self._store = store
        self._path = path
        self._commits = commits
        self._levels = levels
        self._stats = stats
        self._executor = executor
        self._now_ms = now_ms

    def table(self) -> dict[int, Handler]:
        return {RequestCode.CONSUMER_SEND_MSG_BACK: self.send_back}

    def send_back(
        self, command: Command, connection: Connection
    ) -> Command | Awaitable[Command | None] | None:
        header = decode_header(SendMessageBack, command)
        group = self._groups.find_or_create(header.group, self._now_ms())
        if group is None:
            remark = f"group {header.group[: names.GROUP_CHARS_MAX]!r} does not exist"
            raise PeerError(ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST, remark)
        if self._config.broker_permission & PERM_WRITE == 0:
            remark = (
                f"broker {self._config.broker_name!r} takes no messages: brokerPermission has no write bit"
            )
            raise PeerError(ResponseCode.NO_PERMISSION, remark)
        if group.retry_queue_nums <= 0:
            return response()
        if self._store.reader.cold_at(header.offset) >= 0:
            return self._read_cold(command, connection, header, group)
        return self._append_again(command, connection, header, group)

    async def _read_cold(
        self,
        command: Command,
        connection: Connection,
        header: SendMessageBack,
        group: SubscriptionGroupConfig,
    ) -> Command | None:
        await warm_record(self._store.reader, self._executor, header.offset)
        return self._append_again(command, connection, header, group)

    def _append_again(
        self,
        command: Command,
        connection: Connection,
        header: SendMessageBack,
        group: SubscriptionGroupConfig,
    ) -> Command | None:
        refuse_if_unwritable(self._store, self._commits)
        record = self._store.read_at(header.offset)
        if record is None:
            remark = f"offset={header.offset}: no message begins there in the commit log"
            raise PeerError(ResponseCode.SYSTEM_ERROR, remark)
        try:
            self._append(command, header, group, record)
        except StoreError as error:
            raise refusal_of(error) from error
        answer = response()
        answer.opaque = command.opaque
        answer.binary = command.binary
        if command.is_oneway:
            self._commits.appended()
        else:
            self._commits.writer(outbox_of(connection), True).write(encode_command(answer))
        return None

    def _append(
        self, command: Command, header: SendMessageBack, group: SubscriptionGroupConfig, record: Record
    ) -> None:
        properties = decode_properties(record.properties)
        properties.setdefault(RETRY_TOPIC, record.topic.decode())
        properties.setdefault(ORIGIN_MESSAGE_ID, record_id(record))
        times_max = group.retry_max_times
        if command.version >= VERSION_3_4_9 and header.max_reconsume_times is not None:
            times_max = header.max_reconsume_times
        send = SendFrame()
        send.message_flag = record.flag
        send.sys_flag = record.sys_flag
        send.born_timestamp = record.born_ms
        send.reconsume_times = record.reconsume_times + 1
        if header.delay_level < 0 or record.reconsume_times >= times_max:
            properties.pop(DELAY_LEVEL, None)
            properties[DLQ_ORIGIN_TOPIC] = properties[RETRY_TOPIC]
            properties[DLQ_ORIGIN_MESSAGE_ID] = properties[ORIGIN_MESSAGE_ID]
            dead = self._writable(names.dlq_topic(group.group_name), 1, 0)
            target, queue_id = self._path.topic(dead.encode(), 1), 0
        else:
            unit = SYS_FLAG_UNIT_SUB if header.unit_mode else 0
            retry = self._writable(names.retry_topic(group.group_name), group.retry_queue_nums, unit)
            level = header.delay_level or RETRY_LEVEL_FIRST + int(record.reconsume_times)
            queue_id = random.randrange(group.retry_queue_nums)
            target, queue_id = as_scheduled(properties, retry, queue_id, level, self._levels, self._path)
        encoded = encode_properties(properties)
        check_properties(encoded)
        scan = PropertyScan()
        scan.scan(encoded)
        self._path.put(target, queue_id, send, record.born_host, record.body, encoded, scan)
        self._stats.send_backs(group.group_name, properties[RETRY_TOPIC]).add(1, len(record.body))

    def _writable(self, name: str, queue_nums: int, sys_flag: int) -> str:
        perm = PERM_WRITE | PERM_READ
        topic = self._topics.create_for_retry(name, queue_nums, perm, sys_flag, self._now_ms())
        if not topic.writable:
            remark = f"topic {name!r} takes no messages: perm={topic.perm}"
            raise PeerError(ResponseCode.NO_PERMISSION, remark)
        return name
