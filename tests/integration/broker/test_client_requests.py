"""Clients register, hear of each other, lock queues and are shown."""

import asyncio
from pathlib import Path

import pytest
from tests.integration.broker.asking import GROUP, TOPIC, another_client, asking, run

from ledgermq.broker import broker as broker_module
from ledgermq.broker.locks import LOCK_MS
from ledgermq.remoting.codes import RequestCode, ResponseCode

LIST = RequestCode.GET_CONSUMER_LIST_BY_GROUP


def test_members_hear_of_each_other(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            answer = await broker.heart_beat("one")
            assert answer.ext == {"IS_SUPPORT_HEART_BEAT_V2": "true", "IS_SUB_CHANGE": "true"}
            notice = await broker.next_heard()
            assert (notice.code, notice.ext) == (40, {"consumerGroup": GROUP})
            assert notice.is_oneway
            async with another_client(broker) as other:
                await other.heart_beat("two")
                await broker.next_heard()
                await other.next_heard()
                assert await broker.ask_json(LIST, consumerGroup=GROUP) == {"consumerIdList": ["one", "two"]}
            await broker.next_heard()
            assert await broker.ask_json(LIST, consumerGroup=GROUP) == {"consumerIdList": ["one"]}
            await broker.heart_beat("one")
            await asyncio.sleep(0.05)
            assert broker.heard.empty(), "nothing has changed"

    run(test())


def test_a_heartbeat_creates_the_group_and_its_retry_topic(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            await broker.create_topic(order="true")
            await broker.heart_beat()
            assert broker.broker.groups.find(GROUP) is not None
            retry = broker.broker.topics.get("%RETRY%GroupA")
            assert (retry.read_queue_nums, retry.perm, retry.order) == (1, 6, True)

    run(test())


def test_leaving_by_unregistering(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            await broker.heart_beat()
            code = RequestCode.UNREGISTER_CLIENT
            answer = await broker.ask(code, clientID="one", producerGroup="ProdA", consumerGroup=GROUP)
            assert answer.code == ResponseCode.SUCCESS
            refused = await broker.refused(LIST, consumerGroup=GROUP)
            assert refused[0] == ResponseCode.SYSTEM_ERROR
            refused = await broker.refused(RequestCode.GET_PRODUCER_CONNECTION_LIST, producerGroup="ProdA")
            assert refused[0] == ResponseCode.SYSTEM_ERROR
            assert (await broker.ask(code, clientID="one")).code == ResponseCode.SUCCESS

    run(test())


def test_fingerprint_heartbeats(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            answer = await broker.heart_beat(heartbeatFingerprint=7)
            assert answer.ext["IS_SUB_CHANGE"] == "false"
            answer = await broker.heart_beat(heartbeatFingerprint=7)
            assert answer.ext["IS_SUB_CHANGE"] == "false"
            bare = {"groupName": GROUP, "consumeType": "CONSUME_PASSIVELY", "messageModel": "CLUSTERING"}
            answer = await broker.heart_beat(heartbeatFingerprint=7, withoutSub=True, consumerDataSet=[bare])
            assert answer.ext["IS_SUB_CHANGE"] == "false"
            assert broker.broker.clients.subscription(GROUP, TOPIC) is not None
            answer = await broker.heart_beat(heartbeatFingerprint=8)
            assert answer.ext["IS_SUB_CHANGE"] == "true"

    run(test())


def test_bad_heartbeats_are_named(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            consumer = {"groupName": GROUP, "subscriptionDataSet": [{"topic": "a b"}]}
            for body, said in (
                (b"", "body of 0 bytes"),
                (b"[]", "object"),
                (b"\xff", "UTF-8"),
                ({"clientID": ""}, "clientID of 0 characters"),
                ({"clientID": "x" * 2000}, "clientID of 2000 characters"),
                ({"clientID": "c", "consumerDataSet": [consumer]}, "illegal characters"),
                ({"clientID": "c", "producerDataSet": [{"groupName": "a b"}]}, "illegal characters"),
                (
                    {"clientID": "c", "consumerDataSet": [{"groupName": "g", "messageModel": "?"}]},
                    "messageModel",
                ),
            ):
                code, remark = await broker.refused(RequestCode.HEART_BEAT, body)
                assert code == ResponseCode.INVALID_PARAMETER
                assert said in remark
            broker.broker.clients.check_invariants()

    run(test())


def test_only_tag_filters_are_supported(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            code = RequestCode.CHECK_CLIENT_CONFIG
            assert (await broker.ask(code)).code == ResponseCode.SUCCESS
            for kind, expected in (("TAG", ResponseCode.SUCCESS), ("SQL92", ResponseCode.SYSTEM_ERROR)):
                subscription = {"topic": TOPIC, "subString": "a", "expressionType": kind}
                answer = await broker.ask(code, body={"clientId": "c", "subscriptionData": subscription})
                assert answer.code == expected
            assert "SQL92" in (answer.remark or "")

    run(test())


def test_silent_clients_are_forgotten_and_their_connections_closed(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path, channel_expired_timeout=1000) as broker:
            await broker.heart_beat()
            connection = await broker.client.connection(broker.broker.address)
            closed = asyncio.Event()
            connection.close_listeners.append(lambda _: closed.set())
            member = broker.broker.clients.find_consumer(GROUP, "one")
            assert member is not None
            member.seen_ms -= 2000
            broker.broker._clients_handlers.expire()
            assert broker.broker.clients.consumer_groups == {}
            await asyncio.wait_for(closed.wait(), 5)

    run(test())


def test_locks(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            await broker.create_topic()
            await broker.create_group()
            queues = [
                {"brokerName": "broker-a", "queueId": 0, "topic": TOPIC},
                {"brokerName": "broker-a", "queueId": 9, "topic": TOPIC},
                {"brokerName": "other", "queueId": 0, "topic": TOPIC},
                {"brokerName": "broker-a", "queueId": 0, "topic": "unknown"},
            ]

            async def lock(client: str, group: str = GROUP) -> bytes:
                body = {"clientId": client, "consumerGroup": group, "mqSet": queues}
                return (await broker.ask(RequestCode.LOCK_BATCH_MQ, body=body)).body

            mine = b'{"lockOKMQSet":[{"brokerName":"broker-a","queueId":0,"topic":"TopicA"}]}'
            assert await lock("one") == mine, "what does not exist cannot be locked"
            assert await lock("one") == mine
            assert await lock("two") == b'{"lockOKMQSet":[]}'
            body = {"clientId": "one", "consumerGroup": GROUP, "mqSet": queues}
            assert (await broker.ask(RequestCode.UNLOCK_BATCH_MQ, body=body)).code == ResponseCode.SUCCESS
            assert await lock("two") == mine
            unknown = {"clientId": "one", "consumerGroup": "unknown", "mqSet": queues}
            refused = await broker.refused(RequestCode.LOCK_BATCH_MQ, unknown)
            assert refused[0] == ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST
            refused = await broker.refused(RequestCode.LOCK_BATCH_MQ, b"not json")
            assert refused[0] == ResponseCode.INVALID_PARAMETER

    run(test())


def test_locks_do_not_outlive_their_holder_when_the_clock_is_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        wall_ms, passed_ms = 1_700_000_000_000, 0
        monkeypatch.setattr(broker_module, "now_ms", lambda: wall_ms)
        monkeypatch.setattr(broker_module, "monotonic_ms", lambda: passed_ms)
        async with asking(tmp_path) as broker:
            await broker.create_topic()
            await broker.create_group()
            queues = [{"brokerName": "broker-a", "queueId": 0, "topic": TOPIC}]

            async def lock(client: str) -> int:
                body = {"clientId": client, "consumerGroup": GROUP, "mqSet": queues}
                return len((await broker.ask_json(RequestCode.LOCK_BATCH_MQ, body=body))["lockOKMQSet"])

            assert await lock("one") == 1
            wall_ms -= 3_600_000
            passed_ms += LOCK_MS
            assert await lock("two") == 0
            passed_ms += 1
            assert await lock("two") == 1

    run(test())


def test_who_is_connected(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            await broker.create_topic()
            await broker.heart_beat()
            member = broker.broker.clients.find_consumer(GROUP, "one")
            assert member is not None
            port = member.client.remote.rpartition(":")[2]
            answer = await broker.ask(RequestCode.GET_CONSUMER_CONNECTION_LIST, consumerGroup=GROUP)
            assert answer.body.decode() == (
                '{"connectionSet":[{"clientAddr":"127.0.0.1:' + port + '","clientId":"one","language":"JAVA",'
                '"version":513}],"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY",'
                '"messageModel":"CLUSTERING","subscriptionTable":{"TopicA":{"classFilterMode":false,"codeSet":[],'
                '"expressionType":"TAG","subString":"*","subVersion":1,"tagsSet":[],"topic":"TopicA"}}}'
            )
            refused = await broker.refused(RequestCode.GET_CONSUMER_CONNECTION_LIST, consumerGroup="x")
            assert refused[0] == ResponseCode.CONSUMER_NOT_ONLINE
            producers = await broker.ask_json(RequestCode.GET_PRODUCER_CONNECTION_LIST, producerGroup="ProdA")
            assert producers["connectionSet"][0]["clientId"] == "one"
            every = await broker.ask_json(RequestCode.GET_ALL_PRODUCER_INFO)
            (producer,) = every["data"]["ProdA"]
            assert producer["remoteIP"] == f"/127.0.0.1:{port}"
            await broker.create_group("Late")
            await broker.commit(0, group="Late")
            groups = await broker.ask_json(RequestCode.QUERY_TOPIC_CONSUME_BY_WHO, topic=TOPIC)
            assert groups == {"groupList": [GROUP, "Late"]}
            topics = await broker.ask_json(RequestCode.QUERY_TOPICS_BY_CONSUMER, group="Late")
            assert topics == {"brokerAddr": broker.broker.address, "topicList": [TOPIC]}
            code = RequestCode.QUERY_SUBSCRIPTION_BY_CONSUMER
            found = await broker.ask_json(code, group=GROUP, topic=TOPIC)
            assert found["subscriptionData"]["subString"] == "*"
            assert await broker.ask_json(code, group="Late", topic=TOPIC) == {"group": "Late", "topic": TOPIC}

    run(test())
