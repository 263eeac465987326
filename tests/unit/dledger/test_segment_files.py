"""Files of equal size."""

from __future__ import annotations

import threading

import pytest

from ledgermq.dledger.segment_files import SegmentFiles
from ledgermq.testing.simulation.disk import SimDisk

SIZE = 8192


def files_on(disk: SimDisk, reserve: bool = True) -> SegmentFiles:
    return SegmentFiles(disk, "/d", SIZE, reserve)


def names(disk: SimDisk) -> list[int]:
    return sorted(int(name.rpartition("/")[2]) for name in disk.names)


def test_files_are_made_whole_and_durable_before_they_are_written():
    disk = SimDisk(0)
    files = files_on(disk)
    files.ensure(3 * SIZE + 100)
    disk.power_cut()
    assert {name: len(inode.seen) for name, inode in disk.names.items()} == {f"/d/{3 * SIZE:020d}": SIZE}
    assert files.end == 4 * SIZE


def test_writes_and_reads_within_a_file():
    files = files_on(SimDisk(0))
    files.ensure(0)
    files.ensure(SIZE)
    files.write(SIZE + 10, b"abc")
    assert files.read(SIZE + 9, 5) == b"\0abc\0"
    assert len(files.read(SIZE - 4, 100)) == 4


def test_a_file_made_ahead_is_used():
    disk = SimDisk(0)
    files = files_on(disk)
    files.make_ahead()
    assert not files.has_spare
    files.ensure(0)
    files.make_ahead()
    assert files.has_spare
    assert names(disk) == [0, SIZE]
    disk.fail_writes = True
    files.ensure(SIZE)
    assert files.bases == [0, SIZE]
    assert not files.has_spare
    with pytest.raises(OSError, match="no space"):
        files.make_ahead()
    assert names(disk) == [0, SIZE]


def test_nobody_who_writes_waits_while_a_file_is_made_ahead():
    class SlowDisk(SimDisk):
        def allocate(self, fd: int, offset: int, size: int) -> None:
            super().allocate(fd, offset, size)
            if files.bases:
                writer = threading.Thread(target=write, daemon=True)
                writer.start()
                writer.join(5)
                assert not writer.is_alive()

    def write() -> None:
        files.ensure(100)
        files.write(100, b"meanwhile")

    files = files_on(SlowDisk(0))
    files.ensure(0)
    files.make_ahead()
    assert files.has_spare
    assert files.read(100, 9) == b"meanwhile"


def test_a_file_that_cannot_be_made_leaves_no_name():
    disk = SimDisk(0)
    disk.fail_writes = True
    files = files_on(disk)
    with pytest.raises(OSError, match="no space"):
        files.ensure(0)
    assert (files.bases, names(disk)) == ([], [])
    files_on(disk, reserve=False).ensure(0)  # It asks for no room.


def test_cut_clears_and_removes():
    disk = SimDisk(0)
    files = files_on(disk)
    for base in range(0, 4 * SIZE, SIZE):
        files.ensure(base)
        files.write(base, b"x" * SIZE)
    files.make_ahead()
    files.cut(SIZE + 5000)
    assert files.bases == [0, SIZE]
    assert names(disk) == [0, SIZE]
    assert files.read(SIZE + 4990, 20) == b"x" * 10 + bytes(10)
    assert not any(files.read(SIZE + 5000, SIZE))
    files.cut(SIZE)
    assert files.bases == [0]
    files.cut(0)
    assert files.bases == [0]
    assert not any(files.read(0, SIZE))


def test_a_clean_tail_is_not_written():
    disk = SimDisk(0)
    files = files_on(disk)
    files.ensure(0)
    files.write(0, b"x" * 10)
    before = disk.operations
    files.cut(10)
    assert disk.operations == before


def test_removes_from_the_front_but_never_the_last():
    disk = SimDisk(0)
    files = files_on(disk)
    for base in range(0, 3 * SIZE, SIZE):
        files.ensure(base)
    files.remove_before(SIZE + 1)
    assert (files.bases, names(disk)) == ([SIZE, 2 * SIZE],) * 2
    files.remove_before(100 * SIZE)
    assert (files.bases, names(disk)) == ([2 * SIZE],) * 2


def test_remove_all_takes_strangers_too():
    disk = SimDisk(0)
    files = files_on(disk)
    disk.open(f"/d/{7 * SIZE:020d}", True)
    files.ensure(0)
    files.make_ahead()
    files.remove_all()
    assert (files.bases, names(disk), disk.open_files.keys() - {101}) == ([], [], set())


def test_what_was_synced_survives():
    disk = SimDisk(0)
    files = files_on(disk)
    files.ensure(0)
    files.write(0, b"one")
    files.sync()
    disk.power_cut()
    assert files.read(0, 3) == b"one"


def test_old_files_are_closed():
    disk = SimDisk(0)
    files = files_on(disk)
    for base in range(0, 3 * SIZE, SIZE):
        files.ensure(base)
        files.write(base, b"x")
    files.sync()
    files.close_old()
    assert len(disk.open_files) == 1
    files.write(0, b"y")
    files.close()
    assert not disk.open_files
