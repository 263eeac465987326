"""What a request to a broker costs at most, whatever the broker does."""

import asyncio
import socket
import time

import pytest
from tests.integration.remoting.world import full_socket

from ledgermq.client.connections import Connections
from ledgermq.client.errors import RequestTimeoutError, UnreachableError
from ledgermq.remoting.headers import request


def test_a_broker_that_says_nothing_takes_no_longer_than_was_asked_for() -> None:
    """The greeting of a new connection is not answered either."""

    async def scenario() -> None:
        connections = Connections({})
        connections.greeting = lambda: b"{}"
        with socket.create_server(("127.0.0.1", 0)) as silent:
            with pytest.raises(RequestTimeoutError):
                await connections.ask_broker(f"127.0.0.1:{silent.getsockname()[1]}", request(1), 50)
            await connections.close()

    begin = time.monotonic()
    asyncio.run(scenario())
    assert time.monotonic() - begin < 2


def test_a_broker_that_takes_no_connection_takes_no_longer_than_was_asked_for() -> None:
    async def scenario() -> None:
        connections = Connections({})
        with full_socket() as address:
            with pytest.raises(UnreachableError, match="not within 50 ms"):
                await connections.ask_broker(address, request(1), 50)
            await connections.close()

    begin = time.monotonic()
    asyncio.run(scenario())
    assert time.monotonic() - begin < 2
