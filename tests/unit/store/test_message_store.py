"""A store on a real directory, from opening to closing."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from tests.crash.store.sim_disk import PowerCut, SimDisk
from tests.unit.store.stores import BEGIN_MS, HOST, bodies, config, fill, opened, put

from ledgermq.store.errors import StoreLockedError
from ledgermq.store.message_store import MessageStore


def store_at(path: Path, **settings: object) -> MessageStore:
    return MessageStore(config(store_path_root_dir=str(path), **settings), HOST)


def test_a_life(tmp_path: Path):
    store = store_at(tmp_path)
    store.open()
    assert (tmp_path / "abort").exists()
    offsets = fill(store, 100)
    for minute in range(3):
        for job in store.upkeep(BEGIN_MS + minute * 61_000):
            job()
    assert bodies(store, store.find_queue(b"T", 0)) == [b"%d" % n for n in range(100)]
    store.close()
    assert not (tmp_path / "abort").exists()
    assert {path.stat().st_size for path in (tmp_path / "commitlog").iterdir()} == {4096}
    assert {path.stat().st_size for path in (tmp_path / "consumequeue/T/0").iterdir()} == {160}
    assert (tmp_path / "checkpoint").stat().st_size == 4096

    store = store_at(tmp_path)
    report = store.open()
    assert (report.clean, report.walked_bytes) == (True, 0)
    assert bodies(store, store.find_queue(b"T", 0)) == [b"%d" % n for n in range(100)]
    assert store.query_keys(b"T", b"k42", 9, 0, 1 << 60) == [offsets[42]]
    assert (store.min_log_offset, store.max_log_offset) == (0, store.log.end)
    store.close()


def test_log_files_that_somebody_has_deleted_are_given_up_as_old_ones(tmp_path: Path):
    store = store_at(tmp_path)
    store.open()
    fill(store, 100)
    store.log.confirm(store.log.flush())
    (tmp_path / "commitlog" / f"{0:020d}").unlink()
    store.retention.delete_now()
    for job in store.upkeep(BEGIN_MS):
        job()
    assert store.min_log_offset == 4096
    store.close()


def test_a_second_store_is_refused_with_the_pid_of_the_first(tmp_path: Path):
    first = store_at(tmp_path)
    first.open()
    with pytest.raises(StoreLockedError, match=str(os.getpid())):
        store_at(tmp_path).open()
    fill(first, 1)
    first.close()
    again = store_at(tmp_path)
    again.open()
    again.close()


def test_the_commit_log_may_lie_elsewhere(tmp_path: Path):
    elsewhere = tmp_path / "fast"
    store = store_at(tmp_path / "store", store_path_commit_log=str(elsewhere))
    store.open()
    fill(store, 1)
    store.close()
    assert [path.name for path in elsewhere.iterdir()] == [f"{0:020d}"]
    assert not (tmp_path / "store" / "commitlog").exists()


def test_settings_that_change_while_running(tmp_path: Path):
    store = store_at(tmp_path)
    store.open()
    fill(store, 20)
    store.config.max_transfer_count_on_message_in_memory = 7
    store.apply_config()
    assert store.get(store.find_queue(b"T", 0), 0, 32, 1 << 20).count == 7
    store.close()


def test_an_idle_queue_costs_no_file_and_no_descriptor(tmp_path: Path):
    store = store_at(tmp_path)
    store.open()
    before = len(os.listdir("/proc/self/fd"))
    for n in range(5000):
        store.queue(b"Topic%d" % (n % 1250), n // 1250)
    assert len(os.listdir("/proc/self/fd")) == before
    assert list((tmp_path / "consumequeue").iterdir()) == []
    store.close()


def test_flushing_and_reserving_on_worker_threads_while_messages_come(tmp_path: Path):
    store = store_at(tmp_path, flush_disk_type="SYNC_FLUSH")
    store.open()
    stop = threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            while not stop.is_set():
                store.log.flush()
                store.log.files.allocate_spare()
        except BaseException as error:
            failures.append(error)
            raise

    worker = threading.Thread(target=work)
    worker.start()
    for n in range(3000):
        put(store, body=b"%d" % n)
        store.log.commit_pending()
        store.log.confirm(store.log.flushed)
    stop.set()
    worker.join()
    assert failures == []
    store.log.confirm(store.log.flush())
    assert bodies(store, store.find_queue(b"T", 0)) == [b"%d" % n for n in range(3000)]
    store.close()
    store = store_at(tmp_path)
    assert store.open().damaged == []
    assert len(bodies(store, store.find_queue(b"T", 0))) == 3000
    store.close()


def test_first_files_are_made_ahead_by_a_worker():
    disk = SimDisk(0)
    store = opened(disk)
    for n in range(60):
        fill(store, 1, b"T", n)
    store.log.write_tails(10)
    ahead = store.log.queues_without_file(20)
    assert len(ahead) == 20
    store.queues.files.create(ahead)
    assert all(queue.first_offset == -1 for queue in ahead), "the owner alone says what a queue has"
    path = f"/store/consumequeue/T/{ahead[0].queue_id}/{0:020d}"
    assert len(disk.names[path].seen) == store.queues.files.file_bytes
    store.log.write_tails(20)
    assert all((queue.first_offset, queue.stored_offset) == (0, 1) for queue in ahead)
    store.queues.files.create(ahead)
    store.log.write_tails(100)
    store.log.write_tails(1)
    store._checkpointing.plan().run()
    store.log.flush()
    disk.power_cut()
    store = opened(disk)
    for n in range(60):
        assert bodies(store, store.find_queue(b"T", n)) == [b"0"]


def test_a_kill_while_files_are_made_ahead():
    """The directory, the file without its length, the file without units."""
    for cut_at in range(1, 8):
        disk = SimDisk(0)
        store = opened(disk)
        fill(store, 1)
        fill(store, 1, b"U")
        store.log.write_tails(0)
        disk.operations, disk.cut_at = 0, cut_at
        with suppress(PowerCut):
            store.queues.files.create(store.log.queues_without_file(9))
        disk.kill()
        store = opened(disk)
        for topic in (b"T", b"U"):
            assert bodies(store, store.find_queue(topic, 0)) == [b"0"]
