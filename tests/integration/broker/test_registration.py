"""The broker's registrar against our name server, and against ones that refuse or are not there."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ledgermq.broker import registration
from ledgermq.broker.registration import Registrar
from ledgermq.broker.topics import TopicTable
from ledgermq.nameserver import NameServer
from ledgermq.remoting import nameserver_headers as headers
from ledgermq.remoting.client import RemotingClient
from ledgermq.remoting.codes import RequestCode, ResponseCode
from ledgermq.remoting.command import Command
from ledgermq.remoting.connection import Connection
from ledgermq.remoting.headers import encode_header, response
from ledgermq.remoting.register_body import decode_register_body
from ledgermq.remoting.route_data import RegisterBrokerBody
from ledgermq.remoting.server import Server
from ledgermq.remoting.topic_config import TopicConfig
from ledgermq.runtime.config import BrokerConfig, NameServerConfig, NameServerSettings

ADDRESS = "127.0.0.1:10911"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registration, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(registration, "LOST_PAUSE_SECONDS", 0.01)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 10))


class Told:
    """A registrar for the broker ``a``, its topic table, and the name servers it was given."""

    def __init__(self, registrar: Registrar, topics: TopicTable) -> None:
        self.registrar = registrar
        self.topics = topics

    def create(self, topic: str) -> None:
        self.topics.update(TopicConfig(topic_name=topic), 1)


@asynccontextmanager
async def registering(*servers: str, **fields: Any) -> AsyncIterator[Told]:
    config = BrokerConfig(broker_name="a", namesrv_addr=";".join(servers), **fields)
    topics = TopicTable(config, 1)
    registrar = Registrar(config, topics, RemotingClient(), ADDRESS, "127.0.0.1:10912")
    await registrar.start(wait_ms=2000)
    try:
        yield Told(registrar, topics)
    finally:
        await registrar.stop()


@asynccontextmanager
async def name_server(directory: Path, port: int = 0) -> AsyncIterator[tuple[NameServer, str]]:
    config = NameServerConfig(listen_port=port, kv_config_path=str(directory / "kvConfig.json"))
    server = NameServer(NameServerSettings(nameserver=config))
    bound = await server.start()
    try:
        yield server, f"127.0.0.1:{bound}"
    finally:
        await server.stop()


async def until(holds: Callable[[], object]) -> None:
    """Lets the loop run until ``holds()``; the run's time-out ends it otherwise."""
    while True:
        if holds():
            return
        await asyncio.sleep(0)


@pytest.mark.parametrize("compressed", [False, True])
def test_topics_become_routes(tmp_path: Path, compressed: bool) -> None:
    async def test() -> None:
        async with name_server(tmp_path / "1") as (one, first), name_server(tmp_path / "2") as (two, second):
            async with registering(first, second, compressed_register=compressed) as told:
                for server in (one, two):
                    route = server.routes.route("TBW102")
                    assert route is not None
                    assert route.broker_datas[0].broker_addrs == {0: ADDRESS}
                    assert route.queue_datas[0].perm == 7
                told.create("N")
                await until(lambda: one.routes.route("N") and two.routes.route("N"))
                version = one.routes.data_version("a", ADDRESS)
                assert version == told.topics.data_version
            assert one.routes.cluster_info().broker_addr_table == {}
            assert two.routes.cluster_info().broker_addr_table == {}

    run(test())


def test_a_name_server_that_returns_is_told_everything(tmp_path: Path) -> None:
    async def test() -> None:
        async with name_server(tmp_path) as (_, address):
            port = int(address.rpartition(":")[2])
            registered = registering(address)
            told = await registered.__aenter__()
        told.create("N")
        async with name_server(tmp_path, port) as (server, _):
            await until(lambda: server.routes.route("N"))
            assert server.routes.route("TBW102") is not None
            await registered.__aexit__(None, None, None)
            assert server.routes.route("N") is None

    run(test())


def test_an_unreachable_name_server_delays_no_other(tmp_path: Path) -> None:
    async def test() -> None:
        async with name_server(tmp_path) as (server, address), registering("127.0.0.1:1", address) as told:
            assert server.routes.route("TBW102") is not None
            told.create("N")
            await until(lambda: server.routes.route("N"))

    run(test())


def test_a_mistake_of_ours_does_not_end_the_registration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    carry_out = registration._Link._carry_out
    mistakes = [ValueError("a mistake")]

    async def wrong_once(link: registration._Link, step: registration.Step) -> bool:
        if mistakes:
            raise mistakes.pop()
        return await carry_out(link, step)

    async def test() -> None:
        monkeypatch.setattr(registration._Link, "_carry_out", wrong_once)
        async with name_server(tmp_path) as (server, address), registering(address) as told:
            await until(lambda: told.registrar.is_registered)
            assert "a mistake" in caplog.text
            assert server.routes.route("TBW102") is not None

    run(test())


def test_ordered_topics_are_marked(tmp_path: Path) -> None:
    async def test() -> None:
        async with name_server(tmp_path) as (server, address):
            server.kv.put("ORDER_TOPIC_CONFIG", "N", "a:4")
            async with registering(address) as told:
                told.create("N")
                await until(lambda: told.topics.configs["N"].order)
                await until(lambda: server.routes.data_version("a", ADDRESS) == told.topics.data_version)

    run(test())


def test_the_permission_of_the_broker_limits_its_topics(tmp_path: Path) -> None:
    async def test() -> None:
        async with (
            name_server(tmp_path) as (server, address),
            registering(address, broker_permission=4) as told,
        ):
            route = server.routes.route("TBW102")
            assert route is not None
            assert route.queue_datas[0].perm == 4
            told.topics.advance_version(2)
            told.registrar.register_all()
            await until(lambda: server.routes.data_version("a", ADDRESS) == told.topics.data_version)

    run(test())


def test_after_a_refusal_all_topics_are_sent_again() -> None:
    async def test() -> None:
        bodies: list[RegisterBrokerBody] = []
        answers = [ResponseCode.SUCCESS, ResponseCode.SYSTEM_ERROR, ResponseCode.SUCCESS]

        def register(command: Command, connection: Connection) -> Command:
            bodies.append(decode_register_body(command.body, compressed=False))
            return response(answers[len(bodies) - 1], "as the test wants it")

        left: list[dict[str, str]] = []

        def unregister(command: Command, connection: Connection) -> Command:
            left.append(command.ext)
            return response()

        server = Server({RequestCode.REGISTER_BROKER: register, RequestCode.UNREGISTER_BROKER: unregister})
        port = await server.start("127.0.0.1", 0)
        async with registering(f"127.0.0.1:{port}") as told:
            told.create("N")
            await until(lambda: len(bodies) == 3)
            sent = [list(body.topic_config_serialize_wrapper.topic_config_table) for body in bodies]
            assert sent[1] == ["N"]
            assert sent[2] == [*sent[0], "N"]
        me = headers.BrokerIdentity("a", ADDRESS, "DefaultCluster", 0)
        assert left == [encode_header(me)]
        await server.stop()

    run(test())


def test_without_force_only_what_is_lacking_is_sent(tmp_path: Path) -> None:
    async def test() -> None:
        seen: list[int] = []
        changed = [False, True]

        def register(command: Command, connection: Connection) -> Command:
            seen.append(command.code)
            return response()

        def query(command: Command, connection: Connection) -> Command:
            seen.append(command.code)
            lacking = changed[min(seen.count(RequestCode.QUERY_DATA_VERSION), len(changed)) - 1]
            return response(header=headers.DataVersionReply(lacking))

        server = Server(
            {
                RequestCode.REGISTER_BROKER: register,
                RequestCode.QUERY_DATA_VERSION: query,
                RequestCode.UNREGISTER_BROKER: lambda command, connection: response(),
            }
        )
        port = await server.start("127.0.0.1", 0)
        async with registering(f"127.0.0.1:{port}", force_register=False, register_name_server_period=1):
            await until(lambda: len(seen) >= 4)
        assert seen[:4] == [103, 322, 322, 103]
        await server.stop()

    run(test())


def test_no_name_server_is_no_error() -> None:
    async def test() -> None:
        async with registering() as told:
            told.create("N")

    run(test())
