"""One TCP connection, either side: complete frames in, commands out.

Both ends of a RocketMQ connection ask and answer, so servers and clients share this class. A request goes
first to the connection's fast path (the broker's compiled send path), else to the handler of its code.
A handler is a plain function that returns the response; it returns None when it answers later by
:meth:`Connection.reply`, and a coroutine when it has to wait.

Rules of this file: it is compiled; whatever a peer sends ends in a reply, or in this one connection closed
with one log line. Everything that waits for a peer has a limit.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from librt.strings import read_i32_be
from mypy_extensions import i64

from ledgermq.remoting.codes import FLAG_ONEWAY, FLAG_RESPONSE, ResponseCode
from ledgermq.remoting.command import (
    Command,
    FrameError,
    PeerError,
    decode_command,
    encode_command,
    encode_head,
)
from ledgermq.runtime.limits import (
    CALLS_MAX,
    FRAME_BYTES_MAX,
    UNFINISHED_BYTES_MAX,
    UNSENT_BYTES_MAX,
    WAITING_HANDLERS_MAX,
)

log: Final = logging.getLogger("ledgermq.remoting")

IDLE_SECONDS_MAX: Final = 120
"""Java's ``serverChannelMaxIdleTimeSeconds``; clients send a heartbeat every 30 s."""
CLOSE_SECONDS_MAX: Final = 5
"""A closed connection's peer may take this long to read what was written to it."""
PIECES_MAX: Final[i64] = 1024
"""Pieces of an unfinished frame kept apart: one that comes byte by byte would cost 40 times its size."""


class RemotingError(Exception):
    """A request of ours got no answer."""


class ConnectionLostError(RemotingError):
    """The connection ended, or could not be made."""


class CallTimeoutError(RemotingError):
    """The peer did not answer in time."""


class CallLimitError(RemotingError):
    """Too many requests of ours wait already."""


class UnfinishedBytes:
    """What all connections of this process together hold of frames that have not come whole."""

    def __init__(self) -> None:
        self.held: i64 = 0
        self.limit: i64 = UNFINISHED_BYTES_MAX


unfinished: Final = UnfinishedBytes()


class FastPath:
    """Takes requests before they are decoded; the broker's compiled paths derive from it."""

    def take(self, connection: Connection, frame: bytes, at: i64, end: i64) -> bool:
        """Handle the frame in ``frame[at:end]`` wholly and return True, or leave it and return False."""
        return False


Handler = Callable[[Command, "Connection"], Command | Awaitable[Command | None] | None]


class Connection:
    """One TCP connection (an asyncio protocol, by its methods' names).

    ``remote`` is the peer's ``ip:port``; ``attachment`` is for the owner of the handlers (the broker keeps
    its per-connection state there).
    """

    def __init__(
        self,
        handlers: dict[int, Handler],
        fast_path: FastPath,
        on_open: Callable[[Connection], None],
        on_close: Callable[[Connection], None],
        idle_seconds_max: int,
    ) -> None:
        self.remote: str = ""
        self.remote_ip: str = ""
        self.remote_port: int = 0
        self.local_ip: str = ""
        self.closed: bool = False
        self.paused: bool = False
        self.attachment: object = None
        self.close_listeners: list[Callable[[Connection], None]] = []
        self._handlers: dict[int, Handler] = handlers
        self._fast_path: FastPath = fast_path
        self._on_open: Callable[[Connection], None] = on_open
        self._on_close: Callable[[Connection], None] = on_close
        self._idle_seconds_max: int = idle_seconds_max
        self._loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self._transport: Any = None
        self._rest: list[bytes] = []
        self._rest_blocks: list[bytes] = []
        self._rest_bytes: i64 = 0
        self._wanted_bytes: i64 = 0
        self._last_seen: float = 0.0
        self._end_timer: asyncio.TimerHandle | None = None
        """Closes it when idle; aborts it when closing takes too long."""
        self._calls: dict[int, asyncio.Future[Command]] = {}
        self._next_opaque: int = 0
        self._tasks: set[asyncio.Task[None]] = set()

    # ---- what asyncio calls ----

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        peer = transport.get_extra_info("peername")
        if peer:
            self.remote_ip = str(peer[0])
            self.remote_port = int(peer[1])
        host = f"[{self.remote_ip}]" if ":" in self.remote_ip else self.remote_ip
        self.remote = f"{host}:{self.remote_port}"
        local = transport.get_extra_info("sockname")
        if local:
            self.local_ip = str(local[0])
        self._last_seen = self._loop.time()
        if self._idle_seconds_max > 0:
            self._end_timer = self._loop.call_later(self._idle_seconds_max, self._check_idle)
        self._on_open(self)

    def data_received(self, data: bytes) -> None:
        self._last_seen = self._loop.time()
        if self._rest_bytes > 0:
            self._rest.append(data)
            self._count_rest(len(data))
            if self._rest_bytes < self._wanted_bytes:
                if len(self._rest) >= PIECES_MAX:
                    self._rest_blocks.append(b"".join(self._rest))
                    self._rest = []
                return
            data = b"".join(self._rest_blocks + self._rest)
            self._drop_rest()
        self._split(data)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        self._stop_end_timer()
        self._drop_rest()
        calls = self._calls
        self._calls = {}
        for future in calls.values():
            if not future.done():
                future.set_exception(ConnectionLostError(f"connection to {self.remote} was lost"))
        for task in list(self._tasks):
            task.cancel()
        listeners = [*self.close_listeners, self._on_close]
        self.close_listeners = []
        for listener in listeners:
            try:
                listener(self)
            except Exception:  # one listener's bug must not keep the others from hearing of it
                log.exception("a listener of the end of connection %s failed", self.remote)

    def pause_writing(self) -> None:
        """The peer does not read: stop taking its requests until it does."""
        self.paused = True
        if not self.closed:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self.paused = False
        if not self.closed:
            self._transport.resume_reading()

    # ---- frames in ----

    def _count_rest(self, size: i64) -> None:
        """``size`` more bytes of an unfinished frame are kept."""
        self._rest_bytes += size
        unfinished.held += size
        if unfinished.held > unfinished.limit and self._rest_bytes < self._wanted_bytes:
            log.warning(
                "connection %s closed: all connections together hold %d bytes of unfinished frames",
                self.remote,
                unfinished.held,
            )
            self._drop_rest()
            self.abort()

    def _drop_rest(self) -> None:
        self._rest = []
        self._rest_blocks = []
        unfinished.held -= self._rest_bytes
        self._rest_bytes = 0

    def _split(self, data: bytes) -> None:
        at: i64 = 0
        size: i64 = len(data)
        wanted: i64 = 4
        try:
            while size - at >= 8:
                length: i64 = i64(read_i32_be(data, at))
                if length < 4 or length + 4 > FRAME_BYTES_MAX:
                    raise FrameError(f"frame length {length} is not in 4..{FRAME_BYTES_MAX - 4}")
                end: i64 = at + 4 + length
                if end > size:
                    wanted = length + 4
                    break
                if not self._fast_path.take(self, data, at, end):
                    self._dispatch(decode_command(data, at, end))
                at = end
                if self.closed:
                    return
        except FrameError as error:
            log.warning("connection %s closed: not RocketMQ's protocol: %s", self.remote, error)
            self.close()
            return
        except Exception:  # a bug of ours must cost this connection, not the process
            log.exception("connection %s closed: its request could not be handled", self.remote)
            self.abort()
            return
        if at < size:
            rest = data[at:] if at > 0 else data
            self._rest = [rest]
            self._wanted_bytes = wanted if wanted > 8 else 8
            self._count_rest(len(rest))

    def _dispatch(self, command: Command) -> None:
        if command.is_response:
            future = self._calls.pop(command.opaque, None)
            if future is not None and not future.done():
                future.set_result(command)
            return
        handler = self._handlers.get(command.code)
        if handler is None:
            remark = f"request code {command.code} is not supported"
            self._answer_error(command, ResponseCode.REQUEST_CODE_NOT_SUPPORTED, remark)
            return
        try:
            result = handler(command, self)
        except PeerError as refusal:
            self._answer_error(command, refusal.code, refusal.remark)
            return
        except Exception as error:  # the one place that keeps a handler's bug from ending the process
            log.exception("request code %d of %s failed", command.code, self.remote)
            self._answer_bug(command, error)
            return
        if result is None:
            return
        if isinstance(result, Command):
            self.reply(command, result)
        elif len(self._tasks) >= WAITING_HANDLERS_MAX:
            if isinstance(result, Coroutine):
                result.close()
            remark = f"{WAITING_HANDLERS_MAX} requests of this connection wait already, retry later"
            self._answer_error(command, ResponseCode.SYSTEM_BUSY, remark)
        else:
            task = self._loop.create_task(self._finish(command, result))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _finish(self, command: Command, result: Awaitable[Command | None]) -> None:
        try:
            answer = await result
        except PeerError as refusal:
            # Compiled, a variable keeps its first type: the two exceptions must not share a name.
            self._answer_error(command, refusal.code, refusal.remark)
        except Exception as error:  # as in _dispatch
            log.exception("request code %d of %s failed", command.code, self.remote)
            self._answer_bug(command, error)
        else:
            if answer is not None:
                self.reply(command, answer)

    def _answer_bug(self, request: Command, error: Exception) -> None:
        self._answer_error(request, ResponseCode.SYSTEM_ERROR, f"{type(error).__name__}: {error}")

    def _answer_error(self, request: Command, code: int, remark: str) -> None:
        answer = Command(code)
        answer.remark = remark
        self.reply(request, answer)

    # ---- commands out ----

    def reply(self, request: Command, answer: Command) -> None:
        """Answer ``request``, in its own header encoding; one-way requests and lost peers get nothing."""
        if request.flag & FLAG_ONEWAY != 0 or self.closed:
            return
        answer.flag |= FLAG_RESPONSE
        answer.opaque = request.opaque
        answer.binary = request.binary
        self.send(answer)

    def send(self, command: Command) -> None:
        """Write ``command`` as it is."""
        if len(command.body) > 16384:
            self.write(encode_head(command, len(command.body)))
            self.write(command.body)
        else:
            self.write(encode_command(command))

    def write(self, data: bytes) -> None:
        """Write whole frames; the transport gathers what one turn of the loop writes."""
        if self.closed:
            return
        self._transport.write(data)
        if self.paused and self._transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
            log.warning("connection %s closed: it left %d bytes unread", self.remote, UNSENT_BYTES_MAX)
            self.abort()

    def notify(self, command: Command) -> None:
        """Send a request that nobody answers."""
        command.flag |= FLAG_ONEWAY
        command.opaque = self._take_opaque()
        if not self.closed:
            self.send(command)

    @property
    def unsent_bytes(self) -> int:
        """Written, but not taken by the kernel yet."""
        return 0 if self.closed else int(self._transport.get_write_buffer_size())

    async def call(self, command: Command, timeout_ms: int) -> Command:
        """Send a request and return the peer's response, whatever its code.

        Raises ConnectionLostError, CallTimeoutError or CallLimitError.
        """
        if self.closed:
            raise ConnectionLostError(f"connection to {self.remote} is closed")
        if len(self._calls) >= CALLS_MAX:
            raise CallLimitError(f"{CALLS_MAX} requests to {self.remote} wait already")
        opaque = self._take_opaque()
        command.opaque = opaque
        future: asyncio.Future[Command] = self._loop.create_future()
        self._calls[opaque] = future
        timer = self._loop.call_later(timeout_ms / 1000, self._expire, opaque, command.code, timeout_ms)
        try:
            self.send(command)
            return await future
        finally:
            timer.cancel()
            self._calls.pop(opaque, None)

    def _expire(self, opaque: int, code: int, timeout_ms: int) -> None:
        future = self._calls.pop(opaque, None)
        if future is not None and not future.done():
            remark = f"{self.remote} did not answer request code {code} within {timeout_ms} ms"
            future.set_exception(CallTimeoutError(remark))

    def _take_opaque(self) -> int:
        self._next_opaque = (self._next_opaque + 1) & 0x7FFFFFFF
        return self._next_opaque

    # ---- the end ----

    def close(self) -> None:
        """Close after what was written has left, or CLOSE_SECONDS_MAX have passed."""
        if self.closed:
            return
        self.closed = True
        self._transport.close()
        self._stop_end_timer()
        if self._transport.get_write_buffer_size() > 0:
            self._end_timer = self._loop.call_later(CLOSE_SECONDS_MAX, self.abort)

    def abort(self) -> None:
        """Close at once; what has not left is lost. It may be closed already."""
        self.closed = True
        self._transport.abort()

    def _stop_end_timer(self) -> None:
        if self._end_timer is not None:
            self._end_timer.cancel()
            self._end_timer = None

    def _check_idle(self) -> None:
        idle_seconds = self._loop.time() - self._last_seen
        if idle_seconds >= self._idle_seconds_max:
            log.info("connection %s closed: idle for %d s", self.remote, int(idle_seconds))
            self.close()
            return
        self._end_timer = self._loop.call_later(self._idle_seconds_max - idle_seconds, self._check_idle)
