"""The real disk."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ledgermq.store.disk import Disk

DISK = Disk()


def test_write_read_and_sync(tmp_path: Path):
    path = str(tmp_path / "file")
    fd = DISK.open(path, create=True)
    DISK.truncate(fd, 100)
    DISK.pwrite(fd, b"hello", 10)
    DISK.sync_data(fd)
    DISK.sync_file(fd)
    DISK.sync_directory(str(tmp_path))
    assert DISK.pread(fd, 9, 8) == b"\0\0hello\0\0"
    assert DISK.pread(fd, 50, 90) == bytes(10), "short at the end of the file"
    assert DISK.pread(fd, 50, 200) == b""
    assert (DISK.file_bytes(fd), DISK.path_bytes(path)) == (100, 100)
    view = DISK.map_read(fd, 100)
    assert view[10:15] == b"hello"
    DISK.pwrite(fd, b"HE", 10)
    assert view[10:15] == b"HEllo", "a mapping sees what is written"
    view.close()
    DISK.close(fd)


def test_allocated_space_is_taken_and_a_cleared_place_reads_as_zeros(tmp_path: Path):
    fd = DISK.open(str(tmp_path / "file"), create=True)
    DISK.truncate(fd, 1 << 20)
    assert os.fstat(fd).st_blocks == 0
    DISK.allocate(fd, 0, 1 << 20)
    assert os.fstat(fd).st_blocks * 512 >= 1 << 20
    DISK.pwrite(fd, b"x" * (1 << 20), 0)
    DISK.clear(fd, 5000, (1 << 20) - 5000, reserve=True)
    assert DISK.pread(fd, 1 << 20, 0) == b"x" * 5000 + bytes((1 << 20) - 5000)
    assert (os.fstat(fd).st_blocks * 512 >= 1 << 20, DISK.file_bytes(fd)) == (True, 1 << 20)
    DISK.clear(fd, 8192, (1 << 20) - 8192, reserve=False)
    assert os.fstat(fd).st_blocks * 512 < 1 << 18
    assert DISK.has_data(fd, 0)
    assert not DISK.has_data(fd, 1 << 19)
    DISK.close(fd)


def test_what_was_just_written_is_in_the_cache(tmp_path: Path):
    fd = DISK.open(str(tmp_path / "file"), create=True)
    DISK.pwrite(fd, b"x" * 4096, 0)
    assert DISK.in_cache(fd, 0)
    DISK.close(fd)


def test_directories(tmp_path: Path):
    root = str(tmp_path)
    DISK.make_directories(f"{root}/a/b")
    DISK.make_directories(f"{root}/a/b")
    assert DISK.list_directory(f"{root}/nowhere") == []
    fd = DISK.open(f"{root}/a/b/two", create=True)
    DISK.close(fd)
    DISK.rename(f"{root}/a/b/two", f"{root}/a/b/one")
    assert DISK.list_directory(f"{root}/a/b") == ["one"]
    assert DISK.is_directory(f"{root}/a/b")
    assert not DISK.is_directory(f"{root}/a/b/one")
    assert DISK.exists(f"{root}/a/b/one")
    DISK.unlink(f"{root}/a/b/one")
    DISK.remove_directory(f"{root}/a/b")
    assert not DISK.exists(f"{root}/a/b")
    assert 0 < DISK.used_ratio(root) < 1
    assert DISK.path_bytes(f"{root}/none") == -1


def test_small_files(tmp_path: Path):
    path = str(tmp_path / "small")
    assert DISK.read_file(path) is None
    DISK.replace_file(path, b"first")
    DISK.replace_file(path, b"2nd")
    assert DISK.read_file(path) == b"2nd"
    assert DISK.list_directory(str(tmp_path)) == ["small"]
    assert DISK.modified_ms(path) > 1_600_000_000_000


def test_missing_files_and_full_devices_are_oserrors():
    with pytest.raises(FileNotFoundError):
        DISK.open("/nonexistent/file")
    fd = os.open("/dev/full", os.O_RDWR)
    with pytest.raises(OSError, match="space") as caught:
        DISK.pwrite(fd, b"x", 0)
    assert caught.value.errno == errno.ENOSPC
    os.close(fd)


def test_the_lock_keeps_a_second_store_of_this_process_out(tmp_path: Path):
    path = str(tmp_path / "lock")
    first = DISK.open(path, create=True)
    second = DISK.open(path)
    assert DISK.lock(first) == 0
    assert DISK.lock(second) != 0


def test_the_lock_keeps_other_processes_out_and_names_the_holder(tmp_path: Path):
    path = str(tmp_path / "lock")
    fd = DISK.open(path, create=True)
    assert DISK.lock(fd) == 0
    script = (
        "import sys; from ledgermq.store.disk import Disk; d = Disk();"
        "sys.stdout.write(str(d.lock(d.open(sys.argv[1]))))"
    )
    result = subprocess.run([sys.executable, "-c", script, path], capture_output=True, check=True, text=True)
    assert result.stdout == str(os.getpid())
    DISK.close(fd)
    result = subprocess.run([sys.executable, "-c", script, path], capture_output=True, check=True, text=True)
    assert result.stdout == "0"


def test_boot_id_stays_the_same():
    assert DISK.boot_id() == DISK.boot_id()
