"""What a client scenario runs against: a name server with one broker, whoever made them.

The scenarios stand in ``sending.py``, ``listening.py``, ``pulling.py`` and ``administration.py``. They run
here against ledgermq in this process, and in ``tests/interop/test_python_client.py`` against whoever is the
interop tests' target, so against the Java programs too.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ledgermq.client import AdminClient, ConsumeFrom, Message, MessageExt, Producer, PullConsumer, SendReceipt
from ledgermq.client.queues import MessageQueue

T = TypeVar("T")

WAIT_SECONDS = 30.0

_numbers = itertools.count(1)


class World:
    """The address of the name server, and names that no other scenario has."""

    def __init__(self, name_servers: str) -> None:
        self.name_servers = name_servers

    def unique(self, name: str) -> str:
        """A name that is new to the broker, whenever it was started."""
        return f"{name}-{time.time_ns():x}-{next(_numbers)}"

    async def new_topic(self, queue_count: int = 4) -> str:
        """A topic whose route is known."""
        topic = self.unique("py")
        async with AdminClient(self.name_servers) as admin:
            await admin.create_topic(topic, queue_count=queue_count)
            await self.wait_for_route(admin, topic)
        return topic

    async def wait_for_route(self, admin: AdminClient, topic: str) -> None:
        async def known() -> bool:
            return topic in await admin.topics()

        await eventually(known)

    async def send(self, topic: str, *bodies: bytes, tags: str | None = None) -> list[SendReceipt]:
        """Send messages, one after the other, to any queue."""
        async with Producer("senders", self.name_servers) as producer:
            return [await producer.send(Message(topic, body, tags=tags)) for body in bodies]

    async def fill(self, topic: str, count: int) -> dict[MessageQueue, list[bytes]]:
        """Put ``count`` messages into each queue; their bodies by queue, in order."""
        async with Producer("senders", self.name_servers) as producer:
            bodies: dict[MessageQueue, list[bytes]] = {}
            for queue in await producer.queues(topic):
                bodies[queue] = [f"{queue.queue_id}-{number}".encode() for number in range(count)]
                for body in bodies[queue]:
                    await producer.send(Message(topic, body), queue=queue)
            return bodies

    async def read_all(self, topic: str, count: int) -> list[MessageExt]:
        """The first ``count`` messages of all queues of ``topic``."""
        reader = PullConsumer(
            self.unique("reader"), self.name_servers, consume_from=ConsumeFrom.FIRST, auto_commit=False
        )
        async with reader:
            reader.assign(await reader.queues(topic))
            return await take(reader, count)


async def take(consumer: PullConsumer, count: int) -> list[MessageExt]:
    """``count`` messages of a pull consumer."""
    messages: list[MessageExt] = []
    async with asyncio.timeout(WAIT_SECONDS):
        while len(messages) < count:
            messages += await consumer.poll(1000, count - len(messages))
    return messages


async def eventually(look: Callable[[], Awaitable[T]], seconds: float = WAIT_SECONDS) -> T:
    """The first true value of ``look``."""
    async with asyncio.timeout(seconds):
        while True:
            value = await look()
            if value:
                return value
            await asyncio.sleep(0.02)


async def until(condition: Callable[[], bool], seconds: float = WAIT_SECONDS) -> None:
    """Return when ``condition`` holds."""

    async def look() -> bool:
        return condition()

    await eventually(look, seconds)


class Sink:
    """A listener that keeps what it gets."""

    def __init__(self) -> None:
        self.messages: list[MessageExt] = []

    async def __call__(self, message: MessageExt) -> None:
        self.messages.append(message)

    @property
    def bodies(self) -> list[bytes]:
        return [message.body for message in self.messages]

    async def wait(self, count: int, seconds: float = WAIT_SECONDS) -> None:
        await until(lambda: len(self.messages) >= count, seconds)
