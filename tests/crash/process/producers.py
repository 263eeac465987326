"""Producers at full speed that remember every message and every acknowledgement.

One selector loop over several connections, each with a constant number of requests in flight to its own turn
of queues; singles and batches, binary and JSON headers mixed. All randomness comes from the given generator.
"""

from __future__ import annotations

import random
import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from bench import wire

GROUP = "crash-producer"


@dataclass
class Sent:
    """A message; its offsets are set when it is acknowledged."""

    key: str
    topic: str
    queue_id: int
    body: bytes
    connection: int
    queue_offset: int = -1
    log_offset: int = -1

    @property
    def properties(self) -> dict[str, str]:
        return {"UNIQ_KEY": self.key, "KEYS": f"k-{self.key}", "TAGS": "a", "WAIT": "true"}

    @property
    def acknowledged(self) -> bool:
        return self.queue_offset >= 0


@dataclass
class History:
    """Everything that was sent to a store, over all its rounds."""

    messages: dict[str, Sent] = field(default_factory=dict)

    @property
    def acknowledged(self) -> list[Sent]:
        return [message for message in self.messages.values() if message.acknowledged]


class _Connection:
    def __init__(self, number: int, address: str, in_flight: int) -> None:
        host, port = address.rsplit(":", 1)
        self.number = number
        self.encoding = wire.JSON if number % 2 else wire.BINARY
        self.socket = socket.create_connection((host, int(port)), 10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.frames = wire.FrameBuffer()
        self.in_flight = in_flight
        self.waiting: dict[int, list[Sent]] = {}


class Producers:
    """`run` sends until the broker is gone."""

    def __init__(
        self,
        address: str,
        queues: list[tuple[str, int]],
        history: History,
        random_source: random.Random,
        *,
        round_number: int,
        connections: int = 3,
        in_flight: int = 16,
    ) -> None:
        self.acknowledged = 0
        self._queues = queues
        self._history = history
        self._random = random_source
        self._round = round_number
        self._serial = 0
        self._connections = [_Connection(number, address, in_flight) for number in range(connections)]

    def run(self, on_progress: Callable[[int], None], timeout_s: float = 60) -> None:
        """Calls `on_progress` with the number of acknowledged messages after each answer; returns when every
        connection is lost. RuntimeError when they are not by `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        open_count = len(self._connections)
        with selectors.DefaultSelector() as selector:
            for connection in self._connections:
                selector.register(connection.socket, selectors.EVENT_READ, connection)
                self._fill(connection)
            while open_count:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"the broker was still there after {timeout_s} s")
                for key, _ in selector.select(1):
                    connection = key.data
                    try:
                        data = connection.socket.recv(1 << 18)
                        for frame in connection.frames.feed(data):
                            self._take(connection, wire.parse_answer(frame))
                        on_progress(self.acknowledged)
                        lost = not data
                        if not lost:
                            self._fill(connection)
                    except OSError:
                        lost = True
                    if lost:
                        selector.unregister(connection.socket)
                        connection.socket.close()
                        open_count -= 1

    def _take(self, connection: _Connection, answer: wire.Answer) -> None:
        messages = connection.waiting.pop(answer.opaque)
        if answer.code == wire.SYSTEM_BUSY:
            return
        if answer.code != wire.SUCCESS:
            raise AssertionError(f"a send was answered with {answer.code}: {answer.remark}")
        first = int(answer.fields["queueOffset"])
        message_ids = answer.fields["msgId"].split(",")
        assert len(message_ids) == len(messages), answer.fields
        assert int(answer.fields["queueId"]) == messages[0].queue_id
        for number, (message, message_id) in enumerate(zip(messages, message_ids, strict=True)):
            message.queue_offset = first + number
            message.log_offset = wire.log_offset_of(message_id)
        self.acknowledged += len(messages)

    def _fill(self, connection: _Connection) -> None:
        requests = []
        while len(connection.waiting) < connection.in_flight:
            requests.append(self._request(connection))
        if requests:
            connection.socket.sendall(b"".join(requests))

    def _request(self, connection: _Connection) -> bytes:
        topic, queue_id = self._random.choice(self._queues)
        count = self._random.choice((1, 1, 1, 1, 2, 5, 20))
        messages = [self._message(topic, queue_id, connection.number) for _ in range(count)]
        self._serial += 1
        connection.waiting[self._serial] = messages
        properties = [wire.property_text(message.properties) for message in messages]
        if count == 1:
            code, body = wire.SEND_MESSAGE_V2, messages[0].body
            header = wire.send_fields(GROUP, topic, queue_id, properties=properties[0], born_ms=_now_ms())
        else:
            code, body = wire.SEND_BATCH_MESSAGE, b"".join(map(_unit, messages, properties))
            header = wire.send_fields(GROUP, topic, queue_id, batch=True, born_ms=_now_ms())
        return wire.request_frame(code, header, body, self._serial, connection.encoding)

    def _message(self, topic: str, queue_id: int, connection: int) -> Sent:
        key = f"{self._round}-{len(self._history.messages)}"
        body = key.encode() + b"." * self._random.randrange(600)
        message = self._history.messages[key] = Sent(
            key, topic, queue_id, body, (self._round << 8) + connection
        )
        return message


def _unit(message: Sent, properties: str) -> bytes:
    return wire.batch_unit(message.body, properties)


def _now_ms() -> int:
    return int(time.time() * 1000)
