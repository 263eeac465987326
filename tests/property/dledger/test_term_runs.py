"""The outline of a log answers like the plain list of its terms."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.scenarios.dledger_runner import runs_of

from ledgermq.dledger.messages import NO_TERM
from ledgermq.dledger.term_runs import TermRuns

TERMS = st.lists(st.integers(0, 6), max_size=30).map(sorted)
STEP = st.one_of(
    st.tuples(st.just("append"), st.integers(1, 4), st.integers(0, 3)),
    st.tuples(st.just("truncate"), st.integers(0, 30), st.just(0)),
    st.tuples(st.just("start"), st.integers(0, 30), st.just(0)),
)


class Model:
    """A log with one term in the list for each entry."""

    def __init__(self, first_index: int, terms: list[int]) -> None:
        self.first_index = first_index
        self.terms = terms
        self.base_term = NO_TERM

    @property
    def last_index(self) -> int:
        return self.first_index + len(self.terms) - 1

    def term_at(self, index: int) -> int:
        if index == self.first_index - 1:
            return self.base_term
        at = index - self.first_index
        return self.terms[at] if 0 <= at < len(self.terms) else NO_TERM

    def last_not_above(self, index: int, term: int) -> int:
        index = min(index, self.last_index)
        if index < self.first_index:
            return index
        while index >= self.first_index and self.term_at(index) > term:
            index -= 1
        return index


@given(st.integers(0, 5), TERMS, st.lists(STEP, max_size=12))
def test_answers_like_the_list_of_terms(first_index, terms, steps):
    log = TermRuns(first_index, first_index + len(terms) - 1, runs_of(first_index, terms))
    model = Model(first_index, list(terms))
    for step, number, rise in steps:
        if step == "append":
            last_term = max(model.terms[-1] if model.terms else model.base_term, 0)
            term = last_term + rise
            log.append(log.last_index + number, [(log.last_index + 1, term)])
            model.terms += [term] * number
        elif step == "truncate":
            last_index = max(model.first_index - 1, model.last_index - number)
            log.truncate(last_index)
            del model.terms[last_index + 1 - model.first_index :]
        else:
            start = min(model.first_index + number, model.last_index + 1)
            log.start_at(start)
            if start > model.first_index:
                model.base_term = model.term_at(start - 1)
                del model.terms[: start - model.first_index]
                model.first_index = start
        assert (log.first_index, log.last_index) == (model.first_index, model.last_index)
        for index in range(model.first_index - 2, model.last_index + 3):
            assert log.term_at(index) == model.term_at(index)
            for term in range(8):
                assert log.last_not_above(index, term) == model.last_not_above(index, term)
