"""The client against members that answer as they are told: whom it asks, what it repeats, what it raises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from ledgermq.dledger.client import DLedgerClient
from ledgermq.dledger.codes import DLedgerCode, DLedgerRequest
from ledgermq.dledger.errors import NoLeaderError, NotFoundError, RefusedError, UncertainError
from ledgermq.dledger.requests import (
    AppendReply,
    AppendRequest,
    Body,
    Entry,
    GetReply,
    GetRequest,
    MetadataReply,
    TransferReply,
    TransferRequest,
    decode,
    encode,
)
from ledgermq.remoting.codes import ResponseCode
from ledgermq.remoting.command import Command, PeerError
from ledgermq.remoting.connection import Connection
from ledgermq.remoting.headers import response
from ledgermq.remoting.server import Server
from ledgermq.runtime.limits import ENTRY_BODY_BYTES_MAX

Script = list[Callable[[], Body | None]]
"""What the next appends of a member are answered, before it takes one; None ends the connection instead."""


def code(number: int, leader_id: str | None = None) -> Callable[[], Body]:
    return lambda: AppendReply(group="g0", code=number, leader_id=leader_id)


def hang_up() -> Body | None:
    return None


class FakeMember:
    """Says that ``leader`` leads; as a leader it keeps what is appended, after what its script says."""

    def __init__(self, name: str, *, java: bool = False) -> None:
        self.name = name
        self.java = java
        self.group = "g0"
        self.leader: str | None = None
        self.term = 4
        self.entries: list[bytes] = []
        self.script: Script = []
        self.asked: list[int] = []
        self.server = Server(
            {
                DLedgerRequest.METADATA: self.metadata,
                DLedgerRequest.APPEND: self.append,
                DLedgerRequest.GET: self.get,
                DLedgerRequest.LEADERSHIP_TRANSFER: self.transfer,
                DLedgerRequest.HEART_BEAT: self.heartbeat,
            }
        )

    def answer(self, body: Body) -> Command:
        return response(DLedgerCode.SUCCESS, body=encode(body))

    def metadata(self, command: Command, connection: Connection) -> Command:
        self.asked.append(command.code)
        if decode(Body, command.body).group != self.group:
            return self.answer(MetadataReply(code=DLedgerCode.UNKNOWN_GROUP))
        if self.java:
            return self.answer(MetadataReply(group="g0", leader_id=self.leader))
        return self.answer(
            MetadataReply(group="g0", leader_id=self.leader, term=self.term, batch_append=True)
        )

    def append(self, command: Command, connection: Connection) -> Command | None:
        self.asked.append(command.code)
        request = decode(AppendRequest, command.body)
        assert request.remote_id == self.name
        if self.leader != self.name:
            return self.answer(AppendReply(code=DLedgerCode.NOT_LEADER, leader_id=self.leader))
        if self.script:
            scripted = self.script.pop(0)()
            if scripted is None:
                connection.abort()
                return None
            return self.answer(scripted)
        if request.batch_msgs is not None:
            if self.java:
                raise PeerError(ResponseCode.SYSTEM_ERROR, "NullPointerException")
            self.entries.extend(request.batch_msgs)
        else:
            assert request.body is not None
            self.entries.append(request.body)
        index = len(self.entries) - 1
        return self.answer(AppendReply(index=index, pos=100 * index, term=self.term, leader_id=self.name))

    def get(self, command: Command, connection: Connection) -> Command:
        index = decode(GetRequest, command.body).begin_index
        assert index is not None
        if index >= len(self.entries):
            return self.answer(GetReply(code=DLedgerCode.INDEX_OUT_OF_RANGE))
        return self.answer(GetReply(entries=[Entry(index=index, body=self.entries[index])]))

    def heartbeat(self, command: Command, connection: Connection) -> Command:
        """As a Java node answers a leader that is no member."""
        assert decode(Body, command.body).leader_id is not None
        return self.answer(Body(code=DLedgerCode.UNKNOWN_MEMBER, term=self.term))

    def transfer(self, command: Command, connection: Connection) -> Command:
        request = decode(TransferRequest, command.body)
        assert request.transfer_id == self.name
        if request.term != self.term:
            return self.answer(TransferReply(code=DLedgerCode.INCONSISTENT_TERM))
        self.leader = request.transferee_id
        return self.answer(TransferReply(term=self.term + 1))


@asynccontextmanager
async def members(
    *fakes: FakeMember, leader: str | None = "n0", timeout_ms: int = 3000
) -> AsyncIterator[DLedgerClient]:
    peers = {}
    for fake in fakes:
        fake.leader = leader
        peers[fake.name] = f"127.0.0.1:{await fake.server.start('127.0.0.1', 0)}"
    try:
        async with DLedgerClient("g0", peers, timeout_ms=timeout_ms) as client:
            yield client
    finally:
        for fake in fakes:
            await fake.server.stop()


def three(*, java: bool = False) -> list[FakeMember]:
    return [FakeMember(f"n{i}", java=java) for i in range(3)]


def test_append_and_get() -> None:
    async def scenario() -> None:
        n0, n1, n2 = three()
        async with members(n0, n1, n2) as client:
            assert await client.leader() == "n0"
            appended = await client.append(b"first")
            assert (appended.index, appended.pos, appended.term, appended.leader_id) == (0, 0, 4, "n0")
            assert await client.append_batch([b"a", b"b"]) == [1, 2]
            assert (await client.get(2)).body == b"b"
            with pytest.raises(NotFoundError) as caught:
                await client.get(3)
            assert caught.value.code == DLedgerCode.INDEX_OUT_OF_RANGE
            assert DLedgerRequest.APPEND not in n1.asked + n2.asked

    asyncio.run(scenario())


def test_follows_the_leader() -> None:
    async def scenario() -> None:
        fakes = three()
        async with members(*fakes) as client:
            await client.append(b"x")
            for fake in fakes:
                fake.leader = "n1"
            assert (await client.append(b"y")).leader_id == "n1"
            await fakes[1].server.stop()
            for fake in fakes:
                fake.leader = "n2"
            # Whether the connection is known to be lost before the append is a matter of luck.
            assert (await client.append(b"z", repeat_uncertain=True)).leader_id == "n2"

    asyncio.run(scenario())


def test_a_dead_leader_that_the_others_still_name() -> None:
    async def scenario() -> None:
        fakes = three()
        async with members(*fakes) as client:
            await client.append(b"x")
            await fakes[0].server.stop()
            waiting = asyncio.create_task(client.append(b"y", repeat_uncertain=True))
            await asyncio.sleep(0.1)
            assert not waiting.done()
            fakes[1].leader = fakes[2].leader = "n2"
            assert (await waiting).leader_id == "n2"

    asyncio.run(scenario())


def test_two_that_name_each_other_do_not_spin() -> None:
    async def scenario() -> None:
        n0, n1 = FakeMember("n0"), FakeMember("n1")
        async with members(n0, n1, timeout_ms=300) as client:
            n0.leader, n1.leader = "n1", "n0"
            with pytest.raises(NoLeaderError, match="NOT_LEADER"):
                await client.append(b"x")
            assert len(n0.asked) < 100

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "number",
    [DLedgerCode.LEADER_PENDING_FULL, DLedgerCode.LEADER_TRANSFERRING, DLedgerCode.LEADER_NOT_READY],
)
def test_what_was_not_done_is_repeated(number: int) -> None:
    async def scenario() -> None:
        fakes = three()
        async with members(*fakes) as client:
            fakes[0].script = [code(number), code(number)]
            assert (await client.append(b"x")).index == 0

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "step",
    [code(DLedgerCode.WAIT_QUORUM_ACK_TIMEOUT), code(DLedgerCode.TERM_CHANGED), hang_up],
    ids=["timeout", "term", "hang-up"],
)
def test_what_may_have_been_done_is_repeated_only_on_demand(step: Callable[[], Body | None]) -> None:
    async def scenario() -> None:
        fakes = three()
        async with members(*fakes) as client:
            fakes[0].script = [step]
            with pytest.raises(UncertainError, match="may have been done"):
                await client.append(b"x")
            fakes[0].script = [step]
            assert (await client.append(b"y", repeat_uncertain=True)).index == 0

    asyncio.run(scenario())


def test_repeated_until_the_deadline_it_stays_uncertain() -> None:
    async def scenario() -> None:
        fakes = three()
        async with members(*fakes, timeout_ms=200) as client:
            fakes[0].script = [code(DLedgerCode.TERM_CHANGED), *[code(DLedgerCode.LEADER_PENDING_FULL)] * 100]
            with pytest.raises(UncertainError):
                await client.append(b"y", repeat_uncertain=True)

    asyncio.run(scenario())


def test_refusals() -> None:
    async def scenario() -> None:
        fakes = three()
        async with members(*fakes) as client:
            fakes[0].script = [code(DLedgerCode.DISK_FULL)]
            with pytest.raises(RefusedError, match="n0 answered APPEND with DISK_FULL") as caught:
                await client.append(b"x")
            assert (caught.value.code, caught.value.member) == (DLedgerCode.DISK_FULL, "n0")
            with pytest.raises(ValueError, match="allowed are 4194256"):
                await client.append(bytes(ENTRY_BODY_BYTES_MAX + 1))
            with pytest.raises(ValueError, match="batch of 0 entries"):
                await client.append_batch([])
            with pytest.raises(ValueError, match="batch of 16777024 bytes"):
                await client.append_batch([bytes(ENTRY_BODY_BYTES_MAX)] * 4)

    asyncio.run(scenario())


def test_another_group() -> None:
    async def scenario() -> None:
        fakes = three()
        async with members(*fakes) as client:
            for fake in fakes:
                fake.group = "g1"
            with pytest.raises(RefusedError, match="UNKNOWN_GROUP"):
                await client.append(b"x")
            with pytest.raises(NoLeaderError, match="UNKNOWN_GROUP"):
                await client.metadata()

    asyncio.run(scenario())


def test_no_leader_and_nobody_there() -> None:
    async def scenario() -> None:
        fakes = three()
        async with members(*fakes, leader=None, timeout_ms=150) as client:
            with pytest.raises(NoLeaderError, match="no member knows a leader"):
                await client.append(b"x")
            found = await client.metadata()
            assert (found.leader_id, found.term) == (None, 4)
        with pytest.raises(NoLeaderError, match="cannot connect"):
            await client.metadata()

    asyncio.run(scenario())


def test_metadata_believes_the_highest_term() -> None:
    async def scenario() -> None:
        fakes = three()
        async with members(*fakes) as client:
            fakes[2].leader, fakes[2].term = "n2", 9
            await fakes[1].server.stop()
            found = await client.metadata()
            assert (found.leader_id, found.term) == ("n2", 9)
            assert [answer.leader_id for answer in found.members] == ["n0", None, "n2"]
            assert "cannot connect" in str(found.members[1].error)

    asyncio.run(scenario())


@pytest.mark.parametrize("java", [False, True])
def test_transfer(java: bool) -> None:
    async def scenario() -> None:
        fakes = three(java=java)
        async with members(*fakes) as client:
            await client.transfer("n0")
            await client.transfer("n2")
            assert fakes[0].leader == "n2"
            for fake in fakes:
                fake.leader = "n2"
            assert (await client.append(b"x")).leader_id == "n2"

    asyncio.run(scenario())


def test_a_java_leader_gets_a_batch_one_by_one() -> None:
    async def scenario() -> None:
        fakes = three(java=True)
        async with members(*fakes) as client:
            assert await client.append_batch([b"a", b"b", b"c"]) == [0, 1, 2]
            assert fakes[0].entries == [b"a", b"b", b"c"]

    asyncio.run(scenario())


def test_one_search_serves_all() -> None:
    async def scenario() -> None:
        fakes = three()
        async with members(*fakes) as client:
            appended = await asyncio.gather(*(client.append(b"x") for _ in range(50)))
            assert sorted(one.index for one in appended) == list(range(50))
            assert all(fake.asked.count(DLedgerRequest.METADATA) <= 1 for fake in fakes)

    asyncio.run(scenario())
