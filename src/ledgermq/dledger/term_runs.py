"""What the core knows of the log: which term each entry has.

A log is a few runs of equal terms, so its whole outline fits a short list however long it is.

Rules of this file: it is compiled; pure; an index outside the log has NO_TERM, but for the one before its
first entry, whose term a snapshot may have told.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from ledgermq.dledger.messages import NO_TERM


class TermRuns:
    """The outline of a log: ``first_index`` to ``last_index`` and the terms between them.

    ``runs`` holds (first index, term) of each run; ``base_term`` is the term of entry ``first_index - 1``.
    """

    def __init__(
        self, first_index: int, last_index: int, runs: Sequence[tuple[int, int]], base_term: int = NO_TERM
    ) -> None:
        self.first_index = first_index
        self.last_index = last_index
        self.base_term = base_term
        self._starts = [start for start, _ in runs]
        self._terms = [term for _, term in runs]

    @property
    def last_term(self) -> int:
        return self._terms[-1] if self._terms else self.base_term

    def runs(self, first_index: int, last_index: int) -> list[tuple[int, int]]:
        """First index and term of each run in the entries ``first_index`` to ``last_index``."""
        if first_index > last_index:
            return []
        begin = bisect_right(self._starts, first_index) - 1
        end = bisect_right(self._starts, last_index)
        starts = [first_index, *self._starts[begin + 1 : end]]
        return list(zip(starts, self._terms[begin:end], strict=True))

    def term_at(self, index: int) -> int:
        if not self.first_index <= index <= self.last_index:
            return self.base_term if index == self.first_index - 1 else NO_TERM
        return self._terms[bisect_right(self._starts, index) - 1]

    def knows(self, index: int) -> bool:
        """Whether the term at ``index`` can be said: entries, the empty log's beginning, a snapshot's end."""
        if index == self.first_index - 1:
            return self.base_term != NO_TERM or index < 0
        return self.first_index <= index <= self.last_index

    def tell_base_term(self, term: int) -> None:
        """Somebody who knows it says the term of the entry before the first one."""
        if self.base_term == NO_TERM and self.first_index > 0:
            self.base_term = term

    def append(self, last_index: int, runs: Sequence[tuple[int, int]]) -> None:
        """Entries up to ``last_index`` follow, the first of ``runs`` starting behind the log's end."""
        for start, term in runs:
            if not self._terms or self._terms[-1] != term:
                self._starts.append(start)
                self._terms.append(term)
        self.last_index = last_index

    def truncate(self, last_index: int) -> None:
        """Drop all entries after ``last_index``."""
        while self._starts and self._starts[-1] > last_index:
            self._starts.pop()
            self._terms.pop()
        self.last_index = last_index

    def reset(self, last_index: int, last_term: int) -> None:
        """Drop everything; the next entry follows ``last_index``."""
        self._starts.clear()
        self._terms.clear()
        self.first_index = last_index + 1
        self.last_index = last_index
        self.base_term = last_term

    def start_at(self, first_index: int) -> None:
        """The entries before ``first_index`` are gone."""
        if first_index <= self.first_index:
            return
        self.base_term = self.term_at(first_index - 1)
        while len(self._starts) > 1 and self._starts[1] <= first_index:
            del self._starts[0], self._terms[0]
        if first_index > self.last_index:
            self.reset(first_index - 1, self.base_term)
        elif self._starts:
            self._starts[0] = max(self._starts[0], first_index)
        self.first_index = first_index

    def last_not_above(self, index: int, term: int) -> int:
        """The last entry at or before ``index`` whose term is not above ``term``.

        ``first_index - 1`` when there is none, ``index`` itself where the log has not begun: never one behind
        it, or who asks on from there would ask for ever. Between it and ``index`` no entry can equal one of a
        log whose term at ``index`` is ``term``: terms never fall.
        """
        index = min(index, self.last_index)
        if index < self.first_index:
            return index
        run = bisect_right(self._starts, index) - 1
        while run >= 0 and self._terms[run] > term:
            index = self._starts[run] - 1
            run -= 1
        return max(index, self.first_index - 1)
