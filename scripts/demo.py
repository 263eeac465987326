"""`make demo`: ledgermq in half a minute, with the commands a user would type. Leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ledgermq.client import ConsumeFrom, Message, MessageExt, Producer, PullConsumer, PushConsumer

LEDGERMQ = [sys.executable, "-m", "ledgermq.cli"]
COUNT = 2000
SENDERS = 64


def say(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


def run(*arguments: str) -> None:
    """Run a command as a user would, and show it."""
    print(f"$ ledgermq {shlex.join(arguments)}", flush=True)
    subprocess.run([*LEDGERMQ, *arguments], check=True)


class Server:
    """``ledgermq serve`` in a process of its own."""

    def __init__(self, store: Path, *ports: str) -> None:
        arguments = ["serve", "--store", str(store), *ports, "--print-json"]
        print(f"$ ledgermq {shlex.join(arguments)}", flush=True)
        begin = time.perf_counter()
        self.process = subprocess.Popen([*LEDGERMQ, *arguments], stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            sys.exit("demo: the server did not start")
        self.facts = json.loads(line)
        self.name_server = str(self.facts["name_server"])
        seconds = time.perf_counter() - begin
        print(f"  name server {self.name_server}, broker {self.facts['broker']}, after {seconds:.2f} s")

    def end(self, number: signal.Signals) -> None:
        self.process.send_signal(number)
        self.process.wait(10)


async def send_many(name_server: str) -> None:
    """Many tasks share one producer and one connection."""
    numbers = iter(range(COUNT))
    async with Producer("demo", name_server) as producer:

        async def sender() -> None:
            for number in numbers:
                await producer.send(Message("orders", b"order %d" % number, keys=[str(number)]))

        begin = time.perf_counter()
        await asyncio.gather(*(sender() for _ in range(SENDERS)))
        seconds = time.perf_counter() - begin
    print(f"  {COUNT} messages acknowledged in {seconds:.2f} s ({COUNT / seconds:,.0f} a second)")


async def consume_with_a_listener(name_server: str) -> None:
    done = asyncio.Event()
    bodies: set[bytes] = set()

    async def listener(message: MessageExt) -> None:
        bodies.add(message.body)
        if len(bodies) == COUNT:
            done.set()

    begin = time.perf_counter()
    async with PushConsumer("billing", name_server, consume_from=ConsumeFrom.FIRST) as consumer:
        consumer.subscribe("orders", "*", listener)
        await asyncio.wait_for(done.wait(), 30)
        seconds = time.perf_counter() - begin
    print(f"  {len(bodies)} messages consumed by the group 'billing' in {seconds:.2f} s")


async def count_all(name_server: str) -> None:
    consumer = PullConsumer("audit", name_server, consume_from=ConsumeFrom.FIRST, auto_commit=False)
    bodies: set[bytes] = set()
    async with consumer, asyncio.timeout(30):
        consumer.assign(await consumer.queues("orders"))
        while len(bodies) < COUNT:
            bodies.update(message.body for message in await consumer.poll())
    print(f"  {len(bodies)} of {COUNT} acknowledged messages are there")


def demo(folder: Path) -> None:
    store = folder / "ledgermq-data"
    say("1. A name server and a broker, in one process")
    server = Server(store, "--port", "0")
    name_server = server.name_server
    try:
        say("2. Send and consume from the command line")
        run("send", "hello", "first message", "--tag", "demo", "--key", "42", "-n", name_server)
        run("consume", "hello", "--from-first", "--count", "1", "--timeout", "10", "-n", name_server)
        run("topic", "status", "hello", "-n", name_server)
        say(f"3. From Python: {SENDERS} tasks send, a consumer group listens")
        asyncio.run(send_many(name_server))
        asyncio.run(consume_with_a_listener(name_server))
        say("4. kill -9, and start again on the same files")
        server.end(signal.SIGKILL)
        port, broker_port = (str(server.facts[role]).rpartition(":")[2] for role in ("name_server", "broker"))
        server = Server(store, "--port", port, "--broker-port", broker_port)
        asyncio.run(count_all(server.name_server))
        say("5. The files are RocketMQ's: a Java 5.5.0 broker starts on this directory")
        for path in sorted(store.rglob("*")):
            if path.is_file() and "hello" not in path.parts and path.parent.name != "logs":
                print(f"  {path.relative_to(store)}")
    finally:
        if server.process.poll() is None:
            begin = time.perf_counter()
            server.end(signal.SIGTERM)
            say(
                f"Stopped cleanly in {time.perf_counter() - begin:.2f} s, status {server.process.returncode}."
            )


if __name__ == "__main__":
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="ledgermq-demo-") as folder:
        demo(Path(folder))
    print(f"\nAll of it took {time.perf_counter() - begin:.1f} s. Next: README.md")
