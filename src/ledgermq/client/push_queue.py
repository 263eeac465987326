"""One queue that a push consumer has been given: pulled, consumed, committed, until it is taken away.

A queue lives through *generations*. One begins at the committed offset, and ends when the broker moves the
offset, an operator resets it, or the lock of an ordered queue is lost; then the messages at hand are
forgotten, and what their listeners still say does not count. Each generation has a ProcessQueue of its own,
and its ``dropped`` is how everybody who holds a message of it learns of the end.

Rules of this file: the committed offset never passes a message that is not done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple

import msgspec

from ledgermq.client.callbacks import QueueInfo
from ledgermq.client.consume_stats import ConsumeStats
from ledgermq.client.errors import ClientError
from ledgermq.client.failed_messages import FailedMessages
from ledgermq.client.listening import Subscriptions, consume
from ledgermq.client.offsets import OffsetTable
from ledgermq.client.process_queue import ProcessQueue
from ledgermq.client.pulling import Puller, read_queue
from ledgermq.client.queues import MessageQueue
from ledgermq.client.start_offset import StartOffset
from ledgermq.message.model import MessageExt
from ledgermq.runtime.clock import now_ms

log: Final = logging.getLogger("ledgermq.client")

START_RETRY_SECONDS: Final = 3.0


class ConsumeLimits(msgspec.Struct, frozen=True):
    """How much one queue keeps at hand, and how long and how often a message is consumed."""

    cached_count_max: int
    cached_bytes_max: int
    offset_span_max: int
    timeout_seconds: float
    suspend_ms: int
    reconsume_times_max: int


class Consumption(NamedTuple):
    """What the queues of one consumer share."""

    puller: Puller
    subscriptions: Subscriptions
    offsets: OffsetTable
    start_offset: StartOffset
    failed: FailedMessages | None
    """None in broadcasting: what fails there is not tried again."""
    limits: ConsumeLimits
    stats: ConsumeStats
    spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class PushQueue:
    """What unordered and ordered queues have in common; an inbox of :func:`read_queue`."""

    def __init__(self, queue: MessageQueue, consumption: Consumption) -> None:
        self.queue = queue
        self.consumption = consumption
        self.messages = self._new_messages()
        """The current generation's."""
        self.stopping = False
        """No listener is called any more; those at work may finish, and what they say counts."""
        self.last_pull_ms = now_ms()
        self.last_consume_ms = now_ms()
        self.locked_ms = 0
        """When the broker last confirmed our lock; 0 without one, always so for unordered queues."""
        self._task: asyncio.Task[None] | None = None
        self._restart = asyncio.Event()
        self._restart_offset: int | None = None
        self._room = asyncio.Event()
        self._resumed = asyncio.Event()
        self._resumed.set()
        self._idle = asyncio.Event()
        self._idle.set()

    def start(self) -> None:
        """Begin to pull and consume."""
        self._task = self.consumption.spawn(self._run())

    async def stop(self, wait_seconds: float) -> None:
        """Pull no more, and give listeners at work ``wait_seconds`` to finish; then they do not count."""
        self.stopping = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        try:
            async with asyncio.timeout(wait_seconds):
                await self._idle.wait()
        except TimeoutError:
            log.info("listener of %s is still at work after %s s: not counted", self.queue, wait_seconds)
        self.messages.dropped = True
        self.consumption.puller.forget(self.queue)

    def restart(self, offset: int | None) -> None:
        """Begin a new generation at ``offset``; None: where the group's committed offset is."""
        self.messages.dropped = True
        self._restart_offset = offset
        if offset is not None:
            self.consumption.offsets.set(self.queue, offset)
        self._restart.set()

    def set_paused(self, paused: bool) -> None:
        """Stop pulling, or go on."""
        if paused:
            self._resumed.clear()
        else:
            self._resumed.set()

    def set_lock(self, locked: bool, at_ms: int) -> None:
        """The broker was asked at ``at_ms`` and said whether we have the queue's lock."""

    def info(self) -> QueueInfo:
        """How the queue is doing."""
        first, last = self.messages.offset_range()
        offset = self.consumption.offsets.get(self.queue)
        return QueueInfo(
            commit_offset=-1 if offset is None else offset,
            cached_msg_min_offset=first,
            cached_msg_max_offset=last,
            cached_msg_count=self.messages.count,
            cached_msg_size_in_mi_b=self.messages.cached_bytes >> 20,
            locked=self.locked_ms > 0,
            last_lock_timestamp=self.locked_ms,
            droped=self.messages.dropped,
            last_pull_timestamp=self.last_pull_ms,
            last_consume_timestamp=self.last_consume_ms,
        )

    def _new_messages(self) -> ProcessQueue:
        limits = self.consumption.limits
        return ProcessQueue(limits.cached_count_max, limits.cached_bytes_max, limits.offset_span_max)

    async def _run(self) -> None:
        while True:
            offset = await self._begin()
            # An operator may have reset the offset while it was asked for.
            if not self._restart.is_set():
                await self._live(offset)

    async def _begin(self) -> int:
        """The offset at which the next generation begins."""
        self._restart.clear()
        offset, self._restart_offset = self._restart_offset, None
        while offset is None:
            try:
                offset = await self.consumption.start_offset.find(self.queue)
            except ClientError as error:
                log.warning("where to begin %s is not known, trying again: %s", self.queue, error)
                await asyncio.sleep(START_RETRY_SECONDS)
        return offset

    async def _live(self, offset: int) -> None:
        """One generation, from ``offset`` until the restart."""
        self.messages = self._new_messages()
        self.consumption.offsets.set(self.queue, offset)
        self._begin_consuming()
        subscriptions, topic = self.consumption.subscriptions, self.queue.topic
        reading = asyncio.ensure_future(
            read_queue(self.consumption.puller, self.queue, offset, lambda: subscriptions.data(topic), self)
        )
        try:
            await self._restart.wait()
        finally:
            reading.cancel()
            await asyncio.wait((reading,))
            if not reading.cancelled() and reading.exception() is not None:
                log.error("pulling %s ended by a bug", self.queue, exc_info=reading.exception())

    def _begin_consuming(self) -> None:
        """Called when a generation has begun."""

    def _done(self, messages: list[MessageExt]) -> None:
        self.consumption.offsets.advance(self.queue, self.messages.remove(messages))
        self._room.set()

    async def _listen(self, messages: list[MessageExt]) -> Exception | None:
        """Have ``messages`` consumed; None when they are done."""
        shared = self.consumption
        begin_ms = now_ms()
        error = await consume(shared.subscriptions, messages, shared.limits.timeout_seconds)
        self.last_consume_ms = now_ms()
        elapsed_ms = self.last_consume_ms - begin_ms
        topic = messages[0].topic
        shared.stats.consumed(topic, len(messages), elapsed_ms, self.last_consume_ms, ok=error is None)
        return error

    # ---- the inbox of read_queue ----

    async def wait_for_room(self) -> None:
        """Return when more messages may be put."""
        await self._resumed.wait()
        while self.messages.is_full():
            self._room.clear()
            await self._room.wait()
        self.last_pull_ms = now_ms()

    def commit_offset(self) -> int | None:
        """What may be committed with the next pull: nothing when brokers do not keep the offsets."""
        return None if self.consumption.failed is None else self.consumption.offsets.get(self.queue)

    def put(self, messages: list[MessageExt]) -> None:
        """Take messages, in the order of their offsets."""
        raise NotImplementedError  # each kind of queue has its own

    def skip(self, next_offset: int) -> None:
        """There is nothing wanted before ``next_offset``."""
        # With messages at hand, the committed offset would pass some that are not done.
        if self.messages.count == 0:
            self.consumption.offsets.advance(self.queue, next_offset)

    def move(self, next_offset: int) -> None:
        """The queue goes on at ``next_offset``."""
        self.restart(next_offset)
