"""Listening, stopping, and many connections."""

from __future__ import annotations

import asyncio
import resource
import socket
from contextlib import closing

import pytest
from tests.integration.remoting import world
from tests.integration.remoting.conftest import Run
from tests.integration.remoting.world import Handlers, peer, serving, until

from ledgermq.remoting import server as server_module
from ledgermq.remoting.client import RemotingClient
from ledgermq.remoting.command import encode_command
from ledgermq.remoting.connection import Connection
from ledgermq.remoting.headers import request
from ledgermq.remoting.server import Server, bind


def test_several_ports_one_table(run: Run) -> None:
    async def scenario() -> None:
        server = Server(Handlers().table())
        ports = [await server.start("127.0.0.1", 0) for _ in range(2)]
        client = RemotingClient()
        for port in ports:
            answer = await client.invoke(f"127.0.0.1:{port}", request(world.ECHO, body=b"x"))
            assert answer.body == b"x"
        assert len(server.connections) == 2
        await client.close()
        await server.stop()

    run(scenario())


def test_a_port_that_is_taken(run: Run) -> None:
    async def scenario() -> None:
        async with serving({}) as (_, address, port):
            with pytest.raises(OSError, match=f"cannot listen on {address}"):
                await Server({}).start("127.0.0.1", port)

    run(scenario())


def test_a_port_that_is_bound_but_not_listened_on(run: Run) -> None:
    """The system lets a second socket bind, and complains only when both listen."""

    async def scenario() -> None:
        with closing(bind("127.0.0.1", 0)) as first:
            first.listen()
            port = first.getsockname()[1]
            with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}"):
                await Server({}).start("127.0.0.1", port)

    run(scenario())


def test_an_address_that_is_not_ours() -> None:
    with pytest.raises(OSError, match=r"cannot listen on 192\.0\.2\.1:0: "):
        bind("192.0.2.1", 0)
    with pytest.raises(OSError, match=r"cannot listen on no\.such\.host\.invalid:0: "):
        bind("no.such.host.invalid", 0)


def test_ipv6(run: Run) -> None:
    async def scenario() -> None:
        server = Server(Handlers().table())
        try:
            port = await server.start("::1", 0)
        except OSError:
            pytest.skip("no IPv6 here")
        client = RemotingClient()
        connection = await client.connection(f"[::1]:{port}")
        assert connection.remote == f"[::1]:{port}"
        assert (await connection.call(request(world.ECHO, body=b"x"), 3000)).body == b"x"
        await client.close()
        await server.stop()

    run(scenario())


def test_stop_ends_connections_after_their_last_answers(run: Run) -> None:
    async def scenario() -> None:
        closed: list[Connection] = []
        server = Server(Handlers().table(), on_close=closed.append)
        port = await server.start("127.0.0.1", 0)
        async with peer(port) as one, peer(port) as two:
            one.send(encode_command(request(world.BIG)))
            await until(lambda: len(server.connections) == 2)
            assert len(await one.reader.read(1)) == 1
            reading = asyncio.create_task(one.reader.read(-1))
            await server.stop()
            assert len(closed) == 2
            assert len(await reading) > world.BIG_BYTES
            assert await two.ended()
        with pytest.raises(OSError, match=r"onnect"):
            await asyncio.open_connection("127.0.0.1", port)
        await server.stop()

    run(scenario())


@pytest.mark.slow
def test_stop_does_not_wait_for_a_peer_that_never_reads(run: Run) -> None:
    async def scenario() -> None:
        server = Server(Handlers().table())
        port = await server.start("127.0.0.1", 0)
        with socket.create_connection(("127.0.0.1", port)) as slow:
            slow.sendall(encode_command(request(world.BIG)) * 20)
            await until(lambda: any(connection.paused for connection in server.connections))
            begin = asyncio.get_running_loop().time()
            await server.stop()
            assert not server.connections
            assert asyncio.get_running_loop().time() - begin < 1

    run(scenario())


def test_more_connections_than_allowed(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server_module, "CONNECTIONS_MAX", 2)

    async def scenario() -> None:
        async with serving(Handlers().table()) as (server, _, port), peer(port) as one, peer(port):
            await until(lambda: len(server.connections) == 2)
            async with peer(port) as refused:
                assert await refused.ended()
            one.send(encode_command(request(world.ECHO, body=b"fine")))
            assert (await one.receive()).body == b"fine"
            assert len(server.connections) == 2

    run(scenario())
    assert "refused: 2 are open already" in caplog.text


@pytest.mark.slow
def test_thousands_of_connections(run: Run) -> None:
    """5,000 idle connections cost memory only: under 20 KiB each, both ends in this process."""
    count = 5000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * count + 200
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"needs {needed} open files, {hard} are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))

    async def scenario() -> None:
        async with serving(Handlers().table()) as (server, _, port):
            before = rss_bytes()
            peers = []
            for _ in range(count):
                raw = socket.socket()
                raw.setblocking(False)
                await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
                peers.append(raw)
            await until(lambda: len(server.connections) == count)
            assert (rss_bytes() - before) / count < 20_000
            async with peer(port) as other:
                other.send(encode_command(request(world.ECHO, body=b"fine")))
                assert (await other.receive()).body == b"fine"
            for raw in peers:
                raw.close()
            await until(lambda: not server.connections)

    try:
        run(scenario())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def rss_bytes() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()
