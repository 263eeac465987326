"""What must hold at every moment, checked as it happens.

==========================  ================================================================================
rule                        what is looked at
==========================  ================================================================================
one leader                  a term has one leader, in one life of it
one vote                    a member votes once in a term, in all its lives
terms rise                  a member's term never falls, across its deaths
logs match                  an entry of equal index and term is equal everywhere, and so is all before it
committed is durable        what is committed first, a quorum has durably
committed stays             every member commits the same entry at an index, and none is cut away
leaders are complete        a leader has all that leaders of earlier terms committed
applied in order            each member applies entry after entry, each once in a life
acknowledged stays          an acknowledged proposal is a committed entry, at the index that was told
reads are linearizable      a read sees all that was acknowledged, or read, before it was asked
core and ledger agree       the core's idea of its log is the ledger's
==========================  ================================================================================

Each check costs the same however long the run is: by induction over entries, only what is new is looked at.

Rules of this file: it knows everything and tells nobody; a member's own word is believed only about itself.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

from ledgermq.dledger.messages import NO_INDEX, NO_TERM

Item = tuple[int, bytes]


class Violation(Exception):  # noqa: N818  # it is what the simulator looks for, not an error of its own
    """A rule is broken."""

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(f"{rule}: {text}")
        self.rule = rule


class Checks:
    """``committed`` is the log that the group has agreed upon so far."""

    def __init__(self, holders: Callable[[int, int], int], quorum: int) -> None:
        """``holders`` counts the members that have entry (index, term) durably."""
        self._holders = holders
        self._quorum = quorum
        self._leaders: dict[int, tuple[str, int]] = {}
        self._votes: dict[tuple[str, int], str] = {}
        self._terms: dict[str, int] = {}
        self._entries: dict[tuple[int, int], tuple[int, bytes]] = {}
        """(index, term) -> (term of the entry before, body)"""
        self.committed: list[Item] = []
        self._commit_terms: list[int] = []
        """The term in which the entry was first committed; rises with the index."""
        self.seen_index = NO_INDEX
        """The last index that any client knows to be committed: what a later read must see."""
        self.acknowledged: dict[bytes, int] = {}
        """Body of each acknowledged proposal -> its index."""
        self.reads_served = 0

    # ---- terms, votes, leaders ----

    def saved(self, node: str, term: int, vote: str) -> None:
        self.has_term(node, term)
        if vote == node:
            self.voted(node, term, node)

    def has_term(self, node: str, term: int) -> None:
        if term < self._terms.get(node, 0):
            raise Violation("terms rise", f"{node} goes from term {self._terms[node]} back to {term}")
        self._terms[node] = term

    def voted(self, voter: str, term: int, candidate: str) -> None:
        before = self._votes.setdefault((voter, term), candidate)
        if before != candidate:
            raise Violation("one vote", f"{voter} votes in term {term} for {before} and for {candidate}")

    def leads(self, node: str, life: int, term: int, term_at: Callable[[int], int], first_index: int) -> None:
        before = self._leaders.setdefault(term, (node, life))
        if before != (node, life):
            raise Violation("one leader", f"{before[0]} and {node} lead in term {term}")
        index = bisect_left(self._commit_terms, term) - 1
        if index >= first_index and term_at(index) != self.committed[index][0]:
            raise Violation(
                "leaders are complete",
                f"{node} leads in term {term} and has at {index} term {term_at(index)}, where an entry of"
                f" term {self.committed[index][0]} was committed in term {self._commit_terms[index]}",
            )

    # ---- the log ----

    def appended(self, node: str, index: int, item: Item, prev_term: int | None) -> None:
        """``prev_term``: of the entry before, None where a snapshot hides it."""
        known = self._entries.get((index, item[0]))
        if known is None:
            self._entries[index, item[0]] = (NO_TERM if prev_term is None else prev_term, item[1])
        elif known[1] != item[1] or (prev_term is not None and known[0] != prev_term):
            raise Violation(
                "logs match",
                f"{node} has at {index} of term {item[0]} {item[1]!r} behind term {prev_term}, another has"
                f" {known[1]!r} behind term {known[0]}",
            )

    def truncated(self, node: str, last_index: int, applied_index: int) -> None:
        if last_index < applied_index:
            raise Violation(
                "committed stays", f"{node} cuts its log to {last_index}, it has applied {applied_index}"
            )

    def commits(self, node: str, term: int, index: int, item: Item) -> None:
        """``node`` applies entry ``index``; the caller goes in order."""
        if index < len(self.committed):
            if self.committed[index] != item:
                raise Violation(
                    "committed stays",
                    f"{node} commits at {index} {item}, {self.committed[index]} was committed before",
                )
            return
        if index != len(self.committed):
            raise Violation(
                "applied in order", f"{node} commits {index}, the last before was {len(self.committed) - 1}"
            )
        self.committed.append(item)
        self._commit_terms.append(term)

    def quorum_holds(self, node: str, term: int, index: int, entry_term: int) -> None:
        """The newly committed ``index`` is durable on a quorum."""
        holders = self._holders(index, entry_term)
        if holders < self._quorum:
            raise Violation(
                "committed is durable",
                f"{node} commits {index} of term {entry_term} in term {term}, durable on {holders} members",
            )

    def rebuilt(self, node: str, first_index: int, items: Sequence[Item], base_term: int) -> None:
        """The log that a node finds when it starts."""
        prev_term = None if base_term == NO_TERM and first_index > 0 else base_term
        for index, item in enumerate(items, first_index):
            self.appended(node, index, item, prev_term)
            prev_term = item[0]

    # ---- what clients were told ----

    def acknowledge(self, node: str, index: int, term: int, body: bytes) -> None:
        if index >= len(self.committed) or self.committed[index] != (term, body):
            raise Violation(
                "acknowledged stays", f"{node} acknowledges {body!r} at {index}, which is not there"
            )
        if body in self.acknowledged:
            raise Violation("acknowledged stays", f"{node} acknowledges {body!r} twice")
        self.acknowledged[body] = index
        self.seen_index = max(self.seen_index, index)

    def served(self, node: str, asked_seen_index: int, applied_index: int) -> None:
        """A read returned the state after ``applied_index``."""
        self.reads_served += 1
        if applied_index < asked_seen_index:
            raise Violation(
                "reads are linearizable",
                f"{node} reads the state after entry {applied_index}; {asked_seen_index} was known"
                " when it was asked",
            )
        self.seen_index = max(self.seen_index, applied_index)
