"""Clients in plain Python with next to nothing between them and the socket.

`python -m bench.load send ...` and `python -m bench.load drain ...`.

They stand in for the Java clients where there is no JDK (the tests of the benchmarks), fill stores quickly,
and show what a broker does when the client is not what is measured. Their output has the lines of the Java
clients.

`send` keeps `--in-flight` requests outstanding on each of its connections: an answer that arrives is replaced
by a request to the next queue. Frames are built once per queue; a request differs in its opaque and the
unique keys of its messages, which are patched in place, so the keys stay unique and the index is what a real
client would cause.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import selectors
import signal
import socket
import time
import uuid
from collections.abc import Iterator

from bench import wire

_KEY_CHARS = 32
_KEY_SERIAL_CHARS = 12


class Template:
    """A send request to one queue, patched for every use."""

    def __init__(self, topic: str, queue_id: int, body_bytes: int, batch: int, encoding: str) -> None:
        blank = "0" * _KEY_CHARS
        properties = wire.property_text({"UNIQ_KEY": blank, "WAIT": "true"})
        code, body = wire.SEND_MESSAGE_V2, b"x" * body_bytes
        if batch > 1:
            code, body = wire.SEND_BATCH_MESSAGE, wire.batch_unit(body, properties) * batch
            properties = ""
        header = wire.send_fields(
            "bench_producer",
            topic,
            queue_id,
            properties=properties,
            batch=batch > 1,
            born_ms=int(time.time() * 1000),
        )
        frame = wire.request_frame(code, header, body, encoding=encoding)
        self._frame = bytearray(frame)
        self._opaque_at = wire.opaque_position(frame)
        self._key_ends: list[int] = []
        at = -1
        run = uuid.uuid4().hex[: _KEY_CHARS - _KEY_SERIAL_CHARS].upper().encode()
        while (at := frame.find(blank.encode(), at + 1)) >= 0:
            self._frame[at : at + len(run)] = run
            self._key_ends.append(at + _KEY_CHARS)
            at += _KEY_CHARS

    def frame(self, opaque: int, serial: int) -> bytes:
        """The request; its messages take the keys `serial`, `serial` + 1, ..."""
        wire.patch_opaque(self._frame, self._opaque_at, opaque)
        for number, end in enumerate(self._key_ends, serial):
            self._frame[end - _KEY_SERIAL_CHARS : end] = b"%012d" % number
        return bytes(self._frame)


class Sender:
    """One connection with a constant number of requests in flight."""

    def __init__(self, address: str, templates: list[Template], batch: int, in_flight: int) -> None:
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.acknowledged = 0
        self.elapsed_ns: list[int] = []
        self._frames = wire.FrameBuffer()
        self._templates = templates
        self._batch = batch
        self._in_flight = in_flight
        self._sent = 0
        self._sent_ns: dict[int, int] = {}

    def start(self, limit: int) -> None:
        self._send(min(self._in_flight, limit))

    def receive(self, limit: int) -> None:
        """Takes the answers that are there and sends as many requests more, up to `limit` in all."""
        data = self.socket.recv(1 << 18)
        if not data:
            raise wire.WireError("the broker closed the connection")
        now = time.perf_counter_ns()
        frames = self._frames.feed(data)
        for frame in frames:
            answer = wire.parse_answer(frame)
            elapsed_ns = now - self._sent_ns.pop(answer.opaque)
            if answer.code == wire.SUCCESS:
                self.acknowledged += 1
                self.elapsed_ns.append(elapsed_ns)
            elif (
                answer.code != wire.SYSTEM_BUSY
            ):  # busy: another request takes its place, as a client would retry
                raise wire.WireError(f"a send was answered with {answer.code}: {answer.remark}")
        self._send(min(len(frames), limit - self.acknowledged - len(self._sent_ns)))

    def _send(self, count: int) -> None:
        now = time.perf_counter_ns()
        requests = []
        for _ in range(count):
            self._sent += 1
            self._sent_ns[self._sent] = now
            template = self._templates[self._sent % len(self._templates)]
            requests.append(template.frame(self._sent, self._sent * self._batch))
        if requests:
            self.socket.sendall(b"".join(requests))

    @property
    def done(self) -> bool:
        return not self._sent_ns


def send(options: argparse.Namespace) -> None:
    """Sends until --messages are acknowledged, --seconds are over, or a SIGTERM."""
    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGTERM, stop)
    limit = -(-options.messages // (options.batch * options.connections)) if options.messages else 1 << 62
    topics = [f"{options.topic}-{number}" for number in range(options.topics)] or [options.topic]
    senders = []
    with selectors.DefaultSelector() as selector:
        for _ in range(options.connections):
            templates = [
                Template(topic, queue_id, options.body_bytes, options.batch, options.encoding)
                for topic in topics
                for queue_id in range(options.queues)
            ]
            sender = Sender(options.broker, templates, options.batch, options.in_flight)
            senders.append(sender)
            selector.register(sender.socket, selectors.EVENT_READ, sender)
            sender.start(limit)
        start = time.perf_counter()
        warm = start + options.warmup_s
        end = warm + options.seconds if options.seconds else float("inf")
        measuring = False
        while (
            not stopped and (now := time.perf_counter()) < end and not all(sender.done for sender in senders)
        ):
            if not measuring and now >= warm:
                measuring = True
                print("measuring", flush=True)
                for sender in senders:
                    sender.elapsed_ns.clear()
            for key, _ in selector.select(0.1):
                key.data.receive(limit)
    print(json.dumps(summary(senders, options.batch, time.perf_counter() - start)), flush=True)


def summary(senders: list[Sender], batch: int, elapsed_s: float) -> dict[str, float]:
    elapsed = sorted(ns for sender in senders for ns in sender.elapsed_ns)
    messages = sum(sender.acknowledged for sender in senders) * batch
    figures: dict[str, float] = {"messages": messages, "elapsed_s": round(elapsed_s, 3)}
    if elapsed:
        for name, fraction in (("p50_us", 0.5), ("p95_us", 0.95), ("p99_us", 0.99)):
            figures[name] = elapsed[int(len(elapsed) * fraction)] / 1000
        figures["max_us"] = elapsed[-1] / 1000
    return figures


def drain(options: argparse.Namespace) -> None:
    """Pulls every queue from its beginning, one pull in flight per queue, until --messages were seen."""
    host, port = options.broker.rsplit(":", 1)
    connection = socket.create_connection((host, int(port)))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    offsets = dict.fromkeys(range(options.queues), 0)

    def pull(queue_id: int) -> bytes:
        fields = wire.pull_fields(
            options.group, options.topic, queue_id, offsets[queue_id], suspend_timeout_ms=15_000
        )
        return wire.request_frame(wire.PULL_MESSAGE, fields, opaque=queue_id)

    connection.sendall(b"".join(pull(queue_id) for queue_id in offsets))
    reported = 0.0
    for answer in _answers(connection):
        if answer.code == wire.SUCCESS:
            offsets[answer.opaque] = int(answer.fields["nextBeginOffset"])
        consumed = sum(offsets.values())
        if consumed >= options.messages or time.monotonic() - reported > 0.05:
            reported = time.monotonic()
            print(f"{time.monotonic_ns()} consumed {consumed}", flush=True)
        connection.sendall(pull(answer.opaque))


def _answers(connection: socket.socket) -> Iterator[wire.Answer]:
    frames = wire.FrameBuffer()
    while data := connection.recv(1 << 20):
        for frame in frames.feed(data):
            yield wire.parse_answer(frame)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    for name, run in (("send", send), ("drain", drain)):
        command = commands.add_parser(name, help=(run.__doc__ or "").strip())
        command.set_defaults(run=run)
        command.add_argument("--broker", required=True, metavar="HOST:PORT")
        command.add_argument("--topic", required=True)
        command.add_argument("--queues", type=int, default=8)
        command.add_argument("--messages", type=int, default=0)
    commands.choices["drain"].add_argument("--group", required=True)
    command = commands.choices["send"]
    command.add_argument("--topics", type=int, default=0, help="send to TOPIC-0, TOPIC-1, ... in turn")
    command.add_argument("--connections", type=int, default=1)
    command.add_argument("--in-flight", type=int, default=64, help="requests outstanding per connection")
    command.add_argument("--body-bytes", type=int, default=128)
    command.add_argument("--batch", type=int, default=1)
    command.add_argument("--encoding", choices=(wire.BINARY, wire.JSON), default=wire.BINARY)
    command.add_argument("--warmup-s", type=float, default=0)
    command.add_argument(
        "--seconds", type=float, default=0, help="length of the window after the warm-up; 0: no end"
    )
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        options.run(options)


if __name__ == "__main__":
    main()
