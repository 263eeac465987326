"""Safety rules taken out, one by one: what the simulator must notice.

Each mutant is a function that patches one method of the core, or of the simulated driver, to what somebody
might have written by mistake.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from ledgermq.dledger.codes import Role, VoteResult
from ledgermq.dledger.core import Cause, Core
from ledgermq.dledger.follower import Follower
from ledgermq.dledger.leader import Leader
from ledgermq.dledger.member import NOBODY, Member
from ledgermq.dledger.messages import (
    Push,
    ReadReady,
    SaveState,
    Send,
    SendAfterPersist,
    Truncate,
    VoteRequest,
)
from ledgermq.dledger.progress import ProgressState
from ledgermq.testing.simulation.faults import Faults
from ledgermq.testing.simulation.member import SimMember

Mutant = Callable[[pytest.MonkeyPatch], None]


def vote_not_persisted(patch: pytest.MonkeyPatch) -> None:
    def save_state(self: SimMember, effect: SaveState) -> None:
        self.ledger.save_state(effect.term, NOBODY)
        self._held.drop()
        self._checks.saved(self.id, effect.term, effect.vote)

    patch.setattr(SimMember, "_save_state", save_state)


def term_not_persisted(patch: pytest.MonkeyPatch) -> None:
    def save_state(self: SimMember, effect: SaveState) -> None:
        self._held.drop()
        self._checks.saved(self.id, effect.term, effect.vote)

    patch.setattr(SimMember, "_save_state", save_state)


def two_votes_in_a_term(patch: pytest.MonkeyPatch) -> None:
    judge = Core._judge

    def generous(self: Core, sender: str, request: VoteRequest) -> VoteResult:
        result = judge(self, sender, request)
        return VoteResult.ACCEPT if result is VoteResult.REJECT_ALREADY_VOTED else result

    patch.setattr(Core, "_judge", generous)


def log_judged_by_the_current_term(patch: pytest.MonkeyPatch) -> None:
    def ask(self: Core, peer: str, ballot: object) -> None:
        term, pre = ballot.term, ballot.pre  # type: ignore[attr-defined]  # a _Ballot
        self._member.send(peer, VoteRequest(term, self.last_index, self.term, pre))

    patch.setattr(Core, "_ask_vote", ask)


def log_not_judged(patch: pytest.MonkeyPatch) -> None:
    judge = Core._judge
    log = (VoteResult.REJECT_EXPIRED_LEDGER_TERM, VoteResult.REJECT_SMALL_LEDGER_END_INDEX)

    def blind(self: Core, sender: str, request: VoteRequest) -> VoteResult:
        result = judge(self, sender, request)
        if result in log:
            result = judge(self, sender, VoteRequest(request.term, 1 << 60, 1 << 60, request.pre))
        return result

    patch.setattr(Core, "_judge", blind)


def old_terms_committed_by_counting(patch: pytest.MonkeyPatch) -> None:
    def count(self: Leader) -> None:
        member = self._member
        index = member.persisted_index
        if member.quorum > 1:
            matches = sorted((progress.match for progress in self.progress.values()), reverse=True)
            index = min(index, matches[member.quorum - 2])
        member.commit(index)

    patch.setattr(Leader, "count_commit", count)


def half_is_a_quorum(patch: pytest.MonkeyPatch) -> None:
    begin = Member.__init__

    def init(self: Member, *args: object) -> None:
        begin(self, *args)  # type: ignore[arg-type]  # passed on as they came
        self.quorum = (len(self.members) + 1) // 2  # type: ignore[misc]  # final otherwise

    patch.setattr(Member, "__init__", init)


def leader_counts_what_it_has_not_fsynced(patch: pytest.MonkeyPatch) -> None:
    count = Leader.count_commit

    def eager(self: Leader) -> None:
        member = self._member
        persisted, member.persisted_index = member.persisted_index, member.log.last_index
        count(self)
        member.persisted_index = persisted

    patch.setattr(Leader, "count_commit", eager)


def ack_before_fsync(patch: pytest.MonkeyPatch) -> None:
    def at_once(self: SimMember, effect: SendAfterPersist) -> None:
        self.send(Send(effect.to, effect.message))

    patch.setattr(SimMember, "_send_after_persist", at_once)


def old_fsync_believed_after_a_cut(patch: pytest.MonkeyPatch) -> None:
    """The driver does not know that the log was cut meanwhile, and the core does not ask for the term."""
    cut, persisted = SimMember._cut, Core.persisted

    def believing(self: Core, index: int, term: int) -> None:
        index = min(index, self.last_index)
        persisted(self, index, self.term_at(index))

    def forgetful(self: SimMember) -> None:
        stale = self._flush_stale
        cut(self)
        self._flush_stale = stale

    patch.setattr(SimMember, "_cut", forgetful)
    patch.setattr(Core, "persisted", believing)


def durable_index_kept_by_a_cut(patch: pytest.MonkeyPatch) -> None:
    def cut(self: Member, last_index: int) -> None:
        if last_index < self.log.last_index:
            self.log.truncate(last_index)
            self.emit(Truncate(last_index))

    patch.setattr(Member, "cut", cut)


def truncation_skipped(patch: pytest.MonkeyPatch) -> None:
    """The follower says that it cut its tail, and takes what it has there for the leader's."""

    def truncate(self: Follower, push: Push) -> int | None:
        if self._member.last_is(push.prev_index, push.prev_term):
            self.verified = self._member.log.last_index
            return push.prev_index
        return None

    patch.setattr(Follower, "_truncate", truncate)


def tail_dropped_for_a_new_leader(patch: pytest.MonkeyPatch) -> None:
    """What is not known to be committed goes as soon as a leader is heard."""
    become = Core._become

    def tidy(self: Core, role: Role, cause: Cause, leader_id: str | None) -> None:
        become(self, role, cause, leader_id)
        if cause is Cause.HEARD_LEADER and self._follower.verified < self.last_index:
            self._member.cut(self._follower.verified)

    patch.setattr(Core, "_become", tidy)


def append_not_verified(patch: pytest.MonkeyPatch) -> None:
    """The leader takes for granted that all logs equal its own, and the followers believe it."""
    begin, append = Leader.__init__, Follower._append

    def init(self: Leader, member: Member, term: int) -> None:
        begin(self, member, term)
        for progress in self.progress.values():
            progress.state = ProgressState.APPEND
            progress.next_index = self._term_start

    def trusting(self: Follower, push: Push) -> int | None:
        if push.entries is not None and push.entries.first_index == self._member.log.last_index + 1:
            self.verified = self._member.log.last_index
        return append(self, push)

    patch.setattr(Leader, "__init__", init)
    patch.setattr(Follower, "_append", trusting)


def append_cuts_what_follows(patch: pytest.MonkeyPatch) -> None:
    """An APPEND makes the log end with its last entry, although it may be an old one."""
    append = Follower._append

    def cutting(self: Follower, push: Push) -> int | None:
        entries = push.entries
        if entries is not None and self._member.commit_index < entries.first_index <= self.verified:
            self._member.cut(entries.first_index - 1)
            self.verified = entries.first_index - 1
        return append(self, push)

    patch.setattr(Follower, "_append", cutting)


def late_truncate_obeyed(patch: pytest.MonkeyPatch) -> None:
    """As the core did until the simulator showed it."""
    truncate = Follower._truncate

    def obey(self: Follower, push: Push) -> int | None:
        if self._member.last_is(push.prev_index, push.prev_term):
            self.verified = max(self._member.commit_index, min(self.verified, push.prev_index))
        return truncate(self, push)

    patch.setattr(Follower, "_truncate", obey)


def commit_beyond_what_is_verified(patch: pytest.MonkeyPatch) -> None:
    def follow(self: Follower) -> None:
        self._member.commit(self._leader_commit)

    patch.setattr(Follower, "follow_commit", follow)


def read_without_a_heartbeat_round(patch: pytest.MonkeyPatch) -> None:
    def at_once(self: Leader, token: int) -> None:
        self._member.emit(ReadReady(token, self._member.commit_index))

    patch.setattr(Leader, "read", at_once)


def read_before_the_first_commit(patch: pytest.MonkeyPatch) -> None:
    begin = Leader._begin_reads

    def early(self: Leader) -> None:
        start, self._term_start = self._term_start, -1
        begin(self)
        self._term_start = start

    patch.setattr(Leader, "_begin_reads", early)


def commit_not_told(patch: pytest.MonkeyPatch) -> None:
    """A follower that never hears of commits: nothing is lost, and nothing goes on."""

    def hear(self: Follower, index: int) -> None:
        return None

    patch.setattr(Follower, "hear_commit", hear)


class Hunt(NamedTuple):
    """A mutant and the seeds to look for it; without ``faults`` each seed draws its own."""

    mutant: Mutant
    seeds: range = range(150)
    faults: Faults | None = None


SLOW_DISKS = Faults(
    delay_ms_max=40,
    partitions=3,
    one_way=True,
    flapping=True,
    hunts=True,
    slow_fsync_ms=200,
    stragglers=0.02,
    small_pushes=True,
)
"""Leaders lose their followers again and again, and an fsync is slow enough for a log to be cut meanwhile."""

SLOW_DISKS_AND_DEATHS = Faults(
    delay_ms_max=10,
    partitions=3,
    one_way=True,
    hunts=True,
    power_cuts=1.0,
    young_deaths=0.3,
    fuses=True,
    slow_fsync_ms=200,
)
"""So that a log is cut while an fsync of it runs, and what was not fsynced is lost."""

LATE_MESSAGES = Faults(
    delay_ms_max=120,
    reordering=True,
    duplication=0.2,
    stragglers=0.02,
    partitions=3,
    one_way=True,
    hunts=True,
    small_pushes=True,
    kills=0.5,
)
"""Many leaders, of which each replicates little."""

DEATHS = Faults(
    delay_ms_max=10,
    partitions=2.0,
    kills=2.0,
    power_cuts=1.0,
    hunts=True,
    young_deaths=0.3,
    fuses=True,
)
"""Members die and come back all the time."""

HUNTS = [
    Hunt(vote_not_persisted, range(200), DEATHS),
    Hunt(term_not_persisted),
    Hunt(two_votes_in_a_term),
    Hunt(log_judged_by_the_current_term),
    Hunt(log_not_judged),
    Hunt(old_terms_committed_by_counting, range(140, 640), LATE_MESSAGES),
    Hunt(half_is_a_quorum),
    Hunt(leader_counts_what_it_has_not_fsynced),
    Hunt(ack_before_fsync),
    Hunt(old_fsync_believed_after_a_cut, range(80, 400), SLOW_DISKS_AND_DEATHS),
    Hunt(durable_index_kept_by_a_cut, range(150), SLOW_DISKS),
    Hunt(truncation_skipped),
    Hunt(late_truncate_obeyed, range(100), LATE_MESSAGES),
    Hunt(tail_dropped_for_a_new_leader),
    Hunt(append_not_verified, range(100), SLOW_DISKS),
    Hunt(append_cuts_what_follows),
    Hunt(commit_beyond_what_is_verified),
    Hunt(read_without_a_heartbeat_round),
    Hunt(read_before_the_first_commit),
    Hunt(commit_not_told),
]
"""Not among them: keeping held acknowledgements when the log is cut. Who voted for the new leader had in its
log, when it voted, what the old one is told, so no commit can come of it; dropping them only keeps every word
true."""
