"""Elections with Java members, which know no pre-vote and stand again only every few seconds."""

from __future__ import annotations

import pytest
from tests.unit.dledger.test_core_transitions import new_core

from ledgermq.dledger.codes import DLedgerCode, PushKind, Role, VoteResult
from ledgermq.dledger.core import JAVA_CANDIDATE_MS, JAVA_FIRST_WAIT_MS, Core, CoreConfig
from ledgermq.dledger.messages import (
    Heartbeat,
    HeartbeatReply,
    Message,
    PushReply,
    Send,
    TakeLeadership,
    VoteReply,
    VoteRequest,
)

PATIENCE_MS = CoreConfig().election_timeout_max_ms


def said(core: Core) -> list[tuple[str, Message]]:
    return [(effect.to, effect.message) for effect in core.take() if isinstance(effect, Send)]


def beside_java(last_index: int = 5) -> Core:
    """Member n0, a candidate in term 4, beside the Java member n2; n1 is away."""
    core = new_core(term=3, last_index=last_index, log_term=3)
    core.peer_is_java("n2", True)
    core.tick(JAVA_FIRST_WAIT_MS + PATIENCE_MS)
    assert core.term == 4
    core.take()
    return core


def test_who_starts_waits_until_a_leader_can_have_been_heard() -> None:
    core = new_core(term=3)
    core.peer_is_java("n2", True)
    core.tick(JAVA_FIRST_WAIT_MS - 1)
    assert core.term == 3
    core.tick(JAVA_FIRST_WAIT_MS)
    assert core.term == 4


def test_who_has_heard_a_leader_does_not_wait_so_long_again() -> None:
    core = new_core(term=3)
    core.receive(10, "n1", Heartbeat(3, 1, -1, 100))
    core.peer_is_java("n2", True)
    core.tick(10 + PATIENCE_MS)
    assert (core.role, core.term) == (Role.CANDIDATE, 4)


@pytest.mark.parametrize(
    "result", [VoteResult.REJECT_EXPIRED_LEDGER_TERM, VoteResult.REJECT_SMALL_LEDGER_END_INDEX]
)
def test_who_cannot_win_raises_the_term_slowly(result: VoteResult) -> None:
    core = beside_java()
    core.receive(2000, "n2", VoteReply(3, result))
    core.tick(2000 + JAVA_CANDIDATE_MS - 1)
    assert core.term == 4
    core.tick(2000 + JAVA_CANDIDATE_MS)
    assert core.term == 5


def test_a_ledgermq_voter_that_has_more_changes_nothing() -> None:
    core = beside_java()
    core.receive(2000, "n1", VoteReply(3, VoteResult.REJECT_SMALL_LEDGER_END_INDEX))
    core.tick(2000 + PATIENCE_MS)
    assert core.term == 5


def test_a_java_candidate_gets_its_turn() -> None:
    """It is told of the term, then finds the vote given in it, and wins in the one after."""
    core = beside_java()
    now_ms, term = 2000, 3
    results: list[VoteResult] = []
    while core.role is Role.CANDIDATE and len(results) < 5:
        core.receive(now_ms, "n2", VoteRequest(term, 7, 3))
        [(_, reply)] = said(core)
        assert isinstance(reply, VoteReply)
        results.append(reply.result)
        if reply.result is VoteResult.ACCEPT:
            break
        # Java's DLedgerLeaderElector: the term it was told; its own vote again, or one more.
        term = reply.term if reply.term > term else term + 1
        for _ in range(40):  # a Java round takes four seconds when a member is away
            now_ms += 100
            core.tick(now_ms)
        assert said(core) == []
    assert results == [
        VoteResult.REJECT_EXPIRED_VOTE_TERM,
        VoteResult.REJECT_ALREADY_VOTED,
        VoteResult.ACCEPT,
    ]
    assert core.vote == "n2"


def test_a_java_heir_has_time_to_ask_for_votes() -> None:
    """Its term is heard of at once, and its request for votes comes up to a second later."""
    core = beside_java()
    core.receive(2000, "n2", VoteReply(4, VoteResult.ACCEPT))
    assert core.role is Role.LEADER
    term, last_index = core.term, core.last_index
    agreed = PushReply(PushKind.COMPARE, term, DLedgerCode.SUCCESS, 5, 0, 5)
    core.take()
    core.receive(2001, "n2", agreed)
    core.receive(2002, "n2", PushReply(PushKind.APPEND, term, DLedgerCode.SUCCESS, last_index, 0, last_index))
    core.transfer(2003, "n2")
    assert ("n2", TakeLeadership(term, last_index)) in said(core)
    core.receive(2010, "n2", HeartbeatReply(term + 1, 0, DLedgerCode.EXPIRED_TERM))
    assert (core.role, core.term) == (Role.CANDIDATE, term + 1)
    core.tick(2010 + JAVA_CANDIDATE_MS - 1)
    assert core.term == term + 1
    core.receive(3000, "n2", VoteRequest(term + 1, last_index, term))
    assert core.vote == "n2"
