"""The scenario files of DLedger's core: what follows from each command is what the file says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.scenarios.dledger_runner import Scenario

FILES = sorted((Path(__file__).parent / "dledger").glob("*.txt"))


def play(text: str) -> str:
    """The file as it would be with what the commands answer now. Comments and blank lines stay."""
    scenario = Scenario()
    out: list[str] = []
    expected = False
    for line in text.splitlines():
        if line == "----":
            expected = True
        elif not line:
            expected = False
            out.append("")
        elif line.startswith("#"):
            out.append(line)
        elif not expected:
            out += [line, "----", *scenario.run(line)]
    return "\n".join(out).rstrip("\n") + "\n"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario(path):
    text = path.read_text()
    now = play(text)
    if os.environ.get("LEDGERMQ_REWRITE_SCENARIOS"):
        path.write_text(now)
    else:
        assert now == text
