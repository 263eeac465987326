"""Messages as applications see them: one to send, one received.

On the wire a message is a topic, a body, a flag and text properties; tags, keys and the rest of what
RocketMQ knows about a message are properties with reserved names (Java: ``MessageConst``).

Rules of this file: a :class:`Message` is checked when it is made, so that what cannot be sent fails where it
was written; a :class:`MessageExt` keeps what the broker sent, and decompresses its body when asked for it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final

import msgspec

from ledgermq.message.compression import COMPRESSED, decompress
from ledgermq.message.ids import offset_message_id
from ledgermq.message.properties import NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR, decode_properties
from ledgermq.message.record import Record, decode_record

KEYS: Final = "KEYS"
TAGS: Final = "TAGS"
UNIQUE_KEY: Final = "UNIQ_KEY"
DELAY_LEVEL: Final = "DELAY"
SHARDING_KEY: Final = "__SHARDINGKEY"
WAIT_STORE: Final = "WAIT"
RETRY_TOPIC: Final = "RETRY_TOPIC"
ORIGIN_MESSAGE_ID: Final = "ORIGIN_MESSAGE_ID"
RECONSUME_TIMES: Final = "RECONSUME_TIME"
MAX_RECONSUME_TIMES: Final = "MAX_RECONSUME_TIMES"
TRANSACTION_PREPARED: Final = "TRAN_MSG"

KEY_SEPARATOR: Final = " "
_RESERVED_BY_FIELD: Final = {
    KEYS: "keys",
    TAGS: "tags",
    SHARDING_KEY: "sharding_key",
    DELAY_LEVEL: "delay_level",
}


def _check_text(what: str, text: object) -> None:
    if not isinstance(text, str):
        raise TypeError(f"message {what} must be text, not {type(text).__name__}")
    if not text:
        raise ValueError(f"message {what} is empty; leave it out instead")
    if NAME_VALUE_SEPARATOR in text or PROPERTY_SEPARATOR in text:
        raise ValueError(f"message {what} {text!r} has \\x01 or \\x02, which separate properties on the wire")


class Message(msgspec.Struct):
    """A message to send.

    ``tags`` is one tag, by which consumers select; ``keys`` are business keys to find the message by;
    ``sharding_key`` sends all messages with the same key to the same queue, in order; ``delay_level`` (1 to
    18) makes brokers that support it deliver later; ``flag`` is a number for the application's own use.
    Raises TypeError or ValueError when a part of it cannot be sent.
    """

    topic: str
    body: bytes
    tags: str | None = None
    keys: Sequence[str] = ()
    properties: dict[str, str] = {}
    sharding_key: str | None = None
    delay_level: int = 0
    flag: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.body, bytes):
            raise TypeError(f"message body must be bytes, not {type(self.body).__name__}")
        if isinstance(self.keys, str):
            self.keys = (self.keys,)
        for key in self.keys:
            _check_text("key", key)
            if KEY_SEPARATOR in key:
                raise ValueError(f"message key {key!r} has a space, which separates keys on the wire")
        for name, value in self.properties.items():
            if name in _RESERVED_BY_FIELD:
                raise ValueError(f"property {name}: use the message's field {_RESERVED_BY_FIELD[name]}")
            _check_text("property name", name)
            _check_text(f"property {name}", value)
        if self.tags is not None:
            _check_text("tags", self.tags)
        if self.sharding_key is not None:
            _check_text("sharding key", self.sharding_key)
        if not 0 <= self.delay_level < 2**31:
            raise ValueError(f"delay level {self.delay_level} is not in 0..{2**31 - 1}")
        if not -(2**31) <= self.flag < 2**31:
            raise ValueError(f"flag {self.flag} is not a signed 32-bit number")

    def wire_properties(self) -> dict[str, str]:
        """All properties as they are sent; a new dict."""
        properties = dict(self.properties)
        if self.tags:
            properties[TAGS] = self.tags
        if self.keys:
            properties[KEYS] = KEY_SEPARATOR.join(self.keys)
        if self.sharding_key:
            properties[SHARDING_KEY] = self.sharding_key
        if self.delay_level:
            properties[DELAY_LEVEL] = str(self.delay_level)
        return properties


class MessageExt(msgspec.Struct):
    """A message that a broker stored.

    ``properties`` are all properties, the reserved ones too. Hosts are ``ip:port``; times are milliseconds
    since 1970. ``raw_body`` is the body as stored, compressed when ``sys_flag`` says so.
    """

    topic: str
    raw_body: bytes
    properties: dict[str, str]
    flag: int
    sys_flag: int
    broker_name: str
    queue_id: int
    queue_offset: int
    log_offset: int
    """Byte position in the broker's commit log."""
    born_timestamp_ms: int
    born_host: str
    store_timestamp_ms: int
    store_host: str
    reconsume_times: int
    """How often its group failed to consume it."""
    prepared_transaction_offset: int
    body_crc: int
    store_bytes: int
    """Size of the whole record in the commit log."""
    offset_message_id: str

    @property
    def body(self) -> bytes:
        """The body as it was sent. Raises CompressionError when it cannot be decompressed."""
        if self.sys_flag & COMPRESSED:
            self.raw_body = decompress(self.raw_body, self.sys_flag)
            self.sys_flag &= ~COMPRESSED
        return self.raw_body

    @property
    def message_id(self) -> str:
        """The unique key that its producer gave it; its offset message id when it has none."""
        return self.properties.get(UNIQUE_KEY) or self.offset_message_id

    @property
    def tags(self) -> str | None:
        return self.properties.get(TAGS)

    @property
    def keys(self) -> list[str]:
        # At blanks alone, as Java splits: other white space may be part of a key.
        return [key for key in self.properties.get(KEYS, "").split(KEY_SEPARATOR) if key]

    @property
    def sharding_key(self) -> str | None:
        return self.properties.get(SHARDING_KEY)


def received_message(record: Record, broker_name: str) -> MessageExt:
    """The message that ``record`` holds, stored by the broker of this name."""
    store_host = record.store_host
    port = int.from_bytes(store_host[-4:], "big")
    return MessageExt(
        topic=record.topic.decode("utf-8", "replace"),
        raw_body=record.body,
        properties=decode_properties(record.properties),
        flag=record.flag,
        sys_flag=record.sys_flag,
        broker_name=broker_name,
        queue_id=record.queue_id,
        queue_offset=record.queue_offset,
        log_offset=record.log_offset,
        born_timestamp_ms=record.born_ms,
        born_host=_host_text(record.born_host),
        store_timestamp_ms=record.store_ms,
        store_host=_host_text(store_host),
        reconsume_times=record.reconsume_times,
        prepared_transaction_offset=record.prepared_offset,
        body_crc=record.body_crc,
        store_bytes=record.size,
        offset_message_id=offset_message_id(store_host[:-4], port, record.log_offset),
    )


def decode_messages(data: bytes, broker_name: str) -> list[MessageExt]:
    """The messages in the body of a pull or query answer: records, one after the other.

    Raises RecordError when the bytes are not whole records.
    """
    messages: list[MessageExt] = []
    at = 0
    while at < len(data):
        record = decode_record(data, at)
        at += record.size
        messages.append(received_message(record, broker_name))
    return messages


def _host_text(host: bytes) -> str:
    port = int.from_bytes(host[-4:], "big")
    if len(host) == 8:
        return f"{host[0]}.{host[1]}.{host[2]}.{host[3]}:{port}"
    return f"[{ipaddress.IPv6Address(host[:-4])}]:{port}"
