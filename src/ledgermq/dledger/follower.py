"""What a follower does with its leader's pushes.

``verified`` is the index up to which the log is known to equal this term's leader's. It starts anew with each
term: at the commit index, for every leader has what is committed, or after a restart at the last entry, if
that is of the term. COMPARE raises it, TRUNCATE makes the log end there, APPEND is taken only directly behind
it. So an APPEND needs to tell nothing of the entry before, as Java's does not.

Rules of this file: it is compiled; pure. Nothing committed is ever cut, whoever asks; nothing beyond
``verified`` is committed; whatever says that the logs agree leaves after the entries are durable.
"""

from __future__ import annotations

from ledgermq.dledger.codes import DLedgerCode, PushKind
from ledgermq.dledger.member import Member
from ledgermq.dledger.messages import (
    NO_INDEX,
    NO_TERM,
    Append,
    InstallReceived,
    InstallSnapshot,
    InstallSnapshotReply,
    Push,
    PushReply,
    Send,
    SendAfterPersist,
    SnapshotPiece,
)


class Follower:
    """A member's log as one term's leader shapes it."""

    def __init__(self, member: Member, term: int) -> None:
        self._member = member
        # An entry of this very term came from this very leader, before a restart, and so did all before it.
        # What was acknowledged then must be known still, or a TRUNCATE from before it could take it back.
        known = member.log.last_index if member.log.last_term == term else NO_INDEX
        self.verified = max(member.commit_index, known)
        self._leader_commit = NO_INDEX

    def push(self, leader: str, push: Push) -> None:
        """Do what a push of this term's leader asks, and answer it."""
        member = self._member
        agreed = self._carry_out(push)
        self.hear_commit(push.commit_index)
        if agreed is None:
            hint_index = member.log.last_not_above(push.prev_index, push.prev_term)
            reply = self.reply(push, DLedgerCode.INCONSISTENT_STATE, push.prev_index, hint_index)
            member.send(leader, reply)
            return
        reply = self.reply(push, DLedgerCode.SUCCESS, agreed)
        if push.kind is PushKind.COMMIT:
            member.send(leader, reply)
        else:
            member.emit(SendAfterPersist(leader, reply, agreed))

    def reply(self, push: Push, code: int, index: int, hint_index: int = NO_INDEX) -> PushReply:
        log = self._member.log
        return PushReply(
            push.kind,
            push.term,
            code,
            index,
            log.first_index,
            log.last_index,
            hint_index,
            log.term_at(hint_index),
        )

    def _carry_out(self, push: Push) -> int | None:
        """The index up to which the logs agree now; None when they do not, or when it is refused."""
        match push.kind:
            case PushKind.APPEND:
                return self._append(push)
            case PushKind.COMPARE:
                return self._compare(push)
            case PushKind.TRUNCATE:
                return self._truncate(push)
            case PushKind.COMMIT:
                return self.verified

    def _compare(self, push: Push) -> int | None:
        if push.prev_index > self.verified:
            if not self._member.last_is(push.prev_index, push.prev_term):
                return None
            self.verified = push.prev_index
        return self.verified

    def _truncate(self, push: Push) -> int | None:
        member, index = self._member, push.prev_index
        # The term of the entry before a log can be forgotten, here or there.
        if index == member.log.first_index - 1 and index <= self.verified:
            member.log.tell_base_term(push.prev_term)
        unsaid = index <= self.verified and NO_TERM in (push.prev_term, member.log.term_at(index))
        if unsaid or member.last_is(index, push.prev_term):
            if index < member.commit_index:
                return None
            # What is verified is the leader's own: a TRUNCATE that came late must not take back what was
            # acknowledged since.
            self.verified = max(self.verified, index)
            if self.verified < member.log.last_index and not member.log.knows(self.verified):
                # Without a last entry whose term it knows this member would vote for anybody, also for who
                # lacks what is committed.
                return None
            member.cut(self.verified)
            return self.verified
        if push.entries is None or index <= member.commit_index:
            return None
        # A Java leader sends the entry itself: it becomes the last one.
        if index > member.log.last_index + 1:
            member.reset(index - 1, NO_TERM, push.entries.first_pos)
        else:
            member.cut(index - 1)
        self._take(push)
        return index

    def _append(self, push: Push) -> int | None:
        entries = push.entries
        if entries is None:
            return None
        if entries.last_index <= self.verified:
            return entries.last_index  # sent twice
        if entries.first_index != self.verified + 1 or self._member.log.last_index != self.verified:
            return None  # a gap, or a tail that is not the leader's
        self._take(push)
        return entries.last_index

    def _take(self, push: Push) -> None:
        if push.entries is not None:
            self._member.log.append(push.entries.last_index, push.entries.runs)
            self._member.emit(Append(push.entries))
            self.verified = push.entries.last_index

    def hear_commit(self, index: int) -> None:
        """The leader has committed up to ``index``."""
        self._leader_commit = max(self._leader_commit, index)
        self.follow_commit()

    def follow_commit(self) -> None:
        """Commit what the leader has committed, as far as it is here."""
        self._member.commit(min(self._leader_commit, self.verified))

    def snapshot_piece(self, leader: str, piece: InstallSnapshot) -> None:
        member = self._member
        if piece.last_index > member.commit_index:
            member.emit(SnapshotPiece(leader, piece))
        else:  # it is not needed any more
            member.send(leader, _installed(piece, DLedgerCode.SUCCESS))

    def snapshot_received(self, leader: str, piece: InstallSnapshot, ok: bool) -> None:
        member = self._member
        if ok and piece.last_index > member.commit_index:
            member.reset(piece.last_index, piece.last_term, piece.next_pos)
            member.emit(InstallReceived(piece.last_index, piece.last_term))
            self.verified = piece.last_index
        code = DLedgerCode.SUCCESS if ok else DLedgerCode.LOAD_SNAPSHOT_ERROR
        member.emit(Send(leader, _installed(piece, code)))


def _installed(piece: InstallSnapshot, code: int) -> InstallSnapshotReply:
    done = code == DLedgerCode.SUCCESS
    return InstallSnapshotReply(piece.term, code, piece.last_index, piece.offset, done)
