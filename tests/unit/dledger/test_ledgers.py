"""What every ledger does, in memory and in files."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from tests.unit.dledger.ledgers import FILE_BYTES, entries, opened

from ledgermq.dledger.codes import DLedgerCode
from ledgermq.dledger.entries import split_bodies
from ledgermq.dledger.ledger import Ledger, LedgerError
from ledgermq.dledger.memory_ledger import MemoryLedger

Make = Callable[[], Ledger]


@pytest.fixture(params=["memory", "file", "file-cold"])
def ledger(request: pytest.FixtureRequest) -> Ledger:
    """``file-cold`` keeps one batch in memory at most."""
    if request.param == "memory":
        return MemoryLedger(FILE_BYTES)
    return opened(recent_bytes=1 if request.param == "file-cold" else 1 << 20)


def code_of(ledger: Ledger, call: Callable[[], object]) -> int:
    before = (ledger.first_index, ledger.last_index, ledger.last_term, ledger.end_pos)
    with pytest.raises(LedgerError) as caught:
        call()
    assert before == (ledger.first_index, ledger.last_index, ledger.last_term, ledger.end_pos)
    return caught.value.code


def test_a_new_log_is_empty(ledger: Ledger):
    assert (ledger.first_index, ledger.last_index, ledger.last_term, ledger.base_term) == (0, -1, -1, -1)
    assert (ledger.end_pos, ledger.runs(), ledger.term_at(-1), ledger.committed_index) == (0, [], -1, -1)
    assert ledger.load_state() == (0, "")
    assert ledger.flush() == (-1, -1)


def test_appends_and_reads(ledger: Ledger):
    assert ledger.append_bodies(0, 1, [b"a", b"bb"]) == [0, 49]
    assert ledger.append_bodies(2, 3, [b""]) == [99]
    assert ledger.append_bodies(3, 3, []) == []
    assert (ledger.last_index, ledger.last_term, ledger.end_pos) == (2, 3, 147)
    assert ledger.runs() == [(0, 1), (2, 3)]
    assert [ledger.term_at(index) for index in (-1, 0, 1, 2, 3)] == [-1, 1, 1, 3, -1]
    found = ledger.read(0, 1000)
    assert (found.first_index, found.last_index, found.first_pos) == (0, 2, 0)
    assert found.runs == ((0, 1), (2, 3))
    assert split_bodies(found.payload) == [b"a", b"bb", b""]
    assert [ledger.body(index) for index in range(3)] == [b"a", b"bb", b""]


def test_reads_are_bounded_by_bytes_and_index(ledger: Ledger):
    for index in range(10):
        ledger.append_bodies(index, 1 + index // 4, [b"%d" % index])
    found = ledger.read(2, 49 * 4, 8)
    assert (found.first_index, found.last_index, found.runs) == (2, 5, ((2, 1), (4, 2)))
    assert ledger.read(2, 49 * 4, 3).last_index == 3
    assert ledger.read(2, 1).last_index == 2
    assert ledger.read(9, 1000).runs == ((9, 3),)


def test_reads_stay_within_one_data_file(ledger: Ledger):
    ledger.append_bodies(0, 1, [b"x" * 1000] * 7)
    read = [ledger.read(index, 1 << 20) for index in (0, 3, 6)]
    assert [(found.first_index, found.last_index) for found in read] == [(0, 2), (3, 5), (6, 6)]
    assert [found.first_pos for found in read] == [0, FILE_BYTES, 2 * FILE_BYTES]
    assert ledger.end_pos == 2 * FILE_BYTES + 1048


def test_a_follower_gets_the_leaders_bytes(ledger: Ledger):
    leader = MemoryLedger(FILE_BYTES)
    leader.append_bodies(0, 1, [b"x" * 700] * 9)
    leader.append_bodies(9, 2, [b"y"] * 30)
    while ledger.last_index < leader.last_index:
        ledger.append(leader.read(ledger.last_index + 1, 1500))
    assert ledger.runs() == leader.runs()
    assert ledger.end_pos == leader.end_pos
    assert [ledger.body(index) for index in range(39)] == [leader.body(index) for index in range(39)]


def test_out_of_range(ledger: Ledger):
    ledger.append_bodies(0, 1, [b"a"])
    assert code_of(ledger, lambda: ledger.read(1, 10)) == DLedgerCode.INDEX_OUT_OF_RANGE
    assert code_of(ledger, lambda: ledger.read(-1, 10)) == DLedgerCode.INDEX_LESS_THAN_LOCAL_BEGIN


def test_refuses_what_does_not_follow(ledger: Ledger):
    ledger.append_bodies(0, 2, [b"a"])
    inconsistent = {DLedgerCode.INCONSISTENT_INDEX, DLedgerCode.INCONSISTENT_STATE}
    for wrong in (
        entries(0, 2, 49, b"b"),
        entries(2, 2, 49, b"b"),
        entries(1, 1, 49, b"b"),
        entries(1, 2, 48, b"b"),
        entries(1, 2, 50, b"b"),
        entries(1, 2, 2 * FILE_BYTES, b"b"),
        entries(1, 2, 49, b"b" * FILE_BYTES),
    ):
        assert code_of(ledger, partial(ledger.append, wrong)) in inconsistent
    assert code_of(ledger, lambda: ledger.append_bodies(3, 2, [b"b"])) in inconsistent
    good = entries(1, 2, 49, b"b", b"c")
    for payload in (good.payload[:-1], good.payload[:60] + b"!" + good.payload[61:], good.payload[:49]):
        wrong = entries(1, 2, 49, b"b", b"c")
        wrong = type(wrong)(1, 2, 49, wrong.runs, payload)
        assert code_of(ledger, partial(ledger.append, wrong)) in inconsistent
    lied = type(good)(1, 2, 49, ((1, 2), (2, 3)), good.payload)
    assert code_of(ledger, lambda: ledger.append(lied)) in inconsistent
    ledger.append(good)


def test_a_body_that_fits_no_file_is_refused(ledger: Ledger):
    call = lambda: ledger.append_bodies(0, 1, [b"a", b"x" * (FILE_BYTES - 55)])  # noqa: E731 - used once
    assert code_of(ledger, call) == DLedgerCode.UNEXPECTED_ARGUMENT
    ledger.append_bodies(0, 1, [b"a", b"x" * (FILE_BYTES - 56)])
    assert ledger.last_index == 1


def test_the_next_entry_may_begin_the_next_file_though_it_would_fit(ledger: Ledger):
    ledger.append_bodies(0, 1, [b"a"])
    ledger.append(entries(1, 1, FILE_BYTES, b"b"))
    assert ledger.read(0, 1 << 20).last_index == 0
    assert ledger.read(1, 1 << 20).first_pos == FILE_BYTES


def test_a_log_may_begin_with_any_file(ledger: Ledger):
    """A broker's log goes on from an older commit log."""
    ledger.append(entries(0, 1, 5 * FILE_BYTES, b"a"))
    assert ledger.end_pos == 5 * FILE_BYTES + 49
    assert ledger.append_bodies(1, 1, [b"b"]) == [5 * FILE_BYTES + 49]
    assert ledger.body(1) == b"b"


def test_another_leaders_entry_may_fit_where_the_one_cut_did_not(ledger: Ledger):
    # Simulator, seed 8475: the log was trimmed to an entry that was too large for the rest of a file, and
    # then that entry was cut for another leader's, which was small.
    assert ledger.append_bodies(0, 1, [b"x" * 3900, b"y" * 900]) == [0, FILE_BYTES]
    ledger.flush()
    assert ledger.delete_before(1) == 1
    ledger.truncate(0)
    assert (ledger.first_index, ledger.last_index) == (1, 0)
    ledger.append(entries(1, 2, 3948, b"z"))
    assert (ledger.last_index, ledger.last_term, ledger.end_pos) == (1, 2, 3997)
    assert ledger.body(1) == b"z"
    assert ledger.read(1, 1000).first_pos == 3948
    ledger.append(entries(2, 2, FILE_BYTES, b"y" * 900))
    assert ledger.last_index == 2


def test_truncates(ledger: Ledger):
    ledger.append_bodies(0, 1, [b"x" * 1000] * 5)
    ledger.append_bodies(5, 2, [b"y"] * 5)
    ledger.truncate(6)
    assert (ledger.last_index, ledger.last_term) == (6, 2)
    ledger.truncate(3)
    assert (ledger.last_index, ledger.last_term, ledger.runs()) == (3, 1, [(0, 1)])
    ledger.append_bodies(4, 3, [b"z"])
    assert ledger.body(4) == b"z"
    assert ledger.runs() == [(0, 1), (4, 3)]
    ledger.truncate(-1)
    assert (ledger.first_index, ledger.last_index, ledger.last_term, ledger.end_pos) == (0, -1, -1, 0)
    assert ledger.append_bodies(0, 4, [b"n"]) == [0]


@pytest.mark.parametrize("next_pos", [3 * FILE_BYTES + 480, 3 * FILE_BYTES])
def test_resets_to_a_snapshots_end(ledger: Ledger, next_pos: int):
    ledger.append_bodies(0, 1, [b"a"] * 3)
    ledger.reset(99, 7, next_pos)
    assert (ledger.first_index, ledger.last_index, ledger.last_term, ledger.base_term) == (100, 99, 7, 7)
    assert (ledger.end_pos, ledger.runs(), ledger.term_at(99), ledger.term_at(2)) == (next_pos, [], 7, -1)
    assert ledger.append_bodies(100, 8, [b"n"]) == [next_pos]
    assert ledger.body(100) == b"n"
    ledger.truncate(99)
    assert (ledger.first_index, ledger.last_index, ledger.base_term, ledger.end_pos) == (100, 99, 7, next_pos)


@pytest.mark.parametrize("next_pos", [-1, 0, 1, 47, FILE_BYTES + 5])
def test_a_reset_to_where_nothing_can_stand_is_refused(ledger: Ledger, next_pos: int):
    assert code_of(ledger, lambda: ledger.reset(9, 1, next_pos)) == DLedgerCode.UNEXPECTED_ARGUMENT


def test_deletes_no_more_than_asked(ledger: Ledger):
    for index in range(40):
        ledger.append_bodies(index, 1 + index // 10, [b"x" * 500])
    ledger.flush()
    first = ledger.delete_before(25)
    assert 0 < first <= 25
    assert first == ledger.first_index
    assert code_of(ledger, lambda: ledger.body(first - 1)) == DLedgerCode.INDEX_LESS_THAN_LOCAL_BEGIN
    assert ledger.body(first) == b"x" * 500
    assert ledger.runs()[0] == (first, 3)
    assert ledger.term_at(first - 1) == 3
    assert code_of(ledger, lambda: ledger.truncate(first - 2)) == DLedgerCode.INDEX_LESS_THAN_LOCAL_BEGIN
    assert ledger.delete_before(0) == first
    assert ledger.delete_before(1000) <= 39


def test_keeps_term_and_vote(ledger: Ledger):
    ledger.save_state(5, "n2")
    assert ledger.load_state() == (5, "n2")


def test_a_flush_covers_what_was_written(ledger: Ledger):
    ledger.append_bodies(0, 3, [b"a"])
    assert ledger.flush() == (0, 3)
    assert not ledger.dirty
