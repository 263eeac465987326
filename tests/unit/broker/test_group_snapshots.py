"""A member of a group and its snapshots: what a start makes of what lay on the disk when the power failed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import TypeVar, cast

from tests.crash.store.sim_disk import SimDisk
from tests.unit.broker import replicas
from tests.unit.broker.test_metadata_log import Jobs, found
from tests.unit.store.replicas import DIRECTORY, Replica
from tests.unit.store.stores import HOST

from ledgermq.broker.commits import Commits
from ledgermq.broker.group_member import GroupMachine
from ledgermq.broker.metadata_log import MetadataLog
from ledgermq.broker.store_jobs import StoreJobs
from ledgermq.dledger.committed import Committed
from ledgermq.dledger.log_reader import LogReader
from ledgermq.dledger.proposals import Proposals
from ledgermq.dledger.settings import DLedgerSettings
from ledgermq.dledger.snapshots import SnapshotDirectory
from ledgermq.dledger.workers import Worker
from ledgermq.message import names
from ledgermq.store.message_store import Job

T = TypeVar("T")
TOPIC = names.METADATA_TOPIC.encode()


class AtOnce:
    """A worker that is done before anything else happens."""

    def run(self, work: Callable[[], T], then: Callable[[T], None], failed: object = None) -> None:
        then(work())


def fail(error: BaseException) -> None:
    raise error


class Member(Replica):
    """It saves a snapshot whenever it has applied something; ``store_jobs`` carries out the store's jobs."""

    def __init__(self, path: Path, disk: SimDisk | None = None) -> None:
        self.path = path
        self.store_jobs = Jobs()
        super().__init__(disk, message_index_enable=False)

    def open(self) -> None:
        super().open()
        self.tables = replicas.Replica()
        # Nobody appends by it, and it saves nothing on a worker.
        commits, executor = cast(Commits, None), cast(Executor, None)
        self.metadata = MetadataLog(
            self.store, commits, executor, self.path, HOST, lambda: 1, lambda topic: None
        )
        self.metadata.recover(self.tables.journal, cast(StoreJobs, self.store_jobs), ours=True)
        self._running = False
        machine = GroupMachine(
            self.store, self.metadata, self.ledger, self._run, lambda queues: None, lambda: None
        )
        settings = DLedgerSettings(snapshot_threshold=1)
        worker = cast(Worker, AtOnce())
        self.snapshots = SnapshotDirectory(f"{DIRECTORY}/snapshot", 2, self.disk)
        self.committed = Committed(
            settings,
            self.ledger,
            LogReader(self.ledger, worker),
            worker,
            Proposals(1),
            machine,
            self.snapshots,
            lambda: self.committed.advance(),
            fail,
        )
        self.committed.recover()
        self._running = True

    def _run(self, jobs: list[Job]) -> None:
        if self._running:
            self.store_jobs.start(jobs)
        else:
            for job in jobs:
                job()

    def commit(self) -> None:
        """All that is in the log."""
        self.ledger.flush()
        self.ledger.save_checkpoint(self.ledger.last_index)
        last_index = self.ledger.last_index
        while self.committed.visible_index < last_index:
            self.committed.commit(last_index)

    def save_metadata(self) -> None:
        if self.metadata.may_save:
            self.metadata.save()
        else:
            self.metadata.save_soon()  # Tries what it has to wait for.

    def state(self) -> None:
        """Put what the journal wants logged into the log."""
        for body in self.tables.log:
            self.put(TOPIC, 0, body)
        self.tables.log.clear()

    def receive_snapshot(self, leader: Member) -> None:
        opened = leader.snapshots.newest()
        assert opened is not None
        meta = opened.meta
        file = self.snapshots.begin("received")
        file.write(opened.read(meta.data_bytes, 0))
        place = meta.last_included_index, meta.last_included_term, meta.next_pos
        self.snapshots.finish(file, *place, "received")
        self.ledger.reset(*place)
        self.committed.load_received(*place[:2])


def leading(path: Path) -> Member:
    leader = Member(path)
    leader.tables.journal.start_leading()
    leader.lead(1)
    return leader


def send(leader: Member, *bodies: bytes) -> None:
    for body in bodies:
        leader.put(b"T", 0, body)
    leader.propose()
    leader.commit()


def test_a_deletion_known_by_a_snapshot_only_holds_when_the_power_fails(tmp_path: Path) -> None:
    """The topic was deleted and made again while the replica was away. Until the old queues are gone from its
    disk for good, it goes on from that snapshot and no later one."""
    leader, follower = leading(tmp_path / "leader"), Member(tmp_path / "follower")
    leader.tables.topics.update(replicas.topic("T"), 1)
    leader.state()
    send(leader, *(b"old" * 300 for _ in range(7)))
    follower.copy(leader)
    follower.commit()
    follower.store._write_all_tails()
    follower.store._checkpointing.plan().run()
    leader.tables.topics.delete("T", 1)
    leader.state()
    send(leader)
    leader.tables.topics.update(replicas.topic("T"), 1)
    leader.state()
    send(leader, b"1" * 900, b"2")
    follower.store_jobs.fail = True  # no room for a checkpoint
    follower.receive_snapshot(leader)
    send(leader, b"3")
    follower.copy(leader)
    follower.commit()
    assert found(follower, b"T") == [b"3"]
    for done in (False, True):
        follower.store_jobs.fail = not done
        follower.save_metadata()
        follower.disk.pending.clear()  # Of what was not fsynced nothing is there.
        follower.cut_power()
        follower.commit()
        queue = follower.store.find_queue(b"T", 0)
        assert queue is not None
        assert (int(queue.min_offset), int(queue.max_offset)) == (2, 3)
        assert found(follower, b"T") == [b"3"]


def test_a_deletion_that_is_not_done_stays_in_the_log(tmp_path: Path) -> None:
    """A snapshot would let the log begin behind its record."""
    leader = leading(tmp_path)
    leader.tables.topics.update(replicas.topic("T"), 1)
    leader.state()
    send(leader, b"1", b"2")
    leader.store._write_all_tails()
    leader.store._checkpointing.plan().run()
    before = leader.snapshots.indexes()
    leader.store_jobs.fail = True
    leader.tables.topics.delete("T", 1)
    leader.state()
    send(leader, b"3")
    assert leader.snapshots.indexes() == before
    leader.store_jobs.fail = False
    leader.save_metadata()
    send(leader, b"4")
    assert max(leader.snapshots.indexes()) > max(before)


def test_a_snapshot_ends_with_its_last_entry(tmp_path: Path) -> None:
    """What follows may not be committed: here it is too large for its file, and what another leader has
    instead is not. That tells of a deletion, behind the snapshot."""
    member = leading(tmp_path)
    member.tables.topics.update(replicas.topic("T"), 1)
    member.state()
    send(member, b"1", b"2")
    member.put(b"T", 0, b"3")
    member.propose()
    index, end = member.ledger.last_index, member.ledger.end_pos
    member.put(b"T", 0, b"never committed" * 250)
    assert member.propose() == [4096]
    member.ledger.flush()
    member.committed.commit(index)
    opened = member.snapshots.newest()
    assert opened is not None
    assert (opened.meta.last_included_index, opened.meta.next_pos) == (index, end)
    member.log.follow()
    member.ledger.truncate(index)
    member.log.lead(member.ledger.end_pos)
    member.store_jobs.fail = True
    member.tables.topics.delete("T", 1)
    member.state()
    send(member)
    member.tables.topics.update(replicas.topic("T"), 1)
    member.state()
    send(member, b"new")
    assert found(member, b"T") == [b"new"]
    assert member.ledger.end_pos < 4096
    member.kill()
    member.commit()
    assert found(member, b"T") == [b"new"]
