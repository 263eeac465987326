"""A ledger that keeps nothing over a restart (Java: ``DLedgerMemoryStore``): for tests and caches.

Rules of this file: positions are those that a single endless data file would give.
"""

from __future__ import annotations

from collections.abc import Sequence

from ledgermq.dledger.codes import DLedgerCode
from ledgermq.dledger.entries import EntryError, encode_entries, scan_entries, split_bodies
from ledgermq.dledger.ledger import LedgerError
from ledgermq.dledger.messages import NO_INDEX, Entries
from ledgermq.dledger.recent import Recent
from ledgermq.dledger.term_runs import TermRuns


class MemoryLedger:
    """See :class:`ledgermq.dledger.ledger.Ledger`."""

    def __init__(self) -> None:
        self._log = TermRuns(0, NO_INDEX, [])
        self._recent = Recent(1 << 62)
        self._state = (0, "")
        self.end_pos = 0
        self.committed_index = NO_INDEX
        self.dirty = False

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

    def runs(self) -> list[tuple[int, int]]:
        return self._log.runs()

    def term_at(self, index: int) -> int:
        return self._log.term_at(index)

    def in_memory(self, first_index: int) -> bool:
        return True

    def append_bodies(self, first_index: int, term: int, bodies: Sequence[bytes]) -> list[int]:
        if first_index != self.last_index + 1:
            raise LedgerError(
                DLedgerCode.INCONSISTENT_INDEX, f"entry {first_index} follows {self.last_index}"
            )
        payload, _ = encode_entries(bodies, first_index, term, self.end_pos)
        positions: list[int] = []
        pos = self.end_pos
        for body in bodies:
            positions.append(pos)
            pos += 48 + len(body)
        last_index = first_index + len(bodies) - 1
        self._take(Entries(first_index, last_index, self.end_pos, ((first_index, term),), payload))
        return positions

    def append(self, entries: Entries) -> None:
        try:
            scan_entries(entries.payload)
        except EntryError as error:
            raise LedgerError(DLedgerCode.UNEXPECTED_ARGUMENT, str(error)) from None
        if entries.first_index != self.last_index + 1:
            text = f"entry {entries.first_index} follows {self.last_index}"
            raise LedgerError(DLedgerCode.INCONSISTENT_INDEX, text)
        self._take(entries)

    def _take(self, entries: Entries) -> None:
        self._recent.add(entries)
        self._log.append(entries.last_index, entries.runs)
        self.end_pos = entries.first_pos + len(entries.payload)
        self.dirty = True

    def read(self, first_index: int, max_bytes: int, last_index: int | None = None) -> Entries:
        last_index = self.last_index if last_index is None else min(last_index, self.last_index)
        found = self._recent.read(first_index, max_bytes, last_index)
        if found is None:
            text = f"entry {first_index} is not in {self.first_index} to {self.last_index}"
            raise LedgerError(DLedgerCode.INDEX_OUT_OF_RANGE, text)
        return found

    def body(self, index: int) -> bytes:
        return split_bodies(self.read(index, 1, index).payload)[0]

    def truncate(self, last_index: int) -> None:
        self.end_pos = self._recent.truncate(last_index, self.end_pos)
        self._log.truncate(last_index)

    def reset(self, last_index: int, last_term: int, next_pos: int) -> None:
        self._recent.clear()
        self._log.reset(last_index, last_term)
        self.end_pos = next_pos

    def flush(self) -> tuple[int, int]:
        self.dirty = False
        return self.last_index, self.last_term

    def load_state(self) -> tuple[int, str]:
        return self._state

    def save_state(self, term: int, vote: str) -> None:
        self._state = (term, vote)

    def save_checkpoint(self, committed_index: int) -> None:
        self.committed_index = committed_index

    def delete_before(self, index: int) -> int:
        self._log.start_at(min(index, self.last_index + 1))
        self._recent.drop_before(self.first_index)
        return self.first_index

    def close(self) -> None:
        return None
