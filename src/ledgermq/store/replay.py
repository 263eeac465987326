"""Making consume queues and index from the records of the log, for recovery.

A record adds what it would have added when it was appended. Records that a queue or the index has already are
passed over, so replaying too much does no harm.

What can be met:

* a record whose queue offset is the queue's next one: its unit is added;
* a smaller one: the queue has it;
* a greater one in a queue without any unit: the messages before it were deleted with the log's beginning, if
  the walk began there. If it began later, units are missing: the queue is *short* and must be made from the
  beginning;
* a greater one in a queue with units: short as well; or, when the walk did begin at the log's beginning, the
  records between were damaged: their place is held by pre-blank units, so that offsets stay what they were.

Rules of this file: it is compiled; what a record says is checked before it becomes a path or a count.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from ledgermq.message.properties import PropertyScan
from ledgermq.message.record import enters_queue
from ledgermq.store.consume_queue import ConsumeQueue
from ledgermq.store.key_index import KeyIndex
from ledgermq.store.log_scan import BLANK, RECORD, LogScanner
from ledgermq.store.queue_table import QueueTable
from ledgermq.store.unit_scan import PRE_BLANK_SIZE

TAIL_BYTES_MAX: Final[i64] = 65_536
INDEX_RECORDS_MAX: Final[i64] = 4096
"""Records whose keys are gathered before they are put into the index."""
GAP_UNITS_MAX: Final[i64] = 1_000_000
"""A greater gap is no gap but a damaged queue offset."""
TOPIC_BYTES_MAX: Final[i64] = 255


def can_be_topic(topic: bytes) -> bool:
    """Whether a name read from a record may become a directory."""
    size: i64 = len(topic)
    if size == 0 or size > TOPIC_BYTES_MAX or topic == b"." or topic == b"..":
        return False
    i: i64 = 0
    while i < size:
        byte: i64 = i64(topic[i])
        if byte <= 0x20 or byte == 0x2F or byte >= 0x7F:
            return False
        i += 1
    return True


class Replay:
    """One walk along the log."""

    def __init__(self, queues: QueueTable, index: KeyIndex | None, from_beginning: bool) -> None:
        """``from_beginning``: the walk starts where the log does, so a queue may start at any offset."""
        self.queues: QueueTable = queues
        self.index: KeyIndex | None = index
        self.from_beginning: bool = from_beginning
        self.short: dict[ConsumeQueue, None] = {}
        """Queues that miss units which this walk did not meet."""
        self.added: i64 = 0
        self.strange: i64 = 0
        """Records passed over because what they say of their queue cannot be."""
        self._scan: PropertyScan = PropertyScan()
        self._gathered: i64 = 0

    def run(self, scanner: LogScanner, start: i64, end: i64) -> None:
        """Replay the records that begin in ``[start, end)``. Raises OSError."""
        scanner.position = start
        while scanner.position < end:
            kind: i64 = scanner.next()
            if kind == RECORD:
                if scanner.at >= end:
                    break  # Entries without a record were passed over, the last one before the end too.
                self._record(scanner)
            elif kind != BLANK and scanner.find_record(scanner.position + 1, end) < 0:
                break
        self._publish_index()

    def _record(self, scanner: LogScanner) -> None:
        queue_id: i64 = scanner.queue_id
        queue_offset: i64 = scanner.queue_offset
        if queue_id < 0 or queue_offset < 0 or not can_be_topic(scanner.topic):
            self.strange += 1
            return
        deleted_before = self.queues.deleted_before.get(scanner.topic)
        if deleted_before is not None and scanner.at < deleted_before:
            return
        queue = self.queues.queue(scanner.topic, queue_id)
        properties = scanner.properties()
        scan = self._scan
        scan.scan(properties)
        index = self.index
        if index is not None:
            index.gather(queue.index_hash, scanner.at, scanner.store_ms, scanner.sys_flag, properties, scan)
            self._gathered += 1
            if self._gathered >= INDEX_RECORDS_MAX:
                self._publish_index()
        if not enters_queue(scanner.sys_flag) or queue_offset < queue.next_offset or queue in self.short:
            return
        if queue_offset > queue.next_offset and not self._bridge(queue, queue_offset):
            return
        queue.add(scanner.at, scanner.size, queue.tag_code(scan, scanner.store_ms))
        queue.written(scanner.at + scanner.size)
        queue.max_offset = queue.written_offset
        self.added += 1
        if queue.tail_bytes() >= TAIL_BYTES_MAX:
            queue.files.write_tail(queue)

    def _bridge(self, queue: ConsumeQueue, queue_offset: i64) -> bool:
        """Bring the queue to ``queue_offset``; False when the record's unit cannot be added now."""
        if not self.from_beginning:
            self.short[queue] = None
            return False
        if queue.next_offset == 0 and queue.first_offset < 0:
            queue.set_position(queue_offset, queue_offset, 0)
            return True
        if queue_offset - queue.next_offset > GAP_UNITS_MAX:
            self.strange += 1
            return False
        while queue.next_offset < queue_offset:
            queue.add(0, PRE_BLANK_SIZE, 0)
        return True

    def _publish_index(self) -> None:
        index = self.index
        if index is not None:
            index.reserve()
            index.publish()
        self._gathered = 0
