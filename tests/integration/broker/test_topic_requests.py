"""What operators ask of topics, each request over the wire."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.integration.broker.asking import GROUP, TOPIC, another_client, asking, run
from tests.integration.broker.disks import HeldDisk
from tests.integration.broker.groups import until

from ledgermq.remoting.codes import RequestCode, ResponseCode
from ledgermq.remoting.connection import ConnectionLostError

CREATE = RequestCode.UPDATE_AND_CREATE_TOPIC


def test_a_topic_is_created_changed_and_shown(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            await broker.create_topic(attributes="+message.type=FIFO")
            answer = await broker.ask(RequestCode.GET_TOPIC_CONFIG, topic=TOPIC)
            assert answer.body == (
                b'{"attributes":{"message.type":"FIFO"},"order":false,"perm":6,"readQueueNums":2,'
                b'"topicFilterType":"SINGLE_TAG","topicName":"TopicA","topicSysFlag":0,"writeQueueNums":2}'
            )
            saved = json.loads((tmp_path / "config" / "topics.json").read_text())
            assert saved["topicConfigTable"][TOPIC]["readQueueNums"] == 2, "answered when it is on disk"
            await broker.create_topic(queues=3, attributes="-message.type", order="true")
            topic = await broker.ask_json(RequestCode.GET_TOPIC_CONFIG, topic=TOPIC)
            assert (topic["readQueueNums"], topic["order"], topic["attributes"]) == (3, True, {})

    run(test())


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"topic": "a/b"}, "illegal characters"),
        ({"topic": "t" * 128}, "at most 127"),
        ({"topic": "TBW102"}, "system topic"),
        ({"readQueueNums": -1}, "readQueueNums=-1"),
        ({"writeQueueNums": 10**6}, "writeQueueNums=1000000"),
        ({"readQueueNums": "x"}, "readQueueNums='x'"),
        ({"perm": 9}, "perm=9"),
        ({"topicFilterType": "X"}, "topicFilterType='X'"),
        ({"attributes": "message.type=FIFO"}, "neither +name=value nor -name"),
        ({"attributes": "+nonsense=1"}, "'nonsense' is unknown"),
    ],
)
def test_a_bad_field_is_named(tmp_path: Path, fields: dict[str, Any], said: str) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            good = {"topic": TOPIC, "readQueueNums": 2, "writeQueueNums": 2, "perm": 6, "order": "false"}
            code, remark = await broker.refused(CREATE, **(good | fields))
            assert code == ResponseCode.INVALID_PARAMETER
            assert said in remark
            assert TOPIC not in broker.broker.topics.configs

    run(test())


def test_a_list_is_stored_wholly_or_not_at_all(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            code = RequestCode.UPDATE_AND_CREATE_TOPIC_LIST
            bad = {"topicConfigList": [{"topicName": "A"}, {"topicName": "a b"}]}
            assert (await broker.refused(code, bad))[0] == ResponseCode.INVALID_PARAMETER
            assert "A" not in broker.broker.topics.configs
            good = {"topicConfigList": [{"topicName": "A", "perm": 4}, {"topicName": "B"}]}
            assert (await broker.ask(code, body=good)).code == ResponseCode.SUCCESS
            assert broker.broker.topics.get("A").perm == 4
            assert broker.broker.topics.get("B").write_queue_nums == 16
            for garbage in (b"", b"[]", b"{", b"{}", b'{"topicConfigList":[1]}', b"\xff"):
                assert (await broker.refused(code, garbage))[0] == ResponseCode.INVALID_PARAMETER

    run(test())


def test_deleting_a_topic_leaves_nothing_of_it(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            await broker.create_topic()
            await broker.create_group()
            await broker.send()
            await broker.commit(1)
            pop_retry = f"%RETRY%{GROUP}_{TOPIC}"
            await broker.create_topic(pop_retry)
            assert (await broker.ask(RequestCode.DELETE_TOPIC_IN_BROKER, topic=TOPIC)).code == 0
            for topic in (TOPIC, pop_retry):
                code, remark = await broker.refused(RequestCode.GET_TOPIC_CONFIG, topic=topic)
                assert code == ResponseCode.TOPIC_NOT_EXIST
                assert topic in remark
            assert broker.broker.offsets.groups_of(TOPIC) == []
            saved = json.loads((tmp_path / "config" / "consumerOffset.json").read_text())
            assert saved["offsetTable"] == {}, "a crash now must not bring them back"
            assert not (tmp_path / "consumequeue" / TOPIC).exists()
            assert (await broker.ask(RequestCode.DELETE_TOPIC_IN_BROKER, topic=TOPIC)).code == 0, "again"
            await broker.create_topic()
            stats = await broker.ask_json(RequestCode.GET_TOPIC_STATS_INFO, topic=TOPIC)
            assert {state["maxOffset"] for state in stats["offsetTable"].values()} == {0}
            for topic in ("TBW102", " "):
                code, _ = await broker.refused(RequestCode.DELETE_TOPIC_IN_BROKER, topic=topic)
                assert code == ResponseCode.INVALID_PARAMETER

    run(test())


def test_all_topics_and_pages_of_them(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            code = RequestCode.GET_ALL_TOPIC_CONFIG
            answer = await broker.ask(code)
            body = await broker.ask_json(code)
            assert list(body) == [
                "dataVersion",
                "mappingDataVersion",
                "topicConfigTable",
                "topicQueueMappingDetailMap",
                "topicQueueMappingInfoMap",
            ]
            names = list(body["topicConfigTable"])
            assert answer.ext["totalTopicNum"] == str(len(names))
            page = await broker.ask_json(code, topicSeq=0, maxTopicNum=3)
            assert list(page["topicConfigTable"]) == names[:3]
            version = json.dumps(page["dataVersion"])
            page = await broker.ask_json(code, topicSeq=3, maxTopicNum=3, dataVersion=version)
            assert list(page["topicConfigTable"]) == names[3:6]
            page = await broker.ask_json(code, topicSeq=3, maxTopicNum=3, dataVersion="nonsense")
            assert list(page["topicConfigTable"]) == names[:3]

    run(test())


def test_the_state_of_a_topic(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            await broker.create_topic()
            await broker.send(queue_id=1)
            answer = await broker.ask(RequestCode.GET_TOPIC_STATS_INFO, topic=TOPIC)
            last_ms = broker.broker.store.reader.store_ms_at(0)
            assert answer.body == (
                b'{"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"TopicA"}:'
                b'{"lastUpdateTimestamp":0,"maxOffset":0,"minOffset":0},'
                b'{"brokerName":"broker-a","queueId":1,"topic":"TopicA"}:'
                b'{"lastUpdateTimestamp":%d,"maxOffset":1,"minOffset":0}},"topicPutTps":0.0}' % last_ms
            )
            code, _ = await broker.refused(RequestCode.GET_TOPIC_STATS_INFO, topic="unknown")
            assert code == ResponseCode.TOPIC_NOT_EXIST

    run(test())


def test_a_topic_is_deleted_though_the_client_that_asked_has_gone(tmp_path: Path) -> None:
    async def test() -> None:
        disk = HeldDisk()
        async with asking(tmp_path, disk=disk) as broker:
            await broker.create_topic()
            await broker.send()
            broker.broker.store._write_all_tails()
            disk.hold()
            async with another_client(broker) as other:
                deleting = asyncio.create_task(other.ask(RequestCode.DELETE_TOPIC_IN_BROKER, topic=TOPIC))
                await until(lambda: list(tmp_path.glob("consumequeue.deleted.*")))
                await until(disk.syncing.is_set)
            with pytest.raises(ConnectionLostError):
                await deleting
            await until(lambda: len(broker.broker._server.connections) == 1)
            disk.let_go()
            await until(lambda: not list(tmp_path.glob("consumequeue.deleted.*")))

    run(test())


def test_queues_without_a_topic_are_deleted_on_demand(tmp_path: Path) -> None:
    """System topics and light queues are spared, and so is what is made while the deletion runs."""

    async def test() -> None:
        async with asking(tmp_path) as broker:
            topics, store = broker.broker.topics, broker.broker.store
            for topic in ("Kept", "%LMQ%light", "rmq_sys_inner", "Gone", "GoneToo"):
                store.queue(topic.encode(), 0)
            await broker.create_topic("Kept")
            deleting = asyncio.create_task(broker.ask(RequestCode.CLEAN_UNUSED_TOPIC))
            while b"Gone" in store.queues.topics:  # noqa: ASYNC110 - no event tells it
                await asyncio.sleep(0)
            await broker.create_topic("GoneToo")
            await broker.send(topic="GoneToo")
            assert (await deleting).code == 0
            assert topics.find("GoneToo") is not None
            assert set(store.queues.topics) == {b"Kept", b"%LMQ%light", b"rmq_sys_inner", b"GoneToo"}
            assert store.queue(b"GoneToo", 0).max_offset == 1

    run(test())
