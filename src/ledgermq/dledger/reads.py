"""Linearizable reads by read index (Raft thesis, 6.4).

A read notes the commit index of its leader and waits until a round of heartbeats, sent after it came, has
been answered by a quorum: then no newer leader had committed anything before the read began.

Rules of this file: it is compiled; pure; reads leave in the order in which they came.
"""

from __future__ import annotations

from collections import deque

from ledgermq.dledger.messages import ReadReady


class Reads:
    """The reads of one leader's term. Rounds count from 1."""

    def __init__(self) -> None:
        self._new: list[int] = []
        self._waiting: deque[tuple[int, int, int]] = deque()
        """(round, token, read index)"""

    def __len__(self) -> int:
        return len(self._new) + len(self._waiting)

    def add(self, token: int) -> None:
        self._new.append(token)

    def wants_round(self) -> bool:
        """Whether reads came since the last round began."""
        return bool(self._new)

    def begin_round(self, number: int, commit_index: int) -> None:
        """The heartbeats of round ``number`` leave after this: the new reads wait for their answers."""
        self._waiting.extend((number, token, commit_index) for token in self._new)
        self._new.clear()

    def confirmed(self, number: int) -> list[ReadReady]:
        """A quorum has answered round ``number`` or a later one."""
        ready: list[ReadReady] = []
        while self._waiting and self._waiting[0][0] <= number:
            _, token, index = self._waiting.popleft()
            ready.append(ReadReady(token, index))
        return ready

    def drain(self) -> list[int]:
        """The tokens of all reads, which cannot be served any more."""
        tokens = [token for _, token, _ in self._waiting] + self._new
        self._waiting.clear()
        self._new.clear()
        return tokens
