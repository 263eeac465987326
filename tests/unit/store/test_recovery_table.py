"""Every combination of facts has exactly one row."""

from __future__ import annotations

import itertools

import pytest

from ledgermq.store import recovery_table as table
from ledgermq.store.recovery_table import (
    EndFacts,
    FindEnd,
    Index,
    IndexFacts,
    Queue,
    QueueFacts,
    Stop,
    StopFacts,
    decide_end,
    decide_index,
    decide_queue,
    decide_stop,
)

TABLES = [
    (table.END_ROWS, EndFacts, decide_end),
    (table.STOP_ROWS, StopFacts, decide_stop),
    (table.QUEUE_ROWS, QueueFacts, decide_queue),
    (table.INDEX_ROWS, IndexFacts, decide_index),
]


@pytest.mark.parametrize(("rows", "facts", "decide"), TABLES, ids=["end", "stop", "queue", "index"])
def test_every_combination_of_facts_has_exactly_one_row(rows, facts, decide):
    used = set()
    for values in itertools.product((False, True), repeat=len(facts._fields)):
        holding = [
            row for row in rows if all(w is None or w == v for w, v in zip(row[1:-1], values, strict=True))
        ]
        assert len(holding) == 1, facts(*values)
        assert decide(facts(*values)) is holding[0].decision
        used.add(holding[0].name)
    assert used == {row.name for row in rows}, "each row is reached"


def test_a_clean_stop_walks_nothing():
    for stored, checkpoint in itertools.product((False, True), repeat=2):
        assert decide_end(EndFacts(True, True, stored, checkpoint)) is FindEnd.AT_NOTED_END


def test_nothing_promised_is_given_up_while_a_record_follows():
    for next_file in (False, True):
        assert decide_stop(StopFacts(False, next_file, True, True)) is Stop.SKIP


def test_nothing_unpromised_is_kept_behind_a_hole():
    for next_file, follows in itertools.product((False, True), repeat=2):
        assert decide_stop(StopFacts(False, next_file, False, follows)) is Stop.END


def test_a_queue_that_lost_durable_units_is_made_again():
    for has_files, whole, names_record in itertools.product((False, True), repeat=3):
        facts = QueueFacts(has_files, whole, known=True, reaches=False, names_record=names_record)
        assert decide_queue(facts) is Queue.REBUILD


def test_after_a_power_failure_no_index_file_is_believed_unseen():
    for beyond, covered in itertools.product((False, True), repeat=2):
        facts = IndexFacts(True, beyond, settled=False, survived=False, covered=covered)
        assert decide_index(facts) in (Index.REPAIR, Index.DROP)
