"""The key index: which messages carry a key (directory ``index``).

Indexed are, for every message but a rolled-back one and in this order: its unique key (UNIQ_KEY), each word
of KEYS, and TAGS as the key ``T#tags`` (Java: ``IndexService``). Entries are gathered with the records of a
turn and published when these are written. A file that is full is followed by a new one, named by its creation
time ``yyyyMMddHHmmssSSS``.

Rules of this file: it is compiled; the index is derived from the log, but it never silently lags behind it:
when no blocks can be reserved for the entries of a turn, the turn's write fails (:meth:`KeyIndex.reserve`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from librt.strings import BytesWriter, write_i32_be, write_i64_be
from mypy_extensions import i32, i64

from ledgermq.message.hashing import hash_more
from ledgermq.message.properties import PropertyScan
from ledgermq.message.record import FLAG_TRANSACTION, TRANSACTION_ROLLBACK
from ledgermq.store.disk import Disk
from ledgermq.store.index_file import GATHERED_BYTES, IndexFile, positive_hash

TAG_PREFIX: Final = b"T#"
BLANK: Final[i64] = 32
SOME_ENTRIES: Final[i64] = 1024
ENTRIES_PER_LOOK: Final[i64] = 64
"""Entries looked at between two looks at the clock: each may cost a read from the disk."""


class KeyIndex:
    """All index files; the last one is written."""

    def __init__(self, disk: Disk, directory: str, slot_count: i64, entry_count: i64) -> None:
        self.disk: Disk = disk
        self.directory: str = directory
        self.slot_count: i64 = slot_count
        self.entry_count: i64 = entry_count
        self.files: list[IndexFile] = []
        self.indexed_offset: i64 = 0
        """Records that begin below this are indexed already: recovery sets it, so that replay adds none
        twice.
        """
        self._gathered: BytesWriter = BytesWriter()
        self._last_name: str = ""
        self._written: dict[str, None] = {}

    def open_file(self, name: str) -> IndexFile:
        """An existing file, not yet looked at and not yet among ``files``."""
        return IndexFile(self.disk, f"{self.directory}/{name}", self.slot_count, self.entry_count)

    def use_files(self, files: list[IndexFile], indexed_offset: i64, durable_offset: i64) -> None:
        """Recovery: these are the files; records that begin below ``indexed_offset`` are in them.

        Entries of records behind ``durable_offset`` are for the next checkpoint to make durable.
        """
        self.files = files
        self.indexed_offset = indexed_offset
        for file in files:
            if file.end_offset > durable_offset:
                self._written[file.path] = None
        if len(files) > 0:
            self._last_name = files[-1].path.rpartition("/")[2]

    def drop_last_record(self) -> i64:
        """Forget the entries of the last record, for a crash may have kept some from the files; returns the
        log offset from which to index again, -1 when there are no entries. Raises OSError.
        """
        last: i64 = self.last_offset() if self._has_entries() else -1
        for file in reversed(self.files):
            file.drop_record(last)
            if file.count > 1:
                break
        return last

    def _has_entries(self) -> bool:
        return any(file.count > 1 for file in self.files)

    # ---- gathering and publishing ----------------------------------------------------------------------

    def gather(
        self,
        index_hash: i64,
        log_offset: i64,
        store_ms: i64,
        sys_flag: i64,
        properties: bytes,
        scan: PropertyScan,
    ) -> None:
        """Gather the keys of one record; ``index_hash`` is the hash state after ``topic#``."""
        if sys_flag & FLAG_TRANSACTION == TRANSACTION_ROLLBACK or log_offset < self.indexed_offset:
            return
        if scan.unique_end != 0:
            self._gather_key(
                hash_more(index_hash, properties, scan.unique_at, scan.unique_end), log_offset, store_ms
            )
        if scan.keys_end != 0:
            at: i64 = scan.keys_at
            i: i64 = at
            while i <= scan.keys_end:
                if i == scan.keys_end or i64(properties[i]) == BLANK:
                    if i > at:
                        self._gather_key(hash_more(index_hash, properties, at, i), log_offset, store_ms)
                    at = i + 1
                i += 1
        if scan.tags_end != 0:
            state: i64 = hash_more(index_hash, TAG_PREFIX, 0, 2)
            self._gather_key(hash_more(state, properties, scan.tags_at, scan.tags_end), log_offset, store_ms)

    def _gather_key(self, state: i64, log_offset: i64, store_ms: i64) -> None:
        out = self._gathered
        write_i32_be(out, i32(positive_hash(state)))
        write_i64_be(out, log_offset)
        write_i64_be(out, store_ms)

    def reserve(self) -> None:
        """Make sure that what is gathered can be published without an error. Raises OSError."""
        left: i64 = len(self._gathered) // GATHERED_BYTES
        i: i64 = self._current()
        while left > 0:
            if i >= len(self.files):
                # It stays the last one even if this turn is taken back.
                self._add_file()
            file = self.files[i]
            step: i64 = file.room()
            if step > left:
                step = left
            if step > 0:
                file.map()
                file.reserve(step)
            left -= step
            i += 1

    def reserve_some(self) -> None:
        """Have room for the keys of some messages, whatever is gathered. Raises OSError."""
        i: i64 = self._current()
        if i >= len(self.files):
            self._add_file()
        file = self.files[i]
        file.map()
        file.reserve(file.room() if file.room() < SOME_ENTRIES else SOME_ENTRIES)

    def publish(self) -> None:
        """Put what was gathered into the files; :meth:`reserve` came before."""
        gathered = self._gathered
        size: i64 = len(gathered)
        if size == 0:
            return
        data = gathered.getvalue()
        gathered.truncate(0)
        i: i64 = self._current()
        at: i64 = 0
        while at < size:
            file = self.files[i]
            end: i64 = at + file.room() * GATHERED_BYTES
            if end > size:
                end = size
            file.put(data, at, end)
            self._written[file.path] = None
            if file.room() <= 0:
                file.unmap()
            at = end
            i += 1

    def _current(self) -> i64:
        """Which file is written next; one behind the last when there is none with room."""
        files = self.files
        i: i64 = len(files) - 1
        while i > 0 and files[i].count == 1:
            i -= 1
        if i < 0 or files[i].room() <= 0:
            i += 1
        return i

    def forget_gathered(self) -> None:
        self._gathered.truncate(0)

    def _add_file(self) -> None:
        """Begin a new last file. Raises OSError."""
        name = file_name(time.time())
        if name <= self._last_name:
            name = str(int(self._last_name) + 1)
        file = IndexFile(self.disk, f"{self.directory}/{name}", self.slot_count, self.entry_count)
        self.disk.make_directories(self.directory)
        file.create()
        self._last_name = name
        self.files.append(file)

    # ---- reading ---------------------------------------------------------------------------------------

    def find(
        self,
        index_hash: i64,
        key: bytes,
        count_max: i64,
        begin_ms: i64,
        end_ms: i64,
        tag: bool,
        found: list[int],
        slice_seconds: float,
    ) -> Iterator[None]:
        """Append to ``found`` log offsets of messages that may carry ``key``, newest first. Raises OSError.

        ``index_hash`` is the hash state after ``topic#``; ``tag`` looks among the TAGS. A key that every
        message has makes a chain of millions of entries: it yields about every ``slice_seconds``.
        """
        state: i64 = index_hash
        if tag:
            state = hash_more(state, TAG_PREFIX, 0, 2)
        key_hash: i64 = positive_hash(hash_more(state, key, 0, len(key)))
        ends: float = time.monotonic() + slice_seconds
        for file in reversed(self.files.copy()):
            if len(found) >= count_max or not file.covers(begin_ms, end_ms):
                continue
            number: i64 = file.newest_in_slot(key_hash)
            # A file may be given up while others have their turn.
            while number > 0 and file in self.files:
                number = file.find(key_hash, begin_ms, end_ms, count_max, found, number, ENTRIES_PER_LOOK)
                if time.monotonic() > ends:
                    yield
                    ends = time.monotonic() + slice_seconds

    def last_ms(self) -> i64:
        """Store time of the newest entry."""
        for file in reversed(self.files):
            if file.count > 1:
                return file.end_ms
        return 0

    def last_offset(self) -> i64:
        """Log offset of the newest entry."""
        for file in reversed(self.files):
            if file.count > 1:
                return file.end_offset
        return 0

    def take_written(self) -> list[str]:
        """Paths of the files written since the last call."""
        paths = list(self._written)
        self._written = {}
        return paths

    def full_ms(self) -> i64:
        """Store time of the last entry of the newest full file: what Java keeps as its index timestamp."""
        for file in reversed(self.files):
            if file.room() <= 0:
                return file.end_ms
        return 0

    def filling(self) -> IndexFile | None:
        """The file that has entries and room for more."""
        if self.files:
            last = self.files[len(self.files) - 1]
            if last.count > 1 and last.room() > 0:
                return last
        return None

    def detach_before(self, log_begin: i64) -> list[str]:
        """Give up the files all of whose entries are before ``log_begin``; returns their paths."""
        paths: list[str] = []
        while len(self.files) > 1 and self.files[0].end_offset < log_begin and self.files[1].count > 1:
            file = self.files.pop(0)
            file.unmap()
            self._written.pop(file.path, None)
            paths.append(file.path)
        return paths

    def close(self) -> None:
        for file in self.files:
            file.unmap()


def file_name(seconds: float) -> str:
    """``yyyyMMddHHmmssSSS`` of a moment, in local time as Java names index files."""
    moment = time.localtime(seconds)
    return time.strftime("%Y%m%d%H%M%S", moment) + f"{int(seconds * 1000) % 1000:03d}"
