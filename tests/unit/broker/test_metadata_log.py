"""The journal's records in a store: what a start makes of them."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Executor
from pathlib import Path
from typing import cast

import pytest
from tests.unit.broker import replicas
from tests.unit.store.replicas import Replica
from tests.unit.store.stores import HOST, bodies

from ledgermq.broker import metadata_log
from ledgermq.broker.commits import Commits
from ledgermq.broker.metadata_log import FILE_NAME, MetadataLog
from ledgermq.broker.metadata_records import Snapshot, TopicsRecord, encode_snapshot
from ledgermq.broker.store_jobs import StoreJobs
from ledgermq.message import names
from ledgermq.remoting.topic_config import DataVersion
from ledgermq.store.message_store import Job

TOPIC = names.METADATA_TOPIC.encode()


class Leader:
    """A store whose leader makes and deletes topics; nobody carries the deletions out in the store, as if the
    power had been cut before any of it was on the disk."""

    def __init__(self) -> None:
        self.tables = replicas.Replica()
        self.tables.journal.start_leading()
        self.store = Replica(message_index_enable=False)
        self.store.lead(1)

    def state(self) -> None:
        """Put what the journal wants logged into the log."""
        for body in self.tables.log:
            self.store.put(TOPIC, 0, body)
        self.tables.log.clear()

    def make(self, topic: str) -> None:
        self.tables.topics.update(replicas.topic(topic), 1)
        self.state()

    def delete(self, topic: str) -> None:
        self.tables.topics.delete(topic, 1)
        self.state()

    def send(self, topic: bytes, *messages: bytes) -> None:
        for body in messages:
            self.store.put(topic, 0, body)

    def apply(self) -> None:
        self.store.propose()
        self.store.apply()
        self.store.ledger.flush()
        self.store.ledger.save_checkpoint(self.store.applied_index)


class Jobs:
    """The store's worker, which can do its jobs or not."""

    def __init__(self) -> None:
        self.fail = False

    def start(self, jobs: list[Job]) -> None:
        for job in jobs:
            if self.fail:
                return  # as StoreJobs: what follows a job that fails is not run
            job()


def recovered(replica: Replica, directory: Path, jobs: Jobs | None = None) -> MetadataLog:
    log = MetadataLog(
        replica.store,
        cast(Commits, None),  # nothing is appended
        cast(Executor, None),
        directory,
        HOST,
        lambda: 1,
        lambda topic: None,
    )
    log.recover(replicas.Replica().journal, cast(StoreJobs, jobs), ours=True)
    return log


def found(replica: Replica, topic: bytes) -> list[bytes]:
    queue = replica.store.find_queue(topic, 0)
    return [] if queue is None else bodies(replica.store, queue)


def test_a_topic_deleted_twice_has_what_came_behind_the_last_deletion(tmp_path: Path) -> None:
    leader = Leader()
    for name in ("T", "U"):
        leader.make(name)
    leader.send(b"T", b"1", b"2")
    leader.send(b"U", b"1")
    leader.delete("T")
    leader.send(b"T", b"3")
    leader.make("T")
    leader.delete("U")
    leader.send(b"U", b"2")
    leader.delete("T")
    leader.send(b"T", b"4")
    leader.apply()
    replica = leader.store
    replica.kill()
    recovered(replica, tmp_path)
    assert (found(replica, b"T"), found(replica, b"U")) == ([b"4"], [b"2"])
    seen = replica.queues()
    # The state file says that the deletions are done: the store knows them by itself.
    replica.cut_power()
    recovered(replica, tmp_path)
    for place in ((b"T", 0), (b"U", 0)):
        assert replica.queues()[place] == seen[place]


def test_a_deletion_is_noted_although_no_queue_shows_it(tmp_path: Path) -> None:
    """The queue's directory is gone, the checkpoint does not say so yet, and the process was killed."""
    leader = Leader()
    leader.make("T")
    leader.send(b"T", b"1", b"2")
    leader.delete("T")
    leader.apply()
    replica = leader.store
    for _ in range(2):
        replica.log.write_tails(100)
    replica.store._checkpointing.note()
    replica.store._trimming.remove_queues(b"T", list(replica.store.queues.topics[b"T"].values()))
    replica.kill()
    assert found(replica, b"T") == []
    recovered(replica, tmp_path)
    for _ in range(4):
        replica.cut_power()
        recovered(replica, tmp_path)
        assert found(replica, b"T") == []


def test_what_is_applied_again_ends_where_the_applied_log_does(tmp_path: Path) -> None:
    leader = Leader()
    leader.make("T")
    leader.send(b"T", b"1")
    leader.delete("T")
    leader.apply()
    replica = leader.store
    replica.lead(2)  # Its entry has no record.
    replica.ledger.flush()
    replica.ledger.save_checkpoint(replica.applied_index)
    leader.send(b"T", b"not committed")
    replica.propose()
    replica.ledger.flush()
    replica.kill()
    assert replica.applied_index < replica.ledger.last_index
    recovered(replica, tmp_path)
    assert (b"T", 0) not in replica.queues()


def test_a_deletion_that_failed_is_tried_again(tmp_path: Path) -> None:
    """Until it is done, the state file must not say so."""
    leader = Leader()
    leader.make("T")
    leader.send(b"T", b"1")
    leader.apply()
    replica = leader.store
    jobs = Jobs()
    log = recovered(replica, tmp_path, jobs)
    jobs.fail = True
    leader.delete("T")
    leader.apply()
    assert not log.may_save
    log.save_soon()
    assert not log.may_save
    jobs.fail = False
    log.save_soon()
    assert log.may_save
    replica.cut_power()
    assert found(replica, b"T") == []


def test_the_state_file_is_encoded_on_a_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It can be many megabytes: the loop would answer nobody meanwhile, a leader's followers neither."""
    threads: list[int] = []

    def encode(snapshot: Snapshot) -> bytes:
        threads.append(threading.get_ident())
        return encode_snapshot(snapshot)

    async def test() -> None:
        log = recovered(Leader().store, tmp_path)
        monkeypatch.setattr(metadata_log, "encode_snapshot", encode)
        log._journal.adopt(TopicsRecord(version=DataVersion(), items={"T": replicas.topic("T")}))
        log.save_soon()
        await log.close()

    asyncio.run(test())
    assert len(threads) == 1
    assert threads != [threading.get_ident()]
    assert b'"T"' in (tmp_path / FILE_NAME).read_bytes()


def test_what_a_snapshot_has_stated_is_not_taken_for_older_afterwards(tmp_path: Path) -> None:
    """The process was killed before the queue's last records were written, and the log has them no more."""
    leader = Leader()
    leader.make("T")
    leader.apply()
    snapshot = recovered(leader.store, tmp_path / "leader").snapshot()()
    replica = Replica(message_index_enable=False)
    for _ in range(2):  # with the state file of its first start, each a snapshot of what was known before
        log = recovered(replica, tmp_path / "replica")
        log.remember(snapshot)
        snapshot = log.snapshot()()
        assert b'"T"' in bytes(snapshot.state)
        assert snapshot.offset == 1
