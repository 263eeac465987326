"""What the leader of one term does: heartbeats, followers' logs, the commit index, reads, handing over.

Rules of this file: it is compiled; pure; made when a term is won and dropped when it ends, so that nothing of
a term outlives it. The leader's own log counts like a follower's: as far as it is durable. Only entries of
its own term are committed by counting; older ones are committed with them.
"""

from __future__ import annotations

from collections import deque

import msgspec

from ledgermq.dledger.codes import DLedgerCode, PushKind
from ledgermq.dledger.member import NEVER_MS, NOBODY, Member, Refused
from ledgermq.dledger.messages import (
    NO_INDEX,
    NO_TERM,
    AppendNoop,
    FailProposals,
    Heartbeat,
    HeartbeatReply,
    Push,
    PushReply,
    ReadFailed,
    SendEntries,
    SendSnapshot,
    TakeLeadership,
    TransferDone,
)
from ledgermq.dledger.progress import Progress, ProgressState
from ledgermq.dledger.reads import Reads

PREFERRED_CHECK_MS = 1000
PREFERRED_PAUSE_MS_MAX = 60_000
"""Proposals are refused while the leadership is being given away: who does not take it is asked more and more
rarely."""


class _Proposal(msgspec.Struct):
    first_index: int
    last_index: int
    deadline_ms: int


class Leader:
    """One term of leadership."""

    def __init__(self, member: Member, term: int) -> None:
        self._member = member
        self._config = member.config
        self.term = term
        now_ms = member.now_ms
        self.progress = {peer: Progress(peer, member.log.last_index, now_ms) for peer in member.peers}
        self._proposals: deque[_Proposal] = deque()
        self._reads = Reads()
        self._round = 0
        self._heartbeat_ms = now_ms
        self._preferred_ms = now_ms + PREFERRED_CHECK_MS
        self._preferred_pause_ms = PREFERRED_CHECK_MS
        self._transferee = NOBODY
        self._transfer_ms = NEVER_MS
        self._transfer_told = False
        self._term_start = member.log.last_index + 1
        member.log.append(self._term_start, [(self._term_start, term)])
        member.emit(AppendNoop(self._term_start, term))
        self._heartbeat()

    @property
    def next_deadline_ms(self) -> int:
        proposal_ms = self._proposals[0].deadline_ms if self._proposals else NEVER_MS
        return min(self._heartbeat_ms, proposal_ms, self._transfer_ms)

    def tick(self) -> None:
        now_ms = self._member.now_ms
        if now_ms >= self._heartbeat_ms:
            self._heartbeat()
        while self._proposals and self._proposals[0].deadline_ms <= now_ms:
            self._fail(self._proposals.popleft(), DLedgerCode.WAIT_QUORUM_ACK_TIMEOUT)
        for progress in self.progress.values():
            if progress.is_overdue(now_ms, self._config.push_timeout_ms):
                progress.compare_from(max(progress.next_index - 1, progress.match))
        if now_ms >= self._transfer_ms:
            self.end_transfer(DLedgerCode.TAKE_LEADERSHIP_FAILED)
        if now_ms >= self._preferred_ms:
            self._preferred_ms = now_ms + PREFERRED_CHECK_MS
            self._prefer()

    def is_cut_off(self) -> bool:
        """No quorum, this leader included, has answered within the shortest patience of a follower."""
        oldest_ms = self._member.now_ms - self._config.election_timeout_min_ms
        heard = sum(1 for progress in self.progress.values() if progress.heard_ms > oldest_ms)
        return heard + 1 < self._member.quorum

    def resign(self, by_higher_term: bool) -> None:
        """The term is over: nobody learns here what becomes of what was proposed in it."""
        for proposal in self._proposals:
            self._fail(proposal, DLedgerCode.TERM_CHANGED)
        for token in self._reads.drain():
            self._member.emit(ReadFailed(token, DLedgerCode.NOT_LEADER))
        if self._transferee:
            # The higher term is, as far as this member can know, the one it asked the transferee to begin.
            given = by_higher_term and self._transfer_told
            self.end_transfer(DLedgerCode.SUCCESS if given else DLedgerCode.TERM_CHANGED)

    # ---- proposals ----

    @property
    def room(self) -> int:
        """How many more entries may be proposed now."""
        return self._config.proposals_max - (self._member.log.last_index - self._member.commit_index)

    def propose(self, count: int) -> int:
        """The index of the first of ``count`` new entries. Raises Refused."""
        if self._transferee:
            text = f"the leadership is being given to {self._transferee}"
            raise Refused(DLedgerCode.LEADER_TRANSFERRING, text)
        if count > self.room:
            text = f"{self._config.proposals_max - self.room} entries wait for a quorum already, "
            text += f"allowed are {self._config.proposals_max}"
            raise Refused(DLedgerCode.LEADER_PENDING_FULL, text)
        log = self._member.log
        first_index = log.last_index + 1
        log.append(log.last_index + count, [(first_index, self.term)])
        deadline_ms = self._member.now_ms + self._config.proposal_timeout_ms
        self._proposals.append(_Proposal(first_index, log.last_index, deadline_ms))
        return first_index

    def _fail(self, proposal: _Proposal, code: int) -> None:
        self._member.emit(FailProposals(proposal.first_index, proposal.last_index, code))

    def count_commit(self) -> None:
        """Commit what a quorum has durably, if the last of it is of this term."""
        member = self._member
        index = member.persisted_index
        if index > member.commit_index and member.quorum > 1:
            matches = sorted([progress.match for progress in self.progress.values()], reverse=True)
            index = min(index, matches[member.quorum - 2])
        if index > member.commit_index and member.log.term_at(index) == self.term:
            member.commit(index)
        while self._proposals and self._proposals[0].last_index <= member.commit_index:
            self._proposals.popleft()

    # ---- heartbeats and reads ----

    def _heartbeat(self) -> None:
        member = self._member
        self._heartbeat_ms = member.now_ms + self._config.heartbeat_interval_ms
        for peer, progress in self.progress.items():
            commit_index = min(member.commit_index, progress.match)
            interval_ms = self._config.heartbeat_interval_ms
            member.send(peer, Heartbeat(self.term, self._round, commit_index, interval_ms))
            if peer in member.java and progress.commit_sent < commit_index:
                # Java's heartbeats carry no commit index.
                progress.commit_sent = commit_index
                member.send(peer, Push(PushKind.COMMIT, self.term, NO_INDEX, NO_TERM, commit_index))

    def on_heartbeat_reply(self, sender: str, reply: HeartbeatReply) -> None:
        progress = self.progress[sender]
        progress.heard_ms = self._member.now_ms
        if reply.code != DLedgerCode.SUCCESS:
            return
        progress.round = max(progress.round, reply.round)
        probing = progress.state in (ProgressState.COMPARE, ProgressState.TRUNCATE)
        if probing and progress.is_overdue(self._member.now_ms, 2 * self._config.heartbeat_interval_ms):
            progress.compare_from(progress.probe)  # it was away when it was asked
        rounds = sorted((other.round for other in self.progress.values()), reverse=True)
        self._confirm_reads(rounds[self._member.quorum - 2])

    def read(self, token: int) -> None:
        if len(self._reads) >= self._config.reads_max:
            self._member.emit(ReadFailed(token, DLedgerCode.LEADER_PENDING_FULL))
        else:
            self._reads.add(token)

    def _begin_reads(self) -> None:
        """A round of heartbeats for the reads that came. Before the term's first commit they wait: until then
        this leader may not know how far its predecessors committed."""
        member = self._member
        if not self._reads.wants_round() or member.commit_index < self._term_start:
            return
        self._round += 1
        self._reads.begin_round(self._round, member.commit_index)
        if member.quorum == 1:
            self._confirm_reads(self._round)
        else:
            self._heartbeat()

    def _confirm_reads(self, number: int) -> None:
        for ready in self._reads.confirmed(number):
            self._member.emit(ready)

    # ---- the followers' logs ----

    def feed(self) -> None:
        """Send what followers and readers wait for."""
        self._begin_reads()
        for progress in self.progress.values():
            if not progress.waiting:
                self._feed(progress)

    def _feed(self, progress: Progress) -> None:
        log = self._member.log
        if progress.state is ProgressState.COMPARE:
            self._compare(progress)
        elif progress.state is not ProgressState.APPEND or progress.next_index > log.last_index:
            return
        elif progress.next_index < log.first_index:
            self._send_snapshot(progress)
        elif len(progress.in_flight) < self._config.pushes_in_flight_max:
            progress.waiting = True
            if not progress.in_flight:
                progress.sent_ms = self._member.now_ms
            prev_term = log.term_at(progress.next_index - 1)
            commit_index = self._member.commit_index
            self._member.emit(
                SendEntries(progress.peer, self.term, progress.next_index, prev_term, commit_index)
            )

    def pushed(self, to: str, last_index: int) -> None:
        progress = self.progress[to]
        if progress.state is ProgressState.APPEND and progress.waiting:
            progress.pushed(last_index, self._member.commit_index)

    def _compare(self, progress: Progress) -> None:
        log = self._member.log
        index = max(progress.installed, min(progress.probe, log.last_index))
        # The entry before the log, whose term may be forgotten: the follower has said that it has it.
        told = index == log.first_index - 1 and index == progress.installed >= 0
        if index < log.first_index and progress.peer in self._member.java:
            # Nothing in common, or not known: Java makes its log begin with the entry after it.
            self._probe(progress, ProgressState.TRUNCATE, log.first_index - 1)
        elif not log.knows(index) and not told:
            self._send_snapshot(progress)
        elif index < 0:
            self._probe(progress, ProgressState.TRUNCATE, index)
        else:
            self._probe(progress, ProgressState.COMPARE, index)

    def _probe(self, progress: Progress, state: ProgressState, index: int) -> None:
        member = self._member
        progress.probe_at(state, index, member.now_ms)
        kind = PushKind.COMPARE if state is ProgressState.COMPARE else PushKind.TRUNCATE
        push = Push(kind, self.term, index, member.log.term_at(index), member.commit_index)
        member.send(progress.peer, push)

    def _send_snapshot(self, progress: Progress) -> None:
        progress.wait_for_snapshot()
        self._member.emit(SendSnapshot(progress.peer, self.term))

    def installed(self, peer: str, last_index: int) -> None:
        """The follower has what a snapshot after entry ``last_index`` holds."""
        progress = self.progress[peer]
        progress.installed = max(progress.installed, min(last_index, self._member.log.last_index))

    def snapshot_sent(self, to: str, ok: bool) -> None:
        progress = self.progress[to]
        if progress.state is ProgressState.SNAPSHOT:
            progress.compare_from(self._member.log.last_index)
            if not ok:  # asked again when this times out
                progress.probe_at(ProgressState.COMPARE, progress.probe, self._member.now_ms)

    def on_push_reply(self, sender: str, reply: PushReply) -> None:
        progress = self.progress[sender]
        progress.heard_ms = self._member.now_ms
        if reply.code in (DLedgerCode.SUCCESS, DLedgerCode.INCONSISTENT_STATE):
            agreed = reply.code == DLedgerCode.SUCCESS
            if agreed and reply.index > self._member.log.last_index:
                return  # not an answer to anything that this leader asked
            if reply.kind is PushKind.APPEND:
                self._on_append_reply(progress, reply, agreed)
            elif reply.kind is PushKind.COMPARE and progress.state is ProgressState.COMPARE:
                self._on_compare_reply(progress, reply, agreed)
            elif reply.kind is PushKind.TRUNCATE and progress.state is ProgressState.TRUNCATE:
                self._on_truncate_reply(progress, reply, agreed)
        self.count_commit()
        self._tell_transferee()

    def _on_append_reply(self, progress: Progress, reply: PushReply, agreed: bool) -> None:
        if agreed:
            progress.appended(reply.index, self._member.now_ms)
        elif progress.state is ProgressState.APPEND:
            progress.compare_from(max(progress.match, reply.end_index))

    def _on_compare_reply(self, progress: Progress, reply: PushReply, agreed: bool) -> None:
        if agreed and reply.index >= progress.probe:
            if reply.end_index == reply.index:
                progress.append_from(reply.index + 1)
            else:
                self._probe(progress, ProgressState.TRUNCATE, reply.index)
        elif not agreed and reply.index == progress.probe:
            if reply.index <= progress.installed:
                progress.installed = NO_INDEX  # it has lost it again
            progress.compare_from(self._earlier(progress.probe, reply))

    def _earlier(self, probe: int, reply: PushReply) -> int:
        """The last index before ``probe`` at which the logs can agree; -1 when there is nothing in common."""
        if reply.hint_term != NO_TERM:
            return self._member.log.last_not_above(min(reply.hint_index, probe - 1), reply.hint_term)
        return max(NO_INDEX, min(reply.end_index, probe - 1))

    def _on_truncate_reply(self, progress: Progress, reply: PushReply, agreed: bool) -> None:
        if agreed and reply.index >= progress.probe:
            progress.append_from(reply.index + 1)
        elif not agreed and reply.index == progress.probe:
            progress.compare_from(reply.end_index)

    # ---- handing over ----

    def transfer(self, to: str) -> None:
        """Give the leadership to ``to``: TransferDone follows. Raises Refused."""
        if to not in self.progress:
            raise Refused(DLedgerCode.UNKNOWN_MEMBER, f"{to} is not another member of the group")
        if self._transferee:
            text = f"the leadership is being given to {self._transferee}"
            raise Refused(DLedgerCode.LEADER_TRANSFERRING, text)
        behind = self._member.log.last_index - self.progress[to].match
        if behind >= self._config.transfer_behind_max:
            text = f"{to} is {behind} entries behind, allowed are {self._config.transfer_behind_max - 1}"
            raise Refused(DLedgerCode.FALL_BEHIND_TOO_MUCH, text)
        self._transferee = to
        self._transfer_told = False
        self._transfer_ms = self._member.now_ms + self._config.transfer_timeout_ms
        self._tell_transferee()

    @property
    def heir(self) -> str:
        """Who was told to stand for election; NOBODY while there is none."""
        return self._transferee if self._transfer_told else NOBODY

    def _tell_transferee(self) -> None:
        """Let it stand for election when it has the whole log, which does not grow meanwhile."""
        last_index = self._member.log.last_index
        if (
            self._transferee
            and not self._transfer_told
            and self.progress[self._transferee].match == last_index
        ):
            self._transfer_told = True
            self._member.send(self._transferee, TakeLeadership(self.term, last_index))

    def on_take_leadership_reply(self, sender: str, code: int) -> None:
        if sender == self._transferee and code != DLedgerCode.SUCCESS:
            self.end_transfer(code)

    def end_transfer(self, code: int) -> None:
        self._transferee = NOBODY
        self._transfer_ms = NEVER_MS
        self._transfer_told = False
        self._preferred_pause_ms = min(2 * self._preferred_pause_ms, PREFERRED_PAUSE_MS_MAX)
        self._preferred_ms = self._member.now_ms + self._preferred_pause_ms
        self._member.emit(TransferDone(code))

    def _prefer(self) -> None:
        """Give the leadership to the preferred member that is alive and least behind."""
        wanted = self._config.preferred_leaders
        if not wanted or self._member.self_id in wanted or self._transferee:
            return
        alive_ms = self._member.now_ms - self._config.election_timeout_min_ms
        behind = [
            (self._member.log.last_index - progress.match, peer)
            for peer, progress in self.progress.items()
            if peer in wanted and progress.heard_ms > alive_ms
        ]
        if behind and min(behind)[0] < self._config.transfer_behind_max:
            self.transfer(min(behind)[1])
