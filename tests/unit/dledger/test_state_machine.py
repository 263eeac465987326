"""Committed entries reach the state machine once, in order, from behind its snapshot on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import BinaryIO

from ledgermq.dledger.applier import Applier
from ledgermq.dledger.json_messages import join_entries
from ledgermq.dledger.messages import Entries
from ledgermq.dledger.requests import Entry
from ledgermq.dledger.state_machine import AppliedEntry


class Seen:
    def __init__(self) -> None:
        self.entries: list[tuple[int, int, bytes]] = []

    def apply(self, entries: Sequence[AppliedEntry]) -> None:
        self.entries += [(entry.index, entry.term, entry.body) for entry in entries]

    def freeze(self) -> Callable[[BinaryIO], None]:
        raise NotImplementedError

    def load(self, data: BinaryIO) -> None:
        raise NotImplementedError


def entries(first_index: int, *bodies: tuple[int, bytes]) -> Entries:
    """Entries of (term, body)."""
    pos = 0
    made = []
    for index, (term, body) in enumerate(bodies, first_index):
        made.append(Entry(magic=1, size=48 + len(body), index=index, term=term, pos=pos, body=body))
        pos += 48 + len(body)
    return join_entries(made)


def test_committed_entries_are_applied_with_their_terms() -> None:
    seen = Seen()
    applier = Applier(seen, -1)
    applier.step(entries(0, (1, b"a"), (1, b"b"), (3, b"c"), (3, b"d")), 2)
    assert seen.entries == [(0, 1, b"a"), (1, 1, b"b"), (2, 3, b"c")]
    assert (applier.applied_index, applier.applied_term) == (2, 3)


def test_nothing_is_applied_twice_or_early() -> None:
    seen = Seen()
    applier = Applier(seen, -1)
    applier.step(entries(0, (1, b"a"), (1, b"b")), 0)
    applier.step(entries(0, (1, b"a"), (1, b"b")), 1)
    applier.step(entries(5, (1, b"f")), 9)  # not what comes next
    assert [index for index, _, _ in seen.entries] == [0, 1]


def test_entries_without_a_body_are_left_out_but_counted() -> None:
    seen = Seen()
    applier = Applier(seen, -1)
    applier.step(entries(0, (2, b""), (2, b"x")), 1)
    assert seen.entries == [(1, 2, b"x")]
    applier.step(entries(2, (3, b"")), 2)
    assert (applier.applied_index, applier.applied_term) == (2, 3)


def test_it_goes_on_behind_a_snapshot() -> None:
    seen = Seen()
    applier = Applier(seen, -1)
    applier.loading = True
    applier.step(entries(0, (1, b"a")), 5)
    assert seen.entries == []
    applier.loaded(3, 1)
    applier.step(entries(2, (1, b"c"), (1, b"d"), (2, b"e")), 4)
    assert seen.entries == [(4, 2, b"e")]
