"""A message queue by name, and maps keyed by it, which fastjson writes with objects as keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from ledgermq.remoting.json_body import JsonError, encode_json, parse_json

T = TypeVar("T")


class MessageQueue(msgspec.Struct, frozen=True, order=True, rename="camel"):
    """One queue of a topic on one broker. Queues sort as Java sorts them: topic, broker, number."""

    topic: str
    broker_name: str
    queue_id: int

    def __str__(self) -> str:
        return f"{self.topic}@{self.broker_name}#{self.queue_id}"


def encode_queue_map(table: Mapping[MessageQueue, object]) -> msgspec.Raw:
    """``table`` as Java's fastjson writes it, ``{{"topic":…}:value,…}``, to stand in an encoded body."""
    entries = (encode_json(queue) + b":" + encode_json(value) for queue, value in sorted(table.items()))
    return msgspec.Raw(b"{" + b",".join(entries) + b"}")


def decode_queue_map(table: object, kind: type[T]) -> dict[MessageQueue, T]:
    """The map that :func:`parse_json` made of such a body's field. Raises JsonError."""
    if not isinstance(table, dict):
        raise JsonError(f"a map keyed by message queues is expected, not {type(table).__name__}")
    found: dict[MessageQueue, T] = {}
    try:
        for key, value in table.items():
            queue = msgspec.convert(parse_json(key.encode()), MessageQueue, strict=False)
            found[queue] = msgspec.convert(value, kind, strict=False)
    except msgspec.MsgspecError as error:
        raise JsonError(f"map keyed by message queues: {error}") from None
    return found
