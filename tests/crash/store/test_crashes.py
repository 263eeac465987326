"""The power fails, or the process dies, at every single operation of a script; the store must come back
whole.

Under a power cut only what was flushed had been promised; when the process dies, all that was committed.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress

import pytest
from tests.crash.store.scripts import Ledger, act, check, messages_of, open_store, send
from tests.crash.store.sim_disk import PowerCut, SimDisk

from ledgermq.store.errors import StoreError, StoreFatalError, StoreWriteError

STEPS = 40


def run_script(disk: SimDisk, seed: int, sync: bool, ledger: Ledger, cut_at: int) -> bool:
    """Run a script until it ends or the power fails; True when it failed."""
    rng = random.Random(seed)
    disk.cut_at = cut_at
    try:
        store = open_store(disk, sync)
        for _ in range(STEPS):
            act(store, ledger, rng)
        store.close()
    except PowerCut:
        return True
    ledger.promised = ledger.written
    return False


def operations_of(seed: int, sync: bool) -> int:
    disk = SimDisk(seed)
    run_script(disk, seed, sync, Ledger(), -1)
    return disk.operations


def come_back(
    disk: SimDisk, seed: int, sync: bool, ledger: Ledger, promised: int, crash: Callable[[], None]
) -> None:
    """Open after the crash, perhaps crash again while recovering, then live on and stop cleanly."""
    rng = random.Random(seed * 31)
    if rng.random() < 0.5:
        disk.cut_at = rng.randint(1, 40)
        try:
            store = open_store(disk, sync)
        except PowerCut:
            crash()
            store = open_store(disk, sync)
        disk.cut_at = -1
    else:
        store = open_store(disk, sync)
    check(store, ledger, promised)
    for _ in range(10):
        act(store, ledger, rng)
    store.close()
    store = open_store(disk, sync)
    store.log.confirm(store.log.flush())
    check(store, ledger, len(ledger.sent))
    store.close()


@pytest.mark.slow
@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
@pytest.mark.parametrize("seed", range(4))
def test_power_fails_at_every_operation(seed: int, sync: bool):
    for cut_at in range(1, operations_of(seed, sync) + 1):
        disk = SimDisk(seed * 100_003 + cut_at)
        ledger = Ledger()
        if run_script(disk, seed, sync, ledger, cut_at):
            disk.power_cut()
        come_back(disk, cut_at, sync, ledger, ledger.promised, disk.power_cut)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_process_dies_at_every_operation(seed: int):
    for cut_at in range(1, operations_of(seed, sync=False) + 1):
        disk = SimDisk(seed * 100_003 + cut_at)
        ledger = Ledger()
        if run_script(disk, seed, False, ledger, cut_at):
            disk.kill()
        come_back(disk, cut_at, False, ledger, ledger.written, disk.kill)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60))
def test_many_crashes_of_one_store(seed: int):
    rng = random.Random(seed)
    sync = seed % 2 == 0
    retention = seed % 3 == 0
    disk = SimDisk(seed)
    ledger = Ledger()
    cached = 0
    """What is safe as long as the power does not fail."""
    for _ in range(8):
        disk.cut_at = rng.randint(1, 300)
        try:
            store = open_store(disk, sync)
            check(store, ledger, cached)
            cached = ledger.promised = len(ledger.sent)
            while True:
                act(store, ledger, rng, retention)
        except PowerCut:
            if rng.random() < 0.5:
                disk.power_cut()
                cached = ledger.written = ledger.promised
            else:
                disk.kill()
                cached = max(cached, ledger.written)
    check(open_store(disk, sync), ledger, cached)


def test_disk_full_takes_the_turn_back_and_recovers_by_itself():
    disk = SimDisk(1)
    ledger = Ledger()
    rng = random.Random(1)
    store = open_store(disk, sync=False)
    for _ in range(5):
        send(store, ledger, rng)
    store.log.commit_pending()
    ledger.written = len(ledger.sent)
    disk.fail_writes = True
    for _ in range(20):
        before = len(ledger.sent)
        with suppress(StoreWriteError):  # Where the file is full, the send itself fails.
            send(store, ledger, rng)
        if store.log.end > store.log.written:
            with pytest.raises(StoreWriteError):
                store.log.commit_pending()
        assert store.refusal is not None
        del ledger.sent[before:]
        check(store, ledger, ledger.written)
    disk.fail_writes = False
    for _ in range(20):
        send(store, ledger, rng)
        store.log.commit_pending()
        assert store.refusal is None
    ledger.written = len(ledger.sent)
    check(store, ledger, ledger.written)
    disk.kill()
    check(open_store(disk, sync=False), ledger, ledger.written)


def test_a_refused_message_does_not_come_back_to_life():
    """A write that failed half-way leaves whole records behind the log's end; a crash must not revive
    them.
    """
    for seed in range(50):
        disk = SimDisk(seed)
        ledger = Ledger()
        rng = random.Random(seed)
        store = open_store(disk, sync=False)
        send(store, ledger, rng)
        store.log.commit_pending()
        failing = disk.pwrite

        def half(fd: int, data: bytes, offset: int, pwrite=disk.pwrite, share=seed / 50) -> None:
            pwrite(fd, data[: int(len(data) * share)], offset)
            raise OSError(5, "I/O error")

        disk.pwrite = half  # type: ignore[method-assign]  # it fails as the test says
        for _ in range(4):
            send(store, ledger, rng)
        with pytest.raises(StoreWriteError):
            store.log.commit_pending()
        disk.pwrite = failing  # type: ignore[method-assign]  # it fails as the test says
        del ledger.sent[1:]
        send(store, ledger, rng)
        store.log.commit_pending()
        ledger.written = len(ledger.sent)
        disk.kill()
        store = open_store(disk, sync=False)
        assert len(messages_of(store)) == 2
        check(store, ledger, 2)


def test_failed_fsync_is_fatal_and_not_retried():
    disk = SimDisk(1)
    store = open_store(disk, sync=True)
    ledger = Ledger()
    send(store, ledger, random.Random(1))
    store.log.commit_pending()
    disk.fail_syncs = True
    with pytest.raises(StoreFatalError):
        store.log.flush()
    disk.fail_syncs = False
    with pytest.raises(StoreFatalError):
        store.log.flush()
    send(store, ledger, random.Random(1))
    with pytest.raises(StoreError):
        store.log.commit_pending()
    store.close()
    assert disk.exists("/store/abort"), "such a stop is no clean one"
