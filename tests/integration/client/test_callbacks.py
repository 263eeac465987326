"""What a consumer answers to brokers, asked without a network."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from librt.strings import BytesWriter

from ledgermq.client.callbacks import Callbacks, DirectResult, QueueInfo, RunningInfo
from ledgermq.client.consume_stats import ConsumeStatus
from ledgermq.client.queues import MessageQueue
from ledgermq.client.subscription import parse_expression
from ledgermq.message.model import MessageExt
from ledgermq.message.record import write_record
from ledgermq.remoting.broker_headers import (
    ConsumeDirectly,
    ConsumerGroup,
    ConsumerRunningInfo,
    ConsumerStatus,
    ResetOffset,
)
from ledgermq.remoting.codes import RequestCode
from ledgermq.remoting.command import Command, PeerError
from ledgermq.remoting.headers import Header, request
from ledgermq.remoting.json_body import decode_object_map, parse_json

QUEUE = MessageQueue("t", "a", 1)
HOST = bytes([127, 0, 0, 1, 0, 0, 0, 1])


class Consumer:
    group = "g"

    def __init__(self) -> None:
        self.rebalanced = 0
        self.reset: dict[MessageQueue, int] = {}
        self.consumed: list[MessageExt] = []

    def rebalance_now(self) -> None:
        self.rebalanced += 1

    def reset_offsets(self, offsets: Mapping[MessageQueue, int]) -> None:
        self.reset = dict(offsets)

    def offsets(self, topic: str) -> dict[MessageQueue, int]:
        return {QUEUE: 7} if topic == "t" else {}

    def running_info(self) -> RunningInfo:
        return RunningInfo(
            {"PROP": "x"},
            [parse_expression("t", "a", 1)],
            {QUEUE: QueueInfo(commit_offset=3)},
            {"t": ConsumeStatus()},
        )

    async def consume_directly(self, message: MessageExt) -> DirectResult:
        self.consumed.append(message)
        return DirectResult(False, True, "CR_SUCCESS", None, 5)


def ask(consumer: Consumer, code: int, header: Header, body: bytes = b"") -> Command | None:
    """The answer, over the loop when it has to wait."""
    connection: Any = None
    answer = Callbacks(consumer).handlers()[code](request(code, header, body), connection)
    if answer is None or isinstance(answer, Command):
        return answer

    async def wait() -> Command | None:
        return await answer

    return asyncio.run(wait())


def json_body(answer: Command | None) -> Any:
    assert answer is not None
    assert answer.code == 0
    return parse_json(answer.body)


def test_a_change_of_members_rebalances() -> None:
    consumer = Consumer()
    assert ask(consumer, RequestCode.NOTIFY_CONSUMER_IDS_CHANGED, ConsumerGroup(consumer_group="g")) is None
    assert consumer.rebalanced == 1


@pytest.mark.parametrize(
    "body",
    [
        b'{"offsetTable":{{"brokerName":"a","queueId":1,"topic":"t"}:9,{"brokerName":"a","queueId":1,"topic":"u"}:8}}',
        b'{"offsetTable":[{"brokerName":"a","queueId":1,"topic":"t","offset":9}]}',
    ],
)
def test_offsets_are_reset_for_java_and_in_the_form_for_cpp(body: bytes) -> None:
    consumer = Consumer()
    header = ResetOffset(group="g", topic="t", timestamp=1, is_force=True)
    assert ask(consumer, RequestCode.RESET_CONSUMER_CLIENT_OFFSET, header, body) is None
    assert consumer.reset == {QUEUE: 9}


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"offsetTable":[1]}', b'{"offsetTable":[{"topic":"t"}]}', b"\xff"]
)
def test_other_bodies_are_refused(body: bytes) -> None:
    header = ResetOffset(group="g", topic="t", timestamp=1, is_force=True)
    with pytest.raises(PeerError, match="offsetTable"):
        ask(Consumer(), RequestCode.RESET_CONSUMER_CLIENT_OFFSET, header, body)


def test_offsets_are_told() -> None:
    header = ConsumerStatus(topic="t", group="g")
    body = json_body(ask(Consumer(), RequestCode.GET_CONSUMER_STATUS_FROM_CLIENT, header))
    assert decode_object_map(body["messageQueueTable"], MessageQueue, int) == {QUEUE: 7}


def test_running_info_has_javas_fields() -> None:
    header = ConsumerRunningInfo(consumer_group="g", client_id="c")
    body = json_body(ask(Consumer(), RequestCode.GET_CONSUMER_RUNNING_INFO, header))
    assert set(body) == {
        "properties",
        "subscriptionSet",
        "mqTable",
        "mqPopTable",
        "statusTable",
        "userConsumerInfo",
    }
    (info,) = decode_object_map(body["mqTable"], MessageQueue, dict).values()
    assert info["commitOffset"] == 3
    assert "cachedMsgSizeInMiB" in info
    assert "droped" in info
    assert "consumeOKTPS" in body["statusTable"]["t"]


def test_a_message_is_consumed_for_an_operator() -> None:
    out = BytesWriter()
    write_record(out, b"t", 1, 2, 3, 0, 0, 4, HOST, 5, HOST, 0, 0, b"body", b"")
    consumer = Consumer()
    header = ConsumeDirectly(consumer_group="g", client_id="c", broker_name="a")
    body = json_body(ask(consumer, RequestCode.CONSUME_MESSAGE_DIRECTLY, header, out.getvalue()))
    assert body == {
        "order": False,
        "autoCommit": True,
        "consumeResult": "CR_SUCCESS",
        "remark": None,
        "spentTimeMills": 5,
    }
    assert [message.body for message in consumer.consumed] == [b"body"]
    with pytest.raises(PeerError, match="no message"):
        ask(consumer, RequestCode.CONSUME_MESSAGE_DIRECTLY, header, out.getvalue()[:-1])


@pytest.mark.parametrize(
    ("code", "header"),
    [
        (RequestCode.NOTIFY_CONSUMER_IDS_CHANGED, ConsumerGroup(consumer_group="h")),
        (RequestCode.RESET_CONSUMER_CLIENT_OFFSET, ResetOffset(group="h", topic="t", timestamp=1)),
        (RequestCode.GET_CONSUMER_STATUS_FROM_CLIENT, ConsumerStatus(topic="t", group="h")),
        (RequestCode.GET_CONSUMER_RUNNING_INFO, ConsumerRunningInfo(consumer_group="h", client_id="c")),
        (RequestCode.CONSUME_MESSAGE_DIRECTLY, ConsumeDirectly(consumer_group="h", client_id="c")),
    ],
)
def test_another_groups_affairs_are_refused(code: int, header: Header) -> None:
    with pytest.raises(PeerError, match="consumer group h is not this client's, which is g"):
        ask(Consumer(), code, header)
