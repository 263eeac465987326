"""Walking data files as records, and any bytes as well."""

from __future__ import annotations

import struct

import pytest
from tests.crash.store.sim_disk import SimDisk
from tests.unit.store.replicas import DIRECTORY, Replica
from tests.unit.store.stores import BEGIN_MS, HOST, config, fill, opened

from ledgermq.store.entry_scan import EntryRecords, EntryScanner
from ledgermq.store.log_files import LogFiles, LogSegment
from ledgermq.store.log_scan import BLANK, DAMAGED, NOTHING, RECORD
from ledgermq.store.replicated_store import end_unreplicated_log


def filled(count: int = 60) -> tuple[Replica, list[int]]:
    replica = Replica()
    replica.lead(1)
    at = [replica.put(b"T", 0, b"%d" % n, b"TAGS\x01t%d\x02" % n) for n in range(count)]
    replica.propose()
    replica.apply()
    return replica, at


def scanner_of(replica: Replica, divide: int = 0, check_crc: bool = True) -> EntryScanner:
    return EntryScanner(replica.disk, replica.log.files, check_crc, divide)


def walk(scanner: EntryScanner) -> tuple[list[int], int]:
    """Where the records are, and why the walk ended."""
    found: list[int] = []
    while True:
        kind = scanner.next()
        if kind == RECORD:
            found.append(int(scanner.at))
        elif kind != BLANK:
            return found, int(kind)


def test_a_walk_meets_every_record_and_stands_behind_the_last_entry():
    replica, at = filled()
    scanner = scanner_of(replica)
    found, kind = walk(scanner)
    assert (found, kind) == (at, NOTHING)
    assert scanner.position == replica.ledger.end_pos
    assert scanner.records == len(at)


def test_what_is_known_of_a_record():
    replica, at = filled(3)
    scanner = scanner_of(replica)
    for n in range(3):
        assert scanner.next() == RECORD
        assert (scanner.at, scanner.queue_id, scanner.queue_offset) == (at[n], 0, n)
        assert (scanner.topic, scanner.properties()) == (b"T", b"TAGS\x01t%d\x02" % n)
        assert (scanner.store_ms, scanner.sys_flag) == (BEGIN_MS, 0)


def test_a_walk_may_begin_at_any_entry():
    replica, at = filled(20)
    scanner = scanner_of(replica)
    for n, pos in enumerate(replica.entry_places()[1:]):
        scanner.position = pos
        assert scanner.next() == RECORD
        assert scanner.at == at[n]


def test_a_record_is_found_from_anywhere_and_the_walk_goes_on_there():
    replica, at = filled(60)
    scanner = scanner_of(replica)
    for start in range(0, at[40], 37):
        expected = next(n for n, offset in enumerate(at) if offset >= start)
        assert scanner.find_record(start, replica.ledger.end_pos) == at[expected]
        assert scanner.next() == RECORD
        assert scanner.at == at[expected]
    assert scanner.find_record(at[-1] + 1, replica.ledger.end_pos) == -1


@pytest.mark.parametrize(("at", "value"), [(0, 2), (4, 47), (4, 5000), (4, -1)])
def test_a_damaged_head_stops_the_walk(at: int, value: int):
    replica, places = filled(30)
    content = replica.disk.names[f"{DIRECTORY}/data/{0:020d}"].seen
    place = replica.entry_places()[5]
    struct.pack_into(">i", content, place + at, value)
    scanner = scanner_of(replica)
    found, kind = walk(scanner)
    assert (found, kind) == (places[:4], DAMAGED)
    assert scanner.position == place
    # The record behind the head is whole, and found.
    assert scanner.find_record(place + 1, replica.ledger.end_pos) == places[4]
    assert walk(scanner) == (places[4:], NOTHING)


def test_a_damaged_body_is_passed_over():
    replica, places = filled(30)
    content = replica.disk.names[f"{DIRECTORY}/data/{0:020d}"].seen
    content[places[7] + 88] ^= 1
    assert walk(scanner_of(replica))[0] == places[:7] + places[8:]
    assert walk(scanner_of(replica, check_crc=False))[0] == places


def test_below_the_divide_record_follows_record():
    disk = SimDisk(0)
    store = opened(disk)
    old = fill(store, 40)
    store.close()
    disk.kill()
    divide = end_unreplicated_log(config(), HOST, disk)
    disk.kill()
    replica = Replica(disk, first_pos=divide)
    replica.lead(1)
    new = [replica.put(b"T", 0, b"%d" % n) for n in range(40, 80)]
    replica.propose()
    replica.apply()
    scanner = scanner_of(replica, divide)
    assert walk(scanner) == (old + new, NOTHING)
    for start in (1, old[-1], old[-1] + 1, divide, divide + 1, new[3]):
        expected = min(offset for offset in old + new if offset >= start)
        assert scanner.find_record(start, replica.ledger.end_pos) == expected
        assert scanner.next() == RECORD
        assert scanner.at == expected


def test_entries_in_memory():
    replica, at = filled(25)
    records = EntryRecords(replica.disk, replica.log.files)
    found: list[int] = []
    index = 0
    while index <= replica.ledger.last_index:
        entries = replica.ledger.read(index, 400)
        records.use(entries.payload, entries.first_pos)
        while records.next_record():
            found.append(int(records.at))
        assert records.position == entries.first_pos + len(entries.payload)
        index = entries.last_index + 1
    assert found == at


@pytest.mark.parametrize("cut", [1, 47, 48, 49, 90, 140])
def test_entries_cut_off_end_where_they_are_cut(cut: int):
    replica, at = filled(3)
    entries = replica.ledger.read(1, 1 << 20)
    records = EntryRecords(replica.disk, replica.log.files)
    records.use(entries.payload[:-cut], entries.first_pos)
    found = 0
    while records.next_record():
        found += 1
    assert found == 2
    assert at[2] - 48 == records.position


def test_a_file_shorter_than_an_entrys_head_at_its_end_is_blank():
    disk = SimDisk(0)
    files = LogFiles(disk, "/data", 100)
    fd = disk.open("/data/" + f"{0:020d}", create=True)
    disk.pwrite(fd, bytes(100), 0)
    files.segments.append(LogSegment(files.segment_path(0), 0, 100))
    scanner = EntryScanner(disk, files, False, 0)
    scanner.position = 60
    assert (scanner.next(), scanner.position) == (BLANK, 100)
    assert scanner.next() == NOTHING
