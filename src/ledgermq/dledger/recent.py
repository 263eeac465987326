"""The entries written last, encoded, so that followers in step are served without the disk.

Rules of this file: pure; batches are consecutive in index; the oldest make room. One thread adds, others may read:
the list of batches is replaced and never changed in place.
"""

from __future__ import annotations

from bisect import bisect_right

from ledgermq.dledger.entries import offset_of
from ledgermq.dledger.messages import Entries


class Recent:
    """Up to ``bytes_max`` of entries, the newest batch in any case."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._batches: list[Entries] = []
        self._firsts: list[int] = []
        self._bytes = 0

    @property
    def first_index(self) -> int | None:
        """The oldest entry that is here."""
        return self._firsts[0] if self._firsts else None

    def add(self, entries: Entries) -> None:
        self._batches.append(entries)
        self._firsts.append(entries.first_index)
        self._bytes += len(entries.payload)
        if self._bytes > self._bytes_max:
            self._make_room()

    def _make_room(self) -> None:
        """Drop the older half at once: batch by batch each would move the whole list."""
        count = 0
        freed = 0
        while self._bytes - freed > self._bytes_max // 2 and count < len(self._batches) - 1:
            freed += len(self._batches[count].payload)
            count += 1
        self._batches = self._batches[count:]
        self._firsts = self._firsts[count:]
        self._bytes -= freed

    def read(self, first_index: int, max_bytes: int, last_index: int) -> Entries | None:
        """Whole entries from ``first_index`` on, of one data file, of at most ``max_bytes`` but at least one; None
        when they are not here."""
        batches, firsts = self._batches, self._firsts
        at = bisect_right(firsts, first_index) - 1
        if at < 0 or first_index > min(last_index, batches[at].last_index):
            return None
        taken = cut(batches[at], first_index, last_index)
        if len(taken.payload) > max_bytes:
            return fit(taken, max_bytes)
        parts = [taken]
        size = len(taken.payload)
        for batch in batches[at + 1 :]:
            size += len(batch.payload)
            together = batch.first_pos == parts[-1].first_pos + len(parts[-1].payload)
            if size > max_bytes or batch.last_index > last_index or not together:
                break
            parts.append(batch)
        return taken if len(parts) == 1 else join(parts)

    def truncate(self, last_index: int, end_pos: int) -> int:
        """Drop what follows ``last_index``; returns where it ended, ``end_pos`` when it is not here."""
        batches: list[Entries] = []
        for batch in self._batches:
            if batch.first_index <= last_index:
                batches.append(cut(batch, batch.first_index, last_index))
            elif not batches or batches[-1].last_index != last_index:
                end_pos = batch.first_pos
                break
            else:
                break
        self._set(batches)
        if batches and batches[-1].last_index == last_index:
            end_pos = batches[-1].first_pos + len(batches[-1].payload)
        return end_pos

    def drop_before(self, first_index: int) -> None:
        self._set([batch for batch in self._batches if batch.last_index >= first_index])

    def clear(self) -> None:
        self._set([])

    def _set(self, batches: list[Entries]) -> None:
        self._firsts = [batch.first_index for batch in batches]
        self._batches = batches
        self._bytes = sum(len(batch.payload) for batch in batches)


def cut(entries: Entries, first_index: int, last_index: int) -> Entries:
    """The part of a batch from ``first_index`` to ``last_index``."""
    last_index = min(last_index, entries.last_index)
    if first_index == entries.first_index and last_index == entries.last_index:
        return entries
    begin = offset_of(entries.payload, first_index - entries.first_index)
    end = len(entries.payload)
    if last_index < entries.last_index:
        end = offset_of(entries.payload, last_index + 1 - entries.first_index)
    runs = [(max(start, first_index), term) for start, term in entries.runs if start <= last_index]
    while len(runs) > 1 and runs[1][0] <= first_index:
        del runs[0]
    return Entries(
        first_index, last_index, entries.first_pos + begin, tuple(runs), entries.payload[begin:end]
    )


def fit(entries: Entries, max_bytes: int) -> Entries:
    """As many of the first entries as fit ``max_bytes``, one at least."""
    at = int.from_bytes(entries.payload[4:8], "big")
    count = 1
    while at < len(entries.payload):
        size = int.from_bytes(entries.payload[at + 4 : at + 8], "big")
        if at + size > max_bytes:
            break
        at += size
        count += 1
    return cut(entries, entries.first_index, entries.first_index + count - 1)


def join(parts: list[Entries]) -> Entries:
    """Batches that follow one another in index and position, as one."""
    runs: list[tuple[int, int]] = []
    for part in parts:
        for start, term in part.runs:
            if not runs or runs[-1][1] != term:
                runs.append((start, term))
    payload = b"".join(part.payload for part in parts)
    return Entries(parts[0].first_index, parts[-1].last_index, parts[0].first_pos, tuple(runs), payload)
