"""`make demo`: ledgermq in half a minute, with the commands a user would type. Leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ledgermq.client import (
    ClientError,
    ConsumeFrom,
    Message,
    MessageExt,
    Producer,
    PullConsumer,
    PushConsumer,
)

LEDGERMQ = [sys.executable, "-m", "ledgermq.cli"]
SENDERS = 16
SECONDS_BEFORE = 2.0
SECONDS_AFTER = 2.0
PAUSE_SECONDS = 0.01
"""Of a sender whose send failed, before its next one."""


def say(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


def run(*arguments: str) -> None:
    """Run a command as a user would, and show it."""
    print(f"$ ledgermq {shlex.join(arguments)}", flush=True)
    subprocess.run([*LEDGERMQ, *arguments], check=True)


class Process:
    """A command of ledgermq that serves, and the facts of its first line."""

    def __init__(self, *arguments: str) -> None:
        print(f"$ ledgermq {shlex.join(arguments)}", flush=True)
        begin = time.perf_counter()
        command = [*LEDGERMQ, *arguments, "--print-json"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            sys.exit("demo: it did not start")
        self.facts: dict[str, Any] = json.loads(line)
        self.seconds = time.perf_counter() - begin

    def end(self) -> None:
        if self.process.poll() is None:
            begin = time.perf_counter()
            self.process.terminate()
            status = self.process.wait(30)
            print(f"  stopped in {time.perf_counter() - begin:.2f} s, status {status}", flush=True)


# ---- one broker ----


def one_broker(folder: Path) -> None:
    say("1. A name server and a broker, in one process")
    server = Process("serve", "--store", str(folder), "--port", "0")
    try:
        name_server = server.facts["name_server"]
        print(f"  name server {name_server}, broker {server.facts['broker']}, after {server.seconds:.2f} s")
        run("send", "hello", "first message", "--tag", "demo", "--key", "42", "-n", name_server)
        run("consume", "hello", "--from-first", "--count", "1", "--timeout", "10", "-n", name_server)
    finally:
        server.end()
    print("  its files are RocketMQ's: a Java 5.5.0 broker starts on this directory")


# ---- a cluster that loses its leader ----


@dataclass
class Load:
    """What was sent, acknowledged and consumed. A message is ``sender number``, and no message is sent twice:
    a sender whose send failed goes on with the next number."""

    acknowledged: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    """Body -> queue and queue offset, as the broker said."""
    failed: set[bytes] = field(default_factory=set)
    """Of these nobody knows whether they are stored."""
    times: list[tuple[float, float]] = field(default_factory=list)
    """When each acknowledged send began and ended."""
    consumed: Counter[tuple[int, int]] = field(default_factory=Counter)
    """Queue and offset -> how often the listener got it."""

    def gap_ms(self, killed: float) -> float:
        """From the kill to the end of the first send that began after it."""
        return 1000 * (min(ended for began, ended in self.times if began > killed) - killed)

    def has_gone_on(self, killed: float) -> bool:
        return any(began > killed for began, _ in self.times[-SENDERS:])


async def keep_sending(producer: Producer, sender: int, load: Load, stopping: asyncio.Event) -> None:
    number = 0
    while not stopping.is_set():
        body = b"%d %d" % (sender, number)
        number += 1
        began = time.perf_counter()
        try:
            receipt = await producer.send(Message("orders", body))
        except ClientError:
            load.failed.add(body)
            await asyncio.sleep(PAUSE_SECONDS)
        else:
            load.acknowledged[body] = (receipt.queue.queue_id, receipt.queue_offset)
            load.times.append((began, time.perf_counter()))


async def kill_under_load(name_server: str, leader_pid: int) -> Load:
    """Producer and consumer run; the leader is killed between."""
    load, stopping = Load(), asyncio.Event()

    async def listener(message: MessageExt) -> None:
        load.consumed[message.queue_id, message.queue_offset] += 1

    # One attempt for each message: what a client repeats by itself may be stored twice.
    producer = Producer("demo", name_server, attempts_max=1)
    consumer = PushConsumer("billing", name_server, consume_from=ConsumeFrom.FIRST)
    consumer.subscribe("orders", "*", listener)
    async with producer, consumer:
        senders = [
            asyncio.create_task(keep_sending(producer, sender, load, stopping)) for sender in range(SENDERS)
        ]
        await asyncio.sleep(SECONDS_BEFORE)
        before = len(load.acknowledged)
        os.kill(leader_pid, signal.SIGKILL)
        killed = time.perf_counter()
        print(
            f"  {before} messages acknowledged in {SECONDS_BEFORE:g} s; then kill -9 {leader_pid}", flush=True
        )
        async with asyncio.timeout(30):
            while not load.has_gone_on(killed):  # noqa: ASYNC110 - an event of each send would cost more
                await asyncio.sleep(PAUSE_SECONDS)
        await asyncio.sleep(SECONDS_AFTER)
        stopping.set()
        await asyncio.gather(*senders)
        print(f"  {load.gap_ms(killed):.0f} ms after the kill the next send was acknowledged")
        print(f"  {len(load.acknowledged)} messages acknowledged in all; {len(load.failed)} sends failed")
        places = set(load.acknowledged.values())
        async with asyncio.timeout(30):
            while not places <= load.consumed.keys():  # noqa: ASYNC110 - as above
                await asyncio.sleep(PAUSE_SECONDS)
    return load


async def read_log(name_server: str) -> dict[int, list[MessageExt]]:
    """Every queue from its first message to its last."""
    queues: dict[int, list[MessageExt]] = {}
    consumer = PullConsumer("audit", name_server, consume_from=ConsumeFrom.FIRST, auto_commit=False)
    async with consumer, asyncio.timeout(30):
        consumer.assign(await consumer.queues("orders"))
        empty = 0
        while empty < 3:
            messages = await consumer.poll(300)
            empty = 0 if messages else empty + 1
            for message in messages:
                queues.setdefault(message.queue_id, []).append(message)
    return queues


def prove(load: Load, queues: dict[int, list[MessageExt]]) -> None:
    """Compare the log with what was acknowledged; ends the demo when it is not what was promised."""
    copies = Counter(message.body for messages in queues.values() for message in messages)
    places = {
        message.body: (queue, message.queue_offset)
        for queue, messages in queues.items()
        for message in messages
    }
    lost = [body for body, place in load.acknowledged.items() if places.get(body) != place]
    twice = [body for body, count in copies.items() if count > 1]
    holes = [
        queue for queue, found in queues.items() if [m.queue_offset for m in found] != list(range(len(found)))
    ]
    reordered = 0
    for messages in queues.values():
        last: dict[bytes, int] = {}
        for message in messages:
            sender, _, number = message.body.partition(b" ")
            reordered += int(number) < last.get(sender, -1)
            last[sender] = int(number)
    strangers = copies.keys() - load.acknowledged.keys() - load.failed
    kept = len(load.failed & copies.keys())
    again = sum(count - 1 for count in load.consumed.values())
    print(f"  the log has {sum(copies.values())} messages in {len(queues)} queues; of those acknowledged:")
    print(f"    not where the broker said: {len(lost)}")
    print(f"    twice in the log:          {len(twice)}")
    print(f"    out of order in a queue:   {reordered}; queues with holes: {len(holes)}")
    print(f"  of the failed sends {kept} are in the log, once each")
    print(f"  the consumer has got every acknowledged message, {again} of them again after the failover")
    if lost or twice or holes or reordered or strangers:
        sys.exit("demo: the cluster has broken its promise")


def leader_of(cluster: Process) -> tuple[str, int]:
    """The node that leads, and its pid."""
    for node in cluster.facts["nodes"]:
        if node["leads"]:
            return str(node["node"]), int(node["pid"])
    sys.exit("demo: no leader was elected")


def a_cluster(folder: Path) -> None:
    say("2. Three nodes on DLedger: every message is on the disks of two before it is acknowledged")
    cluster = Process(
        *("cluster", "--nodes", "3", "--groups", "1", "--port", "0", "--store", str(folder)),
        *("--set", "flushDiskType=SYNC_FLUSH"),
    )
    again: subprocess.Popen[bytes] | None = None
    try:
        name_server = cluster.facts["name_server"]
        print(f"  {len(cluster.facts['nodes'])} processes and a leader after {cluster.seconds:.2f} s")
        run("topic", "create", "orders", "--queues", "4", "-n", name_server)
        run("cluster", "status", "-n", name_server)
        say(f"3. {SENDERS} tasks send, a consumer listens, and the leader is killed")
        leader, pid = leader_of(cluster)
        load = asyncio.run(kill_under_load(name_server, pid))
        say("4. Nothing that was acknowledged is lost, twice in the log, or out of order")
        prove(load, asyncio.run(read_log(name_server)))
        run("cluster", "status", "-n", name_server)
        say(f"5. {leader} comes back, and takes over what it missed")
        node = next(facts for facts in cluster.facts["nodes"] if facts["node"] == leader)
        command = [*LEDGERMQ, *node["start_again"][1:], "--print-json"]
        again = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert again.stdout is not None
        again.stdout.readline()
        wait_until_whole(name_server)
        run("cluster", "status", "-n", name_server)
    finally:
        if again is not None:
            again.terminate()
            again.wait(30)
        cluster.end()


def wait_until_whole(name_server: str) -> None:
    """Until every member answers and has the whole log."""
    deadline = time.perf_counter() + 30
    while time.perf_counter() < deadline:
        command = [*LEDGERMQ, "cluster", "status", "--json", "-n", name_server]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
        members = json.loads(done.stdout or "[]")
        roles = sorted(member["role"] for member in members)
        if roles == ["FOLLOWER", "FOLLOWER", "LEADER"] and not any(member["lag"] for member in members):
            return
    sys.exit("demo: the node did not catch up")


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)  # the clients' warnings of what is told below
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="ledgermq-demo-") as temporary:
        one_broker(Path(temporary) / "one")
        a_cluster(Path(temporary) / "three")
    print(f"\nAll of it took {time.perf_counter() - begin:.1f} s. Next: README.md")
