"""Whatever the bytes are, a decoder of the room gives a value or raises ProtocolError."""

from __future__ import annotations

from contextlib import suppress

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fuzz.remoting.test_decoders import TOKENS
from tests.property.dledger.members_messages import (
    HEARTBEATS,
    MESSAGES,
    PROBES,
    TAKE_LEADERSHIPS,
    VOTE_REQUESTS,
    appends,
    damaged,
    entry_lists,
)

from ledgermq.dledger.codes import DLedgerRequest
from ledgermq.dledger.errors import ProtocolError
from ledgermq.dledger.json_messages import (
    decode_reply,
    decode_request,
    encode_request,
    join_entries,
    split_entries,
)
from ledgermq.dledger.messages import (
    Heartbeat,
    HeartbeatReply,
    Message,
    Push,
    PushReply,
    TakeLeadershipReply,
    VoteReply,
    VoteRequest,
)
from ledgermq.dledger.native_messages import decode_native, encode_native
from ledgermq.dledger.requests import (
    AppendReply,
    AppendRequest,
    GetReply,
    GetRequest,
    Hello,
    MetadataReply,
    PullReply,
    TransferRequest,
    decode,
    encode,
    parse_peers,
)

FIELDS = st.sampled_from(
    [
        *(b'"group":"g"', b'"remoteId":"n1"', b'"localId":"n0"', b'"leaderId":"n0"', b'"leaderId":null'),
        *(b'"term":3', b'"term":-1', b'"term":"3"', b'"term":9223372036854775807', b'"term":1.5'),
        *(b'"type":"COMPARE"', b'"type":"APPEND"', b'"type":"COMMIT"', b'"type":"OTHER"', b'"code":200'),
        *(b'"entry":{}', b'"batchEntry":[{}]', b'"batchEntry":[]', b'"body":"AAA="', b'"body":"?"'),
        b'"entry":{"magic":1,"size":48,"index":0,"term":0,"pos":0,"body":""}',
        b'"entry":{"magic":1,"size":50,"index":0,"term":0,"pos":-1,"body":"AAA="}',
        *(b'"index":5', b'"index":-5', b'"count":3', b'"voteResult":"ACCEPT"', b'"voteResult":"NO"'),
        *(b'"ledgerEndIndex":4', b'"peers":{"n0":"h:1"}', b'"beginIndex":2', b'"batchMsgs":["AA=="]'),
    ]
)
BODIES = st.one_of(
    st.binary(max_size=80),
    st.lists(TOKENS, max_size=20).map(b"".join),
    st.lists(FIELDS, max_size=8).map(lambda fields: b"{" + b",".join(fields) + b"}"),
)
KINDS: list[type[msgspec.Struct]] = [
    AppendReply,
    AppendRequest,
    GetReply,
    GetRequest,
    Hello,
    MetadataReply,
    PullReply,
    TransferRequest,
]
REQUEST_CODES = [DLedgerRequest.VOTE, DLedgerRequest.HEART_BEAT, DLedgerRequest.PUSH, 1]
REQUESTS = st.one_of(VOTE_REQUESTS, HEARTBEATS, PROBES, TAKE_LEADERSHIPS, appends())


def try_native(data: bytes) -> None:
    with suppress(ProtocolError):
        group, sender, message = decode_native(data)
        assert encode_native(group, sender, message) == data


@given(st.binary(max_size=120))
@settings(max_examples=1000)
def test_native_of_any_bytes(data: bytes) -> None:
    try_native(data)
    try_native(b"\x01\x01g\x02n0" + data)


@given(damaged(MESSAGES.map(lambda message: encode_native("group", "n1", message))))
@settings(max_examples=1000)
def test_native_damaged(data: bytes) -> None:
    try_native(data)


@given(MESSAGES, st.binary(min_size=1, max_size=10))
def test_native_cut_short_and_with_more_behind(message: Message, more: bytes) -> None:
    """What ends with bytes of its own (a payload, a snapshot's data) takes what is behind as such."""
    whole = encode_native("g", "n0", message)
    for end in range(len(whole)):
        try_native(whole[:end])
    try_native(whole + more)


@given(BODIES, st.sampled_from(REQUEST_CODES))
@settings(max_examples=1000)
def test_requests(body: bytes, code: int) -> None:
    with suppress(ProtocolError):
        asked = decode_request(code, body)
        assert asked.sender
        assert isinstance(asked.message, VoteRequest | Heartbeat | Push)


@given(BODIES, REQUESTS)
@settings(max_examples=1000)
def test_replies(body: bytes, request: Message) -> None:
    with suppress(ProtocolError):
        reply = decode_reply(request, body)
        assert isinstance(reply, VoteReply | HeartbeatReply | PushReply | TakeLeadershipReply)


@given(BODIES)
@settings(max_examples=500)
def test_bodies(body: bytes) -> None:
    for kind in KINDS:
        with suppress(ProtocolError):
            value = decode(kind, body)
            assert decode(kind, encode(value)) == value


@given(damaged(appends().map(lambda push: encode_request(push, "g", "n0", "n1")[1])))
@settings(max_examples=500)
def test_pushes_damaged(body: bytes) -> None:
    with suppress(ProtocolError):
        message = decode_request(DLedgerRequest.PUSH, body).message
        assert isinstance(message, Push)
        if message.entries is not None:
            assert split_entries(message.entries.payload)[0].index == message.entries.first_index


@given(
    st.one_of(st.binary(max_size=200), damaged(entry_lists().map(lambda made: join_entries(made).payload)))
)
@settings(max_examples=500)
def test_payloads(payload: bytes) -> None:
    with suppress(ProtocolError):
        assert sum(entry.size for entry in split_entries(payload)) == len(payload)


@given(st.text(max_size=60))
def test_peers(text: str) -> None:
    with suppress(ValueError):
        for address in parse_peers(text).values():
            assert int(address.rpartition(":")[2]) <= 65535
