"""Sends messages over a session: finds the queue, asks its broker, tries another one when that helps.

What a producer does for its application, a consumer does for messages that it hands to the retry topic.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from ledgermq.client.broker_health import BrokerHealth
from ledgermq.client.connections import answer_header
from ledgermq.client.errors import (
    BrokerError,
    ClientError,
    RequestTimeoutError,
    TopicNotFoundError,
    UnreachableError,
)
from ledgermq.client.queues import MessageQueue
from ledgermq.client.routes import limit_queues, publish_queues
from ledgermq.client.sending import (
    RETRY_CODES,
    STORED_CODES,
    Outgoing,
    RoundRobin,
    SendFields,
    SendReceipt,
    read_receipt,
    send_command,
)
from ledgermq.client.session import Session
from ledgermq.message.names import AUTO_CREATE_TOPIC
from ledgermq.remoting.broker_headers import SendMessageReply
from ledgermq.remoting.command import Command
from ledgermq.runtime.clock import monotonic_ms, now_ms

log: Final = logging.getLogger("ledgermq.client")

AUTO_CREATED_QUEUES: Final = 4
"""How many queues a broker gives a topic that it creates for us (Java: ``defaultTopicQueueNums``)."""


class Sender:
    """Sends for one group."""

    def __init__(self, session: Session, group: str, attempts_max: int) -> None:
        """``attempts_max`` is how many brokers are tried for a message that may go to any queue."""
        self._session = session
        self._group = group
        self._attempts_max = attempts_max
        self._health = BrokerHealth()
        self._turns: dict[str, RoundRobin] = {}

    async def queues(self, topic: str) -> list[MessageQueue]:
        """The queues of ``topic`` that can be written. Raises TopicNotFoundError."""
        try:
            queues = publish_queues(topic, await self._session.routes.get(topic))
            if not queues:
                # Asked while a group was without a leader; it has one before the next refresh of all routes.
                queues = publish_queues(topic, await self._session.routes.refresh(topic))
        except TopicNotFoundError:
            queues = await self._queues_to_be_created(topic)
        if not queues:
            raise TopicNotFoundError(f"topic {topic} has no queue that can be written")
        return queues

    async def _queues_to_be_created(self, topic: str) -> list[MessageQueue]:
        """Where a broker that creates topics by itself will put ``topic``."""
        try:
            pattern = await self._session.routes.get(AUTO_CREATE_TOPIC)
        except TopicNotFoundError:
            raise TopicNotFoundError(
                f"topic {topic} does not exist, and no broker creates topics by itself"
            ) from None
        return publish_queues(topic, limit_queues(pattern, AUTO_CREATED_QUEUES))

    async def send_to(self, outgoing: Outgoing, queue: MessageQueue, timeout_ms: int) -> SendReceipt:
        """Store ``outgoing`` in this very queue, in one attempt. Raises ClientError."""
        try:
            return await self._attempt(outgoing, queue, timeout_ms)
        except ClientError as error:
            self._doubt(outgoing.topic, error)
            raise

    async def _attempt(self, outgoing: Outgoing, queue: MessageQueue, timeout_ms: int) -> SendReceipt:
        address = await self._address(queue)
        command = self._command(outgoing, queue)
        begin_ms = monotonic_ms()
        try:
            answer = await self._session.connections.ask_broker(address, command, timeout_ms, STORED_CODES)
        except ClientError:
            self._health.record(queue.broker_name, monotonic_ms() - begin_ms, monotonic_ms(), failed=True)
            raise
        self._health.record(queue.broker_name, monotonic_ms() - begin_ms, monotonic_ms())
        reply = answer_header(SendMessageReply, answer, address, command.code)
        return read_receipt(outgoing, queue, answer.code, reply)

    async def send_anywhere(self, outgoing: Outgoing, timeout_ms: int) -> SendReceipt:
        """Store ``outgoing`` in any queue of its topic, trying other brokers within ``timeout_ms``.

        Raises the last attempt's error. A message may be stored twice when an answer was lost.
        """
        deadline_ms = monotonic_ms() + timeout_ms
        tried: list[str] = []
        while True:
            queue = self._choose(outgoing.topic, await self.queues(outgoing.topic), tried)
            tried.append(queue.broker_name)
            try:
                return await self._attempt(outgoing, queue, max(1, deadline_ms - monotonic_ms()))
            except (BrokerError, UnreachableError, RequestTimeoutError) as error:
                left_ms = deadline_ms - monotonic_ms()
                if _is_refusal(error) or len(tried) >= self._attempts_max or left_ms <= 0:
                    if len(tried) > 1:
                        error.add_note(f"attempt {len(tried)}; brokers tried: {', '.join(tried)}")
                    self._doubt(outgoing.topic, error)
                    raise
                log.info("send to %s failed, another broker is tried: %s", queue, error)
            await self._refresh(outgoing.topic, left_ms)

    async def send_oneway(self, outgoing: Outgoing, queue: MessageQueue | None) -> None:
        """Send without an answer, to ``queue`` or to any. Raises UnreachableError."""
        if queue is None:
            queue = self._choose(outgoing.topic, await self.queues(outgoing.topic), [])
        address = await self._address(queue)
        await self._session.connections.tell_broker(address, self._command(outgoing, queue))

    async def _address(self, queue: MessageQueue) -> str:
        routes = self._session.routes
        try:
            return await routes.address(queue)
        except TopicNotFoundError:
            return await routes.address(MessageQueue(AUTO_CREATE_TOPIC, queue.broker_name, queue.queue_id))

    def _command(self, outgoing: Outgoing, queue: MessageQueue) -> Command:
        fields = SendFields(AUTO_CREATE_TOPIC, AUTO_CREATED_QUEUES, now_ms())
        return send_command(outgoing, queue, self._group, fields)

    def _choose(self, topic: str, queues: Sequence[MessageQueue], tried: Sequence[str]) -> MessageQueue:
        turn = self._turns.get(topic)
        if turn is None:
            turn = self._turns[topic] = RoundRobin(self._health, secrets.randbelow(1 << 16))
        return turn.choose(queues, monotonic_ms(), tried[-1] if tried else None)

    def _doubt(self, topic: str, error: ClientError) -> None:
        """Nothing is tried again here, but whoever sends next should find who leads by then."""
        if not _is_refusal(error):
            self._session.spawn(self._session.routes.doubt(topic))

    async def _refresh(self, topic: str, timeout_ms: int) -> None:
        """A broker failed: its route may have changed since it was fetched."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_ms / 1000):
                await self._session.routes.doubt(topic)


def _is_refusal(error: ClientError) -> bool:
    """Whether another broker would say the same."""
    return isinstance(error, BrokerError) and error.code not in RETRY_CODES
