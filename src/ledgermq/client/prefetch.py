"""The messages of one queue that were pulled ahead for a pull consumer. Pure.

Three offsets, each at or before the next::

    done        handed out         pulled
    |-----------|------------------|
    committed   position           next pull

What is handed out becomes done when the application asks for more: then it has dealt with the former.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from ledgermq.message.model import MessageExt


class Prefetch:
    """Begins at ``offset``. ``done`` may be committed; ``position`` is the next to hand out."""

    def __init__(self, offset: int, count_max: int, bytes_max: int) -> None:
        self.done = offset
        self.position = offset
        self.cached_bytes = 0
        self._pulled = offset
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._messages: deque[MessageExt] = deque()

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, messages: Iterable[MessageExt]) -> None:
        """Add messages, whose offsets increase from call to call."""
        for message in messages:
            self._messages.append(message)
            self.cached_bytes += message.store_bytes
            self._pulled = message.queue_offset + 1

    def skip(self, next_offset: int) -> None:
        """There is nothing wanted before ``next_offset``."""
        self._pulled = next_offset
        if not self._messages:
            # Nothing is left to hand out before; and if all was done, this too is.
            if self.done == self.position:
                self.done = next_offset
            self.position = next_offset

    def take(self, count: int) -> list[MessageExt]:
        """Hand out the first messages, at most ``count``."""
        taken = [self._messages.popleft() for _ in range(min(count, len(self._messages)))]
        for message in taken:
            self.cached_bytes -= message.store_bytes
        if taken:
            self.position = self._messages[0].queue_offset if self._messages else self._pulled
        return taken

    def acknowledge(self) -> None:
        """The application has dealt with everything that was handed out."""
        self.done = self.position

    def is_full(self) -> bool:
        """Whether pulling has to wait until messages are taken."""
        return len(self._messages) >= self._count_max or self.cached_bytes >= self._bytes_max
