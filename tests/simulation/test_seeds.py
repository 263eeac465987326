"""Runs of the simulator as it stands: a few hundred seeds, and each that ever failed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from ledgermq.testing.simulation import simulate
from ledgermq.testing.simulation.__main__ import main
from ledgermq.testing.simulation.faults import draw_faults, with_java

FAILED_SEEDS = Path(__file__).with_name("failed_seeds.txt")
"""One seed a line, with what it showed. What a seed makes changes with the code; it stays all the same."""

CHUNK = 25

KINDS = (
    lambda faults: not faults.files and not faults.java,
    lambda faults: faults.files and faults.power_cuts,
    lambda faults: faults.java,
)
"""One run of each: model ledgers, ledgers in files, members of Java's kind."""


def failed_seeds() -> list[int]:
    lines = FAILED_SEEDS.read_text(encoding="utf-8").splitlines()
    return [int(line.partition("#")[0]) for line in lines if line.partition("#")[0].strip()]


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 300, CHUNK))
def test_every_rule_holds(first: int):
    for seed in range(first, first + CHUNK):
        assert simulate(seed).violation is None, (
            f"python -m ledgermq.testing.simulation --seed {seed} --trace"
        )


@pytest.mark.slow
@pytest.mark.parametrize("seed", failed_seeds())
def test_what_failed_once_holds(seed: int):
    assert simulate(seed).violation is None


@pytest.mark.slow
def test_every_rule_holds_in_groups_with_members_of_javas_kind():
    for seed in range(30):
        assert simulate(seed, with_java(draw_faults(Random(seed)))).violation is None, seed


@pytest.mark.slow
def test_a_run_makes_progress():
    """Not every run can, but a simulator whose groups never agree checks nothing."""
    outcomes = [simulate(seed) for seed in range(20)]
    assert sum(outcome.acknowledged for outcome in outcomes) > 200
    assert sum(outcome.reads for outcome in outcomes) > 100
    assert max(outcome.terms for outcome in outcomes) > 5
    assert {outcome.members for outcome in outcomes} >= {1, 3, 5}


@pytest.mark.slow
def test_a_seed_replays_to_the_byte_under_two_hash_seeds():
    def story(seed: int, hash_seed: int) -> bytes:
        command = [sys.executable, "-m", "ledgermq.testing.simulation", "--seed", str(seed), "--trace"]
        environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
        return subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout

    for seed in (next(seed for seed in range(1000) if chosen(draw_faults(Random(seed)))) for chosen in KINDS):
        first = story(seed, 1)
        assert first == story(seed, 2)
        assert len(first) > 1000


def test_the_command_prints_a_verdict(capsys: pytest.CaptureFixture[str]):
    assert main(["--seed", "1"]) == 0
    assert "seed 1: " in capsys.readouterr().out
