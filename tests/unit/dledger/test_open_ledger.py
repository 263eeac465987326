"""The ledger that settings ask for."""

from __future__ import annotations

from ledgermq.dledger.file_ledger import FileLedger
from ledgermq.dledger.memory_ledger import MemoryLedger
from ledgermq.dledger.open_ledger import open_ledger
from ledgermq.dledger.settings import DLedgerSettings
from ledgermq.testing.simulation.disk import SimDisk


def test_files_unless_memory_is_asked_for():
    settings = DLedgerSettings(store_base_dir="/base", self_id="n7", mapped_file_size_for_entry_data=4096)
    disk = SimDisk(0)
    ledger = open_ledger(settings, disk)
    assert isinstance(ledger, FileLedger)
    ledger.append_bodies(0, 1, [b"a"])
    assert "/base/dledger-n7/data/00000000000000000000" in disk.names
    settings.store_type = "MEMORY"
    assert isinstance(open_ledger(settings, disk), MemoryLedger)
