"""Where a member's disk work runs, so that a slow disk never stops the loop.

Rules of this file: what is given comes back on the loop, as a result or as an error, never both and never
after ``close``; one ``Worker`` with one thread does its work in the order in which it was given.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

T = TypeVar("T")

log: Final = logging.getLogger("ledgermq.dledger")


class Worker:
    """Threads for one kind of disk work; ``on_error`` hears of work that failed without its own listener."""

    def __init__(self, name: str, threads: int, on_error: Callable[[BaseException], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._on_error = on_error
        self._pending: set[asyncio.Future[Any]] = set()
        self._closed = False

    def run(
        self,
        work: Callable[[], T],
        then: Callable[[T], None],
        failed: Callable[[BaseException], None] | None = None,
    ) -> None:
        """Do ``work`` on a thread, then call ``then`` with its result, or ``failed`` with its error."""
        if self._closed:
            return
        future: asyncio.Future[T] = self._loop.run_in_executor(self._executor, work)
        self._pending.add(future)
        future.add_done_callback(lambda done: self._done(done, then, failed))

    def _done(
        self,
        future: asyncio.Future[T],
        then: Callable[[T], None],
        failed: Callable[[BaseException], None] | None,
    ) -> None:
        self._pending.discard(future)
        if future.cancelled():
            return
        error = future.exception()
        if self._closed:
            return
        try:
            if error is None:
                then(future.result())
            else:
                (failed or self._on_error)(error)
        except Exception as bug:  # noqa: BLE001 - what came of it is lost: the owner must not go on without it
            self._on_error(bug)

    async def close(self, seconds_max: float) -> bool:
        """Begin nothing more, and wait for what is under way; False when that takes too long."""
        self._closed = True
        self._executor.shutdown(wait=False, cancel_futures=True)
        pending = {future for future in self._pending if not future.done()}
        if not pending:
            return True
        _, late = await asyncio.wait(pending, timeout=seconds_max)
        if late:
            log.warning("disk work of %s has not ended within %s s", self._executor, seconds_max)
        return not late
