"""What is done from time to time, each thing at its own pace."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

log: Final = logging.getLogger("ledgermq.broker")


class Chores:
    """Repeats actions until stopped. An action that fails is logged and repeated all the same: a chore that
    silently ended would be noticed only when the disk is full."""

    def __init__(self) -> None:
        self._timers: dict[int, asyncio.TimerHandle] = {}

    def every(self, seconds: float, action: Callable[[], None]) -> None:
        self._arm(len(self._timers), seconds, action)

    def _arm(self, number: int, seconds: float, action: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        self._timers[number] = loop.call_later(seconds, self._run, number, seconds, action)

    def _run(self, number: int, seconds: float, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception:
            log.exception("a chore failed: %s", getattr(action, "__qualname__", action))
        if number in self._timers:
            self._arm(number, seconds, action)

    def stop(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
