"""Recovery of the consume queues' files: what is there, up to where it makes sense, what is to be done with
it.

Rules of this file: synchronous, before the store serves anyone. It removes and clears files of consume
queues, which can be made again from the log; it never touches the log.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
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
FIRST_UNITS: Final = 128
"""Looked at first: most queues end there, and a hole costs the kernel a page for each 4 KiB read."""
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
    begins_in_log: bool = False
    """Its first unit names a record that the log still has."""
    reaches: bool = True
    """All units that were known are there."""


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
        self._log_begin = int(log_files.segments[0].base) if log_files.segments else 0
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
        names = self._file_names(directory, known_units)
        sizes = [self._disk.path_bytes(f"{directory}/{name}") for name in names]
        if sizes and sizes[-1] == 0:
            # Created, and killed before it got its length.
            sizes.pop()
            self._disk.unlink(f"{directory}/{names.pop()}")
        bases = [int(name) for name in names]
        whole = all(base % file_bytes == 0 for base in bases)
        whole = whole and all(b - a == file_bytes for a, b in pairwise(bases))
        whole = whole and all(size == file_bytes for size in sizes)
        found = FoundQueue(queue, [base // UNIT_BYTES for base in bases], whole, known_units)
        if bases and whole:
            queue.first_offset = found.bases[0]
            self._find_end(found)
            first = self._files.read(queue, found.bases[0], 1)
            found.begins_in_log = int(last_named(first)) >= self._log_begin and count_units(first, -1) == 1
            deleted_before = self._table.deleted_before.get(topic)
            if deleted_before is not None and self._may_be_from_before(found, deleted_before):
                # The topic was deleted, and the power failed before its directory was gone for good.
                found.whole = False
        return found

    def _may_be_from_before(self, found: FoundQueue, deleted_before: int) -> bool:
        """Whether files are those of the deleted topic, as far as can be seen. The first units may name no
        record: a queue's messages may begin inside a file."""
        at, named = _named_from(partial(self._files.read, found.queue), found.bases[0], found.end)
        if at < found.end:
            return named < deleted_before
        # Its units are lost. That it begins behind 0 may not be true of the queue that follows it.
        return found.bases[0] > 0

    def _file_names(self, directory: str, known_units: int | None) -> list[str]:
        """The names of the queue's files. After a clean stop a queue that fits one file has that one: where
        it is there, the directory need not be read."""
        if self._clean and known_units is not None and 0 < known_units <= self._files.file_units:
            name = f"{0:020d}"
            if self._disk.exists(f"{directory}/{name}"):
                return [name]
        found = self._disk.list_directory(directory)
        return [name for name in found if name.isdecimal() and len(name) == 20]

    def _find_end(self, found: FoundQueue) -> None:
        """Walk the units from the last one known to be durable to the first that makes no sense.

        Without such knowledge, from the beginning of the last file but two, as Java does; of a queue that our
        own note does not have, from its beginning, for none of its units was durable then.
        """
        known = found.known_units
        if self._clean and known is not None and self._ends_at(found, known):
            found.end = known
            return
        start = found.bases[-3:][0] if self._records is None else found.bases[0]
        if known is not None and found.bases[0] < known <= found.bases[-1] + self._files.file_units:
            start = known - 1
        found.end = self._walk(found, start)
        found.reaches = known is None or found.end >= known

    def _ends_at(self, found: FoundQueue, end: int) -> bool:
        """After a clean stop: whether the last unit noted is there and nothing behind it."""
        if not found.bases[0] < end <= found.bases[-1] + self._files.file_units:
            return False
        data = self._files.read(found.queue, end - 1, 2)
        if count_units(data, -1) != 1:
            return False
        named = int(last_named(data[:UNIT_BYTES]))
        if named >= 0:
            found.last = self._unit_naming(data[:UNIT_BYTES], named)
        return True

    def _walk(self, found: FoundQueue, start: int) -> int:
        previous = -1
        at = start
        stop = found.bases[-1] + self._files.file_units
        block = FIRST_UNITS
        while at < stop:
            data = self._files.read(found.queue, at, min(block, stop - at))
            block = BLOCK_UNITS
            count = int(count_units(data, previous))
            named = int(last_named(data[: count * UNIT_BYTES]))
            if named >= 0:
                previous = named
                found.last = self._unit_naming(data[: count * UNIT_BYTES], named)
            at += count
            if count * UNIT_BYTES < len(data) or not data:
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

    def trim(self, limit: int, durably: bool) -> int:
        """Take back the units of records at or behind log offset ``limit``; returns how many queues had such.

        ``durably``: the power failed. Then anything may lie behind a queue's end as well, and none of it may
        be left: it could later seem to name a new record.
        """
        trimmed = 0
        for found in self.found:
            if not found.bases or not found.whole:
                continue
            if not durably and 0 <= found.last[0] < limit:
                continue
            read = partial(self._files.read, found.queue)
            end = first_naming(read, found.bases[0], found.end, limit)
            if end < found.end or durably:
                trimmed += end < found.end
                self._cut(found, end, durably)
        return trimmed

    def _cut(self, found: FoundQueue, end: int, durably: bool) -> None:
        """Make ``end`` the end of a queue's files; the first file stays, the offset is known from it."""
        queue = found.queue
        while len(found.bases) > 1 and found.bases[-1] >= end:
            path = self._files.file_path(queue, found.bases.pop())
            self._files.forget(path)
            self._disk.unlink(path)
        base = found.bases[-1]
        at = (end - base) * UNIT_BYTES
        fd = self._disk.open(self._files.file_path(queue, base))
        try:
            if at < self._files.file_bytes and (end < found.end or self._disk.has_data(fd, at)):
                self._disk.clear(fd, at, self._files.file_bytes - at, reserve=False)
                if durably:
                    self._disk.sync_data(fd)
        finally:
            self._disk.close(fd)
        if durably:
            self._disk.sync_directory(self._files.queue_directory(queue))
        if end < found.end:
            found.end = end
            found.last = (-1, 0)
            first = max(base, end - BLOCK_UNITS)
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
                    reaches=found.reaches and (not self._clean or found.end >= (found.known_units or 0)),
                    names_record=self._names_record(found),
                )
            )
            if decision is Queue.KEEP:
                log_end = found.last[0] + found.last[1] if found.last[0] >= 0 else 0
                found.queue.set_position(found.bases[0], found.end, log_end)
                if not self._clean:
                    self._mark_unsynced(found)
            elif decision is Queue.REBUILD:
                self.remove(found.queue)
                rebuilt.append(f"{found.queue.topic.decode()}/{found.queue.queue_id}")
        return rebuilt

    def _mark_unsynced(self, found: FoundQueue) -> None:
        """What processes that died wrote without a checkpoint is for the next one to make durable. That can
        be all: units that were durable may have been taken back and made anew."""
        for base in found.bases:
            self._files.note_written(found.queue, base, new=True)

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
        # The newest first: a power cut must not leave a later file that is taken for the queue's beginning.
        for name in reversed(self._disk.list_directory(directory)):
            path = f"{directory}/{name}"
            if not self._disk.is_directory(path):
                self._files.forget(path)
                self._disk.unlink(path)
        queue.first_offset = -1
        queue.set_position(0, 0, 0)

    # ---- the beginning ---------------------------------------------------------------------------------

    def find_min_offsets(self, log_begin: int) -> None:
        """Set where each queue's messages that the log still has begin."""
        unchanged = {
            id(found.queue)
            for found in self.found
            if found.begins_in_log and found.queue.min_offset == found.bases[0]
        }
        for queue in self._table.all():
            if id(queue) not in unchanged:
                queue.min_offset = min_offset(queue, log_begin)


def min_offset(queue: ConsumeQueue, log_begin: int) -> int:
    """The first queue offset whose record is not before ``log_begin``; the end where all are. Raises
    OSError.
    """
    low = int(queue.first_offset if queue.first_offset >= 0 else queue.stored_offset)
    return first_naming(queue.units, low, int(queue.max_offset), log_begin)


def first_naming(read: Callable[[int, int], bytes], low: int, high: int, log_offset: int) -> int:
    """The first of the units ``[low, high)`` that names a record at or behind ``log_offset``, else ``high``.

    ``read(at, count)`` gives units, at most ``count``. Pre-blank units name nothing and are passed over.
    """
    end = high
    first = True
    while low < high:
        # The common case is that the first unit is the one: look at it before halving.
        middle = low if first else (low + high) // 2
        first = False
        at, named = _named_from(read, middle, end)
        if at < end and named < log_offset:
            low = at + 1
        else:
            high = middle
    at, _ = _named_from(read, high, end)
    return at


def _named_from(read: Callable[[int, int], bytes], start: int, end: int) -> tuple[int, int]:
    """Where in ``[start, end)`` the first unit is that names a record, and its log offset; ``end`` if
    none.
    """
    at = start
    while at < end:
        data = read(at, min(BLOCK_UNITS, end - at))
        if not data:
            break
        for log_offset, size, _ in UNIT.iter_unpack(data):
            if size != PRE_BLANK_SIZE:
                return at, log_offset
            at += 1
    return end, 0
