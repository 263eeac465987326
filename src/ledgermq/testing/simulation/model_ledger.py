"""A ledger on a disk, as far as the core can tell the difference; the quick stand-in for FileLedger.

What is modelled is what a disk may do to a correct ledger: entries that were not fsynced survive a power cut
as a prefix of any length (a torn one and what follows it fail their CRC), ``currterm`` is the old or the new
one while it is being replaced, a truncation or a reset that was under way has happened or not, a flipped bit
takes the entry and all behind it, an fsync fails, the disk is full. A death of the process alone loses
nothing that was written.

Rules of this file: durable is only what an fsync covered that began after the write; the device forgets by
lot alone; every place where a process or a machine may die calls ``fuse.step``.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from random import Random

from ledgermq.dledger.messages import NO_INDEX, NO_TERM, Entries

POS_STEP = 64
"""Of the model's positions: that of entry i is i times this."""

Item = tuple[int, bytes]
"""Term and body of an entry."""


class Died(BaseException):
    """The process, or with ``power`` the machine, is dead. Not an Exception: nothing may handle it."""

    def __init__(self, power: bool) -> None:
        super().__init__()
        self.power = power


class Fuse:
    """A death some steps from now; a step is an effect, or a part of a write."""

    def __init__(self) -> None:
        self._steps = 0
        self._power = False

    def light(self, steps: int, power: bool) -> None:
        self._steps = steps
        self._power = power

    def cut(self) -> None:
        self._steps = 0

    def step(self) -> None:
        if self._steps:
            self._steps -= 1
            if not self._steps:
                raise Died(self._power)


class ModelEntries(Entries, frozen=True):
    """Entries whose payload is a tuple, because nobody between two model ledgers looks into it."""

    items: tuple[Item, ...]

    @property
    def end_pos(self) -> int:
        return (self.last_index + 1) * POS_STEP


def model_entries(first_index: int, items: Sequence[Item]) -> ModelEntries:
    return ModelEntries(
        first_index=first_index,
        last_index=first_index + len(items) - 1,
        first_pos=first_index * POS_STEP,
        runs=tuple(runs_of(first_index, items)),
        payload=b"",
        items=tuple(items),
    )


def runs_of(first_index: int, items: Sequence[Item]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    last_term = NO_TERM
    for index, (term, _) in enumerate(items, first_index):
        if term != last_term:
            runs.append((index, term))
            last_term = term
    return runs


class ModelLedger:
    """The ledger, and the storage it stands on: it outlives the deaths of its node."""

    def __init__(self, random: Random, fuse: Fuse) -> None:
        self._random = random
        self._fuse = fuse
        self.full = False
        """Appends raise ENOSPC."""
        self.broken = False
        """Fsyncs raise EIO."""
        self.first_index = 0
        self.last_index = NO_INDEX
        self.base_term = NO_TERM
        self.committed_index = NO_INDEX
        self._items: list[Item] = []
        self._durable = NO_INDEX
        """Entries up to this one are on the device."""
        self._flushing = NO_INDEX
        """What the fsync under way will make durable: less, when the log is cut meanwhile."""
        self._state: tuple[int, str] = (0, "")
        self._old_state: tuple[int, str] | None = None
        """What ``currterm`` may still be on the device."""

    # ---- the ledger ----

    @property
    def last_term(self) -> int:
        return self._items[-1][0] if self._items else self.base_term

    @property
    def end_pos(self) -> int:
        return (self.last_index + 1) * POS_STEP

    @property
    def dirty(self) -> bool:
        return self._durable < self.last_index

    def runs(self) -> list[tuple[int, int]]:
        return runs_of(self.first_index, self._items)

    def term_at(self, index: int) -> int:
        if self.first_index <= index <= self.last_index:
            return self._items[index - self.first_index][0]
        return self.base_term if index == self.first_index - 1 else NO_TERM

    def body(self, index: int) -> bytes:
        return self._items[index - self.first_index][1]

    def append_bodies(self, first_index: int, term: int, bodies: Sequence[bytes]) -> list[int]:
        self._write(first_index, [(term, body) for body in bodies])
        return [(first_index + number) * POS_STEP for number in range(len(bodies))]

    def append(self, entries: Entries) -> None:
        assert isinstance(entries, ModelEntries)
        self._write(entries.first_index, entries.items)

    def _write(self, first_index: int, items: Sequence[Item]) -> None:
        if first_index != self.last_index + 1:
            raise AssertionError(f"entry {first_index} is written behind entry {self.last_index}")
        if self.full:
            raise OSError(errno.ENOSPC, "no space left on device")
        self._fuse.step()
        self._items.extend(items)
        self.last_index += len(items)
        self._fuse.step()

    def read(self, first_index: int, max_bytes: int, last_index: int | None = None) -> Entries:
        count = max(1, max_bytes // POS_STEP)
        last = self.last_index if last_index is None else min(last_index, self.last_index)
        last = min(last, first_index + count - 1)
        if not self.first_index <= first_index <= last:
            raise AssertionError(
                f"entry {first_index} is read from a log of {self.first_index} to {self.last_index}"
            )
        return model_entries(
            first_index, self._items[first_index - self.first_index : last + 1 - self.first_index]
        )

    def in_memory(self, index: int) -> bool:
        return True

    def flush(self) -> tuple[int, int]:
        covered = self.begin_flush()
        self.end_flush()
        return covered

    def truncate(self, last_index: int, base_term: int = NO_TERM) -> None:
        self._sync_possible()
        self._fuse.step()
        keep = last_index + 1 - self.first_index
        before = self._items[keep:], self._durable
        del self._items[keep:]
        self.last_index = self.first_index + len(self._items) - 1
        self._durable = min(self._durable, self.last_index)
        self._flushing = min(self._flushing, self.last_index)
        try:
            self._fuse.step()
        except Died as death:
            if death.power and self._random.random() < 0.5:  # The cut had not reached the device.
                self._items += before[0]
                self.last_index = self.first_index + len(self._items) - 1
                self._durable = before[1]
            raise

    def reset(self, last_index: int, last_term: int, next_pos: int) -> None:
        assert next_pos == (last_index + 1) * POS_STEP
        self._sync_possible()
        self._fuse.step()
        self._items.clear()
        self.first_index = last_index + 1
        self.last_index = self._durable = last_index
        self.base_term = last_term
        self._flushing = NO_INDEX
        self._fuse.step()

    def delete_before(self, index: int) -> int:
        index = min(index, self._durable + 1)
        if index > self.first_index:
            self.base_term = self.term_at(index - 1)
            del self._items[: index - self.first_index]
            self.first_index = index
        return self.first_index

    def load_state(self) -> tuple[int, str]:
        return self._state

    def save_state(self, term: int, vote: str) -> None:
        self._sync_possible()
        self._fuse.step()
        self._old_state = self._state
        self._state = (term, vote)
        self._fuse.step()
        self._old_state = None

    def save_checkpoint(self, committed_index: int) -> None:
        self.committed_index = committed_index

    def _sync_possible(self) -> None:
        if self.broken:
            raise OSError(errno.EIO, "I/O error")

    # ---- the storage ----

    @property
    def ledger(self) -> ModelLedger:
        return self

    def open(self) -> None:
        """Recovery: what is found is fsynced, so that it is durable when the node starts."""
        self._sync_possible()
        self._fuse.step()
        self._durable = self.last_index
        self._old_state = None
        self._flushing = NO_INDEX

    def close(self) -> None:
        """Nothing is open."""

    def begin_flush(self) -> tuple[int, int]:
        """An fsync of all that is written now begins on the worker; the last entry that it covers."""
        self._flushing = self.last_index
        return self.last_index, self.last_term

    def end_flush(self) -> None:
        """It ends. Raises OSError: then what was not durable is lost or not, and the pages count as clean."""
        if self.broken:
            raise OSError(errno.EIO, "I/O error")
        self._durable = max(self._durable, self._flushing)
        self._flushing = NO_INDEX

    def stop(self, commit_index: int) -> None:
        """Brokers alone are stopped."""

    def crash(self, power: bool) -> None:
        """What a dead process, or a dead machine, leaves."""
        if self._old_state is not None:
            if self._random.random() < 0.5:
                self._state = self._old_state
            self._old_state = None
        self._flushing = NO_INDEX
        unsafe = self.last_index - self._durable
        if power and unsafe > 0:
            lost = self._random.choice((0, unsafe, self._random.randrange(unsafe + 1)))
            if lost:
                del self._items[-lost:]
                self.last_index -= lost

    def damage(self, index: int) -> None:
        """A bit of entry ``index`` flips: recovery finds it and keeps what is before."""
        del self._items[index - self.first_index :]
        self.last_index = index - 1
        self._durable = min(self._durable, self.last_index)

    def holds(self, index: int, term: int, written: bool = False) -> bool:
        """Whether the entry is durable here, or was before a snapshot took its place.

        ``written``: it counts when it is written, as under the flush policy page-cache.
        """
        if index < self.first_index:
            return True
        safe = self.last_index if written else self._durable
        return index <= safe and self._items[index - self.first_index][0] == term
