"""Where entries may stand in data files of equal size.

Rules of this file: it is compiled; pure.
"""

from __future__ import annotations

from typing import Final

from ledgermq.dledger.codes import DLedgerCode
from ledgermq.dledger.entries import BLANK_BYTES, ENTRY_HEAD_BYTES
from ledgermq.dledger.ledger import LedgerError

DATA_FILE_BYTES: Final = 1024 * 1024 * 1024
"""Java's default; all members of a group must have the same."""
INDEX_FILE_BYTES: Final = 32 * 5 * 1024 * 1024
"""Java's default."""


def fits(end_pos: int, first_pos: int, size: int, file_bytes: int, empty: bool) -> bool:
    """Whether ``size`` bytes of entries may begin at ``first_pos`` of a log that ends at ``end_pos``.

    They follow directly, or begin the next file: the leader knows whether its next entry did not fit.
    ``empty``: the log never had an entry, and may begin with any file (a broker's log went on from an
    older one).
    """
    base = first_pos - first_pos % file_bytes
    if size + BLANK_BYTES > base + file_bytes - first_pos:
        return False
    if first_pos == end_pos or (empty and first_pos == base):
        return True
    return (
        first_pos == base
        and end_pos % file_bytes != 0
        and base == end_pos - end_pos % file_bytes + file_bytes
    )


def ended_earlier(end_pos: int, first_pos: int, file_bytes: int) -> bool:
    """Whether a log without entries, thought to go on with a new file at ``end_pos``, can go on at
    ``first_pos`` in the file before.

    Where its last entry ended is forgotten with that entry: what is known is only where the next one stood,
    and that one may have been too large for the rest of the file, while another leader's is not.
    """
    return end_pos % file_bytes == 0 and end_pos - file_bytes < first_pos < end_pos


def check_reset(last_index: int, next_pos: int, file_bytes: int) -> None:
    """Raise LedgerError unless an entry after ``last_index`` can stand at ``next_pos``.

    What is before it in its file, or the file before, must have room for a filler.
    """
    if next_pos < 0 or (last_index >= 0 and next_pos == 0) or 0 < next_pos % file_bytes < ENTRY_HEAD_BYTES:
        raise LedgerError(
            DLedgerCode.UNEXPECTED_ARGUMENT, f"entry {last_index + 1} cannot begin at position {next_pos}"
        )
