"""A queue whose messages are consumed side by side, and handed back to the broker when that fails."""

from __future__ import annotations

import asyncio
import logging
from typing import Final, NamedTuple

from ledgermq.client.listening import RetryLater
from ledgermq.client.process_queue import ProcessQueue
from ledgermq.client.push_queue import Consumption, PushQueue
from ledgermq.client.queues import MessageQueue
from ledgermq.message.model import MessageExt

log: Final = logging.getLogger("ledgermq.client")

KEPT_RETRY_SECONDS: Final = 5.0
"""When a failed message is consumed again that no broker took (Java: 5 s)."""


class Batch(NamedTuple):
    """Messages that wait for a worker, and the generation that they are of."""

    queue: UnorderedQueue
    generation: ProcessQueue
    messages: list[MessageExt]


class UnorderedQueue(PushQueue):
    """Its messages are consumed side by side, by the workers of the consumer."""

    def __init__(self, queue: MessageQueue, consumption: Consumption, work: asyncio.Queue[Batch]) -> None:
        super().__init__(queue, consumption)
        self._work = work
        self._at_work = 0

    def put(self, messages: list[MessageExt]) -> None:
        """Take messages, in the order of their offsets."""
        self.messages.put(messages)
        size = self.consumption.subscriptions.batch_count_max(self.queue.topic)
        for at in range(0, len(messages), size):
            self._work.put_nowait(Batch(self, self.messages, messages[at : at + size]))

    async def consume(self, batch: Batch) -> None:
        """Consume one batch of this queue; called by a worker."""
        if batch.generation.dropped or self.stopping:
            return
        self._at_work += 1
        self._idle.clear()
        try:
            await self._consume(batch)
        finally:
            self._at_work -= 1
            if self._at_work == 0:
                self._idle.set()

    async def _consume(self, batch: Batch) -> None:
        done, kept = batch.messages, list[MessageExt]()
        error = await self._listen(batch.messages)
        if error is not None and not batch.generation.dropped:
            done, kept = await self._hand_over(batch.messages, error)
        if batch.generation.dropped:
            return
        self._done(done)
        if kept:
            # No broker took them: they stay at hand, and the committed offset waits for them.
            retry = Batch(self, batch.generation, kept)
            asyncio.get_running_loop().call_later(KEPT_RETRY_SECONDS, self._work.put_nowait, retry)

    async def _hand_over(
        self, messages: list[MessageExt], error: Exception
    ) -> tuple[list[MessageExt], list[MessageExt]]:
        """Have failed messages come again: those that are done with here, and those that no broker took."""
        failed = self.consumption.failed
        if failed is None:
            log.warning("%d messages of %s failed and do not come again", len(messages), self.queue)
            return messages, []
        delay_level = error.delay_level if isinstance(error, RetryLater) else 0
        done: list[MessageExt] = []
        kept: list[MessageExt] = []
        for message in messages:
            if await failed.hand_over(self.queue, message, delay_level):
                done.append(message)
            else:
                message.reconsume_times += 1
                kept.append(message)
        return done, kept
