"""The members' messages as DLedger's JSON: what a Java node sends us and answers, what we send and answer it.

=====================  =============================================================================
request                message
=====================  =============================================================================
VOTE                   VoteRequest; the candidate is ``leaderId``
HEART_BEAT             Heartbeat, of round 0 and interval 0: Java's says neither
PUSH COMPARE           Push with the entry to compare: ``prev_index`` is its index
PUSH TRUNCATE          Push with the entry that is to be the last, which Java writes when it is not there
PUSH APPEND            Push with one entry (``entry``) or several (``batchEntry``)
PUSH COMMIT            Push without entries
LEADERSHIP_TRANSFER    TakeLeadership; also a client's request to a leader, see TransferRequest
=====================  =============================================================================

A reply does not say what it answers: request and reply are paired by the frame's ``opaque``, and each
function about a reply is given the request. Sources: Java's ``DLedgerEntryPusher``, ``DLedgerLeaderElector``,
``PushEntryRequest``, ``PushEntryResponse``, ``VoteResponse``.

Rules of this file: pure; what a peer sent is a message or a ProtocolError, whatever the bytes are. Entries
that come are put into the form of the data file here, with the CRC fields as they came; whether they fit the
log is for core and ledger.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import Final

import msgspec

from ledgermq.dledger.codes import DLedgerCode, DLedgerRequest, PushKind, VoteResult
from ledgermq.dledger.entries import ENTRY_HEAD_BYTES, ENTRY_MAGIC
from ledgermq.dledger.errors import ProtocolError
from ledgermq.dledger.messages import (
    NO_INDEX,
    NO_TERM,
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
from ledgermq.dledger.requests import Body, Entry, Index, TransferReply, TransferRequest, decode, encode
from ledgermq.remoting.headers import I32, I64
from ledgermq.runtime.limits import ENTRY_BODY_BYTES_MAX

_ENTRY_HEAD: Final = Struct(">iiqqqiiii")
"""See entries.py."""


class VoteRequestBody(Body):
    ledger_end_index: Index = -1
    ledger_end_term: Index = -1


class VoteReplyBody(Body):
    vote_result: str = VoteResult.UNKNOWN.value


class HeartbeatBody(Body):
    """HEART_BEAT and its answer: nothing but what every body has."""


class PushRequestBody(Body):
    """Java writes more (count, firstEntryIndex, …), which follows from these."""

    type: PushKind = PushKind.APPEND
    commit_index: Index = -1
    entry: Entry | None = None
    batch_entry: list[Entry] = msgspec.field(default_factory=list)


class PushReplyBody(Body):
    """``index`` is the request's first entry, ``count`` how many it had; neither in answer to a COMMIT."""

    index: Index | None = None
    begin_index: I64 = 0
    end_index: I64 = 0
    count: I32 = 0


class PeerRequest(msgspec.Struct, frozen=True):
    """A Java member's request: ``message`` from ``sender`` to ``receiver`` (who should be this node)."""

    group: str
    sender: str
    receiver: str
    message: Message


# ---- requests ----


def encode_request(
    message: Message, group: str, sender: str, receiver: str, entry: Entries | None = None
) -> tuple[int, bytes]:
    """Request code and body of ``message``, a request, for the Java member ``receiver``.

    ``entry`` goes with a COMPARE or TRUNCATE: the entry at ``prev_index``, or, when that is before the log's
    begin, the first one of all. Pre-votes and snapshots cannot be said; ValueError.
    """
    if isinstance(message, Heartbeat):
        code, body = DLedgerRequest.HEART_BEAT, Body()
    elif isinstance(message, Push):
        code, body = DLedgerRequest.PUSH, _push_body(message, entry)
    elif isinstance(message, VoteRequest) and not message.pre:
        code = DLedgerRequest.VOTE
        body = VoteRequestBody(ledger_end_index=message.last_index, ledger_end_term=message.last_term)
    elif isinstance(message, TakeLeadership):
        code = DLedgerRequest.LEADERSHIP_TRANSFER
        body = TransferRequest(
            transfer_id=sender, transferee_id=receiver, take_leadership_ledger_index=message.index
        )
    else:
        raise ValueError(f"{type(message).__name__} has no form in JSON")
    body.group = group
    body.local_id = sender
    body.remote_id = receiver
    body.leader_id = sender
    body.term = message.term
    return code, encode(body)


def _push_body(push: Push, entry: Entries | None) -> PushRequestBody:
    body = PushRequestBody(type=push.kind, commit_index=push.commit_index)
    if push.kind in (PushKind.COMPARE, PushKind.TRUNCATE):
        if entry is None:
            raise ValueError(f"{push.kind.name} needs the entry at {push.prev_index}")
        [body.entry] = split_entries(entry.payload)
    elif push.entries is not None:
        entries = split_entries(push.entries.payload)
        if len(entries) == 1:
            body.entry = entries[0]
        else:
            body.batch_entry = entries
    return body


def decode_request(code: int, body: bytes) -> PeerRequest:
    """What a Java member asks with VOTE, HEART_BEAT or PUSH. Raises ProtocolError.

    LEADERSHIP_TRANSFER, which clients send as well, is for the caller to tell apart, by TransferRequest and
    :func:`take_leadership`.
    """
    message: Message
    base: Body
    if code == DLedgerRequest.HEART_BEAT:
        base = decode(HeartbeatBody, body)
        message = Heartbeat(base.term, 0, NO_INDEX, 0)
    elif code == DLedgerRequest.PUSH:
        push = decode(PushRequestBody, body)
        base, message = push, _push_message(push)
    elif code == DLedgerRequest.VOTE:
        vote = decode(VoteRequestBody, body)
        base, message = vote, VoteRequest(vote.term, vote.ledger_end_index, vote.ledger_end_term)
    else:
        raise ProtocolError(f"request code {code} is none of a member's")
    return _peer_request(base, message)


def take_leadership(request: TransferRequest) -> PeerRequest:
    """The leader's request behind a LEADERSHIP_TRANSFER that names this node as its transferee.

    Raises ProtocolError.
    """
    message = TakeLeadership(request.term, request.take_leadership_ledger_index)
    return _peer_request(request, message)


def _peer_request(base: Body, message: Message) -> PeerRequest:
    sender = base.leader_id or base.local_id
    if base.group is None or sender is None or base.remote_id is None:
        raise ProtocolError("a member's request needs group, leaderId and remoteId")
    if base.term < 0:
        raise ProtocolError(f"a member's request of the term {base.term}")
    return PeerRequest(base.group, sender, base.remote_id, message)


def _push_message(body: PushRequestBody) -> Push:
    if body.type is PushKind.COMMIT:
        return Push(body.type, body.term, NO_INDEX, NO_TERM, body.commit_index)
    entries = body.batch_entry
    if not entries or body.type is not PushKind.APPEND:
        if body.entry is None:
            raise ProtocolError(f"{body.type.name} without an entry")
        entries = [body.entry]
    joined = join_entries(entries)
    if body.type is PushKind.APPEND:
        return Push(body.type, body.term, joined.first_index - 1, NO_TERM, body.commit_index, joined)
    return Push(body.type, body.term, joined.first_index, joined.runs[0][1], body.commit_index, joined)


# ---- replies ----


def encode_reply(request: PeerRequest, reply: Message, leader_id: str | None = None) -> bytes:
    """The body that answers a Java member's ``request`` with ``reply``. ValueError when they do not match."""
    asked = request.message
    if isinstance(reply, VoteReply) and isinstance(asked, VoteRequest):
        body: Body = VoteReplyBody(term=reply.term, vote_result=reply.result.value)
        # As Java answers: the whole head of the request comes back.
        body.local_id, body.remote_id, body.leader_id = request.sender, request.receiver, request.sender
    elif isinstance(reply, HeartbeatReply) and isinstance(asked, Heartbeat):
        body = HeartbeatBody(term=reply.term, code=reply.code, leader_id=leader_id)
    elif isinstance(reply, PushReply) and isinstance(asked, Push):
        body = PushReplyBody(
            # The term that was asked in: Java keeps what it counts by term.
            term=asked.term if reply.code == DLedgerCode.SUCCESS else reply.term,
            code=reply.code,
            begin_index=reply.begin_index,
            end_index=reply.end_index,
            leader_id=leader_id,
        )
        if asked.entries is not None:
            body.index = asked.entries.first_index
            body.count = asked.entries.last_index - asked.entries.first_index + 1
    elif isinstance(reply, TakeLeadershipReply) and isinstance(asked, TakeLeadership):
        body = TransferReply(term=reply.term, code=reply.code, leader_id=leader_id)
    else:
        raise ValueError(f"{type(reply).__name__} does not answer {type(asked).__name__}")
    body.group = request.group
    return encode(body)


def decode_reply(request: Message, body: bytes) -> Message:
    """A Java member's answer to ``request``. Raises ProtocolError."""
    if isinstance(request, Heartbeat):
        heartbeat = decode(HeartbeatBody, body)
        return HeartbeatReply(_term(heartbeat, request.term), request.round, heartbeat.code)
    if isinstance(request, Push):
        return _push_reply(request, decode(PushReplyBody, body))
    if isinstance(request, VoteRequest):
        vote = decode(VoteReplyBody, body)
        return VoteReply(_term(vote, request.term), _vote_result(vote.vote_result))
    if isinstance(request, TakeLeadership):
        transfer = decode(TransferReply, body)
        return TakeLeadershipReply(_term(transfer, request.term), transfer.code)
    raise ValueError(f"{type(request).__name__} has no form in JSON")


def _term(body: Body, asked: int) -> int:
    """Java's answers often leave the term out, when it is the one that they were asked in."""
    return asked if body.term < 0 else body.term


def _vote_result(name: str) -> VoteResult:
    try:
        return VoteResult(name)
    except ValueError:
        return VoteResult.UNKNOWN


def _push_reply(request: Push, body: PushReplyBody) -> PushReply:
    index = request.prev_index
    if body.code == DLedgerCode.SUCCESS and body.index is not None:
        # One of APPEND says the first entry and their count; Java's older answers have no count.
        index = body.index + max(body.count, 1) - 1
        entries = request.entries
        sent = request.prev_index + 1 if entries is None else entries.last_index
        if index > sent:
            raise ProtocolError(f"{request.kind.name} answered for the index {index}, asked was up to {sent}")
    return PushReply(
        request.kind, _term(body, request.term), body.code, index, body.begin_index, body.end_index
    )


# ---- entries ----


def join_entries(entries: list[Entry]) -> Entries:
    """Entries of a JSON body in the form of the data file. Raises ProtocolError when they do not follow each
    other.

    Java may push entries of two data files in one batch; then those of the first are returned. The others
    come again: the next push does not follow, which makes Java compare logs and go on from where this ended.
    """
    head = entries[0]
    index, pos, term = head.index, head.pos, head.term
    runs: list[tuple[int, int]] = []
    pieces: list[bytes] = []
    for entry in entries:
        if entry.index != index or entry.term < term:
            raise ProtocolError(f"entry {entry.index} of term {entry.term} where {index} of {term} was due")
        if entry.pos != pos:
            if entry.pos > pos:
                break
            raise ProtocolError(f"entry {entry.index} at {entry.pos}, before the end of the one before it")
        if not runs or entry.term > term:
            runs.append((entry.index, entry.term))
        pieces.append(_encode_entry(entry))
        index, pos, term = index + 1, pos + entry.size, entry.term
    return Entries(head.index, index - 1, head.pos, tuple(runs), b"".join(pieces))


def _encode_entry(entry: Entry) -> bytes:
    if entry.size != ENTRY_HEAD_BYTES + len(entry.body) or len(entry.body) > ENTRY_BODY_BYTES_MAX:
        raise ProtocolError(f"entry {entry.index} of size {entry.size} with {len(entry.body)} bytes of body")
    if entry.magic != ENTRY_MAGIC or entry.pos < 0 or entry.index < 0 or entry.term < 0:
        raise ProtocolError(f"entry {entry.index} of term {entry.term}, magic {entry.magic}, at {entry.pos}")
    head = _ENTRY_HEAD.pack(
        entry.magic,
        entry.size,
        entry.index,
        entry.term,
        entry.pos,
        entry.channel,
        entry.chain_crc,
        entry.body_crc,
        len(entry.body),
    )
    return head + entry.body


def split_entries(payload: bytes) -> list[Entry]:
    """The entries of a payload in the form of the data file. Raises ProtocolError when it is damaged."""
    return list(_split(payload))


def _split(payload: bytes) -> Iterable[Entry]:
    at = 0
    while at < len(payload):
        if len(payload) - at < ENTRY_HEAD_BYTES:
            raise ProtocolError(f"entries that end {len(payload) - at} bytes into a head")
        *fields, body_bytes = _ENTRY_HEAD.unpack_from(payload, at)
        magic, size, index, term, pos, channel, chain_crc, body_crc = fields
        end = at + size
        if size != ENTRY_HEAD_BYTES + body_bytes or body_bytes < 0 or end > len(payload):
            raise ProtocolError(f"entry {index} of size {size} with {body_bytes} bytes of body")
        yield Entry(
            magic=magic,
            size=size,
            index=index,
            term=term,
            pos=pos,
            channel=channel,
            chain_crc=chain_crc,
            body_crc=body_crc,
            body=payload[at + ENTRY_HEAD_BYTES : end],
        )
        at = end
