"""Pulling: statuses, limits, filters, damage, cold data, the offset of a moment."""

from __future__ import annotations

import pytest
from tests.crash.store.sim_disk import SimDisk
from tests.unit.store.stores import BEGIN_MS, bodies, fill, opened, put, records

from ledgermq.message.hashing import java_hash
from ledgermq.store.reading import GetStatus, MessageReader, ReadLimits

EVEN = frozenset([int(java_hash(b"even"))])


def test_statuses_are_java_s():
    store = opened()
    assert store.get(None, 5, 32, 1 << 20).status is GetStatus.NO_MATCHED_LOGIC_QUEUE
    queue = store.queue(b"T", 0)
    result = store.get(queue, 5, 32, 1 << 20)
    assert (result.status, result.next_offset) == (GetStatus.NO_MESSAGE_IN_QUEUE, 0)
    fill(store, 10)
    queue.min_offset = 4
    for offset, status, following in (
        (3, GetStatus.OFFSET_TOO_SMALL, 4),
        (-1, GetStatus.OFFSET_TOO_SMALL, 4),
        (4, GetStatus.FOUND, 10),
        (10, GetStatus.OFFSET_OVERFLOW_ONE, 10),
        (11, GetStatus.OFFSET_OVERFLOW_BADLY, 10),
    ):
        result = store.get(queue, offset, 32, 1 << 20)
        assert (result.status, result.next_offset) == (status, following), offset
        assert (result.min_offset, result.max_offset) == (4, 10)


@pytest.mark.parametrize("cached", [False, True])
def test_a_place_held_for_a_lost_message_costs_nothing_to_pass(cached: bool, monkeypatch: pytest.MonkeyPatch):
    """Its unit names 2 GiB from the log's very beginning on, which a large log has."""
    disk = SimDisk(0)
    store = opened(disk)
    queue = store.queue(b"T", 0)
    queue.add(0, 0x7FFFFFFF, 0)
    queue.written(0)
    fill(store, 1)
    monkeypatch.setattr(disk, "in_cache", lambda fd, offset: cached)
    slices: list[slice] = []

    class View:
        def __getitem__(self, key: slice) -> bytes:
            slices.append(key)
            return b""

        def close(self) -> None:
            pass

    monkeypatch.setattr(disk, "map_read", lambda fd, size: View())
    store.log.written = 1 << 32
    result = store.get(queue, 0, 1, 1 << 20)
    assert (result.status, result.next_offset) == (GetStatus.MESSAGE_WAS_REMOVING, 1)
    assert slices == []


def test_count_and_byte_limits():
    store = opened()
    fill(store, 10)
    queue = store.find_queue(b"T", 0)
    size = len(store.get(queue, 0, 1, 1 << 20).payload)
    for count_max, bytes_max, count in ((3, 1 << 20, 3), (32, size * 4 + 3, 4), (32, 1, 1), (0, 1 << 20, 1)):
        result = store.get(queue, 0, count_max, bytes_max)
        assert (result.count, result.next_offset) == (count, count)
        assert len(list(records(result.payload))) == count


def test_recent_and_old_messages_have_limits_of_their_own():
    store = opened()
    fill(store, 40)
    queue = store.find_queue(b"T", 0)
    limits = ReadLimits(memory_count=20, disk_count=5, recent_bytes=10)
    reader = MessageReader(store.log, limits)
    assert reader.get(queue, 0, 32, 1 << 20).count == 5
    assert reader.get(queue, 0, 32, 1 << 20).suggest_slave
    limits.recent_bytes = 1 << 30
    result = reader.get(queue, 0, 32, 1 << 20)
    assert (result.count, result.suggest_slave) == (20, False)
    limits.memory_bytes = 3 * len(reader.get(queue, 0, 1, 1).payload)
    assert reader.get(queue, 0, 32, 1 << 20).count == 3


def test_filter_passes_over_what_does_not_match():
    store = opened()
    fill(store, 30)
    queue = store.find_queue(b"T", 0)
    assert bodies(store, queue, EVEN) == [b"%d" % n for n in range(0, 30, 2)]
    result = store.get(queue, 0, 32, 1 << 20, frozenset([12345]))
    assert (result.status, result.next_offset) == (GetStatus.NO_MATCHED_MESSAGE, 30)
    store.log.write_tails(10)
    assert bodies(store, queue, EVEN) == [b"%d" % n for n in range(0, 30, 2)]
    result = store.get(queue, 0, 32, 1 << 20, frozenset([12345]))
    assert (result.status, result.next_offset) == (GetStatus.NO_MATCHED_MESSAGE, 8), (
        "a file's units at a time"
    )


def test_units_come_from_files_and_memory():
    store = opened()
    for n in range(30):
        fill(store, 1, first=n)
        if n % 7 == 3:
            store.log.write_tails(10)
        assert bodies(store, store.find_queue(b"T", 0)) == [b"%d" % i for i in range(n + 1)]


def test_a_lost_queue_file_is_passed_over():
    disk = SimDisk(0)
    store = opened(disk)
    fill(store, 20)
    store.log.write_tails(10)
    store.queues.files.close()
    del disk.names["/store/consumequeue/T/0/00000000000000000160"]
    result = store.get(store.find_queue(b"T", 0), 9, 32, 1 << 20)
    assert (result.status, result.next_offset) == (GetStatus.OFFSET_FOUND_NULL, 16)


@pytest.mark.parametrize(
    "damage", [b"\xff" * 20, bytes(20), (7).to_bytes(8, "big") + bytes([0, 0, 0, 105]) + bytes(8)]
)
def test_a_damaged_unit_hides_its_message_only(damage: bytes):
    disk = SimDisk(0)
    store = opened(disk)
    fill(store, 8)
    store.log.write_tails(10)
    disk.names["/store/consumequeue/T/0/00000000000000000000"].seen[60:80] = damage
    found: list[bytes] = []
    offset = 0
    while offset < 8:
        result = store.get(store.find_queue(b"T", 0), offset, 32, 1 << 20)
        found += [record.body for record in records(result.payload)]
        offset = int(result.next_offset)
    assert found == [b"0", b"1", b"2", b"4", b"5", b"6", b"7"]


def test_only_damaged_units_mean_removed():
    disk = SimDisk(0)
    store = opened(disk)
    fill(store, 3)
    store.log.write_tails(10)
    disk.names["/store/consumequeue/T/0/00000000000000000000"].seen[0:60] = bytes(60)
    result = store.get(store.find_queue(b"T", 0), 0, 32, 1 << 20)
    assert (result.status, result.next_offset) == (GetStatus.MESSAGE_WAS_REMOVING, 3)


class ColdDisk(SimDisk):
    """Has nothing in the page cache; notes what it was asked about."""

    def __init__(self) -> None:
        super().__init__(0)
        self.asked: list[int] = []

    def in_cache(self, fd: int, offset: int) -> bool:
        self.asked.append(offset)
        return False


def test_cold_data_is_asked_for_once_and_read_by_the_worker():
    disk = ColdDisk()
    store = opened(disk, mapped_file_size_commit_log=1 << 21)
    for n in range(4):
        put(store, body=b"%d" % n + b"x" * 1_000_000)
    store.log.commit_pending()
    queue = store.find_queue(b"T", 0)
    reader = MessageReader(store.log, ReadLimits(memory_bytes=1 << 24, hot_bytes=0))
    result = reader.get(queue, 0, 32, 1 << 24)
    assert (result.status, result.cold_offset, result.next_offset) == (GetStatus.COLD, 0, 0)
    assert disk.asked == [0], "one question is enough for a no"
    reader.warm(result.cold_offset)
    disk.asked.clear()
    result = reader.get(queue, 0, 32, 1 << 24)
    assert (result.status, result.count, result.next_offset) == (GetStatus.FOUND, 2, 2)
    assert len(disk.asked) == 1, "the worker has read two MiB; the next is cold"
    result = reader.get(queue, 2, 32, 1 << 24)
    assert (result.status, result.cold_offset) == (GetStatus.COLD, 1 << 21)


def test_a_record_that_is_not_in_memory_is_read_by_the_worker_first():
    disk = ColdDisk()
    store = opened(disk, mapped_file_size_commit_log=1 << 22)
    offsets = [put(store, body=b"x" * 1_500_000) for _ in range(2)]
    store.log.commit_pending()
    reader = MessageReader(store.log, ReadLimits(hot_bytes=0))
    assert reader.cold_at(offsets[1]) == 1 << 20
    reader.warm(1 << 20)
    assert reader.cold_at(offsets[1]) == -1
    assert reader.cold_at(offsets[0]) == 0
    for offset in (-1, int(store.log.written), 1 << 40):
        assert reader.cold_at(offset) == -1
    assert reader.cold_at(offsets[1] + 1) == -1, "no record begins there, which is known from memory"
    assert store.reader.cold_at(offsets[0]) == -1, "near the end it is taken to be in memory"


def test_data_near_the_end_is_not_asked_about():
    disk = ColdDisk()
    store = opened(disk)
    fill(store, 5)
    assert store.get(store.find_queue(b"T", 0), 0, 32, 1 << 20).count == 5
    assert disk.asked == []


def test_read_at_gives_whole_records_only():
    store = opened()
    offsets = fill(store, 5)
    put(store)
    for offset in offsets:
        assert store.read_at(offset) is not None
    for offset in (-1, 1, offsets[1] + 4, int(store.log.written), 1 << 40):
        assert store.read_at(offset) is None
    queue = store.queue(b"T", 0)
    record = store.record_at(queue, 3)
    assert record is not None
    assert record.body == b"3"
    assert store.record_at(queue, 5) is None


def test_the_offset_of_a_moment():
    store = opened()
    queue = store.queue(b"T", 0)
    assert (store.offset_by_time(queue, 0), store.offset_by_time(queue, 0, True)) == (0, 0)
    for seconds in (1, 1, 1, 3, 3):
        put(store, store_ms=BEGIN_MS + seconds * 1000)
    store.log.commit_pending()
    for seconds, lower, upper in ((0, 0, 0), (1, 0, 2), (2, 3, 2), (3, 3, 4), (4, 5, 4)):
        moment = BEGIN_MS + seconds * 1000
        assert store.offset_by_time(queue, moment) == lower, seconds
        assert store.offset_by_time(queue, moment, True) == upper, seconds
    queue.min_offset = 2
    assert (store.offset_by_time(queue, 0), store.offset_by_time(queue, 0, True)) == (2, 2)
