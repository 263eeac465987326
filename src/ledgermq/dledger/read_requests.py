"""Linearizable reads of clients, from their request until they may be served.

All that one turn of the loop brings ask the core for one read index together, under one token.

Rules of this file: it is compiled; pure; each read is answered exactly once.
"""

from __future__ import annotations

from collections.abc import Callable

ReadDone = Callable[[int], None]
"""Called with SUCCESS when everything acknowledged before the read is visible, else with a code."""


class ReadRequests:
    """Reads that are new, or wait for the core's answer to their token."""

    def __init__(self) -> None:
        self._new: list[ReadDone] = []
        self._asked: dict[int, list[ReadDone]] = {}
        self._token = 0
        self.count = 0

    @property
    def has_new(self) -> bool:
        return bool(self._new)

    def add(self, done: ReadDone) -> None:
        self._new.append(done)
        self.count += 1

    def ask(self) -> int:
        """The token under which the new reads ask."""
        self._token += 1
        self._asked[self._token] = self._new
        self._new = []
        return self._token

    def take(self, token: int) -> list[ReadDone]:
        """The reads under ``token``, which are no longer kept here."""
        reads = self._asked.pop(token, [])
        self.count -= len(reads)
        return reads

    def take_all(self) -> list[ReadDone]:
        reads = [done for asked in self._asked.values() for done in asked] + self._new
        self._asked = {}
        self._new = []
        self.count = 0
        return reads
