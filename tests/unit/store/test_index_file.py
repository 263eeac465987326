"""One index file: entries, slots, what a killed process or a power failure leaves."""

from __future__ import annotations

import struct

import pytest
from tests.crash.store.sim_disk import SimDisk

from ledgermq.store.index_file import HEADER, IndexFile, positive_hash

PATH = "/index/20231114221320000"


def entries(*items: tuple[int, int, int]) -> bytes:
    """Gathered (key hash, log offset, store ms)."""
    return b"".join(struct.pack(">iqq", *item) for item in items)


def created(disk: SimDisk, slots: int = 7, count: int = 20) -> IndexFile:
    file = IndexFile(disk, PATH, slots, count)
    file.create()
    file.map()
    return file


def put(file: IndexFile, *items: tuple[int, int, int]) -> None:
    file.reserve(len(items))
    data = entries(*items)
    file.put(data, 0, len(data))


def found(
    file: IndexFile, key_hash: int, begin_ms: int = 0, end_ms: int = 1 << 60, limit: int = 100
) -> list[int]:
    offsets: list[int] = []
    number = file.newest_in_slot(key_hash)
    while number > 0:
        number = file.find(key_hash, begin_ms, end_ms, limit, offsets, number, 2)
    return offsets


@pytest.mark.parametrize(
    ("state", "key_hash"),
    [(0, 0), (5, 5), (0x7FFFFFFF, 0x7FFFFFFF), (0x80000000, 0), (0xFFFFFFFF, 1), (0x80000001, 0x7FFFFFFF)],
)
def test_key_hash_is_java_s_abs(state: int, key_hash: int):
    assert positive_hash(state) == key_hash


def test_layout():
    disk = SimDisk(0)
    file = created(disk)
    put(file, (8, 100, 5000), (15, 200, 7500), (3, 300, 9000))
    data = disk.read_file(PATH)
    assert data is not None
    assert len(data) == 40 + 7 * 4 + 20 * 20
    assert HEADER.unpack_from(data) == (5000, 9000, 100, 300, 2, 4)
    assert struct.unpack_from(">7i", data, 40) == (0, 2, 0, 3, 0, 0, 0), "8 and 15 share slot 1"
    assert [struct.unpack_from(">iqii", data, 68 + 20 * n) for n in range(1, 4)] == [
        (8, 100, 0, 0),
        (15, 200, 2, 1),
        (3, 300, 4, 0),
    ]


def test_finding_newest_first_by_hash_time_and_limit():
    file = created(SimDisk(0))
    for n in range(9):
        put(file, (8 if n % 2 else 15, n * 10, 1_000_000 + n * 10_000))
    assert found(file, 8) == [70, 50, 30, 10]
    assert found(file, 15) == [80, 60, 40, 20, 0]
    assert found(file, 8, limit=2) == [70, 50]
    assert found(file, 22) == []
    assert found(file, 8, 1_030_000, 1_050_000) == [50, 30]
    assert not file.covers(2_000_000, 3_000_000)
    assert file.covers(0, 1_000_000)


def test_an_unmapped_file_is_read_as_well():
    file = created(SimDisk(0))
    put(file, (8, 100, 5000), (15, 200, 7500))
    file.unmap()
    again = IndexFile(file.disk, PATH, 7, 20)
    assert again.is_whole()
    assert found(again, 8) == [100]


def test_full_means_java_s_full():
    file = created(SimDisk(0), count=5)
    assert file.room() == 4
    put(file, *[(n, n, 1) for n in range(4)])
    assert file.room() == 0


def test_a_record_indexed_twice_is_found_once():
    file = created(SimDisk(0))
    put(file, (8, 100, 5000), (8, 100, 5000))
    assert found(file, 8) == [100]


def test_slots_that_name_entries_behind_the_count_lead_on():
    """Killed before the header was written: the entry is there and names the one before it."""
    disk = SimDisk(0)
    file = created(disk)
    put(file, (8, 100, 5000))
    header = bytes(disk.names[PATH].seen[:40])
    put(file, (8, 200, 6000), (8, 300, 6000))
    disk.names[PATH].seen[:40] = header
    again = IndexFile(disk, PATH, 7, 20)
    assert again.is_whole()
    assert found(again, 8) == [100]
    again.map()
    put(again, (8, 200, 6000), (8, 300, 6000))
    assert found(again, 8) == [300, 200, 100]


@pytest.mark.parametrize("slot", [0x7FFFFFFF, 19, 20, 5])
def test_garbage_in_a_slot_is_no_entry(slot: int):
    disk = SimDisk(0)
    file = created(disk)
    put(file, (8, 100, 5000))
    struct.pack_into(">i", disk.names[PATH].seen, 40 + 4, slot)
    assert found(file, 8) in ([], [100])
    put(file, (8, 200, 6000))
    assert found(file, 8)[0] == 200


def test_repair_makes_the_slots_from_the_entries():
    disk = SimDisk(0)
    file = created(disk)
    put(file, *[(n, n * 10, 5000 + n) for n in range(1, 10)])
    before = bytes(disk.names[PATH].seen)
    disk.names[PATH].seen[40:68] = b"\x01\x02\x03\x04" * 7
    disk.names[PATH].seen[68 + 20 * 4 + 16 : 68 + 20 * 5] = b"\xff" * 4
    again = IndexFile(disk, PATH, 7, 20)
    assert again.is_whole()
    again.repair(0, 1 << 40)
    assert bytes(disk.names[PATH].seen)[32:] == before[32:]


@pytest.mark.parametrize("lost", range(1, 10))
def test_repair_ends_at_the_first_entry_that_cannot_be(lost: int):
    disk = SimDisk(0)
    file = created(disk)
    put(file, *[(n, n * 10, 5000 + n) for n in range(1, 10)])
    disk.names[PATH].seen[68 + 20 * lost : 68 + 20 * (lost + 1)] = bytes(20)
    file.repair(0, 1 << 40)
    assert file.count == lost
    for n in range(1, 10):
        assert found(file, n) == ([n * 10] if n < lost else [])
    assert not any(disk.names[PATH].seen[68 + 20 * lost :]), "nothing is left that could make sense again"


def test_repair_drops_what_is_not_in_the_log():
    file = created(SimDisk(0))
    put(file, *[(n, n * 10, 5000 + n) for n in range(1, 10)])
    file.repair(0, 55)
    assert (file.count, file.end_offset) == (6, 50)
    file.repair(0, 5)
    assert (file.count, file.begin_offset, file.begin_ms) == (1, 0, 0)


def test_dropping_a_record_leaves_the_chains_whole():
    file = created(SimDisk(0))
    put(file, (8, 100, 5000), (3, 100, 5000), (8, 200, 6000), (15, 200, 6000))
    file.drop_record(200)
    assert (file.count, file.end_offset) == (3, 100)
    assert found(file, 8) == [100]
    put(file, (8, 200, 6000), (15, 200, 6000))
    assert (found(file, 8), found(file, 15), found(file, 3)) == ([200, 100], [200], [100])


@pytest.mark.parametrize("length", [0, 39, 40, 467, 469])
def test_a_file_of_another_length_is_not_whole(length: int):
    disk = SimDisk(0)
    created(disk).unmap()
    content = disk.names[PATH].seen
    del content[length:]
    content.extend(bytes(length - len(content)))
    assert not IndexFile(disk, PATH, 7, 20).is_whole()


@pytest.mark.parametrize(
    "header",
    [(0, 0, 0, 0, 0, 21), (0, 0, 9, 5, 0, 3), (0, 0, -1, 5, 0, 3), (-5, 0, 0, 5, 0, 3), (0, 0, 0, 5, 4, 3)],
)
def test_a_header_that_cannot_be_is_not_whole(header: tuple[int, ...]):
    disk = SimDisk(0)
    created(disk).unmap()
    HEADER.pack_into(disk.names[PATH].seen, 0, *header)
    assert not IndexFile(disk, PATH, 7, 20).is_whole()


def test_keys_that_take_the_place_of_dropped_ones_leave_the_others_of_that_slot_alone():
    disk = SimDisk(0)
    put(created(disk), (8, 100, 5000), (15, 200, 5000), (22, 200, 5000))
    file = IndexFile(disk, PATH, 7, 20)
    assert file.load_header()
    file.drop_record(200)
    file.map()
    put(file, (3, 300, 6000), (10, 300, 6000))
    assert found(file, 8) == [100], "its slot's newest entry is of another slot now"
    assert found(file, 3) == [300]
    assert found(file, 15) == found(file, 22) == []
