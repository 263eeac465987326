"""What the members of a group say to each other, and what a core wants done.

Indexes count entries from 0, as DLedger does: an empty log has the last index -1 and the last term -1.
Messages are values without sender or receiver; these travel beside them.

Rules of this file: values only, never changed once made. Payloads stay encoded (entries.py): the core never
looks into a body.
"""

from __future__ import annotations

import msgspec

from ledgermq.dledger.codes import PushKind, Role, VoteResult

NO_INDEX = -1
NO_TERM = -1


class Entries(msgspec.Struct, frozen=True):
    """Consecutive entries, encoded as they are in the ledger's data file: no gap, and within one file."""

    first_index: int
    last_index: int
    first_pos: int
    """Where the first entry starts in the data file: the same on every member."""
    runs: tuple[tuple[int, int], ...]
    """(first index, term) of each run of equal terms, in order; the first run starts at first_index."""
    payload: bytes

    @property
    def end_pos(self) -> int:
        """Behind the last entry."""
        return self.first_pos + len(self.payload)


class VoteRequest(msgspec.Struct, frozen=True):
    """Vote for me in ``term``; ``pre``: would you? (nothing is promised)."""

    term: int
    last_index: int
    last_term: int
    pre: bool = False


class VoteReply(msgspec.Struct, frozen=True):
    """``term`` is the voter's own term, for a pre-vote that is accepted the asked one."""

    term: int
    result: VoteResult
    pre: bool = False


class Heartbeat(msgspec.Struct, frozen=True):
    """The leader lives. ``commit_index`` never exceeds what the follower is known to have.

    ``interval_ms`` is the time to the next one: the follower's patience is a multiple of it. Java's has no
    such field: 0, which means Java's 2000 ms.
    """

    term: int
    round: int
    commit_index: int
    interval_ms: int


class HeartbeatReply(msgspec.Struct, frozen=True):
    term: int
    round: int
    code: int


class Push(msgspec.Struct, frozen=True):
    """A leader's request to change or check the follower's log.

    ``entries`` is there in an APPEND, and in the COMPARE and TRUNCATE of a Java leader (the one entry at
    ``prev_index``). ``prev_term`` is NO_TERM in a Java leader's APPEND, which does not say it.
    """

    kind: PushKind
    term: int
    prev_index: int
    prev_term: int
    commit_index: int
    entries: Entries | None = None


class PushReply(msgspec.Struct, frozen=True):
    """``index`` is where the logs agree when the code is SUCCESS, else the ``prev_index`` of the request.

    ``hint_index`` and ``hint_term`` after a failed COMPARE: the follower's last entry at or before the asked
    one whose term is not above the asked one's; Java's replies have NO_TERM there.
    """

    kind: PushKind
    term: int
    code: int
    index: int
    begin_index: int
    end_index: int
    hint_index: int = NO_INDEX
    hint_term: int = NO_TERM


class TakeLeadership(msgspec.Struct, frozen=True):
    """Stand for election at once, when you have the log up to ``index``."""

    term: int
    index: int


class TakeLeadershipReply(msgspec.Struct, frozen=True):
    term: int
    code: int


class InstallSnapshot(msgspec.Struct, frozen=True):
    """A piece of the state machine's snapshot after entry ``last_index``; ``done`` with the last piece.

    ``next_pos`` is the position in the data file behind that entry; the next one may begin the next file.
    """

    term: int
    last_index: int
    last_term: int
    next_pos: int
    offset: int
    data: bytes
    done: bool


class InstallSnapshotReply(msgspec.Struct, frozen=True):
    """``offset`` bytes of the snapshot after ``last_index`` have arrived; SUCCESS and ``done``: installed."""

    term: int
    code: int
    last_index: int
    offset: int
    done: bool


Message = (
    VoteRequest
    | VoteReply
    | Heartbeat
    | HeartbeatReply
    | Push
    | PushReply
    | TakeLeadership
    | TakeLeadershipReply
    | InstallSnapshot
    | InstallSnapshotReply
)


# ---- effects: carried out in the order in which they are returned ----


class SaveState(msgspec.Struct, frozen=True):
    """Make term and vote durable before the next effect; drop every message held by SendAfterPersist."""

    term: int
    vote: str


class Append(msgspec.Struct, frozen=True):
    """Write a leader's entries behind the log's end; they are durable when Core.persisted says so."""

    entries: Entries


class AppendNoop(msgspec.Struct, frozen=True):
    """Write the entry that opens this leader's term: only with it may older terms' entries be committed."""

    index: int
    term: int


class Truncate(msgspec.Struct, frozen=True):
    """Durably remove all entries after ``last_index``; drop every message held by SendAfterPersist."""

    last_index: int
    base_term: int = NO_TERM
    """When no entry is left: the term of ``last_index``, which the ledger may not know."""


class Reset(msgspec.Struct, frozen=True):
    """Durably drop the whole log; the next entry follows ``last_index``, at ``next_pos`` of the data file.

    Drop every message held by SendAfterPersist.
    """

    last_index: int
    last_term: int
    next_pos: int


class Send(msgspec.Struct, frozen=True):
    to: str
    message: Message


class SendAfterPersist(msgspec.Struct, frozen=True):
    """Send when the entries up to ``index`` are durable here: the message promises that they are.

    Its own kind, so that an acknowledgement cannot leave before its bytes are safe by an oversight.
    """

    to: str
    message: Message
    index: int


class SendEntries(msgspec.Struct, frozen=True):
    """Send an APPEND that begins at ``first_index``, of as many entries as fit one message; then call
    Core.pushed with the last of them."""

    to: str
    term: int
    first_index: int
    prev_term: int
    commit_index: int


class SendSnapshot(msgspec.Struct, frozen=True):
    """Send the newest snapshot in pieces; then call Core.snapshot_sent."""

    to: str
    term: int


class SnapshotPiece(msgspec.Struct, frozen=True):
    """Keep a piece of the leader's snapshot and answer it; after the last one, when the snapshot is whole and
    durable (or is not), call Core.snapshot_received."""

    sender: str
    piece: InstallSnapshot


class InstallReceived(msgspec.Struct, frozen=True):
    """Have the state machine load the snapshot that was received. The Reset of the log went before."""

    last_index: int
    last_term: int


class Commit(msgspec.Struct, frozen=True):
    """Entries up to ``index`` are committed: apply them, answer who waits for them."""

    index: int


class FailProposals(msgspec.Struct, frozen=True):
    """Nobody learns here what becomes of the proposals ``first_index`` to ``last_index``: answer ``code``.

    TERM_CHANGED and WAIT_QUORUM_ACK_TIMEOUT do not say that they are lost.
    """

    first_index: int
    last_index: int
    code: int


class RoleChanged(msgspec.Struct, frozen=True):
    role: Role
    term: int
    leader_id: str | None


class ReadReady(msgspec.Struct, frozen=True):
    """Read ``token`` may be served when everything up to ``index`` is applied."""

    token: int
    index: int


class ReadFailed(msgspec.Struct, frozen=True):
    token: int
    code: int


class TransferDone(msgspec.Struct, frozen=True):
    """The leadership transfer asked of this leader has ended."""

    code: int


Effect = (
    SaveState
    | Append
    | AppendNoop
    | Truncate
    | Reset
    | Send
    | SendAfterPersist
    | SendEntries
    | SendSnapshot
    | SnapshotPiece
    | InstallReceived
    | Commit
    | FailProposals
    | RoleChanged
    | ReadReady
    | ReadFailed
    | TransferDone
)
