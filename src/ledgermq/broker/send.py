"""The general way of a sent message: every check, topics created on demand, retry topics, clear refusals.

SEND_MESSAGE, SEND_MESSAGE_V2 and SEND_BATCH_MESSAGE come here when the hot path does not take them
(Java: ``SendMessageProcessor``). A message that passes is appended by the hot path's own functions, and its
topic is then known there.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from mypy_extensions import i64

from ledgermq.broker.commits import Commits, Outbox
from ledgermq.broker.groups import GroupTable
from ledgermq.broker.names import check_topic
from ledgermq.broker.schedule import DELAY_LEVEL, TIMER_PROPERTIES, as_scheduled, delay_level
from ledgermq.broker.send_frame import SendFrame
from ledgermq.broker.send_path import SendPath, SendTopic
from ledgermq.broker.topics import TopicTable
from ledgermq.message import names
from ledgermq.message.delay_levels import DelayLevels
from ledgermq.message.ids import UniqueKeys
from ledgermq.message.properties import PropertyScan, decode_properties, encode_properties
from ledgermq.message.record import PROPERTIES_BYTES_MAX
from ledgermq.remoting.broker_headers import SendMessage, decode_send_header
from ledgermq.remoting.codes import VERSION_3_4_9, RequestCode, ResponseCode
from ledgermq.remoting.command import Command, PeerError
from ledgermq.remoting.connection import Connection, Handler
from ledgermq.remoting.topic_config import (
    PERM_READ,
    PERM_WRITE,
    SYS_FLAG_UNIT,
    SYS_FLAG_UNIT_SUB,
    TopicConfig,
)
from ledgermq.runtime.config import BrokerConfig
from ledgermq.store.errors import StoreError, StoreWriteError
from ledgermq.store.message_store import MessageStore

TRANSACTION_BITS: Final = 0xC
SYS_FLAG_MULTI_TAGS: Final = 2
SYS_FLAG_INNER_BATCH: Final = 0x80

UNIQUE_KEY: Final = "UNIQ_KEY"
TRANSACTION: Final = "TRAN_MSG"
POP_CHECKPOINT: Final = "POP_CK"
PRIORITY: Final = "_SYS_MSG_PRIORITY_"
REFUSED_PROPERTIES: Final = dict.fromkeys(TIMER_PROPERTIES, "timer messages") | {
    "__LITE_TOPIC": "lite topics",
    "INNER_MULTI_DISPATCH": "light queues",
    "INNER_NUM": "batches stored as one message",
}
"""What they ask for is not served yet; stored as a plain message it would be delivered wrongly."""


class SendHandlers:
    """Handlers of the three send requests."""

    def __init__(
        self,
        config: BrokerConfig,
        topics: TopicTable,
        groups: GroupTable,
        holds_locks: Callable[[str], bool],
        store: MessageStore,
        path: SendPath,
        commits: Commits,
        levels: DelayLevels,
        unique_keys: UniqueKeys,
        now_ms: Callable[[], int],
    ) -> None:
        """``holds_locks``: whether a consumer of the group holds a lock."""
        self._unique_keys = unique_keys
        self._config = config
        self._topics = topics
        self._groups = groups
        self._holds_locks = holds_locks
        self._store = store
        self._path = path
        self._commits = commits
        self._levels = levels
        self._now_ms = now_ms
        topics.listeners.append(lambda topic: path.forget(topic.encode()))

    def table(self) -> dict[int, Handler]:
        return {
            RequestCode.SEND_MESSAGE: self.send,
            RequestCode.SEND_MESSAGE_V2: self.send,
            RequestCode.SEND_BATCH_MESSAGE: self.send,
        }

    def send(self, command: Command, connection: Connection) -> Command | None:
        header = decode_send_header(command)
        topic = self._writable_topic(header)
        queue_id = self._queue(header, topic, connection)
        refuse_if_unwritable(self._store, self._commits)
        self._check_body(command.body)
        outbox = outbox_of(connection)
        send = SendFrame()
        send.code = command.code
        send.opaque = command.opaque
        send.flag = command.flag
        send.binary = command.binary
        send.queue_id = queue_id
        send.born_timestamp = header.born_timestamp
        send.message_flag = header.flag
        send.reconsume_times = max(0, header.reconsume_times or 0)
        send.sys_flag = header.sys_flag
        send.properties = header.properties.encode()
        if topic.topic_filter_type == "MULTI_TAG":
            send.sys_flag |= SYS_FLAG_MULTI_TAGS
        if send.sys_flag & TRANSACTION_BITS:
            raise _refused("transactional messages")
        if send.sys_flag & SYS_FLAG_INNER_BATCH:
            raise _refused("batches stored as one message")
        try:
            if header.batch or command.code == RequestCode.SEND_BATCH_MESSAGE:
                self._send_batch(topic, outbox, send, command.body)
            else:
                self._send_one(header, command, topic, outbox, send)
        except StoreError as error:
            raise refusal_of(error) from error
        return None

    # ---- checks ----

    def _writable_topic(self, header: SendMessage) -> TopicConfig:
        name = header.topic
        check_topic(name)
        if name in names.SEND_REFUSED_TOPICS:
            raise PeerError(ResponseCode.NO_PERMISSION, f"topic {name!r} is internal, nobody may send to it")
        topic = self._topics.find(name) or self._create(header)
        if self._config.broker_permission & PERM_WRITE == 0 and topic.order:
            remark = (
                f"broker {self._config.broker_name!r} takes no messages: brokerPermission has no write bit"
            )
            raise PeerError(ResponseCode.NO_PERMISSION, remark)
        if not topic.writable or topic.write_queue_nums < 1:
            remark = f"topic {name!r} takes no messages: perm={topic.perm}"
            raise PeerError(ResponseCode.NO_PERMISSION, remark)
        return topic

    def _create(self, header: SendMessage) -> TopicConfig:
        name = header.topic
        is_retry = name.startswith(names.RETRY_PREFIX)
        sys_flag = 0
        if header.unit_mode:
            sys_flag = SYS_FLAG_UNIT_SUB if is_retry else SYS_FLAG_UNIT
        queues = header.default_topic_queue_nums
        now_ms = self._now_ms()
        topic = self._topics.create_for_send(name, header.default_topic, queues, sys_flag, now_ms)
        if topic is None and is_retry:
            topic = self._topics.create_for_retry(name, 1, PERM_WRITE | PERM_READ, sys_flag, now_ms)
        if topic is None:
            remark = (
                f"topic {name!r} does not exist and cannot be created after {header.default_topic!r}: "
                f"create it with updateTopic, or set autoCreateTopicEnable=true"
            )
            raise PeerError(ResponseCode.TOPIC_NOT_EXIST, remark)
        return topic

    def _queue(self, header: SendMessage, topic: TopicConfig, connection: Connection) -> int:
        queue_count = max(topic.write_queue_nums, topic.read_queue_nums)
        if header.queue_id >= queue_count:
            remark = (
                f"queueId={header.queue_id} of topic {header.topic!r} does not exist: it has "
                f"{topic.write_queue_nums} write and {topic.read_queue_nums} read queues"
            )
            raise PeerError(ResponseCode.INVALID_PARAMETER, remark)
        if header.queue_id < 0:
            return random.randrange(topic.write_queue_nums)
        return header.queue_id

    def _check_body(self, body: bytes) -> None:
        if not body:
            raise PeerError(ResponseCode.MESSAGE_ILLEGAL, "the message has no body")
        if len(body) > self._path.body_bytes_max:
            limit = self._path.body_bytes_max
            remark = f"the body has {len(body)} bytes, maxMessageSize={limit} is the limit"
            raise PeerError(ResponseCode.MESSAGE_ILLEGAL, remark)

    # ---- one message ----

    def _send_one(
        self, header: SendMessage, command: Command, topic: TopicConfig, outbox: Outbox, send: SendFrame
    ) -> None:
        properties = decode_properties(send.properties)
        is_retry = topic.topic_name.startswith(names.RETRY_PREFIX)
        level = delay_level(properties)
        if level > 0 and not is_retry:
            raise _refused("delayed messages")
        _refuse_unserved(properties, is_again=level > 0 and send.reconsume_times > 0)
        queue_id = int(send.queue_id)
        if is_retry and self._is_dead(header, command, send):
            dead = names.dlq_topic(topic.topic_name.removeprefix(names.RETRY_PREFIX))
            topic = self._topics.create_for_retry(dead, 1, PERM_WRITE | PERM_READ, 0, self._now_ms())
            properties.pop(DELAY_LEVEL, None)
            queue_id, level = 0, 0
        properties.pop(POP_CHECKPOINT, None)
        properties.pop(PRIORITY, None)
        if not properties.get(UNIQUE_KEY):
            properties[UNIQUE_KEY] = self._unique_keys.next(self._now_ms())
        properties |= self._path.added_properties
        target = self._send_topic(topic)
        if level > 0:
            name = topic.topic_name
            target, queue_id = as_scheduled(properties, name, queue_id, level, self._levels, self._path)
        encoded = encode_properties(properties)
        check_properties(encoded)
        scan = PropertyScan()
        scan.scan(encoded)
        self._path.append_as(outbox, target, queue_id, send, command.body, encoded, scan)

    def _is_dead(self, header: SendMessage, command: Command, send: SendFrame) -> bool:
        """Whether a message that a consumer sends back by an ordinary send was retried often enough for the
        dead-letter topic (Java: ``handleRetryAndDLQ``)."""
        group_name = header.topic.removeprefix(names.RETRY_PREFIX)
        group = self._groups.find_or_create(group_name, self._now_ms())
        if group is None:
            raise PeerError(ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST, f"group {group_name!r} does not exist")
        times_max = group.retry_max_times
        if command.version >= VERSION_3_4_9 and header.max_reconsume_times is not None:
            times_max = header.max_reconsume_times
        # A group that holds locks consumes in order: its message has used up its retries at the client.
        return send.reconsume_times > times_max or self._holds_locks(group_name)

    def _send_topic(self, topic: TopicConfig) -> SendTopic:
        """The hot path's topic; from now on it takes this topic's plain messages itself."""
        name = topic.topic_name.encode()
        queue_count = max(topic.write_queue_nums, topic.read_queue_nums)
        known = self._path.topic(name, queue_count)
        order_closed = self._config.broker_permission & PERM_WRITE == 0 and topic.order
        is_retry = topic.topic_name.startswith(names.RETRY_PREFIX)
        plain = not is_retry and topic.topic_filter_type == "SINGLE_TAG"
        if plain and not order_closed:
            self._path.topics[name] = known
        return known

    def _send_batch(self, topic: TopicConfig, outbox: Outbox, send: SendFrame, units: bytes) -> None:
        name = topic.topic_name
        if name.startswith(names.RETRY_PREFIX):
            remark = f"a batch cannot be sent to the retry topic {name!r}"
            raise PeerError(ResponseCode.MESSAGE_ILLEGAL, remark)
        if len(name) > names.TOPIC_CHARS_MAX:
            remark = f"topic of a batch has {len(name)} characters, {names.TOPIC_CHARS_MAX} are allowed"
            raise PeerError(ResponseCode.MESSAGE_ILLEGAL, remark)
        self._path.append_batch(outbox, self._send_topic(topic), send, units)


def outbox_of(connection: Connection) -> Outbox:
    """The connection's place for replies that wait for a commit."""
    outbox = connection.attachment
    assert isinstance(outbox, Outbox), "the broker gives each connection its outbox when it opens"
    return outbox


def refuse_if_unwritable(store: MessageStore, commits: Commits) -> None:
    """Raises PeerError while the store takes no messages or too many wait for the disk."""
    refusal = store.refusal
    if refusal is not None:
        raise PeerError(ResponseCode.SERVICE_NOT_AVAILABLE, refusal)
    if commits.overloaded:
        remark = "too many messages wait for the disk, retry in 100 ms"
        raise PeerError(ResponseCode.SYSTEM_BUSY, remark)


def refusal_of(error: StoreError) -> PeerError:
    """What a client is told when the store does not take its message: come back, or mend the message."""
    if isinstance(error, StoreWriteError):
        return PeerError(ResponseCode.SERVICE_NOT_AVAILABLE, str(error))
    return PeerError(ResponseCode.MESSAGE_ILLEGAL, str(error))


def check_properties(encoded: bytes) -> None:
    """Raises PeerError when the properties do not fit a record."""
    limit: i64 = PROPERTIES_BYTES_MAX
    if len(encoded) > limit:
        remark = f"the properties have {len(encoded)} bytes with those the broker adds, {limit} are allowed"
        raise PeerError(ResponseCode.MESSAGE_ILLEGAL, remark)


def _refuse_unserved(properties: dict[str, str], *, is_again: bool) -> None:
    """Raises PeerError for what would be delivered wrongly. A message that comes again (a delayed retry) may
    still carry what its first delivery has done with, as in Java."""
    for name, feature in REFUSED_PROPERTIES.items():
        if name in properties and not (is_again and name in TIMER_PROPERTIES):
            raise _refused(feature)
    if properties.get(TRANSACTION, "").lower() == "true" and not is_again:
        raise _refused("transactional messages")


def _refused(feature: str) -> PeerError:
    return PeerError(ResponseCode.MESSAGE_ILLEGAL, f"{feature} are not served by this broker yet")
