"""The messages of one queue that were pulled and are not yet consumed (Java: ``ProcessQueue``).

Two things are decided here: whether there is room for more, and which offset may be committed. Messages are
consumed in any order, but the committed offset never passes one that is not done: after a crash the group
begins there again, so nothing is lost and some are seen twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from ledgermq.message.model import MessageExt


class ProcessQueue:
    """``count`` and ``cached_bytes`` (as stored) are of messages that wait or are being consumed."""

    def __init__(self, count_max: int, bytes_max: int, span_max: int) -> None:
        """``span_max`` is the largest distance between the first and the last offset: one message that is
        never done must not let the queue run ahead of the committed offset without end."""
        self.count = 0
        self.cached_bytes = 0
        self.dropped = False
        """The queue belongs to somebody else now, or was begun anew: results do not count any more."""
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._span_max = span_max
        self._pending: dict[int, MessageExt] = {}
        self._order: deque[int] = deque()
        """Offsets in the order in which they came; its first is always pending."""
        self._next_offset = -1
        """The offset after the last message put."""

    def put(self, messages: Iterable[MessageExt]) -> None:
        """Add messages, whose offsets increase from call to call."""
        for message in messages:
            self._pending[message.queue_offset] = message
            self._order.append(message.queue_offset)
            self._next_offset = message.queue_offset + 1
            self.count += 1
            self.cached_bytes += message.store_bytes

    def peek(self, count: int) -> list[MessageExt]:
        """The first messages, at most ``count``, left where they are."""
        first: list[MessageExt] = []
        for offset in self._order:
            if len(first) == count:
                break
            message = self._pending.get(offset)
            if message is not None:
                first.append(message)
        return first

    def remove(self, messages: Iterable[MessageExt]) -> int:
        """Drop messages that are done; the offset that may be committed now, -1 when nothing was ever put."""
        for message in messages:
            if self._pending.pop(message.queue_offset, None) is not None:
                self.count -= 1
                self.cached_bytes -= message.store_bytes
        while self._order and self._order[0] not in self._pending:
            self._order.popleft()
        return self._order[0] if self._order else self._next_offset

    def is_full(self) -> bool:
        """Whether pulling has to wait until messages are done."""
        return (
            self.count >= self._count_max
            or self.cached_bytes >= self._bytes_max
            or self.offset_span() > self._span_max
        )

    def offset_span(self) -> int:
        """The distance from the first pending offset to the last one put."""
        return self._next_offset - 1 - self._order[0] if self._order else 0

    def offset_range(self) -> tuple[int, int]:
        """The first pending offset and the last one put; zeros when nothing is pending."""
        return (self._order[0], self._next_offset - 1) if self._order else (0, 0)
