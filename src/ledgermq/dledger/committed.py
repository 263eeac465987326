"""What happens with entries once they are committed: applied to the state machine, then answered.

Without a state machine an entry is visible as soon as it is committed, with one when it is applied; only what
is visible is answered or read. The state machine's snapshots are saved here by count and by size.

Rules of this file: it is compiled; entries are applied exactly in order and once; nothing on the loop
waits for the disk.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from ledgermq.dledger.applier import APPLY_BYTES_MAX, Applier
from ledgermq.dledger.codes import DLedgerCode
from ledgermq.dledger.ledger import Ledger, LedgerError
from ledgermq.dledger.log_reader import LogReader
from ledgermq.dledger.messages import Entries
from ledgermq.dledger.proposals import Proposals
from ledgermq.dledger.settings import DLedgerSettings
from ledgermq.dledger.snapshots import OpenSnapshot, SnapshotDirectory, SnapshotError, load
from ledgermq.dledger.state_machine import EntryMachine, StateMachine
from ledgermq.dledger.workers import Worker

log: Final = logging.getLogger("ledgermq.dledger")

STEPS_MAX: Final = 8
"""Batches applied in one turn of the loop."""

Visible = Callable[[int], None]
"""Called with SUCCESS when the index is visible, else with a code that says why it will not be."""


class Committed:
    """The committed end of one member's log. ``again`` asks for another call of ``advance``."""

    def __init__(
        self,
        settings: DLedgerSettings,
        ledger: Ledger,
        reader: LogReader,
        worker: Worker,
        proposals: Proposals,
        machine: StateMachine | EntryMachine | None,
        snapshots: SnapshotDirectory | None,
        again: Callable[[], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._reader = reader
        self._worker = worker
        self._proposals = proposals
        self._snapshots = snapshots
        self._applier = Applier(machine, -1) if machine is not None else None
        self._again = again
        self.on_snapshot: Callable[[int], None] | None = None
        """Hears the last index of the oldest snapshot when one was saved: back to there the log is needed."""
        self._failed = failed
        self.commit_index = -1
        self._reading = False
        self._saving = False
        self._snapshot_index = -1
        self._waiting: deque[tuple[int, Visible]] = deque()

    @property
    def visible_index(self) -> int:
        """The last entry that clients may see."""
        return self.commit_index if self._applier is None else self._applier.applied_index

    @property
    def waiting_count(self) -> int:
        """Reads that wait until an index is visible."""
        return len(self._waiting)

    # ---- start ----

    def recover(self) -> int:
        """Load the newest snapshot and find the commit index; returns it. On a worker, before all else.

        Raises SnapshotError when the log begins behind every snapshot, OSError, LedgerError.
        """
        commit_index = min(self._ledger.committed_index, self._ledger.last_index)
        if self._applier is not None and self._snapshots is not None:
            self._snapshots.prepare()
            opened = self._load_newest(self._applier)
            if opened is not None:
                commit_index = max(commit_index, opened.meta.last_included_index)
                self._fit_log(opened)
            elif self._ledger.first_index > self._applier.applied_index + 1:
                raise SnapshotError(
                    f"the log begins with entry {self._ledger.first_index} and no snapshot holds what was "
                    f"before it ({DLedgerCode.LOAD_SNAPSHOT_ERROR})"
                )
        # What retention removed was committed, and what was applied.
        applied_index = -1 if self._applier is None else self._applier.applied_index
        self.commit_index = max(commit_index, applied_index, self._ledger.first_index - 1)
        return self.commit_index

    def _load_newest(self, applier: Applier) -> OpenSnapshot | None:
        assert self._snapshots is not None
        machine = applier.machine
        for index in reversed(self._snapshots.indexes()):
            opened = self._snapshots.open(index)
            if opened is None or not _loads(applier, opened):
                continue
            if isinstance(machine, EntryMachine) and self._leads_to(machine.recovered_index, opened):
                machine.remembered(index, opened.meta.next_pos)
                self._snapshot_index = index
                self._go_on(applier, machine)
            else:
                self._loaded(applier, index, opened.meta.last_included_term, opened.meta.next_pos)
                log.info("the snapshot after entry %d is loaded", index)
            return opened
        if isinstance(machine, EntryMachine):
            self._go_on(applier, machine)
        return None

    def _leads_to(self, recovered_index: int, opened: OpenSnapshot) -> bool:
        """Whether who has applied ``recovered_index`` comes to the snapshot's state with the log alone."""
        index, ledger = opened.meta.last_included_index, self._ledger
        if ledger.first_index == index + 1:
            # The log was dropped for this snapshot; a crash may have kept the state that it replaced.
            return False
        if recovered_index >= index:
            return True
        has_rest = ledger.first_index <= recovered_index + 1
        return has_rest and ledger.term_at(index) == opened.meta.last_included_term

    def _go_on(self, applier: Applier, machine: EntryMachine) -> None:
        applier.loaded(machine.recovered_index, self._ledger.term_at(machine.recovered_index))

    def _loaded(self, applier: Applier, last_index: int, last_term: int, next_pos: int) -> None:
        self._snapshot_index = last_index
        machine = applier.machine
        if isinstance(machine, EntryMachine):
            machine.loaded(last_index, next_pos)
        applier.loaded(last_index, last_term)

    def _fit_log(self, opened: OpenSnapshot) -> None:
        """A snapshot was received and the log it replaces not dropped before a crash: drop it now."""
        meta = opened.meta
        index = meta.last_included_index
        ledger = self._ledger
        if ledger.first_index - 1 <= index <= ledger.last_index:
            known = ledger.term_at(index)
            if index == ledger.first_index - 1 or known == meta.last_included_term:
                return
        next_pos = meta.next_pos if meta.next_pos >= 0 else ledger.end_pos
        log.warning(
            "the log ends with entry %d, before the snapshot after entry %d", ledger.last_index, index
        )
        ledger.reset(index, meta.last_included_term, next_pos)

    # ---- commit and apply ----

    def commit(self, index: int) -> None:
        """Entries up to ``index`` are committed."""
        self.commit_index = max(self.commit_index, index)
        self.advance()

    def advance(self) -> None:
        """Apply what can be applied now, and answer who waited for it."""
        applier = self._applier
        if applier is not None:
            self._apply(applier)
        visible_index = self.visible_index
        self._proposals.committed(visible_index)
        while self._waiting and self._waiting[0][0] <= visible_index:
            self._waiting.popleft()[1](DLedgerCode.SUCCESS)

    def _apply(self, applier: Applier) -> None:
        for _ in range(STEPS_MAX):
            first_index = applier.applied_index + 1
            if first_index > self.commit_index or applier.loading or self._reading:
                break
            entries = self._reader.recent(first_index, APPLY_BYTES_MAX, self.commit_index)
            if entries is None:
                self._reading = True
                last_index = self.commit_index
                self._reader.fetch(first_index, APPLY_BYTES_MAX, last_index, self._read, self._not_read)
                return
            applier.step(entries, self.commit_index)
        else:
            self._again()
        self._save_if_due(applier)

    def _read(self, entries: Entries) -> None:
        self._reading = False
        if self._applier is not None:
            self._applier.step(entries, self.commit_index)
        self._again()

    def _not_read(self, error: BaseException) -> None:
        if isinstance(error, LedgerError) and error.code != DLedgerCode.DISK_ERROR:
            self._reading = False  # the log was replaced by a snapshot meanwhile
            self._again()
        else:
            self._failed(error)

    # ---- who waits ----

    def when_visible(self, index: int, done: Visible) -> None:
        """Call ``done(SUCCESS)`` when entry ``index`` is visible. The calls come in the order of asking."""
        if index <= self.visible_index and not self._waiting:
            done(DLedgerCode.SUCCESS)
        else:
            self._waiting.append((index, done))

    def fail_waiting(self, code: int) -> None:
        waiting = self._waiting
        self._waiting = deque()
        for _, done in waiting:
            done(code)

    # ---- snapshots ----

    def needed_from(self) -> int:
        """The lowest entry that may have to be applied again: behind the oldest snapshot. On a worker."""
        if self._snapshots is None:
            return self.commit_index + 1
        indexes = self._snapshots.indexes()
        return indexes[0] + 1 if indexes else 0

    def load_received(self, last_index: int, last_term: int) -> None:
        """A snapshot from the leader is in the directory and replaces the state; entries wait meanwhile."""
        self.commit_index = max(self.commit_index, last_index)
        applier, snapshots = self._applier, self._snapshots
        if applier is None or snapshots is None:
            return
        applier.loading = True

        def load_it() -> int:
            opened = snapshots.open(last_index)
            if opened is None:
                raise SnapshotError(f"the snapshot after entry {last_index}, just received, is damaged")
            try:
                load(opened, applier.machine.load)
            finally:
                opened.close()
            snapshots.remove_old()
            return opened.meta.next_pos

        def loaded(next_pos: int) -> None:
            self._loaded(applier, last_index, last_term, next_pos)
            self._again()

        self._worker.run(load_it, loaded)

    def _save_if_due(self, applier: Applier) -> None:
        settings, snapshots = self._settings, self._snapshots
        if self._saving or applier.loading or snapshots is None:
            return
        count = applier.applied_index - self._snapshot_index
        if count < settings.snapshot_threshold and (
            applier.bytes_since_snapshot < settings.snapshot_threshold_bytes
        ):
            return
        if isinstance(applier.machine, EntryMachine) and not applier.machine.may_freeze:
            return
        index, term = applier.applied_index, applier.applied_term
        applier.bytes_since_snapshot = 0
        self._saving = True
        write = applier.machine.freeze()

        def save() -> int:
            # Not where the next entry lies: that one may be replaced by a smaller one, in the file before.
            snapshots.save(write, index, term, self._ledger.read(index, 1, index).end_pos)
            return snapshots.indexes()[0]

        self._worker.run(save, partial(self._saved, index), self._not_saved)

    def _saved(self, index: int, oldest_index: int) -> None:
        self._saving = False
        self._snapshot_index = max(self._snapshot_index, index)
        # The oldest one may be needed when the newer are damaged, and with it the log from there on.
        if self.on_snapshot is not None:
            self.on_snapshot(oldest_index)

    def _not_saved(self, error: BaseException) -> None:
        """Without a snapshot the log only stays longer; the next try comes after as many entries again."""
        self._saving = False
        if self._applier is not None:
            self._snapshot_index = self._applier.applied_index
        log.error("a snapshot could not be saved: %s", error)


def _loads(applier: Applier, opened: OpenSnapshot) -> bool:
    """Load a snapshot; False when that cannot be done, and an older one is to be tried."""
    try:
        load(opened, applier.machine.load)
    except ValueError as error:
        log.error("the snapshot after entry %d is passed over: %s", opened.meta.last_included_index, error)
        return False
    finally:
        opened.close()
    return True
