"""Pulls over the wire: what is found, what is not, who may, and how long it takes."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.integration.broker.asking import GROUP, TOPIC, Asked, another_client, asking, run
from tests.integration.broker.disks import ColdDisk
from tests.integration.broker.messages import (
    COMMIT,
    SUBSCRIPTION,
    SUSPEND,
    bodies,
    pull,
    pull_request,
    pulled,
    records,
    sent,
    unit,
)

from ledgermq.broker import parked_pulls
from ledgermq.remoting.codes import RequestCode, ResponseCode
from ledgermq.remoting.command import Command, encode_command
from ledgermq.store.disk import Disk, ReadView

FOUND, NOT_FOUND, AGAIN, MOVED = (
    ResponseCode.SUCCESS,
    ResponseCode.PULL_NOT_FOUND,
    ResponseCode.PULL_RETRY_IMMEDIATELY,
    ResponseCode.PULL_OFFSET_MOVED,
)
LONG_MS = 60_000


def offsets(answer: Command) -> tuple[int, int, int]:
    """Where to go on, and the queue's range."""
    ext = answer.ext
    return int(ext["nextBeginOffset"]), int(ext["minOffset"]), int(ext["maxOffset"])


async def five(broker: Asked, topic: str = TOPIC) -> None:
    """Messages 0 to 4, tagged a, b, a, b, a."""
    for n in range(5):
        await sent(broker, topic, b"%d" % n, properties={"UNIQ_KEY": f"K{n}", "TAGS": "ab"[n % 2]})


def waiting(broker: Asked, offset: int, **fields: Any) -> asyncio.Task[Command]:
    """A pull that may wait, under way."""
    fields = {"sysFlag": SUSPEND | SUBSCRIPTION, "suspendTimeoutMillis": LONG_MS} | fields
    return asyncio.ensure_future(pull(broker, TOPIC, fields.pop("queueId", 0), offset, **fields))


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - nothing announces a parked pull
        await asyncio.sleep(0.001)


async def until_parked(broker: Asked, count: int) -> None:
    await until(lambda: broker.broker._pulls.parked.count == count)


class Clock:
    """In the place of the clock by which pulls wait."""

    def __init__(self, broker: Asked) -> None:
        self.now_ms = 10_000
        self._pulls = broker.broker._pulls
        self._pulls._monotonic_ms = lambda: self.now_ms

    def pass_ms(self, ms: int) -> None:
        self.now_ms += ms
        self._pulls.expire()


# ---- what is found ----


def test_an_answer_is_as_java_gives_it(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            await five(broker)
            for code in (RequestCode.PULL_MESSAGE, RequestCode.LITE_PULL_MESSAGE):
                answer = await pull(broker, code=code)
                assert (answer.code, answer.remark) == (FOUND, "FOUND")
                assert answer.ext == {
                    "suggestWhichBrokerId": "0",
                    "nextBeginOffset": "5",
                    "minOffset": "0",
                    "maxOffset": "5",
                    "topicSysFlag": "0",
                    "groupSysFlag": "0",
                }
                assert [record.body for record in records(answer)] == [b"0", b"1", b"2", b"3", b"4"]
                assert [record.queue_offset for record in records(answer)] == [0, 1, 2, 3, 4]

    run(test())


@pytest.mark.parametrize(
    ("queue_id", "offset", "fields", "expected"),
    [
        (0, 0, {"maxMsgNums": 2}, (FOUND, "FOUND", 2)),
        (0, 3, {"maxMsgNums": 2}, (FOUND, "FOUND", 5)),
        (0, 0, {"maxMsgNums": 0}, (FOUND, "FOUND", 1)),
        (0, 0, {"maxMsgNums": 2**31 - 1}, (FOUND, "FOUND", 5)),
        (0, 0, {"maxMsgBytes": 1}, (FOUND, "FOUND", 1)),
        (0, 5, {}, (NOT_FOUND, "OFFSET_OVERFLOW_ONE", 5)),
        (0, 6, {}, (MOVED, "OFFSET_OVERFLOW_BADLY", 5)),
        (0, 2**63 - 1, {}, (MOVED, "OFFSET_OVERFLOW_BADLY", 5)),
        (0, -1, {}, (MOVED, "OFFSET_TOO_SMALL", 0)),
        (0, -(2**63), {}, (MOVED, "OFFSET_TOO_SMALL", 0)),
        (1, 0, {}, (NOT_FOUND, "NO_MESSAGE_IN_QUEUE", 0)),
        (1, 3, {}, (MOVED, "NO_MESSAGE_IN_QUEUE", 0)),
        (1, -1, {}, (MOVED, "NO_MESSAGE_IN_QUEUE", 0)),
        (0, 0, {"subscription": "a"}, (FOUND, "FOUND", 5)),
        (0, 0, {"subscription": "c"}, (AGAIN, "NO_MATCHED_MESSAGE", 5)),
        (0, 4, {"subscription": "b"}, (AGAIN, "NO_MATCHED_MESSAGE", 5)),
        (0, 0, {"subscription": "c || b"}, (FOUND, "FOUND", 5)),
        (0, 0, {"subscription": ""}, (FOUND, "FOUND", 5)),
        (0, 0, {"subscription": None}, (FOUND, "FOUND", 5)),
        (0, 0, {"subscription": "a", "expressionType": "TAG"}, (FOUND, "FOUND", 5)),
    ],
)
def test_statuses_and_offsets_are_java_s(
    tmp_path: Path, queue_id: int, offset: int, fields: dict[str, Any], expected: tuple[int, str, int]
) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            await five(broker)
            answer = await pull(broker, TOPIC, queue_id, offset, **fields)
            end = 0 if queue_id else 5
            assert (answer.code, answer.remark) == expected[:2]
            assert offsets(answer) == (expected[2], 0, end)
            assert (answer.body != b"") == (answer.code == FOUND)

    run(test())


def test_tags_choose_messages(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            await five(broker)
            for expression, expected in (("a", "024"), ("b", "13"), (" b||a ", "01234"), ("x || b", "13")):
                found = records(await pull(broker, subscription=expression))
                assert "".join(record.body.decode() for record in found) == expected

    run(test())


def test_an_answer_keeps_to_the_broker_s_limits(tmp_path: Path) -> None:
    async def test() -> None:
        limits = {
            "max_transfer_count_on_message_in_memory": 3,
            "max_transfer_bytes_on_message_in_memory": 5000,
        }
        async with asking(tmp_path, store=limits) as broker:
            await five(broker)
            assert len(records(await pull(broker, maxMsgNums=100))) == 3
            for _ in range(3):
                await sent(broker, body=bytes(2000))
            assert len(await pulled(broker, TOPIC, 0, 5)) == 2
            await sent(broker, body=bytes(9000))
            assert len(await pulled(broker, TOPIC, 0, 8)) == 1, "one is given whatever its size"
            update = b"maxTransferCountOnMessageInMemory=4\nmaxTransferBytesOnMessageInMemory=90000\n"
            answer = await broker.ask(RequestCode.UPDATE_BROKER_CONFIG, body=update)
            assert answer.code == 0, answer.remark
            assert len(records(await pull(broker, maxMsgNums=100))) == 4
            assert len(await pulled(broker, TOPIC, 0, 5)) == 4

    run(test())


def test_offsets_before_the_log_begins_are_moved(tmp_path: Path) -> None:
    async def test() -> None:
        small = {"mapped_file_size_commit_log": 64 * 1024, "max_message_size": 20_000}
        async with asking(tmp_path, store=small) as broker:
            for n in range(12):
                await sent(broker, body=b"%05d" % n * 3000)
            store = broker.broker.store
            store.log.flush()
            for job in store._trimming.detach(1):
                job()
            first = int(store.queue(TOPIC.encode(), 0).min_offset)
            assert 0 < first < 12
            answer = await pull(broker)
            assert (answer.code, answer.remark) == (MOVED, "OFFSET_TOO_SMALL")
            assert offsets(answer) == (first, first, 12)
            assert (await pulled(broker, TOPIC, 0, first))[0].body == b"%05d" % first * 3000

    run(test())


# ---- who may ----


@pytest.mark.parametrize(
    ("fields", "code", "said"),
    [
        ({"topic": "Unknown"}, ResponseCode.TOPIC_NOT_EXIST, "'Unknown' does not exist"),
        ({"queueId": -1}, ResponseCode.INVALID_PARAMETER, "queueId=-1 of topic 'TopicA' is not in 0..3"),
        ({"queueId": 4}, ResponseCode.INVALID_PARAMETER, "queueId=4 of topic 'TopicA' is not in 0..3"),
        ({"consumerGroup": "a b"}, ResponseCode.INVALID_PARAMETER, "group 'a b' contains illegal characters"),
        ({"consumerGroup": "g" * 121}, ResponseCode.INVALID_PARAMETER, "at most 120"),
        ({"consumerGroup": " "}, ResponseCode.INVALID_PARAMETER, "group is blank"),
        ({"subscription": "||"}, ResponseCode.SUBSCRIPTION_PARSE_FAILED, "subscription='||' names no tag"),
        ({"expressionType": "SQL92"}, ResponseCode.SYSTEM_ERROR, "expressionType='SQL92' is not served"),
        ({"queueOffset": None}, ResponseCode.INVALID_PARAMETER, "queueOffset is missing"),
        ({"queueOffset": "1.5"}, ResponseCode.INVALID_PARAMETER, "queueOffset='1.5'"),
        ({"maxMsgNums": 2**31}, ResponseCode.INVALID_PARAMETER, "maxMsgNums="),
        ({"sysFlag": "x"}, ResponseCode.INVALID_PARAMETER, "sysFlag='x'"),
        ({"sysFlag": 0}, ResponseCode.SUBSCRIPTION_NOT_EXIST, "group 'GroupA' has no consumer connected"),
    ],
)
def test_a_pull_is_refused_with_its_reason(
    tmp_path: Path, fields: dict[str, Any], code: int, said: str
) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            await five(broker)
            request = pull_request()
            request.ext |= {name: str(value) for name, value in fields.items()}
            for name in [name for name, value in fields.items() if value is None]:
                del request.ext[name]
            answer = await broker.client.invoke(broker.broker.address, request, 10_000)
            assert answer.code == code
            assert said in (answer.remark or "")
            assert answer.body == b""

    run(test())


def test_permissions_are_asked_at_each_pull(tmp_path: Path) -> None:
    async def refusal(broker: Asked, **fields: Any) -> str:
        answer = await pull(broker, **fields)
        assert answer.code == ResponseCode.NO_PERMISSION
        return answer.remark or ""

    async def test() -> None:
        async with asking(tmp_path) as broker:
            await broker.create_topic()
            await five(broker)
            await broker.create_topic(perm=2)
            assert "perm=2" in await refusal(broker)
            await broker.create_topic(perm=4)
            assert len(await pulled(broker)) == 5
            settings = broker.broker.settings.broker
            for permission, readable in ((2, False), (6, True)):
                update = f"brokerPermission={permission}".encode()
                assert (await broker.ask(RequestCode.UPDATE_BROKER_CONFIG, body=update)).code == 0
                assert settings.broker_permission == permission
                if readable:
                    assert len(await pulled(broker)) == 5
                else:
                    assert "brokerPermission has no read bit" in await refusal(broker)
            group = {"groupName": GROUP, "consumeEnable": False}
            code = RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP
            assert (await broker.ask(code, body=group)).code == 0
            assert "consumeEnable=false" in await refusal(broker)
            settings.auto_create_subscription_group = False
            answer = await pull(broker, consumerGroup="NewGroup")
            assert answer.code == ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST

    run(test())


def test_a_pull_may_rely_on_its_group_s_heartbeats(tmp_path: Path) -> None:
    async def plain(broker: Asked, **fields: Any) -> Command:
        return await pull(broker, sysFlag=0, subscription=None, **fields)

    def subscribed(expression: str, **fields: Any) -> dict[str, Any]:
        return {"topic": TOPIC, "subString": expression, "subVersion": 7} | fields

    async def beat(broker: Asked, subscription: dict[str, Any], **fields: Any) -> None:
        consumer = {
            "groupName": GROUP,
            "consumeType": "CONSUME_PASSIVELY",
            "messageModel": "CLUSTERING",
            "consumeFromWhere": "CONSUME_FROM_LAST_OFFSET",
            "subscriptionDataSet": [subscription],
        } | fields
        body = {"clientID": "one", "consumerDataSet": [consumer], "producerDataSet": []}
        assert (await broker.ask(RequestCode.HEART_BEAT, body=body)).code == 0

    async def test() -> None:
        async with asking(tmp_path) as broker:
            await five(broker)
            await five(broker, "Other")
            await beat(broker, subscribed("a", codeSet=[97], tagsSet=["a"]))
            assert len(records(await plain(broker))) == 3
            answer = await plain(broker, topic="Other")
            assert answer.code == ResponseCode.SUBSCRIPTION_NOT_EXIST
            assert "does not subscribe to 'Other'" in (answer.remark or "")
            answer = await plain(broker, subVersion=8)
            assert answer.code == ResponseCode.SUBSCRIPTION_NOT_LATEST
            assert (await plain(broker, subVersion=7)).code == FOUND
            await beat(broker, subscribed("b || c", subVersion=8))
            assert len(records(await plain(broker))) == 2, "codes are computed where a client sends none"
            await beat(broker, subscribed("*", subVersion=9))
            assert len(records(await plain(broker))) == 5
            await beat(broker, subscribed("a > 1", subVersion=10, expressionType="SQL92"))
            answer = await plain(broker)
            assert answer.code == ResponseCode.SYSTEM_ERROR
            assert "filters by TAG only" in (answer.remark or "")
            await beat(broker, subscribed("*", subVersion=11))
            forbid = await broker.ask(
                RequestCode.UPDATE_AND_GET_GROUP_FORBIDDEN, group=GROUP, topic=TOPIC, readable="false"
            )
            assert forbid.code == 0
            answer = await plain(broker)
            assert answer.code == ResponseCode.NO_PERMISSION
            assert "forbidden to read" in (answer.remark or "")

    run(test())


def test_a_group_may_be_kept_from_broadcasting(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            await five(broker)
            code = RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP
            group = {"groupName": GROUP, "consumeBroadcastEnable": False}
            assert (await broker.ask(code, body=group)).code == 0
            consumer = {
                "groupName": GROUP,
                "consumeType": "CONSUME_PASSIVELY",
                "messageModel": "BROADCASTING",
                "consumeFromWhere": "CONSUME_FROM_LAST_OFFSET",
                "subscriptionDataSet": [{"topic": TOPIC, "subString": "*"}],
            }
            body = {"clientID": "one", "consumerDataSet": [consumer], "producerDataSet": []}
            assert (await broker.ask(RequestCode.HEART_BEAT, body=body)).code == 0
            answer = await pull(broker, sysFlag=0)
            assert answer.code == ResponseCode.NO_PERMISSION
            assert "consumeBroadcastEnable=false" in (answer.remark or "")

    run(test())


# ---- offsets that come along ----


def test_a_pull_commits_the_offset_that_it_brings(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            await five(broker)
            consumed = broker.broker.offsets.consumed
            await pull(broker, commitOffset=3)
            assert consumed(GROUP, TOPIC, 0) == -1, "without the flag it says nothing"
            await pull(broker, sysFlag=SUBSCRIPTION | COMMIT, commitOffset=3)
            assert consumed(GROUP, TOPIC, 0) == 3
            await pull(broker, sysFlag=SUBSCRIPTION | COMMIT, commitOffset=-1)
            assert consumed(GROUP, TOPIC, 0) == 3
            await pull(broker, offset=99, sysFlag=SUBSCRIPTION | COMMIT, commitOffset=4)
            assert consumed(GROUP, TOPIC, 0) == 4, "whatever the pull finds"
            await pull(broker, queueId=77, sysFlag=SUBSCRIPTION | COMMIT, commitOffset=4)
            assert consumed(GROUP, TOPIC, 77) == -1, "a refused pull commits nothing"
            assert broker.broker.offsets.pulled(GROUP, TOPIC, 0) == 5

    run(test())


# ---- waiting ----


def test_a_waiting_pull_is_woken_by_a_message_of_its_queue(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker, another_client(broker) as producer:
            await five(broker)
            task = waiting(broker, 5)
            other = waiting(broker, 0, queueId=1)
            await until_parked(broker, 2)
            await sent(producer, body=b"news")
            answer = await task
            assert (answer.code, offsets(answer)) == (FOUND, (6, 0, 6))
            assert [record.body for record in records(answer)] == [b"news"]
            assert not other.done()
            await until_parked(broker, 1)
            await sent(producer, body=b"first", queueId=1)
            assert offsets(await other) == (1, 0, 1)
            await until_parked(broker, 0)

    run(test())


def test_all_who_wait_for_a_queue_are_served(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker, another_client(broker) as producer:
            await five(broker)
            tasks = [waiting(broker, 5, consumerGroup=f"Group{n}") for n in range(20)]
            await until_parked(broker, 20)
            await sent(producer, body=b"news")
            for task in tasks:
                assert [record.body for record in records(await task)] == [b"news"]

    run(test())


def test_a_waiting_pull_with_tags_is_woken_by_a_match_only(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker, another_client(broker) as producer:
            await five(broker)
            task = waiting(broker, 5, subscription="x")
            await until_parked(broker, 1)
            for n in range(3):
                await sent(producer, body=b"%d" % n)  # tagged a
            assert broker.broker._pulls.parked.count == 1
            await sent(producer, body=b"match", properties={"UNIQ_KEY": "K", "TAGS": "x"})
            answer = await task
            assert offsets(answer) == (9, 0, 9)
            assert [record.body for record in records(answer)] == [b"match"]

    run(test())


def test_a_waiting_pull_goes_by_what_its_group_subscribes_to_now(tmp_path: Path) -> None:
    """A push consumer's pull relies on heartbeats, and one is always waiting."""

    def subscribed(expression: str, version: int) -> dict[str, Any]:
        subscription = {"topic": TOPIC, "subString": expression, "subVersion": version}
        consumer = {"groupName": GROUP, "subscriptionDataSet": [subscription]}
        return {"clientID": "one", "consumerDataSet": [consumer]}

    async def test() -> None:
        async with asking(tmp_path) as broker, another_client(broker) as producer:
            await five(broker)
            assert (await broker.ask(RequestCode.HEART_BEAT, body=subscribed("x", 1))).code == 0
            plain = {"sysFlag": SUSPEND, "subscription": None}
            task = waiting(broker, 5, **plain)
            await until_parked(broker, 1)
            assert (await broker.ask(RequestCode.HEART_BEAT, body=subscribed("x || y", 2))).code == 0
            await sent(producer, body=b"wanted now", properties={"UNIQ_KEY": "K", "TAGS": "y"})
            answer = await asyncio.wait_for(task, 5)
            assert [record.body for record in records(answer)] == [b"wanted now"]
            task = waiting(broker, 6, **plain)
            await until_parked(broker, 1)
            await producer.create_topic(perm=2)
            await sent(producer)
            assert (await asyncio.wait_for(task, 5)).code == ResponseCode.NO_PERMISSION

    run(test())


def test_a_match_behind_many_others_of_one_turn_is_found(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker, another_client(broker) as producer:
            await five(broker)
            task = waiting(broker, 5, subscription="x")
            await until_parked(broker, 1)
            batch = unit(b"n", b"TAGS\x01n\x02") * 2000 + unit(b"match", b"TAGS\x01x\x02")
            await sent(producer, body=batch, code=RequestCode.SEND_BATCH_MESSAGE)
            answer = await task
            assert offsets(answer) == (2006, 0, 2006)
            assert [record.body for record in records(answer)] == [b"match"]

    run(test())


def test_a_pull_waits_as_long_as_it_asked_for(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker, another_client(broker) as producer:
            await five(broker)
            clock = Clock(broker)
            empty = waiting(broker, 5, suspendTimeoutMillis=5000)
            filtered = waiting(broker, 5, suspendTimeoutMillis=5000, subscription="x", consumerGroup="B")
            longer = waiting(broker, 0, suspendTimeoutMillis=9000, queueId=1)
            await until_parked(broker, 3)
            clock.pass_ms(4999)
            assert broker.broker._pulls.parked.count == 3
            clock.pass_ms(1)
            answer = await empty
            assert (answer.code, answer.remark) == (NOT_FOUND, "OFFSET_OVERFLOW_ONE")
            assert offsets(answer) == (5, 0, 5)
            assert (await filtered).code == NOT_FOUND
            again = waiting(broker, 5, suspendTimeoutMillis=5000, subscription="x")
            await until_parked(broker, 2)
            await sent(producer, body=b"tagged a")
            clock.pass_ms(5000)
            answer = await again
            assert answer.code == AGAIN, "it goes on behind what matched no tag"
            assert offsets(answer) == (6, 0, 6)
            assert (await longer).code == NOT_FOUND
            await until_parked(broker, 0)

    run(test())


@pytest.mark.slow
def test_a_wait_ends_by_itself(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            await five(broker)
            begun = asyncio.get_running_loop().time()
            answer = await waiting(broker, 5, suspendTimeoutMillis=100)
            assert answer.code == NOT_FOUND
            assert asyncio.get_running_loop().time() - begun >= 0.1

    run(test())


@pytest.mark.parametrize(
    "fields",
    [{"suspendTimeoutMillis": 0}, {"suspendTimeoutMillis": -5}, {"sysFlag": SUBSCRIPTION}],
)
def test_a_pull_that_may_not_wait_is_answered_at_once(tmp_path: Path, fields: dict[str, Any]) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            await five(broker)
            assert (await waiting(broker, 5, **fields)).code == NOT_FOUND

    run(test())


def test_without_long_polling_the_broker_says_how_long(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path, long_polling_enable=False, short_polling_time_mills=2000) as broker:
            await five(broker)
            clock = Clock(broker)
            task = waiting(broker, 5)
            await until_parked(broker, 1)
            clock.pass_ms(2000)
            assert (await task).code == NOT_FOUND

    run(test())


def test_beyond_the_limit_nobody_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parked_pulls, "PARKED_MAX", 1)

    async def test() -> None:
        async with asking(tmp_path) as broker:
            await five(broker)
            task = waiting(broker, 5)
            await until_parked(broker, 1)
            assert (await waiting(broker, 5, consumerGroup="B")).code == NOT_FOUND
            await sent(broker)
            assert (await task).code == FOUND

    run(test())


def test_a_consumer_that_leaves_is_not_served(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker, another_client(broker) as leaving:
            await five(broker)
            clock = Clock(broker)
            tasks = [waiting(leaving, 5), waiting(leaving, 0, queueId=1)]
            stays = waiting(broker, 5, consumerGroup="B")
            await until_parked(broker, 3)
            connections = broker.broker._server.connections
            await leaving.client.close()
            await until(lambda: len(connections) == 1)
            assert [
                type(error).__name__ for error in await asyncio.gather(*tasks, return_exceptions=True)
            ] == ["ConnectionLostError"] * 2
            await sent(broker, body=b"news")
            assert len(records(await stays)) == 1
            assert broker.broker._pulls.parked.count == 1, "nothing arrived in the other queue"
            clock.pass_ms(LONG_MS)
            assert broker.broker._pulls.parked.count == 0

    run(test())


def test_those_who_wait_for_a_deleted_topic_are_told(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker, another_client(broker) as operator:
            await five(broker)
            task = waiting(broker, 5)
            await until_parked(broker, 1)
            answer = await operator.ask(RequestCode.DELETE_TOPIC_IN_BROKER, topic=TOPIC)
            assert answer.code == 0
            await task
            assert (await waiting(broker, 5)).code == ResponseCode.TOPIC_NOT_EXIST
            await sent(broker, body=b"of the new topic")
            task = waiting(broker, 1)
            await until_parked(broker, 1)
            await sent(operator, body=b"news")
            assert [record.body for record in records(await task)] == [b"news"]

    run(test())


# ---- disks and peers that are slow or broken ----


class Unreadable(Disk):
    """A disk whose files cannot be mapped while ``broken``."""

    broken = True

    def map_read(self, fd: int, size: int) -> ReadView:
        if self.broken:
            raise OSError(errno.EIO, "Input/output error")
        return super().map_read(fd, size)


def test_a_read_error_answers_those_whom_it_concerns(tmp_path: Path) -> None:
    async def test() -> None:
        disk = Unreadable()
        async with asking(tmp_path, disk=disk) as broker, another_client(broker) as producer:
            await sent(broker, queueId=1)
            tasks = [waiting(broker, 0, consumerGroup=f"Group{n}") for n in range(3)]
            await until_parked(broker, 3)
            await sent(producer, body=b"news")
            for answer in [await task for task in tasks] + [await pull(broker)]:
                assert answer.code == ResponseCode.SYSTEM_ERROR
                assert "Input/output error" in (answer.remark or "")
            disk.broken = False
            assert await bodies(broker) == [b"news"]

    run(test())


@pytest.mark.slow
def test_what_is_on_disk_only_is_read_by_a_worker_first(tmp_path: Path) -> None:
    """The first message is longer than what one read-ahead brings, and 64 MiB behind the log's end."""

    async def test() -> None:
        disk = ColdDisk()
        async with asking(tmp_path, disk=disk) as broker:
            await sent(broker, body=bytes(range(256)) * 16 * 1024)
            for n in range(17):
                await sent(broker, body=bytes([n]) * (4 * 1024 * 1024 - 1000), queueId=1)
            disk.reads = 0
            [record] = await pulled(broker)
            assert record.body == bytes(range(256)) * 16 * 1024
            assert disk.reads >= 2
            count = disk.reads
            assert len(await pulled(broker)) == 1
            assert disk.reads == count, "it is warm now"

    run(test())


def test_a_consumer_that_does_not_read_holds_up_nobody(tmp_path: Path) -> None:
    pulls = 150

    async def test() -> None:
        async with asking(tmp_path) as broker:
            for _ in range(2):
                await sent(broker, body=bytes(120_000))
            size = len((await pull(broker)).body)
            host, _, port = broker.broker.address.rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port), limit=4096)
            transport = writer.transport
            assert isinstance(transport, asyncio.ReadTransport)
            transport.pause_reading()
            writer.write(b"".join(encode_command(pull_request()) for _ in range(pulls)))
            server = broker.broker._server
            await until(lambda: any(connection.paused for connection in server.connections))
            await sent(broker, body=b"meanwhile")
            assert len(await pulled(broker)) == 3
            transport.resume_reading()
            for _ in range(pulls):
                frame_bytes = int.from_bytes(await reader.readexactly(4), "big")
                frame = await reader.readexactly(frame_bytes)
                assert len(frame) > size
            writer.close()
            await writer.wait_closed()

    run(test())
