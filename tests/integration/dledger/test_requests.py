"""Every request of a port, right and wrong: DLedger's codes, and who leads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests.integration.dledger.cluster import GROUP, Cluster, append, running, until
from tests.integration.dledger.conftest import Run

from ledgermq.dledger.codes import DLedgerCode, DLedgerRequest
from ledgermq.dledger.messages import VoteRequest
from ledgermq.dledger.native_messages import encode_native
from ledgermq.dledger.node import Node
from ledgermq.dledger.requests import (
    AppendReply,
    AppendRequest,
    Body,
    GetReply,
    GetRequest,
    Hello,
    MetadataReply,
    MetadataRequest,
    PullReply,
    PullRequest,
    TransferReply,
    TransferRequest,
    decode,
    encode,
)
from ledgermq.remoting.client import RemotingClient
from ledgermq.remoting.codes import ResponseCode
from ledgermq.remoting.command import Command
from ledgermq.runtime.limits import APPEND_BATCH_COUNT_MAX

pytestmark = pytest.mark.slow

B = TypeVar("B", bound=Body)


class Asker:
    """Sends requests to one member by bytes."""

    def __init__(self, remoting: RemotingClient, node: Node) -> None:
        self.remoting = remoting
        self.node = node

    async def command(self, code: int, body: bytes) -> Command:
        command = Command(code)
        command.body = body
        return await self.remoting.invoke(self.node.addresses[self.node.self_id], command, 5000)

    async def ask(self, code: int, kind: type[B], request: Body, **changes: Any) -> B:
        for name, value in {"group": GROUP, "remote_id": self.node.self_id, **changes}.items():
            setattr(request, name, value)
        answer = await self.command(code, encode(request))
        assert answer.code == DLedgerCode.SUCCESS
        return decode(kind, answer.body)


@asynccontextmanager
async def asking(folder: Path, **settings: Any) -> AsyncIterator[tuple[Cluster, Asker, Asker]]:
    """A cluster, its leader and one of its followers (the leader, when it is alone)."""
    remoting = RemotingClient()
    async with running(folder, **settings) as cluster:
        leader = await cluster.leader()
        await append(leader, b"first")
        follower = next((node for node in cluster.nodes() if node is not leader), leader)
        yield cluster, Asker(remoting, leader), Asker(remoting, follower)
        await remoting.close()


def test_metadata_is_told_by_every_member(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with asking(tmp_path) as (_, leader, follower):
            for asker in (leader, follower):
                reply = await asker.ask(DLedgerRequest.METADATA, MetadataReply, MetadataRequest())
                assert reply.leader_id == leader.node.self_id
                assert reply.peers == leader.node.addresses
                assert reply.term == leader.node.term
                assert reply.batch_append

    run(scenario())


def test_appends_single_and_in_batches_are_read_back(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with asking(tmp_path) as (_, leader, _):
            code = DLedgerRequest.APPEND
            one = await leader.ask(code, AppendReply, AppendRequest(body=b"one"))
            batch = await leader.ask(code, AppendReply, AppendRequest(batch_msgs=[b"two", b"three"]))
            assert (one.code, batch.code) == (DLedgerCode.SUCCESS, DLedgerCode.SUCCESS)
            assert batch.index == one.index + 2
            assert batch.pos == one.pos + 48 + 3 + 48 + 3
            for index, body in enumerate((b"one", b"two", b"three"), one.index):
                got = await leader.ask(DLedgerRequest.GET, GetReply, GetRequest(begin_index=index))
                assert got.code == DLedgerCode.SUCCESS
                [entry] = got.entries
                assert (entry.index, entry.body, entry.term) == (index, body, leader.node.term)

    run(scenario())


@pytest.mark.parametrize(
    ("code", "kind", "request_"),
    [
        (DLedgerRequest.METADATA, MetadataReply, MetadataRequest()),
        (DLedgerRequest.APPEND, AppendReply, AppendRequest(body=b"x")),
        (DLedgerRequest.GET, GetReply, GetRequest(begin_index=0)),
        (DLedgerRequest.PULL, PullReply, PullRequest(begin_index=0)),
        (DLedgerRequest.LEADERSHIP_TRANSFER, TransferReply, TransferRequest()),
    ],
)
def test_unknown_groups_and_members_are_told(
    run: Run, tmp_path: Path, code: int, kind: type[Body], request_: Body
) -> None:
    async def scenario() -> None:
        async with asking(tmp_path, size=1) as (_, asker, _):
            reply = await asker.ask(code, kind, request_, group="nobody's")
            assert reply.code == DLedgerCode.UNKNOWN_GROUP
            reply = await asker.ask(code, kind, request_, remote_id="n7")
            assert reply.code == DLedgerCode.UNKNOWN_MEMBER
            answer = await asker.command(code, b"{no json")
            assert decode(Body, answer.body).code == DLedgerCode.UNEXPECTED_ARGUMENT
            assert answer.remark

    run(scenario())


@pytest.mark.parametrize(
    ("code", "kind", "request_"),
    [
        (DLedgerRequest.APPEND, AppendReply, AppendRequest(body=b"x")),
        (DLedgerRequest.GET, GetReply, GetRequest(begin_index=0)),
    ],
)
def test_a_follower_names_the_leader(
    run: Run, tmp_path: Path, code: int, kind: type[Body], request_: Body
) -> None:
    async def scenario() -> None:
        async with asking(tmp_path) as (_, leader, follower):
            reply = await follower.ask(code, kind, request_)
            assert reply.code == DLedgerCode.NOT_LEADER
            assert reply.leader_id == leader.node.self_id
            assert reply.term == leader.node.term

    run(scenario())


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (AppendRequest(), DLedgerCode.REQUEST_WITH_EMPTY_BODYS),
        (AppendRequest(batch_msgs=[]), DLedgerCode.REQUEST_WITH_EMPTY_BODYS),
        (AppendRequest(batch_msgs=[b""] * (APPEND_BATCH_COUNT_MAX + 1)), DLedgerCode.UNEXPECTED_ARGUMENT),
        (AppendRequest(body=bytes(64 * 1024)), DLedgerCode.UNEXPECTED_ARGUMENT),
    ],
)
def test_appends_that_cannot_be_are_refused(
    run: Run, tmp_path: Path, request_: AppendRequest, code: int
) -> None:
    async def scenario() -> None:
        async with asking(tmp_path) as (_, leader, _):
            reply = await leader.ask(DLedgerRequest.APPEND, AppendReply, request_)
            assert reply.code == code
            assert reply.leader_id == leader.node.self_id
            assert (await append(leader.node, b"the next is taken"))[0] == DLedgerCode.SUCCESS

    run(scenario())


def test_entries_that_are_not_there_are_told(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with asking(tmp_path) as (_, leader, _):
            beyond = leader.node.last_index + 1
            for index, code in ((beyond, DLedgerCode.INDEX_OUT_OF_RANGE), (None, 411)):
                reply = await leader.ask(DLedgerRequest.GET, GetReply, GetRequest(begin_index=index))
                assert reply.code == code
            reply = await leader.ask(DLedgerRequest.GET, GetReply, GetRequest(begin_index=-1))
            assert reply.code == DLedgerCode.INDEX_LESS_THAN_LOCAL_BEGIN

    run(scenario())


def test_pull_is_unsupported(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with asking(tmp_path) as (_, leader, _):
            reply = await leader.ask(DLedgerRequest.PULL, PullReply, PullRequest())
            assert reply.code == DLedgerCode.UNSUPPORTED

    run(scenario())


def test_the_leadership_is_transferred_by_request(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with asking(tmp_path) as (cluster, leader, follower):
            code, old_term = DLedgerRequest.LEADERSHIP_TRANSFER, leader.node.term
            ids: dict[str, Any] = {"transfer_id": leader.node.self_id, "transferee_id": follower.node.self_id}
            wrong: dict[int, dict[str, Any]] = {
                DLedgerCode.UNKNOWN_MEMBER: {**ids, "transferee_id": "n9", "term": old_term},
                DLedgerCode.INCONSISTENT_TERM: {**ids, "term": old_term + 1},
                DLedgerCode.UNEXPECTED_ARGUMENT: {"term": old_term},
            }
            for expected, fields in wrong.items():
                reply = await leader.ask(code, TransferReply, TransferRequest(**fields))
                assert reply.code == expected
            reply = await leader.ask(code, TransferReply, TransferRequest(**ids, term=old_term))
            assert (reply.code, reply.term) == (DLedgerCode.SUCCESS, old_term + 1)
            assert (await cluster.leader()).self_id == follower.node.self_id

    run(scenario())


def test_a_member_with_other_peers_is_turned_away(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with asking(tmp_path) as (_, leader, _):
            hello = Hello(group=GROUP, local_id="n1", version=1, members=["n0", "n1"])
            if leader.node.self_id == "n1":
                hello = Hello(group=GROUP, local_id="n0", version=1, members=["n0", "n1"])
            answer = await leader.command(DLedgerRequest.HELLO, encode(hello))
            assert answer.code == DLedgerCode.UNEXPECTED_MEMBER
            assert "n0, n1, n2" in (answer.remark or "")
            stranger = Hello(group=GROUP, local_id="n9", version=1, members=["n0", "n1", "n9"])
            answer = await leader.command(DLedgerRequest.HELLO, encode(stranger))
            assert answer.code == DLedgerCode.UNEXPECTED_MEMBER
            other = Hello(group="other", local_id="n9", version=1)
            answer = await leader.command(DLedgerRequest.HELLO, encode(other))
            assert answer.code == DLedgerCode.UNKNOWN_GROUP

    with caplog.at_level(logging.ERROR, "ledgermq.dledger"):
        run(scenario())
    assert "give all of them the same peers" in caplog.text


def test_a_right_hello_is_answered(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with asking(tmp_path) as (_, leader, follower):
            members = sorted(leader.node.addresses)
            hello = Hello(group=GROUP, local_id=follower.node.self_id, version=1, members=members)
            answer = await leader.command(DLedgerRequest.HELLO, encode(hello))
            assert answer.code == ResponseCode.SUCCESS
            assert decode(Hello, answer.body).local_id == leader.node.self_id

    run(scenario())


def test_native_messages_of_strangers_are_ignored_and_garbage_ends_the_connection(
    run: Run, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with asking(tmp_path) as (_, leader, _):
            term = leader.node.term
            address = leader.node.addresses[leader.node.self_id]
            for group, sender in (("other", "n0"), (GROUP, "n9"), (GROUP, leader.node.self_id)):
                command = Command(DLedgerRequest.NATIVE)
                command.body = encode_native(group, sender, VoteRequest(term + 10, 99, term + 9))
                await leader.remoting.oneway(address, command)
            # Answered on the same connection, so what came before has been handled.
            await leader.ask(DLedgerRequest.METADATA, MetadataReply, MetadataRequest())
            assert leader.node.term == term
            connection = await leader.remoting.connection(address)
            command = Command(DLedgerRequest.NATIVE)
            command.body = b"\x01\xff"
            await leader.remoting.oneway(address, command)
            await until(lambda: connection.closed)
            assert (await append(leader.node, b"on it goes"))[0] == DLedgerCode.SUCCESS

    run(scenario())


def test_too_many_appends_are_refused_as_pending(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with asking(tmp_path, max_pending_requests_num=10) as (_, leader, _):
            answers = await asyncio.gather(*(append(leader.node, b"x") for _ in range(30)))
            codes = [code for code, _ in answers]
            assert codes.count(DLedgerCode.SUCCESS) == 10
            assert codes.count(DLedgerCode.LEADER_PENDING_FULL) == 20
            assert (await append(leader.node, b"and now"))[0] == DLedgerCode.SUCCESS

    run(scenario())
