"""`python -m bench.dledger`: a group of three ledgermq nodes and one of three Java nodes in turn.

Java's are DLedger 0.3.2. Every run is a fresh group of processes with empty stores on this machine. Both
kinds get the same load: DLedger's JSON appends from one client with a constant number under way
(dledger_load.py). Like for like means that an entry counts once it is in the page cache, as in Java; "fsync"
is ledgermq's default, where it counts once it is on the disk. Failover and cold start run with each side's
default timers: Java's heartbeat comes every 2 s, ours every 100 ms, and a follower waits for three of the
former, for 2.5 to 4.5 of the latter.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.interop.harness.programs import Program, accepts_connections, eventually
from tests.ports import free_port

from bench import dledger_load, procfs
from bench.brokers import Java, Side, exit_on_sigterm
from bench.cases import Figures
from bench.clients import ROOT, build_java
from bench.report import Figure
from bench.rounds import Measured, Rounds, parser_of, settings_of

GROUP = "bench"
JVM_OPTIONS = (
    "-server",
    "-Xms512m",
    "-Xmx512m",
    "-XX:+UseG1GC",
    "--add-exports=java.base/sun.nio.ch=ALL-UNNAMED",  # as its file store unmaps on JDK 17
)
DATA_FILE_BYTES = 1 << 28
"""Of both kinds: three times Java's default of 1 GiB would be allocated for every run."""


@dataclass(frozen=True)
class Settings:
    rounds: int = 3
    warmup_s: float = 15
    window_s: float = 8
    kills: int = 20
    catch_up_entries: int = 500_000
    timeout_s: float = 120


TINY = Settings(rounds=1, warmup_s=0.2, window_s=0.5, kills=1, catch_up_entries=2_000, timeout_s=60)


@dataclass(frozen=True)
class Kind:
    """One side: which nodes, and when an entry counts."""

    name: str
    side: Side
    fsync: bool = False


class Group:
    """Three members as processes; see :func:`running`."""

    def __init__(self, kind: Kind, folder: Path, java: Java | None) -> None:
        self.kind = kind
        self._folder = folder
        self._java = java
        self.nodes: dict[str, Program] = {}
        self.peers = ";".join(f"n{number}-127.0.0.1:{free_port()}" for number in range(3))

    def start(self, name: str) -> None:
        self.nodes[name] = Program(
            f"{self.kind.name} {name}", self._argv(name), log_path=self._folder / f"{name}.out"
        )

    def _argv(self, name: str) -> list[str]:
        index_bytes = DATA_FILE_BYTES // 8
        if self.kind.side.is_java:
            assert self._java is not None
            settings = {
                "group": GROUP,
                "selfId": name,
                "peers": self.peers,
                "storeBaseDir": str(self._folder),
                "mappedFileSizeForEntryData": DATA_FILE_BYTES,
                "mappedFileSizeForEntryIndex": index_bytes,
            }
            words = [f"{key}={value}" for key, value in settings.items()]
            return self._java.argv("ledgermq.interop.DLedgerNode", *words, options=JVM_OPTIONS)
        flush = "quorum-fsync" if self.kind.fsync else "page-cache"
        flags = ["--group", GROUP, "--id", name, "--peers", self.peers, "--store", str(self._folder)]
        sizes = [
            "--set",
            f"mappedFileSizeForEntryData={DATA_FILE_BYTES}",
            "--set",
            f"mappedFileSizeForEntryIndex={index_bytes}",
        ]
        return [
            self.kind.side.python,
            "-m",
            "ledgermq.cli",
            "dledger",
            "server",
            *flags,
            "--flush",
            flush,
            *sizes,
        ]

    def leader(self, timeout_s: float) -> str:
        return eventually(
            lambda: dledger_load.find_leader(GROUP, self.peers), timeout_s, what="a leader of the group"
        )

    def store(self, name: str) -> Path:
        return self._folder / f"dledger-{name}"

    def acknowledged(self, timeout_s: float) -> None:
        """Returns when an append has been acknowledged by whoever leads."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            leader = dledger_load.find_leader(GROUP, self.peers, 0.2)
            if leader is not None and dledger_load.append(GROUP, self.peers, leader, b"x" * 128, 2.5):
                return
            time.sleep(0.001)
        raise RuntimeError(f"no append was acknowledged within {timeout_s} s")

    def close(self) -> None:
        for node in self.nodes.values():
            node.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


@dataclass
class Bench:
    kind: Kind
    settings: Settings
    work: Path
    java: Java | None

    @contextmanager
    def group(self, *, started: bool = True) -> Iterator[Group]:
        folder = Path(tempfile.mkdtemp(prefix=f"dledger-{self.kind.name}-", dir=self.work))
        group = Group(self.kind, folder, self.java)
        try:
            if started:
                for number in range(3):
                    group.start(f"n{number}")
                group.acknowledged(self.settings.timeout_s)
            yield group
        finally:
            group.close()


def loopback_bytes() -> int:
    for line in Path("/proc/net/dev").read_text().splitlines():
        if line.strip().startswith("lo:"):
            return int(line.split(":")[1].split()[8])
    return 0


def appending(bench: Bench, in_flight: int, body_bytes: int) -> Figures:
    settings = bench.settings
    with bench.group() as group:
        leader = group.leader(settings.timeout_s)
        argv = [sys.executable, "-m", "bench.dledger_load", "--peers", group.peers, "--group", GROUP]
        argv += ["--in-flight", str(in_flight), "--body-bytes", str(body_bytes)]
        argv += ["--warmup-s", str(settings.warmup_s), "--window-s", str(settings.window_s)]
        client = Program("load", argv, log_path=bench.work / "load.out", env={"PYTHONPATH": str(ROOT)})
        client.wait_for_line("^measuring", settings.timeout_s)
        before = {name: procfs.cpu_s(node.pid) for name, node in group.nodes.items()}
        wire_before = loopback_bytes()
        client_before = procfs.cpu_s(client.pid)
        time.sleep(settings.window_s * 0.95)
        client_cpu_s = procfs.cpu_s(client.pid) - client_before
        wire_bytes = (loopback_bytes() - wire_before) / 0.95
        cpu = {name: (procfs.cpu_s(node.pid) - before[name]) / 0.95 for name, node in group.nodes.items()}
        line = client.wait_for_line(r"^\{.*\}$", settings.timeout_s).group()
        figures: dict[str, float] = json.loads(line)
        appends = figures.pop("appends")
        followers = [seconds for name, seconds in cpu.items() if name != leader]
        return {
            "appends_per_s": figures["appends_per_s"],
            "leader_cpu_us": cpu[leader] / appends * 1e6,
            "follower_cpu_us": statistics.mean(followers) / appends * 1e6,
            "client_cpu_us": client_cpu_s / 0.95 / appends * 1e6,
            "wire_bytes": (wire_bytes - figures["client_wire_bytes"]) / appends,
            **{name: value for name, value in figures.items() if name.endswith("_us")},
            "leader_private_mib": procfs.memory(group.nodes[leader].pid).private_bytes / (1 << 20),
        }


def failover(bench: Bench) -> Figures:
    """From kill -9 of the leader to the next acknowledged append, by a client that asks all the time."""
    settings = bench.settings
    gaps: list[float] = []
    with bench.group() as group:
        for _ in range(settings.kills):
            leader = group.leader(settings.timeout_s)
            group.nodes[leader].kill()
            begin = time.monotonic()
            group.acknowledged(settings.timeout_s)
            gaps.append(time.monotonic() - begin)
            group.start(leader)
            host, port = dledger_load.members(group.peers)[leader]
            address = f"{host}:{port}"
            eventually(partial(accepts_connections, address), settings.timeout_s, what=address)
            # The next one to die shall not be the only one that has all entries.
            for _ in range(20):
                group.acknowledged(settings.timeout_s)
                time.sleep(0.05)
    gaps.sort()
    return {
        "p50_ms": statistics.median(gaps) * 1000,
        "p95_ms": gaps[min(len(gaps) - 1, round(len(gaps) * 0.95) - 1)] * 1000,
        "max_ms": gaps[-1] * 1000,
        "kills": len(gaps),
    }


def cold_start(bench: Bench) -> Figures:
    """From creating the three processes to a leader, and to the first acknowledged append."""
    with bench.group(started=False) as group:
        begin = time.monotonic()
        for number in range(3):
            group.start(f"n{number}")
        group.leader(bench.settings.timeout_s)
        leader_s = time.monotonic() - begin
        group.acknowledged(bench.settings.timeout_s)
        return {"leader_s": leader_s, "first_append_s": time.monotonic() - begin}


def catch_up(bench: Bench) -> Figures:
    """From creating the process of an empty follower until its log ends where the leader's does."""
    settings = bench.settings
    with bench.group(started=False) as group:
        group.start("n0")
        group.start("n1")
        leader = group.leader(settings.timeout_s)
        address = dledger_load.members(group.peers)[leader]
        with closing(dledger_load.Load(address, GROUP, leader, 128)) as load:
            load.send(256)
            while len(load.elapsed_ns) < settings.catch_up_entries:
                load.send(load.receive())
        wanted = _log_end(group.store(leader))
        begin = time.monotonic()
        group.start("n2")
        eventually(
            lambda: _log_end(group.store("n2")) >= wanted, settings.timeout_s, what="the follower's log"
        )
        elapsed_s = time.monotonic() - begin
        return {"entries_per_s": len(load.elapsed_ns) / elapsed_s, "seconds": elapsed_s}


def _log_end(store: Path) -> int:
    """The position behind the last entry in the data files: the last file that has something in it."""
    files = sorted((store / "data").glob("[0-9]*"))
    for path in reversed(files):
        with path.open("rb") as file:
            low, high = 0, path.stat().st_size // 4096
            while low < high:  # entries follow each other without a gap: the first page of zeros is the end
                middle = (low + high) // 2
                file.seek(middle * 4096)
                if any(file.read(4096)):
                    low = middle + 1
                else:
                    high = middle
            if low:
                return int(path.name) + low * 4096
    return 0


CASES: dict[str, tuple[str, Callable[[Bench], Figures]]] = {
    "append1": ("1 append under way, 128 B", lambda bench: appending(bench, 1, 128)),
    "append64": ("64 appends under way, 128 B", lambda bench: appending(bench, 64, 128)),
    "append64-1k": ("64 appends under way, 1 KiB", lambda bench: appending(bench, 64, 1024)),
    "append1000": ("1,000 appends under way, 128 B", lambda bench: appending(bench, 1000, 128)),
    "cold-start": ("three processes to a leader", cold_start),
    "failover": ("kill -9 of the leader to the next acknowledged append", failover),
    "catch-up": ("an empty follower reaches the end of a long log", catch_up),
}


def _appending(case: str, label: str, *, rate: float | None = None, cpu: float | None = None) -> list[Figure]:
    return [
        Figure(case, "appends_per_s", f"{label}: throughput", "/s", more_is_better=True, compiled=rate),
        Figure(case, "leader_cpu_us", f"{label}: CPU per append, leader", "us", compiled=cpu),
        Figure(case, "follower_cpu_us", f"{label}: a follower", "us"),
        Figure(case, "p50_us", f"{label}: median latency", "us"),
    ]


FIGURES = [
    *_appending("append1", "1 under way, 128 B"),
    *_appending("append64", "64 under way, 128 B", rate=6, cpu=0.125),
    *_appending("append64-1k", "64 under way, 1 KiB"),
    *_appending("append1000", "1,000 under way, 128 B"),
    Figure("cold-start", "leader_s", "cold start to a leader", "s", True),
    Figure("cold-start", "first_append_s", "cold start to the first acknowledged append", "s", True),
    Figure("failover", "p50_ms", "kill of the leader: median", "ms", True),
    Figure("failover", "p95_ms", "kill of the leader: p95", "ms", True),
    Figure("catch-up", "entries_per_s", "an empty follower catches up", "/s", more_is_better=True),
]


def kinds(options: argparse.Namespace) -> list[Kind]:
    compiled, interpreted = ROOT / ".venv-compiled/bin/python", ROOT / ".venv/bin/python"
    known = {
        "java": Kind("java", Side("java")),
        "compiled": Kind("compiled", Side("compiled", str(compiled))),
        "compiled-fsync": Kind("compiled-fsync", Side("compiled-fsync", str(compiled)), fsync=True),
        "interpreted": Kind("interpreted", Side("interpreted", str(interpreted))),
    }
    return [known[name] for name in options.kind or ("java", "compiled", "compiled-fsync")]


def add_kinds(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--kind", action="append", help="java, compiled, compiled-fsync, interpreted; repeat it"
    )


def version(side: Side) -> str:
    return f"DLedger 0.3.2, JVM {' '.join(JVM_OPTIONS)}" if side.is_java else side.version()


def main(argv: list[str] | None = None) -> int:
    parser = parser_of("python -m bench.dledger", __doc__, CASES, Settings)
    add_kinds(parser)
    options = parser.parse_args(argv)
    settings = settings_of(options, Settings(), TINY)
    work = Path(tempfile.mkdtemp(prefix="ledgermq-bench-"))
    try:
        chosen = kinds(options)
        java = build_java(work) if any(kind.side.is_java for kind in chosen) else None
        rounds = Rounds(options.results, "bench.dledger_load", settings)
        for case in options.case or CASES:
            description, measure = CASES[case]
            measured = [
                Measured(kind.side, version(kind.side), partial(measure, Bench(kind, settings, work, java)))
                for kind in chosen
            ]
            rounds.case(case, description, 1 if case == "failover" else settings.rounds, measured)
        return rounds.finish(FIGURES, options.markdown)
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    exit_on_sigterm()
    sys.exit(main())
