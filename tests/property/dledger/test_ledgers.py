"""Files hold what memory holds, whatever is done to both, and after every restart."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.dledger.ledgers import FILE_BYTES, opened

from ledgermq.dledger.entries import EntryScan, encode_bodies, split_bodies
from ledgermq.dledger.ledger import Ledger
from ledgermq.dledger.memory_ledger import MemoryLedger
from ledgermq.testing.simulation.disk import SimDisk

bodies = st.lists(st.integers(0, 900).map(lambda size: b"%d" % size * (size // 3)), min_size=1, max_size=8)
steps = st.one_of(
    st.tuples(st.just("append"), bodies),
    st.tuples(st.just("follow"), bodies),
    st.tuples(st.just("truncate"), st.integers(0, 20)),
    st.tuples(st.just("delete"), st.integers(0, 60)),
    st.tuples(st.just("reset"), st.integers(0, 200)),
    st.tuples(st.sampled_from(["flush", "checkpoint", "restart", "term"]), st.none()),
)


def state(ledger: Ledger) -> tuple[object, ...]:
    return ledger.first_index, ledger.last_index, ledger.last_term, ledger.end_pos, ledger.runs()


def content(ledger: Ledger) -> list[bytes]:
    return [ledger.body(index) for index in range(ledger.first_index, ledger.last_index + 1)]


@settings(max_examples=150, deadline=None)
@given(st.lists(steps, max_size=30), st.sampled_from([1, 3000, 1 << 20]))
def test_files_hold_what_memory_holds(script: list[tuple[str, object]], recent_bytes: int):
    disk = SimDisk(0)
    files, memory = opened(disk, recent_bytes), MemoryLedger(FILE_BYTES)
    files.save_state(1, "n0")
    term = 1
    for name, value in script:
        last = memory.last_index
        if name == "append":
            assert isinstance(value, list)
            assert files.append_bodies(last + 1, term, value) == memory.append_bodies(last + 1, term, value)
        elif name == "follow":
            assert isinstance(value, list)
            memory.append_bodies(last + 1, term, value)
            while files.last_index < memory.last_index:
                files.append(memory.read(files.last_index + 1, 2000))
        elif name == "truncate":
            assert isinstance(value, int)
            # After a restart the files do not know the term of what was deleted: chores.py keeps one entry.
            known = files.base_term == memory.base_term
            to = max(memory.first_index - 1 if known else memory.first_index, last - value)
            files.truncate(to)
            memory.truncate(to)
        elif name == "delete":
            assert isinstance(value, int)
            first = files.delete_before(memory.first_index + value)
            memory.delete_before(first)
        elif name == "reset":
            assert isinstance(value, int)
            pos = memory.end_pos + -memory.end_pos % FILE_BYTES + (value % 3) * 480 or FILE_BYTES
            files.reset(last + 1 + value, term, pos)
            memory.reset(last + 1 + value, term, pos)
        elif name == "flush":
            assert files.flush() == memory.flush()
            assert not files.dirty
        elif name == "checkpoint":
            files.save_checkpoint(last)
        elif name == "term":
            term += 1
            files.save_state(term, "n1")
        else:
            files.close()
            files = opened(disk, recent_bytes)
            assert files.load_state()[0] == term
        assert state(files) == state(memory)
    assert content(files) == content(memory)
    files.close()
    files = opened(disk)
    assert state(files) == state(memory)
    assert content(files) == content(memory)


@given(bodies, st.integers(0, 2**40), st.integers(0, 2**40), st.integers(0, 2**40))
def test_what_is_encoded_is_walked_again(rows: list[bytes], index: int, term: int, pos: int):
    encoded = encode_bodies(rows, 0, index, term, pos, 1 << 60)
    scan = EntryScan(index, term, pos, True)
    assert scan.feed(encoded.payload, 0, -1) == 0
    assert scan.index == index + len(rows)
    assert scan.runs == [(index, term)]
    assert scan.take_units() == encoded.units
    assert split_bodies(encoded.payload) == rows
