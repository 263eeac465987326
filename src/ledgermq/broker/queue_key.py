"""A queue as bodies name it (Java: ``MessageQueue``)."""

from __future__ import annotations

import msgspec


class QueueKey(msgspec.Struct, rename="camel", frozen=True):
    """One queue of one broker."""

    broker_name: str
    queue_id: int
    topic: str
