"""The broker for tests, as its users use it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from ledgermq.broker.broker import Broker
from ledgermq.client import (
    AdminClient,
    ClientError,
    ConsumeFrom,
    Message,
    Producer,
    PullConsumer,
)
from ledgermq.runtime.config_sources import ConfigError
from ledgermq.testing import BrokerThread, LocalBroker


def test_a_message_goes_in_and_out(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with LocalBroker(tmp_path) as broker:
            async with Producer("tests", broker.name_server) as producer:
                receipt = await producer.send(Message("orders", b"#1", tags="new"))
                assert receipt.queue.broker_name == "local-broker"
            consumer = PullConsumer("readers", broker.name_server, consume_from=ConsumeFrom.FIRST)
            async with consumer:
                consumer.subscribe("orders")
                (message,) = await consumer.poll()
                assert (message.body, message.tags) == (b"#1", "new")

    asyncio.run(scenario())


def test_brokers_side_by_side_know_nothing_of_each_other(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with LocalBroker(tmp_path / "a") as one, LocalBroker(tmp_path / "b") as other:
            assert len({one.name_server, other.name_server, one.address, other.address}) == 4
            async with Producer("tests", one.name_server) as producer:
                await producer.send(Message("orders", b"#1"))
            async with AdminClient(one.name_server) as admin:
                assert "orders" in await admin.topics()
            async with AdminClient(other.name_server) as admin:
                assert "orders" not in await admin.topics()

    asyncio.run(scenario())


def test_stopped_and_started_it_is_the_same_broker(tmp_path: Path) -> None:
    async def scenario() -> None:
        broker = LocalBroker(tmp_path)
        await broker.start()
        addresses = broker.name_server, broker.address
        async with Producer("tests", broker.name_server) as producer:
            await producer.send(Message("orders", b"#1"))
            await broker.stop()
            await broker.stop()
            await broker.start()
            assert (broker.name_server, broker.address) == addresses
            await producer.send(Message("orders", b"#2"), timeout_ms=10_000)
        await broker.stop()

    asyncio.run(scenario())


def test_a_broker_that_cannot_stop_leaves_no_name_server_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = Broker.stop

    async def fail(broker: Broker) -> None:
        await stop(broker)
        raise OSError("no space")

    async def scenario() -> None:
        broker = LocalBroker(tmp_path)
        await broker.start()
        monkeypatch.setattr(Broker, "stop", fail)
        with pytest.raises(OSError, match="no space"):
            await broker.stop()
        with pytest.raises(ClientError):
            await Producer("tests", broker.name_server).start()

    asyncio.run(scenario())


def test_settings_are_rocketmqs(tmp_path: Path) -> None:
    async def scenario() -> None:
        settings = {"autoCreateTopicEnable": "false"}
        async with (
            LocalBroker(tmp_path, settings) as broker,
            Producer("tests", broker.name_server) as producer,
        ):
            with pytest.raises(ClientError, match="orders"):
                await producer.send(Message("orders", b"#1"))

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"maxMessageSiz": "10"}, "unknown key maxMessageSiz; did you mean maxMessageSize"),
        ({"maxMessageSize": "ten"}, "maxMessageSize=ten: allowed: a whole number"),
        ({"aclEnable": "true"}, "not supported by ledgermq yet"),
    ],
)
def test_settings_that_cannot_be(tmp_path: Path, settings: dict[str, str], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        LocalBroker(tmp_path, settings)


def test_a_start_that_fails_leaves_nothing_running(tmp_path: Path) -> None:
    async def scenario() -> None:
        (tmp_path / "store").write_text("not a directory")
        broker = LocalBroker(tmp_path)
        with pytest.raises(OSError, match="store"):
            await broker.start()
        (tmp_path / "store").unlink()
        async with broker:
            assert broker.address

    asyncio.run(scenario())


def test_for_tests_without_a_loop(tmp_path: Path) -> None:
    with BrokerThread(tmp_path) as broker:
        assert broker.messages("orders") == []
        broker.create_topic("orders", queue_count=2)
        assert broker.messages("orders") == []
        receipts = [broker.send(Message("orders", b"#%d" % number)) for number in range(5)]
        assert {receipt.queue.queue_id for receipt in receipts} <= {0, 1}
        bodies = [message.body for message in broker.messages("orders")]
        assert bodies == [b"#0", b"#1", b"#2", b"#3", b"#4"]
        addresses = broker.name_server, broker.address
        broker.restart()
        assert (broker.name_server, broker.address) == addresses
        assert [message.body for message in broker.messages("orders")] == bodies


def test_what_fails_on_the_thread_is_raised_here(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("not a directory")
    with pytest.raises(OSError, match="store"), BrokerThread(tmp_path):
        pass


def test_it_starts_and_stops_in_milliseconds(tmp_path: Path) -> None:
    """About 6 ms on a quiet machine; the best of some tries, since others may use the machine too."""
    best_seconds = 9.0
    for number in range(10):
        begin = time.perf_counter()
        with BrokerThread(tmp_path / str(number)):
            pass
        best_seconds = min(best_seconds, time.perf_counter() - begin)
    assert best_seconds < 0.1
