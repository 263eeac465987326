"""Messages and queue units are looked up."""

from pathlib import Path
from typing import Any

import pytest
from tests.integration.broker.asking import GROUP, TOPIC, Asked, asking, run
from tests.integration.broker.disks import ColdDisk

from ledgermq.broker import handlers_query
from ledgermq.message.record import decode_record
from ledgermq.remoting.codes import RequestCode, ResponseCode

BY_KEY: dict[str, Any] = {"topic": TOPIC, "maxNum": 32, "beginTimestamp": 0, "endTimestamp": 2**62}
QUERY = RequestCode.QUERY_MESSAGE


async def prepare(broker: Asked) -> None:
    await broker.create_topic()
    await broker.send(body=b"one", UNIQ_KEY="U1", KEYS="red blue", TAGS="a")
    await broker.send(body=b"two", UNIQ_KEY="U2", KEYS="blue", TAGS="b")
    await broker.send(queue_id=1, body=b"three", UNIQ_KEY="U3", TAGS="a")


def bodies(data: bytes) -> list[bytes]:
    found = []
    at = 0
    while at < len(data):
        record = decode_record(data, at)
        found.append(record.body)
        at += int(record.size)
    return found


def test_by_key(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            await prepare(broker)
            answer = await broker.ask(QUERY, key="blue", **BY_KEY)
            assert bodies(answer.body) == [b"one", b"two"]
            assert int(answer.ext["indexLastUpdateTimestamp"]) > 0
            assert int(answer.ext["indexLastUpdatePhyoffset"]) > 0
            assert bodies((await broker.ask(QUERY, key="red", **BY_KEY)).body) == [b"one"]
            assert bodies((await broker.ask(QUERY, key="a", indexType="T", **BY_KEY)).body) == [
                b"one",
                b"three",
            ]
            few = BY_KEY | {"maxNum": 1}
            assert len(bodies((await broker.ask(QUERY, key="blue", **few)).body)) == 1

    run(test())


def test_by_unique_key(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            await prepare(broker)
            answer = await broker.ask(QUERY, key="U2", _UNIQUE_KEY_QUERY="true", **BY_KEY)
            assert bodies(answer.body) == [b"two"]
            answer = await broker.ask(QUERY, key="U3", indexType="U", **BY_KEY)
            assert bodies(answer.body) == [b"three"]
            refused = await broker.refused(QUERY, key="blue", _UNIQUE_KEY_QUERY="true", **BY_KEY)
            assert refused[0] == ResponseCode.QUERY_NOT_FOUND, "a key is not a unique key"

    run(test())


def test_what_is_not_found_or_not_allowed(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            await prepare(broker)
            for fields, code in (
                ({"key": "green"}, ResponseCode.QUERY_NOT_FOUND),
                ({"key": "blue", "topic": "unknown"}, ResponseCode.QUERY_NOT_FOUND),
                ({"key": "blue", "endTimestamp": 1}, ResponseCode.QUERY_NOT_FOUND),
                ({"key": ""}, ResponseCode.QUERY_NOT_FOUND),
                ({"key": "blue", "maxNum": 0}, ResponseCode.INVALID_PARAMETER),
                ({"key": "blue", "indexType": "X"}, ResponseCode.INVALID_PARAMETER),
            ):
                assert (await broker.refused(QUERY, **(BY_KEY | fields)))[0] == code

    run(test())


def test_an_answer_is_bounded_but_never_empty_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers_query, "ANSWER_BYTES_MAX", 10)

    async def test() -> None:
        async with asking(tmp_path) as broker:
            await prepare(broker)
            assert bodies((await broker.ask(QUERY, key="blue", **BY_KEY)).body) == [b"one"]

    run(test())


def test_by_place_in_the_log(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            await prepare(broker)
            answer = await broker.ask(RequestCode.VIEW_MESSAGE_BY_ID, offset=0)
            assert bodies(answer.body) == [b"one"]
            for offset in (1, -1, 2**62, -(2**63)):
                refused = await broker.refused(RequestCode.VIEW_MESSAGE_BY_ID, offset=offset)
                assert refused[0] == ResponseCode.SYSTEM_ERROR
                assert f"log offset {offset}" in refused[1]

    run(test())


def test_units_of_a_queue(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            await prepare(broker)
            code = RequestCode.QUERY_CONSUME_QUEUE
            queue: dict[str, Any] = {"topic": TOPIC, "queueId": 0}
            answer = await broker.ask(code, index=0, count=1, **queue)
            size = int(decode_record((await broker.ask(RequestCode.VIEW_MESSAGE_BY_ID, offset=0)).body).size)
            assert answer.body == (
                b'{"maxQueueIndex":2,"minQueueIndex":0,"queueData":'
                b'[{"eval":false,"physicOffset":0,"physicSize":%d,"tagsCode":97}]}' % size
            )
            body = await broker.ask_json(code, index=1, count=10, consumerGroup=GROUP, **queue)
            assert len(body["queueData"]) == 1
            assert body["filterData"] == "GroupA@TopicA is not online!"
            await broker.heart_beat()
            body = await broker.ask_json(code, index=1, count=10, consumerGroup=GROUP, **queue)
            assert body["subscriptionData"]["topic"] == TOPIC
            for index in (2, -1, 2**62):
                answer = await broker.ask(code, index=index, count=10, **queue)
                assert answer.body == b'{"maxQueueIndex":2,"minQueueIndex":0,"queueData":[]}'
                assert f"index={index}" in (answer.remark or "")
            for count in (0, -1, 1001):
                refused = await broker.refused(code, index=0, count=count, **queue)
                assert refused == (ResponseCode.INVALID_PARAMETER, f"count={count} is not in 1..1000")
            assert (await broker.refused(code, topic=TOPIC, queueId=5, index=0, count=1))[0] == 29

    run(test())


def test_messages_that_are_on_disk_only_are_read_by_a_worker(tmp_path: Path) -> None:
    async def test() -> None:
        disk = ColdDisk()
        async with asking(tmp_path, disk=disk) as broker:
            await prepare(broker)
            broker.broker.store.limits.hot_bytes = 0
            disk.reads = 0
            answer = await broker.ask(QUERY, key="blue", **BY_KEY)
            assert bodies(answer.body) == [b"one", b"two"]
            count = disk.reads
            assert count >= 1
            answer = await broker.ask(RequestCode.VIEW_MESSAGE_BY_ID, offset=0)
            assert bodies(answer.body) == [b"one"]
            assert disk.reads == count, "it is warm now"

    run(test())
