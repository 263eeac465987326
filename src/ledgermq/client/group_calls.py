"""The requests that consumers make of brokers, but for pulls: offsets, members, locks, failed messages.

All of them raise ClientError: BrokerError, UnreachableError, RequestTimeoutError, BrokerNotFoundError.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable
from typing import Final

import msgspec

from ledgermq.client.connections import answer_header
from ledgermq.client.errors import BrokerNotFoundError, ClientError
from ledgermq.client.queues import MessageQueue
from ledgermq.client.session import Session
from ledgermq.message.model import MessageExt
from ledgermq.remoting.broker_headers import (
    ConsumerGroup,
    GetMaxOffset,
    OffsetReply,
    QueryConsumerOffset,
    SearchOffset,
    SendMessageBack,
    TopicQueue,
    UpdateConsumerOffset,
)
from ledgermq.remoting.codes import RequestCode, ResponseCode
from ledgermq.remoting.command import Command
from ledgermq.remoting.headers import Header, request
from ledgermq.remoting.json_body import JsonError, T, decode_json, encode_json
from ledgermq.remoting.route_data import MASTER_ID

TIMEOUT_MS: Final = 5000
LOCK_TIMEOUT_MS: Final = 1000


class ConsumerIds(msgspec.Struct, rename="camel"):
    """The members of a group, by client id."""

    consumer_id_list: list[str] = []


class LockRequest(msgspec.Struct, rename="camel"):
    """Which queues a member wants to have, or give back (Java: ``LockBatchRequestBody``)."""

    consumer_group: str
    client_id: str
    mq_set: list[MessageQueue]
    only_this_broker: bool = False


class LockAnswer(msgspec.Struct):
    """The queues that the member has now."""

    locked: list[MessageQueue] = msgspec.field(name="lockOKMQSet", default_factory=list)


class QueueCalls:
    """Questions about queues, whatever the group."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def max_offset(self, queue: MessageQueue) -> int:
        """The offset that the next message will have."""
        header = GetMaxOffset(topic=queue.topic, queue_id=queue.queue_id)
        return await self._offset(queue, RequestCode.GET_MAX_OFFSET, header)

    async def min_offset(self, queue: MessageQueue) -> int:
        """The offset of the oldest message that is still kept."""
        header = TopicQueue(topic=queue.topic, queue_id=queue.queue_id)
        return await self._offset(queue, RequestCode.GET_MIN_OFFSET, header)

    async def offset_for_time(self, queue: MessageQueue, timestamp_ms: int) -> int:
        """The offset of the first message stored at or after ``timestamp_ms``."""
        header = SearchOffset(topic=queue.topic, queue_id=queue.queue_id, timestamp=timestamp_ms)
        return await self._offset(queue, RequestCode.SEARCH_OFFSET_BY_TIMESTAMP, header)

    async def _offset(self, queue: MessageQueue, code: int, header: Header) -> int:
        address = await self._session.routes.address(queue)
        answer = await self._session.connections.ask_broker(address, request(code, header), TIMEOUT_MS)
        return answer_header(OffsetReply, answer, address, code).offset


class GroupCalls:
    """What the member of a group asks."""

    def __init__(self, session: Session, group: str) -> None:
        self._session = session
        self._group = group

    async def committed_offset(self, queue: MessageQueue) -> int | None:
        """Where the group is to go on with ``queue``; None when it never committed."""
        try:
            address = await self._session.routes.address(queue)
        except BrokerNotFoundError:
            address = await self._session.routes.address(queue, or_any=True)
        header = QueryConsumerOffset(consumer_group=self._group, topic=queue.topic, queue_id=queue.queue_id)
        command = request(RequestCode.QUERY_CONSUMER_OFFSET, header)
        expected = (ResponseCode.SUCCESS, ResponseCode.QUERY_NOT_FOUND)
        answer = await self._session.connections.ask_broker(address, command, TIMEOUT_MS, expected)
        if answer.code == ResponseCode.QUERY_NOT_FOUND:
            return None
        return answer_header(OffsetReply, answer, address, command.code).offset

    async def commit_offset(self, queue: MessageQueue, offset: int, *, wait: bool) -> None:
        """Store the group's offset; without ``wait`` nobody says whether it was stored."""
        address = await self._session.routes.address(queue, or_any=True)
        header = UpdateConsumerOffset(
            consumer_group=self._group, topic=queue.topic, queue_id=queue.queue_id, commit_offset=offset
        )
        command = request(RequestCode.UPDATE_CONSUMER_OFFSET, header)
        if wait:
            await self._session.connections.ask_broker(address, command, TIMEOUT_MS)
        else:
            await self._session.connections.tell_broker(address, command)

    async def client_ids(self, topic: str) -> list[str]:
        """The members of the group that the brokers of ``topic`` know, sorted."""
        route = await self._session.routes.get(topic)
        addresses = [broker.broker_addrs[min(broker.broker_addrs)] for broker in route.broker_datas]
        if not addresses:
            raise BrokerNotFoundError(f"the route of topic {topic} names no broker")
        command = request(RequestCode.GET_CONSUMER_LIST_BY_GROUP, ConsumerGroup(consumer_group=self._group))
        answer = await self._session.connections.ask_broker(random.choice(addresses), command, TIMEOUT_MS)
        return sorted(_body(ConsumerIds, answer, command.code).consumer_id_list)

    async def lock(self, broker_name: str, queues: Collection[MessageQueue]) -> set[MessageQueue]:
        """Have queues of one broker alone for a minute; those of ``queues`` that nobody else has."""
        answer = await self._ask_lock(RequestCode.LOCK_BATCH_MQ, broker_name, queues)
        return set(_body(LockAnswer, answer, RequestCode.LOCK_BATCH_MQ).locked)

    async def unlock(self, broker_name: str, queues: Collection[MessageQueue]) -> None:
        """Give queues of one broker back."""
        await self._ask_lock(RequestCode.UNLOCK_BATCH_MQ, broker_name, queues)

    async def _ask_lock(self, code: int, broker_name: str, queues: Iterable[MessageQueue]) -> Command:
        wanted = sorted(queues)
        address = await self._session.routes.address(wanted[0], MASTER_ID)
        body = encode_json(LockRequest(self._group, self._session.client_id, wanted))
        return await self._session.connections.ask_broker(address, request(code, body=body), LOCK_TIMEOUT_MS)

    async def send_back(
        self, queue: MessageQueue, message: MessageExt, delay_level: int, reconsume_times_max: int
    ) -> None:
        """Have the broker of ``queue`` put a message of it into the group's retry topic.

        ``delay_level`` 0 lets the broker choose when it comes again, -1 means never: the message goes to the
        dead-letter topic, as it does when it failed more than ``reconsume_times_max`` times.
        """
        address = await self._session.routes.address(queue)
        header = SendMessageBack(
            offset=message.log_offset,
            group=self._group,
            delay_level=delay_level,
            origin_msg_id=message.message_id,
            origin_topic=message.topic,
            max_reconsume_times=reconsume_times_max,
        )
        command = request(RequestCode.CONSUMER_SEND_MSG_BACK, header)
        await self._session.connections.ask_broker(address, command, TIMEOUT_MS)


def _body(kind: type[T], answer: Command, asked: int) -> T:
    try:
        return decode_json(kind, answer.body)
    except JsonError as error:
        raise ClientError(f"answer to request code {asked} cannot be read: {error}") from None
