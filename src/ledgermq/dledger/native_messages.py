"""The members' messages in binary form: the body of a NATIVE request, one-way between ledgermq nodes.

All integers big endian:

=======  ===================================================================
bytes    meaning
=======  ===================================================================
1        version, 1
1 + n    group, UTF-8
1 + n    the sender's member id, UTF-8
1        type of the message, see the table at the end of this file
n        its fields in the order of its class in messages.py: terms, indexes,
         positions and rounds of 8 bytes, codes and milliseconds of 4, flags
         (0 or 1) and enums (place in their class) of 1
=======  ===================================================================

A push goes on, when its flag says so, with its entries: 8 last index, 8 position of the first, 2 count of
runs, 16 for each run (first index, term), and to the end of the body the payload as in the data file. A
snapshot's piece ends with its data.

Rules of this file: it is compiled; pure; :func:`decode_native` returns a message or raises ProtocolError,
whatever the bytes are. What a payload holds is for the ledger to check; its runs are checked here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from struct import Struct
from typing import Final

from ledgermq.dledger.codes import PushKind, VoteResult
from ledgermq.dledger.errors import ProtocolError
from ledgermq.dledger.messages import (
    Entries,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    InstallSnapshotReply,
    Message,
    Push,
    PushReply,
    TakeLeadership,
    TakeLeadershipReply,
    VoteReply,
    VoteRequest,
)
from ledgermq.dledger.requests import TERM_MAX
from ledgermq.runtime.limits import MEMBER_NAME_BYTES_MAX

VERSION: Final = 1

_VOTE_RESULTS: Final = tuple(VoteResult)
_VOTE_RESULT_PLACES: Final = {result: place for place, result in enumerate(_VOTE_RESULTS)}
_PUSH_KINDS: Final = tuple(PushKind)
_PUSH_KIND_PLACES: Final = {kind: place for place, kind in enumerate(_PUSH_KINDS)}

_VOTE_REQUEST: Final = Struct(">qqqB")
_VOTE_REPLY: Final = Struct(">qBB")
_HEARTBEAT: Final = Struct(">qqqi")
_HEARTBEAT_REPLY: Final = Struct(">qqi")
_PUSH: Final = Struct(">BqqqqB")
_ENTRIES: Final = Struct(">qqH")
_RUN: Final = Struct(">qq")
_PUSH_REPLY: Final = Struct(">Bqiqqqqq")
_TAKE_LEADERSHIP: Final = Struct(">qq")
_TAKE_LEADERSHIP_REPLY: Final = Struct(">qi")
_INSTALL_SNAPSHOT: Final = Struct(">qqqqqB")
_INSTALL_SNAPSHOT_REPLY: Final = Struct(">qiqqB")


def encode_native(group: str, sender: str, message: Message) -> bytes:
    """The body of a NATIVE request. Raises ValueError when a name is too long for it."""
    kind = type(message)
    head = _head(group, sender)
    return head + _TYPES[kind] + _ENCODERS[kind](message)


def decode_native(body: bytes) -> tuple[str, str, Message]:
    """Group, sender and message of a NATIVE request. Raises ProtocolError."""
    if not body or body[0] != VERSION:
        raise ProtocolError(f"native message of version {body[0] if body else None}, known is {VERSION}")
    group, at = _name(body, 1)
    sender, at = _name(body, at)
    if at >= len(body):
        raise ProtocolError("native message ends before its type")
    decoder = _DECODERS.get(body[at])
    if decoder is None:
        raise ProtocolError(f"native message of the unknown type {body[at]}")
    return group, sender, decoder(body, at + 1)


@lru_cache(maxsize=1024)
def _head(group: str, sender: str) -> bytes:
    names = [name.encode() for name in (group, sender)]
    if max(map(len, names)) > MEMBER_NAME_BYTES_MAX:
        raise ValueError(f"group {group!r} or member {sender!r} is longer than {MEMBER_NAME_BYTES_MAX} bytes")
    return bytes([VERSION]) + b"".join(bytes([len(name)]) + name for name in names)


def _name(body: bytes, at: int) -> tuple[str, int]:
    """The name that starts at ``at``, and where it ends."""
    if at >= len(body) or at + 1 + body[at] > len(body):
        raise ProtocolError("native message ends inside a name")
    end = at + 1 + body[at]
    try:
        return body[at + 1 : end].decode(), end
    except UnicodeDecodeError:
        raise ProtocolError(f"native message with the name {body[at + 1 : end]!r}, not UTF-8") from None


def _whole(layout: Struct, body: bytes, at: int) -> tuple[int, ...]:
    """The fields of a message that has nothing but them."""
    if len(body) - at != layout.size:
        raise ProtocolError(
            f"native message with {len(body) - at} bytes of fields, expected are {layout.size}"
        )
    return layout.unpack_from(body, at)


def _start(layout: Struct, body: bytes, at: int) -> tuple[int, ...]:
    if len(body) - at < layout.size:
        raise ProtocolError(
            f"native message with {len(body) - at} bytes of fields, {layout.size} are the least"
        )
    return layout.unpack_from(body, at)


def _check(name: str, *numbers: int) -> None:
    """Terms and indexes are -1 or counted from 0."""
    for number in numbers:
        if not -1 <= number <= TERM_MAX:
            raise ProtocolError(f"{name} with the term or index {number}, not within -1..2^62")


def _flag(number: int) -> bool:
    if number > 1:
        raise ProtocolError(f"flag {number} is neither 0 nor 1")
    return number == 1


# ---- election ----


def _encode_vote_request(message: VoteRequest) -> bytes:
    return _VOTE_REQUEST.pack(message.term, message.last_index, message.last_term, message.pre)


def _decode_vote_request(body: bytes, at: int) -> VoteRequest:
    term, last_index, last_term, pre = _whole(_VOTE_REQUEST, body, at)
    _check("vote request", term, last_index, last_term)
    return VoteRequest(term, last_index, last_term, _flag(pre))


def _encode_vote_reply(message: VoteReply) -> bytes:
    return _VOTE_REPLY.pack(message.term, _VOTE_RESULT_PLACES[message.result], message.pre)


def _decode_vote_reply(body: bytes, at: int) -> VoteReply:
    term, result, pre = _whole(_VOTE_REPLY, body, at)
    _check("vote reply", term)
    if result >= len(_VOTE_RESULTS):
        raise ProtocolError(f"vote result {result} is not below {len(_VOTE_RESULTS)}")
    return VoteReply(term, _VOTE_RESULTS[result], _flag(pre))


def _encode_heartbeat(message: Heartbeat) -> bytes:
    return _HEARTBEAT.pack(message.term, message.round, message.commit_index, message.interval_ms)


def _decode_heartbeat(body: bytes, at: int) -> Heartbeat:
    term, round_, commit_index, interval_ms = _whole(_HEARTBEAT, body, at)
    _check("heartbeat", term, round_, commit_index)
    if interval_ms < 0:
        raise ProtocolError(f"heartbeat interval of {interval_ms} ms")
    return Heartbeat(term, round_, commit_index, interval_ms)


def _encode_heartbeat_reply(message: HeartbeatReply) -> bytes:
    return _HEARTBEAT_REPLY.pack(message.term, message.round, message.code)


def _decode_heartbeat_reply(body: bytes, at: int) -> HeartbeatReply:
    term, round_, code = _whole(_HEARTBEAT_REPLY, body, at)
    _check("heartbeat reply", term, round_)
    return HeartbeatReply(term, round_, code)


# ---- replication ----


def _encode_push(message: Push) -> bytes:
    entries = message.entries
    fields = _PUSH.pack(
        _PUSH_KIND_PLACES[message.kind],
        message.term,
        message.prev_index,
        message.prev_term,
        message.commit_index,
        entries is not None,
    )
    if entries is None:
        return fields
    runs = b"".join(_RUN.pack(*run) for run in entries.runs)
    head = _ENTRIES.pack(entries.last_index, entries.first_pos, len(entries.runs))
    return b"".join((fields, head, runs, entries.payload))


def _decode_push(body: bytes, at: int) -> Push:
    kind, term, prev_index, prev_term, commit_index, has_entries = _start(_PUSH, body, at)
    _check("push", term, prev_index, prev_term, commit_index)
    if kind >= len(_PUSH_KINDS):
        raise ProtocolError(f"push kind {kind} is not below {len(_PUSH_KINDS)}")
    entries = None
    if _flag(has_entries):
        entries = _decode_entries(body, at + _PUSH.size)
    elif len(body) - at != _PUSH.size:
        raise ProtocolError(f"push without entries with {len(body) - at - _PUSH.size} bytes too many")
    elif _PUSH_KINDS[kind] is PushKind.APPEND:
        raise ProtocolError("APPEND without entries")
    if entries is not None and entries.first_index != prev_index + 1:
        raise ProtocolError(f"entries from {entries.first_index} after the index {prev_index}")
    return Push(_PUSH_KINDS[kind], term, prev_index, prev_term, commit_index, entries)


def _decode_entries(body: bytes, at: int) -> Entries:
    last_index, first_pos, count = _start(_ENTRIES, body, at)
    at += _ENTRIES.size
    payload_at = at + count * _RUN.size
    if count == 0 or payload_at >= len(body):
        raise ProtocolError(f"entries with {count} runs in {len(body) - at} bytes")
    runs = tuple((index, term) for index, term in _RUN.iter_unpack(body[at:payload_at]))
    next_index, next_term = -1, -1
    for index, term in runs:
        if index <= next_index or term <= next_term:
            raise ProtocolError(f"entries whose run ({index}, {term}) does not follow the one before it")
        next_index, next_term = index, term
    _check("entries", last_index, next_term)
    if last_index < next_index:
        raise ProtocolError(f"entries up to {last_index} with a run from {next_index}")
    if first_pos < 0:
        raise ProtocolError(f"entries at the position {first_pos}")
    return Entries(runs[0][0], last_index, first_pos, runs, body[payload_at:])


def _encode_push_reply(message: PushReply) -> bytes:
    return _PUSH_REPLY.pack(
        _PUSH_KIND_PLACES[message.kind],
        message.term,
        message.code,
        message.index,
        message.begin_index,
        message.end_index,
        message.hint_index,
        message.hint_term,
    )


def _decode_push_reply(body: bytes, at: int) -> PushReply:
    kind, term, code, *indexes = _whole(_PUSH_REPLY, body, at)
    _check("push reply", term, *indexes)
    if kind >= len(_PUSH_KINDS):
        raise ProtocolError(f"push kind {kind} is not below {len(_PUSH_KINDS)}")
    return PushReply(_PUSH_KINDS[kind], term, code, *indexes)


# ---- leadership transfer ----


def _encode_take_leadership(message: TakeLeadership) -> bytes:
    return _TAKE_LEADERSHIP.pack(message.term, message.index)


def _decode_take_leadership(body: bytes, at: int) -> TakeLeadership:
    term, index = _whole(_TAKE_LEADERSHIP, body, at)
    _check("take leadership", term, index)
    return TakeLeadership(term, index)


def _encode_take_leadership_reply(message: TakeLeadershipReply) -> bytes:
    return _TAKE_LEADERSHIP_REPLY.pack(message.term, message.code)


def _decode_take_leadership_reply(body: bytes, at: int) -> TakeLeadershipReply:
    term, code = _whole(_TAKE_LEADERSHIP_REPLY, body, at)
    _check("take leadership reply", term)
    return TakeLeadershipReply(term, code)


# ---- snapshots ----


def _encode_install_snapshot(message: InstallSnapshot) -> bytes:
    fields = _INSTALL_SNAPSHOT.pack(
        message.term, message.last_index, message.last_term, message.next_pos, message.offset, message.done
    )
    return fields + message.data


def _decode_install_snapshot(body: bytes, at: int) -> InstallSnapshot:
    term, last_index, last_term, next_pos, offset, done = _start(_INSTALL_SNAPSHOT, body, at)
    _check("snapshot", term, last_index, last_term)
    if next_pos < 0 or offset < 0:
        raise ProtocolError(f"snapshot with the position {next_pos} and the offset {offset}")
    data = body[at + _INSTALL_SNAPSHOT.size :]
    return InstallSnapshot(term, last_index, last_term, next_pos, offset, data, _flag(done))


def _encode_install_snapshot_reply(message: InstallSnapshotReply) -> bytes:
    return _INSTALL_SNAPSHOT_REPLY.pack(
        message.term, message.code, message.last_index, message.offset, message.done
    )


def _decode_install_snapshot_reply(body: bytes, at: int) -> InstallSnapshotReply:
    term, code, last_index, offset, done = _whole(_INSTALL_SNAPSHOT_REPLY, body, at)
    _check("snapshot reply", term, last_index)
    if offset < 0:
        raise ProtocolError(f"snapshot reply with the offset {offset}")
    return InstallSnapshotReply(term, code, last_index, offset, _flag(done))


_ENCODERS: Final[dict[type, Callable[..., bytes]]] = {
    VoteRequest: _encode_vote_request,
    VoteReply: _encode_vote_reply,
    Heartbeat: _encode_heartbeat,
    HeartbeatReply: _encode_heartbeat_reply,
    Push: _encode_push,
    PushReply: _encode_push_reply,
    TakeLeadership: _encode_take_leadership,
    TakeLeadershipReply: _encode_take_leadership_reply,
    InstallSnapshot: _encode_install_snapshot,
    InstallSnapshotReply: _encode_install_snapshot_reply,
}
_TYPES: Final[dict[type, bytes]] = {
    VoteRequest: b"\x01",
    VoteReply: b"\x02",
    Heartbeat: b"\x03",
    HeartbeatReply: b"\x04",
    Push: b"\x05",
    PushReply: b"\x06",
    TakeLeadership: b"\x07",
    TakeLeadershipReply: b"\x08",
    InstallSnapshot: b"\x09",
    InstallSnapshotReply: b"\x0a",
}
_DECODERS: Final[dict[int, Callable[[bytes, int], Message]]] = {
    1: _decode_vote_request,
    2: _decode_vote_reply,
    3: _decode_heartbeat,
    4: _decode_heartbeat_reply,
    5: _decode_push,
    6: _decode_push_reply,
    7: _decode_take_leadership,
    8: _decode_take_leadership_reply,
    9: _decode_install_snapshot,
    10: _decode_install_snapshot_reply,
}
