"""The appends of clients, from their request to their answer.

What one turn of the loop brings is written together; each append then waits until its last entry is committed
(and applied), in the order of indexes.

Rules of this file: it is compiled; pure; each append is answered exactly once; what waits is bounded by count
and bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from ledgermq.dledger.codes import DLedgerCode
from ledgermq.runtime.limits import WAITING_APPENDS_BYTES_MAX

Done = Callable[[int, int, int], None]
"""(code, index of the last entry, its position in the data file); the two are -1 when the code is not
SUCCESS."""


class Proposals:
    """Appends that are new (not written yet) or wait for their index."""

    def __init__(self, count_max: int) -> None:
        self._count_max: int = count_max
        self._new: list[tuple[Sequence[bytes], int, Done]] = []
        """(bodies, their bytes, done)"""
        self._waiting: deque[tuple[int, int, int, int, Done]] = deque()
        """(last index, its position, entries, bytes, done), by index."""
        self.count: int = 0
        """Entries, new and waiting."""
        self.bytes: int = 0
        """Of their bodies."""

    @property
    def has_new(self) -> bool:
        return bool(self._new)

    def add(self, bodies: Sequence[bytes], size: int, done: Done) -> bool:
        """Take an append of ``size`` bytes in all, if there is room; one that is alone may be of any size."""
        count = self.count + len(bodies)
        if self.count and (count > self._count_max or self.bytes + size > WAITING_APPENDS_BYTES_MAX):
            return False
        self._new.append((bodies, size, done))
        self.count = count
        self.bytes += size
        return True

    def new_bodies(self) -> list[bytes]:
        """The bodies of all new appends, in order."""
        return [body for bodies, _, _ in self._new for body in bodies]

    def written(self, first_index: int, positions: Sequence[int]) -> None:
        """The new appends have been written from ``first_index`` on, each entry at its position."""
        at = 0
        for bodies, size, done in self._new:
            count = len(bodies)
            at += count
            self._waiting.append((first_index + at - 1, positions[at - 1], count, size, done))
        self._new = []

    def refuse_new(self, code: int) -> None:
        """The new appends have not been written and will not be."""
        refused = self._new
        self._new = []
        for bodies, size, done in refused:
            self.count -= len(bodies)
            self.bytes -= size
            done(code, -1, -1)

    def committed(self, index: int) -> None:
        """Answer those whose last entry is at or before ``index``."""
        waiting = self._waiting
        while waiting and waiting[0][0] <= index:
            last_index, pos, count, size, done = waiting.popleft()
            self.count -= count
            self.bytes -= size
            done(DLedgerCode.SUCCESS, last_index, pos)

    def failed(self, first_index: int, last_index: int, code: int) -> None:
        """Answer ``code`` to those whose last entry is from ``first_index`` to ``last_index``."""
        failed = [waiting for waiting in self._waiting if first_index <= waiting[0] <= last_index]
        if failed:
            self._waiting = deque(
                waiting for waiting in self._waiting if not first_index <= waiting[0] <= last_index
            )
        for _, _, count, size, done in failed:
            self.count -= count
            self.bytes -= size
            done(code, -1, -1)

    def fail_all(self, code: int) -> None:
        waiting = self._waiting
        self._waiting = deque()
        for _, _, count, size, done in waiting:
            self.count -= count
            self.bytes -= size
            done(code, -1, -1)
        self.refuse_new(code)
