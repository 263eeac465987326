"""Disks that are slow, full or broken, as a test says."""

from __future__ import annotations

import os
import threading

from ledgermq.store.disk import Disk


class HeldDisk(Disk):
    """Its fsyncs of data wait while it is held, and raise ``error`` when there is one."""

    def __init__(self) -> None:
        self.syncs = 0
        self.error: OSError | None = None
        self.syncing = threading.Event()
        """A flush is under way, or was since this was cleared."""
        self._go = threading.Event()
        self._go.set()

    def hold(self) -> None:
        self.syncing.clear()
        self._go.clear()

    def let_go(self, error: OSError | None = None) -> None:
        self.error = error
        self._go.set()

    def sync_data(self, fd: int) -> None:
        self.syncs += 1
        self.syncing.set()
        assert self._go.wait(60)
        if self.error is not None:
            raise self.error
        super().sync_data(fd)


class FullDisk(Disk):
    """Writes to files whose path contains ``where`` fail with ``error`` (an errno) when there is one; of each
    a part gets written first."""

    def __init__(self) -> None:
        self.error = 0
        self.where = ""
        self._paths: dict[int, str] = {}

    def _check(self, path: str) -> None:
        if self.error and self.where in path:
            raise OSError(self.error, os.strerror(self.error))

    def open(self, path: str, create: bool = False) -> int:
        if create:
            self._check(path)
        fd = super().open(path, create)
        self._paths[fd] = path
        return fd

    def pwrite(self, fd: int, data: bytes, offset: int) -> None:
        if self.error and self.where in self._paths[fd]:
            super().pwrite(fd, data[: len(data) // 2], offset)
        self._check(self._paths[fd])
        super().pwrite(fd, data, offset)

    def allocate(self, fd: int, offset: int, size: int) -> None:
        self._check(self._paths[fd])
        super().allocate(fd, offset, size)


class ColdDisk(Disk):
    """Its page cache holds nothing but what was read through a descriptor."""

    def __init__(self) -> None:
        self.names: dict[int, str] = {}
        self.read: set[tuple[str, int]] = set()
        self.reads = 0

    def open(self, path: str, create: bool = False) -> int:
        fd = super().open(path, create)
        self.names[fd] = path
        return fd

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        if "commitlog" in self.names[fd]:
            self.reads += 1
            self.read |= {(self.names[fd], page) for page in range(offset >> 12, (offset + size) >> 12)}
        return super().pread(fd, size, offset)

    def in_cache(self, fd: int, offset: int) -> bool:
        return (self.names[fd], offset >> 12) in self.read
