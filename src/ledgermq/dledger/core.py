"""Raft as DLedger speaks it: one member's decisions, without a socket, file, clock or thread.

The driver tells what happened (a message, the time, a proposal, entries that became durable) and then takes
the effects and carries them out in order. Besides the Raft paper there are pre-vote, check quorum, leadership
transfer and read index (Ongaro's thesis 9.6, 6.2, 3.10, 6.4).

This file holds terms, roles and elections; follower.py what a follower does with its log, leader.py what one
term of leadership does. How a follower's log is brought in line is DLedger's way (Java:
``DLedgerEntryPusher``): the leader COMPAREs until an index is found at which the logs agree, TRUNCATEs what
follows, and APPENDs.

Safety, each rule tested by a mutant in the simulator:

* Term and vote are saved before a message says them (SaveState stands before Send).
* A vote goes only to a log that is not behind the voter's: by the last entry's own term, then by its index.
* What is acknowledged is durable (SendAfterPersist); the leader counts its own log the same way.
* The leader commits by counting only entries of its own term.
* A follower commits nothing beyond what is verified in this term.
* Nothing committed is truncated.

Rules of this file: it is compiled; pure; ``_become`` alone changes the role.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Final

from ledgermq.dledger.codes import DLedgerCode, Role, VoteResult
from ledgermq.dledger.follower import Follower
from ledgermq.dledger.leader import Leader
from ledgermq.dledger.member import NEVER_MS, NOBODY, CoreConfig, Member, Random, Refused
from ledgermq.dledger.messages import (
    NO_INDEX,
    NO_TERM,
    Effect,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    InstallSnapshotReply,
    Message,
    Push,
    PushReply,
    ReadFailed,
    RoleChanged,
    SaveState,
    TakeLeadership,
    TakeLeadershipReply,
    VoteReply,
    VoteRequest,
)
from ledgermq.dledger.progress import Progress
from ledgermq.dledger.term_runs import TermRuns

__all__ = ["TRANSITIONS", "Cause", "Core", "CoreConfig", "Random", "Refused"]

REVOTE_MS: Final = 20
"""A Java voter takes a larger term over first and votes when asked again; its loop turns every 10 ms."""
JAVA_CANDIDATE_MS: Final = 4500
"""A Java candidate whose round failed stands again within this time, in the highest term that it was told: up
to 3000 ms go by until it gives up a member that is away, and up to 1000 ms more. It never catches up with one
that raises the term more often."""
JAVA_FIRST_WAIT_MS: Final = 1000
"""A leader that lives connects to a member that starts within RECONNECT_MS_MAX of its link."""
LOST_LEADER_MS: Final = 50
"""At most this long after its leader's connection ended, a follower stands for election."""


class Cause(Enum):
    """Why a role changes."""

    HIGHER_TERM = "a higher term was seen"
    HEARD_LEADER = "the leader of the term was heard"
    PATIENCE_ENDED = "no leader was heard for too long"
    TOLD_TO_LEAD = "the leader hands over"
    ELECTED = "a quorum voted for it"
    LOST_QUORUM = "no quorum answers"


TRANSITIONS: Final[dict[tuple[Role, Cause], Role]] = {
    (Role.CANDIDATE, Cause.HIGHER_TERM): Role.CANDIDATE,
    (Role.CANDIDATE, Cause.HEARD_LEADER): Role.FOLLOWER,
    (Role.CANDIDATE, Cause.PATIENCE_ENDED): Role.CANDIDATE,
    (Role.CANDIDATE, Cause.ELECTED): Role.LEADER,
    (Role.FOLLOWER, Cause.HIGHER_TERM): Role.CANDIDATE,
    (Role.FOLLOWER, Cause.HEARD_LEADER): Role.FOLLOWER,
    (Role.FOLLOWER, Cause.PATIENCE_ENDED): Role.CANDIDATE,
    (Role.FOLLOWER, Cause.TOLD_TO_LEAD): Role.CANDIDATE,
    (Role.LEADER, Cause.HIGHER_TERM): Role.CANDIDATE,
    (Role.LEADER, Cause.LOST_QUORUM): Role.CANDIDATE,
}
"""What is not here never happens: a leader hears no other leader of its term, a follower is not elected."""


BEHIND: Final = (VoteResult.REJECT_EXPIRED_LEDGER_TERM, VoteResult.REJECT_SMALL_LEDGER_END_INDEX)
"""The voter's log has more than the candidate's."""
TRY_AGAIN: Final = (VoteResult.REJECT_EXPIRED_VOTE_TERM, VoteResult.REJECT_ALREADY_VOTED)
"""In a later term the candidate can win."""


class _Ballot:
    """The answers to one round of vote requests."""

    def __init__(self, term: int, pre: bool) -> None:
        self.term = term
        self.pre = pre
        self.accepted: set[str] = set()
        self.not_ready: list[str] = []
        self.ask_again_ms = NEVER_MS


class Core:
    """One member of one group; see the head of this file, and messages.py for what goes in and out.

    ``first_index`` is the ledger's lowest entry, ``last_index`` its last (``first_index - 1`` when it is
    empty), ``runs`` the first index and term of each run of equal terms, ``base_term`` the term of entry
    ``first_index - 1`` where a snapshot tells it. ``commit_index`` is one known to be committed.
    """

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
        if self_id not in members:
            raise ValueError(f"{self_id!r} is not one of the members {', '.join(members)}")
        log = TermRuns(first_index, last_index, runs, base_term)
        self._member: Final = Member(self_id, tuple(members), config, log, commit_index, now_ms)
        self._random: Final = random
        self.role = Role.CANDIDATE
        self.leader_id: str | None = None
        self.term = max(term, log.last_term)
        # A log of a later term than the saved one: the saved one is lost, and whom it voted for. No second
        # vote, then.
        self.vote = vote if self.term == term else self_id
        self._follower = Follower(self._member, self.term)
        self._leader: Leader | None = None
        self._ballot: _Ballot | None = None
        self._election_ms = 0
        self._patience_ms = 0
        """With the leader that is followed: drawn once, because it speaks thousands of times a second."""
        self._leader_heard_ms = now_ms
        self._leader_heard = False
        self._leader_lost = False
        self._hand_over: TakeLeadership | None = None
        self._hand_over_from = NOBODY
        self._hand_over_ms = NEVER_MS
        self._wait_for_election()

    # ---- what the driver may ask ----

    @property
    def self_id(self) -> str:
        return self._member.self_id

    @property
    def members(self) -> tuple[str, ...]:
        return self._member.members

    @property
    def first_index(self) -> int:
        return self._member.log.first_index

    @property
    def last_index(self) -> int:
        return self._member.log.last_index

    @property
    def last_term(self) -> int:
        return self._member.log.last_term

    @property
    def commit_index(self) -> int:
        return self._member.commit_index

    @property
    def persisted_index(self) -> int:
        return self._member.persisted_index

    def term_at(self, index: int) -> int:
        """The term of an entry; NO_TERM where the log has none."""
        return self._member.log.term_at(index)

    def progress_of(self, peer: str) -> Progress | None:
        """What a leader knows of a follower, for those who watch."""
        return self._leader.progress.get(peer) if self._leader is not None else None

    @property
    def room(self) -> int:
        """How many entries may be proposed now; 0 for who does not lead."""
        return max(0, self._leader.room) if self._leader is not None else 0

    @property
    def next_deadline_ms(self) -> int:
        """``tick`` has something to do at this time, not before."""
        if self._leader is not None:
            return self._leader.next_deadline_ms
        again_ms = self._ballot.ask_again_ms if self._ballot is not None else NEVER_MS
        return min(self._election_ms, again_ms, self._hand_over_ms)

    def take(self) -> list[Effect]:
        """What is to be done, in order; to be asked again until there is nothing."""
        if self._leader is not None:
            self._leader.feed()
        effects = self._member.effects
        self._member.effects = []
        return effects

    # ---- events ----

    def tick(self, now_ms: int) -> None:
        """Time has passed."""
        self._member.now_ms = now_ms
        if self._leader is not None:
            if self._member.config.check_quorum and self._leader.is_cut_off():
                self._become(Role.CANDIDATE, Cause.LOST_QUORUM, None)
                self._wait_for_election()
            else:
                self._leader.tick()
            return
        if now_ms >= self._hand_over_ms:
            self._answer_hand_over(DLedgerCode.TAKE_LEADERSHIP_FAILED)
        if self._ballot is not None and now_ms >= self._ballot.ask_again_ms:
            self._ask_again(self._ballot)
        if now_ms >= self._election_ms:
            self._become(Role.CANDIDATE, Cause.PATIENCE_ENDED, None)
            self._campaign(pre=self._can_pre_vote())

    def receive(self, now_ms: int, sender: str, message: Message) -> None:
        """A member says something. What strangers say is ignored: the node answers them."""
        self._member.now_ms = now_ms
        if sender not in self._member.peers:
            return
        match message:
            case Push():
                self._on_push(sender, message)
            case Heartbeat():
                self._on_heartbeat(sender, message)
            case VoteRequest():
                self._on_vote_request(sender, message)
            case TakeLeadership():
                self._on_take_leadership(sender, message)
            case InstallSnapshot():
                self._on_install_snapshot(sender, message)
            case VoteReply():
                self._on_vote_reply(sender, message)
            case _:
                self._on_reply(sender, message)

    def _on_reply(
        self, sender: str, reply: PushReply | HeartbeatReply | TakeLeadershipReply | InstallSnapshotReply
    ) -> None:
        if reply.term > self.term:
            self._adopt(reply.term)
        elif self._leader is not None and reply.term == self.term:
            match reply:
                case PushReply():
                    self._leader.on_push_reply(sender, reply)
                case HeartbeatReply():
                    self._leader.on_heartbeat_reply(sender, reply)
                case TakeLeadershipReply():
                    self._leader.on_take_leadership_reply(sender, reply.code)
                case InstallSnapshotReply():  # the driver sends the pieces
                    if reply.done and reply.code == DLedgerCode.SUCCESS:
                        self._leader.installed(sender, reply.last_index)

    def propose(self, now_ms: int, count: int) -> int:
        """``count`` entries of this leader; returns the index of the first, their term is ``term``.

        The caller writes them to its ledger at once. Raises Refused.
        """
        self._member.now_ms = now_ms
        return self._led().propose(count)

    def _led(self) -> Leader:
        if self._leader is None:
            raise Refused(DLedgerCode.NOT_LEADER, f"{self.self_id} does not lead, {self.leader_id} does")
        return self._leader

    def persisted(self, index: int, term: int) -> None:
        """The ledger is durable up to this entry. Ignored when the entry is gone: other bytes stand there."""
        if index <= self._member.persisted_index or self.term_at(index) != term:
            return
        self._member.persisted_index = index
        if self._leader is not None:
            self._leader.count_commit()
        elif self.role is Role.FOLLOWER:
            self._follower.follow_commit()

    def pushed(self, to: str, last_index: int) -> None:
        """The APPEND of a SendEntries has left, with entries up to ``last_index``."""
        if self._leader is not None:
            self._leader.pushed(to, last_index)

    def peer_is_java(self, peer: str, java: bool) -> None:
        """First contact told which kind of node ``peer`` is."""
        if java:
            self._member.java.add(peer)
            if not self._leader_heard:
                # Without pre-votes, who starts beside a leader that it has not heard yet would depose it.
                self._election_ms = max(self._election_ms, self._member.now_ms + JAVA_FIRST_WAIT_MS)
        else:
            self._member.java.discard(peer)

    def disconnected(self, now_ms: int, peer: str) -> None:
        """The connection with ``peer`` has ended: if it leads, it has perhaps died, and there is no need to
        wait the whole patience. Pre-votes keep a false alarm from disturbing anyone; without them it is
        ignored."""
        self._member.now_ms = now_ms
        if self.role is Role.FOLLOWER and peer == self.leader_id and self._can_pre_vote():
            self._leader_lost = True
            self._election_ms = min(self._election_ms, now_ms + self._random.randrange(1, LOST_LEADER_MS))

    def read(self, now_ms: int, token: int) -> None:
        """A linearizable read: ReadReady or ReadFailed with ``token`` follows."""
        self._member.now_ms = now_ms
        if self._leader is None:
            self._member.emit(ReadFailed(token, DLedgerCode.NOT_LEADER))
        else:
            self._leader.read(token)

    def transfer(self, now_ms: int, to: str) -> None:
        """Give the leadership to ``to``: TransferDone follows. Raises Refused."""
        self._member.now_ms = now_ms
        self._led().transfer(to)

    def snapshot_sent(self, now_ms: int, to: str, ok: bool) -> None:
        """The snapshot of a SendSnapshot has been installed there, or could not be."""
        self._member.now_ms = now_ms
        if self._leader is not None:
            self._leader.snapshot_sent(to, ok)

    def snapshot_received(self, now_ms: int, piece: InstallSnapshot, ok: bool) -> None:
        """All pieces of a SnapshotPiece's snapshot are durable here, or it turned out to be damaged."""
        self._member.now_ms = now_ms
        if self.role is Role.FOLLOWER and piece.term == self.term and self.leader_id is not None:
            self._follower.snapshot_received(self.leader_id, piece, ok)

    def log_starts_at(self, first_index: int) -> None:
        """The entries before ``first_index``, all committed, are gone from the ledger."""
        if first_index > self.commit_index + 1:
            raise ValueError(
                f"entry {first_index - 1} is not committed: the last that is, is {self.commit_index}"
            )
        self._member.log.start_at(first_index)

    # ---- terms and roles ----

    def _become(self, role: Role, cause: Cause, leader_id: str | None) -> None:
        if TRANSITIONS.get((self.role, cause)) is not role:
            raise AssertionError(f"{self.role.name} does not become {role.name} because {cause.value}")
        if self._leader is not None:
            self._leader.resign(cause is Cause.HIGHER_TERM)
            self._leader = None
        self._ballot = None
        if role is not self.role or leader_id != self.leader_id:
            self.role = role
            self.leader_id = leader_id
            self._member.emit(RoleChanged(role, self.term, leader_id))

    def _enter(self, term: int, vote: str) -> None:
        """Begin ``term``, or vote in it. What a leader of an earlier term made of the log holds no more."""
        self.term = term
        self.vote = vote
        self._member.emit(SaveState(term, vote))
        self._follower = Follower(self._member, self.term)
        if self._hand_over is not None and term > self._hand_over.term + 1:
            self._answer_hand_over(DLedgerCode.EXPIRED_TERM)

    def _adopt(self, term: int, vote: str = NOBODY) -> None:
        """A higher term was seen: follow it, without a leader yet.

        Who was waiting to stand for election waits no longer for it: a member that cannot win, but is quick
        to try, would keep back the one that can.
        """
        leader = self._leader
        heir = NOBODY if leader is None else leader.heir
        self._enter(term, vote)
        self._become(Role.CANDIDATE, Cause.HIGHER_TERM, None)
        if leader is not None:
            self._wait_for_election()
        if heir in self._member.java:
            # It raises its term at once, and asks for votes up to a second later.
            self._election_ms = max(self._election_ms, self._member.now_ms + JAVA_CANDIDATE_MS)

    def _draw_patience_ms(self) -> int:
        config = self._member.config
        return self._random.randrange(config.election_timeout_min_ms, config.election_timeout_max_ms)

    def _wait_for_election(self) -> None:
        wait_ms = self._draw_patience_ms() if len(self.members) > 1 else 0
        self._election_ms = self._member.now_ms + wait_ms

    # ---- election: the one who asks ----

    def _can_pre_vote(self) -> bool:
        """Java does not understand it, and its vote may be needed."""
        return self._member.config.pre_vote and not self._member.java and len(self.members) > 1

    def _campaign(self, pre: bool) -> None:
        if not pre:
            self._enter(self.term + 1, self.self_id)
        ballot = _Ballot(self.term + 1 if pre else self.term, pre)
        self._ballot = ballot
        self._wait_for_election()
        for peer in self._member.peers:
            self._ask_vote(peer, ballot)
        self._accepted(self.self_id, ballot)

    def _ask_vote(self, peer: str, ballot: _Ballot) -> None:
        self._member.send(peer, VoteRequest(ballot.term, self.last_index, self.last_term, ballot.pre))

    def _ask_again(self, ballot: _Ballot) -> None:
        for peer in ballot.not_ready:
            self._ask_vote(peer, ballot)
        ballot.not_ready = []
        ballot.ask_again_ms = NEVER_MS

    def _accepted(self, voter: str, ballot: _Ballot) -> None:
        ballot.accepted.add(voter)
        if len(ballot.accepted) < self._member.quorum:
            return
        if ballot.pre:
            self._campaign(pre=False)
            return
        self._become(Role.LEADER, Cause.ELECTED, self.self_id)
        self._leader = Leader(self._member, self.term)
        if self._hand_over is not None:
            self._answer_hand_over(DLedgerCode.SUCCESS)

    def _on_vote_reply(self, sender: str, reply: VoteReply) -> None:
        ballot = self._ballot
        promised = reply.pre and reply.result is VoteResult.ACCEPT  # of the asked term, not the voter's own
        if reply.term > self.term and not promised:
            self._adopt(reply.term)
        elif ballot is None or reply.pre != ballot.pre:
            return
        elif reply.result is VoteResult.ACCEPT and reply.term == ballot.term:
            self._accepted(sender, ballot)
        elif reply.result is VoteResult.REJECT_TERM_NOT_READY:
            ballot.not_ready.append(sender)
            ballot.ask_again_ms = self._member.now_ms + REVOTE_MS
        elif sender in self._member.java and reply.result is VoteResult.REJECT_ALREADY_HAS_LEADER:
            # Its leader will be heard; without pre-votes, asking on would raise the term under it.
            self._election_ms = self._member.now_ms + self._member.config.java_patience_ms
        elif sender in self._member.java and reply.result in BEHIND:
            self._election_ms = max(self._election_ms, self._member.now_ms + JAVA_CANDIDATE_MS)

    # ---- election: the one who is asked ----

    def _on_vote_request(self, sender: str, request: VoteRequest) -> None:
        result = self._judge(sender, request)
        accepted = result is VoteResult.ACCEPT
        if request.pre:
            reply = VoteReply(request.term if accepted else self.term, result, True)
            self._member.send(sender, reply)
            return
        if accepted:
            if request.term > self.term:
                self._adopt(request.term, sender)
            elif self.vote != sender:
                self._enter(self.term, sender)
            self._wait_for_election()
        elif request.term > self.term and not self._leader_lives():
            # Its log is too old to win, but its term counts, or this member would stand in terms gone by.
            self._adopt(request.term)
        elif self.leader_id is None and sender in self._member.java and result in TRY_AGAIN:
            self._election_ms = max(self._election_ms, self._member.now_ms + JAVA_CANDIDATE_MS)
        self._member.send(sender, VoteReply(self.term, result))

    def _judge(self, sender: str, request: VoteRequest) -> VoteResult:
        """DLedger's order: the log, the term, the vote (Java: ``DLedgerLeaderElector.handleVote``)."""
        if request.last_term < self.last_term:
            return VoteResult.REJECT_EXPIRED_LEDGER_TERM
        if request.last_term == self.last_term and request.last_index < self.last_index:
            return VoteResult.REJECT_SMALL_LEDGER_END_INDEX
        if request.term < self.term:
            return VoteResult.REJECT_EXPIRED_VOTE_TERM
        if request.pre:
            if self._leader_lives():
                return VoteResult.REJECT_ALREADY_HAS_LEADER
            return VoteResult.ACCEPT if request.term > self.term else VoteResult.REJECT_ALREADY_VOTED
        if request.term > self.term or self.vote == sender:
            return VoteResult.ACCEPT
        if self.leader_id is not None:
            return VoteResult.REJECT_ALREADY_HAS_LEADER
        return VoteResult.ACCEPT if self.vote == NOBODY else VoteResult.REJECT_ALREADY_VOTED

    def _leader_lives(self) -> bool:
        """Whether this member leads, or has heard its leader within the shortest patience."""
        if self._leader is not None:
            return True
        if self.role is not Role.FOLLOWER or self._leader_lost:
            return False
        silent_ms = self._member.now_ms - self._leader_heard_ms
        return silent_ms < self._member.config.election_timeout_min_ms

    # ---- following ----

    def _hear_leader(self, sender: str, term: int) -> int:
        """A message that only the leader of ``term`` sends: SUCCESS when it is to be taken."""
        if term < self.term:
            return DLedgerCode.EXPIRED_TERM
        if term > self.term:
            self._adopt(term)
        if self.leader_id not in (None, sender):
            return DLedgerCode.INCONSISTENT_LEADER
        if self.leader_id is None:
            self._become(Role.FOLLOWER, Cause.HEARD_LEADER, sender)
            self._patience_ms = self._draw_patience_ms()
        if self._hand_over is not None and self.term > self._hand_over.term:
            self._answer_hand_over(DLedgerCode.TAKE_LEADERSHIP_FAILED)
        self._leader_heard_ms = self._member.now_ms
        self._leader_heard = True
        self._leader_lost = False
        java = sender in self._member.java
        patience_ms = self._member.config.java_patience_ms if java else self._patience_ms
        self._election_ms = self._member.now_ms + patience_ms
        return DLedgerCode.SUCCESS

    def _on_heartbeat(self, sender: str, heartbeat: Heartbeat) -> None:
        if heartbeat.interval_ms == 0:
            self._member.java.add(sender)
        code = self._hear_leader(sender, heartbeat.term)
        if code == DLedgerCode.SUCCESS:
            own_ms = self._member.config.heartbeat_interval_ms
            if heartbeat.interval_ms > own_ms:
                # A leader slower than this member would be deserves the same number of heartbeats.
                patience_ms = self._election_ms - self._member.now_ms
                self._election_ms = self._member.now_ms + patience_ms * heartbeat.interval_ms // own_ms
            self._follower.hear_commit(heartbeat.commit_index)
        self._member.send(sender, HeartbeatReply(self.term, heartbeat.round, code))

    def _on_push(self, sender: str, push: Push) -> None:
        code = self._hear_leader(sender, push.term)
        if code == DLedgerCode.SUCCESS:
            self._follower.push(sender, push)
            self._stand_if_ready()
            return
        log = self._member.log
        reply = PushReply(push.kind, self.term, code, push.prev_index, log.first_index, log.last_index)
        self._member.send(sender, reply)

    def _on_install_snapshot(self, sender: str, piece: InstallSnapshot) -> None:
        code = self._hear_leader(sender, piece.term)
        if code == DLedgerCode.SUCCESS:
            self._follower.snapshot_piece(sender, piece)
            return
        reply = InstallSnapshotReply(self.term, code, piece.last_index, piece.offset, False)
        self._member.send(sender, reply)

    # ---- taking the leadership over ----

    def _on_take_leadership(self, sender: str, message: TakeLeadership) -> None:
        if message.term != self.term or self.leader_id != sender:
            same_term = message.term == self.term
            code = DLedgerCode.INCONSISTENT_LEADER if same_term else DLedgerCode.INCONSISTENT_TERM
            self._member.send(sender, TakeLeadershipReply(self.term, code))
            return
        self._hand_over = message
        self._hand_over_from = sender
        self._hand_over_ms = self._member.now_ms + self._member.config.transfer_timeout_ms
        self._stand_if_ready()

    def _stand_if_ready(self) -> None:
        """Stand for election without a pre-vote, which the leader's own voters would refuse."""
        message = self._hand_over
        if message is None or self.role is not Role.FOLLOWER or message.term != self.term:
            return
        if self.last_index >= message.index:
            self._become(Role.CANDIDATE, Cause.TOLD_TO_LEAD, None)
            self._campaign(pre=False)

    def _answer_hand_over(self, code: int) -> None:
        self._member.send(self._hand_over_from, TakeLeadershipReply(self.term, code))
        self._hand_over = None
        self._hand_over_ms = NEVER_MS
