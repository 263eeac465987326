"""ledgermq cluster: real processes, killed and started again; status and transfer of what runs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ledgermq.cli.cluster_layout import environment
from ledgermq.client import Message, Producer
from ledgermq.testing.local_broker import ANY_DISK

pytestmark = pytest.mark.slow

LEDGERMQ = [sys.executable, "-m", "ledgermq.cli"]
SECONDS_MAX = 60
SETTINGS = [f"{key}={value}" for key, value in ANY_DISK.items()]
FLAGS = [part for setting in SETTINGS for part in ("--set", setting)]


class Cluster:
    """A cluster that runs: the facts of its first line, and what it has reported since."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()
        self.facts: dict[str, Any] = json.loads(line)
        self.name_server: str = self.facts["name_server"]

    def pid(self, node: str) -> int:
        return int(next(facts["pid"] for facts in self.facts["nodes"] if facts["node"] == node))

    def event(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The next event that is wanted; those before it are dropped."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event: dict[str, Any] = json.loads(line)
            if wanted(event):
                return event
        raise AssertionError("the cluster has ended")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run(*arguments, "-n", self.name_server)

    def members(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.run("cluster", "status", "--json").stdout)
        return found

    def until(self, condition: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
        """The status for which ``condition`` holds."""
        end = time.monotonic() + SECONDS_MAX
        while not condition(members := self.members()):
            assert time.monotonic() < end, members
        return members


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LEDGERMQ, *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )


@contextmanager
def started(folder: Path, *arguments: str) -> Iterator[Cluster]:
    command = [*LEDGERMQ, "cluster", "--store", str(folder), *FLAGS, "--print-json", *arguments]
    process = subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield Cluster(process)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=SECONDS_MAX)
        finally:
            process.kill()


def role_of(members: list[dict[str, Any]], broker: str, member: str) -> str:
    return str(next(row["role"] for row in members if (row["broker"], row["member"]) == (broker, member)))


def is_gone(pid: int) -> bool:
    """Its parent has died, so it is not ours to wait for: until init has done that, it is a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_node_is_killed_and_comes_back(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with started(folder, "--nodes", "3", "--port", "0") as cluster:
        every = [(f"g{group}", f"n{node}") for group in range(3) for node in range(3)]
        spread = cluster.until(
            lambda rows: all(role_of(rows, f"g{n}", f"n{n}") == "LEADER" for n in range(3))
        )
        assert [(row["broker"], row["member"]) for row in spread] == every
        assert {row["role"] for row in spread} == {"LEADER", "FOLLOWER"}
        assert cluster.run("topic", "create", "hello", "--queues", "1").returncode == 0
        assert cluster.run("send", "hello", "before", "--count", "10").returncode == 0

        os.kill(cluster.pid("n1"), signal.SIGKILL)
        ended = cluster.event(lambda event: event["event"] == "node_ended")
        assert (ended["node"], ended["how"]) == ("n1", "was ended by SIGKILL")
        rows = cluster.until(lambda rows: any(role_of(rows, "g1", name) == "LEADER" for name in ("n0", "n2")))
        assert role_of(rows, "g1", "n1") == "UNREACHABLE"
        table = cluster.run("cluster", "status")
        assert table.returncode == 0, "every group has a leader"
        assert table.stdout.split()[:4] == ["broker", "member", "address", "id"]
        assert table.stdout.count("UNREACHABLE") == 3
        assert cluster.run("send", "hello", "after", "--count", "10").returncode == 0

        again = next(facts["start_again"] for facts in cluster.facts["nodes"] if facts["node"] == "n1")
        command = [*LEDGERMQ, *again[1:], "--print-json"]
        with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as node:
            try:
                rows = cluster.until(lambda rows: role_of(rows, "g1", "n1") == "LEADER")
                assert {row["role"] for row in rows} == {"LEADER", "FOLLOWER"}
            finally:
                node.terminate()
            assert node.wait(SECONDS_MAX) == 0
        consumed = cluster.run("consume", "hello", "--from-first", "--count", "20", "--timeout", "20")
        bodies = [line.rpartition(" ")[2] for line in consumed.stdout.splitlines()]
        assert sorted(bodies) == ["after"] * 10 + ["before"] * 10
        cluster.process.send_signal(signal.SIGINT)
        _, err = cluster.process.communicate(timeout=SECONDS_MAX)
        assert (cluster.process.returncode, err) == (0, "")
    # The same directory goes on, at the same ports.
    with started(folder) as cluster:
        consumed = cluster.run("consume", "hello", "--from-first", "--count", "20", "--timeout", "20")
        assert consumed.returncode == 0, consumed.stderr


def test_with_three_groups_a_dead_node_costs_no_send(tmp_path: Path) -> None:
    """A producer tries another group when one is without its leader."""

    async def sends(name_server: str, pid: int) -> tuple[int, int]:
        """How many were acknowledged when the node was killed, and after."""
        acknowledged = 0

        async def send(producer: Producer, until: Callable[[], bool]) -> None:
            nonlocal acknowledged
            while not until():
                await producer.send(Message("hello", b"x"))
                acknowledged += 1

        async with Producer("p", name_server) as producer, asyncio.timeout(SECONDS_MAX):
            await asyncio.gather(*(send(producer, lambda: acknowledged >= 200) for _ in range(4)))
            before = acknowledged
            os.kill(pid, signal.SIGKILL)
            end = time.monotonic() + 1
            await asyncio.gather(*(send(producer, lambda: time.monotonic() > end) for _ in range(4)))
        return before, acknowledged - before

    with started(tmp_path, "--port", "0") as cluster:
        assert cluster.run("topic", "create", "hello", "--queues", "2").returncode == 0
        before, after = asyncio.run(sends(cluster.name_server, cluster.pid("n1")))
        assert after > 0, "no send raised"
        change = cluster.event(lambda event: event.get("group") == "g1" and event["leader"] in ("n0", "n2"))
        assert change["before"] == "n1"
        status = cluster.run("topic", "status", "hello", "--print-json")
        assert sum(row["max_offset"] for row in json.loads(status.stdout)) >= before + after


def test_leadership_is_handed_over(tmp_path: Path) -> None:
    with started(tmp_path, "--nodes", "3", "--groups", "1", "--port", "0") as cluster:
        cluster.until(lambda rows: role_of(rows, "g0", "n0") == "LEADER")
        done = cluster.run("cluster", "transfer", "g0", "n2")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == (
            "n2 leads the group g0; n0 is its preferred leader and will lead again when it can\n"
        )
        change = cluster.event(lambda event: event.get("leader") == "n2")
        assert (change["group"], change["before"]) == ("g0", "n0")
        for arguments, why in (
            (("g9", "n0"), "no group g9 is registered; groups: g0"),
            (("g0", "n9"), "group g0 has no member n9; members: n0, n1, n2"),
        ):
            refused = cluster.run("cluster", "transfer", *arguments)
            assert (refused.returncode, refused.stderr) == (1, f"ledgermq: {why}\n")


def test_without_a_majority_there_is_no_leader(tmp_path: Path) -> None:
    with started(tmp_path, "--nodes", "3", "--groups", "1", "--port", "0") as cluster:
        for node in ("n0", "n1"):
            os.kill(cluster.pid(node), signal.SIGKILL)
        rows = cluster.until(lambda rows: role_of(rows, "g0", "n2") == "CANDIDATE")
        assert [row["role"] for row in rows] == ["UNREACHABLE", "UNREACHABLE", "CANDIDATE"]
        status = cluster.run("cluster", "status")
        assert (status.returncode, status.stderr) == (1, "ledgermq: without a leader: g0\n")
        # The last one too: then there is nothing to watch any more.
        os.kill(cluster.pid("n2"), signal.SIGKILL)
        _, err = cluster.process.communicate(timeout=SECONDS_MAX)
        assert (cluster.process.returncode, err) == (1, "ledgermq: no node runs any more\n")


def test_nodes_end_with_who_started_them(tmp_path: Path) -> None:
    with started(tmp_path, "--nodes", "2", "--groups", "1", "--port", "0") as cluster:
        pids = [cluster.pid(node) for node in ("n0", "n1")]
        cluster.process.kill()
        end = time.monotonic() + SECONDS_MAX
        while not all(map(is_gone, pids)):
            assert time.monotonic() < end
            time.sleep(0.01)
    assert not (tmp_path / "n0" / "g0" / "abort").exists(), "they have stopped cleanly"


def test_the_block_says_what_to_try(tmp_path: Path) -> None:
    command = [*LEDGERMQ, "cluster", "--nodes", "1", "--port", "0", "--store", str(tmp_path), *FLAGS]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(12)]
            name_server = lines[1].split()[2].rstrip(",")
            assert lines[1] == f"  name server {name_server}, data {tmp_path}\n"
            assert lines[3].split() == ["node", "pid", "leads", "brokers"]
            assert lines[4].split()[0] == "n0"
            pid = int(lines[4].split()[1])
            assert lines[4].split()[2] == "g0"
            tries = {line.split(":")[0]: line.partition(":")[2].strip() for line in lines[6:12]}
            assert tries["Send"] == f"ledgermq send hello 'first message' -n {name_server}"
            assert tries["Kill"].startswith(f"kill -9 {pid} ")
        finally:
            process.terminate()
        assert process.wait(SECONDS_MAX) == 0


def test_what_cannot_start(tmp_path: Path) -> None:
    with started(tmp_path / "a", "--nodes", "1", "--port", "0") as cluster:
        port = cluster.name_server.rpartition(":")[2]
        for arguments, why in (
            (["--store", str(tmp_path / "a")], f"port {port} is in use, and the cluster needs {port} to "),
            (["--store", str(tmp_path / "a"), "--nodes", "3"], "has nodes=1: leave out --nodes 3"),
            (["--store", str(tmp_path / "b"), "--port", port], f"port {port} is in use"),
        ):
            refused = run("cluster", *arguments)
            assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)
            assert why in refused.stderr
    refused = run("cluster", "--nodes", "1", "--port", "0", "--store", str(tmp_path / "c"), "--set", "x")
    assert refused.returncode == 1
    assert refused.stderr.splitlines() == [
        "ledgermq: --set x: expected is KEY=VALUE",
        "ledgermq: node n0 did not start: it ended with status 2",
    ]
    refused = run("cluster", "--nodes", "3", "status")
    assert refused.returncode == 2
    assert "flags of status stand behind its name" in refused.stderr


def test_status_of_what_is_no_group(tmp_path: Path) -> None:
    command = [*LEDGERMQ, "serve", "--port", "0", "--store", str(tmp_path), "--print-json"]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            told = json.loads(process.stdout.readline())
            done = run("cluster", "status", "--json", "-n", told["name_server"])
            assert done.returncode == 0
            (row,) = json.loads(done.stdout)
            assert (row["address"], row["role"], row["group"]) == (told["broker"], "MASTER", None)
        finally:
            process.terminate()
    refused = run("cluster", "status", "-n", "127.0.0.1:1")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "is it running?" in refused.stderr
