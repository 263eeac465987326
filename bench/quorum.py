"""`python -m bench.quorum`: three ledgermq brokers on DLedger and three Java ones in turn, A B A B.

Every run is a fresh cluster with empty stores on this machine; the load is the stock Java benchmark
producer. Both makers are told the same: `enableDLegerCommitLog=true`, and ASYNC_FLUSH, where a message counts
once a majority has it in the page cache, which is what Java's DLedger does. "fsync" is ledgermq with
SYNC_FLUSH, where a majority has it on the disk. CPU is that of each broker's process per message stored.
Failover and cold start run with each maker's default timers.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.interop.harness.programs import Program, eventually

from bench import procfs, report, wire
from bench.brokers import Java, Side, exit_on_sigterm
from bench.cases import MIB, TOPIC, Figures, drain
from bench.clients import QUEUE_COUNT, Clients, failed_sends
from bench.dledger import Kind, add_kinds, kinds
from bench.quorum_cluster import NODES, QuorumCluster, jvm_options, running_quorum
from bench.report import Figure
from bench.rounds import Measured, Rounds, add_clients, clients_of, parser_of, settings_of

STOCK_POLL_S = 30
"""How often a stock client asks for routes."""
THREE_GROUPS = ("broker-a", "broker-b", "broker-c")


@dataclass(frozen=True)
class Settings:
    rounds: int = 3
    windows: int = 3
    # Three Java brokers and the client's JVM share the cores: their compilers need longer than one broker's.
    warmup_s: float = 45
    window_s: float = 10
    senders: int = 64
    drain_messages: int = 300_000
    kills: int = 20
    java_kills: int = 4
    # Three of nine JVMs that come back need minutes on two cores.
    java_group_kills: int = 1
    # With stock settings a client asks for routes every 30 s, so each kill takes up to that long.
    stock_kills: int = 6
    timeout_s: float = 180


TINY = Settings(
    rounds=1,
    windows=1,
    warmup_s=0.2,
    window_s=0.5,
    senders=8,
    drain_messages=2_000,
    kills=1,
    java_kills=1,
    java_group_kills=1,
    stock_kills=1,
    timeout_s=60,
)


@dataclass
class Bench:
    kind: Kind
    clients: Clients
    settings: Settings
    work: Path
    java: Java | None

    @contextmanager
    def cluster(self, groups: Sequence[str] = THREE_GROUPS[:1]) -> Iterator[QuorumCluster]:
        with running_quorum(self.kind, self.work, self.java, groups) as cluster:
            cluster.new_topic(TOPIC, QUEUE_COUNT, self.settings.timeout_s)
            cluster.settle(TOPIC, QUEUE_COUNT, self.settings.timeout_s)
            yield cluster


# ---- steady load ----


def sending(bench: Bench, *, body_bytes: int = 128, batch: int = 1) -> list[Figures]:
    """Synchronous senders at full speed; the figures of each window."""
    settings = bench.settings
    with bench.cluster() as cluster:
        producer = bench.clients.producer(
            cluster, TOPIC, senders=settings.senders, body_bytes=body_bytes, batch=batch
        )
        with wire.Peer(cluster.address) as peer:
            stored = partial(wire.stored_count, peer, TOPIC, QUEUE_COUNT)
            eventually(stored, settings.timeout_s, what=f"the first message, see {producer.log_path}")
        leader = cluster.leader()
        time.sleep(settings.warmup_s)
        if cluster.leader() != leader:  # the producer would not know of it for half a minute
            raise RuntimeError("the leadership changed during the warm-up")
        windows = [_window(cluster, producer, settings.window_s) for _ in range(settings.windows)]
        if not producer.alive:
            raise RuntimeError(f"the producer ended:\n{producer.output()[-4000:]}")
        windows[-1]["failed"] = failed_sends(producer)
        producer.kill()
        return windows


def _window(cluster: QuorumCluster, client: Program, window_s: float) -> Figures:
    leader = cluster.leader()
    pids = {**cluster.pids(), "client": client.pid}
    with wire.Peer(leader.address) as peer:

        def look() -> tuple[float, int, dict[str, float]]:
            cpu_s = {name: procfs.cpu_s(pid) for name, pid in pids.items()}
            return time.monotonic(), wire.stored_count(peer, TOPIC, QUEUE_COUNT), cpu_s

        begin, stored_before, before = look()
        time.sleep(window_s)
        end, stored_after, after = look()
    if cluster.leader() != leader:
        raise RuntimeError("the leadership changed during the window")
    messages = stored_after - stored_before
    if not messages:
        raise RuntimeError(f"nothing was stored in {end - begin:.1f} s:\n{client.output()[-4000:]}")
    cpu_us = {name: (after[name] - before[name]) / messages * 1e6 for name in pids}
    first, second = (cpu_us[node] for node in NODES if node != leader.node)
    return {
        "messages_per_s": messages / (end - begin),
        "cpu_us": cpu_us[leader.node] + first + second,
        "leader_cpu_us": cpu_us[leader.node],
        "follower1_cpu_us": first,
        "follower2_cpu_us": second,
        "client_cpu_us": cpu_us["client"],
        "leader_private_mib": procfs.memory(pids[leader.node]).private_bytes / MIB,
    }


def draining(bench: Bench) -> list[Figures]:
    """A backlog read by a push consumer from the leader; CPU is the leader's."""
    settings = bench.settings
    with bench.cluster() as cluster:
        producer = bench.clients.producer(
            cluster, TOPIC, senders=settings.senders, body_bytes=128, messages=settings.drain_messages
        )
        eventually(lambda: not producer.alive, 10 * settings.timeout_s, what="the backlog sent")
        cluster.settle(TOPIC, QUEUE_COUNT, settings.timeout_s)
        with wire.Peer(cluster.address) as peer:
            messages = wire.stored_count(peer, TOPIC, QUEUE_COUNT)
        drain(bench.clients, cluster, "warm-up", messages, settings.timeout_s)
        return [drain(bench.clients, cluster, "measured", messages, settings.timeout_s)]


# ---- a leader dies ----


@dataclass(frozen=True)
class Sent:
    """One line of a slow sender; `port` is that of the broker that stored the message, 0 for none."""

    begin_ns: int
    end_ns: int
    port: int


class Sends:
    """What became of the sends of a slow sender so far."""

    def __init__(self, sender: Program) -> None:
        self.all: list[Sent] = []
        self._sender = sender
        self._read_bytes = 0

    def read(self) -> list[Sent]:
        """Those that ended since the last call: reading all again would take the brokers' CPU."""
        if not self._sender.alive:
            raise RuntimeError(f"the sender ended:\n{self._sender.output()[-4000:]}")
        with self._sender.log_path.open("rb") as log:
            log.seek(self._read_bytes)
            data = log.read()
        data = data[: data.rfind(b"\n") + 1]
        self._read_bytes += len(data)
        lines = re.findall(rb"^(\d+) (\d+) (?:OK (\d+)|FAILED .*)$", data, re.MULTILINE)
        new = [Sent(int(begin), int(end), int(port or 0)) for begin, end, port in lines]
        self.all += new
        return new

    def acknowledged(self, since_ns: int, dead: set[int], timeout_s: float) -> Sent:
        """The first send acknowledged after `since_ns` by a broker whose port is not in `dead`: an answer of
        a dead one may still be on its way.
        """

        def look() -> Sent | None:
            good = (sent for sent in self.read() if sent.port and sent.port not in dead)
            return next((sent for sent in good if sent.end_ns > since_ns), None)

        return eventually(look, timeout_s, what=f"an acknowledged send, see {self._sender.log_path}")


def failover(
    bench: Bench, *, poll_ms: int = 0, groups: Sequence[str] = THREE_GROUPS[:1], threads: int = 1
) -> list[Figures]:
    """From kill -9 of a machine that leads a group to the next acknowledged send, by a client that sends all
    the time; the machine comes back after it, and everything is as before when the next one dies.
    """
    settings = bench.settings
    kills = settings.kills
    if bench.kind.side.is_java:
        kills = settings.java_kills if len(groups) == 1 else settings.java_group_kills
    waits_for_route = not poll_ms and len(groups) == 1
    if waits_for_route:
        kills = min(kills, settings.stock_kills)
    gaps_ms: list[float] = []
    with bench.cluster(groups) as cluster:
        sender = bench.clients.slow_sender(cluster, TOPIC, poll_ms=poll_ms, interval_ms=10, threads=threads)
        sends = Sends(sender)
        for number in range(kills):
            cluster.settle(TOPIC, QUEUE_COUNT, settings.timeout_s)
            if waits_for_route:  # the last kill ended when a route was asked for: spread them in between
                time.sleep(STOCK_POLL_S * (number + 0.5) / kills)
            sends.acknowledged(time.monotonic_ns(), set(), settings.timeout_s)
            node = cluster.leader(groups[number % len(groups)]).node
            dead = {member.listen_port for member in cluster.members if member.node == node}
            killed_ns = time.monotonic_ns()
            cluster.kill(node)
            acknowledged = sends.acknowledged(killed_ns, dead, settings.timeout_s)
            gaps_ms.append((acknowledged.end_ns - killed_ns) / 1e6)
            cluster.start(node)
        cluster.wait_for_leaders(settings.timeout_s)
        sends.read()
        sender.kill()
    return [
        {
            **percentiles(gaps_ms),
            "kills": kills,
            "sends": len(sends.all),
            "failed": sum(not sent.port for sent in sends.all),
            "slowest_send_ms": max(sent.end_ns - sent.begin_ns for sent in sends.all if sent.port) / 1e6,
        }
    ]


def percentiles(values_ms: Sequence[float]) -> Figures:
    """Nearest rank: the 95th of 20 is the last but one."""
    ordered = sorted(values_ms)
    rank = -(-len(ordered) * 95 // 100)
    return {"p50_ms": statistics.median(ordered), "p95_ms": ordered[rank - 1], "max_ms": ordered[-1]}


def cold_start(bench: Bench) -> list[Figures]:
    """From creating the three processes, a name server running, to a master and to the first send."""
    with running_quorum(bench.kind, bench.work, bench.java, started=False) as cluster:
        begin = time.monotonic()
        for node in NODES:
            cluster.start(node)
        led_at, sent_at = cluster.first_send("first", bench.settings.timeout_s)
        cpu_s = sum(procfs.cpu_s(pid) for pid in cluster.pids().values())
    return [{"leader_s": led_at - begin, "first_send_s": sent_at - begin, "cpu_s": cpu_s}]


# ---- what is run, and what is wanted ----

CASES: dict[str, tuple[str, Callable[[Bench], list[Figures]]]] = {
    "send64": ("64 synchronous senders, 128 B", sending),
    "send64-1k": ("64 synchronous senders, 1 KiB", lambda bench: sending(bench, body_bytes=1024)),
    "batch": ("64 synchronous senders of batches of 32, 128 B", lambda bench: sending(bench, batch=32)),
    "drain": ("a backlog drained by a push consumer", draining),
    "cold-start": ("three processes to the first acknowledged send", cold_start),
    "failover-poll": (
        "kill -9 of the leader, a client that asks for routes every 100 ms",
        lambda bench: failover(bench, poll_ms=100),
    ),
    "failover-stock": ("kill -9 of the leader, a client with stock settings", failover),
    "failover-groups": (
        "kill -9 of a machine, three groups, four threads of a client with stock settings",
        lambda bench: failover(bench, groups=THREE_GROUPS, threads=4),
    ),
}
ONCE = ("failover-poll", "failover-stock", "failover-groups")


def _sending(case: str, label: str, *, rate: float | None = None, cpu: float | None = None) -> list[Figure]:
    return [
        Figure(case, "messages_per_s", f"{label}: throughput", "/s", more_is_better=True, compiled=rate),
        Figure(case, "cpu_us", f"{label}: CPU per message, all three", "us", compiled=cpu),
        Figure(case, "leader_cpu_us", f"{label}: leader", "us"),
        Figure(case, "follower1_cpu_us", f"{label}: a follower", "us"),
        Figure(case, "follower2_cpu_us", f"{label}: the other", "us"),
    ]


def _failover(
    case: str, label: str, *, p95: float | None = None, failed: float | None = None
) -> list[Figure]:
    return [
        Figure(case, "p50_ms", f"{label}: median", "ms", True),
        Figure(case, "p95_ms", f"{label}: p95", "ms", True, compiled=p95),
        Figure(case, "failed", f"{label}: failed sends", "of all", True, compiled=failed),
        Figure(case, "slowest_send_ms", f"{label}: slowest send", "ms", True),
    ]


FIGURES = [
    *_sending("send64", "64 senders, 128 B", rate=6, cpu=0.1),
    *_sending("send64-1k", "64 senders, 1 KiB"),
    *_sending("batch", "batches of 32"),
    Figure("drain", "messages_per_s", "draining", "/s", more_is_better=True),
    Figure("drain", "cpu_us", "draining: CPU per message, leader", "us"),
    Figure("cold-start", "leader_s", "cold start to a registered master", "s", True),
    Figure("cold-start", "first_send_s", "cold start to the first acknowledged send", "s", True, compiled=2),
    *_failover("failover-poll", "kill of the leader, polling client", p95=1000),
    *_failover("failover-stock", "kill of the leader, stock client"),
    *_failover("failover-groups", "kill of a machine, three groups, stock client", failed=0),
]


def main(argv: list[str] | None = None) -> int:
    parser = parser_of("python -m bench.quorum", __doc__, CASES, Settings)
    add_kinds(parser)
    add_clients(parser)
    options = parser.parse_args(argv)
    settings = settings_of(options, Settings(), TINY)
    work = Path(tempfile.mkdtemp(prefix="ledgermq-bench-"))
    try:
        return _measure(options, settings, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _measure(options: argparse.Namespace, settings: Settings, work: Path) -> int:
    chosen = kinds(options)
    clients, java = clients_of(options, any(kind.side.is_java for kind in chosen), work)
    print(f"machine: {report.machine()}, load average {os.getloadavg()[0]:.2f}; clients: {clients.name}")
    rounds = Rounds(options.results, clients.name, settings)
    for case in options.case or CASES:
        description, measure = CASES[case]
        group_count = 3 if case == "failover-groups" else 1
        measured = [
            Measured(
                kind.side,
                version(kind.side, group_count),
                partial(measure, Bench(kind, clients, settings, work, java)),
            )
            for kind in chosen
        ]
        rounds.case(case, description, 1 if case in ONCE else settings.rounds, measured)
    return rounds.finish(FIGURES, options.markdown)


def version(side: Side, group_count: int) -> str:
    if side.is_java:
        return f"Apache RocketMQ 5.5.0, DLedger 0.3.2, JVM {' '.join(jvm_options(group_count))}"
    return side.version()


if __name__ == "__main__":
    exit_on_sigterm()
    sys.exit(main())
