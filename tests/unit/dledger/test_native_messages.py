"""The binary form of members' messages, byte for byte, and what is refused."""

from __future__ import annotations

import struct

import pytest

from ledgermq.dledger.codes import DLedgerCode, PushKind, VoteResult
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
from ledgermq.dledger.native_messages import decode_native, encode_native

HEAD = b"\x01\x02g0\x02n1"
ENTRIES = Entries(6, 8, 4096, ((6, 2), (8, 5)), b"payload")


def q(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}q", *numbers)


EXAMPLES: list[tuple[Message, bytes]] = [
    (VoteRequest(7, -1, -1), b"\x01" + q(7, -1, -1) + b"\x00"),
    (VoteRequest(7, 41, 6, pre=True), b"\x01" + q(7, 41, 6) + b"\x01"),
    (VoteReply(7, VoteResult.ACCEPT), b"\x02" + q(7) + b"\x01\x00"),
    (VoteReply(8, VoteResult.REJECT_TAKING_LEADERSHIP, pre=True), b"\x02" + q(8) + b"\x0b\x01"),
    (Heartbeat(7, 12, 40, 100), b"\x03" + q(7, 12, 40) + b"\x00\x00\x00\x64"),
    (HeartbeatReply(7, 12, DLedgerCode.SUCCESS), b"\x04" + q(7, 12) + b"\x00\x00\x00\xc8"),
    (
        Push(PushKind.APPEND, 7, 5, 2, 4, ENTRIES),
        b"\x05\x02" + q(7, 5, 2, 4) + b"\x01" + q(8, 4096) + b"\x00\x02" + q(6, 2, 8, 5) + b"payload",
    ),
    (Push(PushKind.COMPARE, 7, 5, 2, 4), b"\x05\x00" + q(7, 5, 2, 4) + b"\x00"),
    (
        PushReply(PushKind.COMPARE, 7, DLedgerCode.INCONSISTENT_STATE, 5, 0, 3, 3, 1),
        b"\x06\x00" + q(7) + b"\x00\x00\x01\x96" + q(5, 0, 3, 3, 1),
    ),
    (TakeLeadership(7, 41), b"\x07" + q(7, 41)),
    (TakeLeadershipReply(8, DLedgerCode.SUCCESS), b"\x08" + q(8) + b"\x00\x00\x00\xc8"),
    (
        InstallSnapshot(7, 41, 6, 8192, 100, b"data", done=True),
        b"\x09" + q(7, 41, 6, 8192, 100) + b"\x01data",
    ),
    (
        InstallSnapshotReply(7, DLedgerCode.SUCCESS, 41, 104, done=False),
        b"\x0a" + q(7) + b"\x00\x00\x00\xc8" + q(41, 104) + b"\x00",
    ),
]


@pytest.mark.parametrize(("message", "fields"), EXAMPLES)
def test_layout(message: Message, fields: bytes) -> None:
    assert encode_native("g0", "n1", message) == HEAD + fields
    assert decode_native(HEAD + fields) == ("g0", "n1", message)


@pytest.mark.parametrize(("message", "fields"), EXAMPLES)
def test_cut_short(message: Message, fields: bytes) -> None:
    whole = HEAD + fields
    # What ends with bytes of its own cannot know that they are fewer than they were; one is the least.
    fixed = {Push: len(whole) - 6, InstallSnapshot: len(whole) - 4}.get(type(message), len(whole))
    if isinstance(message, Push) and message.entries is None:
        fixed = len(whole)
    for end in range(fixed):
        with pytest.raises(ProtocolError):
            decode_native(whole[:end])


@pytest.mark.parametrize(("message", "fields"), EXAMPLES)
def test_bytes_behind(message: Message, fields: bytes) -> None:
    whole = HEAD + fields + b"\x00"
    if isinstance(message, InstallSnapshot) or (isinstance(message, Push) and message.entries is not None):
        assert decode_native(whole) != ("g0", "n1", message)
    else:
        with pytest.raises(ProtocolError):
            decode_native(whole)


def push(entries: bytes) -> bytes:
    return HEAD + b"\x05\x02" + q(7, 5, 2, 4) + b"\x01" + entries


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "version None"),
        (b"\x02" + HEAD[1:] + b"\x07" + q(7, 41), "version 2"),
        (b"\x01\x02\xff\xfe\x02n1\x07" + q(7, 41), "not UTF-8"),
        (HEAD, "before its type"),
        (HEAD + b"\x00", "unknown type 0"),
        (HEAD + b"\x0b", "unknown type 11"),
        (HEAD + b"\x07" + q(-2, 41), "the term or index -2"),
        (HEAD + b"\x07" + q(2**62 + 1, 41), "not within -1..2^62"),
        (HEAD + b"\x01" + q(7, 4, 4) + b"\x02", "flag 2"),
        (HEAD + b"\x02" + q(7) + b"\x0c\x00", "vote result 12"),
        (HEAD + b"\x03" + q(7, 1, 1) + b"\xff\xff\xff\xff", "interval of -1 ms"),
        (HEAD + b"\x05\x04" + q(7, 5, 2, 4) + b"\x00", "push kind 4"),
        (HEAD + b"\x05\x02" + q(7, 5, 2, 4) + b"\x00", "APPEND without entries"),
        (push(q(8, 0) + b"\x00\x00payload"), "0 runs"),
        (push(q(8, 0) + b"\x00\x01" + q(6, 2)), "1 runs in 16 bytes"),
        (push(q(8, 0) + b"\x00\x02" + q(6, 2, 6, 3) + b"p"), "does not follow"),
        (push(q(8, 0) + b"\x00\x02" + q(6, 2, 7, 2) + b"p"), "does not follow"),
        (push(q(8, 0) + b"\x00\x01" + q(-1, 2) + b"p"), "does not follow"),
        (push(q(5, 0) + b"\x00\x01" + q(6, 2) + b"p"), "up to 5"),
        (push(q(8, -1) + b"\x00\x01" + q(6, 2) + b"p"), "position -1"),
        (push(q(8, 0) + b"\x00\x01" + q(7, 2) + b"p"), "entries from 7 after the index 5"),
        (HEAD + b"\x09" + q(7, 41, 6, -1, 0) + b"\x01", "position -1"),
        (HEAD + b"\x0a" + q(7) + b"\x00\x00\x00\xc8" + q(41, -1) + b"\x00", "offset -1"),
    ],
)
def test_refused(body: bytes, why: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        decode_native(body)
    assert why in str(caught.value)


def test_names_too_long() -> None:
    message = TakeLeadership(1, 1)
    assert decode_native(encode_native("ä" * 127, "n", message))[0] == "ä" * 127
    with pytest.raises(ValueError, match="longer than 255 bytes"):
        encode_native("ä" * 128, "n", message)
