"""Walking a replicated log as records: each is the body of an entry, behind a head of 48 bytes.

A head, as far as it matters here: int32 magic 1, int32 size of the whole entry, at byte 44 the body's size.
Where the next entry has no room, int32 -1 and the size of the rest close the file. What is committed is
sound (the replicated log has checked it): a body that is no record of this place is passed over.

Below ``divide``, where the first data file of the replicated log begins, lie the files of a commit log of the
time before replication, in which record follows record.

Rules of this file: it is compiled; it accepts any bytes and never reads outside them; it changes nothing.
"""

from __future__ import annotations

from typing import Final

from librt.strings import read_i32_be
from mypy_extensions import i64

from ledgermq.message.record import MAGIC_V1, MAGIC_V2, RECORD_BYTES_MIN, decode_record
from ledgermq.store.disk import Disk
from ledgermq.store.log_files import LogFiles
from ledgermq.store.log_scan import BLANK, DAMAGED, NOTHING, RECORD, LogScanner

ENTRY_HEAD_BYTES: Final[i64] = 48
ENTRY_MAGIC: Final[i64] = 1
BLANK_MAGIC: Final[i64] = -1


class EntryScanner(LogScanner):
    """A scanner whose ``position`` is that of an entry; ``at`` is where its record begins."""

    def __init__(self, disk: Disk, files: LogFiles, check_crc: bool, divide: i64) -> None:
        super().__init__(disk, files, check_crc)
        self.divide: i64 = divide
        self._plain: bool = False
        """Look for records as they are, wherever they lie."""
        self._found: i64 = -1
        """Where :meth:`find_record` has found a record: its entry's head may be damaged."""

    def next(self) -> i64:
        if self._plain or self.position < self.divide or self.position == self._found:
            return super().next()
        while True:
            segment = self.files.at(self.position)
            if segment is None:
                return NOTHING
            left: i64 = segment.base + segment.size - self.position
            if left < ENTRY_HEAD_BYTES:
                self.position += left
                return BLANK
            i: i64 = self._load(segment, ENTRY_HEAD_BYTES)
            magic: i64 = i64(read_i32_be(self._block, i))
            size: i64 = i64(read_i32_be(self._block, i + 4))
            if magic == BLANK_MAGIC:
                self.position += left
                return BLANK
            if magic == 0 and size == 0:
                return NOTHING
            if magic != ENTRY_MAGIC or size < ENTRY_HEAD_BYTES or size > left:
                return DAMAGED
            i = self._load(segment, size)
            if self._take(i + ENTRY_HEAD_BYTES, size - ENTRY_HEAD_BYTES):
                return RECORD

    def _take(self, start: i64, size: i64) -> bool:
        """Go behind the entry whose body is ``block[start:start+size]``; whether that is a record."""
        end: i64 = self.position + ENTRY_HEAD_BYTES + size
        found: bool = False
        if size >= RECORD_BYTES_MIN and i64(read_i32_be(self._block, start)) == size:
            magic: i64 = i64(read_i32_be(self._block, start + 4))
            if magic in (MAGIC_V1, MAGIC_V2):
                self.position += ENTRY_HEAD_BYTES
                self.at = self.position
                self.size = size
                found = self._is_record(start, size, magic)
        self.position = end
        if found:
            self.records += 1
        return found

    def body(self) -> bytes:
        """Of the message just read."""
        return decode_record(self._block, self.at - self._block_base).body

    def find_record(self, start: i64, limit: i64) -> i64:
        """As :meth:`LogScanner.find_record`; the scanner then stands at the record, not at its entry."""
        self._plain = True
        found: i64 = super().find_record(start, limit)
        self._plain = False
        self._found = found
        return found


class EntryRecords(EntryScanner):
    """The records of entries that are in memory."""

    def __init__(self, disk: Disk, files: LogFiles) -> None:
        super().__init__(disk, files, False, 0)

    def use(self, payload: bytes, first_pos: i64) -> None:
        """Begin with the entries of ``payload``, whole ones, at position ``first_pos``."""
        self._block = payload
        self._block_base = first_pos
        self.position = first_pos

    def next_record(self) -> bool:
        """Go to the next record; False, and the position behind the last entry, when there is none."""
        while True:
            i: i64 = self.position - self._block_base
            if len(self._block) - i < ENTRY_HEAD_BYTES:
                return False
            size: i64 = i64(read_i32_be(self._block, i + 4))
            if size < ENTRY_HEAD_BYTES or size > len(self._block) - i:
                return False
            if self._take(i + ENTRY_HEAD_BYTES, size - ENTRY_HEAD_BYTES):
                return True
