"""The recovery tables: for every combination of facts there is exactly one row, and each row is used."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest

from ledgermq.dledger.ledger_recovery_table import (
    BEGIN_ROWS,
    FILE_ROWS,
    INDEX_ROWS,
    STOP_ROWS,
    BeginFacts,
    Stop,
    StopFacts,
    decide_begin,
    decide_stop,
    row_for,
)

TABLES: dict[str, Sequence[Any]] = {
    "file": FILE_ROWS,
    "begin": BEGIN_ROWS,
    "stop": STOP_ROWS,
    "index": INDEX_ROWS,
}


@pytest.mark.parametrize("name", TABLES)
def test_every_combination_has_exactly_one_row(name: str):
    rows = TABLES[name]
    used = set()
    for facts in itertools.product((False, True), repeat=len(rows[0]) - 2):
        matching = [
            row.name
            for row in rows
            if all(wanted is None or wanted == fact for wanted, fact in zip(row[1:-1], facts, strict=True))
        ]
        assert len(matching) == 1, (facts, matching)
        assert row_for(rows, facts).name == matching[0]
        used.add(matching[0])
    assert used == {row.name for row in rows}


def test_what_was_promised_is_never_cut():
    for facts in itertools.product((False, True), repeat=4):
        stop = StopFacts(*facts)
        if stop.promised or (stop.later and not stop.blank):
            assert decide_stop(stop) is not Stop.END


def test_a_reset_under_way_is_finished_whatever_is_there():
    for facts in itertools.product((False, True), repeat=3):
        assert decide_begin(BeginFacts(True, *facts)).name == "RESET"
