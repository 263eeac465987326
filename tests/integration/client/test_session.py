"""A session that does not get to its beginning, and one that is begun twice."""

import asyncio
from pathlib import Path

import pytest
from tests.integration.remoting.world import full_socket

from ledgermq.client import ClientError, MessageModel, Producer, PushConsumer
from ledgermq.testing import LocalBroker


def test_a_start_that_is_cancelled_leaves_nothing_behind() -> None:
    async def scenario() -> None:
        with full_socket() as address:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02), Producer("group", address):
                    pass
            await asyncio.sleep(0)
            assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scenario())


def test_a_broadcast_consumer_whose_start_is_cancelled_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def wait(store: object, path: Path) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("ledgermq.client.offset_store.FileOffsets.open", wait)

    async def scenario() -> None:
        async with LocalBroker(tmp_path) as broker:
            others = asyncio.all_tasks()
            consumer = PushConsumer("group", broker.name_server, model=MessageModel.BROADCASTING)
            starting = asyncio.create_task(consumer.start())
            while not consumer.client_id:  # noqa: ASYNC110 - it tells no event
                await asyncio.sleep(0.001)
            starting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await starting
            assert asyncio.all_tasks() <= others

    asyncio.run(scenario())


def test_a_second_start_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with LocalBroker(tmp_path) as broker, Producer("group", broker.name_server) as producer:
            with pytest.raises(ClientError, match="started already"):
                await producer.start()

    asyncio.run(scenario())
