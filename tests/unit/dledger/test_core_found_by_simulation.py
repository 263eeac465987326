"""What the simulator found in the core, each as the few events that matter."""

from __future__ import annotations

import random

from ledgermq.dledger.codes import DLedgerCode, PushKind, Role, VoteResult
from ledgermq.dledger.core import Core, CoreConfig, Refused
from ledgermq.dledger.messages import (
    NO_TERM,
    Effect,
    Entries,
    HeartbeatReply,
    InstallSnapshot,
    InstallSnapshotReply,
    Message,
    Push,
    PushReply,
    Send,
    SendEntries,
    SendSnapshot,
    Truncate,
    VoteReply,
    VoteRequest,
)
from ledgermq.dledger.term_runs import TermRuns

PLAIN = CoreConfig(pre_vote=False)


def new_core(
    first_index: int = 0,
    last_index: int = -1,
    term: int = 1,
    base_term: int = NO_TERM,
    config: CoreConfig = PLAIN,
) -> Core:
    runs = [(first_index, term)] if last_index >= first_index else []
    return Core(
        "n0",
        ("n0", "n1", "n2"),
        config,
        random.Random(1),
        now_ms=0,
        term=term,
        vote="",
        first_index=first_index,
        last_index=last_index,
        runs=runs,
        commit_index=first_index - 1,
        base_term=base_term,
    )


def take_all(core: Core) -> list[Effect]:
    effects: list[Effect] = []
    while taken := core.take():
        effects += taken
    return effects


def sent(effects: list[Effect]) -> list[Message]:
    return [effect.message for effect in effects if isinstance(effect, Send)]


def append(term: int, first_index: int, count: int) -> Push:
    entries = Entries(first_index, first_index + count - 1, 0, ((first_index, term),), b"")
    return Push(PushKind.APPEND, term, first_index - 1, NO_TERM, -1, entries)


def lead(core: Core) -> None:
    core.tick(1000)
    core.receive(1000, "n1", VoteReply(core.term, VoteResult.ACCEPT))
    assert core.role is Role.LEADER
    take_all(core)


def test_a_late_truncate_takes_nothing_back_that_was_acknowledged():
    # Seed 62: the TRUNCATE was sent twice, and the second came behind the entries that followed the first.
    core = new_core()
    truncate = Push(PushKind.TRUNCATE, 1, -1, NO_TERM, -1)
    core.receive(1, "n1", truncate)
    core.receive(2, "n1", append(1, 0, 3))
    take_all(core)
    core.receive(3, "n1", truncate)
    effects = take_all(core)
    assert not [effect for effect in effects if isinstance(effect, Truncate)]
    assert core.last_index == 2


def test_a_restart_forgets_nothing_of_what_was_acknowledged_in_the_term():
    # Seed 448: the follower restarted in the leader's term, not knowing how far that had committed, and a
    # TRUNCATE that was asked for by an older answer cut all that it had acknowledged.
    core = new_core(last_index=3)
    core.receive(1, "n1", Push(PushKind.TRUNCATE, 1, -1, NO_TERM, -1))
    assert not [effect for effect in take_all(core) if isinstance(effect, Truncate)]
    core.receive(2, "n2", Push(PushKind.TRUNCATE, 2, -1, NO_TERM, -1))
    assert [effect for effect in take_all(core) if isinstance(effect, Truncate)] == [Truncate(-1)]


def test_a_follower_behind_the_log_gets_a_snapshot_and_no_endless_compare():
    # Seed 29: what to ask next was always the entry before the log's begin.
    core = new_core(first_index=10, last_index=12, base_term=1)
    lead(core)
    probe = 12
    for _ in range(5):
        hint = PushReply(PushKind.COMPARE, core.term, DLedgerCode.INCONSISTENT_STATE, probe, 0, 4, 4, 1)
        core.receive(1001, "n1", hint)
        effects = take_all(core)
        if any(isinstance(effect, SendSnapshot) for effect in effects):
            return
        (compare,) = [message for message in sent(effects) if isinstance(message, Push)]
        probe = compare.prev_index
    raise AssertionError("no snapshot is sent")


def test_a_leader_that_forgot_a_term_believes_who_installed_its_snapshot():
    # Seed 2567: after a restart with a trimmed log the leader did not know the term of the entry before it
    # and sent the same snapshot again and again to a follower that ended there.
    core = new_core(first_index=10, last_index=12)
    lead(core)
    failed = DLedgerCode.INCONSISTENT_STATE
    core.receive(1001, "n1", PushReply(PushKind.COMPARE, 2, failed, 12, 0, 9, 9, 1))
    assert [effect for effect in take_all(core) if isinstance(effect, SendSnapshot)]
    core.receive(1002, "n1", InstallSnapshotReply(2, DLedgerCode.SUCCESS, 9, 0, True))
    core.snapshot_sent(1002, "n1", True)
    take_all(core)
    core.receive(1003, "n1", PushReply(PushKind.COMPARE, 2, failed, 13, 0, 9, 9, 1))
    (compare,) = [message for message in sent(take_all(core)) if isinstance(message, Push)]
    assert (compare.kind, compare.prev_index, compare.prev_term) == (PushKind.COMPARE, 9, NO_TERM)
    core.receive(1004, "n1", PushReply(PushKind.COMPARE, 2, DLedgerCode.SUCCESS, 9, 0, 9))
    assert [effect.first_index for effect in take_all(core) if isinstance(effect, SendEntries)] == [10]


def test_a_truncate_at_an_entry_of_a_forgotten_term_is_done():
    core = new_core(first_index=10, last_index=12, base_term=1)
    core.receive(1, "n1", Push(PushKind.TRUNCATE, 2, 9, NO_TERM, -1))
    assert [effect for effect in take_all(core) if isinstance(effect, Truncate)] == [Truncate(9, 1)]


def test_a_member_whose_log_is_cut_to_nothing_knows_whom_to_vote_for():
    # Seed 27525 of brokers: the term of the entry before a trimmed log was forgotten with a restart. When all
    # that was left was cut, the member voted for one that lacked what it had committed.
    core = new_core(first_index=10, last_index=12)
    core.receive(1, "n1", Push(PushKind.TRUNCATE, 3, 9, 2, 9))
    effects = take_all(core)
    assert [effect for effect in effects if isinstance(effect, Truncate)] == [Truncate(9, 2)]
    core.receive(5000, "n2", VoteRequest(4, 20, 1))
    (vote,) = [message for message in sent(take_all(core)) if isinstance(message, VoteReply)]
    assert vote.result is VoteResult.REJECT_EXPIRED_LEDGER_TERM


def test_a_log_is_not_cut_to_nothing_while_nobody_knows_its_last_term():
    core = new_core(first_index=10, last_index=12)
    core.receive(1, "n1", Push(PushKind.TRUNCATE, 3, 9, NO_TERM, 9))
    effects = take_all(core)
    assert not [effect for effect in effects if isinstance(effect, Truncate)]
    (reply,) = [message for message in sent(effects) if isinstance(message, PushReply)]
    assert reply.code == DLedgerCode.INCONSISTENT_STATE


def test_a_preferred_member_that_does_not_take_the_leadership_stops_nobody_for_long():
    # The leader tried once a second, for a second each time, and refused proposals all that while.
    core = new_core(config=CoreConfig(pre_vote=False, check_quorum=False, preferred_leaders=("n1",)))
    lead(core)
    open_ms = 0
    for now_ms in range(1100, 61_100, 100):
        core.receive(now_ms, "n1", HeartbeatReply(2, 0, DLedgerCode.SUCCESS))
        core.tick(now_ms)
        try:
            core.propose(now_ms, 1)
        except Refused:
            continue
        open_ms += 100
        core.persisted(core.last_index, 2)
        core.receive(now_ms, "n1", PushReply(PushKind.COMPARE, 2, DLedgerCode.SUCCESS, 0, 0, 0))
        take_all(core)
    assert open_ms > 50_000


def test_nothing_before_the_log_is_answered_with_something_in_it():
    runs = TermRuns(10, 12, [(10, 2)], 1)
    assert runs.last_not_above(4, 1) == 4
    assert runs.last_not_above(9, 1) == 9
    assert runs.last_not_above(12, 1) == 9
    assert runs.last_not_above(12, 2) == 12


def test_who_rejects_a_vote_for_its_log_takes_the_term_over():
    # Seed 344: of two members the one with the shorter log stood first each time, in terms that the other,
    # which alone could win, never reached.
    core = new_core(last_index=3)
    core.receive(1, "n1", VoteRequest(7, -1, NO_TERM))
    assert sent(take_all(core)) == [VoteReply(7, VoteResult.REJECT_EXPIRED_LEDGER_TERM)]
    assert (core.term, core.vote) == (7, "")


def test_a_higher_term_does_not_put_an_election_off():
    core = new_core(last_index=3)
    stands_ms = core.next_deadline_ms
    core.receive(stands_ms - 1, "n1", VoteRequest(7, -1, NO_TERM))
    assert core.next_deadline_ms == stands_ms


def test_a_leader_that_is_heard_is_not_disturbed_by_an_old_log():
    core = new_core(last_index=3)
    core.receive(1, "n2", Push(PushKind.COMPARE, 1, 3, 1, -1))
    core.receive(2, "n1", VoteRequest(7, -1, NO_TERM))
    assert core.term == 1
    assert core.role is Role.FOLLOWER


def test_a_snapshot_of_a_term_gone_by_is_not_installed():
    core = new_core(term=5)
    core.receive(1, "n1", Push(PushKind.COMPARE, 5, 0, 1, -1))
    core.snapshot_received(2, InstallSnapshot(4, 9, 4, 100, 0, b"", True), True)
    assert core.last_index == -1
