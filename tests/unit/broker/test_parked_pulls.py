"""Parked pulls: woken by their queue, ended by their second, never scanned."""

from __future__ import annotations

import pytest

from ledgermq.broker import parked_pulls
from ledgermq.broker.parked_pulls import ParkedPulls
from ledgermq.runtime.limits import PARKED_MS_MAX

Table = ParkedPulls[str, str]


def parked(*pulls: tuple[str, str, int], now_ms: int = 10_000) -> Table:
    table: Table = ParkedPulls()
    for queue, pull, wait_ms in pulls:
        assert table.park(queue, pull, now_ms, wait_ms)
    return table


def ended(table: Table, now_ms: int) -> list[str]:
    return [pull for _, pull in table.expire(now_ms)]


def test_waking_a_queue_offers_its_pulls_only() -> None:
    table = parked(("q0", "a", 5000), ("q1", "b", 5000), ("q0", "c", 5000))
    offered: list[str] = []

    def serve(_: str, pull: str) -> bool:
        offered.append(pull)
        return True

    table.wake("q0", serve)
    assert offered == ["a", "c"]
    assert table.count == 1
    assert table.waits("q1")
    assert not table.waits("q0")


def test_a_pull_that_is_not_served_stays_parked() -> None:
    table = parked(("q0", "a", 5000), ("q0", "b", 5000))
    table.wake("q0", lambda _, pull: pull == "a")
    assert table.count == 1
    assert ended(table, 15_000) == ["b"]
    assert table.count == 0


@pytest.mark.parametrize(("wait_ms", "last_ms", "ended_ms"), [(5000, 14_999, 15_000), (1, 10_999, 11_000)])
def test_a_pull_ends_in_the_second_after_its_wait(wait_ms: int, last_ms: int, ended_ms: int) -> None:
    table = parked(("q0", "a", wait_ms))
    assert ended(table, last_ms) == []
    assert ended(table, ended_ms) == ["a"]
    assert not table.waits("q0")


def test_a_long_sleep_of_the_caller_loses_nothing() -> None:
    table = parked(("q0", "a", 1000), ("q0", "b", 30_000), ("q1", "c", 60_000))
    assert ended(table, 45_000) == ["a", "b"]
    assert ended(table, 100_000) == ["c"]


def test_parking_after_an_empty_time_does_not_walk_through_it() -> None:
    table = parked(("q0", "a", 1000))
    assert ended(table, 20_000) == ["a"]
    assert table.park("q0", "b", 10**12, 1000)
    assert ended(table, 10**12) == []
    assert ended(table, 10**12 + 1000) == ["b"]


def test_no_wait_is_longer_than_the_limit() -> None:
    table = parked(("q0", "a", 10**9), now_ms=0)
    assert ended(table, PARKED_MS_MAX) == ["a"]


def test_a_full_table_parks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parked_pulls, "PARKED_MAX", 2)
    table = parked(("q0", "a", 1000), ("q0", "b", 1000))
    assert not table.park("q1", "c", 10_000, 1000)
    assert not table.waits("q1")
    table.wake("q0", lambda *_: True)
    assert table.park("q1", "c", 10_000, 1000)
