"""Where a group begins to read a queue (Java: ``RebalancePushImpl.computePullFromWhere``)."""

from __future__ import annotations

import enum
from typing import Final

from ledgermq.client.group_calls import QueueCalls
from ledgermq.client.offset_store import OffsetStore
from ledgermq.client.queues import MessageQueue
from ledgermq.message.names import RETRY_PREFIX


class ConsumeFrom(enum.Enum):
    """Where a group begins that has never committed an offset; the values are Java's names.

    A broker that still has a queue's very first message answers offset 0 for a new group, so that what was
    sent before the group came is not lost; then even LAST begins there.
    """

    LAST = "CONSUME_FROM_LAST_OFFSET"
    FIRST = "CONSUME_FROM_FIRST_OFFSET"
    TIME = "CONSUME_FROM_TIMESTAMP"


HALF_HOUR_MS: Final = 30 * 60 * 1000
"""How far back a group begins that is to begin at a time and was not told which, as in Java."""


class StartOffset:
    """Finds the offsets of one group."""

    def __init__(
        self, store: OffsetStore, calls: QueueCalls, consume_from: ConsumeFrom, timestamp_ms: int
    ) -> None:
        """``timestamp_ms`` counts for ConsumeFrom.TIME alone."""
        self._store = store
        self._calls = calls
        self._consume_from = consume_from
        self._timestamp_ms = timestamp_ms

    async def find(self, queue: MessageQueue) -> int:
        """The committed offset of ``queue``, or where to begin without one. Raises ClientError."""
        committed = await self._store.read(queue)
        if committed is not None and committed >= 0:
            return committed
        # What waits in the group's own retry topic is always its own.
        if self._consume_from is ConsumeFrom.FIRST or queue.topic.startswith(RETRY_PREFIX):
            return await self._calls.min_offset(queue)
        if self._consume_from is ConsumeFrom.TIME:
            return await self._calls.offset_for_time(queue, self._timestamp_ms)
        return await self._calls.max_offset(queue)
