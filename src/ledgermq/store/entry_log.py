"""A commit log whose records are the bodies of a replicated log's entries (Java: ``DLedgerCommitLog``).

The bytes belong to the replicated log: its leader writes them, its followers copy them, and each record lies
behind its entry's head of 48 bytes. What is here is the same log seen as messages:

* The leader's way in. :meth:`EntryLog.append` encodes a record and assigns its queue offset and, foreseeing
  where the entry will lie, its log offset. :meth:`EntryLog.take_bodies` hands over what one turn of the loop
  has gathered.
* The committed end. :meth:`EntryLog.apply`, on leader and followers alike, adds what committed entries say to
  queues and index. Readers see what is applied and nothing else.

So an entry that is never committed leaves no trace: the leader's queue offsets fall back to what is applied
(:meth:`EntryLog.follow`), and queues and index have never heard of it.

Entries without a record (of other DLedger members' making) are passed over.

Rules of this file: it is compiled; ``written``, ``confirmed`` and the queues' ``written_offset`` are about
applied entries; ``end`` and the queues' ``next_offset`` may be ahead while this broker leads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from librt.strings import BytesWriter
from mypy_extensions import i64

from ledgermq.message.properties import PropertyScan
from ledgermq.message.record import (
    BLANK_BYTES,
    TRANSACTION_ROLLBACK,
    enters_queue,
    record_bytes,
    write_record,
)
from ledgermq.runtime.limits import entry_body_bytes_max
from ledgermq.store.commit_log import TAIL_BYTES_MAX, CommitLog
from ledgermq.store.consume_queue import ConsumeQueue
from ledgermq.store.disk import Disk
from ledgermq.store.entry_scan import ENTRY_HEAD_BYTES, EntryRecords, EntryScanner
from ledgermq.store.errors import StoreError, StoreWriteError
from ledgermq.store.key_index import KeyIndex
from ledgermq.store.log_files import LogFiles, LogSegment
from ledgermq.store.log_scan import BLANK, RECORD
from ledgermq.store.queue_table import QueueTable
from ledgermq.store.replay import GAP_UNITS_MAX, can_be_topic
from ledgermq.store.unit_scan import PRE_BLANK_SIZE

log: Final = logging.getLogger("ledgermq.store")

NOT_LEADING: Final = "this broker is a slave: its group's leader takes messages"


class EntryFiles(LogFiles):
    """The files of a replicated log, which removes the oldest by itself."""

    def read(self, offset: i64, size: i64) -> bytes:
        try:
            return super().read(offset, size)
        except FileNotFoundError:
            return b""  # It has just gone; :meth:`ReplicatedStore.log_begins` comes in a moment.


class EntryLog(CommitLog):
    """The messages of a replicated log. ``queues`` are those that :meth:`apply` adds to."""

    def __init__(
        self, disk: Disk, files: LogFiles, index: KeyIndex | None, store_host: bytes, queues: QueueTable
    ) -> None:
        super().__init__(disk, files, index, store_host)
        self.leading: bool = False
        self.watched: bytes = b""
        """A topic whose messages are to be heard of, each before what follows it in the log is applied."""
        self.on_watched: Callable[[int, bytes], None] = _nothing
        """Called with log offset and body of each."""
        self._queues: QueueTable = queues
        self._record_bytes_max: i64 = entry_body_bytes_max(int(files.segment_bytes))
        self._bodies: list[bytes] = []
        self._ahead: list[ConsumeQueue] = []
        """Queues whose ``next_offset`` is or was ahead of what is applied; each once."""
        self._records: EntryRecords = EntryRecords(disk, files)
        self._grown: list[ConsumeQueue] = []
        self._keys_lost: bool = False
        """The index had no room for the last keys."""
        self._property_scan: PropertyScan = PropertyScan()

    # ---- leading ---------------------------------------------------------------------------------------

    def lead(self, end_pos: i64) -> None:
        """Take messages from now on; the next entry follows position ``end_pos`` of the replicated log."""
        self.leading = True
        self.end = end_pos

    def follow(self) -> None:
        """Take no messages any more; queue offsets go on behind what is applied."""
        self.leading = False
        self._bodies = []
        for queue in self._ahead:
            queue.next_offset = queue.written_offset
            queue.touched = False
        self._ahead = []
        self.end = self.written

    def _make_room(self, size: i64, record_bytes_max: i64) -> None:
        """Each is an entry of its own, as in Java: they need not fit one file together."""
        self._place(record_bytes_max)

    def _place(self, size: i64) -> i64:
        if not self.leading:
            raise StoreWriteError(NOT_LEADING)
        return self._place_behind(self.end, size)

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
        """Queues and index will hear of it when it is committed."""
        self.end = at + size
        self._bodies.append(self._out.getvalue())
        self._out.truncate(0)
        if enters_queue(sys_flag):
            queue.next_offset += 1
            if not queue.touched:
                queue.touched = True
                self._ahead.append(queue)

    def opening_record(self, topic: bytes, end_pos: i64, now_ms: i64) -> bytes:
        """A record for the entry with which a leader opens its term, behind position ``end_pos``.

        It is a rolled-back half message: it enters no queue and no index. A Java broker that comes to an
        entry without a record passes over many that follow it.
        """
        host = self.store_host
        size: i64 = record_bytes(topic, host, host, b"", b"")
        at: i64 = self._place_behind(end_pos, size)
        out = BytesWriter()
        rolled_back: i64 = TRANSACTION_ROLLBACK
        write_record(out, topic, 0, 0, at, 0, rolled_back, now_ms, host, now_ms, host, 0, 0, b"", b"")
        return out.getvalue()

    def _place_behind(self, end_pos: i64, size: i64) -> i64:
        """Where a record of an entry behind ``end_pos`` begins (DLedger's rule for what fits a file)."""
        file_bytes: i64 = self.files.segment_bytes
        entry_bytes: i64 = ENTRY_HEAD_BYTES + size
        if size > self._record_bytes_max:
            raise StoreError(
                f"record of {size} bytes is no entry of the group's log: allowed are {self._record_bytes_max}"
            )
        pos: i64 = end_pos
        file_end: i64 = pos - pos % file_bytes + file_bytes
        if entry_bytes + BLANK_BYTES > file_end - pos:
            pos = file_end
        return pos + ENTRY_HEAD_BYTES

    def go_on(self, old: ConsumeQueue, new: ConsumeQueue) -> None:
        """``new`` stands for the deleted queue ``old`` now, of which offsets are given out to messages behind
        the deletion that are not applied yet."""
        new.next_offset = old.next_offset
        new.touched = True
        self._ahead.append(new)

    def forget_deleted(self) -> None:
        """Queues were deleted: nothing will be taken back of them."""
        self._ahead = [queue for queue in self._ahead if not queue.deleted]

    @property
    def unsettled_bytes(self) -> i64:
        """Of the log that this leader has made and the group has not committed."""
        return self.end - self.written if self.leading else 0

    def take_bodies(self) -> list[bytes]:
        """What was gathered since the last call, to be proposed to the group as consecutive entries."""
        bodies = self._bodies
        self._bodies = []
        return bodies

    # ---- committed entries -----------------------------------------------------------------------------

    def apply(self, payload: bytes, first_pos: i64) -> list[ConsumeQueue]:
        """Entries of one data file, committed, at position ``first_pos``; returns the queues that grew."""
        self._enter_file(first_pos)
        records = self._records
        records.use(payload, first_pos)
        while records.next_record():
            self._dispatch(records)
        self.written = records.position
        self.confirmed = records.position
        if not self.leading:
            self.end = records.position
        self._publish_keys()
        grown = self._grown
        self._grown = []
        for queue in grown:
            queue.unconfirmed = False
        return grown

    def _publish_keys(self) -> None:
        index = self.index
        if index is None:
            return
        try:
            index.reserve()
        except OSError as error:
            # The messages are committed and must be delivered: better without their keys than not at all.
            index.forget_gathered()
            if not self._keys_lost:
                log.error("messages cannot be found by their keys from %d on: %s", self.written, error)
            self._keys_lost = True
            return
        self._keys_lost = False
        index.publish()

    def apply_again(self, scanner: EntryScanner) -> None:
        """Go through applied entries once more, from where ``scanner`` stands, for queues that were removed:
        what the others have is passed over. Raises OSError."""
        while scanner.position < self.written:
            kind: i64 = scanner.next()
            if kind == RECORD:
                if scanner.at >= self.written:
                    break  # Entries without a record were passed over, the last that is applied too.
                self._dispatch(scanner)
            elif kind != BLANK:
                break
        for queue in self._grown:
            queue.unconfirmed = False
        self._grown = []
        index = self.index
        if index is not None:
            index.forget_gathered()

    def _enter_file(self, pos: i64) -> None:
        """Know the data file at ``pos``, which the replicated log has made."""
        files = self.files
        if files.at(pos) is not None:
            return
        base: i64 = pos - pos % files.segment_bytes
        segments = files.segments
        if len(segments) > 0 and segments[len(segments) - 1].base + files.segment_bytes != base:
            # The log began anew behind a snapshot: what was before is not part of it any more.
            while len(segments) > 0:
                files.release(segments[0])
                segments.pop(0)
        segments.append(LogSegment(files.segment_path(base), base, files.segment_bytes))

    def _dispatch(self, records: EntryScanner) -> None:
        queue_id: i64 = records.queue_id
        queue_offset: i64 = records.queue_offset
        topic = records.topic
        if queue_id < 0 or queue_offset < 0 or not can_be_topic(topic):
            return
        deleted_before = self._queues.deleted_before.get(topic)
        if deleted_before is not None and records.at < deleted_before:
            return
        self.last_record = records.at
        self.last_store_ms = records.store_ms
        queue = self._queues.queue(topic, queue_id)
        properties = records.properties()
        scan = self._property_scan
        scan.scan(properties)
        index = self.index
        if index is not None:
            index.gather(queue.index_hash, records.at, records.store_ms, records.sys_flag, properties, scan)
        if not enters_queue(records.sys_flag) or queue_offset < queue.written_offset:
            return
        if queue_offset > queue.written_offset:
            self._bridge(queue, queue_offset)
        queue.put(records.at, records.size, queue.tag_code(scan, records.store_ms))
        if not queue.unconfirmed:
            queue.unconfirmed = True
            self._grown.append(queue)
        if not queue.dirty:
            queue.dirty = True
            self.dirty_queues.append(queue)
        elif queue.tail_bytes() >= TAIL_BYTES_MAX:
            self._write_tail(queue)
        if topic == self.watched:
            self.on_watched(int(records.at), records.body())

    def _bridge(self, queue: ConsumeQueue, queue_offset: i64) -> None:
        """Messages before this one are not in the log any more (this replica began behind them)."""
        missing: i64 = queue_offset - queue.written_offset
        if (queue.written_offset == 0 and queue.first_offset < 0) or missing > GAP_UNITS_MAX:
            ahead: i64 = queue.next_offset
            queue.set_position(queue_offset, queue_offset, 0)
            if ahead > queue_offset:
                queue.next_offset = ahead  # Given out behind a topic's deletion: see :meth:`go_on`.
            return
        while queue.written_offset < queue_offset:
            queue.put(0, PRE_BLANK_SIZE, 0)

    def pass_over(self, queue: ConsumeQueue, queue_offset: i64) -> None:
        """The queue goes on at ``queue_offset``: what it lacks before is not in the log any more."""
        self._bridge(queue, queue_offset)
        queue.min_offset = queue_offset
        if queue.tail_bytes() > 0 and not queue.dirty:
            queue.dirty = True
            self.dirty_queues.append(queue)

    # ---- what the replicated log does itself -----------------------------------------------------------

    def commit_pending(self) -> list[ConsumeQueue]:
        """Nothing is written here: see :meth:`take_bodies`."""
        return []

    def flush(self) -> i64:
        """The replicated log flushes itself."""
        return self.flushed

    def synced(self, pos: i64) -> None:
        """The replicated log is on this broker's device up to ``pos``."""
        self.flushed = pos if pos < self.written else self.written
        self.files.flushed = self.flushed

    def begin_anew(self, pos: i64) -> None:
        """A snapshot has replaced the log, which goes on at ``pos``: no message of before is there."""
        files = self.files
        files.flushed = pos  # What is given up is not to be flushed any more.
        segments = files.segments
        while len(segments) > 0:
            files.release(segments.pop())
        self.end = pos
        self.written = pos
        self.confirmed = pos
        self.flushed = pos
        self.last_record = pos
        self.last_store_ms = 0
        self.stored_record = pos
        self.stored_ms = 0
        self.dirty_queues = []
        self._round = []
        self._ahead = []

    def try_again(self) -> None:
        """A full disk is the replicated log's affair."""

    def reserve_first(self) -> None:
        """The replicated log makes its files."""


def _nothing(log_offset: int, body: bytes) -> None:
    pass
