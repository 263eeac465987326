"""TCP on loopback through a hand that can stop it: one proxy for each direction between two members.

A member's messages to another travel over its own connection, so one proxy is one direction. Stopped, it
takes what is written and delivers nothing until it goes on (as a network that is away for a while), or it
breaks the connections and refuses new ones (as a firewall that rejects).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Cuttable:
    """Forwards connections from a free port of its own, ``port``, to ``target_port``."""

    def __init__(self, target_port: int) -> None:
        self.port = 0
        self._target_port = target_port
        self._open = asyncio.Event()
        self._open.set()
        self._refuses = False
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])

    def hold(self) -> None:
        """Deliver nothing until ``heal``."""
        self._open.clear()

    def reject(self) -> None:
        """Break what is connected and refuse what wants to be, until ``heal``."""
        self._refuses = True
        for writer in list(self._writers):
            writer.transport.abort()

    def heal(self) -> None:
        self._refuses = False
        self._open.set()

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self.reject()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            writer.transport.abort()
            return
        try:
            there, out = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, out}
        tasks = {
            asyncio.create_task(self._pump(reader, out)),
            asyncio.create_task(self._pump(there, writer)),
        }
        self._tasks |= tasks
        with suppress(asyncio.CancelledError):
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        self._tasks -= tasks
        self._writers -= {writer, out}
        writer.transport.abort()
        out.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
