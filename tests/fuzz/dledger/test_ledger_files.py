"""Entries and directories of any bytes: they are read or refused with the error for it, and nothing else."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.dledger.ledgers import DIRECTORY, opened

from ledgermq.dledger.entries import (
    END,
    EntryError,
    EntryHead,
    EntryScan,
    IndexUnit,
    UnitScan,
    encode_bodies,
    split_bodies,
)
from ledgermq.dledger.ledger import LedgerError
from ledgermq.dledger.member_state import decode_checkpoint, decode_state
from ledgermq.testing.simulation.disk import SimDisk

GOOD = encode_bodies([b"", b"one", b"x" * 100], 0, 5, 2, 640, 1 << 40)
parts = st.one_of(st.binary(max_size=80), st.sampled_from([GOOD.payload, GOOD.units, GOOD.payload[:48]]))
damaged = st.tuples(st.integers(0, 246), st.integers(0, 255)).map(
    lambda flip: GOOD.payload[: flip[0]] + bytes([flip[1]]) + GOOD.payload[flip[0] + 1 :]
)
anything = st.one_of(st.lists(parts, max_size=4).map(b"".join), damaged)


@given(anything, st.integers(-1, 300))
def test_decoders_take_any_bytes(data: bytes, at: int):
    EntryHead(data, at)
    IndexUnit(data, at)
    UnitScan(5, 640, 4096).feed(data)
    decode_state(data)
    decode_checkpoint(data)
    with suppress(EntryError):
        split_bodies(data)
    scan = EntryScan(5, 0, 640, True)
    stop = scan.feed(data, 0, -1)
    assert 0 <= scan.at <= len(data)
    if stop == END:
        assert scan.at == len(data)
        split_bodies(data)
    assert len(scan.take_units()) == 32 * (scan.index - 5)


def written() -> SimDisk:
    disk = SimDisk(0)
    ledger = opened(disk)
    ledger.save_state(2, "n0")
    for index in range(30):
        ledger.append_bodies(index, 1 + index // 15, [b"body %d " % index * 40])
    ledger.flush()
    ledger.save_checkpoint(20)
    ledger.append_bodies(30, 2, [b"not noted"])
    ledger.close()
    return disk


FILES = sorted(name for name in written().names if not name.endswith("lock"))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(FILES),
            st.sampled_from(["flip", "zero", "cut", "remove", "junk"]),
            st.integers(0, 4095),
            st.binary(min_size=1, max_size=40),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_a_damaged_directory_is_refused_or_holds_only_what_was_written(
    damage: list[tuple[str, str, int, bytes]],
):
    disk = written()
    for path, how, at, junk in damage:
        if path not in disk.names:
            continue
        seen = disk.names[path].seen
        at = at % max(1, len(seen))
        if how == "flip" and seen:
            seen[at] ^= 1 << junk[0] % 8
        elif how == "zero":
            seen[at : at + 512] = bytes(len(seen[at : at + 512]))
        elif how == "cut":
            del seen[at:]
        elif how == "remove":
            disk.unlink(path)
        else:
            seen[at : at + len(junk)] = junk
    disk.kill()
    try:
        ledger = opened(disk)
    except LedgerError as error:
        assert DIRECTORY in str(error)
        return
    for index in range(ledger.first_index, ledger.last_index + 1):
        with suppress(LedgerError):
            body = ledger.body(index)
            assert body == (b"not noted" if index == 30 else b"body %d " % index * 40)
            assert ledger.term_at(index) == min(2, 1 + index // 15)
    with suppress(LedgerError):
        ledger.load_state()
