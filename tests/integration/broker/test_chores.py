"""Chores, in virtual time."""

from __future__ import annotations

import asyncio
import logging

import pytest
from tests.integration.broker.virtual_time import run_virtually

from ledgermq.broker.chores import Chores


def test_each_has_its_own_pace_until_the_stop() -> None:
    async def test() -> None:
        chores = Chores()
        done: list[str] = []
        chores.every(1.0, lambda: done.append("a"))
        chores.every(2.5, lambda: done.append("b"))
        await asyncio.sleep(5.1)
        assert (done.count("a"), done.count("b")) == (5, 2)
        chores.stop()
        await asyncio.sleep(100)
        assert len(done) == 7

    run_virtually(test())


def test_one_that_fails_is_logged_and_done_again(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        chores = Chores()
        times: list[int] = []

        def fail() -> None:
            times.append(1)
            raise ValueError("broken")

        chores.every(1.0, fail)
        await asyncio.sleep(3.5)
        assert len(times) == 3
        chores.stop()

    with caplog.at_level(logging.ERROR, "ledgermq.broker"):
        run_virtually(test())
    assert caplog.text.count("a chore failed") == 3


def test_a_chore_may_stop_them_all() -> None:
    async def test() -> None:
        chores = Chores()
        times: list[int] = []

        def once() -> None:
            times.append(1)
            chores.stop()

        chores.every(1.0, once)
        await asyncio.sleep(10)
        assert times == [1]

    run_virtually(test())
