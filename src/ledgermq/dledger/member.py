"""What a member's roles share: its settings, its log's outline, how far it is durable and committed, and the
effects that wait to be taken.

Rules of this file: it is compiled; pure; ``commit_index`` never falls but by a reset, and stays at or below
``persisted_index``.
"""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

from ledgermq.dledger.messages import (
    NO_TERM,
    Commit,
    Effect,
    Message,
    Reset,
    Send,
    Truncate,
)
from ledgermq.dledger.term_runs import TermRuns

NOBODY: Final = ""
NEVER_MS: Final = 1 << 62


class CoreConfig(msgspec.Struct, frozen=True):
    """Times are in milliseconds. A leader that hears no quorum for ``election_timeout_min_ms`` steps down, so
    it is gone before a follower that waits at least as long can be elected.
    """

    heartbeat_interval_ms: int = 100
    election_timeout_min_ms: int = 300
    election_timeout_max_ms: int = 500
    java_patience_ms: int = 6000
    """Towards a Java leader, whose heartbeats come every 2000 ms: three of them."""
    proposals_max: int = 10_000
    """Uncommitted entries of a leader; beyond it LEADER_PENDING_FULL."""
    proposal_timeout_ms: int = 2500
    pushes_in_flight_max: int = 64
    push_timeout_ms: int = 1000
    transfer_timeout_ms: int = 1000
    transfer_behind_max: int = 1000
    preferred_leaders: tuple[str, ...] = ()
    pre_vote: bool = True
    check_quorum: bool = True
    reads_max: int = 10_000


class Random(Protocol):
    """The source of chance; random.Random is one."""

    def randrange(self, start: int, stop: int, /) -> int: ...


class Refused(Exception):  # noqa: N818 - it is an answer to a request, not a fault
    """A request that this member does not take; ``code`` is DLedger's."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Member:
    """See the head of this file."""

    def __init__(
        self,
        self_id: str,
        members: tuple[str, ...],
        config: CoreConfig,
        log: TermRuns,
        commit_index: int,
        now_ms: int,
    ) -> None:
        self.self_id: Final = self_id
        self.members: Final = members
        self.peers: Final = tuple(member for member in members if member != self_id)
        self.quorum: Final = len(members) // 2 + 1
        self.config: Final = config
        self.log: Final = log
        self.commit_index = min(commit_index, log.last_index)
        self.persisted_index = log.last_index
        """Everything that is found at the start is durable: recovery sees to that."""
        self.java: set[str] = set()
        """Peers that speak DLedger's JSON and know no pre-vote."""
        self.now_ms = now_ms
        """The time of the event under way."""
        self.effects: list[Effect] = []

    def emit(self, effect: Effect) -> None:
        self.effects.append(effect)

    def send(self, to: str, message: Message) -> None:
        self.effects.append(Send(to, message))

    def commit(self, index: int) -> None:
        """Entries up to ``index`` are committed, as far as they are durable here: nobody applies what its own
        disk may yet lose."""
        index = min(index, self.persisted_index)
        if index > self.commit_index:
            self.commit_index = index
            self.emit(Commit(index))

    def cut(self, last_index: int) -> None:
        """End the log with ``last_index``; nothing committed may be behind it."""
        if last_index >= self.log.last_index:
            return
        self.log.truncate(last_index)
        self.persisted_index = min(self.persisted_index, last_index)
        self.emit(Truncate(last_index, self.log.base_term if last_index < self.log.first_index else NO_TERM))

    def reset(self, last_index: int, last_term: int, next_pos: int) -> None:
        """Drop the log; what follows begins after ``last_index``, which counts as committed and durable."""
        self.log.reset(last_index, last_term)
        self.persisted_index = last_index
        self.commit_index = last_index
        self.emit(Reset(last_index, last_term, next_pos))

    def last_is(self, index: int, term: int) -> bool:
        """Whether the log has an entry ``index`` of ``term``, or begins right after it."""
        return self.log.knows(index) and self.log.term_at(index) == term
