"""The file ``lock``: one broker per directory, Java's or ours.

The lock itself is a POSIX lock on byte 0, as Java takes it; it ends with the process, however it ends. The
text tells who wrote last: Java writes ``lock`` over our ``ledgermq <pid>``, and so our own records of the
consume queues (store/queue_records.py) are known to be out of date when the stamp is gone.

Rules of this file: the file is opened once and stays open; closing any descriptor of it in this process would
give the POSIX lock up.
"""

from __future__ import annotations

import os
from typing import Final

from ledgermq.store.disk import Disk
from ledgermq.store.errors import StoreLockedError

STAMP: Final = b"ledgermq"


class StoreLock:
    """The lock of one directory; :meth:`take` it before anything else is read."""

    def __init__(self, disk: Disk, root: str) -> None:
        self._disk = disk
        self._path = f"{root}/lock"
        self._fd = -1
        self.others_wrote = True
        """The directory was last used by another program than ledgermq, or never."""

    def take(self) -> None:
        """Raises StoreLockedError with the holder's pid, OSError."""
        fd = self._disk.open(self._path, create=True)
        holder = self._disk.lock(fd)
        if holder != 0:
            text = self._disk.pread(fd, 64, 0).split()
            pid = str(holder) if holder > 0 else text[-1].decode("ascii", "replace") if text else "unknown"
            if pid != str(os.getpid()):
                self._disk.close(fd)
            raise StoreLockedError(
                f"the store {os.path.dirname(self._path)} is used by another broker (pid {pid}): "
                "stop that one, or give this one another directory with --store"
            )
        self._fd = fd
        text = self._disk.pread(fd, 64, 0).split()
        self.others_wrote = not text or text[0] != STAMP

    def sign(self) -> None:
        """Say that we use the directory now; recovery has finished."""
        self._disk.truncate(self._fd, 0)
        self._disk.pwrite(self._fd, b"%s %d\n" % (STAMP, os.getpid()), 0)
        self._disk.sync_file(self._fd)

    def release(self) -> None:
        if self._fd >= 0:
            self._disk.close(self._fd)
            self._fd = -1
