"""Sent messages over the wire: every code and encoding, what is refused and how, what the answer carries."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.integration.broker.asking import TOPIC, another_client, asking, run
from tests.integration.broker.messages import (
    ADDED,
    BORN_MS,
    PLAIN,
    bodies,
    properties_of,
    pulled,
    refused,
    send,
    send_request,
    sent,
    unit,
)

from ledgermq.message.ids import offset_message_id
from ledgermq.remoting.codes import RequestCode, ResponseCode

SEND, SEND_V2, SEND_BATCH = (
    RequestCode.SEND_MESSAGE,
    RequestCode.SEND_MESSAGE_V2,
    RequestCode.SEND_BATCH_MESSAGE,
)
ILLEGAL, INVALID, NO_PERMISSION = (
    ResponseCode.MESSAGE_ILLEGAL,
    ResponseCode.INVALID_PARAMETER,
    ResponseCode.NO_PERMISSION,
)
MARKS = {"MSG_REGION": "DefaultRegion", "TRACE_ON": "true"}


@pytest.mark.parametrize("binary", [False, True], ids=["json", "binary"])
@pytest.mark.parametrize("code", [SEND, SEND_V2])
def test_a_message_is_stored_and_answered_as_java_does(tmp_path: Path, code: int, binary: bool) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            for n in range(3):  # The first creates the topic the general way; the others take the fast one.
                request = send_request(
                    code=code, binary=binary, body=b"body %d" % n, queueId=1, flag=7, reconsumeTimes=2
                )
                answer = await broker.client.invoke(broker.broker.address, request, 10_000)
                [record] = await pulled(broker, TOPIC, 1, n)
                assert (answer.code, answer.remark, answer.body) == (0, None, b"")
                assert (answer.binary, answer.version, answer.language) == (binary, 513, 0)
                message_id = offset_message_id(
                    bytes([127, 0, 0, 1]), broker.broker.port, int(record.log_offset)
                )
                assert answer.ext == MARKS | {
                    "msgId": message_id,
                    "queueId": "1",
                    "queueOffset": str(n),
                    "transactionId": "K1",
                }
                assert record.body == b"body %d" % n
                assert (record.queue_id, record.queue_offset, record.flag) == (1, n, 7)
                assert (record.born_ms, record.reconsume_times, record.sys_flag) == (BORN_MS, 2, 0)
                assert record.born_host[:4] == record.store_host[:4] == bytes([127, 0, 0, 1])
                assert properties_of(record) == dict(PLAIN) | ADDED
            topic = broker.broker.topics.get(TOPIC)
            assert (topic.read_queue_nums, topic.write_queue_nums, topic.perm) == (4, 4, 6)

    run(test())


def test_a_message_without_unique_key_gets_one(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            given: list[dict[str, str] | None] = [{}, {"TAGS": "x"}, None]
            keys = [(await sent(broker, properties=one))["transactionId"] for one in given]
            stored = [properties_of(record)["UNIQ_KEY"] for record in await pulled(broker)]
            assert stored == keys
            assert len(set(keys)) == 3
            assert {len(key) for key in keys} == {32}

    run(test())


def test_what_the_broker_says_of_a_message_replaces_what_its_sender_said(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            await sent(broker)
            for name in (*ADDED, "POP_CK", "_SYS_MSG_PRIORITY_"):
                await sent(broker, properties=dict(PLAIN) | {name: "7"})
            for record in await pulled(broker):
                assert properties_of(record) == dict(PLAIN) | ADDED
                assert record.properties.count(b"TRACE_ON") == 1

    run(test())


def test_properties_may_lack_their_last_separator(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            for _ in range(2):
                await sent(broker, properties={}, body=b"x")
            cut = "UNIQ_KEY\x01K9\x02KEYS\x01a b"
            request = send_request()
            request.ext["i"] = cut
            assert (await broker.client.invoke(broker.broker.address, request)).code == 0
            record = (await pulled(broker))[-1]
            assert properties_of(record) == {"UNIQ_KEY": "K9", "KEYS": "a b"} | ADDED

    run(test())


def test_a_key_is_quoted_in_a_json_answer(tmp_path: Path) -> None:
    key = 'a"\\\n\x7fü€😀'

    async def test() -> None:
        async with asking(tmp_path, region_id='re"gion\\') as broker:
            for binary in (False, True, False, True):
                fields = await sent(broker, binary=binary, properties={"UNIQ_KEY": key})
                assert fields["transactionId"] == key
                assert fields["MSG_REGION"] == 're"gion\\'
            assert {properties_of(record)["MSG_REGION"] for record in await pulled(broker)} == {'re"gion\\'}

    run(test())


def test_a_one_way_message_is_stored_and_not_answered(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            answers: list[int] = []
            connection = await broker.client.connection(broker.broker.address)
            for n in range(4):
                for code in (SEND_V2, SEND_BATCH):
                    body = b"%d" % n if code == SEND_V2 else unit(b"%d" % n)
                    await broker.client.oneway(
                        broker.broker.address, send_request(code=code, body=body, oneway=True)
                    )
            await broker.client.oneway(broker.broker.address, send_request(topic="a b", oneway=True))
            answers.append((await send(broker, body=b"last")).code)
            assert answers == [0]
            assert not connection.closed
            assert await bodies(broker) == [b"%d" % n for n in (0, 0, 1, 1, 2, 2, 3, 3)] + [b"last"]

    run(test())


@pytest.mark.parametrize("code", [SEND, SEND_V2, SEND_BATCH])
def test_a_negative_queue_id_is_any_queue(tmp_path: Path, code: int) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            body = unit(b"x") if code == SEND_BATCH else b"x"
            chosen: set[str] = set()
            for queue_id in (-1, -(2**31)) * 20:
                chosen.add((await sent(broker, code=code, body=body, queueId=queue_id))["queueId"])
            assert chosen <= {"0", "1", "2", "3"}
            assert len(chosen) > 1
            for queue_id in (4, 2**31 - 1):
                number, remark = await refused(broker, code=code, body=body, queueId=queue_id)
                assert number == INVALID
                assert f"queueId={queue_id}" in remark
                assert "4 write and 4 read" in remark

    run(test())


def test_topics_are_created_after_their_pattern(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            topics = broker.broker.topics
            await sent(broker, "Few", defaultTopicQueueNums=2)
            assert topics.get("Few").write_queue_nums == 2
            await sent(broker, "Many", defaultTopicQueueNums=100, unitMode="true")
            assert topics.get("Many").write_queue_nums == 8, "no more than TBW102 has"
            assert topics.get("Many").topic_sys_flag == 1
            number, remark = await refused(broker, "None", defaultTopicQueueNums=0)
            assert number == INVALID
            assert "defaultTopicQueueNums=0" in remark
            for pattern in ("unknown", "BenchmarkTest", None):
                number, remark = await refused(broker, "New", defaultTopic=pattern)
                assert number == ResponseCode.TOPIC_NOT_EXIST
                assert "'New' does not exist" in remark
            broker.broker.settings.broker.auto_create_topic_enable = False
            assert (await refused(broker, "New"))[0] == ResponseCode.TOPIC_NOT_EXIST
            await sent(broker, "Few")
            assert "New" not in topics.configs

    run(test())


@pytest.mark.parametrize(
    ("topic", "code", "said"),
    [
        ("", INVALID, "topic is blank"),
        (" ", INVALID, "topic is blank"),
        ("a b", INVALID, "'a b' contains illegal characters"),
        ("ä", INVALID, "illegal characters"),
        ("t" * 128, INVALID, "has 128 characters, at most 127"),
        ("%RETRY%" + "g" * 300, INVALID, "has 307 characters, at most 255"),
        ("SCHEDULE_TOPIC_XXXX", NO_PERMISSION, "'SCHEDULE_TOPIC_XXXX' is internal"),
        ("RMQ_SYS_TRANS_HALF_TOPIC", NO_PERMISSION, "internal"),
        ("%RETRY%" + "g" * 200, ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST, "does not exist"),
    ],
)
def test_a_bad_topic_is_refused(tmp_path: Path, topic: str, code: int, said: str) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            for request_code in (SEND, SEND_V2):
                number, remark = await refused(broker, topic, code=request_code)
                assert number == code
                assert said in remark

    run(test())


def test_the_longest_topic_is_taken(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            for topic in ("t" * 127, "%RETRY%" + "g" * 120, "%DLQ%" + "g" * 200):
                for n in range(2):
                    await sent(broker, topic, body=b"%d" % n)
                found = await pulled(broker, topic)
                assert [(record.topic.decode(), record.body) for record in found] == [
                    (topic, b"0"),
                    (topic, b"1"),
                ]

    run(test())


def test_a_body_that_is_empty_or_too_large_is_refused(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path, store={"max_message_size": 1000}) as broker:
            await sent(broker)
            for code in (SEND, SEND_V2, SEND_BATCH):
                assert await refused(broker, body=b"", code=code) == (ILLEGAL, "the message has no body")
                number, remark = await refused(broker, body=bytes(1001), code=code)
                assert number == ILLEGAL
                assert "1001 bytes" in remark
                assert "maxMessageSize=1000" in remark
            for body in (bytes(1000), b"x"):
                await sent(broker, body=body)
            assert await bodies(broker) == [b"hello", bytes(1000), b"x"]

    run(test())


def test_properties_must_fit_a_record(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            await sent(broker)
            added = len("CLUSTER=DefaultCluster;MSG_REGION=DefaultRegion;TRACE_ON=true;")
            room = 32767 - added - len("UNIQ_KEY=K;k=;")
            for code in (SEND, SEND_V2):
                await sent(broker, code=code, properties={"UNIQ_KEY": "K", "k": "v" * room})
                number, remark = await refused(
                    broker, code=code, properties={"UNIQ_KEY": "K", "k": "v" * (room + 1)}
                )
                assert number == ILLEGAL
                assert "32768 bytes with those the broker adds, 32767" in remark
            assert len(await pulled(broker)) == 3

    run(test())


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"topic": None}, "topic is missing"),
        ({"producerGroup": None}, "producerGroup is missing"),
        ({"queueId": None}, "queueId is missing"),
        ({"queueId": "x"}, "queueId='x'"),
        ({"queueId": 2**31}, f"queueId='{2**31}'"),
        ({"sysFlag": "1.5"}, "sysFlag='1.5'"),
        ({"bornTimestamp": ""}, "bornTimestamp=''"),
        ({"flag": 2**40}, "flag="),
        ({"batch": "maybe"}, "batch='maybe'"),
        ({"reconsumeTimes": "many"}, "reconsumeTimes='many'"),
    ],
)
def test_a_bad_header_field_is_named(tmp_path: Path, fields: dict[str, Any], said: str) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            await sent(broker)
            for code in (SEND, SEND_V2):
                for binary in (False, True):
                    number, remark = await refused(broker, code=code, binary=binary, **fields)
                    assert number == INVALID
                    assert said in remark
            assert await bodies(broker) == [b"hello"]

    run(test())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sysFlag": 4}, "transactional messages are not served"),
        ({"sysFlag": 8}, "transactional messages"),
        ({"sysFlag": 12}, "transactional messages"),
        ({"sysFlag": 0x80}, "batches stored as one message"),
        ({"properties": {"TRAN_MSG": "true"}}, "transactional messages"),
        ({"properties": {"TRAN_MSG": "TRUE"}}, "transactional messages"),
        ({"properties": {"DELAY": "3"}}, "delayed messages are not served"),
        ({"properties": {"DELAY": "x"}}, "DELAY='x' is no delay level"),
        ({"properties": {"DELAY": "²"}}, "DELAY='²' is no delay level"),
        ({"properties": {"TIMER_DELAY_SEC": "5"}}, "timer messages are not served"),
        ({"properties": {"TIMER_DELAY_MS": "5"}}, "timer messages"),
        ({"properties": {"TIMER_DELIVER_MS": "5"}}, "timer messages"),
        ({"properties": {"__LITE_TOPIC": "a"}}, "lite topics"),
        ({"properties": {"INNER_MULTI_DISPATCH": "a"}}, "light queues"),
        ({"properties": {"INNER_NUM": "3"}}, "batches stored as one message"),
    ],
)
def test_what_is_not_served_yet_is_refused(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    if "properties" in options:
        options = {"properties": dict(PLAIN) | options["properties"]}

    async def test() -> None:
        async with asking(tmp_path) as broker:
            await sent(broker)
            for code in (SEND, SEND_V2):
                for binary in (False, True):
                    number, remark = await refused(broker, code=code, binary=binary, **options)
                    assert number == ILLEGAL
                    assert said in remark
            assert await bodies(broker) == [b"hello"]

    run(test())


@pytest.mark.parametrize(
    "properties",
    [{"DELAY": "0"}, {"DELAY": "-1"}, {"TRAN_MSG": "false"}, {"TRAN_MSG": "no"}, {"WAIT": "false"}],
)
def test_what_asks_for_nothing_special_is_plain(tmp_path: Path, properties: dict[str, str]) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            for _ in range(2):
                await sent(broker, properties=dict(PLAIN) | properties)
            for record in await pulled(broker):
                assert properties_of(record) == dict(PLAIN) | properties | ADDED

    run(test())


def test_flags_that_the_record_has_its_own_of_do_not_harm_it(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            for flag in (0x10, 0x20, 0x30, 1, 0x700, 2**31 - 0x100):
                for _ in range(2):
                    await sent(broker, sysFlag=flag)
            flags = [record.sys_flag for record in await pulled(broker)]
            assert flags == [0] * 6 + [1, 1] + [0x700] * 2 + [2**31 - 0x100] * 2

    run(test())


def test_a_topic_that_may_not_be_written_is_refused(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            await broker.create_topic()
            await sent(broker)
            for perm in (4, 0):
                await broker.create_topic(perm=perm)
                for code in (SEND, SEND_V2):
                    number, remark = await refused(broker, code=code)
                    assert number == NO_PERMISSION
                    assert f"perm={perm}" in remark
            await broker.create_topic(perm=2)
            await sent(broker, body=b"again")
            await broker.create_topic(perm=6, writeQueueNums=0)
            assert (await refused(broker))[0] == NO_PERMISSION
            assert await bodies(broker) == [b"hello", b"again"]

    run(test())


def test_more_and_fewer_queues_take_effect_at_once(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            await broker.create_topic(queues=2)
            await sent(broker, queueId=1)
            await broker.create_topic(queues=3)
            for n in range(2):
                assert (await sent(broker, queueId=2))["queueOffset"] == str(n)
            await broker.create_topic(queues=1)
            for queue_id in (1, 2):
                assert (await refused(broker, queueId=queue_id))[0] == INVALID
            await sent(broker, queueId=0)
            assert (await refused(broker, queueId=1))[0] == INVALID, "the fast way knows it too"
            await broker.create_topic(queues=3)
            assert (await sent(broker, queueId=2))["queueOffset"] == "2", "the queue was never gone"
            # The higher number of queues counts, as a topic that shrinks is still read to its end.
            await broker.create_topic(readQueueNums=5, writeQueueNums=1)
            await sent(broker, queueId=4)
            for _ in range(10):
                assert (await sent(broker, queueId=-1))["queueId"] == "0", "only written queues are chosen"

    run(test())


def test_a_topic_made_again_begins_anew(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            for round_number in range(3):
                for n in range(3):
                    body = b"%d %d" % (round_number, n)
                    assert (await sent(broker, body=body))["queueOffset"] == str(n)
                expected = [b"%d %d" % (round_number, n) for n in range(3)]
                assert await bodies(broker) == expected
                answer = await broker.ask(RequestCode.DELETE_TOPIC_IN_BROKER, topic=TOPIC)
                assert answer.code == ResponseCode.SUCCESS

    run(test())


def test_messages_of_the_turn_in_which_their_topic_is_deleted_harm_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            await sent(broker)
            connection = await broker.client.connection(broker.broker.address)
            # All in one write, so one turn of the broker's loop reads them.
            sends = [connection.call(send_request(body=b"%d" % n), 10_000) for n in range(3)]
            tasks = [asyncio.ensure_future(call) for call in sends]
            await asyncio.sleep(0)
            delete = broker.ask(RequestCode.DELETE_TOPIC_IN_BROKER, topic=TOPIC)
            answers = await asyncio.gather(*tasks, delete)
            assert [answer.code for answer in answers] == [0, 0, 0, 0]
            assert (await sent(broker, body=b"new"))["queueOffset"] == "0"
            assert await bodies(broker) == [b"new"]
            broker.broker.store._write_all_tails()
            assert await bodies(broker) == [b"new"]

    run(test())


def test_two_clients_may_use_the_same_opaque(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker, another_client(broker) as other:
            await sent(broker)
            clients = (broker, other)
            connections = [await client.client.connection(client.broker.address) for client in clients]
            for connection in connections:
                connection._next_opaque = 500
            calls = [
                connection.call(send_request(properties={"UNIQ_KEY": f"{side} {n}"}), 10_000)
                for n in range(20)
                for side, connection in enumerate(connections)
            ]
            answers = await asyncio.gather(*calls)
            keys = [answer.ext["transactionId"] for answer in answers]
            assert keys == [f"{side} {n}" for n in range(20) for side in range(2)]

    run(test())


def test_a_connection_that_closes_in_its_turn_harms_no_other(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker, another_client(broker) as other:
            await sent(broker)
            leaving = await other.client.connection(broker.broker.address)
            for n in range(50):
                leaving.send(send_request(body=b"left %d" % n))
            calls = [asyncio.ensure_future(send(broker, body=b"stays %d" % n)) for n in range(50)]
            await asyncio.sleep(0)
            leaving.abort()
            assert {(await call).code for call in calls} == {0}
            stored = await bodies(broker)
            assert stored[0] == b"hello"
            more = await pulled(broker, TOPIC, 0, 32)
            while more:
                stored += [record.body for record in more]
                more = await pulled(broker, TOPIC, 0, len(stored))
            assert sorted(body for body in stored if body.startswith(b"stays")) == sorted(
                b"stays %d" % n for n in range(50)
            )

    run(test())


def test_a_retried_message_waits_and_a_worn_out_one_goes_to_the_dead_letters(tmp_path: Path) -> None:
    retry, dead = "%RETRY%GroupA", "%DLQ%GroupA"
    again = dict(PLAIN) | {"DELAY": "3", "TIMER_DELAY_SEC": "9", "TRAN_MSG": "true", "POP_CK": "x"}

    async def test() -> None:
        async with asking(tmp_path) as broker:
            fields = await sent(broker, retry, properties=again, reconsumeTimes=16, body=b"waits")
            assert (fields["queueId"], fields["queueOffset"]) == ("0", "0")
            [waiting] = await pulled(broker, "SCHEDULE_TOPIC_XXXX", 2)
            expected = dict(PLAIN) | ADDED | {"TRAN_MSG": "true"}
            delay = {"DELAY": "3", "REAL_TOPIC": retry, "REAL_QID": "0"}
            assert properties_of(waiting) == expected | delay
            assert waiting.reconsume_times == 16
            await sent(broker, retry, properties=again, reconsumeTimes=17, body=b"dead")
            await sent(
                broker, retry, properties=again, reconsumeTimes=3, maxReconsumeTimes=2, body=b"dead too"
            )
            letters = await pulled(broker, dead)
            assert [record.body for record in letters] == [b"dead", b"dead too"]
            assert broker.broker.topics.get(dead).write_queue_nums == 1
            # Ordered consumers, known by their locks, have retried at home.
            lock = {
                "consumerGroup": "GroupA",
                "clientId": "one",
                "mqSet": [{"topic": TOPIC, "brokerName": "broker-a", "queueId": 0}],
            }
            await sent(broker)
            await broker.heart_beat()
            assert (await broker.ask(RequestCode.LOCK_BATCH_MQ, body=lock)).code == 0
            await sent(broker, retry, properties=again, reconsumeTimes=1, body=b"ordered")
            assert await bodies(broker, dead) == [b"dead", b"dead too", b"ordered"]
            # Without a delay it is there at once.
            unlock = await broker.ask(RequestCode.UNLOCK_BATCH_MQ, body=lock)
            assert unlock.code == 0
            await sent(broker, retry, body=b"now", reconsumeTimes=1)
            assert await bodies(broker, retry) == [b"now"]
            broker.broker.settings.broker.auto_create_subscription_group = False
            number, _ = await refused(broker, "%RETRY%unknown", properties=again, reconsumeTimes=1)
            assert number == ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST

    run(test())
