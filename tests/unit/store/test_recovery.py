"""Accidents, one by one, and what the store makes of them."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from tests.crash.store.sim_disk import PowerCut, SimDisk
from tests.unit.store.stores import BEGIN_MS, HOST, bodies, config, fill, opened, put

from ledgermq.message.hashing import java_hash
from ledgermq.store.checkpoint import decode_checkpoint
from ledgermq.store.errors import StoreDamagedError
from ledgermq.store.message_store import MessageStore
from ledgermq.store.recovery import RecoveryReport

COUNT = 100


def reopen(disk: SimDisk, **settings: object) -> tuple[MessageStore, RecoveryReport]:
    store = MessageStore(config(**settings), HOST, disk)
    return store, store.open()


def full_store(topic: bytes = b"T") -> tuple[SimDisk, list[int]]:
    """A hundred messages in four files of the log, stopped cleanly."""
    disk = SimDisk(0)
    store = opened(disk)
    offsets = fill(store, COUNT, topic)
    for queue_id in (1, 2):
        fill(store, 9, topic, queue_id)
    store.close()
    disk.kill()
    return disk, offsets


def check_all(store: MessageStore, offsets: list[int]) -> None:
    assert bodies(store, store.find_queue(b"T", 0)) == [b"%d" % n for n in range(COUNT)]
    for queue_id in (1, 2):
        assert bodies(store, store.find_queue(b"T", queue_id)) == [b"%d" % n for n in range(9)]
    for n in range(COUNT):
        assert offsets[n] in store.query_keys(b"T", b"k%d" % n, 64, 0, 1 << 60)


def crash(disk: SimDisk) -> None:
    """Let the next start find what a process that died in between leaves."""
    store = opened(disk)
    store.log.files.close()
    disk.kill()


def remove(disk: SimDisk, prefix: str) -> None:
    for name in [name for name in disk.names if name.startswith(prefix)]:
        del disk.names[name]


def test_a_clean_stop_walks_and_changes_nothing():
    disk, offsets = full_store()
    store, report = reopen(disk)
    assert (report.clean, report.ours, report.walked_bytes, report.replayed_bytes) == (True, True, 0, 0)
    assert report.lines() == [f"log 0 to {store.log.end} after a clean stop, walked 0 bytes"]
    check_all(store, offsets)


def test_a_new_directory():
    store, report = reopen(SimDisk(0))
    assert (report.log_begin, report.log_end, report.walked_bytes) == (0, 0, 0)
    fill(store, 1)


def test_a_killed_process_costs_a_second_of_walking():
    disk = SimDisk(0)
    store = opened(disk)
    fill(store, 50)
    store.upkeep(BEGIN_MS + 61_000)
    noted = int(store.log.last_record)
    fill(store, COUNT - 50, first=50)
    disk.kill()
    store, report = reopen(disk)
    assert not report.clean
    assert not report.power_failed
    assert report.walked_bytes == store.log.end - noted
    assert bodies(store, store.find_queue(b"T", 0)) == [b"%d" % n for n in range(COUNT)]


Damage = Callable[[SimDisk], None]

DERIVED_DAMAGE: dict[str, Damage] = {
    "all queues removed": lambda disk: remove(disk, "/store/consumequeue/"),
    "one queue removed": lambda disk: remove(disk, "/store/consumequeue/T/1/"),
    "a middle file of a queue removed": lambda disk: remove(disk, f"/store/consumequeue/T/0/{320:020d}"),
    "the last file of a queue removed": lambda disk: remove(disk, f"/store/consumequeue/T/0/{96 * 20:020d}"),
    "the last unit zeroed": lambda disk: zero(disk, f"/store/consumequeue/T/1/{160:020d}", 0, 20),
    "a queue file cut": lambda disk: cut(disk, f"/store/consumequeue/T/0/{160:020d}", 100),
    "a queue file emptied": lambda disk: cut(disk, f"/store/consumequeue/T/2/{160:020d}", 0),
    "a queue file of garbage": lambda disk: garble(disk, f"/store/consumequeue/T/2/{160:020d}"),
    "units of another queue": lambda disk: copy(disk, "/store/consumequeue/T/2/", "/store/consumequeue/T/1/"),
    "the index removed": lambda disk: remove(disk, "/store/index/"),
    "the last index file removed": lambda disk: remove(disk, last_index(disk)),
    "the last index file cut": lambda disk: cut(disk, last_index(disk), 100),
    "the last index file of garbage": lambda disk: garble(disk, last_index(disk)),
    "checkpoint removed": lambda disk: remove(disk, "/store/checkpoint"),
    "checkpoint of garbage": lambda disk: garble(disk, "/store/checkpoint"),
    "note of the queues removed": lambda disk: remove(disk, "/store/queueRecords.json"),
    "only the log is left": lambda disk: leave_the_log(disk),
}


def leave_the_log(disk: SimDisk) -> None:
    for prefix in ("consumequeue/", "index/", "checkpoint", "queueRecords", "lock"):
        remove(disk, f"/store/{prefix}")


def zero(disk: SimDisk, path: str, start: int, end: int) -> None:
    disk.names[path].seen[start:end] = bytes(end - start)


def cut(disk: SimDisk, path: str, size: int) -> None:
    del disk.names[path].seen[size:]


def garble(disk: SimDisk, path: str) -> None:
    content = disk.names[path].seen
    content[:] = (b"\x5a\xc3\x99\x0f\x71" * len(content))[: len(content)]


def copy(disk: SimDisk, source: str, target: str) -> None:
    for name in [name for name in disk.names if name.startswith(source)]:
        disk.names[target + name[len(source) :]].seen[:] = disk.names[name].seen


def last_index(disk: SimDisk) -> str:
    return max(name for name in disk.names if name.startswith("/store/index/"))


@pytest.mark.parametrize("clean", [True, False], ids=["clean", "crash"])
@pytest.mark.parametrize("name", DERIVED_DAMAGE)
def test_what_is_derived_is_made_again(name: str, clean: bool):
    disk, offsets = full_store()
    if not clean:
        crash(disk)
    DERIVED_DAMAGE[name](disk)
    store, _ = reopen(disk)
    check_all(store, offsets)
    fill(store, 5, queue_id=1, first=9)
    store.close()
    disk.kill()
    store, report = reopen(disk)
    assert bodies(store, store.find_queue(b"T", 1)) == [b"%d" % n for n in range(14)]
    assert report.rebuilt_queues == []


def test_a_rebuilt_queue_is_told():
    disk, _ = full_store()
    DERIVED_DAMAGE["one queue removed"](disk)
    _, report = reopen(disk)
    assert report.rebuilt_queues == ["T/1"]
    assert any("T/1" in line for line in report.lines())


def test_torn_tail_is_cut_and_cleared():
    disk = SimDisk(0)
    store = opened(disk)
    offsets = fill(store, 10)
    end = int(store.log.end)
    disk.names["/store/commitlog/00000000000000000000"].seen[end - 30 : end] = bytes(30)
    disk.kill()
    store, report = reopen(disk)
    assert store.log.end == offsets[9]
    assert not any(disk.names["/store/commitlog/00000000000000000000"].seen[offsets[9] :])
    assert bodies(store, store.find_queue(b"T", 0)) == [b"%d" % n for n in range(9)]
    assert report.lost_from == -1
    assert fill(store, 1, first=9) == [offsets[9]]


def test_records_behind_a_torn_one_were_not_promised_and_do_not_come_back():
    disk = SimDisk(0)
    store = opened(disk)
    offsets = fill(store, 10)
    disk.names["/store/commitlog/00000000000000000000"].seen[offsets[5]] = 0xFF
    disk.kill()
    store, _ = reopen(disk)
    assert store.log.end == offsets[5]
    disk.kill()
    store, _ = reopen(disk)
    assert bodies(store, store.find_queue(b"T", 0)) == [b"%d" % n for n in range(5)]


@pytest.mark.parametrize("queues_left", [True, False], ids=["queues", "no queues"])
@pytest.mark.parametrize("at", [0, 5, 29, 88])
def test_damage_where_no_walk_comes_by_loses_that_message_only(at: int, queues_left: bool):
    disk = SimDisk(0)
    store = opened(disk)
    offsets = fill(store, COUNT)
    store.log.confirm(store.log.flush())
    store.upkeep(BEGIN_MS + 61_000)
    fill(store, 3, queue_id=5)
    file = f"/store/commitlog/{offsets[50] // 4096 * 4096:020d}"
    disk.names[file].seen[offsets[50] % 4096 + at] ^= 0x55
    if not queues_left:
        remove(disk, "/store/consumequeue/")
    disk.kill()
    store, report = reopen(disk)
    assert report.damaged == []
    queue = store.find_queue(b"T", 0)
    assert queue is not None
    assert queue.max_offset == COUNT
    # A reader that finds the body changed sees that by the CRC; the broker does not look at bodies.
    left = [b"%d" % n for n in range(COUNT) if n != 50]
    if at == 88:
        assert store.get(queue, 50, 1, 1 << 20).count == 1
    else:
        assert bodies(store, queue) == left


def test_damage_below_what_was_flushed_is_left_out_and_told():
    disk, offsets = full_store()
    crash(disk)
    checkpoint = decode_checkpoint(disk.read_file("/store/checkpoint"))
    assert checkpoint.flushed_offset > offsets[60]
    # Another machine: the walk begins at the checkpoint, so put the damage behind it.
    store = opened(disk)
    more = fill(store, 30, queue_id=7)
    store.log.confirm(store.log.flush())
    store.upkeep(BEGIN_MS + 5000)
    disk.power_cut()
    file = f"/store/commitlog/{more[10] // 4096 * 4096:020d}"
    disk.names[file].seen[more[10] % 4096 + 30] ^= 0x55
    store, report = reopen(disk)
    assert report.damaged == [(more[10], more[11])]
    assert any("messages there are lost" in line for line in report.lines())
    assert bodies(store, store.find_queue(b"T", 7)) == [b"%d" % n for n in range(30) if n != 10]
    queue = store.find_queue(b"T", 7)
    assert queue is not None
    assert queue.max_offset == 30, "offsets stay what they were"
    fill(store, 1, queue_id=7, first=30)
    assert bodies(store, queue)[-1] == b"30"


def test_a_promised_end_that_is_gone_is_told():
    disk, _ = full_store()
    last = decode_checkpoint(disk.read_file("/store/checkpoint")).queue_log_offset
    file = f"/store/commitlog/{last // 4096 * 4096:020d}"
    disk.names[file].seen[last % 4096 :] = bytes(4096 - last % 4096)
    store, report = reopen(disk)
    assert (store.log.end, report.lost_from) == (last, last)
    assert any("fsynced" in line for line in report.lines())
    assert len(bodies(store, store.find_queue(b"T", 2))) == 8


def test_killed_between_two_files():
    """The blank is written, the next file is reserved, its first record is not."""
    disk = SimDisk(0)
    store = opened(disk)
    put(store, body=b"x" * 3000)
    store.log.commit_pending()
    end = int(store.log.end)
    content = disk.names["/store/commitlog/00000000000000000000"].seen
    struct.pack_into(">iI", content, end, 4096 - end, 0xCBD43194)
    store.log.files.add_segment(4096)
    disk.kill()
    store, _ = reopen(disk)
    assert store.log.end == 4096
    fill(store, 2)
    assert len(bodies(store, store.find_queue(b"T", 0))) == 3


def test_killed_between_two_files_without_the_next():
    disk = SimDisk(0)
    store = opened(disk)
    put(store, body=b"x" * 3000)
    store.log.commit_pending()
    end = int(store.log.end)
    content = disk.names["/store/commitlog/00000000000000000000"].seen
    struct.pack_into(">iI", content, end, 4096 - end, 0xCBD43194)
    disk.kill()
    store, _ = reopen(disk)
    assert store.log.end == end
    assert fill(store, 1) == [end]


def test_a_log_file_without_its_length_is_removed():
    disk, offsets = full_store()
    crash(disk)
    disk.open("/store/commitlog/00000000000000409600", create=True)
    store, _ = reopen(disk)
    check_all(store, offsets)


def test_files_of_another_size_are_refused_with_advice():
    disk, _ = full_store()
    with pytest.raises(StoreDamagedError, match=r"4096 bytes.*mappedFileSizeCommitLog=8192"):
        reopen(disk, mapped_file_size_commit_log=8192)


def test_a_missing_file_in_the_middle_of_the_log_is_refused_with_advice():
    disk, _ = full_store()
    del disk.names["/store/commitlog/00000000000000004096"]
    with pytest.raises(StoreDamagedError, match="00000000000000004096 is missing"):
        reopen(disk)


def test_a_log_that_is_not_there_is_refused_with_advice():
    disk, _ = full_store()
    remove(disk, "/store/commitlog/")
    with pytest.raises(StoreDamagedError, match="not mounted"):
        reopen(disk)


def test_a_log_whose_beginning_was_deleted():
    disk, offsets = full_store()
    del disk.names["/store/commitlog/00000000000000000000"]
    store, _ = reopen(disk)
    first = next(n for n in range(COUNT) if offsets[n] >= 4096)
    queue = store.find_queue(b"T", 0)
    assert queue is not None
    assert (queue.min_offset, queue.max_offset) == (first, COUNT)
    assert bodies(store, queue) == [b"%d" % n for n in range(first, COUNT)]
    assert offsets[0] not in store.query_keys(b"T", b"k0", 9, 0, 1 << 60)


@pytest.mark.parametrize("clean", [True, False], ids=["clean", "crash"])
def test_queues_of_a_log_whose_beginning_was_deleted_are_made_again_with_their_offsets(clean: bool):
    disk, offsets = full_store()
    if not clean:
        crash(disk)
    del disk.names["/store/commitlog/00000000000000000000"]
    remove(disk, "/store/consumequeue/")
    store, _ = reopen(disk)
    first = next(n for n in range(COUNT) if offsets[n] >= 4096)
    assert bodies(store, store.find_queue(b"T", 0)) == [b"%d" % n for n in range(first, COUNT)]
    store.close()
    disk.kill()
    store, report = reopen(disk)
    assert report.rebuilt_queues == []
    queue = store.find_queue(b"T", 0)
    assert queue is not None
    assert (queue.min_offset, queue.max_offset) == (first, COUNT)
    data = disk.read_file(f"/store/consumequeue/T/0/{first // 8 * 160:020d}")
    assert data is not None
    for n in range(first % 8):
        assert struct.unpack_from(">qiq", data, n * 20) == (0, 0x7FFFFFFF, 0), "pre-blank units, as Java's"


def test_java_s_stop_is_told_by_the_lock_file():
    """Java deleted a topic meanwhile: our note of the queues must not bring it back."""
    disk, _ = full_store()
    disk.names["/store/lock"].seen[:4] = b"lock"
    remove(disk, "/store/consumequeue/T/1/")
    store, report = reopen(disk)
    assert not report.ours
    assert bodies(store, store.find_queue(b"T", 1)) == []
    assert len(bodies(store, store.find_queue(b"T", 0))) == COUNT


def test_a_deleted_topic_made_again_does_not_get_its_old_messages_back():
    disk = SimDisk(0)
    store = opened(disk)
    fill(store, 20)
    for job in store.delete_topics([b"T"]):
        job()
    assert store.find_queue(b"T", 0) is None
    fill(store, 3, first=100)
    new = [b"100", b"101", b"102"]
    assert bodies(store, store.find_queue(b"T", 0)) == new
    disk.kill()
    remove(disk, "/store/consumequeue/")
    store, _ = reopen(disk)
    assert bodies(store, store.find_queue(b"T", 0)) == new
    store.close()
    disk.kill()
    store, _ = reopen(disk)
    assert bodies(store, store.find_queue(b"T", 0)) == new


def test_a_deletion_that_the_power_failure_has_overtaken_keeps_nothing_out():
    """The topic was deleted behind what was fsynced. It is made again; a later crash must not take its new
    messages, which lie where the deletion was, for old ones."""
    disk = SimDisk(0)
    store = opened(disk)
    fill(store, 3, b"Other")
    store.log.confirm(store.log.flush())
    end = int(store.log.end)
    fill(store, 20)
    plan, *_ = store.delete_topics([b"T"])
    plan()
    assert store.queues.deleted_before[b"T"] > end
    segment = disk.names[f"/store/commitlog/{0:020d}"]
    segment.seen[end:] = bytes(len(segment.seen) - end)
    for name in [name for name in disk.names if "/commitlog/" in name and not name.endswith("0" * 20)]:
        del disk.names[name]
    disk.boot += 1
    disk.kill()
    store, report = reopen(disk)
    assert report.power_failed
    assert int(store.log.end) == end
    fill(store, 5)
    disk.kill()
    remove(disk, "/store/consumequeue/T/")
    store, _ = reopen(disk)
    assert bodies(store, store.find_queue(b"T", 0)) == [b"%d" % n for n in range(5)]


def test_a_deleted_topic_stays_deleted():
    disk = SimDisk(0)
    store = opened(disk)
    fill(store, 20)
    fill(store, 5, b"Other")
    for job in store.delete_topics([b"T"]):
        job()
    assert not any("/T/" in name for name in disk.names)
    disk.kill()
    store, _ = reopen(disk)
    assert store.find_queue(b"T", 0) is None
    assert len(bodies(store, store.find_queue(b"Other", 0))) == 5


def test_records_that_name_impossible_queues_are_passed_over():
    disk = SimDisk(0)
    store = opened(disk)
    fill(store, 3)
    for topic in (b"../evil", b".", b"a/b", b"with space", b"\xff\xfe", b"nul\0"):
        put(store, topic)
    store.queue(b"T", 0).next_offset += 5_000_000
    put(store)
    store.queue(b"T", 0).next_offset -= 5_000_001
    store.log.disk.pwrite(store.log.files.segments[0].fd, store.log._out.getvalue(), int(store.log.written))
    remove(disk, "/store/consumequeue/")
    remove(disk, "/store/checkpoint")
    disk.kill()
    store, report = reopen(disk)
    assert report.strange_records == 7
    assert [queue.topic for queue in store.queues.all()] == [b"T"]
    assert len(bodies(store, store.find_queue(b"T", 0))) == 3


def test_delayed_messages_get_their_time_again():
    disk = SimDisk(0)
    store = opened(disk)
    put(store, b"SCHEDULE_TOPIC_XXXX", 2, properties=b"DELAY\x013\x02TAGS\x01a\x02", store_ms=5000)
    put(store, b"T", 2, properties=b"DELAY\x013\x02TAGS\x01a\x02", store_ms=5000)
    store.log.commit_pending()
    remove(disk, "/store/consumequeue/")
    disk.kill()
    store, _ = reopen(disk)
    for topic, code in ((b"SCHEDULE_TOPIC_XXXX", 15_000), (b"T", int(java_hash(b"a")))):
        queue = store.find_queue(topic, 2)
        assert queue is not None
        assert struct.unpack(">qiq", queue.units(0, 1))[2] == code


def test_no_room_to_rebuild_is_an_error_and_the_next_start_finds_everything():
    disk, offsets = full_store()
    remove(disk, "/store/consumequeue/")
    disk.fail_writes = True
    with pytest.raises(OSError, match="space"):
        reopen(disk)
    disk.kill()
    disk.fail_writes = False
    store, _ = reopen(disk)
    check_all(store, offsets)


def test_a_power_cut_while_a_queue_is_removed_leaves_no_part_that_looks_whole(
    monkeypatch: pytest.MonkeyPatch,
):
    """Younger than the last checkpoint, both of its files were lost; the second one is as long as it has to
    be."""
    disk = SimDisk(0)
    store = opened(disk)
    fill(store, 9, queue_id=1)
    store.log.flush()
    while not store.log.write_tails(9):
        pass
    first, second = sorted(name for name in disk.names if "consumequeue" in name)
    disk.names[first].seen.clear()
    disk.names[second].seen[:] = bytes(len(disk.names[second].seen))

    def all_is_durable() -> None:
        for inode in disk.names.values():
            inode.device = bytes(inode.seen)
        disk.device_names = dict(disk.names)
        disk.pending.clear()

    def unlink(path: str) -> None:
        SimDisk.unlink(disk, path)
        all_is_durable()
        raise PowerCut

    all_is_durable()
    disk.power_cut()
    monkeypatch.setattr(disk, "unlink", unlink)
    with pytest.raises(PowerCut):
        opened(disk)
    monkeypatch.undo()
    disk.power_cut()
    store = opened(disk)
    assert bodies(store, store.find_queue(b"T", 1)) == [b"%d" % n for n in range(9)]
