"""Topics that a crash has taken from topics.json come back with their messages; deleted ones do not."""

from __future__ import annotations

import json
from pathlib import Path

from tests.integration.broker.asking import GROUP, TOPIC, asking, run
from tests.integration.broker.messages import bodies, pull_request, records, sent

from ledgermq.remoting.codes import RequestCode
from ledgermq.runtime.clock import now_ms


def forget(folder: Path, saved_ms: int, *topics: str) -> None:
    """Take ``topics`` from topics.json, whose last change is made to be of ``saved_ms``."""
    path = folder / "config" / "topics.json"
    content = json.loads(path.read_text())
    for topic in topics:
        del content["topicConfigTable"][topic]
    content["dataVersion"]["timestamp"] = saved_ms
    path.write_text(json.dumps(content))


def saved_topics(folder: Path) -> set[str]:
    return set(json.loads((folder / "config" / "topics.json").read_text())["topicConfigTable"])


def test_a_topic_with_messages_newer_than_the_file_comes_back(tmp_path: Path) -> None:
    dead = f"%DLQ%{GROUP}"

    async def test() -> None:
        begun_ms = now_ms()
        async with asking(tmp_path) as broker:
            await broker.create_topic("Wide", queues=7)
            await sent(broker, body=b"one", queueId=1)
            await sent(broker, "Wide", queueId=6)
            await sent(broker, dead)
        forget(tmp_path, begun_ms, TOPIC, "Wide", dead)
        async with asking(tmp_path) as broker:
            topics = broker.broker.topics
            queues = {name: topics.get(name).write_queue_nums for name in (TOPIC, "Wide", dead)}
            assert queues == {TOPIC: 4, "Wide": 7, dead: 1}
            assert topics.get(TOPIC).perm == 6
            assert await bodies(broker, TOPIC, 1) == [b"one"]
            assert (await sent(broker, queueId=1))["queueOffset"] == "1"
        assert {TOPIC, "Wide", dead} <= saved_topics(tmp_path)

    run(test())


def test_a_topic_comes_back_without_any_file(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            await sent(broker)
        for path in (tmp_path / "config").glob("topics.json*"):
            path.unlink()
        async with asking(tmp_path) as broker:
            assert await bodies(broker) == [b"hello"]

    run(test())


def test_a_topic_that_the_file_should_know_was_deleted(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            await sent(broker)
            await sent(broker, "Other")
        forget(tmp_path, now_ms() + 1, TOPIC)
        async with asking(tmp_path) as broker:
            assert broker.broker.topics.find(TOPIC) is None
            assert await bodies(broker, "Other") == [b"hello"]

    run(test())


def test_queues_that_are_no_topic_s_make_none(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            for topic in ("%LMQ%light", "rmq_sys_inner"):
                await broker.create_topic("x" + topic)
                await sent(broker, topic)
            await broker.create_topic("Empty")
            broker.broker.store.queue(b"Empty", 0)
        forget(tmp_path, 0, "%LMQ%light", "rmq_sys_inner", "Empty")
        async with asking(tmp_path) as broker:
            for topic in ("%LMQ%light", "rmq_sys_inner", "Empty"):
                assert broker.broker.topics.find(topic) is None

    run(test())


def test_a_retry_whose_topic_was_lost_is_delivered(tmp_path: Path) -> None:
    retry = f"%RETRY%{GROUP}"

    async def test() -> None:
        async with asking(tmp_path, store={"message_delay_level": "1h"}) as broker:
            await sent(broker, body=b"work")
            answer = await broker.ask(RequestCode.CONSUMER_SEND_MSG_BACK, offset=0, group=GROUP, delayLevel=1)
            assert answer.code == 0
        forget(tmp_path, now_ms() + 1, retry)
        async with asking(tmp_path, store={"message_delay_level": "0s"}) as broker:
            await broker.heart_beat()
            request = pull_request(retry, sysFlag=6, suspendTimeoutMillis=15_000)
            answer = await broker.client.invoke(broker.broker.address, request, 20_000)
            assert [record.body for record in records(answer)] == [b"work"]

    run(test())
