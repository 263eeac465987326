"""Requests to one address, with the client's own errors, and the greeting of brokers.

A broker knows a client by its heartbeat, which belongs to a connection: when the connection breaks, the
broker takes the client's queues away. So each new connection to a broker begins with a heartbeat instead of
waiting up to 30 s for the next one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Container
from typing import Final

from ledgermq.client.errors import BrokerError, ClientError, RequestTimeoutError, UnreachableError
from ledgermq.remoting.client import CONNECT_TIMEOUT_MS, RemotingClient
from ledgermq.remoting.codes import LANGUAGE_PYTHON, RequestCode, ResponseCode
from ledgermq.remoting.command import Command, PeerError
from ledgermq.remoting.connection import (
    CallTimeoutError,
    Connection,
    ConnectionLostError,
    Handler,
    RemotingError,
)
from ledgermq.remoting.headers import H, decode_header, request, request_name
from ledgermq.runtime.clock import monotonic_ms

log: Final = logging.getLogger("ledgermq.client")

_SUCCESS_ONLY: Final = (ResponseCode.SUCCESS,)
_UNREAD_POLL_SECONDS: Final = 0.005

HEARTBEAT_TIMEOUT_MS: Final = 3000


class Connections:
    """One connection to each name server and broker, with ``handlers`` for what brokers ask of us."""

    def __init__(self, handlers: dict[int, Handler]) -> None:
        self._remoting = RemotingClient(handlers)
        self.greeting: Callable[[], bytes | None] = lambda: None
        """The body of our heartbeat; None while there is nothing to say."""
        self.greeted: set[str] = set()
        """The brokers that were told who we are."""

    async def ask_broker(
        self,
        address: str,
        command: Command,
        timeout_ms: int,
        expected: Container[int] = _SUCCESS_ONLY,
    ) -> Command:
        """Like :meth:`ask`, after the greeting when the connection is new; all within ``timeout_ms``."""
        begin_ms = monotonic_ms()
        await self._greeted(address, timeout_ms)
        left_ms = max(1, timeout_ms - (monotonic_ms() - begin_ms))
        return await self.ask(address, command, left_ms, expected)

    async def ask(
        self,
        address: str,
        command: Command,
        timeout_ms: int,
        expected: Container[int] = _SUCCESS_ONLY,
    ) -> Command:
        """The answer of ``address``, whose code is among ``expected``.

        Raises BrokerError for other codes, UnreachableError, RequestTimeoutError.
        """
        command.language = LANGUAGE_PYTHON
        try:
            answer = await self._remoting.invoke(address, command, timeout_ms)
        except RemotingError as error:
            raise _client_error(error) from None
        if answer.code not in expected:
            raise BrokerError(answer.code, answer.remark, address, request_name(command.code))
        return answer

    async def tell_broker(self, address: str, command: Command) -> None:
        """Send a request that nobody answers; waits while the broker does not read what was sent before.

        Raises UnreachableError.
        """
        connection = await self._greeted(address, HEARTBEAT_TIMEOUT_MS)
        command.language = LANGUAGE_PYTHON
        while connection.paused and not connection.closed:  # noqa: ASYNC110 - a connection tells no event
            await asyncio.sleep(_UNREAD_POLL_SECONDS)
        if connection.closed:
            raise UnreachableError(f"connection to {address} was lost")
        connection.notify(command)

    async def beat(self, address: str, body: bytes, timeout_ms: int = HEARTBEAT_TIMEOUT_MS) -> None:
        """Send our heartbeat to a broker. A failure is logged: the next one comes, and who asks will see."""
        try:
            await self.ask(address, request(RequestCode.HEART_BEAT, body=body), timeout_ms)
            self.greeted.add(address)
        except ClientError as error:
            log.warning("heartbeat to broker %s failed: %s", address, error)

    async def local_ip(self, address: str) -> str:
        """The address of this machine that ``address`` sees. Raises UnreachableError."""
        connection = await self._connection(address, CONNECT_TIMEOUT_MS)
        return connection.local_ip.partition("%")[0]

    async def close(self) -> None:
        """Close all connections."""
        await self._remoting.close()

    async def _connection(self, address: str, timeout_ms: int) -> Connection:
        try:
            return await self._remoting.connection(address, timeout_ms)
        except RemotingError as error:
            raise _client_error(error) from None

    async def _greeted(self, address: str, timeout_ms: int) -> Connection:
        begin_ms = monotonic_ms()
        connection = await self._connection(address, timeout_ms)
        if connection.attachment is None:
            body = self.greeting()
            if body is not None:
                connection.attachment = self
                left_ms = max(1, timeout_ms - (monotonic_ms() - begin_ms))
                await self.beat(address, body, min(left_ms, HEARTBEAT_TIMEOUT_MS))
        return connection


def answer_header(kind: type[H], answer: Command, address: str, asked: int) -> H:
    """The typed header of an answer. Raises ClientError when the peer did not send what it must."""
    try:
        return decode_header(kind, answer)
    except PeerError as error:
        raise ClientError(f"{address} answered {request_name(asked)} wrongly: {error.remark}") from None


def _client_error(error: RemotingError) -> ClientError:
    if isinstance(error, CallTimeoutError):
        return RequestTimeoutError(str(error))
    if isinstance(error, ConnectionLostError):
        return UnreachableError(str(error))
    return ClientError(str(error))
