"""Requests of Java members and the core's replies find each other."""

from __future__ import annotations

from functools import partial
from typing import TypeVar

from ledgermq.dledger.codes import DLedgerCode, PushKind, VoteResult
from ledgermq.dledger.java_requests import JavaRequests
from ledgermq.dledger.messages import (
    Entries,
    Heartbeat,
    HeartbeatReply,
    Message,
    Push,
    PushReply,
    TakeLeadership,
    TakeLeadershipReply,
    VoteReply,
    VoteRequest,
)
from ledgermq.runtime.limits import MEMBER_REQUESTS_MAX

T = TypeVar("T")

SUCCESS = DLedgerCode.SUCCESS


def keep(answers: list[tuple[str, Message]], name: str, reply: Message) -> None:
    answers.append((name, reply))


def name_it(answers: list[T], name: T, reply: Message) -> None:
    answers.append(name)


def push(kind: PushKind, first: int, last: int | None = None) -> Push:
    if kind is PushKind.COMMIT:
        return Push(kind, 3, -1, -1, 5)
    entries = Entries(first, first if last is None else last, 0, ((first, 3),), b"")
    return Push(kind, 3, first - 1 if kind is PushKind.APPEND else first, 3, 5, entries)


def reply(kind: PushKind, index: int, code: int = SUCCESS) -> PushReply:
    return PushReply(kind, 3, code, index, 0, index)


def test_heartbeats_are_told_apart_by_a_round_given_here() -> None:
    requests, answers = JavaRequests(), list[tuple[str, Message]]()
    rounds = []
    for name in "ab":
        message = requests.add("n1", Heartbeat(3, 0, -1, 0), partial(keep, answers, name))
        assert isinstance(message, Heartbeat)
        rounds.append(message.round)
    second = HeartbeatReply(3, rounds[1], SUCCESS)
    assert requests.answer("n1", second)
    assert answers == [("b", second)]
    assert not requests.answer("n1", second)
    assert not requests.answer("n2", HeartbeatReply(3, rounds[0], SUCCESS))
    assert requests.answer("n1", HeartbeatReply(3, rounds[0], SUCCESS))


def test_one_reply_answers_all_pushes_it_covers() -> None:
    requests, answers = JavaRequests(), list[str]()
    for name, (first, last) in {"a": (0, 4), "b": (5, 9), "c": (10, 14)}.items():
        requests.add("n1", push(PushKind.APPEND, first, last), partial(name_it, answers, name))
    assert requests.answer("n1", reply(PushKind.APPEND, 9))
    assert answers == ["a", "b"]
    assert not requests.answer("n1", reply(PushKind.APPEND, 0, DLedgerCode.INCONSISTENT_STATE))
    assert requests.answer("n1", reply(PushKind.APPEND, 9, DLedgerCode.INCONSISTENT_STATE))
    assert answers == ["a", "b", "c"]


def test_kinds_of_pushes_are_not_mixed_up() -> None:
    requests, answers = JavaRequests(), list[str]()
    for kind in PushKind:
        requests.add("n1", push(kind, 7), partial(name_it, answers, kind.name))
    for kind in reversed(PushKind):
        assert requests.answer("n1", reply(kind, 7))
    assert answers == [kind.name for kind in reversed(PushKind)]


def test_votes_and_hand_overs_are_answered() -> None:
    requests, answers = JavaRequests(), list[Message]()
    requests.add("n1", VoteRequest(4, 7, 3), answers.append)
    requests.add("n1", TakeLeadership(4, 7), answers.append)
    assert requests.answer("n1", TakeLeadershipReply(4, SUCCESS))
    assert requests.answer("n1", VoteReply(4, VoteResult.ACCEPT))
    assert len(answers) == 2


def test_what_was_not_asked_is_not_answered() -> None:
    requests = JavaRequests()
    assert not requests.answer("n1", VoteReply(4, VoteResult.ACCEPT))
    assert not requests.answer("n1", VoteRequest(4, 7, 3))
    requests.add("n1", VoteRequest(4, 7, 3), lambda _: None)
    requests.forget("n1")
    assert not requests.answer("n1", VoteReply(4, VoteResult.ACCEPT))


def test_open_requests_are_bounded() -> None:
    requests, answers = JavaRequests(), list[int]()
    for number in range(MEMBER_REQUESTS_MAX + 1):
        requests.add("n1", push(PushKind.APPEND, number), partial(name_it, answers, number))
    assert requests.answer("n1", reply(PushKind.APPEND, MEMBER_REQUESTS_MAX))
    assert answers == list(range(1, MEMBER_REQUESTS_MAX + 1))
