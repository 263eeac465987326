"""Settings, numbers and files of the broker; questions that clients answer."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.integration.broker.asking import GROUP, TOPIC, asking, run

from ledgermq.broker import handlers_relay
from ledgermq.remoting.codes import RequestCode, ResponseCode
from ledgermq.remoting.command import Command
from ledgermq.remoting.connection import Connection
from ledgermq.remoting.headers import response

JAVA_RUNTIME_KEYS = """
EndTransactionQueueSize EndTransactionThreadPoolQueueCapacity ackThreadPoolQueueCapacity
ackThreadPoolQueueHeadWaitTimeMills ackThreadPoolQueueSize bootTimestamp brokerActive brokerVersionDesc
commitLogDirCapacity commitLogDiskRatio commitLogMaxOffset commitLogMinOffset consumeQueueDiskRatio
dispatchBehindBytes dispatchMaxBuffer earliestMessageTimeStamp getFoundTps getMessageEntireTimeMax getMissTps
getTotalTps getTransferredTps litePullThreadPoolQueueCapacity litePullThreadPoolQueueHeadWaitTimeMills
litePullThreadPoolQueueSize msgGetTotalTodayMorning msgGetTotalTodayNow msgGetTotalYesterdayMorning
msgPutTotalTodayMorning msgPutTotalTodayNow msgPutTotalYesterdayMorning pageCacheLockTimeMills
pullThreadPoolQueueCapacity pullThreadPoolQueueHeadWaitTimeMills pullThreadPoolQueueSize putLatency99
putLatency999 putMessageAverageSize putMessageDistributeTime putMessageEntireTimeMax putMessageFailedTimes
putMessageSizeTotal putMessageTimesTotal putTps queryThreadPoolQueueCapacity
queryThreadPoolQueueHeadWaitTimeMills queryThreadPoolQueueSize remainHowManyDataToFlush
remainTransientStoreBufferNumbs runtime sendThreadPoolQueueCapacity sendThreadPoolQueueHeadWaitTimeMills
sendThreadPoolQueueSize startAcceptSendRequestTimeStamp timerCongestNum timerDequeueTps timerEnqueueTps
timerOffsetBehind timerReadBehind
""".split()
"""As a Java 5.5.0 broker answers, without the key that names its directory."""


class TestConfig:
    def test_is_shown_and_changed(self, tmp_path: Path) -> None:
        async def test() -> None:
            async with asking(tmp_path) as broker:
                answer = await broker.ask(RequestCode.GET_BROKER_CONFIG)
                lines = answer.body.decode().splitlines()
                assert "brokerName=broker-a" in lines
                assert lines == sorted(lines)
                assert answer.ext["version"].startswith('{"counter":0,"stateVersion":0,"timestamp":')
                update = RequestCode.UPDATE_BROKER_CONFIG
                assert (await broker.ask(update, body=b"fileReservedTime=48\n")).code == ResponseCode.SUCCESS
                answer = await broker.ask(RequestCode.GET_BROKER_CONFIG)
                assert "fileReservedTime=48" in answer.body.decode().splitlines()
                assert answer.ext["version"].startswith('{"counter":1,')
                version = broker.broker.topics.data_version.counter
                assert (await broker.ask(update, body=b"brokerPermission=4\n")).code == ResponseCode.SUCCESS
                assert broker.broker.topics.data_version.counter == version + 1, (
                    "name servers must hear of it"
                )

        run(test())

    def test_a_change_goes_into_the_operators_file(self, tmp_path: Path) -> None:
        properties, toml = tmp_path / "broker.conf", tmp_path / "broker.toml"
        before = "# ours\nfileReservedTime = 24\n"
        properties.write_text(before)
        toml.write_text(before)

        async def test() -> None:
            for path in (properties, toml):
                async with asking(tmp_path / "store", path) as broker:
                    body = b"fileReservedTime=48\ndeleteWhen=05\n"
                    assert (await broker.ask(RequestCode.UPDATE_BROKER_CONFIG, body=body)).code == 0
            assert properties.read_text() == "# ours\nfileReservedTime=48\ndeleteWhen=05\n"
            assert toml.read_text() == before

        run(test())

    @pytest.mark.parametrize(
        ("body", "code", "said"),
        [
            (b"brokerConfigPath=x", ResponseCode.NO_PERMISSION, "black list"),
            (b"configBlackList=x", ResponseCode.NO_PERMISSION, "black list"),
            (b"fileReservedTime=x", ResponseCode.INVALID_PARAMETER, "fileReservedTime=x"),
            (b"listenPort=1", ResponseCode.INVALID_PARAMETER, "start-up only"),
            (b"nonsense=1", ResponseCode.INVALID_PARAMETER, "unknown key nonsense"),
            (b"\xff", ResponseCode.INVALID_PARAMETER, "not UTF-8"),
            (b"#" * 70_000, ResponseCode.INVALID_PARAMETER, "at most"),
        ],
    )
    def test_what_cannot_be_changed(self, tmp_path: Path, body: bytes, code: int, said: str) -> None:
        async def test() -> None:
            async with asking(tmp_path) as broker:
                refused = await broker.refused(RequestCode.UPDATE_BROKER_CONFIG, body)
                assert refused[0] == code
                assert said in refused[1]

        run(test())


class TestNumbers:
    def test_runtime_info_has_javas_keys(self, tmp_path: Path) -> None:
        async def test() -> None:
            async with asking(tmp_path) as broker:
                await broker.create_topic()
                await broker.send()
                broker.broker.stats.sample(broker.broker.stats.started_ms + 10_000, 0)
                table = (await broker.ask_json(RequestCode.GET_BROKER_RUNTIME_INFO))["table"]
                assert set(JAVA_RUNTIME_KEYS) <= set(table)
                assert all(isinstance(value, str) for value in table.values())
                assert table["msgPutTotalTodayNow"] == "1"
                assert table["putTps"] == "0.1 0.1 0.1"
                assert table["putMessageSizeTotal"] == table["commitLogMaxOffset"]
                assert table["commitLogMaxOffset"] == str(broker.broker.store.max_log_offset)
                assert 0 < float(table["commitLogDiskRatio"]) <= 1

        run(test())

    def test_counters(self, tmp_path: Path) -> None:
        async def test() -> None:
            async with asking(tmp_path) as broker:
                await broker.create_topic()
                await broker.send()
                broker.broker.stats.sample(broker.broker.stats.started_ms + 10_000, 0)
                code = RequestCode.VIEW_BROKER_STATS_DATA
                answer = await broker.ask(code, statsName="TOPIC_PUT_NUMS", statsKey=TOPIC)
                assert answer.body == (
                    b'{"statsDay":{"avgpt":0.0,"sum":0,"tps":0.0},"statsHour":{"avgpt":0.0,"sum":0,"tps":0.0},'
                    b'"statsMinute":{"avgpt":1.0,"sum":1,"tps":0.1}}'
                )
                refused = await broker.refused(code, statsName="TOPIC_PUT_NUMS", statsKey="unknown")
                assert refused[0] == ResponseCode.SYSTEM_ERROR
                assert "'TOPIC_PUT_NUMS' of 'unknown'" in refused[1]

        run(test())

    def test_system_topics(self, tmp_path: Path) -> None:
        async def test() -> None:
            async with asking(tmp_path) as broker:
                body = await broker.ask_json(RequestCode.GET_SYSTEM_TOPIC_LIST_FROM_BROKER)
                assert len(body["topicList"]) == 18
                assert "rmq_sys_SYNC_BROKER_MEMBER_broker-a" in body["topicList"]

        run(test())


def test_cleaning(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            await broker.create_topic()
            await broker.send()
            topics = broker.broker.store.queues.topics
            broker.broker.topics.configs.pop(TOPIC)
            for code in (
                RequestCode.CLEAN_EXPIRED_CONSUMEQUEUE,
                RequestCode.DELETE_EXPIRED_COMMITLOG,
                RequestCode.CLEAN_UNUSED_TOPIC,
            ):
                assert (await broker.ask(code)).code == ResponseCode.SUCCESS
            assert TOPIC.encode() not in topics
            assert broker.broker.store.retention.manual_rounds > 0

    run(test())


class TestRelay:
    def test_a_client_is_asked_and_its_answer_goes_back_as_it_is(self, tmp_path: Path) -> None:
        async def test() -> None:
            async with asking(tmp_path) as broker:
                asked: list[Command] = []

                def say(command: Command, connection: Connection) -> Command:
                    asked.append(command)
                    return response(7, "so it is", body=b"{{not json}}")

                broker.handlers[RequestCode.GET_CONSUMER_RUNNING_INFO] = say
                broker.handlers[RequestCode.CONSUME_MESSAGE_DIRECTLY] = say
                await broker.create_topic()
                await broker.send(body=b"hello")
                await broker.heart_beat()
                fields: dict[str, Any] = {"consumerGroup": GROUP, "clientId": "one"}
                answer = await broker.ask(
                    RequestCode.GET_CONSUMER_RUNNING_INFO, jstackEnable="true", **fields
                )
                assert (answer.code, answer.remark, answer.body) == (7, "so it is", b"{{not json}}")
                assert asked[0].ext["jstackEnable"] == "true"
                message_id = "7F000001000000010000000000000000"
                await broker.ask(
                    RequestCode.CONSUME_MESSAGE_DIRECTLY, msgId=message_id, topic=TOPIC, **fields
                )
                assert b"hello" in asked[1].body
                assert asked[1].ext["brokerName"] == "broker-a"
                assert asked[1].ext["topicSysFlag"] == asked[1].ext["groupSysFlag"] == "0"

        run(test())

    def test_clients_that_cannot_be_asked(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(handlers_relay, "CALL_TIMEOUT_MS", 20)

        async def test() -> None:
            async with asking(tmp_path) as broker:
                broker.handlers[RequestCode.GET_CONSUMER_RUNNING_INFO] = lambda *_: asyncio.sleep(5)
                code = RequestCode.GET_CONSUMER_RUNNING_INFO
                refused = await broker.refused(code, consumerGroup=GROUP, clientId="one")
                assert refused[0] == ResponseCode.SYSTEM_ERROR
                assert "'one' of group 'GroupA' is not online" in refused[1]
                await broker.heart_beat()
                refused = await broker.refused(code, consumerGroup=GROUP, clientId="one")
                assert refused[0] == ResponseCode.CONSUME_MSG_TIMEOUT
                direct = RequestCode.CONSUME_MESSAGE_DIRECTLY
                for message_id in ("", "x", "7F", "7F0000010000000100000000000F0000", "F" * 32):
                    refused = await broker.refused(
                        direct, consumerGroup=GROUP, clientId="one", msgId=message_id
                    )
                    assert refused[0] in (ResponseCode.INVALID_PARAMETER, ResponseCode.SYSTEM_ERROR)
                    assert "msgId" in refused[1]

        run(test())

    def test_the_offsets_that_clients_hold(self, tmp_path: Path) -> None:
        table = b'{{"brokerName":"broker-a","queueId":0,"topic":"TopicA"}:5}'
        answers = [response(body=b'{"messageQueueTable":' + table + b"}"), response(1), response(body=b"{")]

        async def test() -> None:
            async with asking(tmp_path) as broker:
                code = RequestCode.INVOKE_BROKER_TO_GET_CONSUMER_STATUS
                assert (await broker.refused(code, topic=TOPIC, group=GROUP))[0] == ResponseCode.SYSTEM_ERROR
                await broker.heart_beat()
                broker.handlers[RequestCode.GET_CONSUMER_STATUS_FROM_CLIENT] = lambda *_: answers.pop(0)
                answer = await broker.ask(code, topic=TOPIC, group=GROUP)
                assert answer.body == b'{"consumerTable":{"one":' + table + b'},"messageQueueTable":{}}'
                for _ in range(2):
                    answer = await broker.ask(code, topic=TOPIC, group=GROUP)
                    assert answer.body == b'{"consumerTable":{},"messageQueueTable":{}}'
                answer = await broker.ask(code, topic=TOPIC, group=GROUP, clientAddr="two")
                assert answer.body == b'{"consumerTable":{},"messageQueueTable":{}}'

        run(test())


def test_what_is_not_served_is_refused_by_name(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            for code in (
                RequestCode.QUERY_ASSIGNMENT,
                RequestCode.SET_MESSAGE_REQUEST_MODE,
                RequestCode.POP_MESSAGE,
                RequestCode.END_TRANSACTION,
                513,
                3001,
                200075,
            ):
                refused = await broker.refused(code)
                assert refused[0] == ResponseCode.REQUEST_CODE_NOT_SUPPORTED
                assert str(code) in refused[1]

    run(test())
