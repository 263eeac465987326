"""Offsets of groups and queues, their progress, and how they are reset."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.integration.broker.asking import GROUP, TOPIC, Asked, asking, run

from ledgermq.broker.queue_reads import QUEUES_PER_TURN
from ledgermq.remoting.broker_headers import ResetOffset
from ledgermq.remoting.codes import RequestCode, ResponseCode
from ledgermq.remoting.command import Command
from ledgermq.remoting.headers import request

QUERY = RequestCode.QUERY_CONSUMER_OFFSET
RESET = RequestCode.INVOKE_BROKER_TO_RESET_OFFSET


async def prepare(broker: Asked, messages: int = 3) -> None:
    await broker.create_topic()
    await broker.create_group()
    for number in range(messages):
        await broker.send(body=b"%d" % number)


async def pull(broker: Asked, offset: int, **ext: Any) -> Command:
    fields: dict[str, Any] = {
        "consumerGroup": GROUP,
        "topic": TOPIC,
        "queueId": 0,
        "queueOffset": offset,
        "maxMsgNums": 32,
        "sysFlag": 4,
        "commitOffset": 0,
        "suspendTimeoutMillis": 15_000,
        "subscription": "*",
        "subVersion": 1,
    }
    return await broker.ask(RequestCode.PULL_MESSAGE, **(fields | ext))


class TestConsumerOffsets:
    def test_commit_and_query(self, tmp_path: Path) -> None:
        async def test() -> None:
            async with asking(tmp_path) as broker:
                await prepare(broker)
                assert (await broker.commit(2)).code == ResponseCode.SUCCESS
                answer = await broker.ask(QUERY, consumerGroup=GROUP, topic=TOPIC, queueId=0)
                assert answer.ext == {"offset": "2"}

        run(test())

    def test_a_new_group_starts_at_the_beginning_of_a_young_queue(self, tmp_path: Path) -> None:
        async def test() -> None:
            async with asking(tmp_path) as broker:
                await prepare(broker)
                fields: dict[str, Any] = {"consumerGroup": GROUP, "topic": TOPIC}
                answer = await broker.ask(QUERY, queueId=0, **fields)
                assert (answer.code, answer.ext) == (ResponseCode.SUCCESS, {"offset": "0"})
                not_found = ResponseCode.QUERY_NOT_FOUND
                assert (await broker.refused(QUERY, queueId=0, setZeroIfNotFound="false", **fields))[
                    0
                ] == not_found
                assert (await broker.refused(QUERY, queueId=1, **fields))[0] == not_found, "an empty queue"
                fields["topic"] = "unknown"
                assert (await broker.refused(QUERY, queueId=0, **fields))[0] == not_found

        run(test())

    @pytest.mark.parametrize(
        ("fields", "code", "said"),
        [
            ({"group": "unknown"}, ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST, "'unknown'"),
            ({"topic": "unknown"}, ResponseCode.TOPIC_NOT_EXIST, "'unknown'"),
            ({"queue_id": 2}, ResponseCode.INVALID_PARAMETER, "queueId=2"),
            ({"queue_id": -1}, ResponseCode.INVALID_PARAMETER, "queueId=-1"),
            ({"offset": -1}, ResponseCode.SUCCESS, "not committed: commitOffset=-1"),  # as the Go client says
            ({"offset": 2**63}, ResponseCode.INVALID_PARAMETER, "commitOffset='9223372036854775808'"),
        ],
    )
    def test_what_cannot_be_committed(
        self, tmp_path: Path, fields: dict[str, Any], code: int, said: str
    ) -> None:
        async def test() -> None:
            async with asking(tmp_path) as broker:
                await prepare(broker, 0)
                answer = await broker.commit(**({"offset": 1} | fields))
                assert answer.code == code
                assert said in (answer.remark or "")
                assert len(broker.broker.offsets) == 0

        run(test())

    def test_all_of_them(self, tmp_path: Path) -> None:
        async def test() -> None:
            async with asking(tmp_path) as broker:
                await prepare(broker)
                await broker.commit(2)
                body = await broker.ask_json(RequestCode.GET_ALL_CONSUMER_OFFSET)
                assert body["offsetTable"] == {"TopicA@GroupA": {"0": 2}}

        run(test())


class TestQueueOffsets:
    def test_first_last_and_by_time(self, tmp_path: Path) -> None:
        async def test() -> None:
            async with asking(tmp_path) as broker:
                await prepare(broker)
                queue: dict[str, Any] = {"topic": TOPIC, "queueId": 0}
                assert (await broker.ask(RequestCode.GET_MAX_OFFSET, **queue)).ext == {"offset": "3"}
                assert (await broker.ask(RequestCode.GET_MIN_OFFSET, **queue)).ext == {"offset": "0"}
                first_ms = broker.broker.store.reader.store_ms_at(0)
                answer = await broker.ask(RequestCode.GET_EARLIEST_MSG_STORETIME, **queue)
                assert answer.ext == {"timestamp": str(first_ms)}
                search = RequestCode.SEARCH_OFFSET_BY_TIMESTAMP
                assert (await broker.ask(search, timestamp=0, **queue)).ext == {"offset": "0"}
                assert (await broker.ask(search, timestamp=2**50, **queue)).ext == {"offset": "3"}
                upper = await broker.ask(search, timestamp=2**50, boundaryType="upper", **queue)
                assert upper.ext == {"offset": "2"}
                refused = await broker.refused(search, timestamp=0, boundaryType="x", **queue)
                assert refused == (29, "boundaryType='x' is neither LOWER nor UPPER")

        run(test())

    def test_of_an_empty_queue(self, tmp_path: Path) -> None:
        async def test() -> None:
            async with asking(tmp_path) as broker:
                await prepare(broker, 0)
                queue: dict[str, Any] = {"topic": TOPIC, "queueId": 1, "timestamp": 0}
                for code in (
                    RequestCode.GET_MAX_OFFSET,
                    RequestCode.GET_MIN_OFFSET,
                    RequestCode.SEARCH_OFFSET_BY_TIMESTAMP,
                ):
                    assert (await broker.ask(code, **queue)).ext == {"offset": "0"}
                answer = await broker.ask(RequestCode.GET_EARLIEST_MSG_STORETIME, **queue)
                assert answer.ext == {"timestamp": "-1"}

        run(test())

    def test_queues_that_do_not_exist(self, tmp_path: Path) -> None:
        async def test() -> None:
            async with asking(tmp_path) as broker:
                await prepare(broker, 0)
                for code in (
                    RequestCode.GET_MAX_OFFSET,
                    RequestCode.GET_MIN_OFFSET,
                    RequestCode.SEARCH_OFFSET_BY_TIMESTAMP,
                    RequestCode.GET_EARLIEST_MSG_STORETIME,
                ):
                    refused = await broker.refused(code, topic="unknown", queueId=0, timestamp=0)
                    assert refused[0] == ResponseCode.TOPIC_NOT_EXIST
                    for queue_id in (-1, 2, 2**31 - 1):
                        refused = await broker.refused(code, topic=TOPIC, queueId=queue_id, timestamp=0)
                        assert refused[0] == ResponseCode.INVALID_PARAMETER
                        assert f"queueId={queue_id}" in refused[1]
                    refused = await broker.refused(code, topic=TOPIC, timestamp=0)
                    assert "queueId is missing" in refused[1]

        run(test())

    def test_a_queue_that_has_messages_exists_though_the_topic_has_shrunk(self, tmp_path: Path) -> None:
        async def test() -> None:
            async with asking(tmp_path) as broker:
                await prepare(broker, 0)
                await broker.send(queue_id=1)
                await broker.create_topic(queues=1)
                answer = await broker.ask(RequestCode.GET_MAX_OFFSET, topic=TOPIC, queueId=1)
                assert answer.ext == {"offset": "1"}
                assert (await broker.commit(1, queue_id=1)).code == ResponseCode.SUCCESS

        run(test())


class TestProgress:
    def test_of_a_group(self, tmp_path: Path) -> None:
        async def test() -> None:
            async with asking(tmp_path) as broker:
                await prepare(broker)
                await broker.commit(2)
                last_ms = broker.broker.store.reader.store_ms_at(0)
                answer = await broker.ask(RequestCode.GET_CONSUME_STATS, consumerGroup=GROUP)
                body = await broker.ask_json(RequestCode.GET_CONSUME_STATS, consumerGroup=GROUP)
                first, second = body["offsetTable"].values()
                assert abs(first.pop("lastTimestamp") - last_ms) < 1000
                assert first == {"brokerOffset": 3, "consumerOffset": 2, "pullOffset": 2}
                assert second == {"brokerOffset": 0, "consumerOffset": 0, "lastTimestamp": 0, "pullOffset": 0}
                assert answer.body.startswith(
                    b'{"consumeTps":0.0,"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"TopicA"}:'
                )
                chosen: list[dict[str, Any]] = [{"topic": TOPIC}, {"topicList": TOPIC + ";unknown"}]
                for ext in chosen:
                    again = await broker.ask_json(RequestCode.GET_CONSUME_STATS, consumerGroup=GROUP, **ext)
                    assert len(again["offsetTable"]) == 2
                nothing = await broker.ask_json(RequestCode.GET_CONSUME_STATS, consumerGroup="unknown")
                assert nothing == {"consumeTps": 0.0, "offsetTable": {}}

        run(test())

    def test_topics_that_the_online_members_left_are_not_shown(self, tmp_path: Path) -> None:
        async def test() -> None:
            async with asking(tmp_path) as broker:
                await prepare(broker)
                await broker.commit(2)
                await broker.heart_beat("one", "Other")
                body = await broker.ask_json(RequestCode.GET_CONSUME_STATS, consumerGroup=GROUP)
                assert body["offsetTable"] == {}

        run(test())

    def test_of_the_whole_broker(self, tmp_path: Path) -> None:
        async def test() -> None:
            async with asking(tmp_path) as broker:
                await prepare(broker)
                await broker.commit(1)
                broker.broker.offsets.commit_pulled(GROUP, TOPIC, 0, 2)
                body = await broker.ask_json(RequestCode.GET_BROKER_CONSUME_STATS, isOrder="false")
                assert (body["totalDiff"], body["totalInflightDiff"]) == (2, 1)
                by_group = {group: stats for one in body["consumeStatsList"] for group, stats in one.items()}
                assert len(by_group[GROUP]) == 1
                assert by_group["TOOLS_CONSUMER"] == []
                ordered = await broker.ask_json(RequestCode.GET_BROKER_CONSUME_STATS, isOrder="true")
                assert ordered["totalDiff"] == 0

        run(test())

    def test_in_time(self, tmp_path: Path) -> None:
        async def test() -> None:
            async with asking(tmp_path) as broker:
                await prepare(broker)
                code = RequestCode.QUERY_CONSUME_TIME_SPAN
                await broker.commit(2)
                spans = (await broker.ask_json(code, topic=TOPIC, group=GROUP))["consumeTimeSpanSet"]
                assert [span["messageQueue"]["queueId"] for span in spans] == [0, 1]
                assert spans[0]["minTimeStamp"] <= spans[0]["consumeTimeStamp"] <= spans[0]["maxTimeStamp"]
                assert spans[0]["delayTime"] >= 0
                assert spans[1]["minTimeStamp"] == spans[1]["maxTimeStamp"] == -1
                assert spans[1]["delayTime"] == 0
                assert spans[1]["minTimeStampStr"].endswith(":999")
                assert (await broker.refused(code, topic="unknown", group=GROUP))[0] == 17

        run(test())

    def test_corrections(self, tmp_path: Path) -> None:
        async def test() -> None:
            async with asking(tmp_path) as broker:
                await prepare(broker)
                for group, offset in ((GROUP, 3), ("Slow", 1), ("Slowest", 0), ("Middle", 2)):
                    await broker.create_group(group)
                    await broker.commit(offset, group=group)
                code = RequestCode.QUERY_CORRECTION_OFFSET
                fields: dict[str, Any] = {"topic": TOPIC, "compareGroup": GROUP}
                assert await broker.ask_json(code, **fields) == {"correctionOffsets": {"0": 0}}
                body = await broker.ask_json(code, filterGroups="Slowest", **fields)
                assert body == {"correctionOffsets": {"0": 1}}
                fields["compareGroup"] = "Slow"
                body = await broker.ask_json(code, filterGroups="Slow,Slowest", **fields)
                assert body == {"correctionOffsets": {"0": 2**63 - 1}}, "the group is behind all others"

        run(test())

    def test_cloning(self, tmp_path: Path) -> None:
        async def test() -> None:
            async with asking(tmp_path) as broker:
                await prepare(broker)
                await broker.commit(2)
                code = RequestCode.CLONE_GROUP_OFFSET
                targets: list[tuple[str, dict[str, Any]]] = [("B", {"topic": TOPIC}), ("C", {})]
                for target, ext in targets:
                    answer = await broker.ask(code, srcGroup=GROUP, destGroup=target, offline="true", **ext)
                    assert answer.code == ResponseCode.SUCCESS
                    assert broker.broker.offsets.consumed(target, TOPIC, 0) == 2
                    assert broker.broker.groups.find(target) is not None
                refused = await broker.refused(code, srcGroup=GROUP, destGroup="a b")
                assert refused[0] == ResponseCode.INVALID_PARAMETER

        run(test())


class TestReset:
    def test_the_next_pull_takes_it(self, tmp_path: Path) -> None:
        async def test() -> None:
            async with asking(tmp_path) as broker:
                await prepare(broker)
                await broker.commit(3)
                answer = await broker.ask(RESET, topic=TOPIC, group=GROUP, timestamp=0, isForce="true")
                assert answer.body == (
                    b'{"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"TopicA"}:0,'
                    b'{"brokerName":"broker-a","queueId":1,"topic":"TopicA"}:0}}'
                )
                ignored = await broker.commit(3)
                assert (ignored.code, broker.broker.offsets.consumed(GROUP, TOPIC, 0)) == (0, 0)
                moved = await pull(broker, 3)
                assert moved.code == ResponseCode.PULL_OFFSET_MOVED
                assert moved.ext["nextBeginOffset"] == "0"
                assert (await pull(broker, 0)).code == ResponseCode.SUCCESS
                assert (await broker.commit(1)).code == ResponseCode.SUCCESS
                assert broker.broker.offsets.consumed(GROUP, TOPIC, 0) == 1

        run(test())

    def test_a_waiting_pull_takes_it_at_once(self, tmp_path: Path) -> None:
        async def test() -> None:
            async with asking(tmp_path) as broker:
                await prepare(broker)
                connection = await broker.client.connection(broker.broker.address)
                waiting = pull(broker, 3, sysFlag=6)
                task = asyncio.create_task(waiting)
                while not broker.broker._pulls.parked.count:  # noqa: ASYNC110 - nothing announces a parked pull
                    await asyncio.sleep(0.001)
                await broker.ask(RESET, topic=TOPIC, group=GROUP, timestamp=0, isForce="true")
                answer = await task
                assert answer.code == ResponseCode.PULL_OFFSET_MOVED
                assert answer.ext["nextBeginOffset"] == "0"
                assert not connection.closed

        run(test())

    def test_others_have_their_turn_while_many_queues_are_looked_at(self, tmp_path: Path) -> None:
        async def test() -> None:
            async with asking(tmp_path) as broker:
                await broker.create_topic(queues=2 * QUEUES_PER_TURN)
                await broker.create_group()
                header = ResetOffset(topic=TOPIC, group=GROUP, timestamp=0, is_force=True)
                connection = next(iter(broker.broker._server.connections))
                handler = broker.broker._server._handlers[RESET]
                resetting = asyncio.ensure_future(handler(request(RESET, header), connection))  # type: ignore[arg-type]  # a coroutine
                await asyncio.sleep(0)
                assert not resetting.done()
                assert len(broker.broker.offsets) == 0, "nothing is reset before all is known"
                await resetting
                assert len(broker.broker.offsets) == 2 * QUEUES_PER_TURN

        run(test())

    def test_one_queue_to_an_offset_or_the_end(self, tmp_path: Path) -> None:
        async def test() -> None:
            async with asking(tmp_path) as broker:
                await prepare(broker)
                fields: dict[str, Any] = {
                    "topic": TOPIC,
                    "group": GROUP,
                    "timestamp": -1,
                    "isForce": "true",
                }
                body = await broker.ask_json(RESET, queueId=0, offset=2, **fields)
                assert list(body["offsetTable"].values()) == [2]
                body = await broker.ask_json(RESET, queueId=0, **fields)
                assert list(body["offsetTable"].values()) == [3]
                refused = await broker.refused(RESET, queueId=0, offset=4, **fields)
                assert refused[0] == ResponseCode.SYSTEM_ERROR
                assert "offset=4" in refused[1]
                assert "0..3" in refused[1]
                for field, value, code in (
                    ("topic", "unknown", ResponseCode.TOPIC_NOT_EXIST),
                    ("group", "unknown", ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST),
                    ("queueId", 7, ResponseCode.INVALID_PARAMETER),
                ):
                    assert (await broker.refused(RESET, **(fields | {field: value})))[0] == code

        run(test())

    def test_without_server_side_reset_the_members_are_told(self, tmp_path: Path) -> None:
        async def test() -> None:
            async with asking(tmp_path, use_server_side_reset_offset=False) as broker:
                await prepare(broker)
                await broker.commit(1)
                fields: dict[str, Any] = {"topic": TOPIC, "group": GROUP, "timestamp": -1}
                assert (await broker.refused(RESET, **fields))[0] == ResponseCode.CONSUMER_NOT_ONLINE
                await broker.heart_beat()
                await broker.next_heard()
                await broker.ask_json(RESET, isForce="true", **fields)
                told = await broker.next_heard()
                assert told.code == RequestCode.RESET_CONSUMER_CLIENT_OFFSET
                assert (told.ext["topic"], told.ext["group"]) == (TOPIC, GROUP)
                assert told.body.startswith(
                    b'{"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"TopicA"}:3'
                )
                await broker.ask_json(RESET, isForce="false", **fields)
                told = await broker.next_heard()
                assert b'"queueId":0,"topic":"TopicA"}:1' in told.body, "not forced: nobody jumps ahead"
                member = broker.broker.clients.find_consumer(GROUP, "one")
                assert member is not None
                member.client.language = "CPP"
                await broker.ask_json(RESET, isForce="true", **fields)
                told = await broker.next_heard()
                assert json.loads(told.body)["offsetTable"][0] == {
                    "brokerName": "broker-a",
                    "offset": 3,
                    "queueId": 0,
                    "topic": TOPIC,
                }
                assert broker.broker.offsets.consumed(GROUP, TOPIC, 0) == 1, "members commit by themselves"

        run(test())
