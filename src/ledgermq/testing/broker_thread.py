"""The in-process broker for tests without an event loop: it runs on a thread of its own.

The client calls here are those that a test needs to set up and to look; a service under test has its own.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import uvloop

from ledgermq.client import AdminClient, ConsumeFrom, Message, MessageExt, Producer, PullConsumer, SendReceipt
from ledgermq.testing.local_broker import LocalBroker

T = TypeVar("T")

GROUP: Final = "ledgermq_testing"
CALL_SECONDS_MAX: Final = 30


class BrokerThread:
    """``with BrokerThread(tmp_path) as broker:``; the pytest fixture ``rocketmq`` is one."""

    def __init__(self, folder: str | Path, settings: Mapping[str, str] | None = None) -> None:
        """As for :class:`LocalBroker`."""
        self.broker = LocalBroker(folder, settings)
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ledgermq-broker", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._run(self.broker.start())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._run(self.broker.stop())
        finally:
            self._end()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of ``work``, run on the broker's thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(CALL_SECONDS_MAX)

    @property
    def name_server(self) -> str:
        """``host:port`` for clients."""
        return self.broker.name_server

    @property
    def address(self) -> str:
        """``host:port`` of the broker."""
        return self.broker.address

    def restart(self) -> None:
        """Stop and start again, with the same data at the same addresses."""
        self._run(self.broker.stop())
        self._run(self.broker.start())

    def create_topic(self, topic: str, *, queue_count: int = 4, ordered: bool = False) -> None:
        """Create ``topic``. Raises ClientError."""

        async def work() -> None:
            async with AdminClient(self.name_server) as admin:
                await admin.create_topic(topic, queue_count=queue_count, ordered=ordered)

        self._run(work())

    def send(self, message: Message) -> SendReceipt:
        """Send ``message``. Raises ClientError."""

        async def work() -> SendReceipt:
            async with Producer(GROUP, self.name_server) as producer:
                return await producer.send(message)

        return self._run(work())

    def messages(self, topic: str) -> list[MessageExt]:
        """What ``topic`` holds now, in the order it was stored; empty when there is no such topic.

        Raises ClientError.
        """
        return self._run(self._messages(topic))

    async def _messages(self, topic: str) -> list[MessageExt]:
        async with AdminClient(self.name_server) as admin:
            if topic not in await admin.topics():
                return []
            status = await admin.topic_status(topic)
        filled = {
            queue: offsets for queue, offsets in status.items() if offsets.max_offset > offsets.min_offset
        }
        missing = sum(offsets.max_offset - offsets.min_offset for offsets in filled.values())
        found: list[MessageExt] = []
        consumer = PullConsumer(GROUP, self.name_server, consume_from=ConsumeFrom.FIRST, auto_commit=False)
        async with consumer:
            consumer.assign(filled)
            for queue in filled:
                await consumer.seek_to_begin(queue)
            while len(found) < missing:
                found += await consumer.poll()
        return sorted(found, key=lambda message: message.log_offset)
