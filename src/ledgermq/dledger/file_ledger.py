"""The log of a member in DLedger's files: entries in ``data``, where they lie in ``index``.

An append is one pwrite of the whole batch into a file whose blocks were reserved. Nothing is fsynced but by
:meth:`FileLedger.flush`, and once per file: before the first entry goes to a new file, the one before it is
fsynced, so that a later file with an entry is proof of all before it (ledger_recovery_table.py). The newest
batches stay in memory; older entries are read from disk and checked.

Where no room is, an append fails before it has written anything. A write that fails half-way is cleared
again, so that no crash can bring back entries that were never appended; until that is done nothing more
is written.

Locks, in this order: ``_sync_lock``, held during an fsync, and by whoever removes entries;
``_disk_lock``, held while entries are read from disk, and by whoever removes entries; ``_lock``, for the
numbers below, never held during a system call.

Rules of this file: it is compiled; all system calls through Disk; entries up to ``_synced`` are durable,
those up to ``_written`` are in the page cache, and ``end_pos`` is the end of the last of them; behind it
there are only zeros.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Final, NamedTuple

from mypy_extensions import mypyc_attr

from ledgermq.dledger.codes import DLedgerCode
from ledgermq.dledger.entries import (
    END,
    ENTRY_HEAD_BYTES,
    EntryHead,
    EntryScan,
    encode_blank,
    encode_bodies,
)
from ledgermq.dledger.file_positions import (
    DATA_FILE_BYTES,
    INDEX_FILE_BYTES,
    check_reset,
    ended_earlier,
    fits,
)
from ledgermq.dledger.index_files import IndexFiles
from ledgermq.dledger.ledger import LedgerError
from ledgermq.dledger.ledger_recovery import (
    LedgerPaths,
    Recovered,
    Recovery,
    begin_reset,
    finish_reset,
    save_checkpoint,
)
from ledgermq.dledger.ledger_retention import DataFile
from ledgermq.dledger.member_state import (
    NOTHING_FLUSHED,
    Checkpoint,
    FlushedEntry,
    encode_state,
    load_state,
)
from ledgermq.dledger.messages import NO_TERM, Entries
from ledgermq.dledger.recent_entries import Batch, RecentEntries
from ledgermq.dledger.segment_files import SegmentFiles
from ledgermq.dledger.term_runs import TermRuns
from ledgermq.runtime.limits import RECENT_ENTRY_BYTES_MAX
from ledgermq.store.disk import Disk

_HEAD: Final = int(ENTRY_HEAD_BYTES)


class _Piece(NamedTuple):
    """Entries to be written into one data file."""

    batch: Batch
    units: bytes
    runs: Sequence[tuple[int, int]]


class _Written(NamedTuple):
    """A place in the log: behind entry ``index`` of ``term``."""

    end_pos: int
    last_index: int
    term: int


@mypyc_attr(allow_interpreted_subclasses=True)  # the simulator watches one
class FileLedger:
    """See ledger.py for what each function promises."""

    def __init__(
        self,
        disk: Disk,
        directory: str,
        data_file_bytes: int = DATA_FILE_BYTES,
        index_file_bytes: int = INDEX_FILE_BYTES,
        recent_bytes: int = RECENT_ENTRY_BYTES_MAX,
    ) -> None:
        """Take the directory and recover what is there. Raises LedgerError (DISK_ERROR), OSError."""
        self._disk = disk
        self._paths = paths = LedgerPaths(directory)
        for path in (paths.data, paths.index):
            disk.make_directories(path)
        disk.sync_directory(directory)
        disk.sync_directory(directory.rpartition("/")[0] or ".")
        self._lock_fd = self._take_lock()
        self._data = SegmentFiles(disk, paths.data, data_file_bytes, reserve=True)
        self._index = IndexFiles(disk, paths.index, index_file_bytes)
        self._recent = RecentEntries(recent_bytes)
        self._sync_lock = threading.RLock()
        self._disk_lock = threading.Lock()
        self._lock = threading.RLock()
        self._broken = ""
        """Why the ledger is not to be used any more; empty while it is."""
        self._unclean = False
        """A failed write may have left bytes behind the end."""
        self._first_indexes: dict[int, int] = {}
        """Of the first entry in a data file, by the file's base, as far as known."""
        try:
            recovered = Recovery(disk, paths, self._data, self._index).recover()
        except BaseException:
            self.close()
            raise
        self.committed_index = recovered.committed_index
        self._saved_committed = recovered.committed_index
        self._begin_with(recovered)

    def _take_lock(self) -> int:
        fd = self._disk.open(self._paths.lock, True)
        holder = self._disk.lock(fd)
        if holder != 0:
            if holder > 0:
                self._disk.close(fd)
            # Else perhaps this process has it, and would lose its POSIX lock with any descriptor closed.
            raise LedgerError(
                DLedgerCode.DISK_ERROR,
                f"{self._paths.directory} is used by another process"
                + (f" (pid {holder})" if holder > 0 else "")
                + ": stop that one, or give this member another directory",
            )
        return fd

    def _begin_with(self, recovered: Recovered) -> None:
        self._log: TermRuns = recovered.log
        self._recent.clear()
        self._first_indexes.clear()
        self._written = _Written(recovered.end_pos, self._log.last_index, self._log.last_term)
        self._synced = self._written
        self._noted = recovered.last
        """The entry that the checkpoint says is durable."""

    # ---- what is here ----

    @property
    def first_index(self) -> int:
        return self._log.first_index

    @property
    def last_index(self) -> int:
        return self._log.last_index

    @property
    def last_term(self) -> int:
        return self._log.last_term

    @property
    def base_term(self) -> int:
        return self._log.base_term

    @property
    def end_pos(self) -> int:
        return self._written.end_pos

    @property
    def synced_pos(self) -> int:
        """Up to here the log is on the device."""
        return self._synced.end_pos

    @property
    def first_file_pos(self) -> int:
        """Where the oldest data file begins; ``end_pos`` without any."""
        bases = self._data.bases
        return bases[0] if bases else self._written.end_pos

    @property
    def dirty(self) -> bool:
        return self._written.end_pos != self._synced.end_pos

    def runs(self) -> list[tuple[int, int]]:
        with self._lock:
            return self._log.runs(self._log.first_index, self._log.last_index)

    def term_at(self, index: int) -> int:
        with self._lock:
            return self._log.term_at(index)

    # ---- appending ----

    def append_bodies(self, first_index: int, term: int, bodies: Sequence[bytes]) -> list[int]:
        log, file_bytes = self._log, self._data.file_bytes
        if first_index != log.last_index + 1 or term < log.last_term or term < 0:
            raise LedgerError(
                DLedgerCode.INCONSISTENT_INDEX,
                f"entry {first_index} of term {term} behind entry {log.last_index} of term {log.last_term}",
            )
        rows = bodies if isinstance(bodies, list) else list(bodies)
        count, done = len(rows), 0
        pos = self._written.end_pos
        positions: list[int] = []
        pieces: list[_Piece] = []
        while done < count:
            file_end = pos - pos % file_bytes + file_bytes
            encoded = encode_bodies(rows, done, first_index + done, term, pos, file_end)
            payload, taken = encoded.payload, len(encoded.positions)
            if taken:
                index = first_index + done
                batch = Batch(index, index + taken - 1, pos, payload)
                pieces.append(_Piece(batch, encoded.units, ((index, term),)))
                positions += encoded.positions
                done += taken
                pos += len(payload)
            elif pos % file_bytes == 0:
                raise LedgerError(
                    DLedgerCode.UNEXPECTED_ARGUMENT,
                    f"a body of {len(rows[done])} bytes: a data file has {file_bytes}",
                )
            if done < count:
                pos = file_end
        if pieces:
            self._write(pieces)
        return positions

    def append(self, entries: Entries) -> None:
        log, payload, first_pos = self._log, entries.payload, entries.first_pos
        if entries.first_index != log.last_index + 1:
            raise LedgerError(
                DLedgerCode.INCONSISTENT_INDEX,
                f"entry {entries.first_index} does not follow entry {log.last_index}",
            )
        end_pos, empty = self._written.end_pos, log.last_index < 0
        earlier = 0 <= log.last_index < log.first_index and ended_earlier(
            end_pos, first_pos, self._data.file_bytes
        )
        if not fits(first_pos if earlier else end_pos, first_pos, len(payload), self._data.file_bytes, empty):
            raise LedgerError(
                DLedgerCode.INCONSISTENT_STATE,
                f"{len(payload)} bytes of entries at position {first_pos}, the log ends at {end_pos} "
                f"and its files have {self._data.file_bytes} bytes (the same on all members?)",
            )
        scan = EntryScan(entries.first_index, log.last_term, first_pos, True)
        stop = scan.feed(payload, 0, -1)
        if stop != END or scan.index != entries.last_index + 1 or tuple(scan.runs) != entries.runs:
            raise LedgerError(
                DLedgerCode.INCONSISTENT_STATE,
                f"entries {entries.first_index} to {entries.last_index} are damaged: "
                f"{scan.reason or 'they are not what they are said to be'}",
            )
        if earlier:
            self.reset(log.last_index, log.base_term, first_pos)
        batch = Batch(entries.first_index, entries.last_index, first_pos, payload)
        self._write([_Piece(batch, scan.take_units(), entries.runs)])

    def _write(self, pieces: list[_Piece]) -> None:
        """Write the pieces, each into its file, or nothing at all. Raises OSError."""
        self._check_broken()
        if self._unclean:
            self._clear_tail()
        before = self._written
        data = self._data
        first = pieces[0].batch
        if self._index.overdue:
            with self._sync_lock:
                self._index.write_tail()
        if first.first_pos != before.end_pos and before.last_index < 0:
            with self._sync_lock:
                data.remove_all()  # A new log that begins with another file.
            before = _Written(first.first_pos, before.last_index, before.term)
        for piece in pieces:
            data.ensure(piece.batch.first_pos)
        end_pos = before.end_pos
        try:
            for piece in pieces:
                batch = piece.batch
                if batch.first_pos != end_pos:
                    self._close_file(end_pos)
                data.write(batch.first_pos, batch.payload)
                end_pos = batch.first_pos + len(batch.payload)
        except OSError:
            self._written = before
            self._unclean = True
            with suppress(OSError):  # The next write tries again.
                self._clear_tail()
            raise
        with self._lock:
            for piece in pieces:
                batch = piece.batch
                self._log.append(batch.last_index, piece.runs)
                self._index.append(piece.units)
                self._recent.add(batch)
                if batch.first_pos % data.file_bytes == 0:
                    self._first_indexes[batch.first_pos] = batch.first_index
            self._written = _Written(end_pos, self._log.last_index, self._log.last_term)

    def _close_file(self, end_pos: int) -> None:
        """The next entry begins the next file: fill this one up, and have it safe before. Raises
        OSError."""
        data = self._data
        rest = -end_pos % data.file_bytes
        if rest:
            data.write(end_pos, encode_blank(rest))
        with self._sync_lock:
            self._sync(data)
            data.close_old()

    def _check_broken(self) -> None:
        if self._broken:
            raise OSError(errno.EIO, f"{self._paths.directory} failed before: {self._broken}")

    def _clear_tail(self) -> None:
        """Clear what a failed write left. Raises OSError: it stays to be done."""
        with self._sync_lock:
            self._data.cut(self._written.end_pos)
        self._unclean = False

    # ---- durability ----

    def flush(self) -> tuple[int, int]:
        with self._sync_lock:
            self._check_broken()
            target = self._written
            if target.end_pos != self._synced.end_pos:
                self._sync(self._data)
                self._synced = target
                self._follow_up(target)
            return target.last_index, target.term

    def _follow_up(self, flushed: _Written) -> None:
        """What can wait, and be done another time: index units, and the next data file."""
        try:
            self._index.write_tail()
            data = self._data
            if not data.has_spare and data.end - flushed.end_pos < data.file_bytes // 2:
                data.make_ahead()
        except OSError:
            return  # No room. Appends will find out when it matters.

    def _sync(self, files: SegmentFiles) -> None:
        try:
            files.sync()
        except OSError as error:
            # The kernel may have dropped the pages: no later fsync can be believed.
            self._broken = f"fsync: {error}"
            raise

    def save_checkpoint(self, committed_index: int) -> None:
        with self._sync_lock:
            self._check_broken()
            synced = self._synced
            self._index.write_tail()
            self._sync(self._index.files)
            self._index.files.close_old()
            self._note(committed_index, synced)

    def _note(self, committed_index: int, synced: _Written) -> None:
        flushed = NOTHING_FLUSHED
        if synced.last_index >= self._log.first_index:
            flushed = FlushedEntry(synced.last_index, synced.term, self._place(synced.last_index)[0])
        checkpoint = Checkpoint(min(committed_index, synced.last_index), flushed)
        save_checkpoint(self._disk, self._paths, checkpoint, synced.last_index)
        self._noted = flushed
        self._saved_committed = checkpoint.committed_index

    def load_state(self) -> tuple[int, str]:
        return load_state(self._disk, self._paths.state, self._log.last_term)

    def save_state(self, term: int, vote: str) -> None:
        self._disk.replace_file(self._paths.state, encode_state(term, vote))

    # ---- reading ----

    def in_memory(self, index: int) -> bool:
        with self._lock:
            return self._recent.holds(index)

    def read(self, first_index: int, max_bytes: int, last_index: int | None = None) -> Entries:
        with self._lock:
            log = self._log
            self._check_index(first_index)
            last = log.last_index if last_index is None else min(last_index, log.last_index)
            if self._recent.holds(first_index):
                batch = self._recent.read(first_index, last, max_bytes)
                return self._entries(batch)
        with self._disk_lock:
            with self._lock:
                self._check_index(first_index)
                last = min(last, self._log.last_index)
            batch = self._read_disk(first_index, last, max_bytes)
            with self._lock:
                return self._entries(batch)

    def _entries(self, batch: Batch) -> Entries:
        runs = self._log.runs(batch.first_index, batch.last_index)
        return Entries(batch.first_index, batch.last_index, batch.first_pos, tuple(runs), batch.payload)

    def _check_index(self, index: int) -> None:
        if index < self._log.first_index:
            raise LedgerError(
                DLedgerCode.INDEX_LESS_THAN_LOCAL_BEGIN,
                f"entry {index}: the log begins with {self._log.first_index}",
            )
        if index > self._log.last_index:
            raise LedgerError(
                DLedgerCode.INDEX_OUT_OF_RANGE, f"entry {index}: the log ends with {self._log.last_index}"
            )

    def _read_disk(self, first_index: int, last_index: int, max_bytes: int) -> Batch:
        pos, size = self._place(first_index)
        data = self._data.read(pos, max(size, max_bytes))
        scan = EntryScan(first_index, self.term_at(first_index), pos, False)
        stop = scan.feed(data, 0, last_index)
        if scan.index == first_index or tuple(scan.runs) != tuple(
            self._log.runs(first_index, int(scan.index) - 1)
        ):
            raise self._damaged(first_index, pos, scan.reason or f"it stops at {stop}")
        payload = data if scan.at == len(data) else data[: scan.at]
        return Batch(first_index, int(scan.index) - 1, pos, payload)

    def _place(self, index: int) -> tuple[int, int]:
        """Position and size of an entry. Raises LedgerError(DISK_ERROR), OSError."""
        with self._lock:
            if self._recent.holds(index):
                return self._recent.place(index)
        unit = self._index.unit(index)
        first_pos = self._data.bases[0] if self._data.bases else 0
        inside = first_pos <= unit.pos and unit.pos + unit.size <= self._written.end_pos
        if unit.size < _HEAD or unit.index != index or unit.term != self.term_at(index) or not inside:
            raise LedgerError(
                DLedgerCode.DISK_ERROR,
                f"the index of {self._paths.directory} is damaged at entry {index}: remove its files, and "
                "the next start makes them again",
            )
        return int(unit.pos), int(unit.size)

    def _damaged(self, index: int, pos: int, reason: str) -> LedgerError:
        return LedgerError(
            DLedgerCode.DISK_ERROR,
            f"entry {index} is damaged in {self._data.path(self._data.base_of(pos))} at {pos}: {reason}",
        )

    def body(self, index: int) -> bytes:
        return self.read(index, 1, index).payload[_HEAD:]

    # ---- removing ----

    def truncate(self, last_index: int, base_term: int = NO_TERM) -> None:
        if last_index >= self._log.last_index:
            return
        if last_index < self._log.first_index - 1:
            raise LedgerError(
                DLedgerCode.INDEX_LESS_THAN_LOCAL_BEGIN,
                f"entry {last_index}: the log begins with {self._log.first_index}",
            )
        if last_index < self._log.first_index and last_index >= 0:
            # An empty log that does not begin with entry 0 has to say where it goes on.
            self._log.tell_base_term(base_term)
            self.reset(last_index, self._log.base_term, self._place(last_index + 1)[0])
            return
        with self._sync_lock, self._disk_lock:
            self._check_broken()
            if last_index < 0:
                kept = _Written(self._place(0)[0], -1, -1)
            else:
                pos, size = self._place(last_index)
                kept = _Written(pos + size, last_index, self.term_at(last_index))
            try:
                self._cut(kept)
            except OSError as error:
                self._broken = f"truncation: {error}"
                raise

    def _cut(self, kept: _Written) -> None:
        if self._noted.last_index > kept.last_index:
            self._note(self._saved_committed, kept)
        self._data.cut(kept.end_pos)
        self._data.sync()
        self._index.truncate(kept.last_index)
        with self._lock:
            self._log.truncate(kept.last_index)
            self._recent.truncate(kept.last_index)
            for base in [base for base, first in self._first_indexes.items() if first > kept.last_index]:
                del self._first_indexes[base]
            self._written = self._synced = kept
            self._unclean = False

    def reset(self, last_index: int, last_term: int, next_pos: int) -> None:
        check_reset(last_index, next_pos, self._data.file_bytes)
        with self._sync_lock, self._disk_lock:
            self._check_broken()
            try:
                marker = begin_reset(self._disk, self._paths, last_index, last_term, next_pos)
                recovered = finish_reset(self._disk, self._paths, self._data, self._index, marker)
            except OSError as error:
                self._broken = f"reset: {error}"
                raise
            with self._lock:
                self._begin_with(recovered)
                self._unclean = False

    def data_files(self) -> list[DataFile]:
        """The data files that hold entries, oldest first, for retention. Raises LedgerError, OSError."""
        found: list[DataFile] = []
        for base, following in pairwise([*self._data.bases, -1]):
            after = self._first_index_of(following) if following >= 0 else -1
            last = after - 1 if after >= 0 else self._log.last_index
            found.append(DataFile(last, self._disk.modified_ms(self._data.path(base))))
            if after < 0:
                break
        return found

    @property
    def used_ratio(self) -> float:
        """How full the disk is, 0 to 1. Raises OSError."""
        return self._disk.used_ratio(self._paths.directory)

    def _first_index_of(self, base: int) -> int:
        """Of the first entry in a data file; -1: it has none. Raises OSError."""
        known = self._first_indexes.get(base)
        if known is None:
            if base >= self._written.end_pos:
                return -1
            head = EntryHead(self._data.read(base, _HEAD), 0)
            if head.size == 0 or head.pos != base:
                raise LedgerError(
                    DLedgerCode.DISK_ERROR, f"{self._data.path(base)} does not begin with an entry"
                )
            known = self._first_indexes[base] = int(head.index)
        return known

    def delete_before(self, index: int) -> int:
        with self._sync_lock, self._disk_lock:
            self._check_broken()
            keep_from, keep_index = -1, -1
            for base in list(self._data.bases)[1:]:
                first = self._first_index_of(base)
                if first < 0 or first > index or base >= self._synced.end_pos:
                    break
                keep_from, keep_index = base, first
            if keep_from >= 0 and keep_index > self._log.first_index:
                if self._noted.last_index < keep_index:
                    self.save_checkpoint(self._saved_committed)  # Its entry must not go.
                with self._lock:
                    self._log.start_at(keep_index)
                    self._first_indexes = {
                        base: first for base, first in self._first_indexes.items() if base >= keep_from
                    }
                self._data.remove_before(keep_from)
                self._index.remove_before(keep_index)
            return self._log.first_index

    def close(self) -> None:
        with self._sync_lock, self._disk_lock:
            self._data.close()
            self._index.files.close()
            if self._lock_fd >= 0:
                self._disk.close(self._lock_fd)
                self._lock_fd = -1
