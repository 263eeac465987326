"""The clients that load a broker: the stock Java benchmark programs, or load.py where there is no JDK.

Both kinds are programs of their own and say the same things on their output:
- a latency client: a line "measuring" when its warm-up is over, in the end one JSON line of percentiles;
- a consumer: lines "<nanoseconds> consumed <count>".
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.interop.harness import toolchain
from tests.interop.harness.programs import Program

from bench import wire
from bench.brokers import Java

ROOT = Path(__file__).resolve().parent.parent
QUEUE_COUNT = 8

_STOCK = "org.apache.rocketmq.example.benchmark"


class Served(Protocol):
    """What a client has to know of the brokers it talks to: one, or those of a group."""

    @property
    def namesrv(self) -> str: ...

    @property
    def address(self) -> str:
        """Of the broker that takes sends."""

    @property
    def broker_pid(self) -> int: ...

    @property
    def folder(self) -> Path:
        """Where programs may write."""


class Clients(Protocol):
    name: str

    def producer(
        self,
        cluster: Served,
        topic: str,
        *,
        senders: int,
        body_bytes: int,
        batch: int = 1,
        encoding: str = wire.BINARY,
        messages: int = 0,
    ) -> Program:
        """Sends synchronously from `senders` threads until stopped, or until `messages` are sent."""

    def latency(
        self, cluster: Served, topic: str, *, body_bytes: int, warmup_s: float, window_s: float
    ) -> Program: ...

    def consumer(self, cluster: Served, topic: str, group: str, *, messages: int) -> Program: ...

    def slow_sender(
        self, cluster: Served, topic: str, *, poll_ms: int, interval_ms: int, threads: int
    ) -> Program:
        """Sends now and then and says of each what became of it; see slow_sender.py. `poll_ms` 0 is the
        client's own setting.
        """


@dataclass
class StockClients:
    """The stock Java programs in a client's usual JVM: server compiler, G1, 1 GiB of heap."""

    java: Java
    name: str = "org.apache.rocketmq.example.benchmark 5.5.0"

    def producer(
        self,
        cluster: Served,
        topic: str,
        *,
        senders: int,
        body_bytes: int,
        batch: int = 1,
        encoding: str = wire.BINARY,
        messages: int = 0,
    ) -> Program:
        arguments = [
            "-n",
            cluster.namesrv,
            "-t",
            topic,
            "-w",
            str(senders),
            "-s",
            str(body_bytes),
            "-ri",
            "1000",
        ]
        program = "Producer"
        if batch > 1:
            assert not messages, "the stock batch producer has no end"
            program = "BatchProducer"
            arguments += ["-b", str(batch)]
        elif messages:
            arguments += ["-q", str(messages)]
        return self._start(
            "producer", cluster, "StockClient", encoding, topic, f"{_STOCK}.{program}", *arguments
        )

    def latency(
        self, cluster: Served, topic: str, *, body_bytes: int, warmup_s: float, window_s: float
    ) -> Program:
        arguments = [cluster.namesrv, topic, str(body_bytes), str(warmup_s), str(window_s)]
        return self._start("latency", cluster, "LatencyProducer", *arguments)

    def consumer(self, cluster: Served, topic: str, group: str, *, messages: int) -> Program:
        arguments = ["-n", cluster.namesrv, "-t", topic, "-g", group, "-ri", "1000"]
        return self._start(
            "consumer", cluster, "StockClient", "ROCKETMQ", topic, f"{_STOCK}.Consumer", *arguments
        )

    def slow_sender(
        self, cluster: Served, topic: str, *, poll_ms: int, interval_ms: int, threads: int
    ) -> Program:
        arguments = [cluster.namesrv, topic, str(poll_ms), str(interval_ms), str(threads)]
        return self._start("slow-sender", cluster, "SlowProducer", *arguments)

    def _start(self, name: str, cluster: Served, main: str, *arguments: str) -> Program:
        argv = self.java.argv(main, *arguments, options=("-Xms1g", "-Xmx1g"))
        return Program(name, argv, log_path=cluster.folder / f"{name}.out")


@dataclass
class PythonClients:
    name: str = "bench.load (Python)"

    def producer(
        self,
        cluster: Served,
        topic: str,
        *,
        senders: int,
        body_bytes: int,
        batch: int = 1,
        encoding: str = wire.BINARY,
        messages: int = 0,
    ) -> Program:
        arguments = ["--in-flight", str(senders), "--body-bytes", str(body_bytes), "--batch", str(batch)]
        arguments += ["--encoding", encoding, "--messages", str(messages)]
        return load("send", cluster, topic, *arguments)

    def latency(
        self, cluster: Served, topic: str, *, body_bytes: int, warmup_s: float, window_s: float
    ) -> Program:
        arguments = ["--in-flight", "1", "--body-bytes", str(body_bytes), "--warmup-s", str(warmup_s)]
        return load("send", cluster, topic, *arguments, "--seconds", str(window_s))

    def consumer(self, cluster: Served, topic: str, group: str, *, messages: int) -> Program:
        return load("drain", cluster, topic, "--group", group, "--messages", str(messages))

    def slow_sender(
        self, cluster: Served, topic: str, *, poll_ms: int, interval_ms: int, threads: int
    ) -> Program:
        argv = [sys.executable, "-m", "bench.slow_sender", "--namesrv", cluster.namesrv, "--topic", topic]
        argv += ["--poll-ms", str(poll_ms or 30_000), "--interval-ms", str(interval_ms)]
        log_path = cluster.folder / "slow-sender.out"
        return Program("slow sender", argv, log_path=log_path, env={"PYTHONPATH": str(ROOT)})


def load(
    command: str, cluster: Served, topic: str, *arguments: str, queue_count: int = QUEUE_COUNT
) -> Program:
    """Starts `python -m bench.load` with the interpreter that runs the harness."""
    argv = [
        sys.executable,
        "-m",
        "bench.load",
        command,
        "--broker",
        cluster.address,
        "--topic",
        topic,
        *arguments,
    ]
    argv += ["--queues", str(queue_count)]
    return Program(
        f"load {command}", argv, log_path=cluster.folder / "load.out", env={"PYTHONPATH": str(ROOT)}
    )


def failed_sends(producer: Program) -> int:
    """What the stock producers count as failed, by both of their counters; 0 while they print nothing."""
    counts = re.findall(r"Send Failed: (\d+) \| (?:Response|Send Message) Failed: (\d+)", producer.output())
    return sum(map(int, counts[-1])) if counts else 0


def build_java(work: Path) -> Java:
    """Resolves the stock Java programs with Maven and compiles ours; ToolMissing without a JDK."""
    class_path = toolchain.build_java()
    classes = work / "classes"
    classes.mkdir(parents=True, exist_ok=True)
    sources = sorted(map(str, (ROOT / "bench" / "java").glob("*.java")))
    javac = toolchain.find("javac", "to compile the clients in bench/java (JDK 17)")
    subprocess.run([javac, "-d", str(classes), "-cp", class_path, *sources], check=True)
    home = work / "java-home"
    home.mkdir(exist_ok=True)
    return Java(f"{classes}{os.pathsep}{class_path}", home)
