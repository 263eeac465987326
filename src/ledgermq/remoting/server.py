"""The listening side: one handler table, any number of addresses."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, cast

from ledgermq.remoting.connection import IDLE_SECONDS_MAX, Connection, FastPath, Handler
from ledgermq.runtime.limits import CONNECTIONS_MAX

log: Final = logging.getLogger("ledgermq.remoting")

BACKLOG: Final = 1024
STOP_SECONDS_MAX: Final = 0.5
"""Peers may take this long to read their last answers when the server stops."""


def bind(host: str, port: int) -> socket.socket:
    """A socket that holds ``host:port`` (0: a free port) without listening yet: who must know its port before
    it can serve binds first. Raises OSError, whose text names the address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror or error}") from None
    bound.setblocking(False)
    return bound


def _ignore(connection: Connection) -> None:
    return None


class Server:
    """Accepts connections and gives each the same handlers.

    ``on_close`` hears of every connection that ends, after the connection's own close listeners.
    """

    def __init__(
        self,
        handlers: dict[int, Handler],
        *,
        fast_path: FastPath | None = None,
        on_open: Callable[[Connection], None] = _ignore,
        on_close: Callable[[Connection], None] = _ignore,
        idle_seconds_max: int = IDLE_SECONDS_MAX,
    ) -> None:
        self._handlers = handlers
        self._fast_path = fast_path or FastPath()
        self._hear_open = on_open
        self._hear_close = on_close
        self._idle_seconds_max = idle_seconds_max
        self._servers: list[asyncio.Server] = []
        self.connections: set[Connection] = set()
        self._none_open = asyncio.Event()
        self._none_open.set()

    async def start(self, host: str, port: int) -> int:
        """Listen on ``host:port`` (0: a free port) and return the port. May be called for several ports.

        Raises OSError when the address cannot be had.
        """
        bound = bind(host, port)
        await self.serve(bound)
        return int(bound.getsockname()[1])

    async def serve(self, bound: socket.socket) -> None:
        """Listen on a socket of :func:`bind`."""
        loop = asyncio.get_running_loop()
        # Connection is an asyncio protocol by its methods; a compiled class cannot derive from one.
        factory = cast(Callable[[], asyncio.Protocol], self._accept)
        self._servers.append(await loop.create_server(factory, sock=bound, backlog=BACKLOG))

    def _accept(self) -> Connection:
        return Connection(self._handlers, self._fast_path, self._opened, self._closed, self._idle_seconds_max)

    def _opened(self, connection: Connection) -> None:
        self.connections.add(connection)
        self._none_open.clear()
        if not connection.remote_ip:  # The peer has gone already.
            connection.abort()
            return
        if len(self.connections) > CONNECTIONS_MAX:
            log.warning("connection %s refused: %d are open already", connection.remote, CONNECTIONS_MAX)
            connection.abort()
            return
        self._hear_open(connection)

    def _closed(self, connection: Connection) -> None:
        self.connections.discard(connection)
        if not self.connections:
            self._none_open.set()
        self._hear_close(connection)

    async def stop(self) -> None:
        """Stop listening and close every connection: once what was written to it has left, or after
        STOP_SECONDS_MAX."""
        servers: list[Any] = self._servers
        self._servers = []
        for server in servers:
            server.close()
        for connection in list(self.connections):
            connection.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._none_open.wait(), STOP_SECONDS_MAX)
        for connection in list(self.connections):
            connection.abort()
        await self._none_open.wait()
