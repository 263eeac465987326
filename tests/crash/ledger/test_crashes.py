"""The power fails, or the process dies, at every operation of a script; the ledger must come back
whole.

Under a power cut what a flush covered had been promised, and term and vote once saved; when the process
dies, all that was written.
"""

from __future__ import annotations

import random

import pytest
from tests.crash.ledger.scripts import Model, act, check, items_of, open_ledger

from ledgermq.testing.simulation.disk import PowerCut, SimDisk

STEPS = 40


def run_script(disk: SimDisk, seed: int, model: Model, cut_at: int) -> bool:
    """Run a script until it ends or the power fails; True when it failed."""
    rng = random.Random(seed)
    disk.cut_at = cut_at
    try:
        ledger = open_ledger(disk)
        for _ in range(STEPS):
            act(ledger, model, rng)
        ledger.flush()
        model.durable = model.last_index
        ledger.close()
    except PowerCut:
        return True
    return False


def operations_of(seed: int) -> int:
    disk = SimDisk(seed)
    run_script(disk, seed, Model(), -1)
    return disk.operations


def come_back(disk: SimDisk, seed: int, model: Model, power: bool) -> None:
    """Open after the crash, perhaps crash again while recovering, then live on."""
    rng = random.Random(seed * 31)
    promised = model.durable if power else model.written
    if rng.random() < 0.5:
        disk.cut_at = rng.randint(1, 40)
        try:
            ledger = open_ledger(disk)
        except PowerCut:
            disk.power_cut() if power else disk.kill()
            ledger = open_ledger(disk)
        disk.cut_at = -1
    else:
        ledger = open_ledger(disk)
    check(ledger, model, promised)
    for _ in range(10):
        act(ledger, model, rng)
    ledger.flush()
    disk.power_cut()
    ledger = open_ledger(disk)
    check(ledger, model, model.last_index)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("power", [True, False], ids=["power", "kill"])
def test_a_crash_at_every_operation(seed: int, power: bool):
    for cut_at in range(1, operations_of(seed) + 1):
        disk = SimDisk(seed * 100_003 + cut_at)
        model = Model()
        if run_script(disk, seed, model, cut_at):
            disk.power_cut() if power else disk.kill()
        come_back(disk, cut_at, model, power)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [*range(60), 85, 224, 275, 424])
def test_many_crashes_of_one_ledger(seed: int):
    rng = random.Random(seed)
    disk = SimDisk(seed)
    model = Model()
    promised = -1
    for _ in range(8):
        disk.cut_at = rng.randint(1, 300)
        try:
            ledger = open_ledger(disk)
            check(ledger, model, promised)
            while True:
                act(ledger, model, rng)
        except PowerCut:
            if rng.random() < 0.5:
                disk.power_cut()
                promised = model.written = model.durable
            else:
                disk.kill()
                promised = model.written
    check(open_ledger(disk), model, promised)


def test_derived_files_may_always_be_removed():
    disk = SimDisk(3)
    model = Model()
    assert not run_script(disk, 3, model, -1)
    for path in [path for path in disk.names if "/index/" in path]:
        disk.unlink(path)
    ledger = open_ledger(disk)
    check(ledger, model, model.durable)


@pytest.mark.parametrize("share", [n / 20 for n in range(21)])
def test_entries_whose_write_failed_do_not_come_back_to_life(share: float):
    disk = SimDisk(1)
    ledger = open_ledger(disk)
    ledger.append_bodies(0, 1, [b"kept"])
    whole = disk.pwrite

    def half(fd: int, data: bytes, offset: int) -> None:
        whole(fd, data[: int(len(data) * share)], offset)
        raise OSError(5, "I/O error")

    disk.pwrite = half  # type: ignore[method-assign]  # it fails as the test says
    with pytest.raises(OSError, match="I/O error"):
        ledger.append_bodies(1, 1, [b"lost"] * 4)
    assert ledger.last_index == 0
    disk.pwrite = whole  # type: ignore[method-assign]  # it fails as the test says
    ledger.append_bodies(1, 1, [b"new!"])
    disk.kill()
    assert items_of(open_ledger(disk)) == [(1, b"kept"), (1, b"new!")]


def test_a_full_disk_takes_nothing_and_recovers_by_itself():
    disk = SimDisk(1)
    ledger = open_ledger(disk)
    ledger.append_bodies(0, 1, [b"a" * 700] * 2)
    disk.fail_writes = True
    for _ in range(3):
        with pytest.raises(OSError, match="no space"):
            ledger.append_bodies(2, 1, [b"b" * 700] * 5)
        assert (ledger.last_index, ledger.end_pos) == (1, 2 * 748)
    disk.fail_writes = False
    ledger.append_bodies(2, 1, [b"c"])
    disk.kill()
    assert [body for _, body in items_of(open_ledger(disk))] == [b"a" * 700] * 2 + [b"c"]


def test_a_failed_fsync_is_the_end():
    disk = SimDisk(1)
    ledger = open_ledger(disk)
    ledger.append_bodies(0, 1, [b"a"])
    disk.fail_syncs = True
    with pytest.raises(OSError, match="I/O error"):
        ledger.flush()
    disk.fail_syncs = False
    for call in (
        ledger.flush,
        lambda: ledger.append_bodies(1, 1, [b"b"]),
        lambda: ledger.save_checkpoint(0),
        lambda: ledger.truncate(-1),
        lambda: ledger.reset(5, 1, 480),
    ):
        with pytest.raises(OSError, match="failed before"):
            call()
