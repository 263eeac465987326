"""Pulls that found nothing and wait for a message (Java: ``PullRequestHoldService``).

A parked pull hangs on its queue's number, so a message that arrives wakes those who wait for that queue and
nobody else, and on the second in which it ends, so that time costs only those whose time has come. Nothing
scans the whole table.

Rules of this file: no clock, no I/O; whoever parks brings the time, whoever wakes gets the pulls back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from ledgermq.runtime.limits import PARKED_MAX, PARKED_MS_MAX

P = TypeVar("P")
Q = TypeVar("Q")


class ParkedPulls(Generic[Q, P]):
    """Pulls ``P`` by the queue ``Q`` they wait for and by the second in which their wait ends."""

    def __init__(self) -> None:
        self._by_queue: dict[Q, dict[P, int]] = {}
        """Each queue's waiting pulls, each with its second; no queue stands here without a pull."""
        self._by_second: dict[int, dict[P, Q]] = {}
        self._next_second = 0
        self.count = 0

    def park(self, queue: Q, pull: P, now_ms: int, wait_ms: int) -> bool:
        """Keep ``pull`` until :meth:`wake` or :meth:`expire` gives it back; False when the table is full."""
        if self.count >= PARKED_MAX:
            return False
        second = (now_ms + min(wait_ms, PARKED_MS_MAX) + 999) // 1000
        if not self._by_second:
            self._next_second = now_ms // 1000
        self._by_queue.setdefault(queue, {})[pull] = second
        self._by_second.setdefault(second, {})[pull] = queue
        self.count += 1
        return True

    def queues(self) -> list[Q]:
        """Those that are waited for."""
        return list(self._by_queue)

    def waits(self, queue: Q) -> bool:
        return queue in self._by_queue

    def wake(self, queue: Q, serve: Callable[[Q, P], bool]) -> None:
        """Offer the pulls of ``queue`` to ``serve``; those it answers (True) leave the table."""
        pulls = self._by_queue.get(queue)
        if pulls is None:
            return
        for pull in list(pulls):
            if serve(queue, pull):
                self._remove(queue, pull)

    def _remove(self, queue: Q, pull: P) -> None:
        pulls = self._by_queue[queue]
        second = pulls.pop(pull)
        if not pulls:
            del self._by_queue[queue]
        ending = self._by_second[second]
        del ending[pull]
        if not ending:
            del self._by_second[second]
        self.count -= 1

    def expire(self, now_ms: int) -> list[tuple[Q, P]]:
        """The pulls whose wait has ended, taken out of the table. Call it once a second."""
        ended: list[tuple[Q, P]] = []
        second = now_ms // 1000
        while self._next_second <= second and self._by_second:
            for pull, queue in list(self._by_second.get(self._next_second, {}).items()):
                self._remove(queue, pull)
                ended.append((queue, pull))
            self._next_second += 1
        return ended
