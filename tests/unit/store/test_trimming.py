"""Deleting the log's beginning and what names it."""

from __future__ import annotations

import errno

import pytest
from tests.crash.store.sim_disk import SimDisk
from tests.unit.store.stores import BEGIN_MS, bodies, fill, opened, put

from ledgermq.store.consume_queue import ConsumeQueue
from ledgermq.store.errors import StoreError
from ledgermq.store.message_store import MessageStore
from ledgermq.store.reading import GetStatus


def trim(store: MessageStore, minutes: int = 0) -> None:
    """One round of retention on a disk that is almost full."""
    disk = store.disk
    assert isinstance(disk, SimDisk)
    disk.full = 0.87
    for job in store.upkeep(BEGIN_MS + minutes * 61_000):
        job()
    disk.full = 0.1


def names(disk: SimDisk, part: str) -> list[str]:
    return sorted(name.rpartition("/")[2] for name in disk.names if part in name)


def flushed(disk: SimDisk) -> tuple[MessageStore, list[int]]:
    store = opened(disk)
    offsets = fill(store, 100)
    fill(store, 1, queue_id=1)
    store.log.confirm(store.log.flush())
    store.log.write_tails(100)
    return store, offsets


def test_the_oldest_files_go_with_what_names_them():
    disk = SimDisk(0)
    store, offsets = flushed(disk)
    assert store.index is not None
    index_files = len(store.index.files)
    trim(store)
    begin = store.min_log_offset
    assert names(disk, "/commitlog/")[0] == f"{begin:020d}"
    assert len(store.log.files.segments) == 1
    first = next(n for n in range(100) if offsets[n] >= begin)
    queue = store.find_queue(b"T", 0)
    assert queue is not None
    assert queue.min_offset == first
    assert names(disk, "/T/0/")[0] == f"{first // 8 * 160:020d}"
    assert bodies(store, queue) == [b"%d" % n for n in range(first, 100)]
    assert store.get(queue, 3, 32, 1 << 20).status is GetStatus.OFFSET_TOO_SMALL
    assert 0 < len(store.index.files) < index_files
    assert len(names(disk, "/index/")) == len(store.index.files)
    assert store.query_keys(b"T", b"k3", 9, 0, 1 << 60) == []
    assert store.query_keys(b"T", b"k99", 9, 0, 1 << 60) == [offsets[99]]


def test_queues_that_cannot_be_read_keep_no_old_files(monkeypatch: pytest.MonkeyPatch):
    disk = SimDisk(0)
    store, offsets = flushed(disk)
    before = store.log.files.segments
    count = len(before)

    def unreadable(queue: ConsumeQueue, offset: int, count: int) -> bytes:
        raise OSError(errno.EMFILE, "too many open files")

    with monkeypatch.context() as broken:
        broken.setattr(store.queues.files, "read", unreadable)
        trim(store)
    begin = store.min_log_offset
    assert names(disk, "/commitlog/")[0] == f"{begin:020d}"
    assert len(before) == count, "a worker that flushes may be looking at them"
    first = next(n for n in range(100) if offsets[n] >= begin)
    queue = store.find_queue(b"T", 0)
    assert queue is not None
    assert queue.min_offset == 0
    assert bodies(store, queue) == [b"%d" % n for n in range(first, 100)]
    fill(store, 60, first=100)
    store.log.confirm(store.log.flush())
    trim(store, 1)
    assert queue.min_offset > first


def test_a_clock_that_is_set_back_does_not_keep_old_files():
    store, _ = flushed(SimDisk(0))
    store.upkeep(BEGIN_MS + 3_600_000)
    trim(store)
    assert store.min_log_offset > 0


def test_a_queue_whose_messages_are_all_gone_keeps_its_offset():
    disk = SimDisk(0)
    store = opened(disk)
    fill(store, 20, queue_id=1)
    fill(store, 100)
    store.log.confirm(store.log.flush())
    store.log.write_tails(100)
    trim(store)
    queue = store.find_queue(b"T", 1)
    assert queue is not None
    assert (queue.min_offset, queue.max_offset) == (20, 20)
    store.close()
    disk.kill()
    store = opened(disk)
    queue = store.find_queue(b"T", 1)
    assert queue is not None
    assert (queue.min_offset, queue.max_offset) == (20, 20)
    fill(store, 1, queue_id=1, first=20)
    assert bodies(store, queue) == [b"20"]


def test_what_is_not_flushed_stays():
    disk = SimDisk(0)
    store = opened(disk)
    fill(store, 100)
    before = names(disk, "/commitlog/")
    trim(store)
    assert names(disk, "/commitlog/")[: len(before)] == before
    assert store.min_log_offset == 0


def test_readers_of_deleted_files_get_nothing_wrong():
    disk = SimDisk(0)
    store, offsets = flushed(disk)
    assert store.read_at(offsets[0]) is not None
    trim(store)
    assert store.read_at(offsets[0]) is None
    assert store.reader.store_ms_at(offsets[0]) == -1
    store.reader.warm(0)


def test_files_that_a_dead_process_did_not_get_to_delete_are_deleted_again():
    disk = SimDisk(0)
    store, _ = flushed(disk)
    disk.full = 0.87
    store.upkeep(BEGIN_MS)
    disk.full = 0.1
    disk.kill()
    store = opened(disk)
    assert store.min_log_offset == 0
    assert len(bodies(store, store.find_queue(b"T", 0))) == 100
    trim(store)
    assert store.min_log_offset > 0


def test_a_full_disk_is_a_refusal_and_its_end_as_well():
    disk = SimDisk(0)
    store = opened(disk)
    disk.full = 0.95
    store.upkeep(BEGIN_MS)
    assert "diskSpaceWarningLevelRatio" in (store.refusal or "")
    disk.full = 0.5
    store.upkeep(BEGIN_MS + 61_000)
    assert store.refusal is None


def test_an_operator_deletes_what_is_expired():
    disk = SimDisk(0)
    store, _ = flushed(disk)
    store.retention.delete_now()
    for job in store.upkeep(BEGIN_MS):
        job()
    assert store.min_log_offset > 0, "files of the simulated disk are from 1970"


def test_deleting_a_topic_removes_its_directories():
    disk = SimDisk(0)
    store = opened(disk)
    fill(store, 20, b"Gone")
    fill(store, 20, b"Gone", 3)
    fill(store, 5, b"Kept")
    store.log.write_tails(100)
    put(store, b"Gone")
    jobs = store.delete_topics([b"Gone"])
    store.log.commit_pending()
    for job in jobs:
        job()
    assert names(disk, "Gone") == []
    assert store.find_queue(b"Gone", 0) is None
    assert store.delete_topics([b"Never"]) == []
    store.upkeep(BEGIN_MS + 5000)
    assert names(disk, "Gone") == []
    fill(store, 1, b"Gone")
    assert bodies(store, store.find_queue(b"Gone", 0)) == [b"0"]
    assert len(bodies(store, store.find_queue(b"Kept", 0))) == 5


def test_leftovers_of_a_deleted_topic_are_removed_at_the_next_start():
    disk = SimDisk(0)
    store = opened(disk)
    fill(store, 20, b"Gone")
    store.log.write_tails(100)
    jobs = store.delete_topics([b"Gone"])
    jobs[0]()
    assert names(disk, ".deleted.") != []
    disk.kill()
    store = opened(disk)
    assert names(disk, ".deleted.") == []
    assert store.find_queue(b"Gone", 0) is None


def test_a_checkpoint_that_cannot_be_written_is_tried_again():
    disk = SimDisk(0)
    store = opened(disk)
    fill(store, 5)
    store.upkeep(BEGIN_MS)
    (job,) = store.upkeep(BEGIN_MS + 61_000)
    disk.fail_writes = True
    with pytest.raises(StoreError, match="checkpoint"):
        job()
    disk.fail_writes = False
    (job,) = store.upkeep(BEGIN_MS + 122_000)
    job()
    disk.power_cut()
    store = opened(disk)
    assert len(bodies(store, store.find_queue(b"T", 0))) == 5


def test_a_topic_with_the_longest_name_can_be_deleted():
    disk = SimDisk(0)
    store = opened(disk)
    topic = b"%RETRY%" + b"g" * 248
    fill(store, 1, topic)
    fill(store, 1, b"Other")
    store.log.write_tails(100)
    jobs = store.delete_topics([topic, b"Other", b"Never"])
    assert max(len(part) for name in disk.names for part in name.split("/")) <= 255
    for job in jobs:
        job()
    assert store.queues.topics == {}
    assert [name for name in disk.names if "consumequeue" in name] == []


def test_a_deletion_is_forgotten_when_the_log_has_nothing_left_of_the_topic():
    disk = SimDisk(0)
    store, _ = flushed(disk)
    store.delete_topics([b"T"])
    fill(store, 100, b"Later")
    store.log.confirm(store.log.flush())
    assert b"T" in store.queues.deleted_before
    while store.min_log_offset < store.queues.deleted_before.get(b"T", 0):
        assert store._trimming.detach(1)
    assert store.queues.deleted_before == {}


def test_a_checkpoint_planned_earlier_and_run_later_takes_nothing_back():
    """Deleting two topics at once: the second was answered, then the older checkpoint of the first ran."""
    disk = SimDisk(0)
    store = opened(disk)
    fill(store, 20, b"First")
    fill(store, 20, b"Second")
    store.log.write_tails(100)
    first = store.delete_topics([b"First"])
    second = store.delete_topics([b"Second"])
    for job in (*second, *first):
        job()
    disk.kill()
    store = opened(disk)
    assert store.queues.topics == {}
    assert list(store.queues.deleted_before) == [b"First", b"Second"]


def test_a_checkpoint_makes_durable_what_an_earlier_one_has_not():
    """The earlier one failed, or has not run yet: the later one speaks of its files as well."""
    disk = SimDisk(0)
    store = opened(disk)
    fill(store, 10)
    store.log.flush()
    while not store.log.write_tails(100):
        pass
    store.log.write_tails(1)
    earlier = store._checkpointing.plan()
    later = store._checkpointing.plan()
    done = store._checkpointing.done
    file = disk.names[f"/store/consumequeue/T/0/{0:020d}"]
    assert file.device != bytes(file.seen)
    disk.fail_writes = True
    with pytest.raises(StoreError, match="checkpoint"):
        later.run()
    disk.fail_writes = False
    assert file.device == bytes(file.seen)
    earlier.run()
    assert store._checkpointing.done == done + 1
    later.run()
    earlier.run()
    assert store._checkpointing.done == done + 2
    disk.power_cut()
    store = opened(disk)
    assert len(bodies(store, store.find_queue(b"T", 0))) == 10
