"""Snapshots of a state machine in a member's directory, in the layout of Java's.

=============================================  ============================================================
path                                           what
=============================================  ============================================================
``snapshot/snapshot_<index>/snapshot_meta``    JSON: lastIncludedIndex, lastIncludedTerm (Java's), and ours:
                                               nextPos (where the next entry starts in the data file),
                                               dataBytes, dataCrc32
``snapshot/snapshot_<index>/data``             what the state machine wrote
``snapshot/tmp``                               one that is being saved
``snapshot/received``                          one that is being received from the leader
=============================================  ============================================================

A snapshot is written beside, fsynced, and gets its name by a rename: under its name it is whole. One that is
damaged all the same (its CRC says so; Java's have none) is passed over for the one before it.

Rules of this file: synchronous, on workers; one snapshot is saved and one received at a time; raises OSError
and SnapshotError only.
"""

from __future__ import annotations

import io
import logging
import threading
import zlib
from collections.abc import Callable
from typing import BinaryIO, Final

import msgspec

from ledgermq.remoting.json_body import JsonError, decode_json, encode_json
from ledgermq.store.disk import Disk

log: Final = logging.getLogger("ledgermq.dledger")

_PREFIX: Final = "snapshot_"
SAVING: Final = "tmp"
RECEIVING: Final = "received"
_STEP_BYTES: Final = 1 << 20


class SnapshotError(Exception):
    """There is no undamaged snapshot, or what was received is not one."""


class SnapshotMeta(msgspec.Struct, frozen=True, rename="camel"):
    """The file ``snapshot_meta`` (Java: ``SnapshotMeta``); -1 where a snapshot of Java's says nothing."""

    last_included_index: int
    last_included_term: int
    next_pos: int = -1
    data_bytes: int = -1
    data_crc32: int = -1


class SnapshotFile(io.RawIOBase):
    """The ``data`` of a snapshot that is being written; counts its bytes and their CRC."""

    def __init__(self, disk: Disk, path: str) -> None:
        super().__init__()
        self._disk = disk
        self._fd = disk.open(path, create=True)
        self.data_bytes = 0
        self.data_crc32 = 0

    def writable(self) -> bool:
        return True

    def write(self, data: object, /) -> int:
        piece = bytes(memoryview(data))  # type: ignore[arg-type]  # typeshed's Buffer is 3.12's
        self._disk.pwrite(self._fd, piece, self.data_bytes)
        self.data_bytes += len(piece)
        self.data_crc32 = zlib.crc32(piece, self.data_crc32)
        return len(piece)

    def sync(self) -> None:
        self._disk.sync_file(self._fd)

    def close(self) -> None:
        if not self.closed:
            self._disk.close(self._fd)
        super().close()


class OpenSnapshot:
    """A snapshot's data, open for reading: it can be read on after its name is gone."""

    def __init__(self, disk: Disk, meta: SnapshotMeta, fd: int) -> None:
        self.meta = meta
        self.data_bytes = disk.file_bytes(fd)
        self._disk = disk
        self._fd = fd

    def read(self, size: int, offset: int) -> bytes:
        return self._disk.pread(self._fd, size, offset)

    def close(self) -> None:
        self._disk.close(self._fd)


class EmptySnapshot:
    """What a group without a state machine sends to a follower: only where its log begins."""

    def __init__(self, last_index: int, last_term: int) -> None:
        self.meta = SnapshotMeta(last_index, last_term)
        self.data_bytes = 0

    def read(self, size: int, offset: int) -> bytes:
        return b""

    def close(self) -> None:
        pass


class SnapshotDirectory:
    """The snapshots of one member; ``keep`` of them stay."""

    def __init__(self, path: str, keep: int, disk: Disk) -> None:
        self._path = path
        self._keep = keep
        self._disk = disk
        self._lock = threading.Lock()
        """One may be saved while another is received: names change one at a time."""

    def prepare(self) -> None:
        """Make the directory, and clear away what a crash left half written."""
        self._disk.make_directories(self._path)
        for name in (SAVING, RECEIVING):
            self._remove(name)

    def indexes(self) -> list[int]:
        """The last indexes of all snapshots, ascending; damaged ones too."""
        names = self._disk.list_directory(self._path)
        tails = (name.removeprefix(_PREFIX) for name in names if name.startswith(_PREFIX))
        return sorted(int(tail) for tail in tails if tail.isascii() and tail.isdigit())

    # ---- writing ----

    def begin(self, name: str = SAVING) -> SnapshotFile:
        """A new snapshot's data file; what was begun under this name before is dropped."""
        self._remove(name)
        self._disk.make_directories(f"{self._path}/{name}")
        return SnapshotFile(self._disk, f"{self._path}/{name}/data")

    def finish(self, file: SnapshotFile, index: int, term: int, next_pos: int, name: str = SAVING) -> None:
        """Make what was written to ``file`` the snapshot after entry ``index``, durably."""
        file.sync()
        file.close()
        meta = SnapshotMeta(index, term, next_pos, file.data_bytes, file.data_crc32)
        self._disk.replace_file(f"{self._path}/{name}/snapshot_meta", encode_json(meta))
        with self._lock:
            self._remove(f"{_PREFIX}{index}")
            self._disk.rename(f"{self._path}/{name}", f"{self._path}/{_PREFIX}{index}")
            self._disk.sync_directory(self._path)

    def save(self, write: Callable[[BinaryIO], None], index: int, term: int, next_pos: int) -> None:
        """Save what ``write`` writes, and remove all snapshots but the newest ``keep``."""
        file = self.begin()
        try:
            buffered = io.BufferedWriter(file, _STEP_BYTES)
            write(buffered)
            buffered.flush()
            self.finish(file, index, term, next_pos)
        finally:
            file.close()
        self.remove_old()

    def remove_old(self) -> None:
        with self._lock:
            for index in self.indexes()[: -self._keep]:
                self._remove(f"{_PREFIX}{index}")

    def _remove(self, name: str) -> None:
        path = f"{self._path}/{name}"
        if not self._disk.is_directory(path):
            return
        for entry in self._disk.list_directory(path):
            self._disk.unlink(f"{path}/{entry}")
        self._disk.remove_directory(path)

    # ---- reading ----

    def newest(self, at_least: int = -1) -> OpenSnapshot | None:
        """The newest snapshot that is not damaged and not older than ``at_least``; close it after use."""
        for index in reversed(self.indexes()):
            if index < at_least:
                return None
            opened = self.open(index)
            if opened is not None:
                return opened
        return None

    def open(self, index: int) -> OpenSnapshot | None:
        """The snapshot after entry ``index``, its data checked; None, with a log line, when it is damaged."""
        directory = f"{self._path}/{_PREFIX}{index}"
        text = self._disk.read_file(f"{directory}/snapshot_meta")
        try:
            meta = decode_json(SnapshotMeta, text or b"")
        except JsonError as error:
            log.error("snapshot %s is passed over: its snapshot_meta cannot be read: %s", directory, error)
            return None
        if meta.last_included_index != index:
            log.error("snapshot %s is passed over: it is of entry %d", directory, meta.last_included_index)
            return None
        if not self._disk.exists(f"{directory}/data"):
            log.error("snapshot %s is passed over: it has no data", directory)
            return None
        opened = OpenSnapshot(self._disk, meta, self._disk.open(f"{directory}/data"))
        if meta.data_crc32 >= 0 and not self._sound(opened):
            log.error("snapshot %s is passed over: its data is damaged", directory)
            opened.close()
            return None
        return opened

    def _sound(self, opened: OpenSnapshot) -> bool:
        if opened.data_bytes != opened.meta.data_bytes:
            return False
        crc = 0
        for at in range(0, opened.data_bytes, _STEP_BYTES):
            crc = zlib.crc32(opened.read(_STEP_BYTES, at), crc)
        return crc == opened.meta.data_crc32


class SnapshotReader(io.RawIOBase):
    """An open snapshot as a file to read from."""

    def __init__(self, opened: OpenSnapshot) -> None:
        super().__init__()
        self._opened = opened
        self._at = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object, /) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]  # as in SnapshotFile.write
        data = self._opened.read(len(view), self._at)
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


def load(opened: OpenSnapshot, take: Callable[[BinaryIO], None]) -> None:
    """Give the data to ``take``. Raises whatever it raises, and OSError."""
    take(io.BufferedReader(SnapshotReader(opened), _STEP_BYTES))
