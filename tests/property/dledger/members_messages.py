"""Every message that members can say, made by hypothesis."""

from __future__ import annotations

import msgspec
from hypothesis import strategies as st

from ledgermq.dledger.codes import DLedgerCode, PushKind, VoteResult
from ledgermq.dledger.entries import ENTRY_HEAD_BYTES, ENTRY_MAGIC
from ledgermq.dledger.json_messages import join_entries
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
from ledgermq.dledger.requests import TERM_MAX, Entry

TERM = st.one_of(st.integers(0, 20), st.integers(0, TERM_MAX))
INDEX = st.one_of(st.integers(-1, 20), st.integers(-1, TERM_MAX))
POS = st.one_of(st.integers(0, 1000), st.integers(0, 2**62))
INT32 = st.integers(-(2**31), 2**31 - 1)
CODE = st.one_of(st.just(DLedgerCode.SUCCESS), st.just(DLedgerCode.INCONSISTENT_STATE), INT32)
NAME = st.text(st.characters(codec="utf-8"), max_size=60)


@st.composite
def entry_lists(draw: st.DrawFn, max_size: int = 5) -> list[Entry]:
    """Consecutive entries of one data file."""
    index, term, pos = draw(st.integers(0, 2**61)), draw(st.integers(0, 2**61)), draw(POS)
    entries = []
    for _ in range(draw(st.integers(1, max_size))):
        body = draw(st.binary(max_size=40))
        entry = Entry(
            magic=int(ENTRY_MAGIC),
            size=int(ENTRY_HEAD_BYTES) + len(body),
            index=index,
            term=term,
            pos=pos,
            channel=draw(INT32),
            chain_crc=draw(INT32),
            body_crc=draw(INT32),
            body=body,
        )
        entries.append(entry)
        index, term, pos = index + 1, term + draw(st.integers(0, 2)), pos + entry.size
    return entries


def entries(max_size: int = 5) -> st.SearchStrategy[Entries]:
    return entry_lists(max_size).map(join_entries)


@st.composite
def appends(draw: st.DrawFn) -> Push:
    carried = draw(entries())
    return Push(PushKind.APPEND, draw(TERM), carried.first_index - 1, draw(INDEX), draw(INDEX), carried)


PROBES = st.builds(
    Push,
    kind=st.sampled_from([PushKind.COMPARE, PushKind.TRUNCATE, PushKind.COMMIT]),
    term=TERM,
    prev_index=INDEX,
    prev_term=INDEX,
    commit_index=INDEX,
)
VOTE_REQUESTS = st.builds(VoteRequest, term=TERM, last_index=INDEX, last_term=INDEX, pre=st.booleans())
HEARTBEATS = st.builds(
    Heartbeat, term=TERM, round=INDEX, commit_index=INDEX, interval_ms=st.integers(0, 2**31 - 1)
)
TAKE_LEADERSHIPS = st.builds(TakeLeadership, term=TERM, index=INDEX)
PUSH_REPLIES = st.builds(
    PushReply,
    kind=st.sampled_from(PushKind),
    term=TERM,
    code=CODE,
    index=INDEX,
    begin_index=INDEX,
    end_index=INDEX,
    hint_index=INDEX,
    hint_term=INDEX,
)
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    VOTE_REQUESTS,
    st.builds(VoteReply, term=TERM, result=st.sampled_from(VoteResult), pre=st.booleans()),
    HEARTBEATS,
    st.builds(HeartbeatReply, term=TERM, round=INDEX, code=CODE),
    appends(),
    PROBES,
    PUSH_REPLIES,
    TAKE_LEADERSHIPS,
    st.builds(TakeLeadershipReply, term=TERM, code=CODE),
    st.builds(
        InstallSnapshot,
        term=TERM,
        last_index=INDEX,
        last_term=INDEX,
        next_pos=POS,
        offset=POS,
        data=st.binary(max_size=40),
        done=st.booleans(),
    ),
    st.builds(InstallSnapshotReply, term=TERM, code=CODE, last_index=INDEX, offset=POS, done=st.booleans()),
)


def without_rounds(message: Message) -> Message:
    """As JSON carries it: Java's heartbeats say neither round, commit index nor interval."""
    if isinstance(message, Heartbeat):
        return Heartbeat(message.term, 0, -1, 0)
    if isinstance(message, Push):
        return msgspec.structs.replace(message, prev_term=-1)
    return message


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Bytes of which some were changed, added or taken out."""
    data = bytearray(draw(whole))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(["change", "insert", "delete"]))
        byte = draw(st.one_of(st.sampled_from(list(b'\x00\x01\xff{}":,-9a')), st.integers(0, 255)))
        if kind == "insert":
            data.insert(at, byte)
        elif at < len(data) and kind == "change":
            data[at] = byte
        elif at < len(data):
            del data[at]
    return bytes(data)
