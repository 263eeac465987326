"""SYNC_FLUSH: nobody is told that a message is safe, and nobody sees it, before it is."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.integration.broker.asking import TOPIC, Asked, another_client, asking, run, settings_for
from tests.integration.broker.disks import HeldDisk
from tests.integration.broker.messages import (
    SUBSCRIPTION,
    SUSPEND,
    bodies,
    pull,
    pulled,
    records,
    refused,
    send,
    send_request,
    sent,
    unit,
)

from ledgermq.broker.broker import WORKER_THREADS, Broker
from ledgermq.remoting.codes import RequestCode, ResponseCode
from ledgermq.remoting.command import Command
from ledgermq.remoting.connection import ConnectionLostError

SYNC = {"flush_disk_type": "SYNC_FLUSH"}


@asynccontextmanager
async def syncing(folder: Path, **store: Any) -> AsyncIterator[tuple[Asked, HeldDisk]]:
    """A broker with SYNC_FLUSH that has taken the message ``hello``, and its disk, which is held."""
    disk = HeldDisk()
    async with asking(folder, store=SYNC | store, disk=disk) as broker:
        await sent(broker)
        disk.hold()
        try:
            yield broker, disk
        finally:
            disk.let_go(disk.error)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what happens on a worker announces itself to no loop
        await asyncio.sleep(0.001)


async def answered(broker: Asked) -> None:
    """A round trip on the same connection: what was asked before has been read, and answered if it could."""
    await broker.ask_json(RequestCode.GET_TOPIC_CONFIG, topic=TOPIC)


def sending(broker: Asked, body: bytes, **options: Any) -> asyncio.Task[Command]:
    return asyncio.ensure_future(send(broker, body=body, **options))


@pytest.mark.parametrize("code", [RequestCode.SEND_MESSAGE, RequestCode.SEND_MESSAGE_V2])
def test_a_message_is_answered_and_seen_when_it_is_flushed(tmp_path: Path, code: int) -> None:
    async def test() -> None:
        async with syncing(tmp_path) as (broker, disk):
            task = sending(broker, b"news", code=code)
            await until(disk.syncing.is_set)
            await answered(broker)
            assert not task.done()
            assert await bodies(broker) == [b"hello"]
            assert broker.broker.store.max_log_offset < broker.broker.store.log.written
            disk.let_go()
            assert (await task).code == ResponseCode.SUCCESS
            assert await bodies(broker) == [b"hello", b"news"]

    run(test())


def test_one_flush_serves_all_who_came_before_it(tmp_path: Path) -> None:
    async def test() -> None:
        async with syncing(tmp_path) as (broker, disk), another_client(broker) as other:
            syncs = disk.syncs
            first = sending(broker, b"first")
            await until(disk.syncing.is_set)
            batch: dict[str, Any] = {"body": unit(b"u") * 3, "code": RequestCode.SEND_BATCH_MESSAGE}
            rest = [sending(client, b"%d" % n) for n in range(10) for client in (broker, other)]
            rest.append(asyncio.ensure_future(send(other, **batch)))
            await asyncio.gather(answered(broker), answered(other))
            assert not any(task.done() for task in [first, *rest])
            disk.let_go()
            answers = [await task for task in [first, *rest]]
            assert {answer.code for answer in answers} == {ResponseCode.SUCCESS}
            assert disk.syncs == syncs + 2
            assert len(await pulled(broker)) == 25

    run(test())


def test_who_does_not_wait_is_answered_at_once_and_seen_later(tmp_path: Path) -> None:
    async def test() -> None:
        async with syncing(tmp_path) as (broker, disk):
            hasty = {"UNIQ_KEY": "K", "WAIT": "false"}
            assert (await send(broker, body=b"hasty", properties=hasty)).code == ResponseCode.SUCCESS
            batch = RequestCode.SEND_BATCH_MESSAGE
            answer = await send(broker, body=unit(b"batch"), code=batch, properties=hasty)
            assert answer.code == ResponseCode.SUCCESS
            await broker.client.oneway(broker.broker.address, send_request(body=b"one way", oneway=True))
            await answered(broker)
            assert await bodies(broker) == [b"hello"]
            fields = {"sysFlag": SUSPEND | SUBSCRIPTION, "suspendTimeoutMillis": 60_000}
            parked = asyncio.ensure_future(pull(broker, TOPIC, 0, 1, **fields))
            await until(lambda: broker.broker._pulls.parked.count == 1)
            disk.let_go()
            assert records(await parked)[0].body == b"hasty"
            await until(lambda: broker.broker.store.queue(TOPIC.encode(), 0).max_offset == 4)
            assert await bodies(broker) == [b"hello", b"hasty", b"batch", b"one way"]

    run(test())


def test_a_message_that_comes_back_waits_too(tmp_path: Path) -> None:
    async def test() -> None:
        async with syncing(tmp_path) as (broker, disk):
            fields: dict[str, Any] = {"offset": 0, "group": "GroupA", "delayLevel": -1}
            task = asyncio.ensure_future(broker.ask(RequestCode.CONSUMER_SEND_MSG_BACK, **fields))
            await until(disk.syncing.is_set)
            await answered(broker)
            assert not task.done()
            assert await bodies(broker, "%DLQ%GroupA") == []
            disk.let_go()
            assert (await task).code == ResponseCode.SUCCESS
            assert await bodies(broker, "%DLQ%GroupA") == [b"hello"]

    run(test())


def test_a_flush_that_takes_too_long_is_told(tmp_path: Path) -> None:
    async def test() -> None:
        async with syncing(tmp_path, sync_flush_timeout=50) as (broker, disk):
            tasks = [sending(broker, b"late", binary=binary) for binary in (False, True)]
            await until(disk.syncing.is_set)
            await answered(broker)
            for n, task in enumerate(tasks):
                while not task.done():
                    broker.broker._commits.expire()  # a chore, once a second
                    await asyncio.sleep(0.001)
                answer = await task
                assert answer.code == ResponseCode.FLUSH_DISK_TIMEOUT
                assert "longer than 0.05 s" in (answer.remark or "")
                assert answer.ext["queueOffset"] == str(n + 1), "it is stored, as in Java"
            assert await bodies(broker) == [b"hello"]
            assert broker.broker._commits._waiting == [], "while the disk hangs, senders come and go"
            disk.let_go()
            await until(lambda: broker.broker.store.queue(TOPIC.encode(), 0).max_offset == 3)
            assert await bodies(broker) == [b"hello", b"late", b"late"]
            assert broker.broker._commits._waiting_bytes == 0

    run(test())


def test_a_flush_waits_for_nothing_but_the_disk(tmp_path: Path) -> None:
    """Consumers far behind may have more read from the disk than there are workers."""

    async def test() -> None:
        async with asking(tmp_path, store=SYNC) as broker:
            read = threading.Event()
            for _ in range(WORKER_THREADS):
                broker.broker._executor.submit(read.wait, 60)
            try:
                await sent(broker)
            finally:
                read.set()

    run(test())


@pytest.mark.slow
def test_it_is_told_by_time(tmp_path: Path) -> None:
    async def test() -> None:
        async with syncing(tmp_path, sync_flush_timeout=1) as (broker, _):
            assert (await send(broker)).code == ResponseCode.FLUSH_DISK_TIMEOUT

    run(test())


def test_too_many_who_wait_are_sent_away(tmp_path: Path) -> None:
    async def test() -> None:
        async with syncing(tmp_path) as (broker, disk):
            disk.let_go()
            waiting_bytes = broker.broker._commits._waiting_bytes
            broker.broker._commits._waiting_bytes = 2**31
            for code in (RequestCode.SEND_MESSAGE, RequestCode.SEND_MESSAGE_V2):
                number, remark = await refused(broker, code=code)
                assert number == ResponseCode.SYSTEM_BUSY
                assert "retry" in remark
            broker.broker._commits._waiting_bytes = waiting_bytes
            await sent(broker)

    run(test())


def test_after_a_flush_that_failed_nobody_is_acknowledged(tmp_path: Path) -> None:
    async def test() -> None:
        disk = HeldDisk()
        broker = Broker(settings_for(tmp_path, SYNC), None, disk)
        await broker.start()
        asked = Asked(broker)
        await sent(asked)
        disk.hold()
        task = sending(asked, b"lost")
        await until(disk.syncing.is_set)
        behind = sending(asked, b"behind")
        await answered(asked)
        disk.let_go(OSError(errno.EIO, "Input/output error"))
        await broker.failed.wait()
        for code in (RequestCode.SEND_MESSAGE, RequestCode.SEND_MESSAGE_V2):
            number, remark = await refused(asked, code=code)
            assert number == ResponseCode.SERVICE_NOT_AVAILABLE
            assert "fsync failed" in remark
        assert await bodies(asked) == [b"hello"], "what was safe is still read"
        syncs = disk.syncs
        await broker.stop()
        assert disk.syncs == syncs, "an fsync that failed is not repeated"
        for lost in (task, behind):
            with pytest.raises(ConnectionLostError):
                await lost
        await asked.client.close()
        assert (tmp_path / "abort").exists(), "the next start has to recover"

    run(test())


def test_a_flush_that_fails_stops_an_asynchronous_broker_too(tmp_path: Path) -> None:
    async def test() -> None:
        disk = HeldDisk()
        disk.error = OSError(errno.EIO, "Input/output error")
        async with asking(tmp_path, store={"flush_interval_commit_log": 1}, disk=disk) as broker:
            await sent(broker)
            await broker.broker.failed.wait()
            assert (await refused(broker))[0] == ResponseCode.SERVICE_NOT_AVAILABLE

    run(test())


def test_a_stop_answers_who_waits_for_a_flush(tmp_path: Path) -> None:
    async def test() -> None:
        disk = HeldDisk()
        broker = Broker(settings_for(tmp_path, SYNC), None, disk)
        await broker.start()
        asked = Asked(broker)
        await sent(asked)
        disk.hold()
        first = sending(asked, b"first")
        await until(disk.syncing.is_set)
        second = sending(asked, b"second")
        await answered(asked)
        stopping = asyncio.ensure_future(broker.stop())
        for _ in range(10):
            await asyncio.sleep(0)
        assert not stopping.done()
        disk.let_go()
        assert [(await task).code for task in (first, second)] == [0, 0]
        await stopping
        await asked.client.close()
        async with asking(tmp_path, store=SYNC) as again:
            assert await bodies(again) == [b"hello", b"first", b"second"]

    run(test())
