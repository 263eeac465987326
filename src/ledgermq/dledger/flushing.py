"""When written entries become durable, and who hears of it.

quorum-fsync: whatever is written is fsynced at once; what comes during an fsync has the next one together.
page-cache: written counts as durable, and an fsync follows within ``flushFileInterval``, as in Java.

Rules of this file: it is compiled; one fsync at a time; an fsync that fails is the end: the kernel may have
dropped the pages, and no later one can be believed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ledgermq.dledger.ledger import Ledger
from ledgermq.dledger.settings import FlushPolicy
from ledgermq.dledger.workers import Worker


class Flushing:
    """Flushes ``ledger`` on ``worker``; ``on_persisted`` hears (index, term) of the last durable entry."""

    def __init__(
        self,
        ledger: Ledger,
        worker: Worker,
        policy: FlushPolicy,
        interval_ms: int,
        on_persisted: Callable[[int, int], None],
    ) -> None:
        self._ledger = ledger
        self._worker = worker
        self.written_counts = policy == "page-cache"
        """Whether an entry counts as durable when it is written."""
        self._interval_ms = interval_ms
        self._on_persisted = on_persisted
        self._running = False
        self._timer: asyncio.TimerHandle | None = None

    def flush(self) -> None:
        """Something may have been written: see that it is fsynced."""
        if self._running or not self._ledger.dirty:
            return
        if not self.written_counts:
            self._begin()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._interval_ms / 1000, self._on_time)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_time(self) -> None:
        self._timer = None
        if not self._running and self._ledger.dirty:
            self._begin()

    def _begin(self) -> None:
        self._running = True
        self._worker.run(self._ledger.flush, self._flushed)

    def _flushed(self, last: tuple[int, int]) -> None:
        self._running = False
        self._on_persisted(*last)
