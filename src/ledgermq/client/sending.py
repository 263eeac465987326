"""The pure part of sending: what is allowed, which queue, the request's fields, the answer's meaning.

Source: Java's ``DefaultMQProducerImpl.sendKernelImpl``, ``Validators``, ``MessageBatch``.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from ledgermq.client.broker_health import BrokerHealth
from ledgermq.client.errors import IllegalMessageError
from ledgermq.client.names import check_topic
from ledgermq.client.queues import MessageQueue
from ledgermq.message.batch import PROPERTIES_BYTES_MAX, BatchUnit, encode_batch
from ledgermq.message.compression import Compression, compress
from ledgermq.message.hashing import java_hash
from ledgermq.message.model import UNIQUE_KEY, WAIT_STORE, Message
from ledgermq.message.names import RETRY_PREFIX, SEND_REFUSED_TOPICS
from ledgermq.message.properties import encode_properties
from ledgermq.remoting.broker_headers import SendMessageReply
from ledgermq.remoting.codes import RequestCode, ResponseCode
from ledgermq.remoting.command import Command

RETRY_CODES: Final = frozenset(
    {
        ResponseCode.TOPIC_NOT_EXIST,
        ResponseCode.SERVICE_NOT_AVAILABLE,
        ResponseCode.SYSTEM_ERROR,
        ResponseCode.SYSTEM_BUSY,
        ResponseCode.NO_PERMISSION,
        ResponseCode.GO_AWAY,
        204,  # NO_BUYER_ID
        205,  # NOT_IN_CURRENT_UNIT
    }
)
"""Refusals after which another broker is tried (Java: ``DefaultMQProducer.retryResponseCodes``)."""


class SendStatus(enum.IntEnum):
    """How safe a stored message is; the values are response codes. All of them mean that it is stored."""

    OK = ResponseCode.SUCCESS
    FLUSH_DISK_TIMEOUT = ResponseCode.FLUSH_DISK_TIMEOUT
    SLAVE_NOT_AVAILABLE = ResponseCode.SLAVE_NOT_AVAILABLE
    FLUSH_SLAVE_TIMEOUT = ResponseCode.FLUSH_SLAVE_TIMEOUT


STORED_CODES: Final = frozenset(int(status) for status in SendStatus)


class SendReceipt(msgspec.Struct, frozen=True):
    """A message, or a batch, is stored.

    ``message_ids`` are the unique keys, one for each message; ``queue_offset`` is the first one's place in
    its queue; ``offset_message_ids`` say where the broker keeps them.
    """

    status: SendStatus
    message_ids: tuple[str, ...]
    offset_message_ids: tuple[str, ...]
    queue: MessageQueue
    queue_offset: int

    @property
    def message_id(self) -> str:
        """The unique key of the message, of the first one of a batch."""
        return self.message_ids[0]


QueueSelector = Callable[[Sequence[MessageQueue], Message], MessageQueue]
"""``(queues of the topic, message) -> one of them``."""


class Outgoing(msgspec.Struct, frozen=True):
    """A message, or a batch of them, made ready to be sent to any queue, any number of times."""

    topic: str
    body: bytes
    properties: str
    flag: int
    sys_flag: int
    message_ids: tuple[str, ...]
    is_batch: bool
    reconsume_times: int = 0
    max_reconsume_times: int | None = None


def check_message(message: Message, body_bytes_max: int) -> None:
    """Raises IllegalMessageError or IllegalNameError when a broker would not take ``message``."""
    check_topic(message.topic)
    if message.topic in SEND_REFUSED_TOPICS:
        raise IllegalMessageError(f"topic {message.topic} is written by the broker alone")
    if not message.body:
        raise IllegalMessageError(f"message to topic {message.topic} has an empty body")
    if len(message.body) > body_bytes_max:
        raise IllegalMessageError(
            f"message to topic {message.topic} has a body of {len(message.body)} bytes, "
            f"at most {body_bytes_max} are allowed"
        )


def make_outgoing(
    message: Message, unique_key: str, compression: Compression | None, compress_bytes_min: int
) -> Outgoing:
    """``message`` with its unique key, compressed when it is large. Raises IllegalMessageError."""
    properties = message.wire_properties()
    message_id = properties.setdefault(UNIQUE_KEY, unique_key)
    body, sys_flag = message.body, 0
    if compression is not None and len(body) >= compress_bytes_min:
        body, sys_flag = compress(body, compression), compression.sys_flag
    text = _property_text(message.topic, properties).decode()
    return Outgoing(message.topic, body, text, message.flag, sys_flag, (message_id,), False)


def make_batch(messages: Sequence[Message], unique_keys: Sequence[str], body_bytes_max: int) -> Outgoing:
    """The messages of a batch as one.

    Raises IllegalMessageError when they cannot stand in one batch: brokers store a batch in one queue.
    """
    first = messages[0]
    if first.topic.startswith(RETRY_PREFIX):
        raise IllegalMessageError(f"a batch cannot be sent to the retry topic {first.topic}")
    units: list[BatchUnit] = []
    ids: list[str] = []
    for message, unique_key in zip(messages, unique_keys, strict=True):
        if message.topic != first.topic:
            raise IllegalMessageError(f"a batch has one topic, not {first.topic} and {message.topic}")
        if message.sharding_key != first.sharding_key:
            raise IllegalMessageError("a batch goes to one queue, so all its messages have one sharding key")
        if message.delay_level:
            raise IllegalMessageError("a message with a delay level cannot be sent in a batch")
        if message.properties.get(WAIT_STORE) != first.properties.get(WAIT_STORE):
            raise IllegalMessageError(f"the messages of a batch have one {WAIT_STORE} property")
        properties = message.wire_properties()
        ids.append(properties.setdefault(UNIQUE_KEY, unique_key))
        units.append(BatchUnit(message.flag, message.body, _property_text(message.topic, properties)))
    # The broker reads the batch's own properties for what holds for all of it: whether to wait for the flush.
    shared = {WAIT_STORE: first.properties[WAIT_STORE]} if WAIT_STORE in first.properties else {}
    text = encode_properties(shared).decode()
    body = encode_batch(units)
    if len(body) > body_bytes_max:
        raise IllegalMessageError(
            f"batch of {len(messages)} messages to topic {first.topic} has {len(body)} bytes, "
            f"at most {body_bytes_max} are allowed: send it in parts"
        )
    return Outgoing(first.topic, body, text, 0, 0, tuple(ids), True)


def _property_text(topic: str, properties: dict[str, str]) -> bytes:
    data = encode_properties(properties)
    if len(data) > PROPERTIES_BYTES_MAX:
        raise IllegalMessageError(
            f"message to topic {topic} has properties of {len(data)} bytes, "
            f"at most {PROPERTIES_BYTES_MAX} are allowed"
        )
    return data


def send_command(outgoing: Outgoing, queue: MessageQueue, group: str, options: SendFields) -> Command:
    """The request that stores ``outgoing`` in ``queue``, with the one-letter header (Java: V2)."""
    command = Command(RequestCode.SEND_BATCH_MESSAGE if outgoing.is_batch else RequestCode.SEND_MESSAGE_V2)
    ext = {
        "a": group,
        "b": outgoing.topic,
        "c": options.create_topic_key,
        "d": str(options.create_topic_queues),
        "e": str(queue.queue_id),
        "f": str(outgoing.sys_flag),
        "g": str(options.born_ms),
        "h": str(outgoing.flag),
        "i": outgoing.properties,
        "j": str(outgoing.reconsume_times),
        "k": "false",
        "m": "true" if outgoing.is_batch else "false",
        "n": queue.broker_name,
    }
    if outgoing.max_reconsume_times is not None:
        ext["l"] = str(outgoing.max_reconsume_times)
    command.ext = ext
    command.body = outgoing.body
    return command


class SendFields(msgspec.Struct, frozen=True):
    """The rest of a send request's fields: how the broker creates a missing topic, and the time."""

    create_topic_key: str
    create_topic_queues: int
    born_ms: int


def read_receipt(outgoing: Outgoing, queue: MessageQueue, code: int, reply: SendMessageReply) -> SendReceipt:
    """What the broker's answer to ``outgoing`` means; ``code`` is one of STORED_CODES."""
    stored_in = MessageQueue(outgoing.topic, queue.broker_name, reply.queue_id)
    return SendReceipt(
        SendStatus(code),
        outgoing.message_ids,
        tuple(reply.msg_id.split(",")),
        stored_in,
        reply.queue_offset,
    )


def sharded_queue(queues: Sequence[MessageQueue], sharding_key: str) -> MessageQueue:
    """The queue of a sharding key, the same for all producers (Java: ``SelectMessageQueueByHash``)."""
    return queues[abs(int(java_hash(sharding_key.encode()))) % len(queues)]


class RoundRobin:
    """Takes the queues of a topic in turn, sparing brokers that fail."""

    def __init__(self, health: BrokerHealth, first: int) -> None:
        """``first`` is the index to begin with, random so that producers spread."""
        self._health = health
        self._next = first

    def choose(self, queues: Sequence[MessageQueue], now_ms: int, avoid_broker: str | None) -> MessageQueue:
        """The next queue, of a healthy broker other than ``avoid_broker`` if there is one."""
        begin = self._next
        self._next += 1
        other: MessageQueue | None = None
        for step in range(len(queues)):
            queue = queues[(begin + step) % len(queues)]
            if queue.broker_name == avoid_broker:
                continue
            if self._health.is_available(queue.broker_name, now_ms):
                return queue
            other = other or queue
        return other or queues[begin % len(queues)]
