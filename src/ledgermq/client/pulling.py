"""Pulling messages of one queue, and the loop that does it again and again.

Source: Java's ``PullAPIWrapper`` and ``DefaultMQPushConsumerImpl.pullMessage``.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from ledgermq.client.connections import answer_header
from ledgermq.client.errors import BrokerError, ClientError
from ledgermq.client.queues import MessageQueue
from ledgermq.client.session import Session
from ledgermq.client.subscription import SubscriptionData
from ledgermq.message.model import MessageExt, decode_messages
from ledgermq.message.record import RecordError
from ledgermq.remoting.broker_headers import PullMessage, PullMessageReply
from ledgermq.remoting.codes import RequestCode, ResponseCode
from ledgermq.remoting.headers import request
from ledgermq.remoting.route_data import MASTER_ID

log: Final = logging.getLogger("ledgermq.client")

FLAG_COMMIT_OFFSET: Final = 1
FLAG_SUSPEND: Final = 2
FLAG_SUBSCRIPTION: Final = 4
FLAG_LITE_PULL: Final = 16

SUSPEND_MS: Final = 15_000
"""How long a broker holds a pull that finds nothing."""
PULL_TIMEOUT_MS: Final = 30_000
PULL_BYTES_MAX: Final = 256 * 1024
RETRY_SECONDS: Final = 1.0
FLOW_CONTROL_SECONDS: Final = 0.02


class PullStatus(enum.IntEnum):
    """What a pull found; the values are response codes."""

    FOUND = ResponseCode.SUCCESS
    NOTHING_NEW = ResponseCode.PULL_NOT_FOUND
    NOTHING_MATCHES = ResponseCode.PULL_RETRY_IMMEDIATELY
    OFFSET_MOVED = ResponseCode.PULL_OFFSET_MOVED
    """The offset asked for is not in the queue; go on at ``next_offset``."""


_PULL_CODES: Final = frozenset(int(status) for status in PullStatus)


class PullResult(msgspec.Struct):
    """What a pull brought. ``messages`` are those that the subscription wants."""

    status: PullStatus
    messages: list[MessageExt]
    next_offset: int
    min_offset: int
    max_offset: int


class Puller:
    """Pulls for one group, from the member of a broker's group that the broker itself recommends."""

    def __init__(self, session: Session, group: str, *, count_max: int, lite: bool) -> None:
        """``count_max`` is for one pull; ``lite`` marks the pulls of consumers that ask for messages."""
        self._session = session
        self._group = group
        self._count_max = count_max
        self._lite = lite
        self._recommended: dict[MessageQueue, int] = {}

    async def pull(
        self,
        queue: MessageQueue,
        offset: int,
        subscription: SubscriptionData,
        commit_offset: int | None = None,
    ) -> PullResult:
        """Messages of ``queue`` from ``offset`` on; waits up to SUSPEND_MS for the first one.

        ``commit_offset`` is committed on the way. Raises ClientError.
        """
        broker_id = self._recommended.get(queue, MASTER_ID)
        address = await self._session.routes.address(queue, broker_id, or_any=True)
        flags = FLAG_SUSPEND | FLAG_SUBSCRIPTION | (FLAG_LITE_PULL if self._lite else 0)
        if commit_offset is not None and broker_id == MASTER_ID:
            flags |= FLAG_COMMIT_OFFSET
        header = PullMessage(
            consumer_group=self._group,
            topic=queue.topic,
            queue_id=queue.queue_id,
            queue_offset=offset,
            max_msg_nums=self._count_max,
            sys_flag=flags,
            commit_offset=commit_offset or 0,
            suspend_timeout_millis=SUSPEND_MS,
            subscription=subscription.sub_string,
            sub_version=subscription.sub_version,
            expression_type=subscription.expression_type,
            max_msg_bytes=PULL_BYTES_MAX,
        )
        code = RequestCode.LITE_PULL_MESSAGE if self._lite else RequestCode.PULL_MESSAGE
        command = request(code, header)
        answer = await self._session.connections.ask_broker(address, command, PULL_TIMEOUT_MS, _PULL_CODES)
        reply = answer_header(PullMessageReply, answer, address, code)
        self._recommended[queue] = reply.suggest_which_broker_id
        status = PullStatus(answer.code)
        messages: list[MessageExt] = []
        if status is PullStatus.FOUND:
            messages = self._read(answer.body, queue, reply.offset_delta or 0, subscription)
        return PullResult(status, messages, reply.next_begin_offset, reply.min_offset, reply.max_offset)

    def forget(self, queue: MessageQueue) -> None:
        """The queue is read by somebody else now."""
        self._recommended.pop(queue, None)

    async def doubt(self, queue: MessageQueue) -> None:
        """A pull failed: find out where the queue is now."""
        self.forget(queue)
        await self._session.routes.doubt(queue.topic)

    def _read(
        self, body: bytes, queue: MessageQueue, offset_delta: int, subscription: SubscriptionData
    ) -> list[MessageExt]:
        try:
            messages = decode_messages(body, queue.broker_name)
        except RecordError as error:
            raise ClientError(f"messages of {queue} cannot be read: {error}") from None
        wanted = [message for message in messages if subscription.accepts(message.tags)]
        for message in wanted:
            message.queue_offset += offset_delta
        return wanted


class Inbox(Protocol):
    """Where the messages of one queue go."""

    async def wait_for_room(self) -> None:
        """Return when more messages may be put."""

    def commit_offset(self) -> int | None:
        """What may be committed with the next pull."""

    def put(self, messages: list[MessageExt]) -> None:
        """Take messages, in the order of their offsets."""

    def skip(self, next_offset: int) -> None:
        """There is nothing wanted before ``next_offset``."""

    def move(self, next_offset: int) -> None:
        """The queue does not have the offset that was asked for; it goes on at ``next_offset``."""


async def read_queue(
    puller: Puller,
    queue: MessageQueue,
    offset: int,
    subscription: Callable[[], SubscriptionData],
    inbox: Inbox,
) -> None:
    """Pull ``queue`` from ``offset`` on into ``inbox``, until cancelled or until the offset is moved."""
    failing = False
    while True:
        await inbox.wait_for_room()
        try:
            result = await puller.pull(queue, offset, subscription(), inbox.commit_offset())
        except ClientError as error:
            if isinstance(error, BrokerError) and error.code == ResponseCode.FLOW_CONTROL:
                await asyncio.sleep(FLOW_CONTROL_SECONDS)
                continue
            # A line for each queue and second of an outage would hide what else is logged.
            level = logging.DEBUG if failing else logging.WARNING
            log.log(level, "pull of %s failed, trying again: %s", queue, error)
            failing = True
            await asyncio.sleep(RETRY_SECONDS)
            await puller.doubt(queue)
        else:
            if failing:
                log.info("pull of %s works again", queue)
                failing = False
            if result.status is PullStatus.OFFSET_MOVED:
                log.warning("%s has no offset %d, it goes on at %d", queue, offset, result.next_offset)
                inbox.move(result.next_offset)
                return
            offset = result.next_offset
            if result.messages:
                inbox.put(result.messages)
            else:
                inbox.skip(offset)
