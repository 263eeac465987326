"""Disks that are full, broken or read-only: sends are refused, reads go on, service returns by itself."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest
from tests.integration.broker.asking import TOPIC, Asked, another_client, asking, run, settings_for
from tests.integration.broker.disks import FullDisk
from tests.integration.broker.messages import (
    bodies,
    pulled,
    refused,
    send,
    send_request,
    sent,
    unit,
)

from ledgermq.broker.broker import Broker
from ledgermq.remoting.codes import RequestCode, ResponseCode
from ledgermq.store.errors import StoreLockedError

UNAVAILABLE = ResponseCode.SERVICE_NOT_AVAILABLE
CODES = (RequestCode.SEND_MESSAGE, RequestCode.SEND_MESSAGE_V2, RequestCode.SEND_BATCH_MESSAGE)


async def taken_again(broker: Asked, body: bytes = b"taken again") -> None:
    """Return when a message is taken: the broker tries again once a second."""
    while (await send(broker, body=body)).code != ResponseCode.SUCCESS:  # noqa: ASYNC110 - as a sender does
        await asyncio.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_failed_write_is_told_to_every_sender_of_its_turn(tmp_path: Path, error: int) -> None:
    async def test() -> None:
        disk = FullDisk()
        async with asking(tmp_path, disk=disk) as broker, another_client(broker) as other:
            await sent(broker)
            await sent(broker, queueId=1)
            disk.where, disk.error = "commitlog", error
            requests = [
                send_request(
                    body=unit(b"%d" % n) * 2 if code == RequestCode.SEND_BATCH_MESSAGE else b"%d" % n,
                    code=code,
                    binary=binary,
                    queueId=n % 2,
                )
                for n in range(3)
                for code in CODES
                for binary in (False, True)
            ]
            requests.append(send_request(body=b"one way", oneway=True))
            answers = await asyncio.gather(
                *(
                    client.client.invoke(client.broker.address, request, 10_000)
                    for client in (broker, other)
                    for request in requests[:-1]
                )
            )
            assert {answer.code for answer in answers} == {UNAVAILABLE}
            for answer in answers:
                assert "commit log write failed" in (answer.remark or "")
            await broker.client.oneway(broker.broker.address, requests[-1])
            back = {"offset": "0", "group": "GroupA", "delayLevel": "0"}
            assert (await broker.refused(RequestCode.CONSUMER_SEND_MSG_BACK, **back))[0] == UNAVAILABLE
            assert await bodies(broker) == await bodies(broker, TOPIC, 1) == [b"hello"], "reads go on"
            store = broker.broker.store
            assert store.log.end == store.log.written
            disk.error = 0
            await taken_again(broker)
            for n in range(2):
                fields = await sent(broker, queueId=1, body=b"%d" % n)
                assert fields["queueOffset"] == str(n + 1), "no offset was used up"
            assert await bodies(broker) == [b"hello", b"taken again"]
        async with asking(tmp_path) as broker:
            assert await bodies(broker) == [b"hello", b"taken again"]
            assert await bodies(broker, TOPIC, 1) == [b"hello", b"0", b"1"]

    run(test())


@pytest.mark.slow
def test_queue_files_that_cannot_be_written_stop_sends_too(tmp_path: Path) -> None:
    async def test() -> None:
        disk = FullDisk()
        async with asking(tmp_path, disk=disk) as broker:
            await sent(broker)
            disk.where, disk.error = "consumequeue", errno.ENOSPC
            stored = [b"hello"]
            while True:
                answer = await send(broker, body=b"%d" % len(stored))
                if answer.code != ResponseCode.SUCCESS:
                    break
                stored.append(b"%d" % len(stored))
                await asyncio.sleep(0.01)
            assert answer.code == UNAVAILABLE
            assert "consume queue" in (answer.remark or "")
            assert await bodies(broker) == stored[:32]
            disk.error = 0
            await taken_again(broker)
            assert (await pulled(broker, TOPIC, 0, len(stored)))[0].body == b"taken again"

    run(test())


@pytest.mark.slow
def test_no_room_for_the_next_file_stops_what_needs_it(tmp_path: Path) -> None:
    async def test() -> None:
        disk = FullDisk()
        small = {"mapped_file_size_commit_log": 64 * 1024, "max_message_size": 20_000}
        async with asking(tmp_path, disk=disk, store=small) as broker:
            await sent(broker, body=bytes(20_000))
            disk.where, disk.error = f"commitlog/{64 * 1024:020d}", errno.ENOSPC
            for _ in range(2):
                await sent(broker, body=bytes(20_000))
            number, remark = await refused(broker, body=bytes(20_000))
            assert number == UNAVAILABLE
            assert "no next commit log file" in remark
            assert len(await pulled(broker)) == 3
            disk.error = 0
            await taken_again(broker)
            await taken_again(broker, bytes(20_000))
            assert len(await pulled(broker)) == 5

    run(test())


def test_a_broker_does_not_start_on_a_directory_that_it_cannot_write(tmp_path: Path) -> None:
    async def test() -> None:
        disk = FullDisk()
        disk.error = errno.EROFS
        broker = Broker(settings_for(tmp_path), None, disk)
        with pytest.raises(OSError, match="Read-only file system"):
            await broker.start()
        async with asking(tmp_path) as again:
            await sent(again)

    run(test())


def test_a_second_broker_on_a_store_is_refused_with_the_first_one_s_pid(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            with pytest.raises(StoreLockedError, match=rf"pid {os.getpid()}\)"):
                await Broker(settings_for(tmp_path)).start()
            await sent(broker)
            assert await bodies(broker) == [b"hello"]
        async with asking(tmp_path) as broker:
            assert await bodies(broker) == [b"hello"]

    run(test())
