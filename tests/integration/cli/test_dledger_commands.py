"""ledgermq dledger: a member as a process, and the clients' commands against it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.integration.cli.typed import Typed
from tests.ports import free_port

from ledgermq.cli import main


class Result:
    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Ledgermq = Callable[..., Result]


@pytest.fixture
def ledgermq(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ledgermq:
    """Runs a command in this process."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["ledgermq", "dledger", *arguments])
        try:
            main()
            status: object = 0
        except SystemExit as end:
            status = end.code or 0
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        assert isinstance(status, int)
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return Result(status, out, err)

    return run


@contextmanager
def started(peers: str, folder: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A member as a process, and the facts that it prints when it serves."""
    argv = [sys.executable, "-m", "ledgermq.cli", "dledger", "server", "--group", "g0", "--id", "n0"]
    argv += ["--peers", peers, "--store", str(folder), "--log", str(folder / "member.log"), "--print-json"]
    argv += ["--set", "mappedFileSizeForEntryData=1048576", "--set", "mappedFileSizeForEntryIndex=32768"]
    argv += ["--set", "diskSpaceRatioToForceClean=1"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


@pytest.fixture
def peers() -> str:
    return f"n0-127.0.0.1:{free_port()}"


@pytest.fixture
def member(peers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A group of one, which the commands find by the environment."""
    with started(peers, tmp_path) as (process, facts):
        monkeypatch.setenv("LEDGERMQ_DLEDGER_PEERS", peers)
        yield facts
        process.terminate()
        assert process.wait(10) == 0
    assert "Traceback" not in (tmp_path / "member.log").read_text()


@pytest.mark.slow
def test_commands(
    member: dict[str, Any], ledgermq: Ledgermq, monkeypatch: pytest.MonkeyPatch, peers: str
) -> None:
    assert member["address"] == peers.removeprefix("n0-")
    assert os.path.isdir(member["store"])

    appended = ledgermq("append", "grün", "--group", "g0", "--print-json").json
    assert appended["leader_id"] == "n0"
    index = appended["index"]
    assert ledgermq("get", str(index), "--group", "g0", "--print-json").json == {
        "index": index,
        "term": appended["term"],
        "pos": appended["pos"],
        "body": "grün",
    }
    monkeypatch.setattr(sys, "stdin", Typed("one\ntwo\n"))
    assert ledgermq("append", "-", "--group", "g0").out.splitlines() == [
        f"appended at {index + 1}, in term {appended['term']} by n0",
        f"appended at {index + 2}, in term {appended['term']} by n0",
    ]
    got = ledgermq("get", str(index), "--count", "3", "--group", "g0")
    assert [line.partition(": ")[2] for line in got.out.splitlines()] == ["grün", "one", "two"]
    missing = ledgermq("get", str(index + 3), "--group", "g0")
    assert missing.status == 1
    assert "INDEX_OUT_OF_RANGE" in missing.err

    found = ledgermq("metadata", "--group", "g0", "--print-json").json
    assert (found["leader"], found["term"]) == ("n0", appended["term"])
    assert ledgermq("metadata", "--group", "g0").out.splitlines()[0] == "group g0, leader n0"
    assert ledgermq("transfer", "n0", "--group", "g0").out == "n0 leads the group g0\n"
    other = ledgermq("append", "x", "--group", "g1", "--timeout", "0.2")
    assert other.status == 1
    assert "UNKNOWN_GROUP" in other.err

    load = ["--group", "g0", "--in-flight", "8", "--bytes", "16", "--seconds", "0.2", "--warm-up", "0"]
    measured = ledgermq("bench", *load, "--print-json").json
    assert measured["appends"] > 0
    assert measured["errors"] == {}
    assert 0 < measured["latency_ms"]["p50"] <= measured["latency_ms"]["max"]
    assert "appends/s of 16 B with 8 in flight" in ledgermq("bench", *load).out


@pytest.mark.slow
def test_restart(peers: str, tmp_path: Path, ledgermq: Ledgermq) -> None:
    where = ["--group", "g0", "--peers", peers]
    indexes: list[int] = []
    for turn in range(3):
        with started(peers, tmp_path) as (process, _):
            index = ledgermq("append", f"turn {turn}", *where, "--print-json").json["index"]
            indexes.append(index)
            for before, at in enumerate(indexes):
                assert ledgermq("get", str(at), *where, "--print-json").json["body"] == f"turn {before}"
            process.kill() if turn == 0 else process.terminate()
            assert process.wait(10) == (-signal.SIGKILL if turn == 0 else 0)


def test_nobody_there(peers: str, ledgermq: Ledgermq) -> None:
    for command in (["append", "x"], ["get", "0"], ["metadata"], ["transfer", "n0"]):
        result = ledgermq(*command, "--peers", peers, "--timeout", "0.1")
        assert result.status == 1
        assert result.err.startswith("ledgermq: ")
        assert len(result.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--peers", "n0"], "peers=n0: peer 'n0' is not ID-HOST:PORT"),
        (["--id", "n7"], "selfId=n7 is none of peers="),
        (["--set", "heartBeatTimeIntervalMs"], "--set heartBeatTimeIntervalMs"),
        (["--set", "heartBeatTimeIntervalM=1"], "heartBeatTimeIntervalMs is one"),
        (["--set", "heartBeatTimeIntervalMs=x"], "heartBeatTimeIntervalMs=x: Expected `int`"),
    ],
)
def test_settings_refused(flags: list[str], why: str, ledgermq: Ledgermq) -> None:
    result = ledgermq("server", *flags)
    assert result.status == 2
    assert why in result.err


def test_client_flags_refused(ledgermq: Ledgermq) -> None:
    result = ledgermq("append", "x", "--peers", "n0")
    assert result.status == 1
    assert result.err == "ledgermq: peer 'n0' is not ID-HOST:PORT\n"


@pytest.mark.slow
def test_port_taken(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as held:
        peers = f"n0-127.0.0.1:{held.getsockname()[1]}"
        argv = [sys.executable, "-m", "ledgermq.cli", "dledger", "server", "--peers", peers]
        argv += ["--store", str(tmp_path)]
        ended = subprocess.run(argv, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 1
    assert "member n0 cannot start: cannot listen on 127.0.0.1" in ended.stderr
    assert "Traceback" not in ended.stderr
