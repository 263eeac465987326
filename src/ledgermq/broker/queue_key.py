"""A queue as bodies name it (Java: ``MessageQueue``), and maps keyed by it.

fastjson writes a map whose keys are objects as ``{{"brokerName":"b","queueId":0,"topic":"t"}:value}``, which
is no JSON; Java's tools and the Go client read exactly this, so this is what we write.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec


class QueueKey(msgspec.Struct, rename="camel", frozen=True):
    """One queue of one broker."""

    broker_name: str
    queue_id: int
    topic: str


_encoder: Final = msgspec.json.Encoder()


def queue_map(entries: Iterable[tuple[QueueKey, object]]) -> msgspec.Raw:
    """A map keyed by queues in fastjson's form, to stand as a field of a body."""
    pairs = [_encoder.encode(queue) + b":" + _encoder.encode(value) for queue, value in entries]
    return msgspec.Raw(b"{" + b",".join(pairs) + b"}")
