"""Where entries may stand."""

from __future__ import annotations

import pytest

from ledgermq.dledger.file_positions import check_reset, fits
from ledgermq.dledger.ledger import LedgerError

SIZE = 1000


@pytest.mark.parametrize(
    ("end_pos", "first_pos", "size", "empty", "allowed"),
    [
        (300, 300, 100, False, True),
        (300, 300, 692, False, True),
        (300, 300, 693, False, False),  # No room for the blank.
        (300, 1000, 100, False, True),  # The leader's next entry did not fit.
        (300, 2000, 100, False, False),
        (300, 0, 100, False, False),
        (300, 299, 100, False, False),
        (1000, 1000, 100, False, True),
        (1000, 2000, 100, False, False),  # A file is not left empty.
        (0, 5000, 100, True, True),
        (0, 5001, 100, True, False),
        (0, 5000, 100, False, False),
        (0, 1000, 993, True, False),
    ],
)
def test_fits(end_pos: int, first_pos: int, size: int, empty: bool, allowed: bool):
    assert fits(end_pos, first_pos, size, SIZE, empty) is allowed


@pytest.mark.parametrize(("last_index", "next_pos"), [(-1, 0), (5, 48), (5, 1000), (5, 1048), (5, 999)])
def test_a_reset_to_a_possible_place(last_index: int, next_pos: int):
    check_reset(last_index, next_pos, SIZE)


@pytest.mark.parametrize(("last_index", "next_pos"), [(0, 0), (5, 47), (5, 1001), (5, -48)])
def test_a_reset_to_an_impossible_place(last_index: int, next_pos: int):
    with pytest.raises(LedgerError, match="cannot begin"):
        check_reset(last_index, next_pos, SIZE)
