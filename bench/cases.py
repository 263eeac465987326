"""The cases: what is done to one broker, and the figures that come out.

A case starts its own cluster on an empty store, so nothing of an earlier run is in it. Figures of a window
(after the warm-up, the clients at full speed): messages are counted by the broker's own max offsets, CPU is
user and system time of the broker process from /proc/PID/stat, memory is described at procfs.Memory.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.interop.harness.programs import Program, eventually

from bench import procfs, wire
from bench.brokers import Cluster, Java, Side, running
from bench.clients import QUEUE_COUNT, Clients, Served, failed_sends, load

Figures = dict[str, float]

TOPIC = "bench"
MIB = 1 << 20


@dataclass(frozen=True)
class Settings:
    """How long and how much."""

    rounds: int = 3
    # Long enough for the JIT compilers of the broker and of the client: the rates of the Java broker still
    # rise after 20 s on two cores.
    warmup_s: float = 30
    window_s: float = 15
    senders: int = 64
    drain_messages: int = 2_000_000
    recovery_bytes: int = 5 << 30
    starts: int = 3
    # A case that takes longer than this is stuck.
    timeout_s: float = 900


TINY = Settings(
    rounds=1,
    warmup_s=0.2,
    window_s=0.5,
    senders=8,
    drain_messages=5_000,
    recovery_bytes=16 * MIB,
    starts=1,
    timeout_s=30,
)


@dataclass
class Bench:
    """What a case needs to run against one side."""

    side: Side
    clients: Clients
    settings: Settings
    work: Path
    java: Java | None

    @contextmanager
    def cluster(self, config: dict[str, str] | None = None) -> Iterator[Cluster]:
        with running(self.side, self.work, self.java, config) as cluster:
            cluster.new_topic(TOPIC, QUEUE_COUNT)
            yield cluster


@dataclass
class Window:
    """A stretch of steady sending."""

    cluster: Cluster
    client: Program
    _peer: wire.Peer = field(init=False)
    _start: tuple[float, int, float, float] = field(init=False)

    def __post_init__(self) -> None:
        self._peer = wire.Peer(self.cluster.address)
        self._start = self._look()

    def _look(self) -> tuple[float, int, float, float]:
        stored = wire.stored_count(self._peer, TOPIC, QUEUE_COUNT)
        return time.monotonic(), stored, procfs.cpu_s(self.cluster.broker_pid), procfs.cpu_s(self.client.pid)

    def close(self) -> Figures:
        begin, end = self._start, self._look()
        self._peer.close()
        elapsed_s, messages, broker_cpu_s, client_cpu_s = (
            after - before for before, after in zip(begin, end, strict=True)
        )
        if not messages:
            raise RuntimeError(f"nothing was stored in {elapsed_s:.1f} s:\n{self.client.output()[-4000:]}")
        return {
            "messages_per_s": messages / elapsed_s,
            "cpu_us": broker_cpu_s / messages * 1e6,
            "client_cpu_us": client_cpu_s / messages * 1e6,
            "broker_cores": broker_cpu_s / elapsed_s,
        }


def sending(
    bench: Bench,
    *,
    body_bytes: int = 128,
    batch: int = 1,
    encoding: str = wire.BINARY,
    config: dict[str, str] | None = None,
) -> Figures:
    """Synchronous senders at full speed."""
    settings = bench.settings
    with bench.cluster(config) as cluster:
        producer = bench.clients.producer(
            cluster, TOPIC, senders=settings.senders, body_bytes=body_bytes, batch=batch, encoding=encoding
        )
        time.sleep(settings.warmup_s)
        window = Window(cluster, producer)
        time.sleep(settings.window_s)
        figures = window.close()
        if not producer.alive:
            raise RuntimeError(f"the producer ended:\n{producer.output()[-4000:]}")
        figures["failed"] = failed_sends(producer)
        figures["private_mib"] = procfs.memory(cluster.broker_pid).private_bytes / MIB
        producer.kill()
        return figures


def one_sender(bench: Bench) -> Figures:
    """One thread, one message at a time: what a send takes from the caller's side."""
    settings = bench.settings
    with bench.cluster() as cluster:
        client = bench.clients.latency(
            cluster, TOPIC, body_bytes=128, warmup_s=settings.warmup_s, window_s=settings.window_s
        )
        client.wait_for_line("^measuring", settings.timeout_s)
        window = Window(cluster, client)
        time.sleep(settings.window_s * 0.8)  # ends before the client does
        figures = window.close()
        line = client.wait_for_line(r"^\{.*\}$", settings.timeout_s).group()
        return figures | {name: value for name, value in json.loads(line).items() if name.endswith("_us")}


def two_million(bench: Bench) -> Figures:
    """Messages sent singly, then drained by a push consumer from the first to the last; memory after each."""
    settings = bench.settings
    messages = settings.drain_messages
    with bench.cluster() as cluster:
        producer = bench.clients.producer(
            cluster, TOPIC, senders=settings.senders, body_bytes=128, messages=messages
        )
        eventually(lambda: not producer.alive, settings.timeout_s, what=f"{messages} messages sent")
        with wire.Peer(cluster.address) as peer:
            messages = eventually(
                lambda: wire.stored_count(peer, TOPIC, QUEUE_COUNT), 10, what="stored messages"
            )
        figures = {"private_after_send_mib": procfs.memory(cluster.broker_pid).private_bytes / MIB}
        drain(bench.clients, cluster, "warm-up", messages, settings.timeout_s)
        figures |= drain(bench.clients, cluster, "measured", messages, settings.timeout_s)
        memory = procfs.memory(cluster.broker_pid)
        figures["private_after_drain_mib"] = memory.private_bytes / MIB
        figures["resident_after_drain_mib"] = memory.resident_bytes / MIB
        return figures


def drain(clients: Clients, cluster: Served, group: str, messages: int, timeout_s: float) -> Figures:
    """The figures between a twentieth and the whole: the consumer's start is not in them."""
    with wire.Peer(cluster.address) as peer:
        wire.create_group(peer, group)
        for queue_id in range(QUEUE_COUNT):  # a new group would begin at the end of the queues
            fields = {"consumerGroup": group, "topic": TOPIC, "queueId": queue_id, "commitOffset": 0}
            peer.ask(wire.UPDATE_CONSUMER_OFFSET, fields)
    consumer = clients.consumer(cluster, TOPIC, group, messages=messages)
    begin = _wait_consumed(consumer, messages // 20, timeout_s)
    begin_cpu_s = procfs.cpu_s(cluster.broker_pid)
    end = _wait_consumed(consumer, messages, timeout_s)
    end_cpu_s = procfs.cpu_s(cluster.broker_pid)
    consumer.kill()
    count = max(1, end[1] - begin[1])
    return {
        "messages_per_s": count / max(1e-9, (end[0] - begin[0]) / 1e9),
        "cpu_us": (end_cpu_s - begin_cpu_s) / count * 1e6,
    }


def _wait_consumed(consumer: Program, messages: int, timeout_s: float) -> tuple[int, int]:
    """The first line of the consumer that says at least `messages`: its nanoseconds and its count."""

    def look() -> tuple[int, int] | None:
        if not consumer.alive:
            raise RuntimeError(f"the consumer ended:\n{consumer.output()[-4000:]}")
        for ns, count in re.findall(r"^(\d+) consumed (\d+)$", consumer.output(), re.MULTILINE):
            if int(count) >= messages:
                return int(ns), int(count)
        return None

    return eventually(look, timeout_s, what=f"{messages} messages consumed, see {consumer.log_path}")


def start_up(bench: Bench) -> Figures:
    """From creating the broker's process on an empty store to the first send it accepts; a median."""
    elapsed: list[float] = []
    cpu: list[float] = []
    for _ in range(bench.settings.starts):
        with running(bench.side, bench.work, bench.java, broker=False) as cluster:
            begin = time.monotonic()
            cluster.start_broker()
            cluster.first_send("first", bench.settings.timeout_s)
            elapsed.append(time.monotonic() - begin)
            cpu.append(procfs.cpu_s(cluster.broker_pid))
            private_mib = procfs.memory(cluster.broker_pid).private_bytes / MIB
    return {
        "first_send_s": statistics.median(elapsed),
        "cpu_s": statistics.median(cpu),
        "private_mib": private_mib,
    }


def recovery(bench: Bench) -> Figures:
    """From starting the broker on the store that kill -9 left, to the first send it accepts."""
    settings = bench.settings
    body_bytes = 1024
    with bench.cluster() as cluster:
        messages = -(-settings.recovery_bytes // (body_bytes + 200))
        arguments = [
            "--in-flight",
            "8",
            "--body-bytes",
            str(body_bytes),
            "--batch",
            "32",
            "--messages",
            str(messages),
        ]
        filler = load("send", cluster, TOPIC, *arguments)
        eventually(lambda: not filler.alive, settings.timeout_s, what=f"{messages} messages stored")
        sent = json.loads(filler.wait_for_line(r"^\{.*\}$").group())["messages"]
        cluster.kill_broker()
        os.sync()  # else the disk is busy with the rest of the filling
        begin = time.monotonic()
        cluster.start_broker()
        answer = cluster.first_send("first", settings.timeout_s)
        figures = {
            "first_send_s": time.monotonic() - begin,
            "cpu_s": procfs.cpu_s(cluster.broker_pid),
            "log_gib": wire.log_offset_of(answer.fields["msgId"]) / (1 << 30),
        }
        with wire.Peer(
            cluster.address
        ) as peer:  # the Java broker goes on indexing after it has begun to serve
            eventually(
                lambda: wire.stored_count(peer, TOPIC, QUEUE_COUNT) == sent, 60, what=f"all {sent} messages"
            )
        return figures


CASES: dict[str, tuple[str, Callable[[Bench], Figures]]] = {
    "send1": ("64 synchronous senders, 128 B, binary headers", sending),
    "send1-json": (
        "64 synchronous senders, 128 B, JSON headers",
        lambda bench: sending(bench, encoding=wire.JSON),
    ),
    "send1k": ("64 synchronous senders, 1 KiB", lambda bench: sending(bench, body_bytes=1024)),
    "batch": ("64 synchronous senders of batches of 32, 128 B", lambda bench: sending(bench, batch=32)),
    "sync-flush": (
        "64 synchronous senders, 128 B, SYNC_FLUSH",
        lambda bench: sending(bench, config={"flushDiskType": "SYNC_FLUSH"}),
    ),
    "latency": ("one synchronous sender, 128 B", one_sender),
    "drain": ("two million messages of 128 B, drained by a push consumer", two_million),
    "startup": ("start to the first accepted send, empty store", start_up),
    "recovery": ("restart after kill -9 to the first accepted send", recovery),
}
