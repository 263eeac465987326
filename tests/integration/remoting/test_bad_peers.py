"""Peers that break the rules lose their own connection, or wait; nobody else notices."""

from __future__ import annotations

import asyncio
import socket

import pytest
from tests.integration.remoting import world
from tests.integration.remoting.conftest import Run
from tests.integration.remoting.world import Handlers, peer, serving, until
from tests.unit.remoting.frames import BINARY, frame

from ledgermq.remoting import connection as connection_module
from ledgermq.remoting.client import RemotingClient
from ledgermq.remoting.codes import ResponseCode
from ledgermq.remoting.command import encode_command
from ledgermq.remoting.connection import Connection
from ledgermq.remoting.headers import request
from ledgermq.runtime.limits import FRAME_BYTES_MAX, WAITING_HANDLERS_MAX

BAD_STREAMS = {
    "oversized": ((FRAME_BYTES_MAX - 3).to_bytes(4, "big") + bytes(4), "frame length 16777213 is not in 4.."),
    "largest": (b"\x7f\xff\xff\xff" + bytes(4), "frame length 2147483647"),
    "negative": (b"\xff\xff\xff\xff" + bytes(4), "frame length -1 "),
    "too short": (b"\x00\x00\x00\x03" + bytes(4), "frame length 3 "),
    "HTTP": (b"GET / HTTP/1.1\r\n\r\n", "frame length 1195725856"),
    "header beyond its frame": (b"\x00\x00\x00\x04\x00\x00\x00\x01", "header of 1 bytes in a frame of 4"),
    "unknown encoding": (frame(b"", encoding=9), "header encoding 9"),
    "no JSON": (frame(b"\x00"), "JSON header cannot be read"),
    "deep JSON": (frame(b'{"code":1,"x":' + b"[" * 5000), "JSON header cannot be read"),
    "no binary header": (frame(bytes(20), encoding=BINARY), "binary header of 20 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("stream", BAD_STREAMS)
def test_lost_framing_ends_this_connection_with_one_line(
    run: Run, caplog: pytest.LogCaptureFixture, stream: str
) -> None:
    data, why = BAD_STREAMS[stream]

    async def scenario() -> None:
        async with serving(Handlers().table()) as (server, _, port), peer(port) as good, peer(port) as bad:
            bad.send(encode_command(request(world.ECHO, body=b"before")) + data + data)
            assert (await bad.receive()).body == b"before"
            assert await bad.ended()
            good.send(encode_command(request(world.ECHO, body=b"fine")))
            assert (await good.receive()).body == b"fine"
            assert len(server.connections) == 1

    run(scenario())
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "closed: not RocketMQ's protocol: " + why in record.getMessage()
    assert len(record.getMessage()) < 300


def test_a_peer_that_goes_away_inside_a_frame(run: Run) -> None:
    async def scenario() -> None:
        closed: list[Connection] = []
        async with serving(Handlers().table(), on_close=closed.append) as (server, _, port):
            async with peer(port) as gone:
                gone.send(encode_command(request(world.ECHO))[:-1])
            await until(lambda: closed)
            assert not server.connections

    run(scenario())


def test_unfinished_frames_of_all_connections_share_a_limit(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    unfinished = connection_module.unfinished
    large = encode_command(request(world.ECHO, body=bytes(60_000)))

    async def scenario() -> None:
        before = unfinished.held
        monkeypatch.setattr(unfinished, "limit", before + 100_000)
        async with (
            serving(Handlers().table()) as (server, _, port),
            peer(port) as first,
            peer(port) as second,
        ):
            first.send(large[:-1])
            await until(lambda: unfinished.held == before + len(large) - 1)
            second.send(large[:-1])
            assert await second.ended()
            await until(lambda: unfinished.held == before + len(large) - 1)
            first.send(large[-1:])
            assert len((await first.receive()).body) == 60_000
            assert unfinished.held == before
            first.send(large[:30_000])
            await until(lambda: unfinished.held > before)
        await until(lambda: unfinished.held == before)
        assert not server.connections

    run(scenario())
    (record,) = caplog.records
    assert "closed: all connections together hold" in record.getMessage()


def test_waiting_handlers_end_with_their_connection(run: Run) -> None:
    async def scenario() -> None:
        handlers = Handlers()
        async with serving(handlers.table()) as (_, _, port):
            async with peer(port) as gone:
                gone.send(encode_command(request(world.WAITING)) * 5)
                await until(lambda: handlers.waiting == 5)
            await until(lambda: handlers.waiting == 0)

    run(scenario())


def test_more_waiting_handlers_than_allowed(run: Run) -> None:
    async def scenario() -> None:
        handlers = Handlers()
        async with serving(handlers.table()) as (_, _, port), peer(port) as greedy:
            greedy.send(encode_command(request(world.WAITING)) * (WAITING_HANDLERS_MAX + 1))
            answer = await greedy.receive()
            assert answer.code == ResponseCode.SYSTEM_BUSY
            assert answer.remark == "1024 requests of this connection wait already, retry later"
            handlers.go_on.set()
            for _ in range(WAITING_HANDLERS_MAX):
                assert (await greedy.receive()).code == ResponseCode.SUCCESS

    run(scenario())


@pytest.mark.slow
def test_idle_connections_are_closed(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    async def scenario() -> None:
        async with (
            serving(Handlers().table(), idle_seconds_max=1) as (server, _, port),
            peer(port) as busy,
            peer(port) as idle,
        ):
            await until(lambda: len(server.connections) == 2)
            loop = asyncio.get_running_loop()
            begin = loop.time()
            waiting = asyncio.create_task(idle.ended())
            while not waiting.done():
                busy.send(encode_command(request(world.ECHO)))
                await busy.receive()
                await asyncio.sleep(0.05)
            assert waiting.result()
            assert 0.9 < loop.time() - begin < 5
            assert len(server.connections) == 1

    run(scenario())
    assert [record.getMessage().split(":")[-1] for record in caplog.records] == [" idle for 1 s"]


def raw_socket(port: int) -> socket.socket:
    """A peer that the loop does not read from."""
    return socket.create_connection(("127.0.0.1", port))


def test_a_slow_reader_is_not_read_from(run: Run) -> None:
    """Its requests stay in the socket, so what waits for it stays bounded; when it reads, it gets all."""

    async def scenario() -> None:
        async with serving(Handlers().table()) as (server, _, port):
            with raw_socket(port) as slow:
                await until(lambda: server.connections)
                (connection,) = server.connections
                loop = asyncio.get_running_loop()
                slow.setblocking(False)
                asked = 0
                while not connection.paused:
                    await loop.sock_sendall(slow, encode_command(request(world.BIG)))
                    asked += 1
                    await asyncio.sleep(0.001)
                await loop.sock_sendall(slow, encode_command(request(world.BIG)) * 20)
                asked += 20
                async with peer(port) as other:
                    other.send(encode_command(request(world.ECHO, body=b"fine")))
                    assert (await other.receive()).body == b"fine"
                assert connection.paused
                got = 0
                while got < asked * world.BIG_BYTES:
                    got += len(await loop.sock_recv(slow, 1 << 20))
                await until(lambda: not connection.paused)

    run(scenario())


def test_a_peer_that_leaves_too_much_unread_is_disconnected(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        closed: list[Connection] = []
        async with serving(Handlers().table(), on_close=closed.append) as (server, _, port):
            with raw_socket(port) as slow:
                await until(lambda: server.connections)
                (connection,) = server.connections
                # Not requests but what the broker sends by itself: nothing holds it back.
                for _ in range(80):
                    connection.send(request(40, body=bytes(1 << 20)))
                await until(lambda: closed)
                assert slow.fileno() >= 0
                connection.notify(request(40))

    run(scenario())
    (record,) = caplog.records
    assert "closed: it left 67108864 bytes unread" in record.getMessage()


@pytest.mark.slow
def test_closing_does_not_wait_for_a_peer_that_never_reads(run: Run) -> None:
    async def scenario() -> None:
        closed: list[Connection] = []
        short = {"idle_seconds_max": 1}
        async with serving(Handlers().table(), on_close=closed.append, **short) as (
            server,
            _,
            port,
        ):
            with raw_socket(port) as slow:
                slow.sendall(encode_command(request(world.BIG)) * 30)
                await until(lambda: server.connections)
                (connection,) = server.connections
                await until(lambda: connection.paused)
                begin = asyncio.get_running_loop().time()
                await until(lambda: closed)
                seconds = asyncio.get_running_loop().time() - begin
                assert seconds < 1 + connection_module.CLOSE_SECONDS_MAX + 2

    run(scenario())


def test_an_unsolicited_answer_is_ignored(run: Run) -> None:
    async def scenario() -> None:
        async with serving(Handlers().table()) as (_, _, port), peer(port) as odd:
            answer = request(0)
            answer.flag = 1
            odd.send(encode_command(answer) + encode_command(request(world.ECHO, body=b"on")))
            assert (await odd.receive()).body == b"on"

    run(scenario())


def test_a_listener_that_fails_does_not_keep_others_from_hearing(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(connection: Connection) -> None:
        raise KeyError("a bug")

    async def scenario() -> None:
        heard: list[str] = []
        closed: list[Connection] = []
        async with serving(Handlers().table(), on_close=closed.append) as (server, address, _):
            client = RemotingClient()
            await client.invoke(address, request(world.ECHO))
            (connection,) = server.connections
            connection.close_listeners += [fail, lambda connection: heard.append("second")]
            await client.close()
            await until(lambda: closed)
            assert heard == ["second"]
            assert not server.connections

    run(scenario())
    assert [record.levelname for record in caplog.records] == ["ERROR"]
