"""What the crash tests do to a ledger, and what must hold afterwards.

A script is a seeded series of appends, flushes, checkpoints, truncations, votes, deletions and resets on
a small ledger (data files of 2 KiB, index files of 16 units), so that every kind of roll happens every
few entries.
"""

from __future__ import annotations

import random

from ledgermq.dledger.entries import split_bodies
from ledgermq.dledger.file_ledger import FileLedger
from ledgermq.testing.simulation.disk import SimDisk

DIRECTORY = "/ledger/dledger-n0"
DATA_FILE_BYTES = 2048
INDEX_FILE_BYTES = 16 * 32

Item = tuple[int, bytes]


def open_ledger(disk: SimDisk) -> FileLedger:
    return FileLedger(disk, DIRECTORY, DATA_FILE_BYTES, INDEX_FILE_BYTES, recent_bytes=4096)


class Model:
    """What was written to the ledger, and how much of it an fsync covered."""

    def __init__(self) -> None:
        self.first_index = 0
        self.items: list[Item] = []
        self.durable = -1
        """Entries up to this one were flushed."""
        self.written = -1
        """Entries up to this one were written: they survive the death of the process."""
        self.term = 0
        self.states: list[tuple[int, str]] = [(0, "")]
        """The saved state, and the one that is being saved."""
        self.committed = -1
        self.reset_to: tuple[int, int, int] | None = None
        """(last index, last term, next pos) of a reset under way."""
        self.first_max = 0
        """The first index may be up to this one."""

    @property
    def last_index(self) -> int:
        return self.first_index + len(self.items) - 1


def act(ledger: FileLedger, model: Model, rng: random.Random) -> None:
    """One step of a script."""
    choice = rng.random()
    if model.term == 0:
        new_term(ledger, model, rng)
    elif choice < 0.5:
        bodies = [rng.randbytes(rng.choice((0, 1, 20, 150, 700))) for _ in range(rng.randint(1, 6))]
        first = model.last_index + 1
        model.items += [(model.term, body) for body in bodies]
        ledger.append_bodies(first, model.term, bodies)
        model.written = model.last_index
    elif choice < 0.7:
        covered = model.last_index
        assert ledger.flush() == (ledger.last_index, ledger.last_term)
        model.durable = covered
    elif choice < 0.78:
        index = rng.randint(model.committed, max(model.committed, model.durable))
        ledger.save_checkpoint(index)
        model.committed = index
    elif choice < 0.86:
        truncate(ledger, model, rng)
    elif choice < 0.93:
        new_term(ledger, model, rng)
    elif choice < 0.985:
        index = rng.randint(model.first_index, max(model.first_index, model.durable))
        model.first_max = max(model.first_max, index)
        settle_first(model, ledger.delete_before(index))
    else:
        reset(ledger, model, rng)


def truncate(ledger: FileLedger, model: Model, rng: random.Random) -> None:
    low = max(model.committed, model.first_index - 1)
    last_index = rng.randint(low, max(low, model.last_index))
    model.durable = min(model.durable, last_index)
    model.written = min(model.written, last_index)
    ledger.truncate(last_index)
    del model.items[last_index + 1 - model.first_index :]
    if rng.random() < 0.5:
        new_term(ledger, model, rng)


def new_term(ledger: FileLedger, model: Model, rng: random.Random) -> None:
    state = (model.term + rng.randint(1, 2), rng.choice(("", "n0", "n1")))
    model.states.append(state)
    ledger.save_state(*state)
    model.states = [state]
    model.term = state[0]


def reset(ledger: FileLedger, model: Model, rng: random.Random) -> None:
    last_index = model.last_index + rng.randint(1, 50)
    next_pos = ledger.end_pos + rng.randint(0, 100) * 48
    if rng.random() < 0.2:
        next_pos += -next_pos % DATA_FILE_BYTES
    elif (-next_pos % DATA_FILE_BYTES) < 64 or next_pos % DATA_FILE_BYTES < 48:
        next_pos += 112 + 48
    model.reset_to = (last_index, model.term, next_pos)
    ledger.reset(*model.reset_to)
    settle_reset(model)


def settle_reset(model: Model) -> None:
    assert model.reset_to is not None
    last_index = model.reset_to[0]
    model.first_index = model.first_max = last_index + 1
    model.items.clear()
    model.durable = model.written = model.committed = last_index
    model.reset_to = None


def settle_first(model: Model, first_index: int) -> None:
    assert model.first_index <= first_index <= max(model.first_index, model.first_max), (
        model.first_index,
        first_index,
        model.first_max,
    )
    del model.items[: first_index - model.first_index]
    model.first_index = first_index


def items_of(ledger: FileLedger) -> list[Item]:
    """Everything in the ledger, read in pieces of some kilobytes."""
    found: list[Item] = []
    index, pos = ledger.first_index, -1
    while index <= ledger.last_index:
        entries = ledger.read(index, 3000)
        assert entries.first_index == index
        assert entries.first_pos >= pos
        pos = entries.first_pos + len(entries.payload)
        for body in split_bodies(entries.payload):
            found.append((ledger.term_at(index), body))
            index += 1
        assert index == entries.last_index + 1
    return found


def check(ledger: FileLedger, model: Model, promised: int) -> None:
    """What was promised is there, what is there was written, and the model goes on from it."""
    state = ledger.load_state()
    assert state in model.states
    model.states = [state]
    model.term = state[0]
    if model.reset_to is not None and ledger.first_index == model.reset_to[0] + 1:
        last_index, last_term, next_pos = model.reset_to
        assert (ledger.last_index, ledger.last_term, ledger.end_pos) == (last_index, last_term, next_pos)
        settle_reset(model)
        promised = last_index
    model.reset_to = None
    settle_first(model, ledger.first_index)
    assert promised <= ledger.last_index <= model.last_index
    found = items_of(ledger)
    assert found == model.items[: len(found)]
    del model.items[len(found) :]
    assert ledger.committed_index <= ledger.last_index
    runs = ledger.runs()
    assert [term for term, _ in found] == [
        max(term for start, term in runs if start <= index)
        for index in range(ledger.first_index, ledger.last_index + 1)
    ]
    # What recovery finds is durable.
    model.durable = model.written = model.last_index
    model.committed = min(model.committed, model.last_index)
    for index in rng_sample(ledger):
        assert ledger.body(index) == model.items[index - model.first_index][1]


def rng_sample(ledger: FileLedger) -> list[int]:
    span = range(ledger.first_index, ledger.last_index + 1)
    return random.Random(len(span)).sample(span, min(5, len(span)))
