"""Walking the log."""

from __future__ import annotations

import pytest
from tests.crash.store.sim_disk import SimDisk
from tests.unit.store.stores import fill, opened, put

from ledgermq.store.log_scan import BLANK, DAMAGED, NOTHING, RECORD, LogScanner
from ledgermq.store.message_store import MessageStore

FIRST = "/store/commitlog/00000000000000000000"


def scanner(store: MessageStore, check_crc: bool = True) -> LogScanner:
    return LogScanner(store.disk, store.log.files, check_crc)


def test_walks_records_blanks_and_files_to_the_end():
    store = opened()
    offsets = []
    for n in range(12):
        offsets.append(put(store, b"Topic%d" % n, n, b"x" * 700, b"KEYS\x01k\x02"))
    store.log.commit_pending()
    walk = scanner(store)
    seen = []
    blanks = 0
    while True:
        kind = walk.next()
        if kind == RECORD:
            seen.append((walk.at, walk.topic, walk.queue_id, walk.queue_offset, walk.properties()))
        elif kind == BLANK:
            blanks += 1
        else:
            break
    assert kind == NOTHING
    assert walk.position == store.log.end
    assert seen == [(at, b"Topic%d" % n, n, 0, b"KEYS\x01k\x02") for n, at in enumerate(offsets)]
    assert blanks == 2


def test_the_end_of_the_last_file_is_nothing():
    store = opened()
    walk = scanner(store)
    walk.position = 4096
    assert walk.next() == NOTHING
    walk.position = 1 << 40
    assert walk.next() == NOTHING


@pytest.mark.parametrize("at", [0, 3, 4, 7, 28, 35, 84, 87, 88, 89, 91, 92])
def test_damage_in_structure_place_or_body_is_seen(at: int):
    disk = SimDisk(0)
    store = opened(disk)
    second = fill(store, 3)[1]
    disk.names[FIRST].seen[second + at] ^= 0x40
    walk = scanner(store)
    assert walk.next() == RECORD
    assert walk.next() == DAMAGED
    assert walk.position == second, "it stays where it found the damage"


def test_a_copy_of_a_record_elsewhere_is_no_record():
    disk = SimDisk(0)
    store = opened(disk)
    size = fill(store, 2)[1]
    content = disk.names[FIRST].seen
    end = int(store.log.end)
    content[end : end + size] = content[0:size]
    walk = scanner(store)
    walk.position = end
    assert walk.next() == DAMAGED


@pytest.mark.parametrize("lost", [1, 50, 100, 200, 600])
def test_finds_the_next_record_behind_damage(lost: int):
    disk = SimDisk(0)
    store = opened(disk)
    offsets = fill(store, 12)
    disk.names[FIRST].seen[offsets[2] : offsets[2] + lost] = b"\xda\xa3\x20\xa7" * (lost // 4) + b"\xda" * (
        lost % 4
    )
    expected = next(offset for offset in offsets if offset >= offsets[2] + lost)
    walk = scanner(store)
    walk.position = offsets[2]
    assert walk.find_record(offsets[2] + 1, int(store.log.end)) == expected
    assert (walk.position, walk.records) == (expected, 0)
    assert walk.next() == RECORD


def test_finds_records_in_later_files_and_not_behind_the_limit():
    disk = SimDisk(0)
    store = opened(disk)
    offsets = [put(store, body=b"x" * 1000) for _ in range(9)]
    store.log.commit_pending()
    disk.names[FIRST].seen[offsets[1] :] = b"\xff" * (4096 - offsets[1])
    walk = scanner(store)
    walk.position = offsets[1]
    assert walk.find_record(offsets[1], int(store.log.end)) == 4096
    walk.position = offsets[1]
    assert walk.find_record(offsets[1], 4096) == -1
    assert walk.position == offsets[1]


@pytest.mark.parametrize("sector", range(3))
def test_a_sector_that_did_not_get_to_the_device_is_seen(sector: int):
    """The CRC covers the body: lost properties would go unnoticed."""
    disk = SimDisk(0)
    store = opened(disk)
    put(store, body=b"x" * 20, properties=b"p\x01" + b"v" * 1300 + b"\x02")
    store.log.commit_pending()
    disk.names[FIRST].seen[512 * sector : 512 * (sector + 1)] = bytes(512)
    walk = scanner(store)
    walk.torn_from = 0
    assert walk.next() == (NOTHING if sector == 0 else DAMAGED)
    walk = scanner(store)
    walk.torn_from = int(store.log.end)
    assert walk.next() == (NOTHING if sector == 0 else RECORD), "what was fsynced is not doubted"


def test_zeros_that_belong_there_are_no_tear():
    store = opened()
    for size in (0, 1, 300, 511, 512, 600, 1100):
        put(store, body=bytes(size))
    store.log.commit_pending()
    walk = scanner(store)
    walk.torn_from = 0
    kinds = []
    while (kind := walk.next()) in (RECORD, BLANK):
        kinds.append(kind)
    assert kinds.count(RECORD) == 7
