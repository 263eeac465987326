"""The newest entries in memory."""

from __future__ import annotations

import sys

from tests.unit.dledger.ledgers import entries

from ledgermq.dledger.entries import split_bodies
from ledgermq.dledger.recent_entries import Batch, RecentEntries


def batch(first_index: int, pos: int, *bodies: bytes) -> Batch:
    made = entries(first_index, 1, pos, *bodies)
    return Batch(made.first_index, made.last_index, pos, made.payload)


def filled(bytes_max: int = 1 << 20) -> RecentEntries:
    """Entries 5 to 9 of 50 bytes; 8 begins another file."""
    recent = RecentEntries(bytes_max)
    recent.add(batch(5, 100, b"b5", b"b6"))
    recent.add(batch(7, 200, b"b7"))
    recent.add(batch(8, 4096, b"b8", b"b9"))
    return recent


def read(recent: RecentEntries, first: int, last: int, bytes_max: int) -> tuple[int, list[bytes]]:
    found = recent.read(first, last, bytes_max)
    assert (found.first_index, found.last_index) == (first, first + len(split_bodies(found.payload)) - 1)
    return found.first_pos, split_bodies(found.payload)


def test_reads_within_one_file_across_batches():
    recent = filled()
    assert read(recent, 5, 9, 10_000) == (100, [b"b5", b"b6", b"b7"])
    assert read(recent, 6, 9, 10_000) == (150, [b"b6", b"b7"])
    assert read(recent, 9, 9, 10_000) == (4146, [b"b9"])


def test_reads_up_to_an_index_and_a_size():
    recent = filled()
    assert read(recent, 5, 6, 10_000) == (100, [b"b5", b"b6"])
    assert read(recent, 5, 5, 10_000) == (100, [b"b5"])
    assert read(recent, 5, 9, 1) == (100, [b"b5"])
    assert read(recent, 5, 9, 100) == (100, [b"b5", b"b6"])
    assert read(recent, 5, 9, 120) == (100, [b"b5", b"b6"])
    assert read(recent, 5, 9, 150) == (100, [b"b5", b"b6", b"b7"])


def test_a_whole_batch_is_not_copied():
    recent = RecentEntries(1000)
    one = batch(0, 0, b"a", b"b")
    recent.add(one)
    assert recent.read(0, 1, 1000).payload is one.payload


def test_knows_places():
    recent = filled()
    assert [recent.place(index) for index in (5, 6, 7, 9)] == [(100, 50), (150, 50), (200, 50), (4146, 50)]
    assert not recent.holds(4)
    assert not recent.holds(10)
    assert not RecentEntries(10).holds(0)


def test_the_oldest_make_room():
    recent = filled(160)
    assert [recent.holds(index) for index in range(5, 10)] == [False, False, True, True, True]
    assert read(recent, 7, 9, 1000) == (200, [b"b7"])
    for index in range(10, 5000):
        recent.add(batch(index, 5000 + 50 * index, b"%02d" % (index % 100)))
    assert recent.holds(4999)
    assert not recent.holds(4990)
    assert len(recent._batches) < 3000


def test_what_was_dropped_is_not_kept():
    batches = [batch(number, number * 50, b"%02d" % number) for number in range(10)]
    before = [sys.getrefcount(batches[number]) for number in range(10)]
    recent = RecentEntries(100)
    for number in range(10):
        recent.add(batches[number])
    held = [sys.getrefcount(batches[number]) - before[number] for number in range(10)]
    assert held == [0] * 8 + [1, 1]


def test_cuts_in_the_middle_of_a_batch():
    recent = filled()
    recent.truncate(8)
    assert recent.holds(8)
    assert not recent.holds(9)
    recent.truncate(5)
    assert read(recent, 5, 5, 1000) == (100, [b"b5"])
    recent.add(batch(6, 150, b"new"))
    assert read(recent, 5, 6, 1000) == (100, [b"b5", b"new"])
    recent.truncate(4)
    assert not recent.holds(5)
