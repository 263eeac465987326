"""Units that can be units of one queue."""

from __future__ import annotations

import struct

import pytest

from ledgermq.store.unit_scan import count_units, last_named

BLANK = (0, 0x7FFFFFFF)


def units(*pairs: tuple[int, int]) -> bytes:
    return b"".join(struct.pack(">qiq", at, size, 7) for at, size in pairs)


@pytest.mark.parametrize(
    ("pairs", "count", "last"),
    [
        ([], 0, -1),
        ([(0, 100), (100, 50), (150, 1)], 3, 150),
        ([(0, 100), (0, 0), (150, 1)], 1, 0),
        ([(0, 100), (50, -1)], 1, 0),
        ([(100, 100), (50, 100)], 1, 100),
        ([(100, 100), (100, 100)], 1, 100),
        ([BLANK, BLANK, (100, 5)], 3, 100),
        ([(100, 5), BLANK, (200, 5), BLANK], 4, 200),
        ([BLANK], 1, -1),
    ],
)
def test_counting(pairs: list[tuple[int, int]], count: int, last: int):
    data = units(*pairs)
    assert count_units(data, -1) == count
    assert last_named(data[: count * 20]) == last
    assert count_units(data + b"\0" * 19, -1) == count, "part of a unit is none"


def test_units_go_on_from_the_one_before():
    assert count_units(units((100, 5)), 99) == 1
    assert count_units(units((100, 5)), 100) == 0
