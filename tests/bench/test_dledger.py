"""The DLedger benchmark runs, tiny, against three nodes of this build; its figures mean nothing."""

from __future__ import annotations

import sys

import pytest
from bench.brokers import Side
from bench.dledger import CASES, TINY, Bench, Kind


@pytest.mark.slow
@pytest.mark.parametrize("case", ["append64", "cold-start", "failover", "catch-up"])
def test_case(case, tmp_path):
    kind = Kind("ledgermq", Side("ledgermq", sys.executable))
    figures = CASES[case][1](Bench(kind, TINY, tmp_path, None))
    assert figures
    assert all(value > 0 for value in figures.values())
