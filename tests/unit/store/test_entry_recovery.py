"""Opening a store over a replicated log, after every kind of end, and over a commit log of before."""

from __future__ import annotations

import struct

import pytest
from tests.crash.store.sim_disk import SimDisk
from tests.unit.store.replicas import DIRECTORY, FILE_BYTES, Replica
from tests.unit.store.stores import BEGIN_MS, HOST, bodies, config, fill, opened

from ledgermq.store.replicated_store import end_unreplicated_log


def filled(count: int = 60, indexed: bool = True) -> Replica:
    """All of it applied, nothing noted."""
    replica = Replica(message_index_enable=indexed)
    replica.lead(1)
    for n in range(count):
        replica.put(b"T", n % 2, b"%d" % n, b"UNIQ_KEY\x01k%d\x02" % n)
    replica.propose()
    replica.apply()
    replica.ledger.flush()
    return replica


def check(replica: Replica, count: int) -> None:
    for queue_id in (0, 1):
        expected = [b"%d" % n for n in range(queue_id, count, 2)]
        assert bodies(replica.store, replica.store.find_queue(b"T", queue_id)) == expected
    if replica.store.index is not None:
        for n in range(count):
            assert len(replica.store.query_keys(b"T", b"k%d" % n, 9, 0, 1 << 60)) == 1


def write_tails(replica: Replica) -> None:
    """As upkeep does once a second."""
    replica.log.write_tails(100)
    replica.log.write_tails(1)


# ---- where it ends ----


def test_a_clean_stop_replays_nothing():
    replica = filled()
    replica.restart()
    assert replica.report.clean
    assert (replica.applied_index, replica.report.replayed_bytes) == (60, 0)
    check(replica, 60)


@pytest.mark.parametrize("more", [0, 1, 20])
def test_a_clean_stop_before_all_that_is_committed_was_applied(more: int):
    replica = filled(40)
    for n in range(40, 40 + more):
        replica.put(b"T", n % 2, b"%d" % n, b"UNIQ_KEY\x01k%d\x02" % n)
    replica.propose()
    replica.applied_index = replica.ledger.last_index
    replica.restart()
    assert replica.report.clean
    assert replica.applied_index == 40 + more
    check(replica, 40 + more)


def test_a_clean_stop_of_a_store_whose_index_knows_more():
    """It began anew with a snapshot, and was stopped before it came again to where it had been."""
    replica = filled(40)
    replica.log.written = replica.ledger.read(21, 1, 21).first_pos
    replica.restart()
    assert replica.report.clean
    assert replica.applied_index == 40
    assert replica.store.index is not None
    keys = sum(int(file.count) - 1 for file in replica.store.index.files if file.count > 1)
    assert keys == 40  # each once
    check(replica, 40)


def test_the_index_tells_what_was_applied_when_queues_were_not_written():
    replica = filled()
    replica.kill()
    assert replica.applied_index == 60
    check(replica, 60)


def test_queues_tell_what_was_applied_without_an_index():
    replica = filled(indexed=False)
    write_tails(replica)
    for n in range(60, 80):
        replica.put(b"T", n % 2, b"%d" % n)
    replica.propose()
    replica.apply()
    replica.kill()
    assert replica.applied_index == 60
    replica.apply()
    check(replica, 80)


def test_the_note_of_the_ledger_tells_what_was_committed():
    replica = filled(indexed=False)
    replica.ledger.save_checkpoint(30)
    replica.kill()
    assert replica.applied_index == 30
    check(replica, 30)
    replica.apply()
    check(replica, 60)


def test_without_any_evidence_nothing_is_believed_to_be_committed():
    replica = filled(indexed=False)
    replica.kill()
    assert (replica.applied_index, replica.queues()) == (-1, {})
    replica.apply()
    check(replica, 60)


def test_an_older_note_takes_nothing_back():
    replica = filled()
    replica.ledger.save_checkpoint(10)
    write_tails(replica)
    replica.kill()
    assert replica.applied_index == 60
    check(replica, 60)


@pytest.mark.parametrize("last", range(0, 61, 7))
def test_the_log_ends_before_queues_and_index(last: int):
    """A power cut took entries that were committed by others; the group gives them again."""
    replica, other = filled(), filled()
    write_tails(replica)
    replica.ledger.truncate(last)
    replica.kill()
    assert replica.applied_index <= last
    assert replica.store.max_log_offset <= replica.ledger.end_pos
    check(replica, replica.applied_index if replica.applied_index > 0 else 0)
    replica.copy(other)
    replica.apply()
    check(replica, 60)


def test_an_uncommitted_record_behind_a_committed_entry_without_one_stays_out():
    replica = Replica()
    replica.lead(1)
    replica.ledger.flush()
    replica.ledger.save_checkpoint(0)
    replica.put(b"T", 0, b"not committed")
    replica.propose()
    replica.kill()
    assert (replica.applied_index, replica.queues()) == (0, {})


def test_files_with_uncommitted_entries_may_be_made_anew():
    replica, other = filled(20), Replica()
    write_tails(replica)
    other.copy(replica)
    other.apply()
    for _ in range(40):
        replica.put(b"T", 0, b"lost" * 50)
    replica.propose()
    replica.kill()
    committed = replica.applied_index
    replica.ledger.truncate(committed)
    other.lead(2)
    for n in range(20, 120):
        other.put(b"T", n % 2, b"%d" % n, b"UNIQ_KEY\x01k%d\x02" % n)
    other.propose()
    other.apply()
    replica.copy(other)
    replica.apply()
    check(replica, 120)


# ---- what is made again ----


@pytest.mark.parametrize("gone", ["consumequeue/T/0", "consumequeue", "index", "checkpoint"])
@pytest.mark.parametrize("clean", [True, False])
def test_derived_files_are_made_again(gone: str, clean: bool):
    replica = filled()
    write_tails(replica)
    if clean:
        replica.close()
    replica.disk.kill()
    for name in [name for name in replica.disk.names if name.startswith(f"/store/{gone}")]:
        del replica.disk.names[name]
    replica.open()
    replica.apply()
    check(replica, 60)


def test_a_damaged_head_costs_no_record():
    replica = filled()
    replica.close()
    replica.disk.kill()
    place = 48 + 300  # inside the first entries
    content = replica.disk.names[f"{DIRECTORY}/data/{0:020d}"].seen
    head = content.find(struct.pack(">q", 3), place) - 8
    struct.pack_into(">i", content, head + 4, 7)
    for name in [name for name in replica.disk.names if "/consumequeue/" in name]:
        del replica.disk.names[name]
    replica.store = replica.store.__class__(
        config(), HOST, f"{DIRECTORY}/data", replica.store._committed, replica.disk
    )
    replica.store._committed = replica.store._committed._replace(
        committed_index=60, committed_end=int(replica.ledger.end_pos), end=int(replica.ledger.end_pos)
    )
    replica.store.open()
    check(replica, 60)


def test_a_new_queue_is_looked_at_from_its_beginning():
    """A power cut may take any of what was not made durable, and keep what was written after it."""
    replica = Replica(first_pos=FILE_BYTES)
    replica.lead(1)
    replica.put(b"Other")
    replica.propose()
    replica.apply()
    write_tails(replica)
    replica.store._checkpointing.plan().run()
    for n in range(60):
        replica.put(b"T", n % 2, b"%d" % n, b"UNIQ_KEY\x01k%d\x02" % n)
    replica.propose()
    replica.apply()
    replica.ledger.flush()
    write_tails(replica)
    paths = sorted(path for path in replica.disk.names if "/consumequeue/T/0/" in path)
    assert len(paths) == 4
    first = replica.disk.names[paths[0]]
    first.seen[:] = bytes(len(first.seen))
    replica.disk.boot += 1
    replica.kill()
    replica.apply()
    check(replica, 60)


def test_a_deleted_topic_stays_deleted():
    replica = filled(20)
    replica.ledger.append_bodies(replica.ledger.last_index + 1, 1, [b"the deletion"])
    before = replica.ledger.end_pos
    replica.apply()
    for job in replica.store.topics_deleted([b"T"], before):
        job()
    replica.log.lead(replica.ledger.end_pos)
    replica.put(b"T", 0, b"new", b"UNIQ_KEY\x01new\x02")
    replica.propose()
    replica.apply()
    assert bodies(replica.store, replica.store.find_queue(b"T", 0)) == [b"new"]
    seen = replica.queues()
    replica.kill()
    replica.apply()
    assert replica.queues() == seen
    replica.restart()
    assert replica.queues() == seen


def test_offsets_given_out_behind_a_deletion_are_kept():
    replica = filled(20)
    before = replica.ledger.end_pos
    replica.log.lead(before)
    replica.put(b"T", 0, b"in flight")
    replica.propose()
    for job in replica.store.topics_deleted([b"T"], before):
        job()
    replica.put(b"T", 0, b"behind it")
    replica.propose()
    replica.apply(21)
    replica.put(b"T", 0, b"and more")
    replica.propose()
    replica.apply()
    queue = replica.store.find_queue(b"T", 0)
    assert queue is not None
    assert queue.max_offset == 13
    found = [replica.store.record_at(queue, n) for n in (10, 11, 12)]
    assert [record.body for record in found if record] == [b"in flight", b"behind it", b"and more"]


def test_what_a_leader_has_sent_behind_a_deletion_survives_its_restart():
    replica = filled(20)
    before = replica.ledger.end_pos + 48
    replica.ledger.append_bodies(replica.ledger.last_index + 1, 1, [b"the deletion"])
    replica.log.lead(replica.ledger.end_pos)
    replica.put(b"T", 0, b"new")
    replica.propose()
    replica.apply(21)
    for job in replica.store.topics_deleted([b"T"], before):
        job()
    replica.apply()
    seen = replica.queues()
    assert list(seen) == [(b"T", 0)]
    replica.kill()
    replica.apply()
    assert replica.queues() == seen


@pytest.mark.parametrize("lost", [False, True])
def test_queue_files_of_a_deleted_topic_that_come_back_are_not_believed(lost: bool):
    """Their messages began inside a file; or their names are all that was on the disk."""
    replica = filled(20)
    for job in replica.store.topics_deleted([b"T"], replica.ledger.end_pos):
        job()
    replica.store.queue(b"T", 0).next_offset = 10  # As a leader goes on that has given out the others.
    replica.put(b"T", 0, b"old")
    replica.propose()
    replica.apply()
    write_tails(replica)
    queue = replica.store.find_queue(b"T", 0)
    assert queue is not None
    assert (queue.first_offset, queue.max_offset) == (8, 11)
    files = {path: inode for path, inode in replica.disk.names.items() if "/consumequeue/T/" in path}
    note, *_ = replica.store.topics_deleted([b"T"], replica.ledger.end_pos)
    note()
    replica.put(b"T", 0, b"new", b"UNIQ_KEY\x01new\x02")
    replica.propose()
    replica.apply()
    replica.disk.names |= files  # The power is cut, and the directory is back.
    for inode in files.values() if lost else ():
        inode.seen[:] = bytes(len(inode.seen))
    replica.kill()
    replica.apply()
    queue = replica.store.find_queue(b"T", 0)
    assert queue is not None
    assert bodies(replica.store, queue) == [b"new"]


def test_a_deletion_that_was_carried_out_was_committed():
    """All that tells of it is the checkpoint: units of queues are written later, and lost."""
    replica = filled(20, indexed=False)
    before = replica.put(b"D", 0, b"the deletion")
    replica.propose()
    replica.apply()
    replica.ledger.flush()
    for job in replica.store.topics_deleted([b"T"], before):
        job()
    replica.kill()
    assert replica.applied_index == 21
    assert list(replica.queues()) == [(b"D", 0)]


def test_a_queue_that_goes_on_behind_messages_the_log_has_no_more_survives_a_restart():
    replica = filled(20)
    write_tails(replica)
    replica.store.raise_ends({"T": {"0": 14}}, int(replica.ledger.end_pos))
    for queue_id in (0, 1):
        replica.put(b"T", queue_id, b"new")
        replica.propose()
        replica.apply()
        write_tails(replica)
    replica.store._checkpointing.note()
    seen = replica.queues()[b"T", 0]
    replica.kill()
    queue = replica.store.find_queue(b"T", 0)
    assert queue is not None
    assert queue.max_offset == 15
    assert seen[1].endswith(queue.units(14, 1))


def test_a_log_that_begins_anew_with_what_it_has_already_is_replayed_from_its_beginning():
    """It was dropped for a snapshot, and a start goes on behind that: what is in the log is recovered, and
    applied another time. No queue is written when the power fails."""
    leader = Replica(first_pos=FILE_BYTES)
    leader.lead(1)
    for n in range(90):
        leader.put(b"T", n % 2, b"%d" % n, store_ms=BEGIN_MS + n * 1000)
    for n in range(90, 130):
        leader.put(b"Other", n, b"other", store_ms=BEGIN_MS + n * 1000)
    leader.propose()
    leader.apply()
    begin, ends = leader.ledger.read(20, 1, 20).end_pos, {"T": {"0": 10, "1": 10}}
    replica = Replica(message_index_enable=False)
    replica.ledger.reset(20, 1, begin)
    replica.kill()
    replica.copy(leader)
    replica.apply()
    replica.restart()
    for job in replica.store.begin_anew(ends, begin):
        job()
    replica.applied_index = 20
    replica.apply()
    replica.cut_power()
    replica.apply()
    for queue_id in (0, 1):
        expected = [b"%d" % n for n in range(20 + queue_id, 90, 2)]
        assert bodies(replica.store, replica.store.find_queue(b"T", queue_id)) == expected


def test_units_made_anew_become_durable_though_their_process_was_killed():
    """The checkpoint that tells of them was made while units of other queues were not written yet."""
    replica = filled()
    replica.log.write_tails(1)
    replica.store._checkpointing.plan().run()
    replica.kill()
    replica.kill()
    replica.store._checkpointing.plan().run()
    for inode in replica.disk.names.values():
        inode.seen[:] = inode.device.ljust(len(inode.seen), b"\0")
    replica.disk.boot += 1
    replica.kill()
    replica.apply()
    check(replica, 60)


# ---- a commit log of before ----


def with_old_log(count: int) -> tuple[SimDisk, int]:
    disk = SimDisk(0)
    store = opened(disk)
    fill(store, count)
    store.close()
    disk.kill()
    divide = end_unreplicated_log(config(), HOST, disk)
    disk.kill()
    return disk, divide


@pytest.mark.parametrize("count", [1, 10, 29, 30, 31, 60])
def test_the_replicated_log_follows_the_old_one(count: int):
    disk, divide = with_old_log(count)
    assert divide % FILE_BYTES == 0
    assert end_unreplicated_log(config(), HOST, disk) == divide, "asked again it says the same"
    disk.kill()
    replica = Replica(disk, first_pos=divide)
    assert replica.store.min_log_offset == 0
    replica.lead(1)
    for n in range(count, count + 50):
        replica.put(b"T", 0, b"%d" % n, b"UNIQ_KEY\x01k%d\x02" % n)
        replica.put(b"New", 0, b"%d" % n)
    replica.propose()
    replica.apply()

    def look() -> None:
        expected = [b"%d" % n for n in range(count + 50)]
        assert bodies(replica.store, replica.store.find_queue(b"T", 0)) == expected
        assert len(bodies(replica.store, replica.store.find_queue(b"New", 0))) == 50
        for n in (0, count - 1, count, count + 49):
            (offset,) = replica.store.query_keys(b"T", b"k%d" % n, 9, 0, 1 << 60)
            record = replica.store.read_at(offset)
            assert record is not None
            assert (record.body, offset >= divide) == (b"%d" % n, n >= count)

    look()
    result = replica.store.get(replica.store.find_queue(b"T", 0), count - 1, 5, 1 << 20)
    assert result.count == 5, "one pull reads across the divide"
    replica.ledger.flush()
    for end in (replica.kill, replica.restart, replica.cut_power):
        end()
        replica.apply()
        look()
    for name in [name for name in disk.names if "/consumequeue/" in name or "/index/" in name]:
        del disk.names[name]
    replica.kill()
    replica.apply()
    look()


def test_there_is_nothing_to_end_without_a_commit_log():
    disk = SimDisk(0)
    assert end_unreplicated_log(config(), HOST, disk) == 0
    store = opened(disk)
    store.close()
    disk.kill()
    assert end_unreplicated_log(config(), HOST, disk) in (0, FILE_BYTES)


def test_a_crash_while_the_old_log_is_ended_ends_it_another_time():
    disk = SimDisk(0)
    store = opened(disk)
    fill(store, 20)
    store.close()
    disk.kill()
    steps = 0
    while True:
        copy = SimDisk(steps)
        copy.directories |= disk.directories
        for name, inode in disk.names.items():
            fd = copy.open(name, create=True)
            copy.pwrite(fd, bytes(inode.seen), 0)
            copy.sync_data(fd)
            copy.close(fd)
        for name in disk.names:
            copy.sync_directory(name.rpartition("/")[0])
        copy.kill()
        steps += 1
        copy.cut_at = steps
        try:
            end_unreplicated_log(config(), HOST, copy)
        except BaseException as cut:  # noqa: BLE001  # a power cut is no Exception
            assert type(cut).__name__ == "PowerCut"
            copy.power_cut()
            divide = end_unreplicated_log(config(), HOST, copy)
            copy.kill()
            replica = Replica(copy, first_pos=divide)
            assert bodies(replica.store, replica.store.find_queue(b"T", 0)) == [b"%d" % n for n in range(20)]
            continue
        break
    assert steps > 3
