"""The ledger that a member's settings ask for."""

from __future__ import annotations

from ledgermq.dledger.file_ledger import FileLedger
from ledgermq.dledger.ledger import Ledger
from ledgermq.dledger.memory_ledger import MemoryLedger
from ledgermq.dledger.settings import DLedgerSettings
from ledgermq.store.disk import Disk


def open_ledger(settings: DLedgerSettings, disk: Disk) -> Ledger:
    """Open it and recover what a crash left, which may take a while. Raises OSError, LedgerError."""
    if settings.store_type == "MEMORY":
        return MemoryLedger(settings.mapped_file_size_for_entry_data)
    return FileLedger(
        disk,
        settings.directory,
        settings.mapped_file_size_for_entry_data,
        settings.mapped_file_size_for_entry_index,
    )
