"""What a group's log is for: a state machine to which every member applies the committed entries in order.

The caller here hands entries over exactly once and in order of their indexes, beginning behind the snapshot
that was loaded. It works in steps of bounded size, so that a long replay never stops the loop; what has to be
read from disk is read on a worker.

Rules of this file: an entry is applied when it is committed, never before; while a snapshot is being loaded
nothing is applied.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import BinaryIO, Final, Protocol

import msgspec

from ledgermq.dledger.entries import split_bodies
from ledgermq.dledger.messages import Entries

APPLY_BYTES_MAX: Final = 256 * 1024
"""Of entries handed over in one call, but for a single larger one."""


class AppliedEntry(msgspec.Struct, frozen=True):
    index: int
    term: int
    body: bytes


class StateMachine(Protocol):
    """Deterministic: the same entries make the same state on every member (Java: ``StateMachine``).

    ``apply`` and ``freeze`` are called on the loop and should be quick; the others on a worker, while nothing
    else is called.
    """

    def apply(self, entries: Sequence[AppliedEntry]) -> None:
        """The next committed entries, in order. Entries without a body (a leader's first) are left out."""

    def freeze(self) -> Callable[[BinaryIO], None]:
        """A function that writes the state as it is now; it runs on a worker while ``apply`` goes on."""

    def load(self, data: BinaryIO) -> None:
        """Replace the state by what ``freeze``'s function wrote. Raises ValueError, and the state stays."""


class EntryMachine(ABC):
    """A state machine that keeps its state on disk by itself, and takes entries as they lie in the log."""

    recovered_index: int
    """The last entry whose effect it had when it was opened."""

    def opening_body(self, end_pos: int) -> bytes:
        """The body of the entry with which this member opens its term as leader; the log ends at position
        ``end_pos``. Empty unless every entry must say something."""
        return b""

    @abstractmethod
    def apply_entries(self, entries: Entries) -> None:
        """The next committed entries, in order, all of them; called on the loop."""

    @abstractmethod
    def freeze(self) -> Callable[[BinaryIO], None]:
        """As :meth:`StateMachine.freeze`."""

    @abstractmethod
    def load(self, data: BinaryIO) -> None:
        """As :meth:`StateMachine.load`, but the state is replaced by :meth:`loaded`."""

    @abstractmethod
    def loaded(self, last_index: int, next_pos: int) -> None:
        """On the loop: what ``load`` has read is the state after entry ``last_index``; the next one begins at
        position ``next_pos``. A state that is not newer than the machine's own only completes it."""

    @abstractmethod
    def remembered(self, last_index: int, next_pos: int) -> None:
        """At the start: the state stays, though ``load`` has read the one after entry ``last_index``. It is
        newer, or the log has what is between, and that is applied. ``next_pos`` as in :meth:`loaded`."""


class Applier:
    """Applies what is committed. ``applied_index`` is the last entry whose effect the state has."""

    def __init__(self, machine: StateMachine | EntryMachine, applied_index: int) -> None:
        self.machine = machine
        self.applied_index = applied_index
        self.applied_term = -1
        self.bytes_since_snapshot = 0
        self.loading = False
        """A snapshot is being loaded."""

    def step(self, entries: Entries, commit_index: int) -> None:
        """Apply those of ``entries`` that come next and are committed."""
        if self.loading or entries.first_index > self.applied_index + 1:
            return
        if isinstance(self.machine, EntryMachine):
            self._step_whole(self.machine, entries, commit_index)
            return
        batch: list[AppliedEntry] = []
        run = 0
        runs = entries.runs
        for index, body in enumerate(split_bodies(entries.payload), entries.first_index):
            while run + 1 < len(runs) and runs[run + 1][0] <= index:
                run += 1
            if index <= self.applied_index:
                continue
            if index > commit_index:
                break
            self.applied_index = index
            self.applied_term = runs[run][1]
            self.bytes_since_snapshot += len(body)
            if body:
                batch.append(AppliedEntry(index, runs[run][1], body))
        if batch:
            self.machine.apply(batch)

    def _step_whole(self, machine: EntryMachine, entries: Entries, commit_index: int) -> None:
        if entries.first_index <= self.applied_index or entries.last_index > commit_index:
            return  # Read for another moment: what comes next is read again.
        self.applied_index = entries.last_index
        self.applied_term = entries.runs[-1][1]
        self.bytes_since_snapshot += len(entries.payload)
        machine.apply_entries(entries)

    def loaded(self, last_index: int, last_term: int) -> None:
        """The state is that of a snapshot after entry ``last_index``."""
        self.applied_index = last_index
        self.applied_term = last_term
        self.bytes_since_snapshot = 0
        self.loading = False
