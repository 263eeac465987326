"""A log that ends with its process: for tests, and for groups that need nothing over a restart.

Positions are those that files would give, so that members with files can have it among them.

Rules of this file: nothing is ever dirty; it grows until its head is deleted.
"""

from __future__ import annotations

from collections.abc import Sequence

from ledgermq.dledger.codes import DLedgerCode
from ledgermq.dledger.entries import END, ENTRY_HEAD_BYTES, EntryScan, encode_bodies
from ledgermq.dledger.file_positions import DATA_FILE_BYTES, check_reset, ended_earlier, fits
from ledgermq.dledger.ledger import LedgerError
from ledgermq.dledger.messages import NO_INDEX, NO_TERM, Entries
from ledgermq.dledger.term_runs import TermRuns


class MemoryLedger:
    """Entries in a list, each in its encoded form."""

    dirty = False
    committed_index = NO_INDEX

    def __init__(self, data_file_bytes: int = DATA_FILE_BYTES) -> None:
        self._file_bytes = data_file_bytes
        self._log = TermRuns(0, NO_INDEX, ())
        self._entries: list[tuple[int, bytes]] = []
        """Position and bytes of each, from ``first_index`` on."""
        self._start_pos = 0
        self._state = (0, "")

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
        if not self._entries:
            return self._start_pos
        pos, data = self._entries[-1]
        return pos + len(data)

    def runs(self) -> list[tuple[int, int]]:
        return self._log.runs(self.first_index, self.last_index)

    def term_at(self, index: int) -> int:
        return self._log.term_at(index)

    def append_bodies(self, first_index: int, term: int, bodies: Sequence[bytes]) -> list[int]:
        if first_index != self.last_index + 1:
            raise LedgerError(
                DLedgerCode.INCONSISTENT_INDEX, f"entry {first_index} does not follow entry {self.last_index}"
            )
        pos, rows = self.end_pos, list(bodies)
        found: list[tuple[int, bytes]] = []
        while len(found) < len(rows):
            file_end = pos - pos % self._file_bytes + self._file_bytes
            index = first_index + len(found)
            one = encode_bodies([rows[len(found)]], 0, index, term, pos, file_end)
            if one.payload:
                found.append((pos, one.payload))
                pos += len(one.payload)
            elif pos % self._file_bytes:
                pos = file_end
            else:
                raise LedgerError(
                    DLedgerCode.UNEXPECTED_ARGUMENT, f"a body of {len(rows[len(found)])} bytes fits no file"
                )
        self._entries += found
        self._log.append(first_index + len(rows) - 1, [(first_index, term)])
        return [at for at, _ in found]

    def append(self, entries: Entries) -> None:
        scan = EntryScan(entries.first_index, self._log.last_term, entries.first_pos, False)
        payload, at = entries.payload, 0
        if entries.first_index != self.last_index + 1:
            raise LedgerError(
                DLedgerCode.INCONSISTENT_INDEX,
                f"entry {entries.first_index} does not follow entry {self.last_index}",
            )
        empty = self.last_index == NO_INDEX
        earlier = 0 <= self.last_index < self.first_index and ended_earlier(
            self.end_pos, entries.first_pos, self._file_bytes
        )
        end_pos = entries.first_pos if earlier else self.end_pos
        if not fits(end_pos, entries.first_pos, len(payload), self._file_bytes, empty):
            raise LedgerError(
                DLedgerCode.INCONSISTENT_STATE,
                f"entries at position {entries.first_pos}, the log ends at {self.end_pos}",
            )
        found: list[tuple[int, bytes]] = []
        while scan.index <= entries.last_index:
            if scan.feed(payload, at, scan.index) != END or scan.at == at:
                raise LedgerError(DLedgerCode.INCONSISTENT_STATE, f"damaged entries: {scan.reason}")
            found.append((scan.last_pos, payload[at : scan.at]))
            at = scan.at
        if at != len(payload) or tuple(scan.runs) != entries.runs:
            raise LedgerError(DLedgerCode.INCONSISTENT_STATE, "entries whose payload is not what they say")
        if earlier:
            self.reset(self.last_index, self._log.base_term, entries.first_pos)
        self._entries += found
        self._log.append(entries.last_index, entries.runs)

    def in_memory(self, index: int) -> bool:
        return True

    def read(self, first_index: int, max_bytes: int, last_index: int | None = None) -> Entries:
        self._check(first_index)
        last = self.last_index if last_index is None else min(last_index, self.last_index)
        first_pos = pos = self._entries[first_index - self.first_index][0]
        parts: list[bytes] = []
        for at, data in self._entries[first_index - self.first_index : last + 1 - self.first_index]:
            if parts and (at != pos or pos + len(data) - first_pos > max_bytes):
                break
            parts.append(data)
            pos += len(data)
        last = first_index + len(parts) - 1
        return Entries(
            first_index, last, first_pos, tuple(self._log.runs(first_index, last)), b"".join(parts)
        )

    def body(self, index: int) -> bytes:
        self._check(index)
        return self._entries[index - self.first_index][1][ENTRY_HEAD_BYTES:]

    def _check(self, index: int) -> None:
        if index < self.first_index:
            raise LedgerError(
                DLedgerCode.INDEX_LESS_THAN_LOCAL_BEGIN,
                f"entry {index}: the log begins at {self.first_index}",
            )
        if index > self.last_index:
            raise LedgerError(
                DLedgerCode.INDEX_OUT_OF_RANGE, f"entry {index}: the log ends at {self.last_index}"
            )

    def truncate(self, last_index: int, base_term: int = NO_TERM) -> None:
        if last_index >= self.last_index:
            return
        if last_index < self.first_index - 1:
            raise LedgerError(
                DLedgerCode.INDEX_LESS_THAN_LOCAL_BEGIN,
                f"entry {last_index}: the log begins at {self.first_index}",
            )
        if last_index < self.first_index:
            self._start_pos = self._entries[0][0]
            self._log.tell_base_term(base_term)
        del self._entries[last_index + 1 - self.first_index :]
        self._log.truncate(last_index)

    def reset(self, last_index: int, last_term: int, next_pos: int) -> None:
        check_reset(last_index, next_pos, self._file_bytes)
        self._entries.clear()
        self._log.reset(last_index, last_term)
        self._start_pos = next_pos

    def flush(self) -> tuple[int, int]:
        return self.last_index, self.last_term

    def load_state(self) -> tuple[int, str]:
        return self._state

    def save_state(self, term: int, vote: str) -> None:
        self._state = (term, vote)

    def save_checkpoint(self, committed_index: int) -> None:
        """There is nothing to find it again."""

    def delete_before(self, index: int) -> int:
        index = min(index, self.last_index)
        if index > self.first_index:
            del self._entries[: index - self.first_index]
            self._log = TermRuns(
                index, self.last_index, self._log.runs(index, self.last_index), self.term_at(index - 1)
            )
        return self.first_index

    def close(self) -> None:
        """Nothing is open."""
