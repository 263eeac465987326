"""A ledger used by an owner, a flusher and readers at once, as a node uses it."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ledgermq.dledger.codes import DLedgerCode
from ledgermq.dledger.entries import split_bodies
from ledgermq.dledger.file_ledger import FileLedger
from ledgermq.dledger.ledger import LedgerError
from ledgermq.store.disk import Disk

GONE = {DLedgerCode.INDEX_OUT_OF_RANGE, DLedgerCode.INDEX_LESS_THAN_LOCAL_BEGIN}


@pytest.mark.slow
def test_owner_flusher_and_readers_at_once(tmp_path: Path):
    ledger = FileLedger(Disk(), f"{tmp_path}/dledger-n0", 64 * 1024, 4096, recent_bytes=20_000)
    ledger.save_state(1, "n0")
    stop = threading.Event()
    errors: list[BaseException] = []
    owner = threading.Lock()
    """Held by whoever appends or cuts: a node's loop waits for a truncation."""
    durable = [-1]

    def again(work: Callable[[], None]) -> threading.Thread:
        def loop() -> None:
            try:
                while not stop.is_set():
                    work()
            except BaseException as error:  # noqa: BLE001 - shown at the end
                errors.append(error)

        thread = threading.Thread(target=loop)
        thread.start()
        return thread

    def read() -> None:
        index = random.randint(ledger.first_index, max(ledger.first_index, ledger.last_index))
        try:
            found = ledger.read(index, 5000)
        except LedgerError as error:
            assert error.code in GONE, error
            return
        for number, body in enumerate(split_bodies(found.payload), found.first_index):
            assert body.startswith(b"%d " % number)

    def flush() -> None:
        durable[0] = ledger.flush()[0]
        if random.random() < 0.1:
            ledger.save_checkpoint(durable[0] - 50)
        if random.random() < 0.1:
            ledger.delete_before(durable[0] - 2000)

    def cut() -> None:
        with owner:
            ledger.truncate(max(ledger.first_index, ledger.last_index - 20))
        stop.wait(0.01)

    threads = [again(work) for work in (read, read, flush, cut)]
    for _ in range(400):
        with owner:
            first = ledger.last_index + 1
            ledger.append_bodies(first, 1, [b"%d " % (first + n) * 20 for n in range(50)])
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors
    last_index = ledger.last_index
    ledger.flush()
    ledger.close()
    ledger = FileLedger(Disk(), f"{tmp_path}/dledger-n0", 64 * 1024, 4096)
    assert ledger.last_index == last_index
    assert ledger.first_index > 0
    for index in range(ledger.first_index, last_index + 1):
        assert ledger.body(index).startswith(b"%d " % index)
    ledger.close()
