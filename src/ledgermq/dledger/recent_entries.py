"""The newest entries, kept in memory as they were written: what followers in step and state machines read.

Rules of this file: it is compiled; pure; batches follow one another without a gap; the oldest are dropped
when all together are larger than the limit, the newest stays whatever its size.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final, NamedTuple

from ledgermq.dledger.entries import take_entries

_COMPACT_COUNT: Final = 1024


class Batch(NamedTuple):
    """Entries written together."""

    first_index: int
    last_index: int
    first_pos: int
    payload: bytes


_DROPPED: Final = Batch(-1, -1, -1, b"")


class RecentEntries:
    """The batches in order; ``bytes_max`` of payload in all."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._batches: list[Batch] = []
        self._firsts: list[int] = []
        self._start = 0
        """Batches before it were dropped; they leave the lists now and then."""
        self._bytes = 0

    def clear(self) -> None:
        self._batches.clear()
        self._firsts.clear()
        self._start = 0
        self._bytes = 0

    def add(self, batch: Batch) -> None:
        self._batches.append(batch)
        self._firsts.append(batch.first_index)
        self._bytes += len(batch.payload)
        while self._bytes > self._bytes_max and self._start < len(self._batches) - 1:
            self._bytes -= len(self._batches[self._start].payload)
            self._batches[self._start] = _DROPPED  # Gives the memory back.
            self._start += 1
        if self._start >= _COMPACT_COUNT and self._start * 2 > len(self._batches):
            del self._batches[: self._start], self._firsts[: self._start]
            self._start = 0

    def truncate(self, last_index: int) -> None:
        """Forget what follows ``last_index``."""
        while len(self._batches) > self._start and self._batches[-1].last_index > last_index:
            batch = self._batches.pop()
            self._firsts.pop()
            self._bytes -= len(batch.payload)
            if batch.first_index <= last_index:
                _, end = take_entries(
                    batch.payload, 0, last_index + 1 - batch.first_index, len(batch.payload)
                )
                self.add(Batch(batch.first_index, last_index, batch.first_pos, batch.payload[:end]))

    def holds(self, index: int) -> bool:
        batches = self._batches
        return (
            len(batches) > self._start and batches[self._start].first_index <= index <= batches[-1].last_index
        )

    def place(self, index: int) -> tuple[int, int]:
        """Position and size of an entry that is here."""
        batch, at = self._find(index)
        _, end = take_entries(batch.payload, at, 1, 0)
        return batch.first_pos + at, end - at

    def read(self, first_index: int, last_index: int, bytes_max: int) -> Batch:
        """Entries of one data file from ``first_index``, which is here, to at most ``last_index``."""
        batch, start = self._find(first_index)
        number = bisect_right(self._firsts, first_index, self._start) - 1
        parts: list[bytes] = []
        left, index, at, pos = bytes_max, first_index, start, batch.first_pos + start
        while True:
            wanted = min(last_index, batch.last_index) + 1 - index
            if wanted == batch.last_index + 1 - index and len(batch.payload) - at <= left:
                taken, end = wanted, len(batch.payload)  # The rest of the batch: nothing to walk along.
            else:
                taken, end = take_entries(batch.payload, at, wanted, left)
            if parts and end - at > left:
                break
            parts.append(batch.payload if at == 0 and end == len(batch.payload) else batch.payload[at:end])
            left -= end - at
            index += taken
            number += 1
            if taken < wanted or index > last_index or left <= 0 or number >= len(self._batches):
                break
            end_pos = batch.first_pos + len(batch.payload)
            batch, at = self._batches[number], 0
            if batch.first_pos != end_pos:
                break  # It begins the next file.
        return Batch(first_index, index - 1, pos, parts[0] if len(parts) == 1 else b"".join(parts))

    def _find(self, index: int) -> tuple[Batch, int]:
        """The batch with this entry, and where the entry begins in its payload."""
        batch = self._batches[bisect_right(self._firsts, index, self._start) - 1]
        before = index - batch.first_index
        at = take_entries(batch.payload, 0, before, len(batch.payload))[1] if before else 0
        return batch, at
