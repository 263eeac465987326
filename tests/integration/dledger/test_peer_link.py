"""Links to members of both kinds, to those that refuse, and to nobody."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.integration.dledger.cluster import until
from tests.integration.dledger.conftest import Run

from ledgermq.dledger.codes import DLedgerCode, DLedgerRequest, VoteResult
from ledgermq.dledger.json_messages import VoteReplyBody
from ledgermq.dledger.messages import Heartbeat, HeartbeatReply, Message, VoteReply, VoteRequest
from ledgermq.dledger.native_messages import decode_native
from ledgermq.dledger.peer_link import NativeFrames, PeerLink
from ledgermq.dledger.requests import Body, Hello, decode, encode
from ledgermq.remoting.command import Command, PeerError
from ledgermq.remoting.connection import Connection, Handler
from ledgermq.remoting.server import Server, bind

HELLO = Hello(group="g", local_id="n0", version=1, members=["n0", "n1"])


class Owner:
    def __init__(self) -> None:
        self.messages: list[tuple[str, Message]] = []
        self.kinds: list[bool] = []
        self.losses = 0

    def received(self, sender: str, message: Message) -> None:
        self.messages.append((sender, message))

    def met(self, peer: str, java: bool) -> None:
        self.kinds.append(java)

    def lost(self, peer: str) -> None:
        self.losses += 1


class Member:
    """A server in the other member's place."""

    def __init__(self) -> None:
        self.heard: list[Message] = []

    def native(self) -> dict[int, Handler]:
        return {DLedgerRequest.HELLO: self._hello, DLedgerRequest.NATIVE: self._native}

    def java(self) -> dict[int, Handler]:
        return {DLedgerRequest.VOTE: self._vote, DLedgerRequest.HEART_BEAT: self._garbage}

    def refusing(self) -> dict[int, Handler]:
        return {DLedgerRequest.HELLO: self._refuse}

    def _hello(self, command: Command, connection: Connection) -> Command:
        answer = Command(0)
        answer.body = encode(Hello(group="g", local_id="n1", version=1, members=["n0", "n1"]))
        return answer

    def _native(self, command: Command, connection: Connection) -> None:
        group, sender, message = decode_native(command.body)
        assert (group, sender) == ("g", "n0")
        self.heard.append(message)

    def _vote(self, command: Command, connection: Connection) -> Command:
        request = decode(Body, command.body)
        assert (request.group, request.local_id, request.remote_id) == ("g", "n0", "n1")
        answer = Command(DLedgerCode.SUCCESS)
        answer.body = encode(VoteReplyBody(group="g", term=request.term, vote_result="ACCEPT"))
        return answer

    def _garbage(self, command: Command, connection: Connection) -> Command:
        answer = Command(DLedgerCode.SUCCESS)
        answer.body = b"{"
        return answer

    def _refuse(self, command: Command, connection: Connection) -> Command:
        raise PeerError(DLedgerCode.UNEXPECTED_MEMBER, "other peers")


@asynccontextmanager
async def linked(port: int) -> AsyncIterator[tuple[PeerLink, Owner]]:
    owner = Owner()
    link = PeerLink(HELLO, "n1", f"127.0.0.1:{port}", NativeFrames("g", "n0"), owner)
    link.start()
    try:
        yield link, owner
    finally:
        await link.stop()


def test_a_ledgermq_member_gets_binary_messages(run: Run) -> None:
    async def scenario() -> None:
        member = Member()
        server = Server(member.native())
        port = await server.start("127.0.0.1", 0)
        async with linked(port) as (link, owner):
            await until(lambda: owner.kinds == [False])
            messages: list[Message] = [VoteRequest(4, 3, 2, True), Heartbeat(4, 1, 3, 100)]
            for message in messages:
                link.send(message)
            await until(lambda: len(member.heard) == 2)
            assert member.heard == messages
        await server.stop()

    run(scenario())


def test_a_java_member_gets_requests_and_its_answers_are_messages(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        server = Server(Member().java())
        port = await server.start("127.0.0.1", 0)
        async with linked(port) as (link, owner):
            await until(lambda: owner.kinds == [True])
            link.send(Heartbeat(4, 1, 3, 100))  # answered with what cannot be read
            link.send(VoteRequest(4, 3, 2))
            await until(lambda: owner.messages)
            assert owner.messages == [("n1", VoteReply(4, VoteResult.ACCEPT))]
            link.send(VoteRequest(4, 3, 2, True))  # cannot be said to Java
            link.send(HeartbeatReply(4, 1, 200))
            assert link.dropped == 1
        await server.stop()

    run(scenario())
    assert "cannot be read" in caplog.text


def test_a_link_comes_back(run: Run) -> None:
    async def scenario() -> None:
        member = Member()
        bound = bind("127.0.0.1", 0)
        port = bound.getsockname()[1]
        server = Server(member.native())
        await server.serve(bound)
        async with linked(port) as (link, owner):
            await until(lambda: owner.kinds == [False])
            await server.stop()
            await until(lambda: owner.losses == 1)
            link.send(Heartbeat(4, 1, 3, 100))
            assert link.dropped == 1
            server = Server(Member().java())
            await server.start("127.0.0.1", port)
            await until(lambda: owner.kinds == [False, True])
        await server.stop()

    run(scenario())


def test_who_refuses_is_asked_again_and_complained_of_once(
    run: Run, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ledgermq.dledger.peer_link.REFUSED_MS", 1)

    async def scenario() -> None:
        asked = 0
        member = Member()

        def hello(command: Command, connection: Connection) -> Command:
            nonlocal asked
            asked += 1
            return member._refuse(command, connection)

        server = Server({DLedgerRequest.HELLO: hello})
        port = await server.start("127.0.0.1", 0)
        async with linked(port) as (link, owner):
            await until(lambda: asked >= 3)
            assert owner.kinds == []
            link.send(Heartbeat(4, 1, 3, 100))
            assert link.dropped == 1
        await server.stop()

    with caplog.at_level(logging.WARNING, "ledgermq.dledger"):
        run(scenario())
    assert caplog.text.count("other peers") == 1


def test_another_member_at_the_address_is_not_taken_for_the_right_one(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        server = Server(Member().native())
        port = await server.start("127.0.0.1", 0)
        owner = Owner()
        link = PeerLink(HELLO, "n2", f"127.0.0.1:{port}", NativeFrames("g", "n0"), owner)
        link.start()
        await until(lambda: "its address is another's" in caplog.text)
        assert owner.kinds == []
        await link.stop()
        await server.stop()

    run(scenario())


def test_an_address_that_is_no_hosts_is_said(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """And tried again, as any other: nobody knows what a resolver will say later."""

    async def scenario() -> None:
        link = PeerLink(HELLO, "n1", "a..b:1", NativeFrames("g", "n0"), Owner())
        link.start()
        await until(lambda: "cannot be reached" in caplog.text)
        await link.stop()

    with caplog.at_level(logging.WARNING):
        run(scenario())
