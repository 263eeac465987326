"""The operating system, as the store sees it.

:class:`Disk` is the only thing in this room that makes system calls, so that a simulated disk (un-fsynced
writes lost, sectors torn, no space) can take its place in tests. Its methods raise OSError and nothing else;
all of them may run on a worker thread.

Rules of this file: no policy. A write is whole or an OSError; a read is whole, or short at the end of the
file.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import struct
from typing import Final, Protocol

_PUNCH_HOLE_KEEP_SIZE: Final = 3
_CLEAR_STEP_BYTES: Final = 1_048_576
_FLOCK: Final = struct.Struct("@hhlli")


class ReadView(Protocol):
    """A read-only mapping: a slice is a copy."""

    def __getitem__(self, key: slice, /) -> bytes: ...

    def close(self) -> None: ...


class Disk:
    """System calls on files and directories. Paths are absolute or relative to the working directory."""

    def open(self, path: str, create: bool = False) -> int:
        """A descriptor for reading and writing, or for reading only where writing is not allowed."""
        flags = os.O_CLOEXEC | (os.O_CREAT if create else 0)
        try:
            return os.open(path, os.O_RDWR | flags, 0o644)
        except OSError as error:
            if create or error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def close(self, fd: int) -> None:
        os.close(fd)

    def file_bytes(self, fd: int) -> int:
        return os.fstat(fd).st_size

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        """``size`` bytes at ``offset``, fewer only at the end of the file."""
        data = os.pread(fd, size, offset)
        if len(data) == size or not data:
            return data
        parts = [data]
        got = len(data)
        while got < size and data:
            data = os.pread(fd, size - got, offset + got)
            parts.append(data)
            got += len(data)
        return b"".join(parts)

    def pwrite(self, fd: int, data: bytes, offset: int) -> None:
        """All of ``data`` at ``offset``; after an error any part of it may have been written."""
        written = os.pwrite(fd, data, offset)
        while written < len(data):
            step = os.pwrite(fd, memoryview(data)[written:], offset + written)
            if step == 0:
                raise OSError(errno.EIO, "pwrite wrote nothing")
            written += step

    def allocate(self, fd: int, offset: int, size: int) -> None:
        """Reserve blocks, so that later writes into ``[offset, offset + size)`` cannot run out of space."""
        os.posix_fallocate(fd, offset, size)

    def clear(self, fd: int, offset: int, size: int, reserve: bool) -> None:
        """Make ``[offset, offset + size)`` read as zeros, the length unchanged.

        ``reserve`` keeps its blocks reserved; else they are given back.
        """
        libc = ctypes.CDLL(None, use_errno=True)
        punched = hasattr(libc, "fallocate") and not libc.fallocate(
            fd, _PUNCH_HOLE_KEEP_SIZE, ctypes.c_longlong(offset), ctypes.c_longlong(size)
        )
        if not punched:
            zeros = bytes(_CLEAR_STEP_BYTES)
            for at in range(offset, offset + size, _CLEAR_STEP_BYTES):
                self.pwrite(fd, zeros[: offset + size - at], at)
        elif reserve:
            os.posix_fallocate(fd, offset, size)

    def has_data(self, fd: int, offset: int) -> bool:
        """False when the file is one hole from ``offset`` on."""
        try:
            os.lseek(fd, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return False
            raise
        return True

    def truncate(self, fd: int, size: int) -> None:
        """Set the length; a longer file reads as zeros behind its old end and takes no space there."""
        os.ftruncate(fd, size)

    def sync_data(self, fd: int) -> None:
        os.fdatasync(fd)

    def sync_file(self, fd: int) -> None:
        os.fsync(fd)

    def sync_file_system(self, path: str) -> bool:
        """Make everything on the file system of ``path`` durable in one go; False where that cannot be
        asked.
        """
        libc = ctypes.CDLL(None, use_errno=True)
        if not hasattr(libc, "syncfs"):
            return False
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if libc.syncfs(fd) != 0:
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code))
        finally:
            os.close(fd)
        return True

    def sync_directory(self, path: str) -> None:
        """Make the names in a directory durable."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def map_read(self, fd: int, size: int) -> ReadView:
        return mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ)

    def map_write(self, fd: int, size: int) -> mmap.mmap:
        """A writable mapping; its blocks must have been reserved, or a full disk is a SIGBUS."""
        return mmap.mmap(fd, size)

    def in_cache(self, fd: int, offset: int) -> bool:
        """Whether the page at ``offset`` can be read without waiting for the device."""
        try:
            return os.preadv(fd, [bytearray(1)], offset, os.RWF_NOWAIT) == 1
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
                return True  # A file system that cannot tell: assume what is usual.
            raise

    def list_directory(self, path: str) -> list[str]:
        """The names in a directory, sorted; none when there is no such directory."""
        try:
            return sorted(os.listdir(path))
        except FileNotFoundError:
            return []

    def is_directory(self, path: str) -> bool:
        return os.path.isdir(path)

    def exists(self, path: str) -> bool:
        return os.path.lexists(path)

    def make_directories(self, path: str) -> None:
        os.makedirs(path, exist_ok=True)

    def remove_directory(self, path: str) -> None:
        os.rmdir(path)

    def rename(self, source: str, target: str) -> None:
        os.replace(source, target)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def modified_ms(self, path: str) -> int:
        """When the file was last written, in milliseconds since the epoch; 0 when there is none."""
        try:
            return os.stat(path).st_mtime_ns // 1_000_000
        except FileNotFoundError:
            return 0

    def used_ratio(self, path: str) -> float:
        """How full the file system under ``path`` is, 0 to 1, as ``df`` computes it."""
        stat = os.statvfs(path)
        used = stat.f_blocks - stat.f_bfree
        available = used + stat.f_bavail
        return used / available if available > 0 else 1.0

    def lock(self, fd: int) -> int:
        """Take the store lock; 0 when it is ours now, else the pid of who has it (-1 when unknown).

        Two locks in one: the POSIX lock on byte 0, which Java's ``FileChannel.tryLock(0, 1, false)`` is, and
        a flock, because POSIX locks do not keep two stores of one process apart.
        """
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 0)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            held = fcntl.fcntl(fd, fcntl.F_GETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0))
            kind, _, _, _, pid = _FLOCK.unpack(held)
            return -1 if kind == fcntl.F_UNLCK or pid <= 0 else int(pid)
        return 0

    def read_file(self, path: str) -> bytes | None:
        """All of a small file; None when there is no such file."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            return self.pread(fd, self.file_bytes(fd), 0)
        finally:
            self.close(fd)

    def replace_file(self, path: str, data: bytes) -> None:
        """Write a small file durably: whole, or as it was before. Raises OSError."""
        temporary = f"{path}.tmp"
        fd = self.open(temporary, create=True)
        try:
            self.truncate(fd, 0)
            self.pwrite(fd, data, 0)
            self.sync_file(fd)
        finally:
            self.close(fd)
        self.rename(temporary, path)
        self.sync_directory(os.path.dirname(path) or ".")

    def path_bytes(self, path: str) -> int:
        """The length of a file, -1 when there is none."""
        try:
            return os.stat(path).st_size
        except FileNotFoundError:
            return -1

    def boot_id(self) -> str:
        """A text that changes when the machine restarts; empty where there is none."""
        try:
            with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
                return file.read().strip()
        except OSError:
            return ""
