"""Messages that consumers send back: to the retry topic by way of a delay level, or to the dead letters."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from tests.integration.broker.asking import GROUP, TOPIC, Asked, asking, run
from tests.integration.broker.disks import ColdDisk
from tests.integration.broker.messages import (
    ADDED,
    BORN_MS,
    bodies,
    properties_of,
    pull_request,
    pulled,
    records,
    request_of,
    sent,
)

from ledgermq.message.ids import offset_message_id
from ledgermq.message.record import Record
from ledgermq.remoting.codes import FLAG_ONEWAY, RequestCode, ResponseCode
from ledgermq.remoting.command import Command

SCHEDULE = "SCHEDULE_TOPIC_XXXX"
RETRY, DEAD = f"%RETRY%{GROUP}", f"%DLQ%{GROUP}"
PROPERTIES = {"UNIQ_KEY": "K1", "TAGS": "a", "KEYS": "k", "mine": "x"}


async def back(broker: Asked, offset: int, level: int = 0, *, binary: bool = False, **fields: Any) -> Command:
    wanted: dict[str, Any] = {"offset": offset, "group": GROUP, "delayLevel": level, "originTopic": TOPIC}
    version = fields.pop("version", 513)
    request = request_of(RequestCode.CONSUMER_SEND_MSG_BACK, wanted | fields, binary=binary)
    request.version = version
    return await broker.client.invoke(broker.broker.address, request, 10_000)


async def one(broker: Asked, **options: Any) -> Record:
    """A message as a consumer has it."""
    await sent(broker, body=b"work", properties=PROPERTIES, queueId=1, flag=7, **options)
    return (await pulled(broker, TOPIC, 1))[-1]


def message_id(broker: Asked, record: Record) -> str:
    return offset_message_id(bytes([127, 0, 0, 1]), broker.broker.port, int(record.log_offset))


@pytest.mark.parametrize("binary", [False, True], ids=["json", "binary"])
def test_a_message_waits_for_its_retry(tmp_path: Path, binary: bool) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            record = await one(broker)
            answer = await back(broker, record.log_offset, binary=binary)
            assert (answer.code, answer.remark, answer.ext) == (0, None, {})
            assert (answer.binary, answer.is_response) == (binary, True)
            [waiting] = await pulled(broker, SCHEDULE, 2)
            assert properties_of(waiting) == PROPERTIES | ADDED | {
                "RETRY_TOPIC": TOPIC,
                "ORIGIN_MESSAGE_ID": message_id(broker, record),
                "DELAY": "3",
                "REAL_TOPIC": RETRY,
                "REAL_QID": "0",
            }
            assert (waiting.body, waiting.flag, waiting.reconsume_times) == (b"work", 7, 1)
            assert (waiting.born_ms, waiting.born_host) == (BORN_MS, record.born_host)
            assert broker.broker.topics.get(RETRY).read_queue_nums == 1
            assert broker.broker.stats.send_backs(GROUP, TOPIC).messages == 1

    run(test())


@pytest.mark.parametrize(
    ("asked_level", "reconsume_times", "queue_id"),
    [(0, 0, 2), (0, 1, 3), (0, 15, 17), (1, 5, 0), (18, 0, 17), (99, 0, 17), (2**31 - 1, 0, 17)],
)
def test_the_level_is_the_asked_one_or_grows_with_each_retry(
    tmp_path: Path, asked_level: int, reconsume_times: int, queue_id: int
) -> None:
    async def test() -> None:
        slow = {"message_delay_level": " ".join(["1h"] * 18)}
        async with asking(tmp_path, store=slow) as broker:
            record = await one(broker, reconsumeTimes=reconsume_times)
            assert (await back(broker, record.log_offset, asked_level)).code == 0
            [waiting] = await pulled(broker, SCHEDULE, queue_id)
            assert properties_of(waiting)["DELAY"] == str(queue_id + 1)
            assert waiting.reconsume_times == reconsume_times + 1

    run(test())


@pytest.mark.parametrize(
    ("level", "reconsume_times", "fields", "is_dead"),
    [
        (-1, 0, {}, True),
        (0, 15, {}, False),
        (0, 16, {}, True),
        (0, 2, {"maxReconsumeTimes": 2}, True),
        (0, 2, {"maxReconsumeTimes": 3}, False),
        (0, 30, {"maxReconsumeTimes": 40}, False),
        (0, 2, {"maxReconsumeTimes": 2, "version": 100}, False),
        (0, 16, {"maxReconsumeTimes": 40, "version": 100}, True),
    ],
)
def test_a_worn_out_message_goes_to_the_dead_letters(
    tmp_path: Path, level: int, reconsume_times: int, fields: dict[str, Any], is_dead: bool
) -> None:
    async def test() -> None:
        slow = {"message_delay_level": " ".join(["1h"] * 18)}
        async with asking(tmp_path, store=slow) as broker:
            record = await one(broker, reconsumeTimes=reconsume_times)
            assert (await back(broker, record.log_offset, level, **fields)).code == 0
            if not is_dead:
                assert DEAD not in broker.broker.topics.configs
                return
            [dead] = await pulled(broker, DEAD)
            origin = message_id(broker, record)
            assert properties_of(dead) == PROPERTIES | ADDED | {
                "RETRY_TOPIC": TOPIC,
                "ORIGIN_MESSAGE_ID": origin,
                "DLQ_ORIGIN_TOPIC": TOPIC,
                "DLQ_ORIGIN_MESSAGE_ID": origin,
            }
            assert dead.reconsume_times == reconsume_times + 1
            assert broker.broker.topics.get(DEAD).write_queue_nums == 1

    run(test())


def test_a_message_remembers_where_it_came_from(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path, store={"message_delay_level": "0s 0s 0s 0s"}) as broker:
            first = record = await one(broker)
            for times in range(1, 4):
                assert (await back(broker, record.log_offset)).code == 0
                answer = await broker.client.invoke(
                    broker.broker.address,
                    pull_request(RETRY, 0, times - 1, sysFlag=6, suspendTimeoutMillis=15_000),
                    20_000,
                )
                [record] = records(answer)
                found = properties_of(record)
                assert (found["RETRY_TOPIC"], found["ORIGIN_MESSAGE_ID"]) == (
                    TOPIC,
                    message_id(broker, first),
                )
                assert "DELAY" not in found
                assert (record.reconsume_times, record.body) == (times, b"work")

    run(test())


def test_a_retry_goes_to_a_queue_of_the_group(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path, store={"message_delay_level": "1h"}) as broker:
            group = {"groupName": GROUP, "retryQueueNums": 3}
            assert (await broker.ask(RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, body=group)).code == 0
            record = await one(broker)
            random.seed(1)
            for _ in range(20):
                await back(broker, record.log_offset)
            chosen = {properties_of(found)["REAL_QID"] for found in await pulled(broker, SCHEDULE, 0)}
            assert chosen == {"0", "1", "2"}
            assert broker.broker.topics.get(RETRY).write_queue_nums == 3

    run(test())


def test_a_group_without_retry_queues_gets_nothing_back(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            group = {"groupName": GROUP, "retryQueueNums": 0}
            assert (await broker.ask(RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, body=group)).code == 0
            record = await one(broker)
            assert (await back(broker, record.log_offset)).code == 0
            assert RETRY not in broker.broker.topics.configs
            assert await pulled(broker, SCHEDULE, 2) == []

    run(test())


def test_a_one_way_message_back_is_stored(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            record = await one(broker)
            fields = {"offset": record.log_offset, "group": GROUP, "delayLevel": -1}
            request = request_of(RequestCode.CONSUMER_SEND_MSG_BACK, fields)
            request.flag |= FLAG_ONEWAY
            await broker.client.oneway(broker.broker.address, request)
            await broker.ask(RequestCode.GET_TOPIC_CONFIG, topic=TOPIC)
            assert await bodies(broker, DEAD) == [b"work"]

    run(test())


@pytest.mark.parametrize(
    ("fields", "code", "said"),
    [
        ({"offset": 1}, ResponseCode.SYSTEM_ERROR, "offset=1: no message begins there"),
        ({"offset": -1}, ResponseCode.SYSTEM_ERROR, "offset=-1: no message"),
        ({"offset": 2**62}, ResponseCode.SYSTEM_ERROR, "no message begins there"),
        ({"offset": None}, ResponseCode.INVALID_PARAMETER, "offset is missing"),
        ({"offset": "x"}, ResponseCode.INVALID_PARAMETER, "offset='x'"),
        ({"group": None}, ResponseCode.INVALID_PARAMETER, "group is missing"),
        ({"group": "a b"}, ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST, "group 'a b' does not exist"),
        ({"group": "g" * 121}, ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST, "does not exist"),
        ({"delayLevel": None}, ResponseCode.INVALID_PARAMETER, "delayLevel is missing"),
        ({"delayLevel": 2**31}, ResponseCode.INVALID_PARAMETER, "delayLevel="),
        ({"maxReconsumeTimes": "x"}, ResponseCode.INVALID_PARAMETER, "maxReconsumeTimes='x'"),
    ],
)
def test_what_cannot_be_sent_back_is_refused(
    tmp_path: Path, fields: dict[str, Any], code: int, said: str
) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            await one(broker)
            wanted: dict[str, Any] = {"offset": 0, "group": GROUP, "delayLevel": 0}
            request = request_of(RequestCode.CONSUMER_SEND_MSG_BACK, wanted | fields)
            answer = await broker.client.invoke(broker.broker.address, request, 10_000)
            assert answer.code == code
            assert said in (answer.remark or "")
            assert await pulled(broker, SCHEDULE, 2) == []

    run(test())


def test_permissions_count_for_what_comes_back(tmp_path: Path) -> None:
    async def refusal(broker: Asked, level: int) -> str:
        answer = await back(broker, 0, level)
        assert answer.code == ResponseCode.NO_PERMISSION
        return answer.remark or ""

    async def test() -> None:
        async with asking(tmp_path) as broker:
            await one(broker)
            await back(broker, 0)
            await back(broker, 0, -1)
            for topic in (RETRY, DEAD):
                await broker.create_topic(topic, perm=4)
            assert f"'{RETRY}' takes no messages: perm=4" in await refusal(broker, 0)
            assert f"'{DEAD}' takes no messages: perm=4" in await refusal(broker, -1)
            update = b"brokerPermission=4"
            assert (await broker.ask(RequestCode.UPDATE_BROKER_CONFIG, body=update)).code == 0
            assert "brokerPermission has no write bit" in await refusal(broker, 0)

    run(test())


def test_properties_that_grow_too_long_are_refused(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            added = len("CLUSTER=DefaultCluster;MSG_REGION=DefaultRegion;TRACE_ON=true;")
            room = 32767 - added - len("UNIQ_KEY=K;k=;")
            await sent(broker, properties={"UNIQ_KEY": "K", "k": "v" * room})
            answer = await back(broker, 0)
            assert answer.code == ResponseCode.MESSAGE_ILLEGAL
            assert "32767 are allowed" in (answer.remark or "")

    run(test())


def test_a_message_that_is_on_disk_only_is_read_by_a_worker(tmp_path: Path) -> None:
    async def test() -> None:
        disk = ColdDisk()
        async with asking(tmp_path, disk=disk) as broker:
            record = await one(broker)
            broker.broker.store.limits.hot_bytes = 0
            disk.reads = 0
            assert (await back(broker, record.log_offset)).code == 0
            assert disk.reads >= 1
            count = disk.reads
            assert (await back(broker, record.log_offset, -1)).code == 0
            assert disk.reads == count, "it is warm now"
            assert [dead.body for dead in await pulled(broker, DEAD)] == [b"work"]
            answer = await back(broker, record.log_offset + 1)
            assert answer.code == ResponseCode.SYSTEM_ERROR
            assert "no message begins there" in (answer.remark or "")

    run(test())
