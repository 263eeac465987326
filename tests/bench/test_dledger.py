"""The DLedger benchmark runs, tiny, against three nodes of this build; its figures mean nothing."""

from __future__ import annotations

import sys

import pytest
from bench.brokers import Side
from bench.dledger import CASES, Bench, Kind, Settings

TINY = Settings(rounds=1, warmup_s=0.2, window_s=0.5, kills=1, catch_up_entries=2_000, timeout_s=60)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["append64", "cold-start", "failover", "catch-up"])
def test_case(case, tmp_path):
    kind = Kind("ledgermq", Side("ledgermq", sys.executable))
    figures = CASES[case][1](Bench(kind, TINY, tmp_path, None))
    assert figures
    assert all(value > 0 for value in figures.values())
