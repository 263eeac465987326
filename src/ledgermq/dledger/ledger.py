"""What a member's log must be able to do.

Entries have indexes from 0 without a gap, terms that never fall, and positions in the data file: those
that the leader gave them, so that the files of all members are the same bytes.

==========================================  ===================================================
function                                    may run on
==========================================  ===================================================
flush, save_checkpoint, delete_before,      a worker; with each other never at the same time
save_state
truncate, reset                             a worker, while the owner appends nothing
read, body, in_memory                       any thread, at any time
everything else                             the owner's thread
==========================================  ===================================================

Rules of this file: what raises LedgerError has changed nothing. OSError: an append has changed nothing
either (ENOSPC: ask again later); after any other call that raises it, and after an append that raises it
with another errno, the ledger is not to be used any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ledgermq.dledger.errors import CODE_NAMES
from ledgermq.dledger.messages import NO_TERM, Entries


class LedgerError(Exception):
    """The ledger cannot do what was asked; ``code`` is one of DLedgerCode."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{CODE_NAMES.get(code, code)}: {text}")
        self.code = code


class Ledger(Protocol):
    """The log of one member of one group, its term and its vote."""

    @property
    def first_index(self) -> int:
        """The lowest index here; of an empty log the one that comes next."""

    @property
    def last_index(self) -> int:
        """``first_index - 1`` when the log is empty."""

    @property
    def last_term(self) -> int:
        """Of the last entry; of an empty log ``base_term``."""

    @property
    def base_term(self) -> int:
        """The term of entry ``first_index - 1`` where it is known, else -1."""

    @property
    def end_pos(self) -> int:
        """The end of the last entry: where the next one begins, if it fits that file."""

    @property
    def committed_index(self) -> int:
        """As it stood in the checkpoint at the start, at most ``last_index``; -1: none."""

    @property
    def dirty(self) -> bool:
        """Something was written that no flush covers."""

    def runs(self) -> list[tuple[int, int]]:
        """(first index, term) of each run of equal terms."""

    def term_at(self, index: int) -> int:
        """-1 where there is no entry."""

    def append_bodies(self, first_index: int, term: int, bodies: Sequence[bytes]) -> list[int]:
        """Write a leader's entries behind the end: the position of each. Raises LedgerError, OSError."""

    def append(self, entries: Entries) -> None:
        """Write entries of a leader as they are, if they follow the last one. Raises LedgerError,
        OSError."""

    def read(self, first_index: int, max_bytes: int, last_index: int | None = None) -> Entries:
        """Entries of one data file, at most ``max_bytes`` but for a single larger one, checked.

        Raises LedgerError (INDEX_OUT_OF_RANGE, INDEX_LESS_THAN_LOCAL_BEGIN, DISK_ERROR), OSError.
        """

    def in_memory(self, index: int) -> bool:
        """Whether reading this entry waits for no disk."""

    def body(self, index: int) -> bytes:
        """Of one entry; raises as ``read`` does."""

    def truncate(self, last_index: int, base_term: int = NO_TERM) -> None:
        """Durably remove all entries after ``last_index``. ``base_term`` is the term of that one, if no entry
        is left and the caller knows it. Raises LedgerError, OSError."""

    def reset(self, last_index: int, last_term: int, next_pos: int) -> None:
        """Durably drop everything; the next entry follows ``last_index``, at ``next_pos``. Raises
        OSError."""

    def flush(self) -> tuple[int, int]:
        """Make durable what was written before: index and term of the last entry of it. Raises OSError."""

    def load_state(self) -> tuple[int, str]:
        """Term and vote as they were saved last. Raises LedgerError, OSError."""

    def save_state(self, term: int, vote: str) -> None:
        """Make them durable. Raises OSError."""

    def save_checkpoint(self, committed_index: int) -> None:
        """Note durably what is committed and up to where all is durable. Raises OSError."""

    def delete_before(self, index: int) -> int:
        """Remove whole data files that hold only entries before ``index``: the new first index.

        Raises OSError.
        """

    def close(self) -> None:
        """Give up files and lock. What was not flushed may be lost."""
