"""A member as DLedger 0.3.2 behaves, with the face of the core, to simulate groups of both kinds.

Facts from Java's ``DLedgerLeaderElector`` and ``DLedgerEntryPusher``: no pre-vote and no entry at the start
of a term; who sees a larger term takes it over first and votes when asked again; heartbeats every two
seconds and a patience of three; a follower compares whole entries and appends whatever follows its last
one; what is written counts.

One thing is better than in Java: an entry of an older term is committed only with one of the leader's own.
Java commits it as soon as a quorum has it, which can be lost again (the Raft paper's figure 8).

Rules of this file: written as a model, by behaviour; the times are Java's defaults.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ledgermq.dledger.codes import DLedgerCode, PushKind, Role, VoteResult
from ledgermq.dledger.core import CoreConfig, Random, Refused
from ledgermq.dledger.member import NEVER_MS, NOBODY
from ledgermq.dledger.messages import (
    NO_INDEX,
    NO_TERM,
    Append,
    Commit,
    Effect,
    FailProposals,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Message,
    Push,
    PushReply,
    ReadFailed,
    RoleChanged,
    SaveState,
    Send,
    SendEntries,
    Truncate,
    VoteReply,
    VoteRequest,
)
from ledgermq.dledger.term_runs import TermRuns

_TURN_MS: Final = 10
_HEARTBEAT_MS: Final = 2000
_PATIENCE_MS: Final = 6000
_VOTE_MS: Final = (300, 1000)
_VOTES_WAIT_MS: Final = 2000
_CALL_MS: Final = 3000
_AFTER_ERROR_MS: Final = 500
_PUSH_MS: Final = 1000
_BEHIND: Final = (VoteResult.REJECT_EXPIRED_LEDGER_TERM, VoteResult.REJECT_SMALL_LEDGER_END_INDEX)
_EXPIRED: Final = (VoteResult.REJECT_EXPIRED_VOTE_TERM, VoteResult.REJECT_TERM_SMALL_THAN_LEDGER)


class _Dispatcher:
    """What a leader does for one follower; a COMPARE or TRUNCATE under way waits for its answer."""

    def __init__(self) -> None:
        self.kind = PushKind.COMPARE
        self.index = -1
        self.asked = False
        self.at_ms = 0
        """When to try again, or to give up waiting."""
        self.match = -1
        self.next_index = 0
        self.pushed_ms = 0
        self.committed_ms = 0


class JavaCore:
    """The same events and effects as :class:`ledgermq.dledger.core.Core`."""

    def __init__(
        self,
        self_id: str,
        members: Sequence[str],
        config: CoreConfig,
        random: Random,
        *,
        now_ms: int,
        term: int,
        vote: str,
        first_index: int,
        last_index: int,
        runs: Sequence[tuple[int, int]],
        commit_index: int = NO_INDEX,
        base_term: int = NO_TERM,
    ) -> None:
        self.self_id: Final = self_id
        self._peers: Final = [member for member in members if member != self_id]
        self._quorum: Final = len(members) // 2 + 1
        self._random: Final = random
        self._now_ms = now_ms
        self._log = TermRuns(first_index, last_index, runs, base_term)
        self._effects: list[Effect] = []
        self.role = Role.CANDIDATE
        self.leader_id: str | None = None
        self.term = term
        self.vote = vote
        self.commit_index = min(commit_index, last_index)
        self._known_term = term
        self._raise_term = False
        """Take the largest term known over before anything else."""
        self._next_round = False
        """The next vote is in a new term."""
        self._vote_ms = now_ms
        self._answers: dict[str, VoteReply] | None = None
        self._answers_ms = NEVER_MS
        self._heard_ms = now_ms
        self._beat_ms = NEVER_MS
        self._beaten_ms = now_ms
        self._beats: dict[str, int] = {}
        self._dispatchers: dict[str, _Dispatcher] = {}

    # ---- what the driver asks ----

    @property
    def first_index(self) -> int:
        return self._log.first_index

    @property
    def last_index(self) -> int:
        return self._log.last_index

    @property
    def persisted_index(self) -> int:
        return self._log.last_index

    def term_at(self, index: int) -> int:
        return self._log.term_at(index)

    @property
    def next_deadline_ms(self) -> int:
        return self._now_ms + _TURN_MS

    def take(self) -> list[Effect]:
        effects = self._effects
        self._effects = []
        return effects

    def _send(self, to: str, message: Message) -> None:
        self._effects.append(Send(to, message))

    # ---- roles ----

    def _become(self, role: Role, leader_id: str | None) -> None:
        if self.role is Role.LEADER and role is not Role.LEADER:
            self._effects.append(
                FailProposals(self.commit_index + 1, self.last_index, DLedgerCode.TERM_CHANGED)
            )
        self._answers = None
        self._answers_ms = NEVER_MS
        if (role, leader_id) != (self.role, self.leader_id):
            self.role, self.leader_id = role, leader_id
            self._effects.append(RoleChanged(role, self.term, leader_id))

    def _stand(self, term: int) -> None:
        self._known_term = max(self._known_term, term)
        self._become(Role.CANDIDATE, None)

    def _next_term(self) -> None:
        self.term = self._known_term if self._known_term > self.term else self.term + 1
        self._known_term = self.term
        self.vote = NOBODY
        self._effects.append(SaveState(self.term, self.vote))

    def _vote_later(self, more_ms: int = 0) -> None:
        self._vote_ms = self._now_ms + more_ms + self._random.randrange(*_VOTE_MS)

    # ---- events ----

    def tick(self, now_ms: int) -> None:
        self._now_ms = now_ms
        if self.role is Role.LEADER:
            self._lead()
        elif self.role is Role.FOLLOWER:
            if now_ms - self._heard_ms > _PATIENCE_MS:
                self._stand(self.term)
        elif self._answers is not None:
            if now_ms >= self._answers_ms:
                self._count_votes()
        elif self._raise_term:
            self._raise_term = False
            self._next_term()
            self._next_round = False
            self._vote_later()
        elif now_ms >= self._vote_ms:
            self._ask_for_votes()

    def receive(self, now_ms: int, sender: str, message: Message) -> None:
        self._now_ms = now_ms
        match message:
            case VoteRequest():
                if not message.pre:
                    self._on_vote_request(sender, message)
            case VoteReply():
                self._on_vote_reply(sender, message)
            case Heartbeat():
                self._on_heartbeat(sender, message)
            case HeartbeatReply():
                self._on_heartbeat_reply(sender, message)
            case Push():
                self._on_push(sender, message)
            case PushReply():
                self._on_push_reply(sender, message)
            case _:
                pass

    # ---- election ----

    def _ask_for_votes(self) -> None:
        if self._next_round or self.vote not in (NOBODY, self.self_id):
            self._next_term()
        self._next_round = False
        self._answers = {}
        self._answers_ms = self._now_ms + _VOTES_WAIT_MS + self._random.randrange(0, _VOTE_MS[1])
        term = self.term
        for peer in self._peers:
            self._send(peer, VoteRequest(term, self.last_index, self._log.last_term))
        if self.vote == NOBODY:
            self.vote = self.self_id
            self._effects.append(SaveState(self.term, self.vote))
        self._answers[self.self_id] = VoteReply(term, VoteResult.ACCEPT)
        self._look_at_votes()

    def _on_vote_reply(self, sender: str, reply: VoteReply) -> None:
        if self._answers is None:
            return
        if reply.result is VoteResult.ACCEPT and reply.term != self.term:
            return  # of an earlier call
        self._answers[sender] = reply
        self._look_at_votes()

    def _count(self, *results: VoteResult) -> int:
        assert self._answers is not None
        return sum(reply.result in results for reply in self._answers.values())

    def _look_at_votes(self) -> None:
        assert self._answers is not None
        ready = self._count(VoteResult.ACCEPT, VoteResult.REJECT_TERM_NOT_READY)
        if (
            len(self._answers) == len(self._peers) + 1
            or ready >= self._quorum
            or self._count(VoteResult.REJECT_ALREADY_HAS_LEADER)
        ):
            self._count_votes()

    def _count_votes(self) -> None:
        assert self._answers is not None
        answers = self._answers
        expired = [reply.term for reply in answers.values() if reply.result in _EXPIRED]
        valid, behind = len(answers), self._count(*_BEHIND)
        accepted = self._count(VoteResult.ACCEPT)
        not_ready = self._count(VoteResult.REJECT_TERM_NOT_READY)
        has_leader = self._count(VoteResult.REJECT_ALREADY_HAS_LEADER)
        self._answers = None
        self._answers_ms = NEVER_MS
        self._next_round = False
        if expired and max(expired) > self.term:
            self._next_round = True
            self._vote_later()
            self._stand(max(expired))
        elif has_leader:
            self._vote_later(_PATIENCE_MS)
        elif valid < self._quorum:
            self._vote_later()
        elif valid - behind < self._quorum:
            self._vote_later(_VOTE_MS[1])
        elif accepted >= self._quorum:
            self._begin_to_lead()
        elif accepted + not_ready >= self._quorum:
            self._vote_ms = self._now_ms + _TURN_MS
        else:
            self._next_round = True
            self._vote_later()

    def _on_vote_request(self, sender: str, request: VoteRequest) -> None:
        result = self._judge(sender, request)
        reply = VoteReply(self.term, result)
        if result is VoteResult.REJECT_TERM_NOT_READY:
            self._stand(request.term)
            self._raise_term = True
        elif result is VoteResult.ACCEPT and self.vote != sender:
            self.vote = sender
            self._effects.append(SaveState(self.term, self.vote))
        self._send(sender, reply)

    def _judge(self, sender: str, request: VoteRequest) -> VoteResult:
        last_term = self._log.last_term
        if request.last_term < last_term:
            return VoteResult.REJECT_EXPIRED_LEDGER_TERM
        if request.last_term == last_term and request.last_index < self.last_index:
            return VoteResult.REJECT_SMALL_LEDGER_END_INDEX
        if request.term < self.term:
            return VoteResult.REJECT_EXPIRED_VOTE_TERM
        if request.term > self.term:
            return VoteResult.REJECT_TERM_NOT_READY
        if self.vote not in (NOBODY, sender):
            known = self.leader_id is not None
            return VoteResult.REJECT_ALREADY_HAS_LEADER if known else VoteResult.REJECT_ALREADY_VOTED
        return VoteResult.REJECT_TERM_SMALL_THAN_LEDGER if request.term < last_term else VoteResult.ACCEPT

    # ---- the leader ----

    def _begin_to_lead(self) -> None:
        self._become(Role.LEADER, self.self_id)
        self._dispatchers = {peer: _Dispatcher() for peer in self._peers}
        self._beat_ms = self._beaten_ms = self._now_ms
        self._lead()

    def _lead(self) -> None:
        now_ms = self._now_ms
        if now_ms >= self._beat_ms:
            self._beat_ms = now_ms + _HEARTBEAT_MS
            self._beats = {}
            for peer in self._peers:
                self._send(peer, Heartbeat(self.term, 0, NO_INDEX, 0))
        if len(self._peers) + 1 > 1 and now_ms - self._beaten_ms > _PATIENCE_MS:
            self._stand(self.term)
            return
        for peer, dispatcher in self._dispatchers.items():
            self._dispatch(peer, dispatcher)
        self._count_commit()

    def _on_heartbeat_reply(self, sender: str, reply: HeartbeatReply) -> None:
        if self.role is not Role.LEADER:
            return
        if reply.code == DLedgerCode.EXPIRED_TERM and reply.term > self.term:
            self._stand(reply.term)
            return
        if reply.term != self.term:
            return
        self._beats[sender] = reply.code
        codes = list(self._beats.values())
        successes = codes.count(DLedgerCode.SUCCESS) + 1
        if successes >= self._quorum:
            self._beaten_ms = self._now_ms
        elif successes + codes.count(DLedgerCode.TERM_NOT_READY) >= self._quorum:
            self._beat_ms = self._now_ms + _TURN_MS
        elif len(codes) == len(self._peers) and DLedgerCode.INCONSISTENT_LEADER in codes:
            self._stand(self.term)

    def _dispatch(self, peer: str, it: _Dispatcher) -> None:
        now_ms, log = self._now_ms, self._log
        if it.kind is not PushKind.APPEND:
            if now_ms < it.at_ms or log.last_index < 0:
                return
            if it.asked:  # no answer came
                it.asked, it.kind, it.index, it.at_ms = False, PushKind.COMPARE, -1, now_ms + _AFTER_ERROR_MS
                return
            if it.kind is PushKind.COMPARE and not log.first_index <= it.index <= log.last_index:
                it.index = log.last_index
            it.asked, it.at_ms = True, now_ms + _CALL_MS
            self._send(peer, Push(it.kind, self.term, it.index, log.term_at(it.index), self.commit_index))
            return
        if it.next_index <= log.last_index:
            self._effects.append(SendEntries(peer, self.term, it.next_index, NO_TERM, self.commit_index))
        elif it.match < log.last_index and now_ms - it.pushed_ms > _PUSH_MS:
            it.next_index = it.match + 1
        elif now_ms - it.committed_ms > _PUSH_MS:
            it.committed_ms = now_ms
            self._send(peer, Push(PushKind.COMMIT, self.term, NO_INDEX, NO_TERM, self.commit_index))

    def pushed(self, to: str, last_index: int) -> None:
        it = self._dispatchers[to]
        it.next_index = last_index + 1
        it.pushed_ms = it.committed_ms = self._now_ms

    def _on_push_reply(self, sender: str, reply: PushReply) -> None:
        if self.role is not Role.LEADER or reply.term != self.term:
            return
        it = self._dispatchers[sender]
        success = reply.code == DLedgerCode.SUCCESS
        if reply.kind is PushKind.APPEND:
            if success:
                it.match = max(it.match, reply.index)
                self._count_commit()
            elif reply.code == DLedgerCode.INCONSISTENT_STATE and it.kind is PushKind.APPEND:
                it.kind, it.index, it.asked = PushKind.COMPARE, -1, False
        elif (
            reply.kind is it.kind
            and it.asked
            and (reply.index >= it.index if success else reply.index == it.index)
        ):
            # Else it is not the answer to this call, which Java tells by its number.
            it.asked, it.at_ms = False, self._now_ms
            if it.kind is PushKind.COMPARE and (success or reply.code == DLedgerCode.INCONSISTENT_STATE):
                self._compared(it, reply, success)
            elif it.kind is PushKind.TRUNCATE and success:
                self._append_from(it, it.index)
            else:
                it.kind, it.index, it.at_ms = PushKind.COMPARE, -1, self._now_ms + _AFTER_ERROR_MS

    def _compared(self, it: _Dispatcher, reply: PushReply, success: bool) -> None:
        log = self._log
        truncate = -1
        if success:
            if reply.end_index == it.index:
                self._append_from(it, it.index)
                return
            truncate = it.index
        elif (
            reply.end_index < log.first_index
            or reply.begin_index > log.last_index
            or it.index < reply.begin_index
        ):
            truncate = log.first_index
        elif it.index > reply.end_index:
            it.index = reply.end_index
        else:
            it.index -= 1
        if truncate < 0 and it.index < log.first_index:
            truncate = log.first_index
        if truncate >= 0:
            it.kind, it.index = PushKind.TRUNCATE, truncate

    def _append_from(self, it: _Dispatcher, index: int) -> None:
        it.kind = PushKind.APPEND
        it.match = max(it.match, index)
        it.next_index = index + 1
        self._count_commit()

    def _count_commit(self) -> None:
        marks = sorted([self.last_index, *(it.match for it in self._dispatchers.values())], reverse=True)
        index = marks[self._quorum - 1]
        if self._log.term_at(index) == self.term:
            self._commit(index)

    def _commit(self, index: int) -> None:
        index = min(index, self.last_index)
        if index > self.commit_index:
            self.commit_index = index
            self._effects.append(Commit(index))

    def propose(self, now_ms: int, count: int) -> int:
        self._now_ms = now_ms
        if self.role is not Role.LEADER:
            raise Refused(DLedgerCode.NOT_LEADER, f"{self.self_id} does not lead")
        first_index = self.last_index + 1
        self._log.append(self.last_index + count, [(first_index, self.term)])
        return first_index

    # ---- the follower ----

    def _on_heartbeat(self, sender: str, heartbeat: Heartbeat) -> None:
        code = DLedgerCode.SUCCESS
        term = heartbeat.term
        if term < self.term:
            code, term = DLedgerCode.EXPIRED_TERM, self.term
        elif term > self.term:
            self._stand(term)
            self._raise_term = True
            code = DLedgerCode.TERM_NOT_READY
        elif self.leader_id not in (None, sender):
            code = DLedgerCode.INCONSISTENT_LEADER
        else:
            self._become(Role.FOLLOWER, sender)
            self._next_round = False
            self._heard_ms = self._now_ms
        self._send(sender, HeartbeatReply(term, heartbeat.round, code))

    def _on_push(self, sender: str, push: Push) -> None:
        if self.role is not Role.FOLLOWER:
            return  # It lies in a queue until the call has ended.
        follows = push.term == self.term and sender == self.leader_id
        index = push.prev_index
        if push.kind is PushKind.COMPARE:
            done = self._log.first_index <= index and self.term_at(index) == push.prev_term != NO_TERM
        elif push.kind is PushKind.COMMIT:
            done = follows
        elif push.kind is PushKind.TRUNCATE:
            done = follows and self._truncate(push)
        else:
            entries = push.entries
            assert entries is not None
            if entries.first_index > self.last_index + 1:
                return  # It waits in a map for those before it.
            index = entries.last_index
            if index <= self.last_index:
                done = follows and self.term_at(index) == entries.runs[-1][1]
            else:
                done = follows and entries.first_index == self.last_index + 1
                if done:
                    self._log.append(index, entries.runs)
                    self._effects.append(Append(entries))
        code = DLedgerCode.SUCCESS if done else DLedgerCode.INCONSISTENT_STATE
        self._send(sender, PushReply(push.kind, push.term, code, index, self.first_index, self.last_index))
        if done and push.kind is not PushKind.COMPARE:
            self._commit(push.commit_index)

    def _truncate(self, push: Push) -> bool:
        """End with the entry that is in the request; write it, when it is not there."""
        index, entries = push.prev_index, push.entries
        assert entries is not None
        if self.term_at(index) == push.prev_term and index >= self.first_index:
            self._cut(index)
        elif index > self.last_index + 1:
            return False  # Java's log would begin there; it does not come to it without retention.
        else:
            self._cut(index - 1)
            self._log.append(index, entries.runs)
            self._effects.append(Append(entries))
        return True

    def _cut(self, last_index: int) -> None:
        if last_index < self.last_index:
            self._log.truncate(last_index)
            self._effects.append(Truncate(last_index))

    # ---- what it does not know ----

    def read(self, now_ms: int, token: int) -> None:
        self._effects.append(ReadFailed(token, DLedgerCode.UNSUPPORTED))

    def transfer(self, now_ms: int, to: str) -> None:
        raise Refused(DLedgerCode.UNSUPPORTED, "the model does not hand over")

    def persisted(self, index: int, term: int) -> None:
        """What is written counts."""

    def peer_is_java(self, peer: str, java: bool) -> None:
        """It takes everyone for its own kind."""

    def snapshot_sent(self, now_ms: int, to: str, ok: bool) -> None:
        """It sends none."""

    def snapshot_received(self, now_ms: int, piece: InstallSnapshot, ok: bool) -> None:
        """It is sent none."""

    def log_starts_at(self, first_index: int) -> None:
        self._log.start_at(first_index)

    def disconnected(self, now_ms: int, peer: str) -> None:
        """It waits for heartbeats alone."""
