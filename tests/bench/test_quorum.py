"""The benchmark of brokers on DLedger runs, tiny, against three brokers of this build, loaded by Python."""

from __future__ import annotations

import sys

import pytest
from bench.brokers import Side
from bench.clients import PythonClients
from bench.dledger import Kind
from bench.quorum import CASES, TINY, Bench, percentiles

from bench import slow_sender, wire

# A client with stock settings asks for the route of one group's new leader half a minute later.
QUICK = [case for case in CASES if case != "failover-stock"]


@pytest.mark.slow
@pytest.mark.parametrize("case", QUICK)
def test_case(case, tmp_path):
    kind = Kind("ledgermq", Side("ledgermq", sys.executable))
    windows = CASES[case][1](Bench(kind, PythonClients(), TINY, tmp_path, None))
    assert windows
    assert all(value >= 0 for figures in windows for value in figures.values())


def test_percentiles_are_of_the_nearest_rank():
    assert percentiles([float(value) for value in range(1, 21)]) == {
        "p50_ms": 10.5,
        "p95_ms": 19,
        "max_ms": 20,
    }
    assert percentiles([7]) == {"p50_ms": 7, "p95_ms": 7, "max_ms": 7}


def test_masters_of_a_route_as_java_writes_it():
    route = b'{"brokerDatas":[{"brokerAddrs":{0:"h:1",1:"h:2"}},{"brokerAddrs":{2:"h:3"}}],"queueDatas":[]}'
    assert slow_sender.masters(route) == ["h:1"]
    assert wire.standard_json(b'{"0":"a","b":{-1:"c"}}') == b'{"0":"a","b":{"-1":"c"}}'
