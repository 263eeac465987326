"""Where each entry lies: 32 bytes per entry, in files made from the data and always to be made from it
again.

The newest units wait in memory and are written with the next flush, on its worker. They are fsynced with
the checkpoint only: recovery writes the units of all entries behind it again.

Rules of this file: it is compiled; unit i lies at 32 * i; behind the last one there are only zeros.
"""

from __future__ import annotations

import threading

from ledgermq.dledger.entries import INDEX_UNIT_BYTES, IndexUnit
from ledgermq.dledger.segment_files import SegmentFiles
from ledgermq.runtime.limits import UNWRITTEN_INDEX_BYTES_MAX
from ledgermq.store.disk import Disk

_UNIT = int(INDEX_UNIT_BYTES)


class IndexFiles:
    """The index of one log."""

    def __init__(self, disk: Disk, directory: str, file_bytes: int) -> None:
        self.files = SegmentFiles(disk, directory, file_bytes, reserve=False)
        self._lock = threading.Lock()
        """Held while the unwritten units are looked at or changed, and while they are written."""
        self._tail = bytearray()
        self._tail_at = 0
        """Offset of the first unwritten unit."""

    def begin_at(self, index: int) -> None:
        """The next unit is that of entry ``index``; those before it are in the files."""
        with self._lock:
            self._tail.clear()
            self._tail_at = index * _UNIT

    def append(self, units: bytes) -> None:
        with self._lock:
            self._tail += units

    @property
    def overdue(self) -> bool:
        """So many units are unwritten that no more should come."""
        return len(self._tail) > UNWRITTEN_INDEX_BYTES_MAX

    def truncate(self, last_index: int) -> None:
        """Entries after ``last_index`` are gone, and so are their units: durably, or a crash could take one
        of them for that of a later entry. Raises OSError.
        """
        with self._lock:
            end = (last_index + 1) * _UNIT
            if end >= self._tail_at:
                del self._tail[end - self._tail_at :]
            else:
                self._tail.clear()
                self._tail_at = end
            if end < self.files.end:
                self.files.cut(end)
                self.files.sync()

    def write_tail(self) -> None:
        """Write what waits in memory. Raises OSError; what was not written waits on."""
        with self._lock:
            while self._tail:
                at, files = self._tail_at, self.files
                files.ensure(at)
                data = bytes(self._tail[: files.base_of(at) + files.file_bytes - at])
                files.write(at, data)
                del self._tail[: len(data)]
                self._tail_at += len(data)

    def unit(self, index: int) -> IndexUnit:
        """The unit of an entry; its size is 0 where there is none. Raises OSError."""
        at = index * _UNIT
        with self._lock:
            if at >= self._tail_at:
                return IndexUnit(bytes(self._tail[at - self._tail_at : at - self._tail_at + _UNIT]), 0)
        if not self.files.bases or not self.files.bases[0] <= at < self.files.end:
            return IndexUnit(b"", 0)
        return IndexUnit(self.files.read(at, _UNIT), 0)

    def remove_before(self, index: int) -> None:
        """Remove files that hold only units of entries before ``index``. Raises OSError."""
        self.files.remove_before(index * _UNIT)
