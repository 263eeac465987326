"""Recovery of the consume queues' files: what is there, up to where it makes sense, what is to be done with
it.

Rules of this file: synchronous, before the store serves anyone. It removes and clears files of consume
queues, which can be made again from the log; it never touches the log."""

from __future__ import annotations

import logging
import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from ledgermq.message.record import RecordError, decode_record
from ledgermq.store.consume_queue import ConsumeQueue
from ledgermq.store.disk import Disk
from ledgermq.store.log_files import LogFiles
from ledgermq.store.queue_files import UNIT, UNIT_BYTES, QueueFiles
from ledgermq.store.queue_records import QueueRecords
from ledgermq.store.queue_table import QueueTable
from ledgermq.store.recovery_table import Queue, QueueFacts, decide_queue
from ledgermq.store.replay import can_be_topic
from ledgermq.store.unit_scan import PRE_BLANK_SIZE, count_units, last_named

log: Final = logging.getLogger("ledgermq.store")

BLOCK_UNITS: Final = 3276
_HEAD: Final = struct.Struct(">qi")


@dataclass(slots=True)
class FoundQueue:
    """What the files of one queue hold."""

    queue: ConsumeQueue
    bases: list[int]
    """First unit of each file."""
    whole: bool
    known_units: int | None
    """Units that were durable when they were last noted, None when the queue was not noted."""
    end: int = 0
    """Queue offset behind the last unit that makes sense."""
    last: tuple[int, int] = (-1, 0)
    """Log offset and size of the last named record; (-1, 0) when there is none."""


class QueueRecovery:
    """Steps, in this order: :meth:`find`, :meth:`trim`, :meth:`settle`; and :meth:`find_min_offsets` at the
    end.
    """

    def __init__(
        self, disk: Disk, table: QueueTable, log_files: LogFiles, records: QueueRecords | None, clean: bool
    ) -> None:
        self._disk = disk
        self._table = table
        self._files: QueueFiles = table.files
        self._log_files = log_files
        self._records = records
        self._clean = clean
        self.found: list[FoundQueue] = []

    # ---- what is there ---------------------------------------------------------------------------------

    def find(self) -> None:
        """Look at all queue directories, and at those that should be there. Raises OSError."""
        noted: dict[tuple[bytes, int], int] = {}
        if self._records is not None:
            for topic, queues in self._records.topics.items():
                for queue_id, units in queues.items():
                    if queue_id.isdecimal() and can_be_topic(topic.encode()):
                        noted[topic.encode(), int(queue_id)] = units
        root = self._files.directory
        for name in self._disk.list_directory(root):
            topic_path = f"{root}/{name}"
            if not can_be_topic(name.encode("utf-8", "replace")) or not self._disk.is_directory(topic_path):
                continue
            for queue_name in self._disk.list_directory(topic_path):
                if queue_name.isdecimal() and len(queue_name) < 10:
                    key = name.encode(), int(queue_name)
                    self.found.append(self._look(*key, noted.pop(key, None)))
        for (topic_bytes, queue_id_number), units in noted.items():
            self.found.append(FoundQueue(self._table.queue(topic_bytes, queue_id_number), [], True, units))

    def _look(self, topic: bytes, queue_id: int, known_units: int | None) -> FoundQueue:
        queue = self._table.queue(topic, queue_id)
        directory = self._files.queue_directory(queue)
        file_bytes = self._files.file_bytes
        names = [
            name for name in self._disk.list_directory(directory) if name.isdecimal() and len(name) == 20
        ]
        if names and self._disk.path_bytes(f"{directory}/{names[-1]}") == 0:
            # Created, and killed before it got its length.
            self._disk.unlink(f"{directory}/{names.pop()}")
        bases = [int(name) for name in names]
        whole = all(base % file_bytes == 0 for base in bases)
        whole = whole and all(b - a == file_bytes for a, b in pairwise(bases))
        whole = whole and all(self._disk.path_bytes(f"{directory}/{name}") == file_bytes for name in names)
        found = FoundQueue(queue, [base // UNIT_BYTES for base in bases], whole, known_units)
        if bases and whole:
            queue.first_offset = found.bases[0]
            self._find_end(found)
        return found

    def _find_end(self, found: FoundQueue) -> None:
        """The end of the units that make sense, from the last file that has any."""
        for base in reversed(found.bases):
            start = base
            if self._clean and found.known_units is not None and base < found.known_units:
                # What was noted at a clean stop needs no second look, up to its last unit.
                start = max(base, min(found.known_units, base + self._files.file_units) - 1)
            end = self._walk(found, start, base + self._files.file_units)
            if end > base:
                found.end = end
                return
        found.end = found.bases[0]

    def _walk(self, found: FoundQueue, start: int, stop: int) -> int:
        previous = -1
        at = start
        while at < stop:
            data = self._files.read(found.queue, at, min(BLOCK_UNITS, stop - at))
            count = int(count_units(data, previous))
            if count > 0:
                named = int(last_named(data[: count * UNIT_BYTES]))
                if named >= 0:
                    previous = named
                    # Pre-blank units may follow the named one (a bridged gap); its own size is read again.
                    found.last = self._unit_naming(data[: count * UNIT_BYTES], named)
            at += count
            if count * UNIT_BYTES < len(data) or count == 0:
                break
        return at

    @staticmethod
    def _unit_naming(data: bytes, log_offset: int) -> tuple[int, int]:
        for at in range(len(data) - UNIT_BYTES, -1, -UNIT_BYTES):
            named, size = _HEAD.unpack_from(data, at)
            if named == log_offset and size != PRE_BLANK_SIZE:
                return named, size
        return -1, 0

    def newest_record(self) -> tuple[int, int]:
        """Log offset and size of the newest record that any queue names; (-1, 0) when there is none."""
        return max((found.last for found in self.found), default=(-1, 0))

    # ---- what is to be done ----------------------------------------------------------------------------

    def trim(self, log_end: int) -> int:
        """Take back units of records that the log does not have; returns how many queues had such."""
        trimmed = 0
        for found in self.found:
            if found.last[0] + found.last[1] <= log_end:
                continue
            low, high = found.bases[0], found.end
            while low < high:
                middle = (low + high) // 2
                log_offset, size, _ = UNIT.unpack(self._files.read(found.queue, middle, 1))
                if size == PRE_BLANK_SIZE or log_offset + size <= log_end:
                    low = middle + 1
                else:
                    high = middle
            self._clear_units(found, low)
            trimmed += 1
        return trimmed

    def _clear_units(self, found: FoundQueue, end: int) -> None:
        """Cut the queue at ``end``, durably: a unit left behind could later seem to name a new record."""
        queue = found.queue
        file_units = self._files.file_units
        while found.bases and found.bases[-1] >= end:
            base = found.bases.pop()
            path = self._files.file_path(queue, base)
            self._files.forget(path)
            self._disk.unlink(path)
        if found.bases and end < min(found.end, found.bases[-1] + file_units):
            base = found.bases[-1]
            fd = self._disk.open(self._files.file_path(queue, base))
            try:
                units = min(found.end, base + file_units) - end
                self._disk.pwrite(fd, bytes(units * UNIT_BYTES), (end - base) * UNIT_BYTES)
                self._disk.sync_data(fd)
            finally:
                self._disk.close(fd)
        self._disk.sync_directory(self._files.queue_directory(queue))
        if not found.bases:
            queue.first_offset = -1
        found.end = end if found.bases else 0
        found.last = (-1, 0)
        if found.bases:
            first = max(found.bases[0], end - BLOCK_UNITS)
            data = self._files.read(queue, first, end - first)
            named = int(last_named(data))
            if named >= 0:
                found.last = self._unit_naming(data, named)

    def settle(self) -> list[str]:
        """Decide for each queue and set its position; returns the names of those to be made again."""
        rebuilt: list[str] = []
        for found in self.found:
            decision = decide_queue(
                QueueFacts(
                    has_files=bool(found.bases),
                    whole=found.whole,
                    known=found.known_units is not None and found.known_units > 0,
                    reaches=found.known_units is None or found.end >= found.known_units,
                    names_record=self._names_record(found),
                )
            )
            if decision is Queue.KEEP:
                log_end = found.last[0] + found.last[1] if found.last[0] >= 0 else 0
                found.queue.set_position(found.bases[0], found.end, log_end)
            elif decision is Queue.REBUILD:
                self.remove(found.queue)
                rebuilt.append(f"{found.queue.topic.decode()}/{found.queue.queue_id}")
        return rebuilt

    def _names_record(self, found: FoundQueue) -> bool:
        log_offset, size = found.last
        if log_offset < 0 or not found.whole:
            return True
        segments = self._log_files.segments
        if not segments or log_offset < segments[0].base:
            return True  # Its record was deleted with the log's beginning.
        if self._clean and found.known_units == found.end:
            return True
        try:
            record = decode_record(self._log_files.read(log_offset, size))
        except RecordError:
            return False
        queue = found.queue
        return (
            record.log_offset == log_offset
            and record.size == size
            and record.topic == queue.topic
            and record.queue_id == queue.queue_id
            and record.queue_offset < found.end
        )

    def remove(self, queue: ConsumeQueue) -> None:
        """Delete all files of a queue; it is then empty."""
        directory = self._files.queue_directory(queue)
        for name in self._disk.list_directory(directory):
            path = f"{directory}/{name}"
            if not self._disk.is_directory(path):
                self._files.forget(path)
                self._disk.unlink(path)
        queue.first_offset = -1
        queue.set_position(0, 0, 0)

    # ---- the beginning ---------------------------------------------------------------------------------

    def find_min_offsets(self, log_begin: int) -> None:
        """Set where each queue's messages that the log still has begin."""
        for queue in self._table.all():
            queue.min_offset = min_offset(queue, log_begin)


def min_offset(queue: ConsumeQueue, log_begin: int) -> int:
    """The first queue offset whose record is not before ``log_begin``; the end where all are. Raises
    OSError.
    """
    low = int(queue.first_offset if queue.first_offset >= 0 else queue.stored_offset)
    high = int(queue.max_offset)
    first = True
    while low < high:
        # The common case is that nothing was deleted: look at the first unit before halving.
        middle = low if first else (low + high) // 2
        first = False
        at, log_offset = _named_from(queue, middle, high)
        if at < high and log_offset < log_begin:
            low = at + 1
        else:
            high = middle
    return high


def _named_from(queue: ConsumeQueue, start: int, end: int) -> tuple[int, int]:
    """Queue offset and log offset of the first unit in ``[start, end)`` that names a record; ``end`` if
    none.
    """
    at = start
    while at < end:
        data = queue.units(at, min(BLOCK_UNITS, end - at))
        if not data:
            break
        for log_offset, size, _ in UNIT.iter_unpack(data):
            if size != PRE_BLANK_SIZE:
                return at, log_offset
            at += 1
    return end, 0
