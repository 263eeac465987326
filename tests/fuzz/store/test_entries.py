"""Any bytes in a data file, or as entries: the scanners say something sensible and never fail."""

from __future__ import annotations

import struct

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.crash.store.sim_disk import SimDisk
from tests.unit.store.replicas import DIRECTORY, FILE_BYTES, Replica

from ledgermq.store.entry_scan import EntryRecords, EntryScanner
from ledgermq.store.log_files import LogFiles, LogSegment
from ledgermq.store.log_scan import BLANK, DAMAGED, NOTHING, RECORD


def made() -> tuple[bytes, list[int]]:
    replica = Replica()
    replica.lead(1)
    for n in range(12):
        replica.put(b"T", 0, b"%d" % n * n, b"TAGS\x01t\x02")
    replica.propose()
    return bytes(replica.disk.names[f"{DIRECTORY}/data/{0:020d}"].seen), replica.entry_places()


WHOLE, PLACES = made()
NUMBERS = st.sampled_from([-(2**31), -626843481, -1, 0, 1, 7, 47, 48, 91, 4096, 2**31 - 1])
DAMAGE = st.lists(
    st.tuples(st.sampled_from(PLACES), st.integers(0, 150), st.one_of(NUMBERS, st.integers(-99, 999))),
    max_size=6,
)


def files_with(data: bytes) -> tuple[SimDisk, LogFiles]:
    disk = SimDisk(0)
    files = LogFiles(disk, "/data", FILE_BYTES)
    for base in (0, FILE_BYTES):
        fd = disk.open(files.segment_path(base), create=True)
        disk.pwrite(fd, data[base : base + FILE_BYTES].ljust(FILE_BYTES, b"\0"), 0)
        files.segments.append(LogSegment(files.segment_path(base), base, FILE_BYTES))
    return disk, files


def check(data: bytes, divide: int, start: int) -> None:
    disk, files = files_with(data)
    scanner = EntryScanner(disk, files, True, divide)
    scanner.position = start
    for _ in range(4 * FILE_BYTES):
        before = scanner.position
        kind = scanner.next()
        assert kind in (RECORD, BLANK, NOTHING, DAMAGED)
        assert before <= scanner.position <= 2 * FILE_BYTES
        if kind == RECORD:
            assert before <= scanner.at
            assert scanner.at + scanner.size <= scanner.position
        if kind == DAMAGED:
            found = scanner.find_record(scanner.position + 1, 2 * FILE_BYTES)
            if found < 0:
                break
            assert found > before
        elif kind == NOTHING:
            break
    else:
        raise AssertionError("the walk does not end")
    records = EntryRecords(disk, files)
    records.use(data, 0)
    while records.next_record():
        assert records.at + records.size <= records.position <= len(data)
        records.properties()
    assert records.position <= len(data)


@settings(max_examples=200)
@given(DAMAGE, st.sampled_from([0, FILE_BYTES]), st.integers(0, 2 * FILE_BYTES))
@example([(PLACES[3], 4, 0)], 0, 0)
@example([(PLACES[3], 4, -5)], 0, 0)
def test_damaged_entries(damage: list[tuple[int, int, int]], divide: int, start: int) -> None:
    data = bytearray(WHOLE)
    for place, at, value in damage:
        struct.pack_into(">i", data, min(place + at, len(data) - 4), value)
    check(bytes(data), divide, start)


@settings(max_examples=200)
@given(st.binary(max_size=600), st.sampled_from([0, FILE_BYTES]))
def test_any_bytes(data: bytes, divide: int) -> None:
    check(data, divide, 0)
