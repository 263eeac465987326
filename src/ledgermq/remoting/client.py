"""The calling side: one connection to each address, made when first needed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Final, cast

from ledgermq.remoting.command import Command
from ledgermq.remoting.connection import Connection, ConnectionLostError, FastPath, Handler

CONNECT_TIMEOUT_MS: Final = 3000


def _ignore(connection: Connection) -> None:
    return None


def split_address(address: str) -> tuple[str, int]:
    """``host:port`` or ``[ipv6]:port`` as a pair. Raises ValueError."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError(f"address {address!r} is not host:port")
    return host.strip("[]"), int(port)


class RemotingClient:
    """Sends requests to addresses and answers what the servers ask with ``handlers``."""

    def __init__(
        self,
        handlers: dict[int, Handler] | None = None,
        on_close: Callable[[Connection], None] = _ignore,
    ) -> None:
        self._handlers: dict[int, Handler] = {} if handlers is None else handlers
        self._hear_close = on_close
        self._connections: dict[str, Connection] = {}
        self._connecting: dict[str, asyncio.Task[Connection]] = {}

    async def connection(self, address: str, timeout_ms: int = CONNECT_TIMEOUT_MS) -> Connection:
        """The open connection to ``address``, made if there is none.

        Raises ConnectionLostError when it cannot be made within ``timeout_ms`` or CONNECT_TIMEOUT_MS.
        """
        known = self._connections.get(address)
        if known is not None and not known.closed:
            return known
        task = self._connecting.get(address)
        if task is None:
            # One attempt serves all who wait, and outlives the first of them being cancelled.
            task = asyncio.get_running_loop().create_task(self._connect(address))
            self._connecting[address] = task
            task.add_done_callback(lambda done: self._connected(address, done))
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                return await asyncio.shield(task)
        except TimeoutError:
            raise ConnectionLostError(f"cannot connect to {address}: not within {timeout_ms} ms") from None

    def _connected(self, address: str, task: asyncio.Task[Connection]) -> None:
        self._connecting.pop(address, None)
        if not task.cancelled() and task.exception() is None:
            self._connections[address] = task.result()

    async def _connect(self, address: str) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            host, port = split_address(address)
            factory = cast(Callable[[], asyncio.Protocol], self._protocol)
            async with asyncio.timeout(CONNECT_TIMEOUT_MS / 1000):
                _, protocol = await loop.create_connection(factory, host, port)
        except TimeoutError:
            raise ConnectionLostError(
                f"cannot connect to {address}: not within {CONNECT_TIMEOUT_MS} ms"
            ) from None
        except (OSError, ValueError) as error:
            raise ConnectionLostError(f"cannot connect to {address}: {error}") from None
        return cast(Connection, protocol)

    def _protocol(self) -> Connection:
        return Connection(self._handlers, FastPath(), _ignore, self._closed, 0)

    def _closed(self, connection: Connection) -> None:
        known = [address for address, other in self._connections.items() if other is connection]
        for address in known:
            del self._connections[address]
        self._hear_close(connection)

    async def invoke(self, address: str, command: Command, timeout_ms: int = 3000) -> Command:
        """Send ``command`` to ``address`` and return the response, whatever its code.

        Raises RemotingError when there is no answer within ``timeout_ms``, the connecting included.
        """
        clock = asyncio.get_running_loop().time
        begin = clock()
        connection = await self.connection(address, timeout_ms)
        return await connection.call(command, max(1, timeout_ms - int((clock() - begin) * 1000)))

    async def oneway(self, address: str, command: Command) -> None:
        """Send a request that nobody answers. Raises ConnectionLostError."""
        connection = await self.connection(address)
        connection.notify(command)

    async def close(self) -> None:
        """Close every connection."""
        for task in list(self._connecting.values()):
            task.cancel()
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()
        await asyncio.sleep(0)
