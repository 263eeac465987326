"""What brokers ask of a consumer: to rebalance, to reset offsets, to say how it is doing, to consume one
message for an operator (Java: ``ClientRemotingProcessor``)."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping
from typing import Protocol

import msgspec

from ledgermq.client.consume_stats import ConsumeStatus
from ledgermq.client.queues import MessageQueue
from ledgermq.client.subscription import SubscriptionData
from ledgermq.message.model import MessageExt, received_message
from ledgermq.message.record import RecordError, decode_record
from ledgermq.remoting.broker_headers import (
    ConsumeDirectly,
    ConsumerGroup,
    ConsumerRunningInfo,
    ConsumerStatus,
    ResetOffset,
)
from ledgermq.remoting.codes import RequestCode, ResponseCode
from ledgermq.remoting.command import Command, PeerError
from ledgermq.remoting.connection import Connection, Handler
from ledgermq.remoting.headers import decode_header, json_response
from ledgermq.remoting.json_body import JsonError, decode_object_map, encode_object_map, parse_json


class QueueInfo(msgspec.Struct, rename="camel"):
    """One queue at hand (Java: ``ProcessQueueInfo``); "droped" is Java's spelling."""

    commit_offset: int = -1
    cached_msg_min_offset: int = 0
    cached_msg_max_offset: int = 0
    cached_msg_count: int = 0
    cached_msg_size_in_mi_b: int = msgspec.field(name="cachedMsgSizeInMiB", default=0)
    transaction_msg_min_offset: int = 0
    transaction_msg_max_offset: int = 0
    transaction_msg_count: int = 0
    locked: bool = False
    try_unlock_times: int = 0
    last_lock_timestamp: int = 0
    droped: bool = False
    last_pull_timestamp: int = 0
    last_consume_timestamp: int = 0


class RunningInfo(msgspec.Struct):
    """How a consumer is doing (Java: ``ConsumerRunningInfo``)."""

    properties: dict[str, str]
    subscriptions: list[SubscriptionData]
    queues: dict[MessageQueue, QueueInfo]
    status: dict[str, ConsumeStatus]


class DirectResult(msgspec.Struct, rename="camel"):
    """How a message was consumed that an operator chose (Java: ``ConsumeMessageDirectlyResult``)."""

    order: bool
    auto_commit: bool
    consume_result: str
    """CR_SUCCESS, CR_LATER or CR_THROW_EXCEPTION."""
    remark: str | None
    spent_time_mills: int


class CalledBack(Protocol):
    """The consumer whom brokers ask."""

    group: str

    def rebalance_now(self) -> None:
        """The members of the group changed."""

    def reset_offsets(self, offsets: Mapping[MessageQueue, int]) -> None:
        """Go on at these offsets, with the queues that are ours."""

    def offsets(self, topic: str) -> dict[MessageQueue, int]:
        """How far our queues of ``topic`` are consumed."""

    def running_info(self) -> RunningInfo:
        """How we are doing."""

    async def consume_directly(self, message: MessageExt) -> DirectResult:
        """Consume ``message``, and nothing else follows from it."""


class Callbacks:
    """Answers for one consumer; what is asked of another group is refused."""

    def __init__(self, consumer: CalledBack) -> None:
        self._consumer = consumer

    def handlers(self) -> dict[int, Handler]:
        """By request code."""
        return {
            RequestCode.NOTIFY_CONSUMER_IDS_CHANGED: self._members_changed,
            RequestCode.RESET_CONSUMER_CLIENT_OFFSET: self._reset_offsets,
            RequestCode.GET_CONSUMER_STATUS_FROM_CLIENT: self._offsets,
            RequestCode.GET_CONSUMER_RUNNING_INFO: self._running_info,
            RequestCode.CONSUME_MESSAGE_DIRECTLY: self._consume_directly,
        }

    def _check_group(self, group: str) -> None:
        if group != self._consumer.group:
            remark = f"consumer group {group} is not this client's, which is {self._consumer.group}"
            raise PeerError(ResponseCode.SYSTEM_ERROR, remark)

    def _members_changed(self, command: Command, connection: Connection) -> Command | None:
        self._check_group(decode_header(ConsumerGroup, command).consumer_group)
        self._consumer.rebalance_now()
        return None

    def _reset_offsets(self, command: Command, connection: Connection) -> Command | None:
        header = decode_header(ResetOffset, command)
        self._check_group(header.group)
        offsets = _body_offsets(command.body)
        self._consumer.reset_offsets(
            {queue: offset for queue, offset in offsets.items() if queue.topic == header.topic}
        )
        return None

    def _offsets(self, command: Command, connection: Connection) -> Command | None:
        header = decode_header(ConsumerStatus, command)
        self._check_group(header.group)
        table = encode_object_map(sorted(self._consumer.offsets(header.topic).items()))
        return json_response({"consumerTable": {}, "messageQueueTable": table})

    def _running_info(self, command: Command, connection: Connection) -> Command | None:
        header = decode_header(ConsumerRunningInfo, command)
        self._check_group(header.consumer_group)
        info = self._consumer.running_info()
        body: dict[str, object] = {
            "properties": info.properties,
            "subscriptionSet": info.subscriptions,
            "mqTable": encode_object_map(sorted(info.queues.items())),
            "mqPopTable": {},
            "statusTable": info.status,
            "userConsumerInfo": {},
        }
        if header.jstack_enable:
            body["jstack"] = _task_stacks()
        return json_response(body)

    async def _consume_directly(self, command: Command, connection: Connection) -> Command | None:
        header = decode_header(ConsumeDirectly, command)
        self._check_group(header.consumer_group)
        try:
            message = received_message(decode_record(command.body), header.broker_name or "")
        except RecordError as error:
            raise PeerError(ResponseCode.INVALID_PARAMETER, f"body is no message: {error}") from None
        return json_response(await self._consumer.consume_directly(message))


def _body_offsets(body: bytes) -> dict[MessageQueue, int]:
    """The offsets of a reset: a map keyed by queues, or the list that C++ clients get."""
    try:
        value = parse_json(body)
        table = value.get("offsetTable") if isinstance(value, dict) else None
        if not isinstance(table, list):
            return decode_object_map(table, MessageQueue, int)
        return {msgspec.convert(row, MessageQueue): msgspec.convert(row["offset"], int) for row in table}
    except (JsonError, msgspec.MsgspecError, KeyError, TypeError) as error:
        raise PeerError(ResponseCode.INVALID_PARAMETER, f"body has no offsetTable: {error}") from None


def _task_stacks() -> str:
    """Where each task of this process stands, for who looks for a listener that hangs."""
    out = io.StringIO()
    for task in asyncio.all_tasks():
        task.print_stack(file=out)
    return out.getvalue()
