"""Runs of the simulator with brokers' stores, and rules of these taken out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.simulation.broker_mutants import BROKER_HUNTS
from tests.simulation.mutants import Hunt

from ledgermq.testing.simulation import simulate, simulate_brokers

FAILED_SEEDS = Path(__file__).with_name("failed_broker_seeds.txt")
CHUNK = 6


def failed_seeds() -> list[int]:
    lines = FAILED_SEEDS.read_text(encoding="utf-8").splitlines()
    return [int(line.partition("#")[0]) for line in lines if line.partition("#")[0].strip()]


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 24, CHUNK))
def test_every_replica_has_the_same_queues(first: int):
    for seed in range(first, first + CHUNK):
        assert simulate_brokers(seed).violation is None, (
            f"python -m ledgermq.testing.simulation --brokers --seed {seed} --trace"
        )


@pytest.mark.slow
@pytest.mark.parametrize("seed", failed_seeds())
def test_what_failed_once_holds(seed: int):
    assert simulate_brokers(seed).violation is None


@pytest.mark.slow
@pytest.mark.parametrize("hunt", BROKER_HUNTS, ids=lambda hunt: hunt.mutant.__name__)
def test_a_missing_rule_is_noticed(hunt: Hunt, monkeypatch: pytest.MonkeyPatch):
    hunt.mutant(monkeypatch)
    assert any(simulate(seed, hunt.faults).violation is not None for seed in hunt.seeds)


@pytest.mark.slow
def test_a_seed_replays_to_the_byte_under_two_hash_seeds():
    def story(hash_seed: int) -> bytes:
        command = [sys.executable, "-m", "ledgermq.testing.simulation", "--brokers", "--seed", "5", "--trace"]
        environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
        return subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout

    first = story(1)
    assert first == story(2)
    assert len(first) > 1000
