"""Every benchmark runs, tiny: ledgermq alone, loaded by bench.load, so that no JDK is needed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from bench.cases import CASES

from bench import __main__ as bench


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_benchmark_runs(case: str, tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    arguments = ["--tiny", "--clients", "python", "--case", case, "--side", f"interpreted={sys.executable}"]
    assert bench.main([*arguments, "--work", str(tmp_path), "--results", str(results)]) == 0
    line = json.loads(results.read_text())
    assert line["case"] == case
    assert all(value >= 0 for value in line["figures"].values())
