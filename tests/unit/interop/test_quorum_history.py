"""The checks of fault runs see each kind of wrong: they are shown histories that were tampered with."""

from __future__ import annotations

import pytest
from tests.interop.harness.quorum_history import (
    Acknowledged,
    Committed,
    Delivered,
    Failed,
    Figures,
    History,
    Log,
    check_progress,
    figures,
    violations,
)


def body(lane: int, number: int) -> str:
    return f"load-1.{lane}.{number}......"


def good() -> tuple[History, dict[int, list[tuple[int, str]]]]:
    """Two threads, two queues; one send failed and is there, one was tried twice and is there twice."""
    log = {
        0: [(0, body(0, 0)), (1, body(1, 0)), (2, body(0, 2)), (3, body(0, 2))],
        1: [(0, body(0, 1)), (1, body(1, 1))],
    }
    history = History(
        acknowledged=[
            Acknowledged(body(0, 0), "SEND_OK", "b", 0, 0, 1, 1000),
            Acknowledged(body(1, 0), "SEND_OK", "b", 0, 1, 1, 1001),
            Acknowledged(body(0, 1), "SEND_OK", "b", 1, 0, 1, 1002),
            Acknowledged(body(0, 2), "SEND_OK", "b", 0, 3, 2, 1003),
        ],
        failed=[Failed(body(1, 1), 1, "", 1004), Failed(body(1, 2), 3, "", 1005)],
        delivered=[
            Delivered("b", queue_id, offset, text)
            for queue_id, messages in log.items()
            for offset, text in messages
        ],
    )
    return history, log


def test_a_good_history_has_no_violation() -> None:
    history, log = good()
    assert violations(history, log) == []
    assert figures(history, log) == Figures(
        acknowledged=4, failed=2, uncertain_but_there=1, twice=1, redelivered=0
    )


def lose_the_end(history: History, log: dict[int, list[tuple[int, str]]]) -> None:
    del log[0][3]
    history.delivered = [seen for seen in history.delivered if (seen.queue_id, seen.offset) != (0, 3)]


def make_a_gap(history: History, log: dict[int, list[tuple[int, str]]]) -> None:
    del log[1][0]


def swap_two(history: History, log: dict[int, list[tuple[int, str]]]) -> None:
    log[0][0], log[0][1] = (0, body(1, 0)), (1, body(0, 0))


def repeat_an_offset(history: History, log: dict[int, list[tuple[int, str]]]) -> None:
    log[1].append((1, body(1, 1)))


def copy_what_was_sent_once(history: History, log: dict[int, list[tuple[int, str]]]) -> None:
    log[1].append((2, body(0, 0)))
    history.delivered.append(Delivered("b", 1, 2, body(0, 0)))


def invent_one(history: History, log: dict[int, list[tuple[int, str]]]) -> None:
    log[1].append((2, "nobody's"))
    history.delivered.append(Delivered("b", 1, 2, "nobody's"))


def deliver_what_was_not_committed(history: History, log: dict[int, list[tuple[int, str]]]) -> None:
    history.delivered.append(Delivered("b", 1, 2, body(1, 2)))


def deliver_another_body(history: History, log: dict[int, list[tuple[int, str]]]) -> None:
    history.delivered.append(Delivered("b", 1, 1, body(1, 2)))


def withhold_one(history: History, log: dict[int, list[tuple[int, str]]]) -> None:
    del history.delivered[2]


def acknowledge_two_at_one_offset(history: History, log: dict[int, list[tuple[int, str]]]) -> None:
    history.acknowledged.append(Acknowledged(body(1, 3), "SEND_OK", "b", 0, 3, 1, 1006))


def acknowledge_against_the_order(history: History, log: dict[int, list[tuple[int, str]]]) -> None:
    history.acknowledged[0], history.acknowledged[3] = (
        Acknowledged(body(0, 0), "SEND_OK", "b", 0, 2, 1, 1000),
        Acknowledged(body(0, 2), "SEND_OK", "b", 0, 0, 2, 1003),
    )
    log[0] = [(0, body(0, 2)), (1, body(1, 0)), (2, body(0, 0))]
    history.delivered = [
        Delivered("b", queue_id, offset, text) for queue_id, rows in log.items() for offset, text in rows
    ]


@pytest.mark.parametrize(
    ("tamper", "word"),
    [
        (lose_the_end, "is lost"),
        (make_a_gap, "stands at place 0"),
        (swap_two, "was acknowledged as"),
        (repeat_an_offset, "stands at place 2"),
        (copy_what_was_sent_once, "is there 2 times and was sent 1 times"),
        (invent_one, "is there 1 times and was sent 0 times"),
        (deliver_what_was_not_committed, "was delivered as"),
        (deliver_another_body, "was delivered as"),
        (withhold_one, "was never delivered"),
        (acknowledge_two_at_one_offset, "was promised to"),
        (acknowledge_against_the_order, ", then "),
    ],
)
def test_a_tampered_history_is_seen(tamper, word: str) -> None:
    history, log = good()
    tamper(history, log)
    assert any(word in line for line in violations(history, log))


def test_what_was_not_acknowledged_with_send_ok_may_be_missing() -> None:
    history, log = good()
    history.acknowledged.append(Acknowledged(body(1, 3), "FLUSH_SLAVE_TIMEOUT", "b", 1, 9, 1, 1006))
    assert violations(history, log) == []


def test_many_of_one_kind_are_counted() -> None:
    history, _log = good()
    empty: Log = {0: [], 1: []}
    history.acknowledged *= 5
    assert any("like this" in line for line in violations(history, empty))


COMMITS = [Committed("b", 0, offset, 1000 + 100 * offset) for offset in range(1, 21)]


@pytest.mark.parametrize(
    ("found", "lost_ms"), [(20, 0), (25, 0), (19, 0), (18, 100), (10, 900), (9, 1000), (8, 1100), (-1, 1900)]
)
def test_lost_progress_is_what_was_acknowledged_since(found: int, lost_ms: int) -> None:
    assert check_progress(COMMITS, {0: found}, lost_ms) == []
    assert lost_ms == 0 or check_progress(COMMITS, {0: found}, lost_ms - 1) != []


def test_no_progress_is_made_while_there_is_no_master() -> None:
    commits = [*COMMITS, *(Committed("b", 0, 20 + i, 60_000 + 100 * i) for i in range(1, 6))]
    assert check_progress(commits, {0: 20}, 400) == []
    assert check_progress(commits, {0: 20}, 399) != []
    assert check_progress(commits, {0: 18}, 100 + 200 + 400) == []
    assert check_progress(commits, {0: 18}, 100 + 200 + 399) != []


def test_progress_is_of_each_queue_and_ends_for_all_at_once() -> None:
    commits = [*COMMITS, Committed("b", 1, 7, 1500)]
    assert check_progress(commits, {0: 20, 1: 7}, 0) == []
    assert check_progress(commits, {0: 20, 1: -1}, 1500) == []
    [wrong] = check_progress(commits, {0: 20, 1: -1}, 1499)  # its only one, long before the end
    assert "queue 1" in wrong
    [wrong] = check_progress(commits, {0: -1, 1: 7}, 1000)
    assert "queue 0" in wrong
