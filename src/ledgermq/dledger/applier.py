"""Hands the committed entries over to a state machine: exactly once and in order of their indexes, beginning
behind the snapshot that was loaded.

It works in steps of bounded size, so that a long replay never stops the loop; what has to be read from disk
is read on a worker.

Rules of this file: it is compiled; an entry is applied when it is committed, never before; while a snapshot
is being loaded nothing is applied.
"""

from __future__ import annotations

from typing import Final

from ledgermq.dledger.entries import split_bodies
from ledgermq.dledger.messages import Entries
from ledgermq.dledger.state_machine import AppliedEntry, EntryMachine, StateMachine

APPLY_BYTES_MAX: Final = 256 * 1024
"""Of entries handed over in one call, but for a single larger one."""


class Applier:
    """Applies what is committed. ``applied_index`` is the last entry whose effect the state has."""

    def __init__(self, machine: StateMachine | EntryMachine, applied_index: int) -> None:
        self.machine = machine
        self._entry_machine = machine if isinstance(machine, EntryMachine) else None
        self.applied_index = applied_index
        self.applied_term = -1
        self.bytes_since_snapshot = 0
        self.loading = False
        """A snapshot is being loaded."""

    def step(self, entries: Entries, commit_index: int) -> None:
        """Apply those of ``entries`` that come next and are committed."""
        if self.loading or entries.first_index > self.applied_index + 1:
            return
        if self._entry_machine is not None:
            self._step_whole(self._entry_machine, entries, commit_index)
            return
        assert not isinstance(self.machine, EntryMachine)
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
