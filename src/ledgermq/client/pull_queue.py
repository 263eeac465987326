"""One queue that a pull consumer has: pulled ahead from its position, until it is stopped."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from ledgermq.client.callbacks import QueueInfo
from ledgermq.client.errors import ClientError
from ledgermq.client.prefetch import Prefetch
from ledgermq.client.pulling import Puller, read_queue
from ledgermq.client.queues import MessageQueue
from ledgermq.client.session import Session
from ledgermq.client.start_offset import StartOffset
from ledgermq.client.subscription import SubscriptionData
from ledgermq.message.model import MessageExt
from ledgermq.runtime.clock import now_ms

log: Final = logging.getLogger("ledgermq.client")

START_RETRY_SECONDS: Final = 3.0


class PullQueue:
    """An inbox of :func:`read_queue`; ``prefetch`` is None until it is known where to begin."""

    def __init__(
        self,
        queue: MessageQueue,
        subscription: Callable[[], SubscriptionData],
        arrived: asyncio.Event,
        *,
        count_max: int,
        bytes_max: int,
    ) -> None:
        """``arrived`` is set when there is something to take."""
        self.queue = queue
        self.prefetch: Prefetch | None = None
        self.paused = False
        self._subscription = subscription
        self._arrived = arrived
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._last_pull_ms = 0
        self._room = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self, session: Session, puller: Puller, start_offset: StartOffset, offset: int | None) -> None:
        """Begin at ``offset``; None: where the group's committed offset is. Ends what was begun before."""
        self.stop(puller)
        self.prefetch = None
        self._task = session.spawn(self._run(puller, start_offset, offset))

    def stop(self, puller: Puller) -> None:
        """Pull no more."""
        if self._task is not None:
            self._task.cancel()
            puller.forget(self.queue)

    def take(self, count: int) -> list[MessageExt]:
        """Hand out at most ``count`` messages."""
        if self.prefetch is None or self.paused:
            return []
        taken = self.prefetch.take(count)
        if taken:
            self._room.set()
        return taken

    def info(self) -> QueueInfo:
        """How the queue is doing."""
        info = QueueInfo(last_pull_timestamp=self._last_pull_ms)
        if self.prefetch is not None:
            info.commit_offset = self.prefetch.done
            info.cached_msg_count = len(self.prefetch)
            info.cached_msg_size_in_mi_b = self.prefetch.cached_bytes >> 20
        return info

    async def _run(self, puller: Puller, start_offset: StartOffset, offset: int | None) -> None:
        while offset is None:
            try:
                offset = await start_offset.find(self.queue)
            except ClientError as error:
                log.warning("where to begin %s is not known, trying again: %s", self.queue, error)
                await asyncio.sleep(START_RETRY_SECONDS)
        while True:
            self.prefetch = Prefetch(offset, self._count_max, self._bytes_max)
            await read_queue(puller, self.queue, offset, self._subscription, self)
            offset = self.prefetch.position

    # ---- the inbox of read_queue ----

    async def wait_for_room(self) -> None:
        """Return when more messages may be put."""
        while self.prefetch is not None and self.prefetch.is_full():
            self._room.clear()
            await self._room.wait()
        self._last_pull_ms = now_ms()

    def commit_offset(self) -> int | None:
        """Offsets are committed apart, when the application has dealt with the messages."""
        return None

    def put(self, messages: list[MessageExt]) -> None:
        """Take messages, in the order of their offsets."""
        if self.prefetch is not None:
            self.prefetch.put(messages)
            self._arrived.set()

    def skip(self, next_offset: int) -> None:
        """There is nothing wanted before ``next_offset``."""
        if self.prefetch is not None:
            self.prefetch.skip(next_offset)

    def move(self, next_offset: int) -> None:
        """The queue goes on at ``next_offset``, and what was pulled ahead is forgotten."""
        if self.prefetch is not None:
            self.prefetch = Prefetch(next_offset, self._count_max, self._bytes_max)
