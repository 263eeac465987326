"""Requests and answers over loopback, both ways."""

from __future__ import annotations

import asyncio
import time

import pytest
from tests.integration.remoting import world
from tests.integration.remoting.conftest import Run
from tests.integration.remoting.world import Handlers, peer, serving, until
from tests.unit.remoting.frames import JAVA

from ledgermq.remoting.client import RemotingClient
from ledgermq.remoting.codes import ResponseCode
from ledgermq.remoting.command import Command, encode_command
from ledgermq.remoting.connection import CallTimeoutError, Connection, ConnectionLostError
from ledgermq.remoting.headers import oneway, request, response


def test_many_at_once_each_gets_its_own_answer(run: Run) -> None:
    async def scenario() -> None:
        async with serving(Handlers().table()) as (server, address, _):
            client = RemotingClient()
            bodies = [b"%d" % number * (number % 7) for number in range(500)]
            calls = (client.invoke(address, request(world.ECHO, body=body)) for body in bodies)
            answers = await asyncio.gather(*calls)
            assert [answer.body for answer in answers] == bodies
            assert len(server.connections) == 1
            await client.close()

    run(scenario())


def test_answers_out_of_order_find_their_calls(run: Run) -> None:
    async def scenario() -> None:
        handlers = Handlers()
        async with serving(handlers.table()) as (_, address, _):
            client = RemotingClient()
            calls = [
                asyncio.create_task(client.invoke(address, request(world.LATER, body=b"%d" % number)))
                for number in range(20)
            ]
            await until(lambda: len(handlers.later) == 20)
            for command, connection in reversed(handlers.later):
                connection.reply(command, response(body=command.body + b"!"))
            assert [answer.body for answer in await asyncio.gather(*calls)] == [b"%d!" % n for n in range(20)]
            await client.close()

    run(scenario())


@pytest.mark.parametrize("encoding", ["JSON", "binary"])
def test_a_connection_is_answered_in_the_encoding_it_uses(run: Run, encoding: str) -> None:
    async def scenario() -> None:
        handlers = Handlers()
        async with serving({11: handlers.echo}) as (_, _, port), peer(port) as java:
            java.send(JAVA[f"pull {encoding}"])
            answer = await java.receive()
            assert (answer.opaque, answer.is_response, answer.code) == (7, True, 0)
            assert answer.binary == (encoding == "binary")
            assert answer.ext["subscription"] == "a || ü"

    run(scenario())


def test_oneway_requests_are_handled_and_not_answered(run: Run) -> None:
    async def scenario() -> None:
        handlers = Handlers()
        async with serving(handlers.table()) as (_, address, port), peer(port) as raw:
            for code in (world.ECHO, world.REFUSED, world.BROKEN_WAITING, 999):
                raw.send(encode_command(oneway(code, body=b"x")))
            raw.send(encode_command(request(world.ECHO, body=b"last")))
            assert (await raw.receive()).body == b"last"
            assert [command.is_oneway for command in handlers.seen] == [True, False]
            client = RemotingClient()
            await client.oneway(address, oneway(world.ECHO, body=b"y"))
            await until(lambda: len(handlers.seen) == 3)
            await client.close()

    run(scenario())


def test_unknown_codes_are_named(run: Run) -> None:
    async def scenario() -> None:
        async with serving({}) as (_, address, _):
            client = RemotingClient()
            for code in (0, 200050, -1):
                answer = await client.invoke(address, request(code))
                assert answer.code == ResponseCode.REQUEST_CODE_NOT_SUPPORTED
                assert answer.remark == f"request code {code} is not supported"
            await client.close()

    run(scenario())


def test_what_handlers_raise_is_answered(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with serving(Handlers().table()) as (_, address, _):
            client = RemotingClient()
            for code in (world.REFUSED, world.REFUSED_WAITING):
                answer = await client.invoke(address, request(code))
                assert (answer.code, answer.remark) == (17, "no such topic")
            assert not caplog.records
            for code in (world.BROKEN, world.BROKEN_WAITING):
                answer = await client.invoke(address, request(code))
                assert (answer.code, answer.remark) == (ResponseCode.SYSTEM_ERROR, "KeyError: 'a bug'")
            assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
            assert (await client.invoke(address, request(world.ECHO, body=b"on"))).body == b"on"
            await client.close()

    run(scenario())


def test_the_server_calls_its_client(run: Run) -> None:
    async def scenario() -> None:
        opened: list[Connection] = []
        heard: list[bytes] = []

        def client_side(command: Command, connection: Connection) -> Command:
            heard.append(command.body)
            return response(body=command.body[::-1])

        async with serving(Handlers().table(), on_open=opened.append) as (_, address, _):
            client = RemotingClient({40: client_side})
            # Both sides number their requests from 1; the answers must not be taken for each other.
            await client.invoke(address, request(world.ECHO))
            mine = [client.invoke(address, request(world.ECHO, body=b"%d" % number)) for number in range(50)]
            its = [opened[0].call(request(40, body=b"ab%d" % number), 3000) for number in range(50)]
            answers = await asyncio.gather(*mine, *its)
            assert [answer.body for answer in answers[:50]] == [b"%d" % number for number in range(50)]
            assert [answer.body for answer in answers[50:]] == [(b"ab%d" % n)[::-1] for n in range(50)]
            opened[0].notify(request(40, body=b"told"))
            await until(lambda: heard[-1] == b"told")
            answer = await opened[0].call(request(41), 3000)
            assert answer.code == ResponseCode.REQUEST_CODE_NOT_SUPPORTED
            await client.close()

    run(scenario())


def test_handlers_may_be_added_after_the_client_was_made(run: Run) -> None:
    async def scenario() -> None:
        opened: list[Connection] = []
        async with serving(Handlers().table(), on_open=opened.append) as (_, address, _):
            handlers: dict[int, object] = {}
            client = RemotingClient(handlers)  # type: ignore[arg-type]  # filled below
            handlers[40] = Handlers().echo
            await client.invoke(address, request(world.ECHO))
            assert (await opened[0].call(request(40, body=b"x"), 3000)).body == b"x"
            await client.close()

    run(scenario())


def test_no_answer_in_time(run: Run) -> None:
    async def scenario() -> None:
        handlers = Handlers()
        async with serving(handlers.table()) as (_, address, _):
            client = RemotingClient()
            with pytest.raises(CallTimeoutError, match=r"did not answer request code 2 within [12]?[0-9] ms"):
                await client.invoke(address, request(world.LATER), timeout_ms=20)
            # The late answer belongs to nobody and harms nobody.
            command, connection = handlers.later[0]
            connection.reply(command, response())
            assert (await client.invoke(address, request(world.ECHO, body=b"on"))).body == b"on"
            await client.close()

    run(scenario())


def test_a_cancelled_call_leaves_nothing_behind(run: Run) -> None:
    async def scenario() -> None:
        handlers = Handlers()
        async with serving(handlers.table()) as (_, address, _):
            client = RemotingClient()
            call = asyncio.create_task(client.invoke(address, request(world.LATER)))
            await until(lambda: handlers.later)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            handlers.later[0][1].reply(handlers.later[0][0], response())
            assert (await client.invoke(address, request(world.ECHO, body=b"on"))).body == b"on"
            await client.close()

    run(scenario())


def test_a_lost_connection_ends_its_calls_and_is_made_anew(run: Run) -> None:
    async def scenario() -> None:
        handlers = Handlers()
        closed: list[Connection] = []
        async with serving(handlers.table()) as (server, address, _):
            client = RemotingClient(on_close=closed.append)
            calls = [asyncio.create_task(client.invoke(address, request(world.LATER))) for _ in range(3)]
            await until(lambda: len(handlers.later) == 3)
            next(iter(server.connections)).abort()
            for call in calls:
                with pytest.raises(ConnectionLostError, match="was lost"):
                    await call
            assert len(closed) == 1
            with pytest.raises(ConnectionLostError, match="is closed"):
                await closed[0].call(request(world.ECHO), 1000)
            assert (await client.invoke(address, request(world.ECHO, body=b"on"))).body == b"on"
            await client.close()

    run(scenario())


def test_nobody_listens(run: Run) -> None:
    async def scenario() -> None:
        async with serving({}) as (_, address, _):
            pass
        client = RemotingClient()
        with pytest.raises(ConnectionLostError, match=f"cannot connect to {address}"):
            await client.invoke(address, request(world.ECHO))
        with pytest.raises(ConnectionLostError, match="is not host:port"):
            await client.invoke("nowhere", request(world.ECHO))
        await client.close()

    run(scenario())


def test_a_peer_that_accepts_nobody_takes_no_longer_than_was_asked_for(run: Run) -> None:
    async def scenario() -> None:
        with world.full_socket() as address:
            client = RemotingClient()
            begin = time.monotonic()
            with pytest.raises(ConnectionLostError, match=f"cannot connect to {address}: not within 20 ms"):
                await client.invoke(address, request(world.ECHO), timeout_ms=20)
            assert time.monotonic() - begin < 1
            await client.close()

    run(scenario())


def test_one_attempt_serves_all_who_wait(run: Run) -> None:
    async def scenario() -> None:
        async with serving(Handlers().table()) as (server, address, _):
            client = RemotingClient()
            first = asyncio.create_task(client.connection(address))
            second = asyncio.create_task(client.connection(address))
            await asyncio.sleep(0)
            first.cancel()
            connection = await second
            assert await client.connection(address) is connection
            assert (connection.remote, connection.remote_ip) == (address, "127.0.0.1")
            await until(lambda: len(server.connections) == 1)
            await client.close()

    run(scenario())
