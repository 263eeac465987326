"""Sending messages."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from typing import Final, Self

from ledgermq.client.errors import IllegalMessageError
from ledgermq.client.names import check_group
from ledgermq.client.queues import MessageQueue
from ledgermq.client.sender import Sender
from ledgermq.client.sending import (
    Outgoing,
    QueueSelector,
    SendReceipt,
    check_message,
    make_batch,
    make_outgoing,
    sharded_queue,
)
from ledgermq.client.session import Session
from ledgermq.client.settings import require_positive
from ledgermq.message.compression import Compression
from ledgermq.message.ids import UniqueKeys
from ledgermq.message.model import Message
from ledgermq.runtime.clock import now_ms

BODY_BYTES_MAX: Final = 4 * 1024 * 1024
"""The broker's own limit unless it is configured otherwise (``maxMessageSize``)."""
COMPRESS_BYTES_MIN: Final = 4096


class Producer:
    """Sends messages; many tasks may share one.

    ```python
    async with Producer(group="orders", name_servers="127.0.0.1:9876") as producer:
        receipt = await producer.send(Message("topic", b"body", tags="a", keys=["k"]))
    ```
    """

    def __init__(
        self,
        group: str,
        name_servers: str | Sequence[str],
        *,
        timeout_ms: int = 3000,
        attempts_max: int = 3,
        compression: Compression | None = Compression.ZLIB,
        compress_bytes_min: int = COMPRESS_BYTES_MIN,
        body_bytes_max: int = BODY_BYTES_MAX,
        instance_name: str | None = None,
    ) -> None:
        """``name_servers`` is ``host:port;host:port`` or a list.

        ``timeout_ms`` is for a whole send with all its attempts, ``attempts_max`` how many brokers are tried;
        bodies of ``compress_bytes_min`` or more are compressed unless ``compression`` is None; all consumers
        since RocketMQ 5.0 read all kinds, older ones ZLIB alone. ``body_bytes_max`` is before compression.
        Raises ValueError, or IllegalNameError for ``group``.
        """
        check_group(group)
        require_positive(timeout_ms=timeout_ms, attempts_max=attempts_max, body_bytes_max=body_bytes_max)
        self.group = group
        self._timeout_ms = timeout_ms
        self._compression = compression
        self._compress_bytes_min = compress_bytes_min
        self._body_bytes_max = body_bytes_max
        self._session = Session(name_servers, instance_name=instance_name)
        self._session.producer_group = group
        self._sender = Sender(self._session, group, attempts_max)
        self._unique_keys: UniqueKeys | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Reach a name server. Raises UnreachableError when there is none."""
        await self._session.open()
        self._unique_keys = UniqueKeys(self._session.local_ip, os.getpid(), secrets.randbits(32))

    async def close(self) -> None:
        """Leave the group and close the connections."""
        await self._session.close()

    async def queues(self, topic: str) -> list[MessageQueue]:
        """The queues of ``topic`` that can be written. Raises TopicNotFoundError, UnreachableError."""
        self._session.check_open()
        return await self._sender.queues(topic)

    async def send(
        self,
        message: Message,
        *,
        queue: MessageQueue | QueueSelector | None = None,
        timeout_ms: int | None = None,
    ) -> SendReceipt:
        """Send ``message`` and wait until the broker has stored it.

        Without ``queue`` and sharding key it may go to any queue, and other brokers are tried when one fails;
        with either there is one attempt, because another queue would break the order. ``queue`` is one of
        :meth:`queues` or a function that picks one.

        Raises IllegalMessageError before anything is sent; BrokerError when the broker refuses;
        UnreachableError; RequestTimeoutError, after which the message may be stored or not;
        TopicNotFoundError.
        """
        outgoing = self._prepare(message)
        return await self._send(outgoing, message, queue, timeout_ms)

    async def send_batch(
        self,
        messages: Sequence[Message],
        *,
        queue: MessageQueue | QueueSelector | None = None,
        timeout_ms: int | None = None,
    ) -> SendReceipt:
        """Send messages of one topic in one request; they are stored in one queue, all or none.

        Bodies are not compressed. Raises as :meth:`send`.
        """
        if not messages:
            raise IllegalMessageError("a batch has at least one message")
        keys = [self._checked_key(message) for message in messages]
        outgoing = make_batch(messages, keys, self._body_bytes_max)
        return await self._send(outgoing, messages[0], queue, timeout_ms)

    async def send_oneway(
        self, message: Message, *, queue: MessageQueue | QueueSelector | None = None
    ) -> None:
        """Send ``message`` without waiting for an answer: fastest, and it may be lost unnoticed.

        Raises IllegalMessageError, UnreachableError, TopicNotFoundError.
        """
        outgoing = self._prepare(message)
        await self._sender.send_oneway(outgoing, await self._fixed_queue(message, queue))

    async def _send(
        self,
        outgoing: Outgoing,
        message: Message,
        queue: MessageQueue | QueueSelector | None,
        timeout_ms: int | None,
    ) -> SendReceipt:
        timeout_ms = self._timeout_ms if timeout_ms is None else timeout_ms
        fixed = await self._fixed_queue(message, queue)
        if fixed is not None:
            return await self._sender.send_to(outgoing, fixed, timeout_ms)
        return await self._sender.send_anywhere(outgoing, timeout_ms)

    async def _fixed_queue(
        self, message: Message, queue: MessageQueue | QueueSelector | None
    ) -> MessageQueue | None:
        """The one queue that ``message`` must go to, None when any will do."""
        if isinstance(queue, MessageQueue):
            fixed = queue
        elif queue is not None:
            fixed = queue(await self._sender.queues(message.topic), message)
            if not isinstance(fixed, MessageQueue):
                raise TypeError(f"the function that picks a queue returned {fixed!r}, which is none")
        elif message.sharding_key is not None:
            fixed = sharded_queue(await self._sender.queues(message.topic), message.sharding_key)
        else:
            return None
        if fixed.topic != message.topic:
            raise IllegalMessageError(f"queue {fixed} is not of the message's topic {message.topic}")
        return fixed

    def _prepare(self, message: Message) -> Outgoing:
        key = self._checked_key(message)
        return make_outgoing(message, key, self._compression, self._compress_bytes_min)

    def _checked_key(self, message: Message) -> str:
        """A unique key for ``message``, which may be sent."""
        self._session.check_open()
        check_message(message, self._body_bytes_max)
        assert self._unique_keys is not None  # made by start()
        return self._unique_keys.next(now_ms())
