"""Finding the log in the files that a stop, a crash or Java left.

What is done is decided by the tables of ledger_recovery_table.py; here facts are looked up and decisions
carried out. Afterwards everything found is durable, nothing but zeros follows it, and the checkpoint says
so.

Rules of this file: only the owner of the directory's lock runs it; it may be stopped at any place and begun
again.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ledgermq.dledger.codes import DLedgerCode
from ledgermq.dledger.entries import (
    BLANK,
    BLANK_BYTES,
    END,
    ENTRY_HEAD_BYTES,
    FILLER,
    FILLER_FILE,
    PARTIAL,
    EntryHead,
    EntryScan,
    UnitScan,
    encode_blank,
    encode_filler,
)
from ledgermq.dledger.index_files import IndexFiles
from ledgermq.dledger.ledger import LedgerError
from ledgermq.dledger.ledger_recovery_table import (
    Begin,
    BeginFacts,
    File,
    FileFacts,
    Index,
    IndexFacts,
    Stop,
    StopFacts,
    decide_begin,
    decide_file,
    decide_index,
    decide_stop,
)
from ledgermq.dledger.member_state import (
    NOTHING_FLUSHED,
    Checkpoint,
    FlushedEntry,
    decode_checkpoint,
    encode_checkpoint,
)
from ledgermq.dledger.messages import NO_INDEX, NO_TERM
from ledgermq.dledger.segment_files import SegmentFiles
from ledgermq.dledger.term_runs import TermRuns
from ledgermq.runtime.properties_text import parse_properties
from ledgermq.store.disk import Disk

_BLOCK_BYTES: Final = 4 * 1024 * 1024
_UNIT_BYTES: Final = 32
_FILES_WALKED: Final = 3
"""Without a note, as many files are walked as Java walks."""


class LedgerPaths:
    """The files of one member, as Java names them; ``reset`` and ``lock`` are ours alone."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.data = f"{directory}/data"
        self.index = f"{directory}/index"
        self.checkpoint = f"{directory}/checkpoint"
        self.state = f"{directory}/currterm"
        self.reset = f"{directory}/reset"
        self.lock = f"{directory}/lock"


class Recovered(NamedTuple):
    log: TermRuns
    end_pos: int
    committed_index: int
    last: FlushedEntry
    """The last entry, durable now."""


class _Start(NamedTuple):
    """Where the log begins."""

    first_index: int
    """-1: it has no entry, and begins with whatever comes."""
    base_term: int
    pos: int


class _Stopped(NamedTuple):
    """Where the walk ended, and why."""

    pos: int
    reason: str
    decision: Stop


class Recovery:
    """Recovery of one member's ledger."""

    def __init__(self, disk: Disk, paths: LedgerPaths, data: SegmentFiles, index: IndexFiles) -> None:
        self._disk = disk
        self._paths = paths
        self._data = data
        self._index = index

    def recover(self) -> Recovered:
        """Raises LedgerError (DISK_ERROR) where the table refuses, OSError."""
        for directory in (self._paths.data, self._paths.index):
            # A file removed just before the process died is gone for good only now: with the power it could
            # come back, behind files that were written since.
            self._disk.sync_directory(directory)
        marker = self._disk.read_file(self._paths.reset)
        checkpoint = decode_checkpoint(self._disk.read_file(self._paths.checkpoint))
        if marker is None:
            self._load_data_files()
        note = checkpoint.flushed
        fits = note.last_index >= 0 and marker is None and self._is_there(note)
        begin = decide_begin(
            BeginFacts(marker is not None, bool(self._data.bases), note.last_index >= 0, fits)
        )
        if begin is Begin.RESET:
            assert marker is not None
            return finish_reset(self._disk, self._paths, self._data, self._index, marker)
        if begin is Begin.LOST:
            raise self._refusal(f"{self._paths.data} has no files, and entry {note.last_index} was promised")
        if begin is Begin.EMPTY:
            self._index.files.remove_all()
            return Recovered(TermRuns(0, NO_INDEX, ()), 0, NO_INDEX, NOTHING_FLUSHED)
        return self._walk_and_settle(checkpoint, note if begin is Begin.NOTE else None)

    # ---- the files ----

    def _load_data_files(self) -> None:
        data = self._data
        names = [
            name for name in self._disk.list_directory(data.directory) if len(name) == 20 and name.isdigit()
        ]
        for number, name in reversed(list(enumerate(names))):
            path = f"{data.directory}/{name}"
            length = self._disk.path_bytes(path)
            has_data = length != data.file_bytes and self._has_data(path)
            decision = decide_file(FileFacts(length == data.file_bytes, number == len(names) - 1, has_data))
            if decision is File.REMOVE:
                self._disk.unlink(path)
                self._disk.sync_directory(data.directory)
                names.pop()
            elif decision is File.REFUSE:
                raise self._refusal(
                    f"{path} has {length} bytes, mappedFileSizeForEntryData is {data.file_bytes}"
                )
        data.bases = [int(name) for name in names]
        for before, base in zip(data.bases, data.bases[1:], strict=False):
            if base != before + data.file_bytes:
                raise self._refusal(f"{data.path(before + data.file_bytes)} is missing")

    def _has_data(self, path: str) -> bool:
        fd = self._disk.open(path)
        try:
            return self._disk.file_bytes(fd) > 0 and any(self._disk.pread(fd, _BLOCK_BYTES, 0))
        finally:
            self._disk.close(fd)

    def _head(self, pos: int) -> EntryHead:
        """Of the entry that begins at ``pos``; its size is 0 where there is none."""
        base = self._data.base_of(pos)
        if base not in self._data.bases:
            return EntryHead(b"", 0)
        head = EntryHead(self._data.read(pos, int(ENTRY_HEAD_BYTES)), 0)
        if head.pos != pos or head.size + BLANK_BYTES > base + self._data.file_bytes - pos:
            return EntryHead(b"", 0)
        return head

    def _is_there(self, note: FlushedEntry) -> bool:
        head = self._head(note.pos)
        if head.size == 0 or head.index != note.last_index or head.term != note.term:
            return False
        scan = EntryScan(note.last_index, NO_TERM, note.pos, False)
        return scan.feed(self._data.read(note.pos, int(head.size)), 0, -1) == END

    # ---- the walk ----

    def _start(self) -> _Start:
        base = self._data.bases[0]
        head = self._head(base)
        if head.size == 0:
            return _Start(-1, NO_TERM, base)
        if head.channel == FILLER:
            return _Start(int(head.index) + 1, int(head.term), base + int(head.size))
        if head.channel == FILLER_FILE:
            return _Start(int(head.index) + 1, int(head.term), base + self._data.file_bytes)
        return _Start(int(head.index), NO_TERM, base)

    def _walk_and_settle(self, checkpoint: Checkpoint, note: FlushedEntry | None) -> Recovered:
        start = self._start()
        if note is not None and (start.first_index < 0 or note.last_index < start.first_index):
            note = None  # The beginning is damaged: the walk begins there and says so.
        begin = self._first_entry_of_late_file(start) if note is None else note
        runs = self._runs_before(start, begin, note is not None)
        if runs is None:
            begin, runs = None, []
            self._index.files.remove_all()
        if begin is None:
            begin = FlushedEntry(start.first_index, NO_TERM, start.pos)
        self._index.begin_at(max(begin.last_index, 0))
        scan = EntryScan(begin.last_index, begin.term, begin.pos, True)
        stopped = self._walk(scan, start, checkpoint.flushed.last_index)
        if stopped.decision is Stop.REFUSE:
            raise self._refusal(
                f"{self._data.path(self._data.base_of(stopped.pos))}, at {stopped.pos}: {stopped.reason}, "
                "and what was there had been promised"
            )
        first_index = max(start.first_index, 0)
        last_index = max(int(scan.index), first_index) - 1
        log = TermRuns(first_index, last_index, (), start.base_term)
        log.append(last_index, [*runs, *scan.runs])
        return self._settle(checkpoint, log, start, begin)

    def _first_entry_of_late_file(self, start: _Start) -> FlushedEntry | None:
        """Where the walk begins without a note; None: with the log."""
        bases = self._data.bases
        for base in reversed(bases[1 : max(1, len(bases) - _FILES_WALKED + 1)]):
            head = self._head(base)
            if base >= start.pos and head.size > 0 and head.index > start.first_index >= 0:
                return FlushedEntry(int(head.index), int(head.term), base)
        return None

    def _walk(self, scan: EntryScan, start: _Start, promised_index: int) -> _Stopped:
        """Walk to the log's end, writing index units."""
        data = self._data
        size = _BLOCK_BYTES
        while True:
            pos = int(scan.pos)
            base = data.base_of(pos)
            if base not in data.bases:  # Behind the last file: an entry never reaches a file's end.
                return self._stopped(pos, "there is no file", False, scan, promised_index)
            block = data.read(pos, size)
            stop = scan.feed(block, 0, -1)
            self._index.append(scan.take_units())
            self._index.write_tail()
            size = max(_BLOCK_BYTES, int(scan.needed))
            if stop == END or (stop == PARTIAL and pos + len(block) < base + data.file_bytes):
                continue
            reason = scan.reason or ("the file ends" if stop == BLANK else "there are zeros")
            if stop == PARTIAL:
                reason = f"an entry of {scan.needed} bytes does not fit its file"
            # A file that begins with its end is none that was ever written.
            blank = stop == BLANK and start.first_index >= 0
            stopped = self._stopped(int(scan.pos), reason, blank, scan, promised_index)
            if stopped.decision is not Stop.NEXT_FILE:
                return stopped
            scan.pos = base + data.file_bytes

    def _stopped(self, pos: int, reason: str, blank: bool, scan: EntryScan, promised_index: int) -> _Stopped:
        base = self._data.base_of(pos)
        facts = StopFacts(
            blank=blank,
            next_file=base + self._data.file_bytes in self._data.bases,
            later=any(self._head(later).size > 0 for later in self._data.bases if later > base),
            promised=promised_index >= 0 and scan.index <= promised_index,
        )
        return _Stopped(pos, reason, decide_stop(facts))

    # ---- the index ----

    def _runs_before(
        self, start: _Start, begin: FlushedEntry | None, noted: bool
    ) -> list[tuple[int, int]] | None:
        """The terms of the entries before the walk's begin, from the index; None: it has to be made again.

        The index was fsynced with the note; without one it is looked at as a whole.
        """
        whole, runs = False, None
        if begin is not None and begin.last_index > start.first_index:
            whole = self._load_index_files(start, begin)
            if whole:
                runs = self._bisect_index(start, begin) if noted else self._walk_index(start, begin)
        decision = decide_index(IndexFacts(whole, runs is not None))
        return runs if decision is Index.KEEP else None

    def _load_index_files(self, start: _Start, begin: FlushedEntry) -> bool:
        files = self._index.files
        first = files.base_of(start.first_index * _UNIT_BYTES)
        last = files.base_of((begin.last_index - 1) * _UNIT_BYTES)
        bases = list(range(first, last + 1, files.file_bytes))
        if any(self._disk.path_bytes(files.path(base)) != files.file_bytes for base in bases):
            return False
        for name in self._disk.list_directory(files.directory):
            if not (name.isdigit() and len(name) == 20 and int(name) in bases):
                self._disk.unlink(f"{files.directory}/{name}")
        files.bases = bases
        self._index.begin_at(begin.last_index)
        return True

    def _bisect_index(self, start: _Start, begin: FlushedEntry) -> list[tuple[int, int]] | None:
        """By bisection: terms never fall. None when a unit is not what it must be."""
        first, last = start.first_index, begin.last_index - 1
        first_term, last_term = self._unit_term(first), self._unit_term(last)
        if first_term < 0 or last_term < first_term or last_term > begin.term:
            return None
        for index in (first, last):
            unit = self._index.unit(index)
            head = self._head(int(unit.pos))
            if head.size == 0 or (head.size, head.index, head.term) != (unit.size, index, unit.term):
                return None
        runs = [(first, first_term)]
        while runs[-1][1] < last_term:
            low, high = runs[-1][0], last  # The term at low is the run's, at high it is a higher one.
            while high - low > 1:
                middle = (low + high) // 2
                term = self._unit_term(middle)
                if term < runs[-1][1] or term > last_term:
                    return None
                if term == runs[-1][1]:
                    low = middle
                else:
                    high = middle
            runs.append((high, self._unit_term(high)))
        return runs

    def _walk_index(self, start: _Start, begin: FlushedEntry) -> list[tuple[int, int]] | None:
        """All of the units. None when one is not what it must be."""
        files = self._index.files
        scan = UnitScan(start.first_index, start.pos, self._data.file_bytes)
        at, end = start.first_index * _UNIT_BYTES, begin.last_index * _UNIT_BYTES
        while at < end:
            block = files.read(at, min(_BLOCK_BYTES, end - at))
            if not scan.feed(block):
                return None
            at += len(block)
        reaches = begin.pos in (scan.pos, scan.pos + -scan.pos % self._data.file_bytes)
        return scan.runs if reaches and scan.term <= begin.term else None

    def _unit_term(self, index: int) -> int:
        unit = self._index.unit(index)
        return int(unit.term) if unit.size > 0 and unit.index == index else -1

    # ---- the end ----

    def _settle(self, checkpoint: Checkpoint, log: TermRuns, start: _Start, begin: FlushedEntry) -> Recovered:
        """Clear what follows the log, make everything durable, and note it."""
        end_pos = self._end_pos(log, start)
        self._data.cut(end_pos)
        self._data.sync_from(begin.pos)
        self._index.truncate(log.last_index)
        # All of it: whoever was killed had not fsynced what it wrote.
        self._index.files.sync_from(0)
        last = NOTHING_FLUSHED
        if log.last_index >= log.first_index:
            last = FlushedEntry(log.last_index, log.last_term, int(self._index.unit(log.last_index).pos))
        committed = min(checkpoint.committed_index, log.last_index)
        save_checkpoint(self._disk, self._paths, Checkpoint(committed, last), log.last_index)
        return Recovered(log, end_pos, committed, last)

    def _end_pos(self, log: TermRuns, start: _Start) -> int:
        """The end of the last entry: a blank behind it is written again when it is needed."""
        if log.last_index < log.first_index:
            return start.pos
        unit = self._index.unit(log.last_index)
        return int(unit.pos + unit.size)

    def _refusal(self, text: str) -> LedgerError:
        return LedgerError(
            DLedgerCode.DISK_ERROR,
            f"{text}: restore the member's files, or, while the other members have a majority, remove "
            f"{self._paths.directory} and it is filled again",
        )


def save_checkpoint(disk: Disk, paths: LedgerPaths, checkpoint: Checkpoint, last_index: int) -> None:
    """Durably. Raises OSError."""
    disk.replace_file(paths.checkpoint, encode_checkpoint(checkpoint, last_index))


def begin_reset(disk: Disk, paths: LedgerPaths, last_index: int, last_term: int, next_pos: int) -> bytes:
    """Decide durably that the log is dropped; :func:`finish_reset` takes the result. Raises OSError."""
    marker = f"lastIndex={last_index}\nlastTerm={last_term}\nnextPos={next_pos}\n".encode()
    disk.replace_file(paths.reset, marker)
    return marker


def finish_reset(
    disk: Disk, paths: LedgerPaths, data: SegmentFiles, index: IndexFiles, marker: bytes
) -> Recovered:
    """Drop the log, and leave a filler that tells where it goes on. Raises OSError."""
    values = {entry.key: int(entry.value) for entry in parse_properties(marker.decode())}
    last_index, last_term, next_pos = values["lastIndex"], values["lastTerm"], values["nextPos"]
    save_checkpoint(disk, paths, Checkpoint(last_index, NOTHING_FLUSHED), last_index)
    data.remove_all()
    index.files.remove_all()
    index.begin_at(last_index + 1)
    base = data.base_of(next_pos)
    if next_pos > base:
        data.ensure(base)
        data.write(base, encode_filler(last_index, last_term, base, FILLER, next_pos - base))
    elif base > 0 and last_index >= 0:
        before = base - data.file_bytes
        data.ensure(before)
        filler = encode_filler(last_index, last_term, before, FILLER_FILE, int(ENTRY_HEAD_BYTES))
        data.write(before, filler + encode_blank(data.file_bytes - int(ENTRY_HEAD_BYTES)))
    data.sync()
    disk.unlink(paths.reset)
    disk.sync_directory(paths.directory)
    return Recovered(
        TermRuns(last_index + 1, last_index, (), last_term), next_pos, last_index, NOTHING_FLUSHED
    )
