"""Files of equal size, each named by the 20-digit offset of its first byte: DLedger's data and index.

A file always has its full length, because Java refuses a directory in which one has not. Data files have
their blocks reserved when they are made, and the next one is made ahead by a worker (:meth:`make_ahead`),
so that an append neither waits for that nor finds the disk full half-way. Index files are holes until
they are written: they are derived, and can wait for room.

Rules of this file: it is compiled; ``bases`` has no gap; the lock is held for bookkeeping and for making
a file, never during an fsync; who removes files sees to it that nobody writes or flushes meanwhile.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Final

from ledgermq.store.disk import Disk

_PAGE_BYTES: Final = 4096


class SegmentFiles:
    """The files of one directory, oldest first."""

    def __init__(self, disk: Disk, directory: str, file_bytes: int, reserve: bool) -> None:
        self.disk = disk
        self.directory = directory
        self.file_bytes = file_bytes
        self.bases: list[int] = []
        self._reserve = reserve
        self._lock = threading.Lock()
        self._fds: dict[int, int] = {}
        """Descriptors of the last file, of the one made ahead, and of those not given to close_old
        since."""
        self._spare = -1
        """Base of a file made ahead, which directly follows the last one; -1: none."""

    def path(self, base: int) -> str:
        return f"{self.directory}/{base:020d}"

    def base_of(self, offset: int) -> int:
        return offset - offset % self.file_bytes

    @property
    def end(self) -> int:
        """Where the last file ends."""
        return self.bases[-1] + self.file_bytes if self.bases else 0

    # ---- reading ----

    def read(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes at ``offset``, within one file. Raises OSError."""
        base = self.base_of(offset)
        fd = self.disk.open(self.path(base))
        try:
            return self.disk.pread(fd, min(size, base + self.file_bytes - offset), offset - base)
        finally:
            self.disk.close(fd)

    # ---- writing ----

    def ensure(self, offset: int) -> None:
        """See that there is a file for ``offset``: the last one, or the one after it. Raises OSError."""
        base = self.base_of(offset)
        if self.bases and base <= self.bases[-1]:
            return  # without the lock: the next file may be being made ahead, and that takes its time
        with self._lock:
            assert not self.bases or base == self.end, f"{self.directory}: {base} would leave a gap"
            if self._spare == base:
                self._spare = -1
            else:
                self._drop_spare()
                self._fds[base] = self._make(base)
            self.bases.append(base)

    def make_ahead(self) -> None:
        """Make the file after the last one, on a worker. Raises OSError; there is then simply none."""
        with self._lock:
            if self.bases and self._spare < 0:
                base = self.end
                self._fds[base] = self._make(base)
                self._spare = base

    @property
    def has_spare(self) -> bool:
        return self._spare >= 0

    def _make(self, base: int) -> int:
        disk, path = self.disk, self.path(base)
        fd = disk.open(path, True)
        try:
            # The length first, in one step: a crash must not leave a short file.
            disk.truncate(fd, self.file_bytes)
            if self._reserve:
                disk.allocate(fd, 0, self.file_bytes)
            disk.sync_file(fd)
            disk.sync_directory(self.directory)
        except OSError:
            disk.close(fd)
            with suppress(OSError):
                disk.unlink(path)
            raise
        return fd

    def write(self, offset: int, data: bytes) -> None:
        """Into one file that is there. Raises OSError; any part may have been written."""
        base = self.base_of(offset)
        self.disk.pwrite(self._descriptor(base), data, offset - base)

    def _descriptor(self, base: int) -> int:
        fd = self._fds.get(base, -1)
        if fd < 0:
            fd = self._fds[base] = self.disk.open(self.path(base))
        return fd

    def sync(self) -> None:
        """Fsync what was written. Raises OSError: what is on the device is then unknown."""
        with self._lock:
            fds = [fd for base, fd in sorted(self._fds.items()) if base != self._spare]
        for fd in fds:
            self.disk.sync_data(fd)

    def sync_from(self, offset: int) -> None:
        """Fsync the files from the one with ``offset`` on, whoever wrote them. Raises OSError."""
        for base in self.bases:
            if base + self.file_bytes > offset:
                self.disk.sync_data(self._descriptor(base))
        self.close_old()

    def close_old(self) -> None:
        """Close all but the last file: they have been synced, and nobody writes them any more."""
        with self._lock:
            last = self.bases[-1] if self.bases else 0
            for base in [base for base in self._fds if base < last]:
                self.disk.close(self._fds.pop(base))

    # ---- removing ----

    def cut(self, offset: int) -> None:
        """Make the bytes from ``offset`` on read as zeros; files that begin there or behind it go.

        The first file stays. Afterwards :meth:`sync` makes it durable. Raises OSError.
        """
        with self._lock:
            self._drop_spare()
            doomed = [base for base in self.bases[1:] if base >= offset]
            for base in reversed(doomed):  # The newest first: no crash may leave a gap.
                self._unlink(base)
                self.bases.pop()
            if doomed:
                self.disk.sync_directory(self.directory)
            if self.bases and offset < self.end:
                self._clear(self.bases[-1], max(0, offset - self.bases[-1]))

    def _clear(self, base: int, start: int) -> None:
        """Zeros from ``start`` to the end of a file, unless it has them."""
        disk, fd = self.disk, self._descriptor(base)
        page_end = min(self.file_bytes, start + -start % _PAGE_BYTES)
        dirty = any(disk.pread(fd, page_end - start, start))
        if dirty or (page_end < self.file_bytes and disk.has_data(fd, page_end)):
            disk.clear(fd, start, self.file_bytes - start, self._reserve)

    def remove_before(self, offset: int) -> None:
        """Remove the files that end at or before ``offset``, never the last. Raises OSError."""
        with self._lock:
            doomed = [base for base in self.bases[:-1] if base + self.file_bytes <= offset]
            del self.bases[: len(doomed)]
            for base in doomed:
                fd = self._fds.pop(base, -1)
                if fd >= 0:
                    self.disk.close(fd)
        for base in doomed:  # Outside the lock: a gigabyte takes the file system a while.
            self.disk.unlink(self.path(base))
        if doomed:
            self.disk.sync_directory(self.directory)

    def remove_all(self) -> None:
        """Remove every file, those that are not in ``bases`` too. Raises OSError."""
        with self._lock:
            self._close()
            self.bases.clear()
            self._spare = -1
            names = self.disk.list_directory(self.directory)
            for name in reversed(names):
                self.disk.unlink(f"{self.directory}/{name}")
            if names:
                self.disk.sync_directory(self.directory)

    def _unlink(self, base: int) -> None:
        fd = self._fds.pop(base, -1)
        if fd >= 0:
            self.disk.close(fd)
        self.disk.unlink(self.path(base))

    def _drop_spare(self) -> None:
        if self._spare >= 0:
            base, self._spare = self._spare, -1
            self._unlink(base)

    def close(self) -> None:
        with self._lock:
            self._close()

    def _close(self) -> None:
        for fd in self._fds.values():
            self.disk.close(fd)
        self._fds.clear()
