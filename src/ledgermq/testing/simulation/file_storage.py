"""FileLedger on the simulated disk: torn sectors, names that are not on the device yet, the real recovery.

The fuse burns inside the ledger's own writes, fsyncs and renames. Flipped bits are not tried here: FileLedger
refuses to start when something is missing that it may have promised, and a human decides; see
tests/crash/ledger.

Rules of this file: an fsync is made when it ends, as what it was asked for when it began: that is the longest
time in which a power cut may take the entries.
"""

from __future__ import annotations

from random import Random
from typing import Final

from ledgermq.dledger.file_ledger import FileLedger
from ledgermq.dledger.messages import NO_INDEX, NO_TERM
from ledgermq.testing.simulation.disk import SimDisk
from ledgermq.testing.simulation.model_ledger import Fuse

_DIRECTORY: Final = "/dledger/g0"
DATA_DIRECTORY: Final = f"{_DIRECTORY}/data"
DATA_FILE_BYTES: Final = 2048
_INDEX_FILE_BYTES: Final = 32 * 20
_RECENT_BYTES: Final = 1024


class _FusedDisk(SimDisk):
    """Before and after each change the fuse may have burnt down."""

    def __init__(self, random: Random, fuse: Fuse) -> None:
        super().__init__(random)
        self._fuse = fuse

    def _step(self) -> bool:
        self._fuse.step()
        return super()._step()

    def pwrite(self, fd: int, data: bytes, offset: int) -> None:
        super().pwrite(fd, data, offset)
        self._fuse.step()

    def sync_data(self, fd: int) -> None:
        super().sync_data(fd)
        self._fuse.step()


class _WatchedLedger(FileLedger):
    """Knows, for the checks, how far it is durable."""

    durable_index = NO_INDEX

    def truncate(self, last_index: int, base_term: int = NO_TERM) -> None:
        self.durable_index = min(self.durable_index, last_index)
        super().truncate(last_index, base_term)

    def reset(self, last_index: int, last_term: int, next_pos: int) -> None:
        self.durable_index = NO_INDEX
        super().reset(last_index, last_term, next_pos)
        self.durable_index = last_index


class FileStorage:
    """The disk of one node; the files on it outlive the node's deaths."""

    def __init__(self, random: Random, fuse: Fuse, data_file_bytes: int = DATA_FILE_BYTES) -> None:
        self.disk: Final = _FusedDisk(random, fuse)
        self._data_file_bytes = data_file_bytes
        self.ledger = self._new_ledger()

    def _new_ledger(self) -> _WatchedLedger:
        return _WatchedLedger(
            self.disk,
            _DIRECTORY,
            data_file_bytes=self._data_file_bytes,
            index_file_bytes=_INDEX_FILE_BYTES,
            recent_bytes=_RECENT_BYTES,
        )

    @property
    def full(self) -> bool:
        return self.disk.fail_writes

    @full.setter
    def full(self, full: bool) -> None:
        self.disk.fail_writes = full

    @property
    def broken(self) -> bool:
        return self.disk.fail_syncs

    @broken.setter
    def broken(self, broken: bool) -> None:
        self.disk.fail_syncs = broken

    def open(self) -> None:
        """Recover. Raises AssertionError when something durable is not there any more."""
        promised, term = self.ledger.durable_index, self.ledger.term_at(self.ledger.durable_index)
        first_index = self.ledger.first_index
        ledger = self._new_ledger()
        found = ledger.term_at(promised)
        if promised >= max(first_index, ledger.first_index) and found != term:
            raise AssertionError(f"entry {promised} of term {term} was durable; recovery found term {found}")
        if promised > ledger.last_index:
            raise AssertionError(
                f"entry {promised} was durable; recovery found entries to {ledger.last_index}"
            )
        ledger.durable_index = ledger.last_index
        self.ledger = ledger

    def begin_flush(self) -> tuple[int, int]:
        return self.ledger.last_index, self.ledger.last_term

    def end_flush(self) -> None:
        index, _ = self.ledger.flush()
        self.ledger.durable_index = max(self.ledger.durable_index, index)

    def stop(self, commit_index: int) -> None:
        """As ``dledger.node`` does at a clean stop."""
        if self.ledger.dirty:
            self.end_flush()
        self.ledger.save_checkpoint(commit_index)
        self.ledger.close()

    def crash(self, power: bool) -> None:
        if power:
            self.disk.power_cut()
        else:
            self.disk.kill()

    def damage(self, index: int) -> None:
        """Not tried."""

    def holds(self, index: int, term: int, written: bool = False) -> bool:
        ledger = self.ledger
        if index < ledger.first_index:
            return True
        safe = ledger.last_index if written else ledger.durable_index
        return index <= safe and ledger.term_at(index) == term != NO_TERM
