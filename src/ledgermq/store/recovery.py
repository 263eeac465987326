"""Opening a store directory: from what is on disk to a store that can be read and written.

1. Look at the log's files and find where the log ends (tables *end* and *stop* of store/recovery_table.py).
2. Clear what lies behind that end, so that no remains of it can ever be taken for records.
3. Take back queue units and index entries of records that the log does not have; decide which queues and
   index files are kept (tables *queue* and *index*).
4. Replay the records that derived files may lack; if a queue turns out to miss more, replay from the
   beginning.
5. Make all of it durable.

After a clean stop nothing of the log is walked. After the process was killed the walk begins at the records
whose units had not been written yet, about a second's worth; after a power failure at the last checkpoint,
about a minute's worth. Only missing or damaged files of queues are made from the whole log.

Rules of this file: synchronous, before the store serves anyone; a record is only given up when the log ends
before it or its bytes are not a record, and that is reported.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from ledgermq.store.checkpoint import Checkpoint, boot_hash
from ledgermq.store.consume_queue import ConsumeQueue
from ledgermq.store.disk import Disk
from ledgermq.store.errors import StoreDamagedError
from ledgermq.store.index_file import IndexFile
from ledgermq.store.key_index import KeyIndex
from ledgermq.store.log_files import LogFiles, LogSegment
from ledgermq.store.log_scan import BLANK, NOTHING, RECORD, LogScanner
from ledgermq.store.queue_records import QueueRecords
from ledgermq.store.queue_recovery import QueueRecovery
from ledgermq.store.queue_table import QueueTable
from ledgermq.store.recovery_table import (
    EndFacts,
    FindEnd,
    Index,
    IndexFacts,
    Stop,
    StopFacts,
    decide_end,
    decide_index,
    decide_stop,
)
from ledgermq.store.replay import Replay

BY_TIME_MARGIN_MS: Final = 3000
"""Checkpoint times are believed less this much (Java: ``StoreCheckpoint.getMinTimestamp``)."""


@dataclass(slots=True)
class RecoveryReport:
    """What recovery found and did."""

    clean: bool = True
    ours: bool = True
    power_failed: bool = False
    """Or must be assumed to have: not all that was written may be there."""
    log_begin: int = 0
    log_end: int = 0
    walked_bytes: int = 0
    replayed_bytes: int = 0
    units_added: int = 0
    damaged: list[tuple[int, int]] = field(default_factory=list)
    """Places ``[from, to)`` of the log that are no records although something promised follows."""
    lost_from: int = -1
    """Bytes up to a promised place are missing at the end of the log from here; -1 when none are."""
    trimmed_queues: int = 0
    rebuilt_queues: list[str] = field(default_factory=list)
    repaired_indexes: int = 0
    dropped_indexes: int = 0
    shortened_deletions: int = 0
    """Topics whose deletion named a place behind the end of the log."""
    strange_records: int = 0

    @property
    def derived_changed(self) -> bool:
        """Files were made again that are now to be made durable."""
        indexes = self.repaired_indexes or self.dropped_indexes
        return bool(self.power_failed or self.rebuilt_queues or indexes or self.shortened_deletions)

    def lines(self) -> list[str]:
        """One line for each thing worth telling; the first always."""
        stop = "clean stop" if self.clean else "crash"
        lines = [f"log {self.log_begin} to {self.log_end} after a {stop}, walked {self.walked_bytes} bytes"]
        for start, end in self.damaged:
            lines.append(f"log damaged: {start} to {end} holds no record; messages there are lost")
        if self.lost_from >= 0:
            lines.append(f"log damaged: it ends at {self.lost_from}, before a place that had been fsynced")
        if self.rebuilt_queues:
            names = ", ".join(self.rebuilt_queues[:10])
            lines.append(f"{len(self.rebuilt_queues)} consume queues made again from the log: {names}")
        if self.trimmed_queues:
            lines.append(f"{self.trimmed_queues} consume queues took their newest units from the log again")
        if self.repaired_indexes or self.dropped_indexes:
            lines.append(f"index files: {self.repaired_indexes} repaired, {self.dropped_indexes} made again")
        if self.strange_records:
            lines.append(f"{self.strange_records} records name no possible queue and were passed over")
        return lines


@dataclass(slots=True)
class Evidence:
    """What lay in the directory beside the data."""

    clean: bool
    others_wrote: bool
    checkpoint: Checkpoint
    records: QueueRecords | None
    boot_id: str

    @property
    def ours(self) -> bool:
        return self.checkpoint.ours and not self.others_wrote

    @property
    def survived(self) -> bool:
        """The kernel that took the last writes still runs: they are all there."""
        return self.ours and self.checkpoint.boot_hash == boot_hash(self.boot_id) != 0


class Recovery:
    """One opening of one directory."""

    def __init__(
        self,
        disk: Disk,
        log_files: LogFiles,
        queues: QueueTable,
        index: KeyIndex | None,
        evidence: Evidence,
        check_crc: bool,
        index_segments_max: int,
    ) -> None:
        """``index_segments_max``: a missing index is made from at most this many of the newest log files."""
        self._disk = disk
        self._files = log_files
        self._queues = queues
        self._index = index
        self._evidence = evidence
        self._check_crc = check_crc
        self._index_segments_max = index_segments_max
        self.report = RecoveryReport(clean=evidence.clean, ours=evidence.ours)
        self.report.power_failed = not evidence.clean and not evidence.survived
        self._end_noted = False
        self.last_record = 0
        """Where the last record of the log begins; the log's begin when there is none."""

    def run(self) -> int:
        """Recover; returns the end of the log. Raises OSError, StoreDamagedError."""
        self._load_segments()
        evidence = self._evidence
        begin = self._log_begin()
        records = evidence.records if evidence.ours else None
        if records is not None:
            # What lies before the log's beginning cannot come back.
            self._queues.deleted_before = {
                topic.encode(): end for topic, end in records.deleted_before.items() if end > begin
            }
        queues = QueueRecovery(self._disk, self._queues, self._files, records, evidence.clean)
        queues.find()
        end = self._find_end(queues)
        self._shorten_deletions(end)
        self.report.log_begin, self.report.log_end = begin, end
        self._clear_behind(end)
        newest = sum(queues.newest_record())
        start = self._replay_start(begin, end, newest if newest > 0 else begin)
        # After a crash the units of what is replayed are made anew, whatever the files had of them.
        limit = end if evidence.clean else start
        self.report.trimmed_queues = queues.trim(limit, durably=self.report.power_failed)
        self.report.rebuilt_queues = queues.settle()
        start = min(start, self._settle_index(begin, end))
        if self.report.rebuilt_queues:
            start = begin
        short = self._replay(start, end, start == begin)
        if short:
            for queue in short:
                queues.remove(queue)
                self.report.rebuilt_queues.append(f"{queue.topic.decode()}/{queue.queue_id}")
            self._replay(begin, end, True)
        queues.find_min_offsets(begin)
        return end

    def _shorten_deletions(self, end: int) -> None:
        """A topic was deleted shortly before a power failure took the end of the log: what comes there now is
        of a topic made again under that name.
        """
        deleted_before = self._queues.deleted_before
        beyond = [topic for topic, deleted_end in deleted_before.items() if deleted_end > end]
        for topic in beyond:
            deleted_before[topic] = end
        self.report.shortened_deletions = len(beyond)

    def _scanner(self, check_crc: bool) -> LogScanner:
        return LogScanner(self._disk, self._files, check_crc)

    # ---- the log ---------------------------------------------------------------------------------------

    def _load_segments(self) -> None:
        """Take the log's files over: the contiguous ones that end with the last. Raises StoreDamagedError."""
        self._files.segments = self._segments_in(self._files.directory)

    def _segments_in(self, directory: str) -> list[LogSegment]:
        size = int(self._files.segment_bytes)
        names = [
            name for name in self._disk.list_directory(directory) if name.isdecimal() and len(name) == 20
        ]
        if names and self._disk.path_bytes(f"{directory}/{names[-1]}") == 0:
            # Created, and killed before it got its length.
            self._disk.unlink(f"{directory}/{names.pop()}")
        segments: list[LogSegment] = []
        for name in names:
            path = f"{directory}/{name}"
            length = self._disk.path_bytes(path)
            if length != size or int(name) % size != 0:
                raise StoreDamagedError(
                    f"commit log file {path} has {length} bytes, which does not fit "
                    f"mappedFileSizeCommitLog={size}: set that to the size of the existing files"
                )
            if segments and segments[-1].base + size != int(name):
                missing = f"{directory}/{int(segments[-1].base) + size:020d}"
                raise StoreDamagedError(
                    f"commit log file {missing} is missing: restore it, "
                    f"or move the files before {name} away to go on without their messages"
                )
            segments.append(LogSegment(path, int(name), size))
        return segments

    def _log_begin(self) -> int:
        return int(self._files.segments[0].base) if self._files.segments else 0

    def _find_end(self, queues: QueueRecovery) -> int:
        evidence = self._evidence
        if not self._files.segments:
            if any(found.end > 0 for found in queues.found):
                raise StoreDamagedError(
                    f"there are consume queues, but no commit log in {self._files.directory}: is a disk not "
                    "mounted? To start anew without the old messages, remove consumequeue and index as well"
                )
            return 0
        checkpoint = evidence.checkpoint
        # Bytes below this were fsynced: what we noted, what the checkpoint covers, and after a clean stop all
        # that a queue names.
        promised = checkpoint.queue_log_offset
        if evidence.ours:
            promised = max(promised, checkpoint.flushed_offset)
        newest, newest_bytes = queues.newest_record()
        if evidence.clean and self._is_record(newest):
            promised = max(promised, newest + newest_bytes)
        decision = decide_end(
            EndFacts(
                clean=evidence.clean,
                noted_end=evidence.ours and self._noted_end_fits(checkpoint),
                stored_record=evidence.survived and self._is_record(checkpoint.stored_record),
                checkpoint_record=self._is_record(checkpoint.queue_log_offset),
            )
        )
        if decision is FindEnd.AT_NOTED_END:
            self._end_noted = True
            self.last_record = checkpoint.queue_log_offset
            return checkpoint.clean_end
        if decision is FindEnd.FROM_STORED_RECORD:
            return self._walk(checkpoint.stored_record, promised)
        if decision is FindEnd.FROM_CHECKPOINT:
            return self._walk(checkpoint.queue_log_offset, promised)
        return self._walk(self._file_by_time(checkpoint), promised)

    def _noted_end_fits(self, checkpoint: Checkpoint) -> bool:
        end = checkpoint.clean_end
        if end < self._log_begin():
            return False
        scanner = self._scanner(self._check_crc)
        last = checkpoint.queue_log_offset
        if last < end:
            scanner.position = last
            if self._files.at(last) is None or scanner.next() != RECORD:
                return False
            if scanner.position != end and (scanner.next() != BLANK or scanner.position != end):
                return False
        scanner.position = end
        return bool(scanner.next() == NOTHING)

    def _is_record(self, offset: int) -> bool:
        if self._files.at(offset) is None:
            return False
        scanner = LogScanner(self._disk, self._files, True)
        scanner.position = offset
        return bool(scanner.next() == RECORD)

    def _file_by_time(self, checkpoint: Checkpoint) -> int:
        """Where the last file begins whose first record is not younger than what the checkpoint covers."""
        limit_ms = min(checkpoint.log_ms, checkpoint.queue_ms) - BY_TIME_MARGIN_MS
        scanner = self._scanner(True)
        for segment in reversed(self._files.segments):
            scanner.position = segment.base
            if scanner.next() == RECORD and scanner.store_ms <= limit_ms:
                return int(segment.base)
        return self._log_begin()

    def _walk(self, start: int, promised: int) -> int:
        """Walk from ``start`` to the end of the log; everything below ``promised`` was fsynced."""
        scanner = self._scanner(self._check_crc)
        scanner.position = start
        if not self._evidence.clean:
            scanner.torn_from = promised
        self.last_record = start
        while True:
            position = int(scanner.position)
            kind = scanner.next()
            if kind == RECORD:
                self.last_record = int(scanner.at)
                continue
            blank = kind == BLANK
            behind = int(scanner.position)
            follows = -1
            if not blank and position < promised:
                follows = int(scanner.find_record(position + 1, promised))
            facts = StopFacts(
                blank=blank,
                next_file=blank and self._files.at(behind) is not None,
                promised=position < promised,
                record_follows=follows >= 0,
            )
            decision = decide_stop(facts)
            if decision is Stop.NEXT_FILE:
                continue
            self.report.walked_bytes = position - start
            if decision is Stop.SKIP:
                self.report.damaged.append((position, follows))
                continue
            if facts.promised and not blank:
                self.report.lost_from = position
            return position

    def _clear_behind(self, end: int) -> None:
        """Make ``end`` the end of the log on disk: later files go, the rest of its own file becomes zeros."""
        files = self._files
        while files.segments and files.segments[-1].base >= end:
            if files.segments[-1].base == end and len(files.segments) == 1:
                break  # The only file tells where the log begins; keep it, cleared below.
            segment = files.segments.pop()
            if segment.fd >= 0:
                self._disk.close(segment.fd)
                segment.fd = -1
            self._disk.unlink(segment.path)
        self._disk.sync_directory(files.directory)
        if self._end_noted:
            return
        last = files.at(end)
        if last is not None:
            start = end - int(last.base)
            self._disk.clear(files.descriptor(last), start, int(last.size) - start, reserve=True)
        # What the page cache kept is promised from here on.
        for segment in files.segments:
            if segment.base + segment.size > self._evidence.checkpoint.flushed_offset:
                fd = self._disk.open(segment.path)
                try:
                    self._disk.sync_data(fd)
                finally:
                    self._disk.close(fd)

    # ---- what is derived -------------------------------------------------------------------------------

    def _replay_start(self, begin: int, end: int, behind_queues: int) -> int:
        """From where records may be missing in the queues, as far as can be told without a walk."""
        evidence = self._evidence
        checkpoint = evidence.checkpoint
        if evidence.clean:
            # A clean stop writes all units: only a queue that lost its files can lack some.
            return max(begin, min(behind_queues, end))
        if (
            evidence.survived
            and begin <= checkpoint.stored_record
            and self._is_record(checkpoint.stored_record)
        ):
            return min(checkpoint.stored_record, end)
        if begin <= checkpoint.queue_log_offset <= end and self._is_record(checkpoint.queue_log_offset):
            return checkpoint.queue_log_offset
        return min(self._file_by_time(checkpoint), end) if self._files.segments else begin

    def _settle_index(self, begin: int, end: int) -> int:
        """Decide for each index file; returns from where the log is to be indexed again, ``end`` if
        nowhere.
        """
        index = self._index
        if index is None:
            return end
        evidence = self._evidence
        kept: list[IndexFile] = []
        doomed: list[str] = []
        dropped = False
        for name in self._disk.list_directory(index.directory):
            file = index.open_file(name)
            if dropped:
                doomed.append(file.path)
                continue
            whole = name.isdecimal() and file.is_whole()
            decision = decide_index(
                IndexFacts(
                    whole=whole,
                    beyond_log=whole and file.count > 1 and int(file.end_offset) >= max(end, 1),
                    settled=evidence.clean
                    or (file.room() <= 0 and file.end_ms <= evidence.checkpoint.index_ms),
                    survived=evidence.survived,
                    covered=whole and int(file.begin_offset) <= evidence.checkpoint.queue_log_offset,
                )
            )
            if decision is Index.DROP:
                file.unmap()
                doomed.append(file.path)
                self.report.dropped_indexes += 1
                dropped = True
                continue
            if decision is Index.REPAIR:
                file.repair(begin, end)
                self.report.repaired_indexes += 1
                # A file follows a full one: what this one lost is not in those behind it.
                dropped = file.room() > 0
            file.unmap()
            kept.append(file)
        for path in reversed(doomed):  # The newest first: a crash must not leave a gap that nobody would see.
            self._disk.unlink(path)
        index.use_files(kept, 0, end if evidence.clean else self._noted_index_offset())
        return self._index_start(index, begin, end)

    def _index_start(self, index: KeyIndex, begin: int, end: int) -> int:
        evidence = self._evidence
        # Of a record whose unit was written, the keys were before, all of them.
        stored = evidence.survived and index.last_offset() < evidence.checkpoint.stored_record
        if evidence.clean or stored:
            reached = int(index.last_offset()) if any(file.count > 1 for file in index.files) else -1
            index.indexed_offset = reached + 1
        else:
            reached = int(index.drop_last_record())
            index.indexed_offset = max(reached, 0)
        noted = self._noted_index_offset()
        # A directory of others that has no index at all was perhaps kept without one: it is made now.
        absent = reached < 0 and not evidence.ours
        if self.report.dropped_indexes == 0 and reached >= noted and not absent:
            if evidence.clean:
                index.indexed_offset = end
                return end
            if evidence.survived:
                return end  # The walk for the queues meets what the index may lack.
        oldest = max(0, len(self._files.segments) - self._index_segments_max)
        floor = int(self._files.segments[oldest].base) if self._files.segments else begin
        return min(end, max(int(index.indexed_offset), begin, floor))

    def _noted_index_offset(self) -> int:
        evidence = self._evidence
        return evidence.records.index_offset if evidence.ours and evidence.records is not None else -1

    def _replay(self, start: int, end: int, from_beginning: bool) -> list[ConsumeQueue]:
        """Replay ``[start, end)``; returns the queues that miss units from before it."""
        if start >= end:
            return []
        replay = Replay(self._queues, self._index, from_beginning)
        scanner = self._scanner(False)
        replay.run(scanner, start, end)
        if self._index is not None:
            self._index.indexed_offset = end
        self.report.replayed_bytes += end - start
        self.report.units_added += int(replay.added)
        self.report.strange_records = max(self.report.strange_records, int(replay.strange))
        return list(replay.short)
