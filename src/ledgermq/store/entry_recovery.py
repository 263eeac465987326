"""Opening a store whose log is a replicated one: the log has recovered itself, queues and index follow it.

What is known of the log comes as :class:`CommittedLog`. Queues and index speak of committed entries only, so
whatever they name and the log still has is committed, even where the note of the committed index is older
than they are. So is the deletion of a topic that the store has carried out. From there on the group says what
is committed.

Rules of this file: synchronous, before the store serves anyone; it changes nothing in the log.
"""

from __future__ import annotations

import logging
from typing import Final, NamedTuple

from librt.strings import read_i32_be, read_i64_be

from ledgermq.store.disk import Disk
from ledgermq.store.entry_scan import ENTRY_HEAD_BYTES, EntryScanner
from ledgermq.store.key_index import KeyIndex
from ledgermq.store.log_files import LogFiles
from ledgermq.store.log_scan import RECORD, LogScanner
from ledgermq.store.queue_recovery import QueueRecovery
from ledgermq.store.queue_table import QueueTable
from ledgermq.store.recovery import Evidence, Recovery

log: Final = logging.getLogger("ledgermq.store")

_HEAD: Final = int(ENTRY_HEAD_BYTES)


class CommittedLog(NamedTuple):
    """What the replicated log says of itself after its own recovery."""

    first_pos: int
    """Where its first data file begins, and where the next one will where there is none."""
    committed_index: int
    """The last entry noted as committed, -1 for none."""
    committed_end: int
    """The position behind that entry; ``first_pos`` for none."""
    end: int
    """The position behind the last entry."""


class EntryRecovery(Recovery):
    """One opening. ``applied_index`` is the last entry that queues and index will know of."""

    def __init__(
        self,
        disk: Disk,
        log_files: LogFiles,
        queues: QueueTable,
        index: KeyIndex | None,
        evidence: Evidence,
        index_segments_max: int,
        committed: CommittedLog,
        old_directory: str,
    ) -> None:
        super().__init__(disk, log_files, queues, index, evidence, False, index_segments_max)
        self._committed = committed
        self._old_directory = old_directory
        self.applied_index = committed.committed_index

    def _scanner(self, check_crc: bool) -> LogScanner:
        return EntryScanner(self._disk, self._files, check_crc, self._committed.first_pos)

    def _load_segments(self) -> None:
        files, first_pos = self._files, self._committed.first_pos
        old = self._segments_in(self._old_directory) if self._disk.exists(self._old_directory) else []
        if old and old[-1].base + old[-1].size != first_pos:
            log.warning(
                "the commit log in %s is left out: it ends at %d and the group's log begins at %d",
                self._old_directory,
                old[-1].base + old[-1].size,
                first_pos,
            )
            old = []
        files.segments = old + self._segments_in(files.directory)

    def _find_end(self, queues: QueueRecovery) -> int:
        committed = self._committed
        self.last_record = self._log_begin()
        end = committed.committed_end
        deletions = self._queues.deleted_before.values()
        for newest in (queues.newest_record()[0], self._newest_indexed(), *deletions):
            scanner = LogScanner(self._disk, self._files, True)
            scanner.position = newest
            if self._files.at(newest) is None or scanner.next() != RECORD:
                continue
            self.last_record = max(self.last_record, newest)
            if end < scanner.position <= committed.end:
                end = int(scanner.position)
                self.applied_index = self._index_of(newest)
        return end

    def _newest_indexed(self) -> int:
        """Log offset of the newest record that the index names, -1 for none. A process that is killed loses
        the newest units of queues, but nothing of the index."""
        index = self._index
        if index is None:
            return -1
        for name in reversed(self._disk.list_directory(index.directory)):
            file = index.open_file(name)
            named = name.isdecimal() and file.is_whole() and file.count > 1
            file.unmap()
            if named:
                return int(file.end_offset)
        return -1

    def _index_of(self, record: int) -> int:
        """The index of the entry around the record at log offset ``record``."""
        segment = self._files.at(record)
        assert segment is not None
        at = record - _HEAD - int(segment.base)
        head = self._disk.pread(self._files.descriptor(segment), _HEAD, at)
        assert read_i32_be(head, 0) == 1, "a record of the replicated log lies behind an entry's head"
        return int(read_i64_be(head, 8))

    def _clear_behind(self, end: int) -> None:
        """What lies behind is the replicated log's affair: it may cut its files off and make them again, so
        none of them may stay open here."""
        segments = self._files.segments
        while segments and segments[-1].base >= end:
            segment = segments.pop()
            self._files.release(segment)
            if segment.fd >= 0:
                self._disk.close(segment.fd)
                segment.fd = -1

    def _replay_start(self, begin: int, end: int, behind_queues: int) -> int:
        return min(self._entry_at(super()._replay_start(begin, end, behind_queues)), end)

    def _settle_index(self, begin: int, end: int) -> int:
        start = self._entry_at(super()._settle_index(begin, end))
        index, evidence = self._index, self._evidence
        if index is not None and evidence.clean and evidence.ours and evidence.checkpoint.clean_end >= 0:
            # More may have been committed than the store had been given when it was stopped.
            start = min(start, max(begin, evidence.checkpoint.clean_end))
            index.indexed_offset = min(int(index.indexed_offset), max(start, int(index.last_offset()) + 1))
        return start

    def _entry_at(self, start: int) -> int:
        """Where a walk is to begin: a place that is named as a record's is inside an entry."""
        if start - _HEAD >= self._committed.first_pos and self._is_record(start):
            return start - _HEAD
        return start
