"""Whatever a member says, however wrong, a node goes on, and what it has committed stays."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from ledgermq.dledger.codes import DLedgerCode, PushKind, VoteResult
from ledgermq.dledger.json_messages import join_entries
from ledgermq.dledger.memory_ledger import MemoryLedger
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
from ledgermq.dledger.node import Node
from ledgermq.dledger.requests import Entry
from ledgermq.dledger.settings import DLedgerSettings

SETTINGS = DLedgerSettings(
    group="g",
    self_id="n0",
    # Nobody listens there: links are never made.
    peers="n0-127.0.0.1:1;n1-127.0.0.1:2;n2-127.0.0.1:3",
    store_type="MEMORY",
)
numbers = st.integers(-1, 12) | st.just(2**62)
codes = st.sampled_from([DLedgerCode.SUCCESS, DLedgerCode.INCONSISTENT_STATE, DLedgerCode.EXPIRED_TERM, 0])


@st.composite
def entries(draw: st.DrawFn) -> Entries:
    """Consecutive entries; their place and the terms may be anything."""
    first, term, pos = draw(st.integers(0, 10)), draw(st.integers(0, 10)), draw(st.integers(0, 500))
    made = []
    for index in range(first, first + draw(st.integers(1, 3))):
        body = draw(st.binary(max_size=4))
        made.append(Entry(magic=1, size=48 + len(body), index=index, term=term, pos=pos, body=body))
        pos += 48 + len(body)
        term += draw(st.integers(0, 1))
    return join_entries(made)


messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(VoteRequest, numbers, numbers, numbers, st.booleans()),
    st.builds(VoteReply, numbers, st.sampled_from(VoteResult), st.booleans()),
    st.builds(Heartbeat, numbers, numbers, numbers, st.integers(0, 10_000)),
    st.builds(HeartbeatReply, numbers, numbers, codes),
    st.builds(Push, st.just(PushKind.APPEND), numbers, numbers, numbers, numbers, entries()),
    st.builds(
        Push,
        st.sampled_from([PushKind.COMPARE, PushKind.TRUNCATE, PushKind.COMMIT]),
        numbers,
        numbers,
        numbers,
        numbers,
        st.none() | entries(),
    ),
    st.builds(
        PushReply, st.sampled_from(PushKind), numbers, codes, numbers, numbers, numbers, numbers, numbers
    ),
    st.builds(TakeLeadership, numbers, numbers),
    st.builds(TakeLeadershipReply, numbers, codes),
    st.builds(
        InstallSnapshot,
        numbers,
        numbers,
        numbers,
        st.integers(0, 500),
        st.integers(0, 9),
        st.binary(max_size=4),
        st.booleans(),
    ),
    st.builds(InstallSnapshotReply, numbers, codes, numbers, st.integers(0, 9), st.booleans()),
)
said = st.lists(st.tuples(st.sampled_from(["n1", "n2"]), messages, st.integers(0, 400)), max_size=12)


@given(said)
def test_a_node_survives_what_members_say(said: list[tuple[str, Message, int]]) -> None:
    async def scenario() -> None:
        clock = Clock()
        node = Node(SETTINGS, MemoryLedger(), source=Fixed(), now_ms=clock.now_ms)
        await node.start()
        committed: dict[int, int] = {}
        for sender, message, pause_ms in said:
            clock.ms += pause_ms
            node.received(sender, message)
            for _ in range(4):
                await asyncio.sleep(0)
            await settled(node)
            assert node.error is None
            for index, term in committed.items():
                assert node.first_index > index or node._ledger.term_at(index) == term
            for index in range(node.first_index, node.commit_index + 1):
                committed.setdefault(index, node._ledger.term_at(index))
        await node.stop()

    asyncio.run(scenario())


async def settled(node: Node) -> None:
    """What the worker does is done."""
    while node._driver._blocked:  # noqa: ASYNC110 - the end of the work sets no event
        await asyncio.sleep(0.0002)


class Clock:
    def __init__(self) -> None:
        self.ms = 0

    def now_ms(self) -> int:
        return self.ms


class Fixed:
    def randrange(self, start: int, stop: int, /) -> int:
        return start
