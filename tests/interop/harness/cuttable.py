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
        await asyncio.sleep(0.01)  # aborted transports close in the next turns of the loop

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._forward(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = {writer}
        try:
            self._writers.add(writer)
            if self._refuses:
                return
            there, out = await asyncio.open_connection("127.0.0.1", self._target_port)
            writers.add(out)
            self._writers.add(out)
            pumps = [asyncio.create_task(self._pump(*ends)) for ends in ((reader, out), (there, writer))]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
        except OSError:
            pass
        finally:
            self._writers -= writers
            for one in writers:
                one.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
