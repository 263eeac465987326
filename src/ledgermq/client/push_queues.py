"""The queues that a push consumer has at the moment: taken, locked, committed, given back."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from ledgermq.client.errors import ClientError
from ledgermq.client.group_calls import GroupCalls
from ledgermq.client.offset_store import OffsetStore
from ledgermq.client.ordered_queue import OrderedQueue
from ledgermq.client.push_queue import Consumption, PushQueue
from ledgermq.client.queues import MessageQueue
from ledgermq.client.session import Session
from ledgermq.client.unordered_queue import Batch, UnorderedQueue
from ledgermq.runtime.clock import now_ms

log: Final = logging.getLogger("ledgermq.client")

COMMIT_SECONDS: Final = 5
LOCK_SECONDS: Final = 20
ORDERED_LEAVE_SECONDS: Final = 20.0
"""How long a queue that is taken away keeps its lock for the listener at work (Java: 20 s)."""


class PushQueues:
    """``held`` are the queues that are ours. A queue that was taken away is not taken again before the
    listener at work on it is done and its lock is given back."""

    def __init__(
        self,
        calls: GroupCalls,
        store: OffsetStore,
        consumption: Consumption,
        *,
        concurrency_max: int,
        ordered: bool,
        needs_locks: bool,
    ) -> None:
        self.held: dict[MessageQueue, PushQueue] = {}
        self._leaving: dict[MessageQueue, asyncio.Task[None]] = {}
        self._calls = calls
        self._store = store
        self._consumption = consumption
        self._concurrency_max = concurrency_max
        self._ordered = ordered
        self._needs_locks = needs_locks
        self._work: asyncio.Queue[Batch] = asyncio.Queue()
        self._turns = asyncio.Semaphore(concurrency_max)
        self._paused = False

    def start(self, session: Session) -> None:
        """Begin the background work: committing, locking, consuming."""
        session.every(COMMIT_SECONDS, self.commit)
        if self._needs_locks:
            session.every(LOCK_SECONDS, self._renew_locks)
        if not self._ordered:
            for _ in range(self._concurrency_max):
                session.spawn(self._consume_work())

    async def apply(self, topic: str, share: list[MessageQueue]) -> bool:
        """Take the queues of ``topic`` in ``share`` and give back the others; False when some of them cannot
        be taken yet."""
        for queue in [queue for queue in self.held if queue.topic == topic and queue not in share]:
            self._give_back(queue)
        complete = True
        for queue in share:
            if queue in self._leaving:
                complete = False
            elif queue in self.held and self.held[queue].stopping:
                # Unsubscribed from and subscribed to again before the queue was given back.
                self._give_back(queue)
                complete = False
            elif queue not in self.held:
                log.info("%s is ours", queue)
                self.held[queue] = self._new_queue(queue)
                self.held[queue].start()
        if self._needs_locks:
            ours = [self.held[queue] for queue in share if queue in self.held]
            complete = await self._lock(queue for queue in ours if not queue.locked_ms) and complete
        return complete

    def stop_listening(self, topic: str) -> None:
        """Call no listener for ``topic`` any more; its queues are given back at the next rebalance."""
        for queue in self.held.values():
            if queue.queue.topic == topic:
                queue.stopping = True

    def set_paused(self, paused: bool) -> None:
        """Stop pulling, or go on."""
        self._paused = paused
        for queue in self.held.values():
            queue.set_paused(paused)

    async def commit(self, *, wait: bool = False) -> None:
        """Store the offsets of all queues; ``wait`` until they are stored."""
        await self._store.write(self._consumption.offsets.snapshot(), wait=wait)

    async def close(self, wait_seconds: float) -> None:
        """Give everything back; listeners at work have ``wait_seconds`` to finish."""
        stopping = [self._stop(queue, wait_seconds) for queue in self.held.values()]
        await asyncio.gather(*stopping, *self._leaving.values())
        self.held.clear()

    def _give_back(self, queue: MessageQueue) -> None:
        log.info("%s is not ours any more", queue)
        self._leaving[queue] = self._consumption.spawn(self._leave(self.held.pop(queue)))

    def _new_queue(self, queue: MessageQueue) -> PushQueue:
        made: PushQueue
        if self._ordered:
            made = OrderedQueue(queue, self._consumption, self._turns, needs_lock=self._needs_locks)
        else:
            made = UnorderedQueue(queue, self._consumption, self._work)
        made.set_paused(self._paused)
        return made

    async def _leave(self, queue: PushQueue) -> None:
        try:
            # Without locks the queue's next reader has begun already, so nothing is gained by waiting.
            await self._stop(queue, ORDERED_LEAVE_SECONDS if self._ordered else 0.0)
        finally:
            self._leaving.pop(queue.queue, None)

    async def _stop(self, queue: PushQueue, wait_seconds: float) -> None:
        """Stop, commit, unlock, in this order: who gets the lock next asks for the committed offset."""
        await queue.stop(wait_seconds)
        offset = self._consumption.offsets.get(queue.queue)
        if offset is not None:
            await self._store.write({queue.queue: offset}, wait=True)
            self._consumption.offsets.forget(queue.queue)
        if queue.locked_ms:
            try:
                await self._calls.unlock(queue.queue.broker_name, [queue.queue])
            except ClientError as error:
                log.info("%s not unlocked, its lock will expire: %s", queue.queue, error)

    async def _renew_locks(self) -> None:
        await self._lock(self.held.values())

    async def _lock(self, queues: Iterable[PushQueue]) -> bool:
        """Ask for the locks of ``queues``; whether we have all of them."""
        by_broker: dict[str, list[PushQueue]] = defaultdict(list)
        for queue in queues:
            by_broker[queue.queue.broker_name].append(queue)
        complete = True
        for broker_name, wanted in by_broker.items():
            asked_ms = now_ms()
            try:
                locked = await self._calls.lock(broker_name, [queue.queue for queue in wanted])
            except ClientError as error:
                # A lock that we have lasts until its time is over.
                log.warning("queues of broker %s not locked: %s", broker_name, error)
                complete = False
                continue
            for queue in wanted:
                queue.set_lock(queue.queue in locked, asked_ms)
                complete = complete and queue.queue in locked
        return complete

    async def _consume_work(self) -> None:
        while True:
            batch = await self._work.get()
            await batch.queue.consume(batch)
