"""scripts/demo.py: it runs, and its proof would notice a broken promise."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripts import demo

from ledgermq.cli.cluster_layout import environment

DEMO = Path(demo.__file__)


class Stored:
    """As much of a message as the proof looks at."""

    def __init__(self, queue_id: int, queue_offset: int, body: bytes) -> None:
        self.queue_id = queue_id
        self.queue_offset = queue_offset
        self.body = body


def a_log() -> Any:
    return {
        0: [Stored(0, 0, b"0 0"), Stored(0, 1, b"1 0"), Stored(0, 2, b"0 1"), Stored(0, 3, b"0 9")],
        1: [Stored(1, 0, b"0 2"), Stored(1, 1, b"1 10")],
    }


def a_load() -> demo.Load:
    acknowledged = {m.body: (m.queue_id, m.queue_offset) for queue in a_log().values() for m in queue}
    del acknowledged[b"0 9"]
    return demo.Load(acknowledged=acknowledged, failed={b"0 9", b"1 9"})


def test_a_log_that_is_as_promised(capsys: pytest.CaptureFixture[str]) -> None:
    demo.prove(a_load(), a_log())
    out = capsys.readouterr().out
    assert "the log has 6 messages in 2 queues" in out
    assert "of the failed sends 1 are in the log, once each" in out


def lose(log: dict[int, list[Stored]]) -> None:
    del log[1][-1]


def move(log: dict[int, list[Stored]]) -> None:
    log[1][0].body, log[1][1].body = log[1][1].body, log[1][0].body


def double(log: dict[int, list[Stored]]) -> None:
    log[1].append(Stored(1, 2, b"0 9"))


def leave_a_hole(log: dict[int, list[Stored]]) -> None:
    log[0][-1].queue_offset = 4


def reorder(log: dict[int, list[Stored]]) -> None:
    """A failed send that came in long after."""
    log[0].append(Stored(0, 4, b"1 9"))
    log[0].append(Stored(0, 5, b"1 8"))


def add(log: dict[int, list[Stored]]) -> None:
    log[0].append(Stored(0, 4, b"9 9"))


@pytest.mark.parametrize("breach", [lose, move, double, leave_a_hole, reorder, add])
def test_a_broken_promise_is_noticed(breach: Callable[[dict[int, list[Stored]]], None]) -> None:
    log, load = a_log(), a_load()
    load.failed.add(b"1 8")
    breach(log)
    with pytest.raises(SystemExit, match="broken its promise"):
        demo.prove(load, log)


@pytest.mark.slow
def test_the_demo_runs() -> None:
    done = subprocess.run(
        [sys.executable, str(DEMO)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"\d+ ms after the kill the next send was acknowledged", done.stdout)
    assert "not where the broker said: 0" in done.stdout
    assert "twice in the log:          0" in done.stdout
    assert "out of order in a queue:   0; queues with holes: 0" in done.stdout
