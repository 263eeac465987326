"""The index of a log."""

from __future__ import annotations

import pytest

from ledgermq.dledger.entries import encode_bodies
from ledgermq.dledger.index_files import IndexFiles
from ledgermq.testing.simulation.disk import SimDisk

UNITS = 8
"""Of one file."""


def units(first_index: int, count: int, term: int = 1) -> bytes:
    return encode_bodies([b""] * count, 0, first_index, term, first_index * 48, 1 << 40).units


def filled(first_index: int = 0, count: int = 20) -> tuple[SimDisk, IndexFiles]:
    disk = SimDisk(0)
    index = IndexFiles(disk, "/i", UNITS * 32)
    index.begin_at(first_index)
    index.append(units(first_index, count))
    return disk, index


@pytest.mark.parametrize("written", [True, False])
@pytest.mark.parametrize("first_index", [0, 5, 803])
def test_finds_units_written_or_not(written: bool, first_index: int):
    disk, index = filled(first_index)
    if written:
        index.write_tail()
    for wanted in range(first_index, first_index + 20):
        unit = index.unit(wanted)
        assert (unit.index, unit.pos, unit.size, unit.term) == (wanted, wanted * 48, 48, 1)
    assert index.unit(first_index + 20).size == 0
    if first_index:
        assert index.unit(first_index - 1).size == 0
    assert index.unit(10_000).size == 0
    assert all(len(inode.seen) == UNITS * 32 for inode in disk.names.values())


@pytest.mark.parametrize("written", [True, False])
def test_truncates_and_goes_on(written: bool):
    _, index = filled()
    if written:
        index.write_tail()
    index.truncate(10)
    assert index.unit(11).size == 0
    index.append(units(11, 3, term=2))
    assert (index.unit(10).term, index.unit(11).term, index.unit(14).size) == (1, 2, 0)
    index.write_tail()
    assert (index.unit(10).term, index.unit(13).term) == (1, 2)
    assert index.unit(14).size == 0


def test_removes_from_the_front():
    disk, index = filled()
    index.write_tail()
    index.remove_before(17)
    assert sorted(disk.names) == [f"/i/{2 * UNITS * 32:020d}"]
    assert index.unit(17).index == 17
    assert index.unit(3).size == 0


def test_what_cannot_be_written_waits():
    disk, index = filled()
    disk.fail_writes = True
    with pytest.raises(OSError, match="no space"):
        index.write_tail()
    assert index.unit(3).index == 3
    disk.fail_writes = False
    index.write_tail()
    assert index.unit(3).index == 3


def test_says_when_too_much_waits():
    _, index = filled()
    assert not index.overdue
    index.append(bytes(4 << 20))
    assert index.overdue
