"""Clients' requests as Java writes and reads them, and the text that names a group's members."""

from __future__ import annotations

import json

import msgspec
import pytest

from ledgermq.dledger.codes import DLedgerCode
from ledgermq.dledger.errors import ProtocolError, RefusedError
from ledgermq.dledger.requests import (
    AppendReply,
    AppendRequest,
    Body,
    Entry,
    GetReply,
    GetRequest,
    Hello,
    MetadataReply,
    MetadataRequest,
    TransferRequest,
    decode,
    encode,
    parse_peers,
)


def test_java_names_and_defaults() -> None:
    request = GetRequest(group="g0", remote_id="n1", begin_index=7)
    assert json.loads(encode(request)) == {"group": "g0", "remoteId": "n1", "beginIndex": 7}
    assert decode(GetRequest, b"{}") == GetRequest(code=200, term=-1, begin_index=None, max_size=0)
    assert decode(AppendReply, b"{}") == AppendReply(index=-1, pos=-1)
    reply = MetadataReply(group="g0", leader_id="n1", peers={"n0": "h:1"}, term=4, batch_append=True)
    assert json.loads(encode(reply)) == {
        "group": "g0",
        "leaderId": "n1",
        "peers": {"n0": "h:1"},
        "term": 4,
        "batchAppend": True,
    }


@pytest.mark.parametrize(
    ("kind", "body", "value"),
    [
        (
            AppendRequest,
            b'{"body":"aGVsbG8=","code":200,"group":"g0","remoteId":"n0","term":-1}',
            AppendRequest(group="g0", remote_id="n0", body=b"hello"),
        ),
        (
            MetadataRequest,
            b'{"code":200,"group":"g0","remoteId":"n0","term":-1}',
            MetadataRequest(group="g0", remote_id="n0"),
        ),
        (
            GetRequest,
            b'{"beginIndex":3,"code":200,"group":"g0","maxSize":0,"remoteId":"n0","term":-1}',
            GetRequest(group="g0", remote_id="n0", begin_index=3),
        ),
        (
            TransferRequest,
            b'{"code":200,"group":"g0","remoteId":"n0","takeLeadershipLedgerIndex":0,"term":5,'
            b'"transferId":"n0","transfereeId":"n1"}',
            TransferRequest(group="g0", remote_id="n0", term=5, transfer_id="n0", transferee_id="n1"),
        ),
        (
            MetadataReply,
            b'{"code":200,"group":"g0","leaderId":"n0","peers":{"n0":"h:1","n1":"h:2"},"term":-1}',
            MetadataReply(group="g0", leader_id="n0", peers={"n0": "h:1", "n1": "h:2"}),
        ),
        (
            AppendReply,
            b'{"code":502,"group":"g0","index":1,"leaderId":"n0","pos":-1,"term":0}',
            AppendReply(group="g0", code=502, index=1, leader_id="n0", term=0),
        ),
        (
            GetReply,
            b'{"code":200,"entries":[{"body":"aGVsbG8gMg==","bodyCrc":0,"chainCrc":0,"channel":0,"index":0,'
            b'"magic":1,"pos":0,"size":55,"term":0}],"group":"g0","term":-1}',
            GetReply(group="g0", entries=[Entry(magic=1, size=55, body=b"hello 2")]),
        ),
        (
            GetReply,
            b'{"code":410,"entries":[],"group":"g0","leaderId":"n0","remoteId":"n0","term":-1}',
            GetReply(group="g0", code=410, leader_id="n0", remote_id="n0"),
        ),
    ],
)
def test_what_java_sends(kind: type[Body], body: bytes, value: Body) -> None:
    """Off the socket, from DLedger 0.3.2's client and server."""
    assert decode(kind, body) == value


def test_bodies_are_base64() -> None:
    request = AppendRequest(group="g", body=b"\x00\xff>?")
    assert json.loads(encode(request))["body"] == "AP8+Pw=="
    assert decode(AppendRequest, encode(request)).body == b"\x00\xff>?"
    batch = AppendRequest(batch_msgs=[b"", b"a"])
    assert json.loads(encode(batch)) == {"batchMsgs": ["", "YQ=="]}


def test_entries_are_written_whole() -> None:
    """A missing body is none at all to Java, and a missing number is not what it is here."""
    reply = GetReply(entries=[Entry(magic=1, size=48, index=0, term=0, pos=0)])
    [entry] = json.loads(encode(reply))["entries"]
    assert entry == {
        "magic": 1,
        "size": 48,
        "index": 0,
        "term": 0,
        "pos": 0,
        "channel": 0,
        "chainCrc": 0,
        "bodyCrc": 0,
        "body": "",
    }


@pytest.mark.parametrize(
    ("kind", "body", "why"),
    [
        (AppendRequest, b"", "AppendRequest"),
        (AppendRequest, b"\xff", "AppendRequest"),
        (AppendRequest, b"[]", "Expected `object`"),
        (AppendRequest, b'{"body":"?"}', "$.body"),
        (AppendRequest, b'{"term":-2}', "$.term"),
        (TransferRequest, b'{"term":4611686018427387905}', "$.term"),
        (GetRequest, b'{"maxSize":2147483648}', "$.maxSize"),
        (Hello, b'{"group":"g"}', "localId"),
    ],
)
def test_refused(kind: type[msgspec.Struct], body: bytes, why: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        decode(kind, body)
    assert why in str(caught.value)


def test_quoted_numbers_and_unknown_keys_are_read() -> None:
    assert decode(Body, b'{"term":"7","unknown":{"a":[1]}}').term == 7


def test_peers() -> None:
    assert parse_peers("n0-localhost:20911;n1-[::1]:20912; n2-a-b.c:1 ;") == {
        "n0": "localhost:20911",
        "n1": "[::1]:20912",
        "n2": "a-b.c:1",
    }


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no peers"),
        ("n0", "not ID-HOST:PORT"),
        ("n0-h", "not ID-HOST:PORT"),
        ("-h:1", "not ID-HOST:PORT"),
        ("n0-:1", "not ID-HOST:PORT"),
        ("n0-h:x", "not ID-HOST:PORT"),
        ("n0-h:65536", "not ID-HOST:PORT"),
        ("n0-h:1;n0-h:2", "named twice"),
        ("n" * 256 + "-h:1", "longer than 255"),
    ],
)
def test_peers_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_peers(text)


def test_refusal_names_its_code() -> None:
    error = RefusedError(DLedgerCode.DISK_FULL, "n1", "APPEND", "no room")
    assert str(error) == "n1 answered APPEND with DISK_FULL (415): no room"
    assert "unknown code (999)" in str(RefusedError(999, "n1", "APPEND"))
