"""A server with a few handlers, and peers that speak by bytes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

from ledgermq.remoting.command import Command, PeerError, decode_command
from ledgermq.remoting.connection import Connection, Handler
from ledgermq.remoting.headers import response
from ledgermq.remoting.server import Server

ECHO = 1
LATER = 2
WAITING = 3
REFUSED = 4
BROKEN = 5
REFUSED_WAITING = 6
BROKEN_WAITING = 7
BIG = 8
BIG_BYTES = 1 << 20


@contextmanager
def full_socket() -> Iterator[str]:
    """The address of a server that takes no connection: its queue is full, and what comes is dropped."""
    with socket.socket() as server, socket.socket() as other:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        other.connect(server.getsockname())
        yield f"127.0.0.1:{server.getsockname()[1]}"


class Handlers:
    """What the tests' server does; keeps what it saw."""

    def __init__(self) -> None:
        self.seen: list[Command] = []
        self.later: list[tuple[Command, Connection]] = []
        self.go_on = asyncio.Event()
        self.waiting = 0

    def table(self) -> dict[int, Handler]:
        return {
            ECHO: self.echo,
            LATER: self.answer_later,
            WAITING: self.wait,
            REFUSED: self.refuse,
            BROKEN: self.fail,
            REFUSED_WAITING: self.refuse_waiting,
            BROKEN_WAITING: self.fail_waiting,
            BIG: lambda command, _: response(body=bytes(BIG_BYTES)),
        }

    def echo(self, command: Command, connection: Connection) -> Command:
        self.seen.append(command)
        answer = response(body=command.body)
        answer.ext = command.ext
        return answer

    def answer_later(self, command: Command, connection: Connection) -> None:
        self.later.append((command, connection))

    async def wait(self, command: Command, connection: Connection) -> Command:
        self.waiting += 1
        try:
            await self.go_on.wait()
        finally:
            self.waiting -= 1
        return response(body=command.body)

    def refuse(self, command: Command, connection: Connection) -> Command:
        raise PeerError(17, "no such topic")

    def fail(self, command: Command, connection: Connection) -> Command:
        raise KeyError("a bug")

    async def refuse_waiting(self, command: Command, connection: Connection) -> Command:
        await asyncio.sleep(0)
        raise PeerError(17, "no such topic")

    async def fail_waiting(self, command: Command, connection: Connection) -> Command:
        await asyncio.sleep(0)
        raise KeyError("a bug")


@asynccontextmanager
async def serving(handlers: dict[int, Handler], **options: Any) -> AsyncIterator[tuple[Server, str, int]]:
    """A server, its address, its port."""
    server = Server(handlers, **options)
    port = await server.start("127.0.0.1", 0)
    try:
        yield server, f"127.0.0.1:{port}", port
    finally:
        await server.stop()


class Peer:
    """A TCP connection whose bytes the test writes itself."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def receive(self) -> Command:
        """The next command."""
        head = await self.reader.readexactly(4)
        frame = head + await self.reader.readexactly(int.from_bytes(head, "big"))
        return decode_command(frame, 0, len(frame))

    async def ended(self) -> bool:
        """Waits for the end of the connection; False when something came instead."""
        try:
            return await self.reader.read(1) == b""
        except ConnectionResetError:
            return True

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


@asynccontextmanager
async def peer(port: int) -> AsyncIterator[Peer]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found = Peer(reader, writer)
    try:
        yield found
    finally:
        await found.close()


async def until(condition: Any) -> None:
    """Gives the loop turns until ``condition()`` holds."""
    while not condition():  # noqa: ASYNC110 - what is waited for sets no event
        await asyncio.sleep(0.001)
