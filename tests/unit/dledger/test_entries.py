"""Entries: encoding, walking, splitting."""

from __future__ import annotations

import struct
import zlib

import pytest

from ledgermq.dledger.entries import (
    BLANK,
    DAMAGED,
    END,
    FILLER,
    NOTHING,
    PARTIAL,
    EntryError,
    EntryHead,
    EntryScan,
    IndexUnit,
    UnitScan,
    encode_blank,
    encode_bodies,
    encode_filler,
    split_bodies,
    take_entries,
)

FAR = 1 << 40


def test_bytes_of_an_entry():
    encoded = encode_bodies([b"body"], 0, 7, 3, 1000, FAR)
    head = struct.pack(">iiqqqi", 1, 52, 7, 3, 1000, 0)
    crcs = struct.pack(">ii", zlib.crc32(head) & 0x7FFFFFFF, zlib.crc32(b"body") & 0x7FFFFFFF)
    assert encoded.payload == head + crcs + struct.pack(">i", 4) + b"body"
    assert encoded.units == struct.pack(">iqiqq", 1, 1000, 52, 7, 3)
    assert encoded.positions == [1000]


def test_an_empty_body_has_a_crc_too():
    assert encode_bodies([b""], 0, 0, 1, 0, FAR).payload[40:44] == b"\0\0\0\1"


def test_encodes_what_fits_the_file():
    bodies = [b"a" * 52] * 5
    encoded = encode_bodies(bodies, 1, 1, 1, 300, 300 + 2 * 100 + 8)
    assert encoded.positions == [300, 400]
    assert split_bodies(encoded.payload) == bodies[:2]
    assert encode_bodies(bodies, 0, 0, 1, 300, 300 + 107).payload == b""


def payload(*terms: int) -> bytes:
    parts, pos = [], 500
    for number, term in enumerate(terms):
        parts.append(encode_bodies([b"body%d" % number], 0, 10 + number, term, pos, FAR).payload)
        pos += len(parts[-1])
    return b"".join(parts)


def test_walks_entries_and_collects_runs_units_and_places():
    data = payload(1, 1, 4, 4, 5)
    scan = EntryScan(10, 0, 500, True)
    assert scan.feed(data, 0, -1) == END
    assert (scan.index, scan.term, scan.pos, scan.last_pos) == (15, 5, 500 + 5 * 53, 500 + 4 * 53)
    assert scan.runs == [(10, 1), (12, 4), (14, 5)]
    units = scan.take_units()
    assert [IndexUnit(units, 32 * n).index for n in range(5)] == [10, 11, 12, 13, 14]
    assert scan.take_units() == b""


def test_walks_up_to_an_index_and_on_from_there():
    data = payload(1, 1, 2)
    scan = EntryScan(-1, -1, 500, False)
    assert scan.feed(data, 0, 11) == END
    assert (scan.index, scan.at) == (12, 106)
    assert scan.feed(data, scan.at, -1) == END
    assert scan.runs == [(10, 1), (12, 2)]


def test_says_what_is_missing_of_a_part():
    data = payload(1)
    for length in range(1, len(data)):
        scan = EntryScan(10, 0, 500, False)
        assert scan.feed(data[:length], 0, -1) == PARTIAL
        assert scan.needed == (48 if length < 48 else 53)


def test_stops_at_a_blank_and_at_zeros():
    scan = EntryScan(10, 0, 500, False)
    assert scan.feed(payload(1) + encode_blank(300), 0, -1) == BLANK
    assert scan.feed(bytes(8), 0, -1) == NOTHING


@pytest.mark.parametrize(
    ("index", "term", "pos", "reason"),
    [(9, 0, 500, "entry 10 where 9"), (10, 2, 500, "term 1 after term 2"), (10, 0, 501, "position 500")],
)
def test_refuses_what_does_not_follow(index: int, term: int, pos: int, reason: str):
    scan = EntryScan(index, term, pos, False)
    assert scan.feed(payload(1), 0, -1) == DAMAGED
    assert reason in scan.reason


def test_any_flipped_bit_is_seen():
    data = payload(1)
    for bit in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        scan = EntryScan(10, 0, 500, False)
        assert scan.feed(bytes(damaged), 0, -1) != END, bit


def test_believes_entries_of_java_without_crc():
    data = bytearray(payload(1))
    data[36:44] = bytes(8)
    scan = EntryScan(10, 0, 500, False)
    assert scan.feed(bytes(data), 0, -1) == END


def test_a_filler_is_an_entry_to_java_and_none_to_us():
    data = encode_filler(41, 3, 4096, FILLER, 500) + bytes(452)
    head = EntryHead(data, 0)
    assert (head.size, head.index, head.term, head.pos, head.channel) == (500, 41, 3, 4096, FILLER)
    scan = EntryScan(41, 0, 4096, False)
    assert scan.feed(data, 0, -1) == DAMAGED


def test_a_head_is_none_when_its_numbers_do_not_fit():
    data = payload(1)
    assert EntryHead(data, 0).index == 10
    assert EntryHead(data[:47], 0).size == 0
    assert EntryHead(b"\0" * 48, 0).size == 0
    assert EntryHead(data[:16] + b"\1" + data[17:], 0).size == 0


def test_takes_entries_by_count_and_bytes_but_at_least_one():
    data = payload(1, 1, 1)
    assert take_entries(data, 0, 9, 10_000) == (3, 159)
    assert take_entries(data, 53, 1, 10_000) == (1, 106)
    assert take_entries(data, 0, 9, 106) == (2, 106)
    assert take_entries(data, 0, 9, 1) == (1, 53)


def test_splits_bodies_or_says_why_not():
    assert split_bodies(payload(1, 2)) == [b"body0", b"body1"]
    with pytest.raises(EntryError, match="5 bytes at 53"):
        split_bodies(payload(1) + b"12345")
    with pytest.raises(EntryError, match="size 0"):
        split_bodies(bytes(48))


def test_units_must_follow_one_another():
    one = encode_bodies([b"a", b"b"], 0, 5, 2, 100, FAR).units
    two = encode_bodies([b"c"], 0, 7, 3, 4096, FAR).units
    scan = UnitScan(5, 100, 4096)
    assert scan.feed(one + two)
    assert scan.runs == [(5, 2), (7, 3)]
    assert not UnitScan(5, 101, 4096).feed(one)
    assert not UnitScan(6, 100, 4096).feed(one)
    assert not UnitScan(5, 100, 4096).feed(one[:40])
    assert not UnitScan(5, 100, 4096).feed(one + bytes(32))
    assert not UnitScan(5, 100, 4096).feed(two + one)
