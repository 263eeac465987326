"""Every request of a broker with odd header fields and bodies: it answers, and says what is wrong in its own
words. An exception's name in a remark is a bug of ours that the connection has caught."""

import asyncio
import logging
import random
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.integration.broker.asking import GROUP, TOPIC, Asked, asking, run

from ledgermq.remoting.broker_headers import SEND_V2_LETTERS
from ledgermq.remoting.codes import RequestCode, ResponseCode
from ledgermq.remoting.command import Command
from ledgermq.remoting.requests import REQUESTS

ROUNDS = 60

VALUES = (
    "", " ", "0", "1", "-1", "2", "7", "32", "1000", "2147483647", "2147483648", "-2147483648",
    "9223372036854775807", "-9223372036854775808", "9223372036854775808", "9" * 50, "1.5", "1e9", "0x1", " 1",
    "true", "false", "TRUE", "null", "[]", "{}", TOPIC, GROUP, "unknown", "a b", "ü", "\x00", "\x01\x02",
    "x" * 300,
    "TBW102", "%RETRY%GroupA", "%DLQ%GroupA", "SCHEDULE_TOPIC_XXXX", "one", "broker-a", "TAG", "SQL92", "*",
    "a||b",
    "+message.type=FIFO", "-message.type", "KEYS\x01red\x02", "7F0000010000000100000000000000000",
    "7F000001000000010000000000000000", "F" * 32, "LOWER", "UPPER", "K", "U", "T", "TOPIC_PUT_NUMS",
)  # fmt: skip

BODIES = (
    b"", b"{", b"{}", b"[]", b"null", b"1", b'"x"', b"\xff\xfe", b"{0:1}", b"[" * 5000, b"{\"a\":" * 500,
    b"x" * 5000,
    b'{"clientID":"one","consumerDataSet":[{"groupName":"GroupA","subscriptionDataSet":[{"topic":"TopicA"}]}]}',
    b'{"clientID":null,"consumerDataSet":[null]}',
    b'{"clientId":"one","consumerGroup":"GroupA","mqSet":[{"brokerName":"broker-a","queueId":0,"topic":"TopicA"}]}',
    b'{"clientId":"one","consumerGroup":"GroupA","mqSet":[{"brokerName":"broker-a","queueId":99999999999999999999}]}',
    b'{"groupName":"GroupB","attributes":{"":""},"retryQueueNums":1}',
    b'{"groupName":"GroupA","subscriptionDataSet":[{"topic":"T"}],"groupRetryPolicy":{"type":"X"}}',
    b'{"groupConfigList":[{"groupName":"GroupC"}]}', b'{"topicConfigList":[{"topicName":"TopicB","perm":6}]}',
    b'{"topicConfigList":[{"topicName":"TopicB","attributes":{"x":"y"}}]}',
    b'{"group":"GroupA","subscriptionData":{"topic":"TopicA","expressionType":"SQL92","subString":"a > 1"}}',
    b"fileReservedTime=48\n", b"nonsense=1\n", b"fileReservedTime=\\\n", b"brokerPermission=6\n",
)  # fmt: skip

EXCEPTION = re.compile(r"^\w*(Error|Exception|Warning|Exit|Iteration|Interrupt)\b")

LEFT_OUT = {RequestCode.NOTIFY_CONSUMER_IDS_CHANGED}


def field_names(code: int) -> list[str]:
    if code in (RequestCode.SEND_MESSAGE_V2, RequestCode.SEND_BATCH_MESSAGE):
        return list(SEND_V2_LETTERS)
    return [field.encode_name for field in msgspec.structs.fields(REQUESTS[code][1])]


def odd_requests(code: int, rng: random.Random) -> Iterator[Command]:
    names = field_names(code)
    for _ in range(ROUNDS):
        command = Command(code)
        command.ext = {name: rng.choice(VALUES) for name in names if rng.random() < 0.9}
        if rng.random() < 0.2:
            command.ext[rng.choice(VALUES)] = rng.choice(VALUES)
        command.body = rng.choice(BODIES)
        if "suspendTimeoutMillis" in command.ext:
            command.ext["suspendTimeoutMillis"] = "1"  # a longer poll would only wait
        command.binary = rng.random() < 0.5 and code < 2**15
        command.version = rng.choice((0, 100, 401, 513, -1))
        yield command


async def check(broker: Asked, command: Command) -> None:
    answer = await broker.client.invoke(broker.broker.address, command, 15_000)
    remark = answer.remark or ""
    where = f"{command!r} {command.body[:80]!r} was answered {answer!r}"
    assert EXCEPTION.match(remark) is None, where
    if answer.code not in (ResponseCode.SUCCESS, ResponseCode.PULL_NOT_FOUND):
        assert remark, where


@pytest.mark.slow
def test_every_request(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with asking(tmp_path, long_polling_enable=False, short_polling_time_mills=1) as broker:
            await broker.create_topic()
            await broker.create_group()
            for number in range(3):
                await broker.send(body=b"%d" % number, KEYS="red")
            await broker.commit(1)
            await broker.heart_beat()
            rng = random.Random(1)
            codes = sorted(set(broker.broker._server._handlers) - LEFT_OUT)
            assert len(codes) > 50
            for code in codes:
                for command in odd_requests(code, rng):
                    await check(broker, command)
            broker.broker.clients.check_invariants()
            broker.broker.offsets.check_invariants()
            assert not broker.broker.failed.is_set()
            await broker.create_topic("Afterwards")
            await broker.send(topic="Afterwards")
            await asyncio.sleep(0)

    caplog.set_level(logging.ERROR)
    run(test(), seconds=120)
    assert [record for record in caplog.records if record.exc_info] == []
