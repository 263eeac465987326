"""Jobs of the store: one after another, whoever waits for them."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from ledgermq.broker.store_jobs import StoreJobs
from ledgermq.store.errors import StoreError


def ignored(error: BaseException) -> None:
    pass


def test_jobs_go_on_one_at_a_time_when_nobody_waits_any_more() -> None:
    async def test() -> None:
        begun, may_end = threading.Event(), threading.Event()
        done: list[str] = []

        def slow() -> None:
            begun.set()
            assert may_end.wait(10)
            done.append("slow")

        with ThreadPoolExecutor(2) as executor:
            jobs = StoreJobs(executor, ignored)
            waiting = asyncio.create_task(jobs.run([slow, lambda: done.append("second")]))
            await asyncio.to_thread(begun.wait, 10)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            others = asyncio.create_task(jobs.run([lambda: done.append("others")]))
            await asyncio.sleep(0)
            await asyncio.to_thread(lambda: None)  # whatever may run beside has run
            assert done == []
            may_end.set()
            await others
            assert done == ["slow", "second", "others"]

    asyncio.run(test())


def test_what_fails_is_told_to_who_waits_and_holds_up_no_stop() -> None:
    async def test() -> None:
        def failing() -> None:
            raise StoreError("no")

        with ThreadPoolExecutor(1) as executor:
            jobs = StoreJobs(executor, ignored)
            waiting = asyncio.create_task(jobs.run([failing]))
            await asyncio.sleep(0)
            await jobs.finish()
            with pytest.raises(StoreError):
                await waiting

    asyncio.run(test())
