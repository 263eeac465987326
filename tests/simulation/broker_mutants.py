"""Rules of a broker's store over a replicated log taken out, one by one: what the simulator must notice."""

from __future__ import annotations

import pytest
from tests.simulation.mutants import Hunt

from ledgermq.broker.committed_log import committed_log
from ledgermq.broker.metadata_log import MetadataLog
from ledgermq.dledger.codes import Role
from ledgermq.dledger.core import Refused
from ledgermq.dledger.ledger import Ledger
from ledgermq.store.consume_queue import ConsumeQueue
from ledgermq.store.entry_recovery import CommittedLog, EntryRecovery
from ledgermq.store.recovery import Recovery
from ledgermq.store.replicated_store import ReplicatedStore
from ledgermq.testing.simulation.broker_machine import BrokerMachine, SimMessage
from ledgermq.testing.simulation.broker_metadata import BrokerMetadata
from ledgermq.testing.simulation.deliveries import Deliveries
from ledgermq.testing.simulation.faults import Faults, with_broker
from ledgermq.testing.simulation.leading import Leading


def offsets_do_not_fall_back(patch: pytest.MonkeyPatch) -> None:
    """Who leads no more goes on counting where its lost messages ended."""

    def follow(self: BrokerMachine) -> None:
        if self.leading:
            entries = self.store.entries
            ahead = [(queue, queue.next_offset) for queue in self.store.queues.all()]
            self.leading = False
            entries.follow()
            self.metadata.pause()
            for queue, next_offset in ahead:
                queue.next_offset = next_offset

    patch.setattr(BrokerMachine, "follow", follow)


def applied_before_it_is_committed(patch: pytest.MonkeyPatch) -> None:
    propose = Leading._propose

    def eager(self: Leading) -> None:
        propose(self)
        self._machine.apply(self._machine.applied_index + 1, self._member.ledger.last_index)

    patch.setattr(Leading, "_propose", eager)


def leads_before_its_own_term(patch: pytest.MonkeyPatch) -> None:
    """A leader takes messages although its log does not end with an entry of its term."""

    def look(self: Leading) -> None:
        member = self._member
        applied = member.applied_index == member.ledger.last_index
        if not self._machine.leading and member.core.role is Role.LEADER and applied:
            self._machine.lead(member.core.term)

    patch.setattr(Leading, "look", look)


def leads_before_everything_is_applied(patch: pytest.MonkeyPatch) -> None:
    def look(self: Leading) -> None:
        core = self._member.core
        in_term = self._member.ledger.last_term == core.term
        if not self._machine.leading and core.role is Role.LEADER and in_term:
            self._machine.lead(core.term)

    patch.setattr(Leading, "look", look)


def leads_on_after_a_refusal(patch: pytest.MonkeyPatch) -> None:
    def propose(self: Leading) -> None:
        self._scheduled = False
        bodies, foreseen_end = self._machine.take_bodies()
        if not bodies:
            return
        try:
            self._member.propose_now(bodies)
        except Refused:
            return
        self._checks.foreseen(self._node.id, foreseen_end, self._member.ledger.end_pos)

    patch.setattr(Leading, "_propose", propose)


def whole_log_believed_to_be_committed(patch: pytest.MonkeyPatch) -> None:
    def believing(ledger: Ledger, file_bytes: int) -> CommittedLog:
        known = committed_log(ledger, file_bytes)
        return known._replace(committed_index=ledger.last_index, committed_end=known.end)

    patch.setattr("ledgermq.testing.simulation.broker_machine.committed_log", believing)


def uncommitted_files_stay_open(patch: pytest.MonkeyPatch) -> None:
    """As the store did until the crash tests showed it."""
    patch.setattr(EntryRecovery, "_clear_behind", lambda self, end: None)


def queue_ends_not_in_snapshots(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ReplicatedStore, "raise_ends", lambda self, ends, pos: None)


def index_walked_from_inside_an_entry(patch: pytest.MonkeyPatch) -> None:
    """As recovery did until the crash tests showed it."""
    patch.setattr(EntryRecovery, "_entry_at", lambda self, start: start)


def metadata_kept_that_was_not_committed(patch: pytest.MonkeyPatch) -> None:
    def pause(self: BrokerMetadata) -> None:
        self.journal.leading = False
        self.journal._pending.clear()
        self.journal._progress_pending = 0

    patch.setattr(BrokerMetadata, "pause", pause)


def metadata_not_in_snapshots(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MetadataLog, "install", lambda self, file, deletions: deletions)


def metadata_acknowledged_when_it_is_proposed(patch: pytest.MonkeyPatch) -> None:
    propose = Leading._propose

    def hasty(self: Leading) -> None:
        for tell in self._told:
            tell()
        self._told.clear()
        propose(self)

    patch.setattr(Leading, "_propose", hasty)


def a_stop_that_only_says_that_it_was_clean(patch: pytest.MonkeyPatch) -> None:
    def close(self: ReplicatedStore) -> None:
        self.disk.unlink(f"{self.root}/abort")
        self.disk.sync_directory(self.root)

    patch.setattr(ReplicatedStore, "close", close)


def index_believed_whole_after_a_clean_stop(patch: pytest.MonkeyPatch) -> None:
    """As recovery did until a member was stopped before it had applied what was committed."""
    patch.setattr(EntryRecovery, "_settle_index", Recovery._settle_index)


def batches_in_another_order(patch: pytest.MonkeyPatch) -> None:
    append = BrokerMachine._append_batch

    def turned(self: BrokerMachine, queue: ConsumeQueue, messages: list[SimMessage]) -> None:
        append(self, queue, messages[::-1])

    patch.setattr(BrokerMachine, "_append_batch", turned)


def delay_offsets_of_others_not_heard(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Deliveries, "replay", lambda self, offsets, version: None)


LOST_LEADERS = with_broker(
    Faults(
        delay_ms_max=10,
        partitions=2.0,
        one_way=True,
        hunts=True,
        kills=0.5,
        batching=True,
        stragglers=0.01,
        transfers=1.0,
    )
)
"""Leaders lose their followers again and again, with messages on the way."""

DEATHS = with_broker(
    Faults(
        delay_ms_max=10,
        partitions=1.0,
        kills=2.0,
        power_cuts=1.0,
        hunts=True,
        fuses=True,
        young_deaths=0.3,
        slow_fsync_ms=30,
        remembered_commits=True,
    )
)

FULL_DISKS = with_broker(Faults(delay_ms_max=10, full_disks=1.0, hunts=True, batching=True))

RETENTION = with_broker(Faults(delay_ms_max=10, kills=1.0, power_cuts=1.0, snapshots=3.0, partitions=1.0))

STOPS = with_broker(Faults(delay_ms_max=10, stops=2.0, slow_applies=True, batching=True, slow_fsync_ms=30))

BROKER_HUNTS = [
    Hunt(offsets_do_not_fall_back, range(30), LOST_LEADERS),
    Hunt(applied_before_it_is_committed, range(30), LOST_LEADERS),
    Hunt(leads_before_its_own_term, range(30), LOST_LEADERS),
    Hunt(leads_before_everything_is_applied, range(1, 60), LOST_LEADERS),
    Hunt(leads_on_after_a_refusal, range(30), FULL_DISKS),
    Hunt(whole_log_believed_to_be_committed, range(30), DEATHS),
    Hunt(uncommitted_files_stay_open, range(10, 40), DEATHS),
    Hunt(queue_ends_not_in_snapshots, range(30), RETENTION),
    Hunt(index_walked_from_inside_an_entry, range(30), DEATHS),
    Hunt(metadata_kept_that_was_not_committed, range(30), LOST_LEADERS),
    Hunt(metadata_not_in_snapshots, range(60), RETENTION),
    Hunt(metadata_acknowledged_when_it_is_proposed, range(30), LOST_LEADERS),
    Hunt(a_stop_that_only_says_that_it_was_clean, range(30), STOPS),
    Hunt(index_believed_whole_after_a_clean_stop, range(60), STOPS),
    Hunt(delay_offsets_of_others_not_heard, range(30), LOST_LEADERS),
    Hunt(batches_in_another_order, range(10), STOPS),
]
"""Not among them: keeping gathered messages when the leadership is lost. They are proposed within the same
moment, and refused."""
