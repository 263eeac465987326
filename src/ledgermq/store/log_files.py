"""The files of the commit log: fixed-size segments named by the 20-digit log offset of their first byte.

Segments are written with pwrite into files whose blocks were reserved before, and read through read-only
mappings made when first needed (a slice of a mapping is a copy, so nothing outside ever points into one). At
most ``MAPPED_LOG_FILES_MAX`` segments stay mapped; the segment least recently mapped is unmapped first.

The next segment is reserved ahead: when ``spare_wanted`` is true the driver runs
:meth:`LogFiles.allocate_spare` on a worker thread. A segment that was not ready in time is reserved on the
spot.

======================================  =====================
function                                may run on
======================================  =====================
allocate_spare                          a worker thread
everything else                         the owner's thread
======================================  =====================

Rules of this file: it is compiled; segments are contiguous; a segment's file always has its full length,
because Java refuses a directory in which one has not.
"""

from __future__ import annotations

import threading

from mypy_extensions import i64

from ledgermq.runtime.limits import MAPPED_LOG_FILES_MAX
from ledgermq.store.disk import Disk, ReadView


class LogSegment:
    """One file of the log."""

    def __init__(self, path: str, base: i64, size: i64) -> None:
        self.path: str = path
        self.base: i64 = base
        self.size: i64 = size
        self.fd: int = -1
        """Open while the segment is written, read or flushed; -1 otherwise."""
        self.view: ReadView | None = None


class LogFiles:
    """The segments in order. ``segments[i].base == segments[0].base + i * segment_bytes`` always."""

    def __init__(self, disk: Disk, directory: str, segment_bytes: i64) -> None:
        self.disk: Disk = disk
        self.directory: str = directory
        self.segment_bytes: i64 = segment_bytes
        self.segments: list[LogSegment] = []
        self.spare: LogSegment | None = None
        """A reserved file that directly follows the last segment."""
        self.spare_wanted: bool = False
        self.mapped: list[LogSegment] = []
        self._reserving: threading.Lock = threading.Lock()
        """Held while a file is made: the worker's and the owner's would have the same name."""
        self.flushed: i64 = 0
        """Bytes before this offset are on the device. Descriptors behind it stay open: their fsync is to
        come.
        """

    def segment_path(self, base: i64) -> str:
        return f"{self.directory}/{int(base):020d}"

    def at(self, offset: i64) -> LogSegment | None:
        """The segment that holds ``offset``, or None."""
        segments = self.segments
        if len(segments) == 0:
            return None
        distance: i64 = offset - segments[0].base
        if distance < 0:
            return None
        index: i64 = distance // self.segment_bytes
        if index >= len(segments):
            return None
        return segments[index]

    def read(self, offset: i64, size: i64) -> bytes:
        """Up to ``size`` bytes at ``offset``, within one segment; empty outside the log.

        The caller keeps to what has been written. Raises OSError.
        """
        segment = self.at(offset)
        if segment is None:
            return b""
        view = segment.view
        if view is None:
            view = self._map(segment)
        start: i64 = offset - segment.base
        return view[start : start + size]

    def descriptor(self, segment: LogSegment) -> int:
        """The open descriptor of a segment. Raises OSError."""
        if segment.fd < 0:
            segment.fd = self.disk.open(segment.path)
        return segment.fd

    def add_segment(self, base: i64) -> LogSegment:
        """The segment at ``base`` as the new last one: the spare if it is the one, else reserved now.

        Waits for a reservation that a worker has begun. Raises OSError.
        """
        with self._reserving:
            segment = self.spare
            self.spare = None
            self.spare_wanted = False
            # Java, started by mistake on a directory in use, deletes what it takes for leftovers before it
            # looks at the lock: a spare without a name must not be written.
            if segment is not None and (segment.base != base or not self.disk.exists(segment.path)):
                self.disk.close(segment.fd)
                segment = None
            if segment is None:
                segment = self._reserve(base)
        self.segments.append(segment)
        return segment

    def allocate_spare(self) -> None:
        """Reserve the segment that follows the last one. Raises OSError; there is then simply no spare."""
        with self._reserving:
            self.spare_wanted = False
            if len(self.segments) > 0:
                self._reserve_spare(self.segments[-1].base + self.segment_bytes)

    def reserve_spare(self, base: i64) -> None:
        """Reserve the segment at ``base``, which is to follow the last one. Raises OSError."""
        with self._reserving:
            self._reserve_spare(base)

    def _reserve_spare(self, base: i64) -> None:
        spare = self.spare
        if spare is None or spare.base != base:
            self.spare = self._reserve(base)

    def _reserve(self, base: i64) -> LogSegment:
        """Create a file of zeros with all its blocks and make it durable."""
        disk = self.disk
        segment = LogSegment(self.segment_path(base), base, self.segment_bytes)
        fd = disk.open(segment.path, True)
        try:
            # The length first, in one step: a crash must not leave a short file, which Java refuses.
            disk.truncate(fd, self.segment_bytes)
            disk.allocate(fd, 0, self.segment_bytes)
            disk.sync_file(fd)
            disk.sync_directory(self.directory)
        except OSError:
            disk.close(fd)
            disk.unlink(segment.path)
            raise
        segment.fd = fd
        return segment

    def _map(self, segment: LogSegment) -> ReadView:
        if len(self.mapped) >= MAPPED_LOG_FILES_MAX:
            self.release(self.mapped[0])
        view = self.disk.map_read(self.descriptor(segment), segment.size)
        segment.view = view
        self.mapped.append(segment)
        return view

    def release(self, segment: LogSegment) -> None:
        """Unmap a segment, and close it unless it is still to be flushed (a worker may be in its fsync)."""
        view = segment.view
        if view is not None:
            view.close()
            segment.view = None
            self.mapped.remove(segment)
        if segment.fd >= 0 and segment.base + segment.size <= self.flushed:
            self.disk.close(segment.fd)
            segment.fd = -1

    def close(self) -> None:
        for segment in self.segments:
            if segment.view is not None:
                segment.view.close()
                segment.view = None
            if segment.fd >= 0:
                self.disk.close(segment.fd)
                segment.fd = -1
        self.mapped.clear()
        spare = self.spare
        if spare is not None:
            self.disk.close(spare.fd)
            self.spare = None
