"""A queue whose messages are consumed one batch after the other, by one member of the group at a time.

Rules of this file: a listener is called only while the broker's lock is ours; of two generations never two
listeners are at work; a batch that fails is consumed again before what comes after it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from ledgermq.client.listening import RetryLater
from ledgermq.client.process_queue import ProcessQueue
from ledgermq.client.push_queue import Consumption, PushQueue
from ledgermq.client.queues import MessageQueue
from ledgermq.message.model import MessageExt
from ledgermq.runtime.clock import now_ms

log: Final = logging.getLogger("ledgermq.client")

LOCK_LIFE_MS: Final = 30_000
"""A lock not confirmed for so long is not relied on (Java: ``REBALANCE_LOCK_MAX_LIVE_TIME``)."""
BROKER_LOCK_LIFE_MS: Final = 60_000
"""For so long nobody else can have had a lock that was ours (Java's broker: the same)."""


class OrderedQueue(PushQueue):
    """Its messages are consumed one batch after the other, while this consumer has the queue's lock."""

    def __init__(
        self, queue: MessageQueue, consumption: Consumption, turns: asyncio.Semaphore, *, needs_lock: bool
    ) -> None:
        """``turns`` limits how many queues of the consumer are consumed at the same time."""
        super().__init__(queue, consumption)
        self._turns = turns
        self._needs_lock = needs_lock
        self._wake = asyncio.Event()
        """Set when whoever waits should look again: messages came, a lock, the end of the generation."""

    def set_lock(self, locked: bool, at_ms: int) -> None:
        """The broker was asked at ``at_ms`` and said whether we have the queue's lock."""
        lost = self.locked_ms > 0 and (not locked or at_ms - self.locked_ms > BROKER_LOCK_LIFE_MS)
        if lost:
            # Somebody else has, or may have had, the queue: go on where he leaves off.
            log.warning("the lock of %s was lost", self.queue)
            self.restart(None)
        self.locked_ms = at_ms if locked else 0
        self._wake.set()

    def put(self, messages: list[MessageExt]) -> None:
        """Take messages, in the order of their offsets."""
        self.messages.put(messages)
        self._wake.set()

    async def stop(self, wait_seconds: float) -> None:
        """Pull no more, and give the listener at work ``wait_seconds`` to finish; then it does not count."""
        self.stopping = True
        self._wake.set()
        await super().stop(wait_seconds)

    def restart(self, offset: int | None) -> None:
        """Begin a new generation at ``offset``; None: where the group's committed offset is."""
        super().restart(offset)
        self._wake.set()

    async def _begin(self) -> int:
        # The listener of an ended generation may still be at work; of two generations never two are.
        await self._idle.wait()
        # The offset is asked for under the lock: who had it before commits before he unlocks.
        while not self._has_lock():
            self._wake.clear()
            await self._wake.wait()
        return await super()._begin()

    def _begin_consuming(self) -> None:
        self.consumption.spawn(self._consume_generation(self.messages))

    def _is_over(self, generation: ProcessQueue) -> bool:
        return generation.dropped or self.stopping

    async def _consume_generation(self, generation: ProcessQueue) -> None:
        while not self._is_over(generation):
            count = self.consumption.subscriptions.batch_count_max(self.queue.topic)
            batch = generation.peek(count) if self._has_lock() else []
            if not batch:
                self._wake.clear()
                await self._wake.wait()
                continue
            async with self._turns:
                if self._is_over(generation) or not self._has_lock():
                    continue
                self._idle.clear()
                try:
                    suspend_ms = await self._consume(generation, batch)
                finally:
                    self._idle.set()
            if suspend_ms:
                await asyncio.sleep(suspend_ms / 1000)

    async def _consume(self, generation: ProcessQueue, batch: list[MessageExt]) -> int:
        """Consume ``batch``; how long to wait before the queue goes on."""
        error = await self._listen(batch)
        if error is not None and not generation.dropped and not await self._give_up(generation, batch):
            suspend_ms = error.suspend_ms if isinstance(error, RetryLater) else None
            return self.consumption.limits.suspend_ms if suspend_ms is None else suspend_ms
        if not generation.dropped:
            self._done(batch)
        return 0

    async def _give_up(self, generation: ProcessQueue, batch: list[MessageExt]) -> bool:
        """Send what failed too often to the dead-letter topic; whether that was all of ``batch``."""
        failed = self.consumption.failed
        given_up: list[MessageExt] = []
        for message in batch:
            too_often = message.reconsume_times >= self.consumption.limits.reconsume_times_max
            if too_often and (failed is None or await failed.send_anew(message)):
                given_up.append(message)
            else:
                message.reconsume_times += 1
        if given_up and not generation.dropped:
            self._done(given_up)
        return len(given_up) == len(batch)

    def _has_lock(self) -> bool:
        return not self._needs_lock or now_ms() - self.locked_ms <= LOCK_LIFE_MS
