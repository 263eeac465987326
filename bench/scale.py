"""`python -m bench.scale`: many topics, many connections, many parked pulls, and what they cost while idle.

Two things are looked at, each in a broker of its own:
- queues: sends to one topic are measured at a broker that has nothing else and at one with thousands of
  topics that have a message in every queue, in turn; then its descriptors and mappings are counted;
- idle: connections are opened and pulls parked; the memory of the broker is read, its CPU time while nothing
  happens, how quickly one message reaches its pull, and what is left when the connections are gone.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import socket
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.interop.harness.programs import Program, eventually

from bench import procfs, wire
from bench.brokers import Cluster, Side, exit_on_sigterm, running
from bench.cases import MIB, TOPIC, Figures
from bench.clients import QUEUE_COUNT, load
from bench.report import number


@dataclass(frozen=True)
class Scale:
    topics: int = 10_000
    queues_per_topic: int = 4
    rounds: int = 5
    messages: int = 200_000
    connections: int = 5_000
    pulls_per_connection: int = 4
    idle_s: float = 20


QUIET_CPU_S = 0.02
"""Of one second: what a broker takes that has nothing left to do for its queues."""
SETTLE_SECONDS_MAX = 300

TINY = Scale(topics=300, rounds=1, messages=5_000, connections=100, pulls_per_connection=4, idle_s=2)


def many_queues(side: Side, work: Path, scale: Scale) -> Figures:
    """What thousands of queues with a message each add to a send, and to what the process holds open."""
    with running(side, work, None) as few, running(side, work, None, broker=False) as many:
        _write_topics(many, scale)
        many.start_broker()
        many.wait_until_listening()
        for cluster in (few, many):
            cluster.new_topic(TOPIC, QUEUE_COUNT)
            _send(cluster, min(scale.messages, 20_000))
        before = _held(many)
        create_s = _create_topics(many)
        _send_to_all(many, scale)
        settle_s = _settle(many)
        held = _held(many)
        cpu_us: dict[str, list[float]] = {"few": [], "many": []}
        for _ in range(scale.rounds):
            cpu_us["few"].append(_send(few, scale.messages))
            cpu_us["many"].append(_send(many, scale.messages))
        spread_us = _send_to_all(many, scale)
        few_us, many_us = statistics.median(cpu_us["few"]), statistics.median(cpu_us["many"])
        return {
            "queues": scale.topics * scale.queues_per_topic,
            "create_one_more_topic_ms": create_s * 1000,
            "settle_s": settle_s,
            "descriptors": held["descriptors"],
            "descriptors_more": held["descriptors"] - before["descriptors"],
            "mappings": held["mappings"],
            "mappings_more": held["mappings"] - before["mappings"],
            "private_mib": held["private_mib"],
            "private_more_mib": held["private_mib"] - before["private_mib"],
            "send_cpu_us_alone": few_us,
            "send_cpu_us": many_us,
            "send_slower": many_us / few_us if few_us else 1.0,
            "send_cpu_us_to_all_queues": spread_us,
            **_restart(many),
        }


def _write_topics(cluster: Cluster, scale: Scale) -> None:
    """Leaves the topics in config/topics.json of a broker not yet started: creating thousands would write
    that file as often.
    """
    topics = {
        name: {
            "attributes": {},
            "order": False,
            "perm": 6,
            "readQueueNums": scale.queues_per_topic,
            "topicFilterType": "SINGLE_TAG",
            "topicName": name,
            "topicSysFlag": 0,
            "writeQueueNums": scale.queues_per_topic,
        }
        for name in (f"topic-{number}" for number in range(scale.topics))
    }
    version = {"counter": scale.topics, "stateVersion": 0, "timestamp": int(time.time() * 1000)}
    config = cluster.store / "config"
    config.mkdir(parents=True)
    (config / "topics.json").write_text(json.dumps({"dataVersion": version, "topicConfigTable": topics}))


def _create_topics(cluster: Cluster, count: int = 10) -> float:
    """Seconds that creating one more topic takes."""
    begin = time.monotonic()
    with wire.Peer(cluster.address) as peer:
        for number in range(count):
            wire.create_topic(peer, f"another-{number}", 4)
    return (time.monotonic() - begin) / count


def _restart(cluster: Cluster) -> Figures:
    """A clean stop and a start with all those queues."""
    assert cluster.broker is not None
    begin = time.monotonic()
    cluster.broker.stop()
    stopped = time.monotonic()
    cluster.start_broker()
    cluster.first_send(TOPIC, 120)
    return {"stop_s": stopped - begin, "restart_s": time.monotonic() - stopped}


def _held(cluster: Cluster) -> Figures:
    pid = cluster.broker_pid
    return {
        "descriptors": procfs.descriptor_count(pid),
        "mappings": procfs.mapping_count(pid),
        "private_mib": procfs.memory(pid).private_bytes / MIB,
    }


def _settle(cluster: Cluster) -> float:
    """Seconds until the broker has written the first files of its queues: until then they are not idle."""
    quiet, begin = 0, time.monotonic()
    while quiet < 3 and time.monotonic() < begin + SETTLE_SECONDS_MAX:
        quiet = quiet + 1 if _idle_cpu_s(cluster.broker_pid, 1.0) < QUIET_CPU_S else 0
    return time.monotonic() - begin


def _send(cluster: Cluster, messages: int) -> float:
    """The broker's CPU microseconds per message over `messages` singles to the topic of the measurement."""
    return _cpu_us(cluster, load("send", cluster, TOPIC, "--messages", str(messages)))


def _send_to_all(cluster: Cluster, scale: Scale) -> float:
    """The same with every queue of every topic written to in turn."""
    arguments = ["--messages", str(max(scale.messages, scale.topics * scale.queues_per_topic))]
    arguments += ["--topics", str(scale.topics)]
    return _cpu_us(cluster, load("send", cluster, "topic", *arguments, queue_count=scale.queues_per_topic))


def _cpu_us(cluster: Cluster, sender: Program) -> float:
    before = procfs.cpu_s(cluster.broker_pid)
    line = sender.wait_for_line(r"^\{.*\}$", 300).group()
    sender.stop()
    sent: int = json.loads(line)["messages"]
    return (procfs.cpu_s(cluster.broker_pid) - before) / sent * 1e6


def many_idle(side: Side, work: Path, scale: Scale) -> Figures:
    """What connections that only wait cost."""
    _raise_descriptor_limit(scale.connections + 200)
    queue_count = 64
    with running(side, work, None) as cluster:
        cluster.new_topic("waited-for", queue_count)
        pid = cluster.broker_pid
        alone = _held(cluster)
        alone_cpu_s = _idle_cpu_s(pid, scale.idle_s)
        begin = time.monotonic()
        connections = [
            _waiting(cluster.address, number, scale, queue_count) for number in range(scale.connections)
        ]
        eventually(lambda: procfs.descriptor_count(pid) > scale.connections, 60, what="open connections")
        cpu_before = -1.0
        while procfs.cpu_s(pid) != cpu_before:  # until it has parked them all
            cpu_before = procfs.cpu_s(pid)
            time.sleep(0.5)
        park_s = time.monotonic() - begin
        held = _held(cluster)
        idle_cpu_s = _idle_cpu_s(pid, scale.idle_s)
        wake_ms = _wake(cluster, connections, queue_count)
        for connection in connections:
            connection.close()
        eventually(
            lambda: procfs.descriptor_count(pid) <= alone["descriptors"] + 5, 60, what="closed connections"
        )
        return {
            "connections": scale.connections,
            "parked_pulls": scale.connections * scale.pulls_per_connection,
            "park_s": park_s,
            "private_more_mib": held["private_mib"] - alone["private_mib"],
            "private_mib": held["private_mib"],
            "idle_cores_alone": alone_cpu_s / scale.idle_s,
            "idle_cores": idle_cpu_s / scale.idle_s,
            "wake_ms": wake_ms,
            "private_after_close_mib": procfs.memory(pid).private_bytes / MIB,
        }


def _idle_cpu_s(pid: int, seconds: float) -> float:
    before = procfs.cpu_s(pid)
    time.sleep(seconds)
    return procfs.cpu_s(pid) - before


def _waiting(address: str, number: int, scale: Scale, queue_count: int) -> socket.socket:
    """A connection with its pulls sent; nothing is there to be pulled, so they are parked."""
    host, port = address.rsplit(":", 1)
    connection = socket.create_connection((host, int(port)), 30)
    requests = []
    for pull in range(scale.pulls_per_connection):
        queue_id = (number * scale.pulls_per_connection + pull) % queue_count
        fields = wire.pull_fields(
            f"group-{number % 100}", "waited-for", queue_id, 0, suspend_timeout_ms=110_000
        )
        requests.append(wire.request_frame(wire.PULL_MESSAGE, fields, opaque=pull))
    connection.sendall(b"".join(requests))
    return connection


def _wake(cluster: Cluster, connections: list[socket.socket], queue_count: int) -> float:
    """Milliseconds from sending one message to the first answer of a pull that waited for it (queue 0)."""
    with wire.Peer(cluster.address) as peer:
        begin = time.monotonic()
        peer.ask(wire.SEND_MESSAGE_V2, wire.send_fields("scale", "waited-for", 0), b"news")
        connections[0].settimeout(10)
        frames = wire.FrameBuffer()
        while not (answers := frames.feed(connections[0].recv(1 << 16))):
            pass
        elapsed_ms = (time.monotonic() - begin) * 1000
    answer = wire.parse_answer(answers[0])
    if answer.code != wire.SUCCESS or not answer.body.count(b"news"):
        raise RuntimeError(f"the parked pull was answered with {answer.code}: {answer.remark}")
    return elapsed_ms


def _raise_descriptor_limit(wanted: int) -> None:
    """For this process and the brokers it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.scale", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--python", default=sys.executable, help="the interpreter whose ledgermq is measured")
    parser.add_argument("--tiny", action="store_true", help="small numbers; takes seconds")
    options = parser.parse_args(argv)
    side = Side("ledgermq", options.python)
    scale = TINY if options.tiny else Scale()
    print(side.version())
    work = Path(tempfile.mkdtemp(prefix="ledgermq-scale-"))
    try:
        for name, look in (("queues", many_queues), ("idle", many_idle)):
            for figure, value in look(side, work, scale).items():
                print(f"{name:8} {figure:26} {number(value)}", flush=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return 0


if __name__ == "__main__":
    exit_on_sigterm()
    sys.exit(main())
