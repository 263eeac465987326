"""The looks of bench.scale, small: nothing is held per idle queue, waiting costs no time."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench.brokers import Side
from bench.scale import TINY, many_idle, many_queues


@pytest.mark.slow
def test_idle_queues_hold_nothing_open(tmp_path: Path) -> None:
    figures = many_queues(Side("ledgermq"), tmp_path, TINY)
    assert figures["descriptors_more"] < figures["queues"] / 4
    assert figures["mappings_more"] < figures["queues"] / 10
    assert figures["private_more_mib"] < 32


@pytest.mark.slow
def test_waiting_connections_cost_no_time(tmp_path: Path) -> None:
    figures = many_idle(Side("ledgermq"), tmp_path, TINY)
    assert figures["private_more_mib"] < 16
    assert figures["idle_cores"] < 0.1
    assert figures["wake_ms"] < 1000
