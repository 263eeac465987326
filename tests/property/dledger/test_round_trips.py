"""What one member encodes, another decodes: in binary, and in Java's JSON as far as that can say it."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property.dledger.members_messages import (
    CODE,
    INDEX,
    MESSAGES,
    NAME,
    TAKE_LEADERSHIPS,
    TERM,
    appends,
    entries,
    entry_lists,
)

from ledgermq.dledger.codes import DLedgerCode, DLedgerRequest, PushKind, VoteResult
from ledgermq.dledger.json_messages import (
    decode_reply,
    decode_request,
    encode_reply,
    encode_request,
    join_entries,
    split_entries,
    take_leadership,
)
from ledgermq.dledger.messages import (
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
from ledgermq.dledger.native_messages import decode_native, encode_native
from ledgermq.dledger.requests import Entry, TransferRequest, decode, encode

MEMBER = st.text(st.characters(codec="utf-8"), min_size=1, max_size=10)


@given(NAME, NAME, MESSAGES)
@settings(max_examples=500)
def test_native(group: str, sender: str, message: Message) -> None:
    assert decode_native(encode_native(group, sender, message)) == (group, sender, message)


@given(entry_lists())
def test_entries(made: list[Entry]) -> None:
    joined = join_entries(made)
    assert split_entries(joined.payload) == made
    assert (joined.first_index, joined.last_index, joined.first_pos) == (
        made[0].index,
        made[-1].index,
        made[0].pos,
    )
    terms = dict.fromkeys(entry.term for entry in made)
    firsts = [next(entry.index for entry in made if entry.term == term) for term in terms]
    assert joined.runs == tuple(zip(firsts, terms, strict=True))


@given(entry_lists(1))
def test_entry_in_json(made: list[Entry]) -> None:
    assert decode(Entry, encode(made[0])) == made[0]


def through_json(
    message: Message, group: str, sender: str, receiver: str, entry: Entries | None = None
) -> Message:
    code, body = encode_request(message, group, sender, receiver, entry)
    if code == DLedgerRequest.LEADERSHIP_TRANSFER:
        request = decode(TransferRequest, body)
        assert (request.transfer_id, request.transferee_id) == (sender, receiver)
        asked = take_leadership(request)
    else:
        asked = decode_request(code, body)
    assert (asked.group, asked.sender, asked.receiver) == (group, sender, receiver)
    return asked.message


@given(MEMBER, MEMBER, MEMBER, TERM, INDEX, INDEX)
def test_requests_in_json(group: str, sender: str, receiver: str, term: int, index: int, other: int) -> None:
    def through(message: Message) -> Message:
        return through_json(message, group, sender, receiver)

    vote = VoteRequest(term, index, other)
    assert through(vote) == vote
    take = TakeLeadership(term, index)
    assert through(take) == take
    assert through(Heartbeat(term, 7, index, 100)) == Heartbeat(term, 0, -1, 0)
    assert through(Push(PushKind.COMMIT, term, index, other, index)) == Push(
        PushKind.COMMIT, term, -1, -1, index
    )


@given(MEMBER, appends())
def test_appends_in_json(name: str, push: Push) -> None:
    assert through_json(push, name, name, name) == msgspec.structs.replace(push, prev_term=-1)


@given(st.sampled_from([PushKind.COMPARE, PushKind.TRUNCATE]), TERM, INDEX, entries(1))
def test_probes_in_json(kind: PushKind, term: int, commit_index: int, entry: Entries) -> None:
    index, entry_term = entry.runs[0]
    asked = through_json(Push(kind, term, index, entry_term, commit_index), "g", "a", "b", entry)
    assert asked == Push(kind, term, index, entry_term, commit_index, entry)


@given(TERM, TERM, CODE, st.sampled_from(VoteResult), TAKE_LEADERSHIPS)
def test_replies_in_json(
    term: int, asked_term: int, code: int, result: VoteResult, take: TakeLeadership
) -> None:
    def through(asked: Message, reply: Message) -> Message:
        message_code, body = encode_request(asked, "g", "n0", "n1")
        if isinstance(asked, TakeLeadership):
            request = take_leadership(decode(TransferRequest, body))
        else:
            request = decode_request(message_code, body)
        return decode_reply(asked, encode_reply(request, reply))

    heartbeat = HeartbeatReply(term, 4, code)
    assert through(Heartbeat(asked_term, 4, -1, 100), heartbeat) == heartbeat
    vote = VoteReply(term, result)
    assert through(VoteRequest(asked_term, 3, 2), vote) == vote
    taken = TakeLeadershipReply(term, code)
    assert through(take, taken) == taken


@given(appends(), TERM, st.sampled_from([DLedgerCode.INCONSISTENT_STATE, DLedgerCode.EXPIRED_TERM]), INDEX)
def test_push_replies_in_json(push: Push, term: int, failure: int, index: int) -> None:
    assert push.entries is not None
    asked = decode_request(*encode_request(push, "g", "n0", "n1"))
    done = PushReply(PushKind.APPEND, push.term, DLedgerCode.SUCCESS, push.entries.last_index, 0, index)
    assert decode_reply(push, encode_reply(asked, done)) == done
    failed = PushReply(PushKind.APPEND, term, failure, push.prev_index, 0, index)
    assert decode_reply(push, encode_reply(asked, failed, "n2")) == failed
