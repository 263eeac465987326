"""Reading messages: the pull, one message by its place, the queue offset of a moment.

A pull reads the units of a queue and copies the records they name out of the log's mapping; records that
follow one another in the log are copied as one slice. Its answers are those of Java's
``DefaultMessageStore.getMessage``, status by status; what it copies is checked to be the record that the unit
names, so that a damaged queue file makes a message missing and never a client choke.

Cold data: a record far behind the log's end may not be in the page cache, and a page fault would stop the
whole event loop. Such a pull asks first (eight cheap system calls per MiB of log); when the data is not there
the status is COLD, and the caller has :meth:`MessageReader.warm` read it on a worker thread and asks again.

==============================  ==============================
function                        may run on
==============================  ==============================
warm                            a worker thread
everything else                 the owner's thread
==============================  ==============================

Rules of this file: it is compiled; it changes nothing on disk; a record is never returned in part.
"""

from __future__ import annotations

import os
from enum import IntEnum
from typing import Final

from librt.strings import read_i32_be, read_i64_be
from mypy_extensions import i64

from ledgermq.message.record import (
    FLAG_BORN_HOST_V6,
    MAGIC_V1,
    MAGIC_V2,
    RECORD_BYTES_MIN,
    Record,
    RecordError,
    decode_record,
)
from ledgermq.store.commit_log import CommitLog
from ledgermq.store.consume_queue import ConsumeQueue
from ledgermq.store.log_files import LogFiles
from ledgermq.store.queue_files import UNIT_BYTES


class GetStatus(IntEnum):
    """What became of a pull (Java: ``GetMessageStatus``; COLD is ours)."""

    FOUND = 0
    NO_MATCHED_MESSAGE = 1
    MESSAGE_WAS_REMOVING = 2
    OFFSET_FOUND_NULL = 3
    OFFSET_OVERFLOW_BADLY = 4
    OFFSET_OVERFLOW_ONE = 5
    OFFSET_TOO_SMALL = 6
    NO_MATCHED_LOGIC_QUEUE = 7
    NO_MESSAGE_IN_QUEUE = 8
    OFFSET_RESET = 9
    COLD = 10


FILTER_UNITS_MAX: Final[i64] = 800
"""Units looked at by one pull with a filter (Java: maxFilterMessageSize, 16000 bytes of units)."""
CHUNK_SHIFT: Final[i64] = 20
CHUNK_BYTES: Final[i64] = 1_048_576
PROBE_BYTES: Final[i64] = 131_072
"""Distance of the pages asked about within a chunk: the kernel reads ahead in such pieces."""
WARM_CHUNKS_MAX: Final[i64] = 4096


class ReadLimits:
    """How much one pull may return; recent messages and older ones have limits of their own."""

    def __init__(
        self,
        memory_bytes: int = 262_144,
        memory_count: int = 32,
        disk_bytes: int = 65_536,
        disk_count: int = 8,
        recent_bytes: int = 0,
        hot_bytes: int = 67_108_864,
    ) -> None:
        """``recent_bytes``: distance from the log's end within which a message is recent; 0: 40 % of memory.

        ``hot_bytes``: the distance within which it is taken to be in the page cache without asking.
        """
        self.hot_bytes: i64 = hot_bytes
        self.memory_bytes: i64 = memory_bytes
        self.memory_count: i64 = memory_count
        self.disk_bytes: i64 = disk_bytes
        self.disk_count: i64 = disk_count
        self.recent_bytes: i64 = recent_bytes if recent_bytes > 0 else physical_memory_bytes() * 40 // 100


def physical_memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


class GetResult:
    """The answer of a pull. ``payload`` is the records as they lie in the log, one after another."""

    def __init__(
        self,
        status: GetStatus = GetStatus.NO_MATCHED_LOGIC_QUEUE,
        next_offset: i64 = 0,
        min_offset: i64 = 0,
        max_offset: i64 = 0,
        payload: bytes = b"",
        count: i64 = 0,
    ) -> None:
        self.status: GetStatus = status
        self.next_offset: i64 = next_offset
        """Queue offset to pull next: behind what was looked at, or the correction of a wrong offset."""
        self.min_offset: i64 = min_offset
        self.max_offset: i64 = max_offset
        self.payload: bytes = payload
        self.count: i64 = count
        self.suggest_slave: bool = False
        """The consumer is further behind than memory reaches: it should read from a slave."""
        self.cold_offset: i64 = 0
        """Status COLD: what to give to :meth:`MessageReader.warm`."""


class MessageReader:
    """Reads what the log has made visible."""

    def __init__(self, log: CommitLog, limits: ReadLimits) -> None:
        self.log: CommitLog = log
        self.files: LogFiles = log.files
        self.limits: ReadLimits = limits
        self._warm: dict[int, None] = {}
        """Chunks of the log that were in the page cache when last looked at, oldest first."""

    def get(
        self,
        queue: ConsumeQueue | None,
        offset: i64,
        count_max: i64,
        bytes_max: i64,
        tags: frozenset[int] | None = None,
    ) -> GetResult:
        """Messages from queue ``offset`` on whose tag code is in ``tags`` (None: all of them).

        At least one message is returned where there is one, whatever ``bytes_max``. Raises OSError.
        """
        result = GetResult()
        if queue is None:
            return result
        result.min_offset = queue.min_offset
        result.max_offset = queue.max_offset
        if queue.max_offset == 0:
            result.status = GetStatus.NO_MESSAGE_IN_QUEUE
        elif offset < queue.min_offset:
            result.status = GetStatus.OFFSET_TOO_SMALL
            result.next_offset = queue.min_offset
        elif offset == queue.max_offset:
            result.status = GetStatus.OFFSET_OVERFLOW_ONE
            result.next_offset = offset
        elif offset > queue.max_offset:
            result.status = GetStatus.OFFSET_OVERFLOW_BADLY
            result.next_offset = queue.max_offset
        else:
            self._collect(result, queue, offset, count_max, bytes_max, tags)
        return result

    def _collect(
        self,
        result: GetResult,
        queue: ConsumeQueue,
        offset: i64,
        count_max: i64,
        bytes_max: i64,
        tags: frozenset[int] | None,
    ) -> None:
        log_end: i64 = self.log.written
        recent_from: i64 = log_end - self.limits.recent_bytes
        hot_from: i64 = log_end - self.limits.hot_bytes
        log_begin: i64 = self.files.segments[0].base if len(self.files.segments) > 0 else 0
        result.status = GetStatus.NO_MATCHED_MESSAGE
        result.next_offset = offset
        if count_max < 1:
            count_max = 1
        # Beyond these every answer is full: who asks for more must not have more units read for it.
        if count_max > self.limits.memory_count and count_max > self.limits.disk_count:
            count_max = max(self.limits.memory_count, self.limits.disk_count)
        looked_at_max: i64 = count_max if tags is None else FILTER_UNITS_MAX
        if looked_at_max < count_max:
            looked_at_max = count_max
        units = queue.units(offset, looked_at_max)
        end: i64 = len(units)
        if end < UNIT_BYTES:
            # The file that should have these units is gone or short: go on with the next one, as Java does.
            result.status = GetStatus.OFFSET_FOUND_NULL
            file_units: i64 = queue.files.file_units
            result.next_offset = offset + file_units - offset % file_units
            return
        parts: list[bytes] = []
        span_at: i64 = 0
        span_bytes: i64 = 0
        span_count: i64 = 0
        span_unit: i64 = 0
        total: i64 = 0
        count: i64 = 0
        at: i64 = 0
        i: i64 = 0
        while i + UNIT_BYTES <= end:
            at = read_i64_be(units, i)
            size: i64 = i64(read_i32_be(units, i + 8))
            if tags is not None and read_i64_be(units, i + 12) not in tags:
                i += UNIT_BYTES
                continue
            if count > 0 and self._is_full(count, total + size, count_max, bytes_max, at >= recent_from):
                break
            if at < log_begin or size < RECORD_BYTES_MIN or at + size > log_end:
                # Deleted by retention, or a damaged unit.
                if count == 0:
                    result.status = GetStatus.MESSAGE_WAS_REMOVING
                i += UNIT_BYTES
                continue
            cold_at: i64 = self._cold_at(at, size) if at < hot_from else -1
            if cold_at >= 0:
                if count == 0:
                    result.status = GetStatus.COLD
                    result.cold_offset = cold_at
                break
            if span_bytes > 0 and at == span_at + span_bytes:
                span_bytes += size
                span_count += 1
            else:
                result.count += self._take(parts, span_at, span_bytes, span_count, units, span_unit, i)
                span_at = at
                span_bytes = size
                span_count = 1
                span_unit = i
            total += size
            count += 1
            i += UNIT_BYTES
        result.count += self._take(parts, span_at, span_bytes, span_count, units, span_unit, i)
        result.next_offset = offset + i // UNIT_BYTES
        if result.count > 0:
            result.status = GetStatus.FOUND
            result.payload = parts[0] if len(parts) == 1 else b"".join(parts)
        elif count > 0:
            result.status = GetStatus.MESSAGE_WAS_REMOVING
        result.suggest_slave = log_end - at > self.limits.recent_bytes

    def _is_full(self, count: i64, total: i64, count_max: i64, bytes_max: i64, recent: bool) -> bool:
        """Whether one more message would go beyond a limit (Java: ``isTheBatchFull``)."""
        if count >= count_max or total > bytes_max:
            return True
        limits = self.limits
        if recent:
            return total > limits.memory_bytes or count >= limits.memory_count
        return total > limits.disk_bytes or count >= limits.disk_count

    def _take(
        self, parts: list[bytes], at: i64, size: i64, count: i64, units: bytes, first: i64, end: i64
    ) -> i64:
        """Copy the ``count`` records in ``[at, at + size)`` of the log if they are what the units say.

        If not, the good ones among them are taken singly by ``units[first:end]``. Returns how many were
        added. Units of two segments are never one span: a blank lies between.
        """
        if size <= 0 or size > self.files.segment_bytes:
            return 0  # A unit that holds the place of a lost message names 2 GiB.
        data = self.files.read(at, size)
        if self._are_records(data, at, count):
            parts.append(data)
            return count
        taken: i64 = 0
        while count > 1 and first < end:
            one_at: i64 = read_i64_be(units, first)
            one_size: i64 = i64(read_i32_be(units, first + 8))
            if at <= one_at and one_size > 0 and one_at + one_size <= at + size:
                one = data[one_at - at : one_at - at + one_size]
                if self._are_records(one, one_at, 1):
                    parts.append(one)
                    taken += 1
            first += UNIT_BYTES
        return taken

    def _are_records(self, data: bytes, at: i64, count: i64) -> bool:
        """Whether ``data`` is exactly ``count`` records, the first of which knows to be at ``at``."""
        end: i64 = len(data)
        i: i64 = 0
        while i + RECORD_BYTES_MIN <= end:
            magic: i64 = i64(read_i32_be(data, i + 4))
            if magic != MAGIC_V1 and magic != MAGIC_V2:
                return False
            if read_i64_be(data, i + 28) != at + i:
                return False
            size: i64 = i64(read_i32_be(data, i))
            if size < RECORD_BYTES_MIN:
                return False  # A damaged size must not send this loop round in circles.
            count -= 1
            i += size
        return i == end and count == 0

    # ---- the page cache --------------------------------------------------------------------------------

    def _cold_at(self, at: i64, size: i64) -> i64:
        """Where the first chunk under a record begins that is not in the page cache, as far as known; -1 when
        all are. A record may have more chunks than one :meth:`warm` reads. Raises OSError.
        """
        chunk: i64 = at >> CHUNK_SHIFT
        last: i64 = (at + size - 1) >> CHUNK_SHIFT
        while chunk <= last:
            if chunk not in self._warm and not self._probe(chunk):
                return chunk << CHUNK_SHIFT if size <= self.files.segment_bytes else -1
            chunk += 1
        return -1

    def _probe(self, chunk: i64) -> bool:
        at: i64 = chunk << CHUNK_SHIFT
        end: i64 = at + CHUNK_BYTES
        while at < end:
            segment = self.files.at(at)
            if segment is None:
                break
            if not self.log.disk.in_cache(self.files.descriptor(segment), at - segment.base):
                return False
            at += PROBE_BYTES
        self._note_warm(chunk)
        return True

    def _note_warm(self, chunk: i64) -> None:
        warm = self._warm
        if len(warm) >= WARM_CHUNKS_MAX:
            # Pages leave the cache without notice: what was seen long ago is asked about again.
            warm.clear()
        warm[chunk] = None

    def warm(self, offset: i64) -> None:
        """Read the chunk at log ``offset`` and the next into the page cache. Runs on a worker. Raises
        OSError.
        """
        chunk: i64 = offset >> CHUNK_SHIFT
        self._read_through(chunk << CHUNK_SHIFT, 2 * CHUNK_BYTES)
        self._note_warm(chunk)
        self._note_warm(chunk + 1)

    def _read_through(self, at: i64, size: i64) -> None:
        end: i64 = at + size
        disk = self.log.disk
        while at < end:
            segment = self.files.at(at)
            if segment is None:
                return
            # A descriptor of its own: the store may close its one meanwhile.
            fd = disk.open(segment.path)
            try:
                disk.pread(fd, end - at, at - segment.base)
            finally:
                disk.close(fd)
            at = segment.base + segment.size

    # ---- single messages -------------------------------------------------------------------------------

    def read_at(self, log_offset: i64) -> bytes | None:
        """The record that begins at ``log_offset``, as it lies in the log; None where none begins.
        OSError.
        """
        size: i64 = self._size_at(log_offset)
        if size == 0:
            return None
        data = self.files.read(log_offset, size)
        if len(data) == size and self._are_records(data, log_offset, 1):
            return data
        return None

    def _size_at(self, log_offset: i64) -> i64:
        """The size of the record that begins at ``log_offset``, as it says; 0 where none begins.

        Clients name such offsets: the inside of a message must not pass for a record of a gigabyte.
        """
        if log_offset < 0 or log_offset + RECORD_BYTES_MIN > self.log.written:
            return 0
        head = self.files.read(log_offset, RECORD_BYTES_MIN)
        if not self._is_head(head, log_offset):
            return 0
        size: i64 = i64(read_i32_be(head, 0))
        if size < RECORD_BYTES_MIN or log_offset + size > self.log.written:
            return 0
        return size

    def _is_head(self, head: bytes, log_offset: i64) -> bool:
        if len(head) < RECORD_BYTES_MIN:
            return False
        magic: i64 = i64(read_i32_be(head, 4))
        if magic != MAGIC_V1 and magic != MAGIC_V2:
            return False
        return read_i64_be(head, 28) == log_offset

    def cold_at(self, log_offset: i64) -> i64:
        """What to give to :meth:`warm` before the record at ``log_offset`` is read; -1 when it, or the fact
        that there is none, can be had without waiting for the device. Raises OSError.
        """
        written: i64 = self.log.written
        if log_offset < 0 or log_offset + RECORD_BYTES_MIN > written:
            return -1
        if log_offset >= written - self.limits.hot_bytes:
            return -1
        cold: i64 = self._cold_at(log_offset, RECORD_BYTES_MIN)
        if cold >= 0:
            return cold
        size: i64 = self._size_at(log_offset)
        return self._cold_at(log_offset, size) if size > 0 else -1

    def decode_at(self, log_offset: i64) -> Record | None:
        """The same, decoded."""
        data = self.read_at(log_offset)
        if data is None:
            return None
        try:
            return decode_record(data)
        except RecordError:
            return None

    def store_ms_at(self, log_offset: i64) -> i64:
        """When the record at ``log_offset`` was stored; -1 where there is none. Raises OSError."""
        if log_offset < 0 or log_offset + RECORD_BYTES_MIN > self.log.written:
            return -1
        head = self.files.read(log_offset, RECORD_BYTES_MIN)
        if len(head) < RECORD_BYTES_MIN:
            return -1
        magic: i64 = i64(read_i32_be(head, 4))
        if magic != MAGIC_V1 and magic != MAGIC_V2:
            return -1
        born_host_bytes: i64 = 20 if i64(read_i32_be(head, 36)) & FLAG_BORN_HOST_V6 else 8
        return read_i64_be(head, 48 + born_host_bytes)

    def record_at(self, queue: ConsumeQueue, offset: i64) -> Record | None:
        """The message at a queue offset, decoded; None when it is not there. Raises OSError."""
        unit = queue.units(offset, 1)
        if len(unit) < UNIT_BYTES:
            return None
        return self.decode_at(read_i64_be(unit, 0))

    # ---- the queue offset of a moment ------------------------------------------------------------------

    def store_ms_of(self, queue: ConsumeQueue, offset: i64) -> i64:
        """When the message at queue ``offset`` was stored; -1 when it is not there. Raises OSError."""
        unit = queue.units(offset, 1)
        if len(unit) < UNIT_BYTES:
            return -1
        return self.store_ms_at(read_i64_be(unit, 0))

    def offset_by_time(self, queue: ConsumeQueue, timestamp_ms: i64, upper: bool = False) -> i64:
        """The queue offset that stands for a moment (Java: ``getOffsetInQueueByTime``). Raises OSError.

        Lower: the first message stored at or after it, ``max_offset`` when there is none. Upper: the last
        message stored at or before it; the last one of all when all are older, ``min_offset`` when all are
        younger.
        """
        low: i64 = queue.min_offset
        high: i64 = queue.max_offset
        begin: i64 = low
        end: i64 = high
        # Find the first message stored after the moment (upper) or not before it (lower).
        while low < high:
            middle: i64 = (low + high) // 2
            stored_ms: i64 = self.store_ms_of(queue, middle)
            if stored_ms < timestamp_ms or (upper and stored_ms == timestamp_ms):
                low = middle + 1
            else:
                high = middle
        if not upper:
            return low
        if low == end and end > begin and self.store_ms_of(queue, end - 1) < timestamp_ms:
            return end - 1
        return low - 1 if low > begin else begin
