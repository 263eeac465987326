"""Appends of clients: each is answered once, in order, and what waits is bounded."""

from __future__ import annotations

from ledgermq.dledger.codes import DLedgerCode
from ledgermq.dledger.proposals import Proposals
from ledgermq.runtime.limits import WAITING_APPENDS_BYTES_MAX

SUCCESS = DLedgerCode.SUCCESS
Answers = list[tuple[str, int, int, int]]


def add(proposals: Proposals, answers: Answers, name: str, *bodies: bytes) -> bool:
    size = sum(map(len, bodies))
    return proposals.add(bodies, size, lambda code, index, pos: answers.append((name, code, index, pos)))


def test_appends_of_a_turn_are_written_together_and_answered_in_order() -> None:
    proposals, answers = Proposals(100), Answers()
    add(proposals, answers, "a", b"1")
    add(proposals, answers, "b", b"2", b"3")
    assert proposals.new_bodies() == [b"1", b"2", b"3"]
    proposals.written(10, [100, 150, 200])
    assert not proposals.has_new
    proposals.committed(11)
    assert answers == [("a", SUCCESS, 10, 100)]
    proposals.committed(12)
    assert answers[1:] == [("b", SUCCESS, 12, 200)]
    assert (proposals.count, proposals.bytes) == (0, 0)


def test_what_fails_is_answered_once() -> None:
    proposals, answers = Proposals(100), Answers()
    for name in "abc":
        add(proposals, answers, name, b"body")
    proposals.written(0, [0, 52, 104])
    proposals.failed(1, 1, DLedgerCode.WAIT_QUORUM_ACK_TIMEOUT)
    assert answers == [("b", DLedgerCode.WAIT_QUORUM_ACK_TIMEOUT, -1, -1)]
    proposals.committed(2)
    assert [name for name, *_ in answers] == ["b", "a", "c"]
    assert (proposals.count, proposals.bytes) == (0, 0)


def test_new_ones_can_be_refused_and_all_failed() -> None:
    proposals, answers = Proposals(100), Answers()
    add(proposals, answers, "written", b"body")
    proposals.written(0, [0])
    add(proposals, answers, "new", b"body")
    proposals.refuse_new(DLedgerCode.DISK_FULL)
    assert answers == [("new", DLedgerCode.DISK_FULL, -1, -1)]
    add(proposals, answers, "newer", b"body")
    proposals.fail_all(DLedgerCode.TERM_CHANGED)
    assert [(name, code) for name, code, *_ in answers[1:]] == [
        ("written", DLedgerCode.TERM_CHANGED),
        ("newer", DLedgerCode.TERM_CHANGED),
    ]
    assert (proposals.count, proposals.bytes) == (0, 0)


def test_room_ends_with_the_count_and_with_the_bytes() -> None:
    answers = Answers()
    assert add(Proposals(3), answers, "alone", *[b""] * 4)  # the core says what is too much
    proposals = Proposals(3)
    assert add(proposals, answers, "a", b"1", b"2")
    assert not add(proposals, answers, "b", b"3", b"4")
    assert add(proposals, answers, "c", b"3")
    proposals = Proposals(1000)
    assert add(proposals, answers, "big", bytes(WAITING_APPENDS_BYTES_MAX))
    assert not add(proposals, answers, "small", b"x")
    assert answers == []
