"""What a leader knows of one follower, and what it does next for it.

DLedger's dispatcher states: COMPARE finds where the logs agree, TRUNCATE removes what the follower has
beyond, APPEND sends entries in a pipeline; SNAPSHOT replaces a log that ends before the leader's begins.

Rules of this file: it is compiled; pure; ``match`` never falls within a term.
"""

from __future__ import annotations

from collections import deque
from enum import Enum


class ProgressState(Enum):
    COMPARE = "COMPARE"
    TRUNCATE = "TRUNCATE"
    APPEND = "APPEND"
    SNAPSHOT = "SNAPSHOT"


class Progress:
    """One follower in the leader's term."""

    def __init__(self, peer: str, last_index: int, now_ms: int) -> None:
        self.peer = peer
        self.state = ProgressState.COMPARE
        self.match = -1
        """The follower has durably what the leader has up to here."""
        self.probe = last_index
        """The index that a COMPARE or TRUNCATE under way asks about."""
        self.next_index = last_index + 1
        self.in_flight: deque[int] = deque()
        """The last index of each APPEND that is not answered."""
        self.waiting = False
        """A COMPARE, TRUNCATE or snapshot is under way, or the driver fills a SendEntries."""
        self.sent_ms = now_ms
        """When the oldest unanswered message left."""
        self.heard_ms = now_ms
        """When the follower last answered anything in this term."""
        self.round = 0
        """The last heartbeat round that it answered."""
        self.commit_sent = -1
        self.installed = -1
        """The follower said that it has what a snapshot after this entry holds: the logs agree up to it."""

    def compare_from(self, index: int) -> None:
        """Start over: find out again where the logs agree."""
        self.state = ProgressState.COMPARE
        self.probe = index
        self.waiting = False
        self.in_flight.clear()

    def probe_at(self, state: ProgressState, index: int, now_ms: int) -> None:
        """A COMPARE or TRUNCATE about ``index`` leaves now."""
        self.state = state
        self.probe = index
        self.waiting = True
        self.sent_ms = now_ms

    def wait_for_snapshot(self) -> None:
        self.state = ProgressState.SNAPSHOT
        self.waiting = True
        self.in_flight.clear()

    def append_from(self, index: int) -> None:
        """The logs agree up to ``index - 1`` and the follower's ends there."""
        self.state = ProgressState.APPEND
        self.match = max(self.match, index - 1)
        self.next_index = index
        self.waiting = False
        self.in_flight.clear()

    def pushed(self, last_index: int, commit_index: int) -> None:
        """An APPEND with entries up to ``last_index`` has left."""
        self.waiting = False
        self.in_flight.append(last_index)
        self.next_index = last_index + 1
        self.commit_sent = commit_index

    def appended(self, index: int, now_ms: int) -> None:
        """The follower has durably everything up to ``index``."""
        self.match = max(self.match, index)
        while self.in_flight and self.in_flight[0] <= index:
            self.in_flight.popleft()
        self.sent_ms = now_ms

    def is_overdue(self, now_ms: int, timeout_ms: int) -> bool:
        """Whether something was sent too long ago without an answer."""
        if self.state is ProgressState.SNAPSHOT:
            return False  # the driver says how it ended
        return (self.waiting or bool(self.in_flight)) and now_ms - self.sent_ms >= timeout_ms
