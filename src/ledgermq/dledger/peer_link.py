"""The outgoing connection to one other member: kept up, and what is said over it.

Each time it is made, HELLO asks who is there. A ledgermq node of the same members answers with the same; from
then on its messages are binary and one-way (its own come over its own connection to us). A Java node does not
know the request: it gets DLedger's JSON, each request with its response. Whoever refuses is asked again
later.

Nothing waits for a connection: a message to a member that is away, or does not read, is dropped, as a network
may drop it; the core notices what is missing and sends it again.

Rules of this file: it is compiled; a link is always connected, connecting, or waiting to connect, until
it is stopped.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol, cast

from ledgermq.dledger.codes import DLedgerRequest
from ledgermq.dledger.errors import ProtocolError
from ledgermq.dledger.json_messages import decode_reply, encode_request
from ledgermq.dledger.messages import Entries, Heartbeat, Message, Push, TakeLeadership, VoteRequest
from ledgermq.dledger.native_messages import VERSION, encode_native
from ledgermq.dledger.requests import Hello, decode, encode
from ledgermq.remoting.client import split_address
from ledgermq.remoting.codes import FLAG_ONEWAY, ResponseCode
from ledgermq.remoting.command import Command, encode_head
from ledgermq.remoting.connection import Connection, FastPath, Handler, RemotingError
from ledgermq.runtime.limits import LINK_UNSENT_BYTES_MAX, MEMBER_REQUESTS_MAX

log: Final = logging.getLogger("ledgermq.dledger")

RECONNECT_MS_MIN: Final = 20
RECONNECT_MS_MAX: Final = 500
REFUSED_MS: Final = 2000
"""Until a member that refused our HELLO is asked again."""
CONNECT_SECONDS_MAX: Final = 1.0
HELLO_MS_MAX: Final = 1000
REQUEST_MS_MAX: Final = 3000
"""Java's time for a request between members."""
UNACKNOWLEDGED_MS_MAX: Final = 3000
"""A connection whose peer's kernel is silent for so long ends: TCP itself would wait for many minutes, and
try again ever more rarely after the network is whole."""


class Owner(Protocol):
    """Whose link it is: the node."""

    def received(self, sender: str, message: Message) -> None:
        """A Java member has answered a request."""

    def met(self, peer: str, java: bool) -> None:
        """First contact, at each connection: what kind of node ``peer`` is."""

    def lost(self, peer: str) -> None:
        """The connection has ended."""


class NativeFrames:
    """Frames of one member's native messages. The last one is kept: a push goes to several members."""

    def __init__(self, group: str, self_id: str) -> None:
        self._group = group
        self._self_id = self_id
        command = Command(DLedgerRequest.NATIVE)
        command.flag = FLAG_ONEWAY
        command.binary = True
        self._head = encode_head(command, 0)[4:]
        self._message: Message | None = None
        self._frame = b""

    def frame(self, message: Message) -> bytes:
        if message is not self._message:
            body = encode_native(self._group, self._self_id, message)
            length = len(self._head) + len(body)
            self._frame = b"".join((length.to_bytes(4, "big"), self._head, body))
            self._message = message
        return self._frame


class PeerLink:
    """The link of member ``self_id`` to ``peer`` at ``address``."""

    def __init__(self, hello: Hello, peer: str, address: str, frames: NativeFrames, owner: Owner) -> None:
        self.peer: Final = peer
        self.java: bool | None = None
        """What kind of node is connected; None when none is."""
        self.dropped = 0
        """Messages that did not get away."""
        self._hello = hello
        self._host, self._port = split_address(address)
        self._frames = frames
        self._owner = owner
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._requests: set[asyncio.Task[None]] = set()
        self._complaint = ""

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._keep_up())

    async def stop(self) -> None:
        """Close the connection, after what was written has left."""
        tasks = [*self._requests, *([self._task] if self._task is not None else [])]
        self._task = None
        self.java = None
        if self._connection is not None:
            self._connection.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def drop(self) -> None:
        """Close the connection at once, for good: not a word more."""
        if self._task is not None:
            self._task.cancel()
        if self._connection is not None:
            self._connection.abort()

    # ---- messages ----

    def send(self, message: Message, entry: Entries | None = None) -> None:
        """Send ``message``, or drop it. A Java member wants the ``entry`` that a COMPARE or TRUNCATE is
        about."""
        connection = self._connection
        if connection is None or connection.closed or self.java is None:
            self.dropped += 1
        elif self.java:
            self._request(connection, message, entry)
        elif connection.unsent_bytes > LINK_UNSENT_BYTES_MAX:
            self.dropped += 1
        else:
            connection.write(self._frames.frame(message))

    def _request(self, connection: Connection, message: Message, entry: Entries | None) -> None:
        """Ask a Java member. Replies to its own requests never come this way."""
        if not isinstance(message, VoteRequest | Heartbeat | Push | TakeLeadership):
            self.dropped += 1
            return
        full = len(self._requests) >= MEMBER_REQUESTS_MAX or connection.unsent_bytes > LINK_UNSENT_BYTES_MAX
        if full:
            self.dropped += 1
            return
        try:
            code, body = encode_request(message, self._hello.group, self._hello.local_id, self.peer, entry)
        except ValueError as error:
            log.warning("nothing is said to the Java member %s: %s", self.peer, error)
            return
        command = Command(code)
        command.body = body
        task = asyncio.get_running_loop().create_task(self._ask(connection, command, message))
        self._requests.add(task)
        task.add_done_callback(self._requests.discard)

    async def _ask(self, connection: Connection, command: Command, message: Message) -> None:
        try:
            answer = await connection.call(command, REQUEST_MS_MAX)
            self._owner.received(self.peer, decode_reply(message, answer.body))
        except RemotingError:
            self.dropped += 1
        except ProtocolError as error:
            log.warning("the answer of member %s cannot be read: %s", self.peer, error)

    # ---- the connection ----

    async def _keep_up(self) -> None:
        wait_ms = RECONNECT_MS_MIN
        while True:
            try:
                connection = await self._connect()
            except (OSError, TimeoutError, ValueError) as error:  # ValueError: no name of a host
                self._complain(f"cannot be reached: {error}")
            else:
                ended = asyncio.Event()
                connection.close_listeners.append(partial(_set, ended))
                wait_ms = await self._use(connection, ended, wait_ms)
            await asyncio.sleep(wait_ms / 1000)
            wait_ms = min(2 * wait_ms, RECONNECT_MS_MAX)

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        factory = cast(Callable[[], asyncio.Protocol], self._protocol)
        async with asyncio.timeout(CONNECT_SECONDS_MAX):
            transport, protocol = await loop.create_connection(factory, self._host, self._port)
        raw = transport.get_extra_info("socket")
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS_MAX)
        return cast(Connection, protocol)

    def _protocol(self) -> Connection:
        handlers: dict[int, Handler] = {}
        return Connection(handlers, FastPath(), _ignore, _ignore, 0)

    async def _use(self, connection: Connection, ended: asyncio.Event, wait_ms: int) -> int:
        """Speak over a new connection until it ends; returns how long to wait before the next one."""
        self._connection = connection
        met = False
        try:
            java = await self._greet(connection)
            if java is None:
                return REFUSED_MS
            self._complaint = ""
            self.java = java
            met = True
            log.info("member %s is there: %s", self.peer, "a Java node" if java else "a ledgermq node")
            self._owner.met(self.peer, java)
            await ended.wait()
            return RECONNECT_MS_MIN
        except RemotingError as error:
            self._complain(f"does not answer: {error}")
            return wait_ms
        finally:
            self._connection = None
            self.java = None
            connection.close()
            if met and self._task is not None:
                self._owner.lost(self.peer)

    async def _greet(self, connection: Connection) -> bool | None:
        """Whether a Java node is there; None when whoever is there refuses us. Raises RemotingError."""
        command = Command(DLedgerRequest.HELLO)
        command.body = encode(self._hello)
        answer = await connection.call(command, HELLO_MS_MAX)
        if answer.code == ResponseCode.REQUEST_CODE_NOT_SUPPORTED:
            return True
        if answer.code != ResponseCode.SUCCESS:
            self._complain(f"refuses us: {answer.remark} ({answer.code})")
            return None
        try:
            there = decode(Hello, answer.body)
        except ProtocolError as error:
            self._complain(f"answers what cannot be read: {error}")
            return None
        if there.local_id != self.peer or there.group != self._hello.group:
            self._complain(f"is {there.local_id} of group {there.group}: its address is another's")
            return None
        if there.version < VERSION:
            self._complain(f"speaks version {there.version} of native messages, ours is {VERSION}")
            return None
        return False

    def _complain(self, text: str) -> None:
        """Log what is wrong, once while it stays the same."""
        if text != self._complaint:
            self._complaint = text
            log.warning(
                "group %s: member %s at %s:%d %s", self._hello.group, self.peer, self._host, self._port, text
            )


def _ignore(connection: Connection) -> None:
    return None


def _set(event: asyncio.Event, connection: Connection) -> None:
    event.set()
