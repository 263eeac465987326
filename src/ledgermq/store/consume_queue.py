"""A consume queue: for each message of one topic and queue, where it lies in the log.

===  ============  =====  ===========================================================================
at   field         bytes  note
===  ============  =====  ===========================================================================
0    log offset    8      big endian
8    size          4      of the record
12   tag code      8      Java hash of TAGS, 0 without tags
===  ============  =====  ===========================================================================

Unit ``n`` of a queue is its message at queue offset ``n``. The newest units are kept in memory (the *tail*)
and written to files by size or once a second (store/queue_files.py); an idle queue has no tail, no open file
and no mapping, only this object.

Four offsets, in this order always::

    min_offset <= max_offset <= written_offset <= next_offset

* ``min_offset``: the first message still in the log.
* ``max_offset``: what readers may see ends here.
* ``written_offset``: the end of what is in the log. Before ``max_offset`` follows it under SYNC_FLUSH the log
  is flushed, so that no consumer is ahead of what a power cut leaves.
* ``next_offset``: what the next message gets; messages gathered in this turn are counted.

``stored_offset`` is where the tail begins: units before it are in files.

Rules of this file: it is compiled; a queue belongs to the thread of the store; units are only ever added at
the end, and taken back only by :meth:`ConsumeQueue.roll_back`.
"""

from __future__ import annotations

from typing import Final

from librt.strings import BytesWriter, read_i32_be, read_i64_be, write_i32_be, write_i64_be
from mypy_extensions import i32, i64

from ledgermq.message.hashing import hash_more
from ledgermq.message.properties import PropertyScan
from ledgermq.store.queue_files import UNIT_BYTES, QueueFiles

EMPTY: Final = b""


class ConsumeQueue:
    """One queue of one topic. ``topic`` is UTF-8."""

    def __init__(self, topic: bytes, queue_id: i64, files: QueueFiles) -> None:
        self.topic: bytes = topic
        self.queue_id: i64 = queue_id
        self.files: QueueFiles = files
        self.index_hash: i64 = hash_more(0, topic + b"#", 0, len(topic) + 1)
        """State of the Java hash after ``topic#``, continued with each key by the index."""
        self.delay_ms: i64 = -1
        """Of a queue of delayed messages: how long they wait there; -1 for all others."""
        self.min_offset: i64 = 0
        self.max_offset: i64 = 0
        self.written_offset: i64 = 0
        self.next_offset: i64 = 0
        self.stored_offset: i64 = 0
        self.first_offset: i64 = -1
        """Queue offset at which the first file begins, at most min_offset; -1 when there is no file."""
        self.log_end: i64 = 0
        """Where the record of the last written unit ends in the log; 0 for a queue without units."""
        self.tail: BytesWriter | None = None
        self.touched: bool = False
        """Has units gathered in this turn."""
        self.unconfirmed: bool = False
        """Has written messages that readers may not see yet."""
        self.dirty: bool = False
        """Has a tail, and is in the store's list of such queues."""
        self.deleted: bool = False
        """Its topic was deleted: nothing of it is written any more."""

    def tag_code(self, scan: PropertyScan, store_ms: i64) -> i64:
        """What the unit of a message carries: the hash of its tags, or when it is to be delivered."""
        if self.delay_ms >= 0 and scan.delay_end != 0:
            return store_ms + self.delay_ms
        return scan.tags_code

    def add(self, log_offset: i64, size: i64, tags_code: i64) -> None:
        """Gather the unit of a message that gets ``next_offset``; no reader sees it yet."""
        tail = self.tail
        if tail is None:
            tail = BytesWriter()
            self.tail = tail
        write_i64_be(tail, log_offset)
        write_i32_be(tail, i32(size))
        write_i64_be(tail, tags_code)
        self.next_offset += 1

    def put(self, log_offset: i64, size: i64, tags_code: i64) -> None:
        """Add the unit of a committed message, which readers may see at once. ``next_offset`` may be ahead
        already, on the broker that gave out the offsets.
        """
        tail = self.tail
        if tail is None:
            tail = BytesWriter()
            self.tail = tail
        write_i64_be(tail, log_offset)
        write_i32_be(tail, i32(size))
        write_i64_be(tail, tags_code)
        self.written_offset += 1
        self.max_offset = self.written_offset
        self.log_end = log_offset + size
        if self.next_offset < self.written_offset:
            self.next_offset = self.written_offset

    def written(self, log_end: i64) -> None:
        """The gathered messages are in the log, which now ends at ``log_end`` or behind."""
        self.written_offset = self.next_offset
        self.log_end = log_end
        self.touched = False

    def confirm(self, log_limit: i64) -> bool:
        """Let readers see the messages that end at or before ``log_limit``; True when these are all.
        OSError.
        """
        if self.log_end <= log_limit:
            self.max_offset = self.written_offset
            return True
        while self.max_offset < self.written_offset:
            units = self._any_units(self.max_offset, self.written_offset)
            i: i64 = 0
            while i + UNIT_BYTES <= len(units):
                if read_i64_be(units, i) + i64(read_i32_be(units, i + 8)) > log_limit:
                    return False
                self.max_offset += 1
                i += UNIT_BYTES
            if i == 0:
                return False
        return True

    def roll_back(self) -> None:
        """Take the gathered units back: their records were not written."""
        tail = self.tail
        if tail is not None:
            gathered: i64 = self.next_offset - self.written_offset
            tail.truncate(len(tail) - gathered * UNIT_BYTES)
            if len(tail) == 0:
                self.tail = None
        self.next_offset = self.written_offset
        self.touched = False

    def units(self, offset: i64, count: i64) -> bytes:
        """Up to ``count`` units from queue ``offset``, of those readers may see.

        Fewer at the end of the queue and at the end of a file. Raises OSError.
        """
        end: i64 = offset + count
        if end > self.max_offset:
            end = self.max_offset
        if offset < 0 or end <= offset:
            return EMPTY
        return self._any_units(offset, end)

    def _any_units(self, offset: i64, end: i64) -> bytes:
        stored: i64 = self.stored_offset
        if offset >= stored:
            return self._tail_units(offset, end)
        if end <= stored:
            return self.files.read(self, offset, end - offset)
        from_files = self.files.read(self, offset, stored - offset)
        if len(from_files) < (stored - offset) * UNIT_BYTES:
            return from_files
        return from_files + self._tail_units(stored, end)

    def _tail_units(self, offset: i64, end: i64) -> bytes:
        tail = self.tail
        if tail is None:
            return EMPTY
        start: i64 = (offset - self.stored_offset) * UNIT_BYTES
        return tail.getvalue()[start : start + (end - offset) * UNIT_BYTES]

    def tail_bytes(self) -> i64:
        """Bytes of units that are only in memory."""
        tail = self.tail
        return 0 if tail is None else len(tail)

    def set_position(self, min_offset: i64, next_offset: i64, log_end: i64) -> None:
        """Recovery: the queue's files hold the units up to ``next_offset``, and there is no tail."""
        self.min_offset = min_offset
        self.max_offset = next_offset
        self.written_offset = next_offset
        self.next_offset = next_offset
        self.stored_offset = next_offset
        self.log_end = log_end
        self.tail = None
