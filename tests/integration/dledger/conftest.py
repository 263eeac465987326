"""Runs a scenario on uvloop, as the command does; what the loop complains of fails the test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

Run = Callable[[Coroutine[Any, Any, None]], None]

SECONDS_MAX = 60


@pytest.fixture
def run() -> Run:
    complaints: list[dict[str, Any]] = []

    def run(scenario: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.get_loop().set_exception_handler(lambda loop, context: complaints.append(context))
            runner.run(asyncio.wait_for(scenario, SECONDS_MAX))
        assert not complaints

    return run
