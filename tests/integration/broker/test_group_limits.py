"""What a group's log cannot take, and what a broker of a group does about it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.integration.broker.asking import GROUP, TOPIC, Asked, run
from tests.integration.broker.groups import group_of, until
from tests.integration.broker.messages import send, sent

from ledgermq.remoting.codes import RequestCode, ResponseCode
from ledgermq.runtime.limits import ENTRY_BODY_BYTES_MAX, RECORD_OVERHEAD_BYTES_MAX

pytestmark = pytest.mark.slow

LARGEST = ENTRY_BODY_BYTES_MAX - RECORD_OVERHEAD_BYTES_MAX


async def send_back(asked: Asked, sent: dict[str, str], group: str) -> None:
    answer = await asked.ask(
        RequestCode.CONSUMER_SEND_MSG_BACK,
        offset=int(sent["msgId"][-16:], 16),
        group=group,
        delayLevel=1,
    )
    assert answer.code == ResponseCode.SUCCESS, answer


def test_a_message_that_no_entry_can_hold_is_refused_alone(tmp_path: Path) -> None:
    async def test() -> None:
        async with group_of(tmp_path, 1) as group:
            master = await group.master()
            await master.create_topic()
            end = master.broker.store.max_log_offset
            small, large, other = await asyncio.gather(
                send(master), send(master, body=bytes(LARGEST + 1)), send(master)
            )
            assert (small.code, other.code) == (ResponseCode.SUCCESS, ResponseCode.SUCCESS)
            assert large.code == ResponseCode.MESSAGE_ILLEGAL
            assert str(LARGEST) in (large.remark or "")
            assert master.broker.is_master
            assert master.broker.store.max_log_offset > end

    run(test(), 60)


def test_the_largest_message_can_be_delivered_again(tmp_path: Path) -> None:
    """The record of its retry is larger than its own."""

    async def test() -> None:
        async with group_of(tmp_path, 1, message_delay_level="1s") as group:
            master = await group.master()
            consumers = GROUP + "g" * 100
            await master.create_topic()
            await master.create_group(consumers)
            first = await sent(master, body=bytes(LARGEST))
            await send_back(master, first, consumers)
            store, topic = master.broker.store, f"%RETRY%{consumers}".encode()

            def come() -> bool:
                queue = store.find_queue(topic, 0)
                return queue is not None and queue.max_offset == 1

            await until(come)
            assert master.broker.is_master

    run(test(), 60)


def test_only_the_master_gives_locks(tmp_path: Path) -> None:
    async def test() -> None:
        async with group_of(tmp_path) as group:
            master = await group.master()
            await master.create_topic()
            await master.create_group()
            await group.settled()
            queue = {"brokerName": "broker-a", "queueId": 0, "topic": TOPIC}
            body = {"clientId": "one", "consumerGroup": GROUP, "mqSet": [queue]}
            for asked in group.running.values():
                if asked is master:
                    assert (await asked.ask_json(RequestCode.LOCK_BATCH_MQ, body=body))["lockOKMQSet"]
                else:
                    code, remark = await asked.refused(RequestCode.LOCK_BATCH_MQ, body)
                    assert code == ResponseCode.SERVICE_NOT_AVAILABLE
                    assert "slave" in remark

    run(test(), 60)
