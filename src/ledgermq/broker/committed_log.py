"""What a store has to know of a ledger before it is opened over it."""

from __future__ import annotations

from ledgermq.dledger.ledger import Ledger
from ledgermq.store.entry_recovery import CommittedLog


def committed_log(ledger: Ledger, file_bytes: int) -> CommittedLog:
    """``file_bytes``: the size of the ledger's data files. Raises LedgerError, OSError."""
    index = min(ledger.committed_index, ledger.last_index)
    empty = ledger.last_index < ledger.first_index
    first_pos = ledger.end_pos if empty else ledger.read(ledger.first_index, 1, ledger.first_index).first_pos
    first_pos -= first_pos % file_bytes
    if index < ledger.first_index:
        return CommittedLog(first_pos, ledger.first_index - 1, first_pos, ledger.end_pos)
    last = ledger.read(index, 1, index)
    return CommittedLog(first_pos, index, last.end_pos, ledger.end_pos)
