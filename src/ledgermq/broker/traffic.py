"""Counters that the hot paths bump, one object for each topic, and for each topic of a group.

Rules of this file: it is compiled; it only counts. Who samples the counters is :mod:`ledgermq.broker.stats`.
"""

from __future__ import annotations

from mypy_extensions import i64


class Traffic:
    """What has passed since the broker started: messages, their bytes, and the requests that carried them."""

    def __init__(self, *, system: bool = False) -> None:
        self.messages: i64 = 0
        self.size: i64 = 0
        self.requests: i64 = 0
        self.system: bool = system
        """It is a system topic's, which the broker's daily totals leave out."""

    def add(self, messages: i64, size: i64) -> None:
        """One request carried so many messages of so many bytes together."""
        self.messages += messages
        self.size += size
        self.requests += 1
