"""Virtual time: a heap of what will happen.

Rules of this file: nothing here knows a real clock; events of one instant happen in the order in which they
were asked for, so a run is the same every time.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

Action = Callable[..., None]


class EventQueue:
    """``now_us`` is the time of the event that happens now, in microseconds since the run began."""

    def __init__(self) -> None:
        self.now_us = 0
        self.happened = 0
        self._sequence = 0
        self._heap: list[tuple[int, int, Action, tuple[Any, ...]]] = []

    def after(self, delay_us: int, action: Action, *args: Any) -> None:
        """``action(*args)`` happens ``delay_us`` from now."""
        self._sequence += 1
        heappush(self._heap, (self.now_us + delay_us, self._sequence, action, args))

    def step(self) -> None:
        """Let the next event happen."""
        self.now_us, _, action, args = heappop(self._heap)
        self.happened += 1
        action(*args)

    def run_until(self, end_us: int) -> None:
        """Let everything happen that is due up to ``end_us``."""
        heap = self._heap
        while heap and heap[0][0] <= end_us:
            self.now_us, _, action, args = heappop(heap)
            self.happened += 1
            action(*args)
        self.now_us = max(self.now_us, end_us)
