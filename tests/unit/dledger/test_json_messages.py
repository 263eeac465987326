"""Members' messages in Java's JSON: bodies that Java really sent, and what our bodies hold for it."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest

from ledgermq.dledger.codes import DLedgerCode, DLedgerRequest, PushKind, VoteResult
from ledgermq.dledger.errors import ProtocolError
from ledgermq.dledger.json_messages import (
    PeerRequest,
    decode_reply,
    decode_request,
    encode_reply,
    encode_request,
    join_entries,
    split_entries,
    take_leadership,
)
from ledgermq.dledger.messages import (
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Message,
    Push,
    PushReply,
    TakeLeadership,
    TakeLeadershipReply,
    VoteReply,
    VoteRequest,
)
from ledgermq.dledger.requests import Entry, TransferRequest, decode


def entry(index: int, term: int = 3, pos: int | None = None, body: bytes = b"body") -> Entry:
    """Of a log whose entries all have bodies of four bytes."""
    at = 52 * index if pos is None else pos
    return Entry(magic=1, size=48 + len(body), index=index, term=term, pos=at, body=body)


def entry_json(index: int, term: int = 3, /, **changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(msgspec.json.encode(entry(index, term)))
    return {**fields, **changes}


def push_body(kind: str, **fields: Any) -> bytes:
    base = {"group": "g0", "leaderId": "n0", "localId": "n0", "remoteId": "n1", "term": 4, "type": kind}
    return json.dumps({**base, **fields}).encode()


# ---- what DLedger 0.3.2 really sent, as it came off the socket ----

HELLO_1 = Entry(magic=1, size=55, index=1, term=0, pos=55, body=b"hello 1")
AB = Entry(magic=1, size=50, index=2, term=6, pos=110, body_crc=12345, body=b"ab")

JAVA_REQUESTS: list[tuple[int, str, Message]] = [
    (
        DLedgerRequest.VOTE,
        '{"code":200,"group":"g0","leaderId":"n0","ledgerEndIndex":-1,"ledgerEndTerm":-1,"localId":"n0",'
        '"remoteId":"n1","term":0}',
        VoteRequest(0, -1, -1),
    ),
    (
        DLedgerRequest.HEART_BEAT,
        '{"code":200,"group":"g0","leaderId":"n0","localId":"n0","remoteId":"n1","term":0}',
        Heartbeat(0, 0, -1, 0),
    ),
    (
        DLedgerRequest.PUSH,
        '{"batch":false,"batchEntry":[],"code":200,"commitIndex":-1,"count":1,"entry":{"body":"aGVsbG8gMQ==",'
        '"bodyCrc":0,"chainCrc":0,"channel":0,"index":1,"magic":1,"pos":55,"size":55,"term":0},'
        '"firstEntryIndex":1,"group":"g0","lastEntryIndex":1,"leaderId":"n0","localId":"n0","remoteId":"n1",'
        '"term":0,"totalSize":0,"type":"COMPARE"}',
        Push(PushKind.COMPARE, 0, 1, 0, -1, join_entries([HELLO_1])),
    ),
    (
        DLedgerRequest.PUSH,
        '{"batch":false,"batchEntry":[],"code":200,"commitIndex":8,"count":1,"entry":{"body":"YWI=",'
        '"bodyCrc":12345,"chainCrc":0,"channel":0,"index":2,"magic":1,"pos":110,"size":50,"term":6},'
        '"firstEntryIndex":2,"group":"g0","lastEntryIndex":2,"leaderId":"n0","localId":"n0","remoteId":"n1",'
        '"term":7,"totalSize":0,"type":"TRUNCATE"}',
        Push(PushKind.TRUNCATE, 7, 2, 6, 8, join_entries([AB])),
    ),
    (
        DLedgerRequest.PUSH,
        '{"batch":true,"batchEntry":[{"body":"aGVsbG8gMQ==","bodyCrc":0,"chainCrc":0,"channel":0,"index":1,'
        '"magic":1,"pos":55,"size":55,"term":0},{"body":"","bodyCrc":0,"chainCrc":0,"channel":0,"index":2,'
        '"magic":1,"pos":110,"size":48,"term":0}],"code":200,"commitIndex":0,"count":2,"firstEntryIndex":1,'
        '"group":"g0","lastEntryIndex":2,"leaderId":"n0","localId":"n0","remoteId":"n1","term":0,'
        '"totalSize":103,"type":"APPEND"}',
        Push(
            PushKind.APPEND,
            0,
            0,
            -1,
            0,
            join_entries([HELLO_1, Entry(magic=1, size=48, index=2, term=0, pos=110)]),
        ),
    ),
    (
        DLedgerRequest.PUSH,
        '{"batch":false,"batchEntry":[],"code":200,"commitIndex":2,"count":0,"firstEntryIndex":-1,"group":"g0",'
        '"lastEntryIndex":-1,"leaderId":"n0","localId":"n0","remoteId":"n1","term":0,"totalSize":0,'
        '"type":"COMMIT"}',
        Push(PushKind.COMMIT, 0, -1, -1, 2),
    ),
]


@pytest.mark.parametrize(("code", "body", "message"), JAVA_REQUESTS)
def test_java_requests(code: int, body: str, message: Message) -> None:
    assert decode_request(code, body.encode()) == PeerRequest("g0", "n0", "n1", message)


@pytest.mark.parametrize(("code", "body", "message"), JAVA_REQUESTS)
def test_java_requests_cut_short_and_with_more_behind(code: int, body: str, message: Message) -> None:
    for end in range(len(body)):
        with pytest.raises(ProtocolError):
            decode_request(code, body[:end].encode())
    assert decode_request(code, f" {body} \n".encode()).message == message
    with pytest.raises(ProtocolError):
        decode_request(code, f"{body}{{}}".encode())


APPEND_3 = Push(
    PushKind.APPEND,
    6,
    2,
    6,
    2,
    join_entries([Entry(magic=1, size=51, index=3, term=6, pos=160, body=b"abc")]),
)


@pytest.mark.parametrize(
    ("request_", "body", "reply"),
    [
        (Heartbeat(5, 9, 5, 100), '{"code":416,"term":-1}', HeartbeatReply(5, 9, DLedgerCode.TERM_NOT_READY)),
        (Heartbeat(5, 9, 5, 100), '{"code":200,"term":-1}', HeartbeatReply(5, 9, DLedgerCode.SUCCESS)),
        (Heartbeat(6, 9, 5, 100), '{"code":403,"term":7}', HeartbeatReply(7, 9, DLedgerCode.EXPIRED_TERM)),
        (
            # It takes the larger term over first, and says the one that it still has.
            VoteRequest(6, 100, 5),
            '{"code":200,"group":"g0","leaderId":"n1","localId":"n1","remoteId":"n0","term":5,'
            '"voteResult":"REJECT_TERM_NOT_READY"}',
            VoteReply(5, VoteResult.REJECT_TERM_NOT_READY),
        ),
        (
            VoteRequest(6, 100, 5),
            '{"code":200,"group":"g0","leaderId":"n1","localId":"n1","remoteId":"n0","term":6,'
            '"voteResult":"ACCEPT"}',
            VoteReply(6, VoteResult.ACCEPT),
        ),
        (
            Push(PushKind.COMPARE, 6, 100, 6, -1),
            '{"beginIndex":0,"code":406,"count":1,"endIndex":8,"group":"g0","index":100,"term":6}',
            PushReply(PushKind.COMPARE, 6, DLedgerCode.INCONSISTENT_STATE, 100, 0, 8),
        ),
        (
            Push(PushKind.TRUNCATE, 6, -1, -1, -1),
            '{"beginIndex":0,"code":200,"count":1,"endIndex":0,"group":"g0","index":0,"term":6}',
            PushReply(PushKind.TRUNCATE, 6, DLedgerCode.SUCCESS, 0, 0, 0),
        ),
        (
            APPEND_3,
            '{"beginIndex":0,"code":200,"count":1,"endIndex":3,"group":"g0","index":3,"term":6}',
            PushReply(PushKind.APPEND, 6, DLedgerCode.SUCCESS, 3, 0, 3),
        ),
        (
            Push(PushKind.COMMIT, 6, -1, -1, 3),
            '{"beginIndex":0,"code":200,"count":0,"endIndex":3,"group":"g0","term":6}',
            PushReply(PushKind.COMMIT, 6, DLedgerCode.SUCCESS, -1, 0, 3),
        ),
        (TakeLeadership(6, 3), '{"code":200,"term":7}', TakeLeadershipReply(7, DLedgerCode.SUCCESS)),
    ],
)
def test_java_replies(request_: Message, body: str, reply: Message) -> None:
    assert decode_reply(request_, body.encode()) == reply


# ---- requests of a Java member ----


def test_append_of_one_and_of_several() -> None:
    one = decode_request(DLedgerRequest.PUSH, push_body("APPEND", commitIndex=5, entry=entry_json(7)))
    assert one == PeerRequest("g0", "n0", "n1", Push(PushKind.APPEND, 4, 6, -1, 5, join_entries([entry(7)])))
    several = push_body("APPEND", commitIndex=-1, batchEntry=[entry_json(7, 2), entry_json(8, 3)], entry=None)
    message = decode_request(DLedgerRequest.PUSH, several).message
    assert isinstance(message, Push)
    assert message.entries is not None
    assert message.entries.runs == ((7, 2), (8, 3))
    assert (message.entries.first_index, message.entries.last_index, message.entries.first_pos) == (7, 8, 364)
    assert split_entries(message.entries.payload) == [entry(7, 2), entry(8, 3)]


def test_batch_over_two_files_is_taken_up_to_the_end_of_the_first() -> None:
    batch = [entry_json(7), entry_json(8), entry_json(9, pos=4096), entry_json(10, pos=4148)]
    message = decode_request(DLedgerRequest.PUSH, push_body("APPEND", batchEntry=batch)).message
    assert isinstance(message, Push)
    assert message.entries == join_entries([entry(7), entry(8)])
    reply = PushReply(PushKind.APPEND, 4, DLedgerCode.SUCCESS, 8, 0, 8)
    answer = json.loads(encode_reply(PeerRequest("g0", "n0", "n1", message), reply))
    assert (answer["index"], answer["count"]) == (7, 2)


def test_compare_truncate_commit() -> None:
    compare = decode_request(DLedgerRequest.PUSH, push_body("COMPARE", commitIndex=5, entry=entry_json(7)))
    assert compare.message == Push(PushKind.COMPARE, 4, 7, 3, 5, join_entries([entry(7)]))
    truncate = decode_request(DLedgerRequest.PUSH, push_body("TRUNCATE", commitIndex=5, entry=entry_json(7)))
    assert truncate.message == Push(PushKind.TRUNCATE, 4, 7, 3, 5, join_entries([entry(7)]))
    commit = decode_request(DLedgerRequest.PUSH, push_body("COMMIT", commitIndex=9))
    assert commit.message == Push(PushKind.COMMIT, 4, -1, -1, 9)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "PushRequestBody"),
        (push_body("OTHER"), "$.type"),
        (push_body("APPEND"), "APPEND without an entry"),
        (push_body("COMPARE", batchEntry=[entry_json(7)]), "COMPARE without an entry"),
        (push_body("APPEND", entry=entry_json(7, size=53)), "of size 53 with 4 bytes of body"),
        (push_body("APPEND", entry=entry_json(7, magic=2)), "magic 2"),
        (push_body("APPEND", entry=entry_json(-1, pos=0)), "entry -1"),
        (push_body("APPEND", entry=entry_json(7, pos=-4)), "at -4"),
        (push_body("APPEND", entry=entry_json(7, index="x")), "$.entry.index"),
        (push_body("APPEND", entry=entry_json(7, body="?")), "$.entry.body"),
        (push_body("APPEND", batchEntry=[entry_json(7), entry_json(9)]), "entry 9 of term 3 where 8"),
        (push_body("APPEND", batchEntry=[entry_json(7), entry_json(8, 2)]), "entry 8 of term 2"),
        (push_body("APPEND", batchEntry=[entry_json(7), entry_json(8, pos=400)]), "at 400, before the end"),
        (push_body("COMMIT", leaderId=None, localId=None), "needs group, leaderId and remoteId"),
        (push_body("COMMIT", remoteId=None), "needs group, leaderId and remoteId"),
        (push_body("COMMIT", group=None), "needs group, leaderId and remoteId"),
        (push_body("COMMIT", term=-1), "of the term -1"),
    ],
)
def test_refused(body: bytes, why: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        decode_request(DLedgerRequest.PUSH, body)
    assert why in str(caught.value)


def test_refused_code() -> None:
    with pytest.raises(ProtocolError, match="50001"):
        decode_request(DLedgerRequest.APPEND, b"{}")


# ---- our requests to a Java member ----


def sent(message: Message, **more: Any) -> dict[str, Any]:
    code, body = encode_request(message, "g0", "n1", "n2", **more)
    fields: dict[str, Any] = json.loads(body)
    head = {"group": "g0", "localId": "n1", "remoteId": "n2", "leaderId": "n1", "term": 4}
    assert {name: fields.pop(name) for name in head} == head
    return {"": code, **fields}


def test_our_requests() -> None:
    assert sent(VoteRequest(4, 7, 3)) == {"": 51001, "ledgerEndIndex": 7, "ledgerEndTerm": 3}
    assert sent(Heartbeat(4, 9, 5, 100)) == {"": 51002}
    assert sent(TakeLeadership(4, 7)) == {
        "": 51005,
        "transferId": "n1",
        "transfereeId": "n2",
        "takeLeadershipLedgerIndex": 7,
    }
    both = join_entries([entry(7), entry(8)])
    one = join_entries([entry(7)])
    # APPEND is what Java takes a push without a type for: it is left out like every default.
    assert sent(Push(PushKind.APPEND, 4, 6, 3, 5, one)) == {
        "": 51004,
        "commitIndex": 5,
        "entry": entry_json(7),
    }
    assert sent(Push(PushKind.APPEND, 4, 6, 3, 5, both)) == {
        "": 51004,
        "commitIndex": 5,
        "batchEntry": [entry_json(7), entry_json(8)],
    }
    assert sent(Push(PushKind.COMPARE, 4, 7, 3, 5), entry=one) == {
        "": 51004,
        "type": "COMPARE",
        "commitIndex": 5,
        "entry": entry_json(7),
    }
    assert sent(Push(PushKind.COMMIT, 4, -1, -1, 5)) == {"": 51004, "type": "COMMIT", "commitIndex": 5}


def test_what_java_cannot_be_told() -> None:
    for message in (
        VoteRequest(4, 7, 3, pre=True),
        InstallSnapshot(4, 7, 3, 0, 0, b"", True),
        Push(PushKind.COMPARE, 4, 7, 3, 5),
    ):
        with pytest.raises(ValueError, match=r"no form in JSON|needs the entry"):
            encode_request(message, "g0", "n1", "n2")
    asked = PeerRequest("g0", "n0", "n1", Heartbeat(4, 0, -1, 0))
    with pytest.raises(ValueError, match="does not answer"):
        encode_reply(asked, VoteReply(4, VoteResult.ACCEPT))
    with pytest.raises(ValueError, match="no form in JSON"):
        decode_reply(InstallSnapshot(4, 7, 3, 0, 0, b"", True), b"{}")


# ---- answers ----


@pytest.mark.parametrize(
    ("request_", "body", "reply"),
    [
        # Java leaves the term out when it agrees.
        (Heartbeat(4, 9, 5, 100), b'{"code":200,"term":-1}', HeartbeatReply(4, 9, 200)),
        (Heartbeat(4, 9, 5, 100), b'{"code":403,"term":6}', HeartbeatReply(6, 9, 403)),
        (Heartbeat(4, 9, 5, 100), b'{"code":416,"term":-1}', HeartbeatReply(4, 9, 416)),
        (VoteRequest(4, 7, 3), b'{"term":4,"voteResult":"ACCEPT"}', VoteReply(4, VoteResult.ACCEPT)),
        (VoteRequest(4, 7, 3), b'{"term":4,"voteResult":"NEW"}', VoteReply(4, VoteResult.UNKNOWN)),
        (VoteRequest(4, 7, 3), b'{"code":401,"term":4}', VoteReply(4, VoteResult.UNKNOWN)),
        (TakeLeadership(4, 7), b'{"code":200,"term":5}', TakeLeadershipReply(5, 200)),
        (
            Push(PushKind.COMPARE, 4, 7, 3, 5),
            b'{"code":406,"term":4,"index":7,"count":1,"beginIndex":0,"endIndex":3}',
            PushReply(PushKind.COMPARE, 4, 406, 7, 0, 3),
        ),
        # A TRUNCATE that kept nothing: Java's log now is the first entry, one behind what was asked for.
        (
            Push(PushKind.TRUNCATE, 4, -1, -1, 5),
            b'{"code":200,"term":4,"index":0,"count":1,"beginIndex":0,"endIndex":0}',
            PushReply(PushKind.TRUNCATE, 4, 200, 0, 0, 0),
        ),
        (
            Push(PushKind.COMMIT, 4, -1, -1, 5),
            b'{"code":200,"term":4,"count":0,"beginIndex":0,"endIndex":9}',
            PushReply(PushKind.COMMIT, 4, 200, -1, 0, 9),
        ),
        (
            Push(PushKind.APPEND, 4, 6, 3, 5, join_entries([entry(7), entry(8)])),
            b'{"code":200,"term":4,"index":7,"count":2,"beginIndex":0,"endIndex":8}',
            PushReply(PushKind.APPEND, 4, 200, 8, 0, 8),
        ),
        (
            Push(PushKind.APPEND, 4, 6, 3, 5, join_entries([entry(7), entry(8)])),
            b'{"code":406,"term":4,"index":7,"count":2,"beginIndex":0,"endIndex":4}',
            PushReply(PushKind.APPEND, 4, 406, 6, 0, 4),
        ),
    ],
)
def test_java_answers(request_: Message, body: bytes, reply: Message) -> None:
    assert decode_reply(request_, body) == reply


def test_answer_for_more_than_was_asked() -> None:
    push = Push(PushKind.APPEND, 4, 6, 3, 5, join_entries([entry(7)]))
    with pytest.raises(ProtocolError, match="index 8, asked was up to 7"):
        decode_reply(push, b'{"index":7,"count":2}')


def test_our_answers() -> None:
    def answered(message: Message, reply: Message, leader_id: str | None = None) -> dict[str, Any]:
        asked = PeerRequest("g0", "n0", "n1", message)
        fields: dict[str, Any] = json.loads(encode_reply(asked, reply, leader_id))
        assert fields.pop("group") == "g0"
        return fields

    assert answered(VoteRequest(4, 7, 3), VoteReply(5, VoteResult.REJECT_EXPIRED_VOTE_TERM)) == {
        "localId": "n0",
        "remoteId": "n1",
        "leaderId": "n0",
        "term": 5,
        "voteResult": "REJECT_EXPIRED_VOTE_TERM",
    }
    assert answered(Heartbeat(4, 3, -1, 0), HeartbeatReply(6, 3, 403), "n2") == {
        "code": 403,
        "term": 6,
        "leaderId": "n2",
    }
    append = Push(PushKind.APPEND, 4, 6, -1, 5, join_entries([entry(7), entry(8)]))
    # Java counts by the first entry and how many they were.
    assert answered(append, PushReply(PushKind.APPEND, 4, 200, 8, 0, 8), "n0") == {
        "term": 4,
        "leaderId": "n0",
        "index": 7,
        "count": 2,
        "endIndex": 8,
    }
    commit = Push(PushKind.COMMIT, 4, -1, -1, 5)
    assert answered(commit, PushReply(PushKind.COMMIT, 4, 200, -1, 2, 8)) == {
        "term": 4,
        "beginIndex": 2,
        "endIndex": 8,
    }
    assert answered(TakeLeadership(4, 7), TakeLeadershipReply(5, 418), "n0") == {
        "code": 418,
        "term": 5,
        "leaderId": "n0",
    }


def test_take_leadership() -> None:
    body = b'{"group":"g0","leaderId":"n0","localId":"n0","remoteId":"n1","term":4,"transferId":"n0",'
    body += b'"transfereeId":"n1","takeLeadershipLedgerIndex":7,"code":200}'
    request = decode(TransferRequest, body)
    assert take_leadership(request) == PeerRequest("g0", "n0", "n1", TakeLeadership(4, 7))


# ---- entries ----


def test_payload_is_the_data_files_form() -> None:
    one = Entry(
        magic=1, size=50, index=2, term=3, pos=4, channel=5, chain_crc=-6, body_crc=7, body=b"\x01\x02"
    )
    payload = (
        "00000001 00000032 0000000000000002 0000000000000003 0000000000000004"
        "00000005 fffffffa 00000007 00000002 0102"
    )
    joined = join_entries([one])
    assert joined.payload == bytes.fromhex(payload)
    assert split_entries(joined.payload) == [one]
    assert base64.b64decode(json.loads(msgspec.json.encode(one))["body"]) == b"\x01\x02"


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: data + b"\x01", lambda data: data[1:]]
)
def test_damaged_payload(damage: Any) -> None:
    with pytest.raises(ProtocolError):
        split_entries(damage(join_entries([entry(7), entry(8)]).payload))
