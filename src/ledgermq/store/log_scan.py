"""Walking the log record by record, for recovery.

A record is believed when its magic is known, all its lengths add up to its size, it says itself that it is at
this place (the log offset in it), and its body has the CRC it states.

Rules of this file: it is compiled; it accepts any bytes and never reads outside them; it changes nothing.
"""

from __future__ import annotations

import zlib
from typing import Final

from librt.strings import read_i16_be, read_i32_be, read_i64_be
from mypy_extensions import i64

from ledgermq.message.record import (
    FLAG_BORN_HOST_V6,
    FLAG_STORE_HOST_V6,
    MAGIC_BLANK,
    MAGIC_V1,
    MAGIC_V2,
    RECORD_BYTES_MIN,
)
from ledgermq.store.disk import Disk
from ledgermq.store.log_files import LogFiles, LogSegment

RECORD: Final[i64] = 1
"""A record was read; the scanner stands behind it."""
BLANK: Final[i64] = 2
"""The file's end is blank; the scanner stands at the next file's beginning."""
NOTHING: Final[i64] = 3
"""Zeros, or the end of the last file: where a log ends."""
DAMAGED: Final[i64] = 4
"""Neither; the scanner stays."""

BLOCK_BYTES: Final[i64] = 4_194_304
SECTOR_BYTES: Final[i64] = 512
NEVER: Final[i64] = 0x7FFFFFFFFFFFFFFF
MAGIC_BEGINNING: Final = b"\xda\xa3\x20"
"""The three bytes that both versions' magics begin with."""


class LogScanner:
    """Reads the log in large blocks. After RECORD its fields are those of the record just read."""

    def __init__(self, disk: Disk, files: LogFiles, check_crc: bool) -> None:
        self.disk: Disk = disk
        self.files: LogFiles = files
        self.check_crc: bool = check_crc
        self.torn_from: i64 = NEVER
        """Records that end behind this were not fsynced before the crash: see :meth:`_is_torn`."""
        self.position: i64 = 0
        """Log offset of what :meth:`next` looks at."""
        self.at: i64 = 0
        self.size: i64 = 0
        self.queue_id: i64 = 0
        self.queue_offset: i64 = 0
        self.sys_flag: i64 = 0
        self.store_ms: i64 = 0
        self.topic: bytes = b""
        self.records: i64 = 0
        """Records read so far."""
        self._properties_at: i64 = 0
        self._properties_end: i64 = 0
        self._block: bytes = b""
        self._block_base: i64 = 0

    def properties(self) -> bytes:
        """Of the record just read."""
        return self._block[self._properties_at : self._properties_end]

    def next(self) -> i64:
        """Look at ``position`` and go on: RECORD, BLANK, NOTHING or DAMAGED. Raises OSError."""
        segment = self.files.at(self.position)
        if segment is None:
            return NOTHING
        left: i64 = segment.base + segment.size - self.position
        if left < 8:
            self.position += left
            return BLANK
        i: i64 = self._load(segment, 8)
        size: i64 = i64(read_i32_be(self._block, i))
        magic: i64 = i64(read_i32_be(self._block, i + 4))
        if magic == MAGIC_BLANK and size == left:
            self.position += left
            return BLANK
        if size == 0 and magic == 0:
            return NOTHING
        if magic != MAGIC_V1 and magic != MAGIC_V2:
            return DAMAGED
        if size < RECORD_BYTES_MIN or size > left:
            return DAMAGED
        i = self._load(segment, size)
        if not self._is_record(i, size, magic):
            return DAMAGED
        self.at = self.position
        self.size = size
        self.position += size
        self.records += 1
        return RECORD

    def find_record(self, start: i64, limit: i64) -> i64:
        """Log offset of the first believable record that begins in ``[start, limit)``, -1 when there is none.

        The scanner then stands there; else it stands where it was. Raises OSError.
        """
        before: i64 = self.position
        at: i64 = start
        while at < limit:
            segment = self.files.at(at)
            if segment is None:
                break
            self.position = at
            self._block = b""
            left: i64 = segment.base + segment.size - at
            i: i64 = self._load(segment, left if left < BLOCK_BYTES else BLOCK_BYTES)
            block = self._block
            found: i64 = block.find(MAGIC_BEGINNING, i + 4)
            while found >= 0:
                self.position = self._block_base + found - 4
                if self.position >= limit:
                    break
                if self.next() == RECORD:
                    self.records -= 1
                    self.position = self.at
                    return self.at
                if self._block is not block:
                    # The candidate reached over the block's end; come back to the block.
                    self._block = block
                    self._block_base = at
                found = block.find(MAGIC_BEGINNING, found + 1)
            # The last bytes of the block may begin a record whose magic is in the next one.
            step: i64 = len(block) - 8
            at = segment.base + segment.size if left <= BLOCK_BYTES else at + step
        self.position = before
        return -1

    def _load(self, segment: LogSegment, size: i64) -> i64:
        """Have ``size`` bytes at ``position`` in the block; returns where in the block they begin."""
        i: i64 = self.position - self._block_base
        if i >= 0 and i + size <= len(self._block):
            return i
        left: i64 = segment.base + segment.size - self.position
        wanted: i64 = BLOCK_BYTES if size < BLOCK_BYTES else size
        if wanted > left:
            wanted = left
        data = self.disk.pread(self.files.descriptor(segment), wanted, self.position - segment.base)
        if len(data) < wanted:
            data = data + bytes(wanted - len(data))
        self._block = data
        self._block_base = self.position
        return 0

    def _is_record(self, start: i64, size: i64, magic: i64) -> bool:
        """Whether the block holds a believable record at ``start``; takes its fields over."""
        block = self._block
        if read_i64_be(block, start + 28) != self.position:
            return False
        end: i64 = start + size
        sys_flag: i64 = i64(read_i32_be(block, start + 36))
        i: i64 = start + 48 + (20 if sys_flag & FLAG_BORN_HOST_V6 else 8)
        host_bytes: i64 = 20 if sys_flag & FLAG_STORE_HOST_V6 else 8
        # Behind the born host: timestamp, host, reconsume times, prepared offset, three lengths.
        if end - i < 8 + host_bytes + 4 + 8 + 4 + 1 + 2:
            return False
        store_ms: i64 = read_i64_be(block, i)
        hosts_end: i64 = i + 8 + host_bytes
        i = hosts_end + 12
        body_bytes: i64 = i64(read_i32_be(block, i))
        i += 4
        if body_bytes < 0 or body_bytes > end - i - 3:
            return False
        body_at: i64 = i
        i += body_bytes
        topic_bytes: i64 = 0
        if magic == MAGIC_V2:
            if end - i < 4:
                return False
            topic_bytes = i64(read_i16_be(block, i))
            i += 2
        else:
            topic_bytes = i64(block[i])
            i += 1
        if topic_bytes < 0 or topic_bytes > end - i - 2:
            return False
        topic_at: i64 = i
        i += topic_bytes
        properties_bytes: i64 = i64(read_i16_be(block, i))
        i += 2
        if properties_bytes < 0 or i + properties_bytes != end:
            return False
        if self.check_crc and body_bytes > 0:
            crc: i64 = zlib.crc32(block[body_at : body_at + body_bytes])
            if crc & 0x7FFFFFFF != i64(read_i32_be(block, start + 8)):
                return False
        if self.position + size > self.torn_from and (
            self._is_torn(start, hosts_end, 8) or self._is_torn(body_at + body_bytes, end, 1)
        ):
            return False
        self.queue_id = i64(read_i32_be(block, start + 12))
        self.queue_offset = read_i64_be(block, start + 20)
        self.sys_flag = sys_flag
        self.store_ms = store_ms
        self.topic = block[topic_at : topic_at + topic_bytes]
        self._properties_at = i
        self._properties_end = end
        return True

    def _is_torn(self, begin: i64, end: i64, bytes_min: i64) -> bool:
        """Whether some sector's part of ``block[begin:end]``, of ``bytes_min`` at least, is all zeros.

        The log behind its end is zeros on the device, so that is what a sector holds that did not get there.
        The CRC covers the body only. Asked is about what is before the body, where 8 bytes are never all zero
        but fewer may be (a size, a port); zeros there that go on behind it do not add up to the record's
        size. And about topic and properties, which have no zeros.
        """
        block = self._block
        at: i64 = begin
        while at < end:
            stop: i64 = at + SECTOR_BYTES - (self._block_base + at) % SECTOR_BYTES
            if stop > end:
                stop = end
            i: i64 = at
            while i < stop and i64(block[i]) == 0:
                i += 1
            if i == stop and stop - at >= bytes_min:
                return True
            at = stop
        return False
