import asyncio
from typing import Any

import pytest

from ledgermq.client.errors import UnreachableError
from ledgermq.client.name_servers import NameServers, parse_addresses
from ledgermq.client.routes import broker_names
from ledgermq.remoting.command import Command
from ledgermq.remoting.headers import response
from ledgermq.remoting.json_body import encode_json
from ledgermq.remoting.route_data import BrokerData, QueueData, TopicRouteData


class FakeConnections:
    """Name servers of which those in ``alive`` answer, all at the same moment."""

    def __init__(self, *alive: str) -> None:
        self.alive = alive
        self.asked: list[str] = []
        self.answer: Command | None = None

    async def ask(self, address: str, command: Command, timeout_ms: int) -> Command:
        self.asked.append(address)
        await asyncio.sleep(0)
        if address not in self.alive:
            raise UnreachableError(address)
        return self.answer or command


def test_addresses() -> None:
    assert parse_addresses("127.0.0.1:9876") == ["127.0.0.1:9876"]
    assert parse_addresses(" a:1 ; b:2;") == ["a:1", "b:2"]
    assert parse_addresses(["a", "b:2"]) == ["a:9876", "b:2"]
    assert parse_addresses("[::1]:9876") == ["[::1]:9876"]


@pytest.mark.parametrize("text", ["", ";", "a:", "a:x", "a:99999", ":1"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="address"):
        parse_addresses(text)


def test_many_who_ask_at_a_time_all_come_to_the_one_that_lives() -> None:
    async def scenario() -> None:
        connections: Any = FakeConnections("b:1")
        servers = NameServers(connections, ["a:1", "b:1"], 0)
        await asyncio.gather(*(servers.ask(lambda: Command(1)) for _ in range(2)))
        assert connections.asked == ["a:1", "a:1", "b:1", "b:1"]
        await servers.ask(lambda: Command(1))
        assert connections.asked[4:] == ["b:1"]

    asyncio.run(scenario())


def test_when_none_answers_all_are_named() -> None:
    async def scenario() -> None:
        connections: Any = FakeConnections()
        servers = NameServers(connections, ["a:1", "b:1", "c:1"], 2)
        with pytest.raises(UnreachableError, match="no name server answers: c:1; a:1; b:1"):
            await servers.ask(lambda: Command(1))

    asyncio.run(scenario())


def test_a_broker_without_an_address_is_none() -> None:
    """Who asks one of them takes the smallest id, and there is none."""
    route = TopicRouteData(
        broker_datas=[BrokerData(broker_name="a"), BrokerData(broker_name="b", broker_addrs={1: "b:1"})],
        queue_datas=[QueueData(broker_name="a"), QueueData(broker_name="b")],
    )

    async def scenario() -> None:
        connections: Any = FakeConnections("n:1")
        connections.answer = response(body=encode_json(route))
        read = await NameServers(connections, ["n:1"], 0).fetch_route("t")
        assert broker_names(read) == ["b"]

    asyncio.run(scenario())
