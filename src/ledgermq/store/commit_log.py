"""The commit log: every message of every topic, one after another, in files of equal size.

Writing happens in two steps. :meth:`CommitLog.append` encodes a record into memory and assigns its queue
offset and log offset; nothing is visible and nothing is written. :meth:`CommitLog.commit_pending`, once per
turn of the event loop, writes everything gathered with one pwrite, then publishes: queue units to readers,
keys to the index. If the write fails, everything gathered since the last commit is taken back (log end, queue
offsets, keys) and StoreWriteError is raised; the bytes that may have been written are cleared before the next
write, so that a crash cannot bring a refused message back to life beside a later one.

What readers may see:

* ASYNC_FLUSH: what is written, at once (``commit_pending`` returns the queues that grew);
* SYNC_FLUSH, or any later need to wait for replicas: what :meth:`CommitLog.confirm` was called for. Otherwise
  a consumer could run ahead of what a power cut leaves, and skip the message that later gets the same queue
  offset.

A record never crosses a file end, a batch neither; the rest of the file is then a *blank*
(message/record.py).

==============================  ==========================================================
function                        may run on
==============================  ==========================================================
flush, files.allocate_spare     a worker thread
everything else                 the owner's thread
==============================  ==========================================================

Rules of this file: it is compiled; ``flushed <= confirmed <= written <= end`` (``confirmed <= flushed`` too
under SYNC_FLUSH); every offset below ``end`` belongs to exactly one record or blank.
"""

from __future__ import annotations

from typing import Final

from librt.strings import BytesWriter, read_i16_be, read_i32_be, write_i64_be
from mypy_extensions import i64

from ledgermq.message.properties import PropertyScan
from ledgermq.message.record import (
    BLANK_BYTES,
    FLAG_TRANSACTION,
    PROPERTIES_BYTES_MAX,
    RECORD_BYTES_MIN,
    TRANSACTION_NONE,
    BatchPattern,
    enters_queue,
    record_bytes,
    write_blank,
    write_record,
)
from ledgermq.store.consume_queue import ConsumeQueue
from ledgermq.store.disk import Disk
from ledgermq.store.errors import StoreError, StoreFatalError, StoreWriteError
from ledgermq.store.key_index import KeyIndex
from ledgermq.store.log_files import LogFiles, LogSegment

TAIL_BYTES_MAX: Final[i64] = 16_384
"""A queue's tail of this size is written to its file at the next commit."""
GATHER_KEPT_BYTES_MAX: Final[i64] = 1_048_576
"""A gathering buffer that grew larger is given back after the commit."""
BATCH_UNIT_BYTES_MIN: Final[i64] = 22
_BIAS: Final[i64] = 0x80000000
"""A number plus this is below 2**32 exactly when it fits 32 bits."""


class GatheredPart:
    """Bytes gathered for a segment that has been rolled meanwhile."""

    def __init__(self, segment: LogSegment, base: i64, data: bytes) -> None:
        self.segment: LogSegment = segment
        self.base: i64 = base
        self.data: bytes = data


class CommitLog:
    """The end of the log and the way in. Reading is done by store/reading.py."""

    def __init__(self, disk: Disk, files: LogFiles, index: KeyIndex | None, store_host: bytes) -> None:
        """``store_host`` is 8 or 20 bytes: the broker's address as it stands in records."""
        self.disk: Disk = disk
        self.files: LogFiles = files
        self.index: KeyIndex | None = index
        self.store_host: bytes = store_host
        self.confirm_by_flush: bool = False
        """SYNC_FLUSH: readers see only what :meth:`confirm` allows."""
        self.end: i64 = 0
        """Where the next record goes, what is gathered included."""
        self.written: i64 = 0
        self.confirmed: i64 = 0
        self.flushed: i64 = 0
        self.last_record: i64 = 0
        """Where the last written record begins: the checkpoint's ``logicsPhysicalOffset``."""
        self.last_store_ms: i64 = 0
        """Store timestamp of the last written record."""
        self.failure: str = ""
        """Why the last write failed; empty when it did not. Reads go on meanwhile."""
        self.tail_failure: str = ""
        """Why queue units could not be written to their files; sends are refused while it is set."""
        self.fatal: bool = False
        """An fsync failed: nothing is written any more."""
        self.dirty_queues: list[ConsumeQueue] = []
        """Queues with a tail, for the next round of :meth:`write_tails`."""
        self.stored_record: i64 = 0
        """The units of all records before this one are in files (their pages perhaps not on the device)."""
        self.stored_ms: i64 = 0
        """Store timestamp of that record."""
        self._round: list[ConsumeQueue] = []
        self._round_record: i64 = 0
        self._round_ms: i64 = 0
        self._segment: LogSegment | None = None
        self._segment_end: i64 = 0
        self._spare_mark: i64 = 0
        """When the end passes this, the next segment is to be reserved."""
        self._out: BytesWriter = BytesWriter()
        self._out_base: i64 = 0
        self._parts: list[GatheredPart] = []
        self._touched: list[ConsumeQueue] = []
        self._unconfirmed: list[ConsumeQueue] = []
        self._gathered_last: i64 = 0
        self._gathered_ms: i64 = 0
        self._torn_from: i64 = 0
        self._torn_to: i64 = 0
        """A failed write may have left bytes in ``[_torn_from, _torn_to)``; equal when it has not."""
        self._scan: PropertyScan = PropertyScan()

    # ---- appending -------------------------------------------------------------------------------------

    def append(
        self,
        queue: ConsumeQueue,
        flag: i64,
        sys_flag: i64,
        born_ms: i64,
        born_host: bytes,
        store_ms: i64,
        reconsume_times: i64,
        prepared_offset: i64,
        body: bytes,
        properties: bytes,
        scan: PropertyScan,
    ) -> i64:
        """Gather one message; returns its log offset. Its queue offset is ``queue.next_offset - 1`` then.

        ``scan`` has scanned ``properties`` (more may have been appended behind since). Half and rolled-back
        messages get queue offset 0 and no unit.

        Raises StoreWriteError when the file is full and no next one can be reserved; nothing else gathered in
        this turn is touched by that. Raises StoreError for a record that no file or field can hold.
        """
        check_numbers(queue.queue_id, flag, sys_flag, reconsume_times)
        if len(properties) > PROPERTIES_BYTES_MAX:
            raise StoreError(f"properties have {len(properties)} bytes, at most 32767 fit a record")
        size: i64 = record_bytes(queue.topic, born_host, self.store_host, body, properties)
        at: i64 = self._place(size)
        in_queue: bool = enters_queue(sys_flag)
        write_record(
            self._out,
            queue.topic,
            queue.queue_id,
            queue.next_offset if in_queue else 0,
            at,
            flag,
            sys_flag,
            born_ms,
            born_host,
            store_ms,
            self.store_host,
            reconsume_times,
            prepared_offset,
            body,
            properties,
        )
        self._gathered(queue, at, size, store_ms, sys_flag, properties, scan)
        return at

    def _make_room(self, size: i64, record_bytes_max: i64) -> None:
        """See that records of ``size`` bytes together can follow, none of them of more than
        ``record_bytes_max``. They are to lie in one file."""
        self._place(size)

    def _place(self, size: i64) -> i64:
        """Where a record of ``size`` bytes goes."""
        if self.end + size + BLANK_BYTES > self._segment_end:
            self._roll(size)
        return self.end

    def _gathered(
        self,
        queue: ConsumeQueue,
        at: i64,
        size: i64,
        store_ms: i64,
        sys_flag: i64,
        properties: bytes,
        scan: PropertyScan | None,
    ) -> None:
        """The record that was just written to ``_out`` goes to log offset ``at``; ``scan`` has scanned its
        properties, if there is one."""
        self.end = at + size
        self._gathered_last = at
        self._gathered_ms = store_ms
        if scan is None:
            scan = self._scan
            scan.scan(properties)
        if enters_queue(sys_flag):
            queue.add(at, size, queue.tag_code(scan, store_ms))
        if not queue.touched and queue.next_offset > queue.written_offset:
            queue.touched = True
            self._touched.append(queue)
        index = self.index
        if index is not None:
            index.gather(queue.index_hash, at, store_ms, sys_flag, properties, scan)

    def append_batch(
        self,
        queue: ConsumeQueue,
        sys_flag: i64,
        born_ms: i64,
        born_host: bytes,
        store_ms: i64,
        reconsume_times: i64,
        batch: bytes,
    ) -> bytes:
        """Gather the messages of a client's batch, contiguous and with consecutive queue offsets.

        ``batch`` is a sequence of units {int32 size, int32 magic, int32 CRC, int32 flag, int32 body length,
        body, int16 properties length, properties}. Returns the log offset of each message, int64 big endian
        one after another: a list of so many numbers would cost more than what is done with them.

        Raises StoreError when the bytes are not such units or do not fit into one file, StoreWriteError as
        :meth:`append`; nothing is gathered then.
        """
        check_numbers(queue.queue_id, 0, sys_flag, reconsume_times)
        if sys_flag & FLAG_TRANSACTION != TRANSACTION_NONE:
            raise StoreError("a batch cannot be part of a transaction")
        pattern = BatchPattern(
            queue.topic,
            queue.queue_id,
            sys_flag,
            born_ms,
            born_host,
            store_ms,
            self.store_host,
            reconsume_times,
        )
        self._make_room(batch_bytes(batch, pattern.fixed_bytes), pattern.fixed_bytes + len(batch))
        offsets = BytesWriter()
        at: i64 = 0
        while at < len(batch):
            body_at: i64 = at + 20
            body_bytes: i64 = i64(read_i32_be(batch, at + 16))
            properties_at: i64 = body_at + body_bytes + 2
            properties_bytes: i64 = i64(read_i16_be(batch, properties_at - 2))
            body = batch[body_at : body_at + body_bytes]
            properties = batch[properties_at : properties_at + properties_bytes]
            flag: i64 = i64(read_i32_be(batch, at + 12))
            log_at: i64 = self._place(pattern.fixed_bytes + len(body) + len(properties))
            size: i64 = pattern.write(self._out, queue.next_offset, log_at, flag, body, properties)
            self._gathered(queue, log_at, size, store_ms, sys_flag, properties, None)
            write_i64_be(offsets, log_at)
            at = properties_at + properties_bytes
        return offsets.getvalue()

    def _roll(self, size: i64) -> None:
        """Go on in the next file, closing the present one with a blank."""
        if size + BLANK_BYTES > self.files.segment_bytes:
            raise StoreError(
                f"record of {size} bytes does not fit a commit log file of {self.files.segment_bytes} bytes"
            )
        segment = self._segment
        base: i64 = self.end if segment is None else self._segment_end
        try:
            following = self.files.at(base)
            if following is None:
                following = self.files.add_segment(base)
        except OSError as error:
            self.failure = f"no next commit log file: {error}"
            raise StoreWriteError(self.failure) from error
        if segment is not None and self.end < self._segment_end:
            write_blank(self._out, self._segment_end - self.end)
        if segment is not None and len(self._out) > 0:
            self._parts.append(GatheredPart(segment, self._out_base, self._out.getvalue()))
            self._out = BytesWriter()
        self.end = base
        self._out_base = base
        self._enter(following)

    def _enter(self, segment: LogSegment) -> None:
        self._segment = segment
        self._segment_end = segment.base + segment.size
        self._spare_mark = segment.base + segment.size // 2

    # ---- committing ------------------------------------------------------------------------------------

    def commit_pending(self) -> list[ConsumeQueue]:
        """Write what was gathered and publish it; returns the queues whose readers can see more now.

        Raises StoreWriteError after taking everything gathered back.
        """
        if self.end == self.written:
            return []
        try:
            self._write_gathered()
        except OSError as error:
            self._roll_back()
            self.failure = f"commit log write failed: {error}"
            raise StoreWriteError(self.failure) from error
        self.failure = ""
        self.written = self.end
        self.last_record = self._gathered_last
        self.last_store_ms = self._gathered_ms
        grown = self._touched
        self._touched = []
        for queue in grown:
            queue.written(self.written)
            if not queue.dirty:
                queue.dirty = True
                self.dirty_queues.append(queue)
            elif queue.tail_bytes() >= TAIL_BYTES_MAX:
                self._write_tail(queue)
        index = self.index
        if index is not None:
            index.publish()
        if self.end > self._spare_mark and self.files.spare is None:
            self.files.spare_wanted = True
        if self.confirm_by_flush:
            for queue in grown:
                if not queue.unconfirmed:
                    queue.unconfirmed = True
                    self._unconfirmed.append(queue)
            return []
        self.confirmed = self.written
        for queue in grown:
            queue.max_offset = queue.written_offset
        return grown

    def confirm(self, offset: i64) -> list[ConsumeQueue]:
        """Let readers see the log up to ``offset`` (flushed, replicated); returns the queues that grew.

        A queue's units are looked at from its ``max_offset``, so each costs once.
        """
        if offset <= self.confirmed:
            return []
        if offset > self.written:
            offset = self.written
        self.confirmed = offset
        waiting = self._unconfirmed
        self._unconfirmed = []
        grown: list[ConsumeQueue] = []
        for queue in waiting:
            before = queue.max_offset
            try:
                all_seen = queue.confirm(offset)
            except OSError:
                all_seen = False  # Its units cannot be read; a flush that covers all of them needs none.
            if all_seen:
                queue.unconfirmed = False
            else:
                self._unconfirmed.append(queue)
            if queue.max_offset > before:
                grown.append(queue)
        return grown

    def _write_gathered(self) -> None:
        if self.fatal:
            raise OSError("an fsync failed before; the node must be restarted")
        if self.tail_failure != "":
            raise OSError(self.tail_failure)
        index = self.index
        if index is not None:
            index.reserve()
        if self._torn_to > self._torn_from:
            self._clear_torn()
        for part in self._parts:
            self.disk.pwrite(self.files.descriptor(part.segment), part.data, part.base - part.segment.base)
        out = self._out
        segment = self._segment
        if len(out) > 0 and segment is not None:
            base: i64 = self._out_base
            self.disk.pwrite(self.files.descriptor(segment), out.getvalue(), base - segment.base)
            if len(out) > GATHER_KEPT_BYTES_MAX:
                self._out = BytesWriter()
            else:
                out.truncate(0)
        if len(self._parts) > 0:
            self._parts.clear()
        self._out_base = self.end

    def _roll_back(self) -> None:
        """Forget what was gathered; remember that some of it may be on disk."""
        self._torn_from = self.written
        if self.end > self._torn_to:
            self._torn_to = self.end
        self.end = self.written
        self._out = BytesWriter()
        self._out_base = self.written
        self._parts.clear()
        for queue in self._touched:
            queue.roll_back()
        self._touched.clear()
        index = self.index
        if index is not None:
            index.forget_gathered()
        # Segments added in this turn stay: the end will get there again.
        segment = self.files.at(self.written)
        if segment is not None:
            self._enter(segment)
        else:
            self._segment = None
            self._segment_end = 0

    def _clear_torn(self) -> None:
        """Overwrite with zeros what a failed write may have left behind the end. Raises OSError."""
        at: i64 = self._torn_from
        while at < self._torn_to:
            segment = self.files.at(at)
            if segment is None:
                break
            end: i64 = segment.base + segment.size
            if end > self._torn_to:
                end = self._torn_to
            self.disk.pwrite(self.files.descriptor(segment), bytes(end - at), at - segment.base)
            at = end
        self._torn_from = 0
        self._torn_to = 0

    def try_again(self) -> None:
        """After a failed write: see whether one would succeed now, and take messages again if so.

        To be called now and then while ``failure`` is set, when nothing is gathered.
        """
        if self.fatal or self.end != self.written:
            return
        try:
            if self._torn_to > self._torn_from:
                self._clear_torn()
            segment = self._segment
            if segment is None or self.end + BLANK_BYTES + RECORD_BYTES_MIN > self._segment_end:
                following: i64 = self.end if segment is None else self._segment_end
                if self.files.at(following) is None:
                    self.files.reserve_spare(following)
            else:
                # Zeros over zeros: what the log's end must be followed by anyway.
                self.disk.pwrite(self.files.descriptor(segment), bytes(BLANK_BYTES), self.end - segment.base)
            index = self.index
            if index is not None:
                index.reserve_some()
        except OSError as error:
            self.failure = f"commit log still cannot be written: {error}"
            return
        self.failure = ""

    # ---- queue tails -----------------------------------------------------------------------------------

    def _write_tail(self, queue: ConsumeQueue) -> None:
        """Write a tail to its file; where that fails the tail stays, and sends are refused until it
        succeeds.
        """
        try:
            queue.files.write_tail(queue)
        except OSError as error:
            self.tail_failure = f"consume queue write failed: {error}"

    def write_tails(self, count_max: i64) -> bool:
        """Write the tails of up to ``count_max`` queues; True when all that had one are done.

        Queues are done in rounds: a round that ends moves ``stored_record`` to where it began.
        """
        if len(self._round) == 0:
            self._round = self.dirty_queues
            self.dirty_queues = []
            self._round_record = self.last_record
            self._round_ms = self.last_store_ms
        queues = self._round
        left: i64 = count_max
        self.tail_failure = ""
        while left > 0 and len(queues) > 0:
            queue = queues[-1]
            self._write_tail(queue)
            if self.tail_failure != "":
                return False
            queues.pop()
            queue.dirty = False
            left -= 1
        if len(queues) > 0:
            return False
        self.stored_record = self._round_record
        self.stored_ms = self._round_ms
        return len(self.dirty_queues) == 0

    def queues_without_file(self, count_max: i64) -> list[ConsumeQueue]:
        """Those of the next ``count_max`` queues that have no file yet, for :meth:`QueueFiles.create`."""
        found: list[ConsumeQueue] = []
        i: i64 = len(self._round) - 1
        last: i64 = i - count_max
        while i >= 0 and i > last:
            queue = self._round[i]
            if queue.first_offset < 0 and queue.stored_offset == 0:
                found.append(queue)
            i -= 1
        return found

    # ---- flushing --------------------------------------------------------------------------------------

    def flush(self) -> i64:
        """Make everything written durable; returns up to where. Runs on a worker thread, one call at a time.

        Raises StoreFatalError when the device fails: the node must stop, the fsync is not to be repeated.
        """
        target: i64 = self.written
        at: i64 = self.flushed
        if self.fatal:
            raise StoreFatalError("an fsync failed before; what the disk holds is unknown")
        while at < target:
            segment = self.files.at(at)
            if segment is None:
                break
            try:
                self.disk.sync_data(self.files.descriptor(segment))
            except OSError as error:
                self.fatal = True
                raise StoreFatalError(f"fsync of {segment.path} failed: {error}") from error
            at = segment.base + segment.size
        self.flushed = target
        self.files.flushed = target
        return target

    # ---- opening ---------------------------------------------------------------------------------------

    def begin_at(self, end: i64, last_record: i64, queues: list[ConsumeQueue]) -> None:
        """Recovery: the log ends at ``end``, all of it durable and visible in ``queues``."""
        for queue in queues:
            if queue.tail_bytes() > 0:
                queue.dirty = True
                self.dirty_queues.append(queue)
        self.end = end
        self.written = end
        self.confirmed = end
        self.flushed = end
        self.files.flushed = end
        self.last_record = last_record
        self.stored_record = last_record
        self._out_base = end
        segment = self.files.at(end)
        if segment is not None:
            self._enter(segment)

    def reserve_first(self) -> None:
        """Have a segment for the next record, so that the first send does not wait for it. Raises OSError."""
        if self._segment is None:
            self._enter(self.files.add_segment(self.end))


def check_numbers(queue_id: i64, flag: i64, sys_flag: i64, reconsume_times: i64) -> None:
    """Raises StoreError where a field of 32 bits cannot hold them."""
    if ((queue_id + _BIAS) | (flag + _BIAS) | (sys_flag + _BIAS) | (reconsume_times + _BIAS)) >> 32:
        raise StoreError("queue id, flag, system flag and reconsume times must be 32-bit numbers")


def batch_bytes(batch: bytes, record_fixed_bytes: i64) -> i64:
    """What the units of a batch will take in the log; ``record_fixed_bytes`` is a record's size without body
    and properties. Raises StoreError where they are not well-formed."""
    total: i64 = 0
    at: i64 = 0
    end: i64 = len(batch)
    if end == 0:
        raise StoreError("batch is empty")
    while at < end:
        if end - at < BATCH_UNIT_BYTES_MIN:
            raise StoreError(f"batch unit at {at}: {end - at} bytes left, a unit has at least 22")
        size: i64 = i64(read_i32_be(batch, at))
        body_bytes: i64 = i64(read_i32_be(batch, at + 16))
        if body_bytes < 0 or body_bytes > end - at - BATCH_UNIT_BYTES_MIN:
            raise StoreError(f"batch unit at {at}: body length {body_bytes} does not fit the batch")
        properties_bytes: i64 = i64(read_i16_be(batch, at + 20 + body_bytes))
        if properties_bytes < 0 or properties_bytes > end - at - BATCH_UNIT_BYTES_MIN - body_bytes:
            raise StoreError(f"batch unit at {at}: properties length {properties_bytes} does not fit")
        if size != BATCH_UNIT_BYTES_MIN + body_bytes + properties_bytes:
            raise StoreError(f"batch unit at {at}: size {size} differs from the sum of its fields")
        total += record_fixed_bytes + body_bytes + properties_bytes
        at += size
    return total
