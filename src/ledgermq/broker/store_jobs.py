"""The store's blocking jobs, run on a worker one after another (see :mod:`ledgermq.store.message_store`)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Executor
from typing import Any, Final

from ledgermq.store.errors import StoreFatalError
from ledgermq.store.message_store import Job

log: Final = logging.getLogger("ledgermq.broker")


class StoreJobs:
    """``on_fatal`` hears of an error after which the node must stop."""

    def __init__(self, executor: Executor, on_fatal: Callable[[BaseException], None]) -> None:
        self._executor = executor
        self._on_fatal = on_fatal
        self._turn = asyncio.Lock()
        self._started: set[asyncio.Task[None]] = set()

    async def run(self, jobs: Iterable[Job]) -> None:
        """Return when all are done, in their order. Raises what a job raises; those behind it are left."""
        await self.see_through(self._run(jobs))

    async def see_through(self, work: Coroutine[Any, Any, None]) -> None:
        """Return when the work is done. It is done even if nobody waits any more: a handler is cancelled when
        its client disconnects."""
        await asyncio.shield(self._begin(work))

    def start(self, jobs: Iterable[Job]) -> None:
        """Begin them; errors are logged."""
        self._begin(self._run_logged(jobs))

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._started.add(task)
        task.add_done_callback(self._started.discard)
        return task

    async def _run(self, jobs: Iterable[Job]) -> None:
        async with self._turn:
            for job in jobs:
                try:
                    await asyncio.get_running_loop().run_in_executor(self._executor, job)
                except StoreFatalError as error:
                    self._on_fatal(error)
                    raise

    async def _run_logged(self, jobs: Iterable[Job]) -> None:
        try:
            await self._run(jobs)
        except Exception:
            log.exception("a job of the store failed")

    async def finish(self) -> None:
        """Wait for what was started."""
        while self._started:
            await asyncio.wait(self._started)
