"""From an appended record to an answered sender: one write per turn of the loop, replies when they are safe.

Whatever a turn of the event loop appends is gathered by the store. Once all sockets of the turn have been
read, :meth:`Commits.commit` writes it with one call, wakes the pulls that wait for it, and lets the replies
go: at once (ASYNC_FLUSH), or with the fsync that covers them (SYNC_FLUSH; one fsync serves all that wait,
and the next begins when it ends).

Rules of this file: it is compiled. A reply stands in ``Outbox.safe`` or ``Outbox.held`` and reaches the
socket only from here, so no acknowledgement can leave before its bytes are where they were promised to be.
A write that fails turns the replies of its turn into errors; an fsync that fails stops the broker.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Final

from librt.strings import BytesWriter
from mypy_extensions import i64

from ledgermq.remoting.codes import FLAG_RESPONSE, ResponseCode
from ledgermq.remoting.command import Command, decode_command, encode_command
from ledgermq.remoting.connection import Connection
from ledgermq.runtime.limits import WAITING_REPLIES_BYTES_MAX
from ledgermq.store.commit_log import CommitLog
from ledgermq.store.consume_queue import ConsumeQueue
from ledgermq.store.errors import StoreWriteError

log: Final = logging.getLogger("ledgermq.broker")


class Outbox:
    """The replies of one connection in this turn of the loop.

    ``born_host`` is the connection's address as records carry it: ip and int32 port, 8 or 20 bytes.
    """

    def __init__(self, connection: Connection, born_host: bytes) -> None:
        self.connection: Connection = connection
        self.born_host: bytes = born_host
        self.safe: BytesWriter = BytesWriter()
        self.held: BytesWriter = BytesWriter()
        self.listed: bool = False


class _Group:
    """Replies that leave when the log is flushed up to ``end``."""

    def __init__(self, end: int, replies: list[tuple[Connection, bytes]], deadline: float) -> None:
        self.end: int = end
        self.replies: list[tuple[Connection, bytes]] = replies
        self.deadline: float = deadline


class Commits:
    """Commits what was appended and releases replies; ``on_growth`` hears which queues have new messages."""

    def __init__(
        self,
        commit_log: CommitLog,
        executor: Executor,
        sync_flush: bool,
        flush_timeout_ms: int,
        on_growth: Callable[[list[ConsumeQueue]], None],
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self._log: CommitLog = commit_log
        self._executor: Executor = executor
        self.sync_flush: bool = sync_flush
        self._flush_timeout_seconds: float = flush_timeout_ms / 1000
        self._on_growth: Callable[[list[ConsumeQueue]], None] = on_growth
        self._on_fatal: Callable[[BaseException], None] = on_fatal
        self._loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self._scheduled: bool = False
        self._turn: list[Outbox] = []
        self._waiting: list[_Group] = []
        self._waiting_bytes: i64 = 0
        self._flushing: bool = False
        self._stopped: bool = False
        self._callbacks: list[Callable[[bool], None]] = []

    def appended(self) -> None:
        """Something was appended: it is committed when this turn of the loop is over."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self.commit)

    def writer(self, outbox: Outbox, wait: bool) -> BytesWriter:
        """Where the reply of a record just appended is to be written; ``wait`` asks for the flush."""
        if not outbox.listed:
            outbox.listed = True
            self._turn.append(outbox)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self.commit)
        return outbox.held if wait and self.sync_flush else outbox.safe

    def on_commit(self, callback: Callable[[bool], None]) -> None:
        """Call ``callback(written)`` after this turn's commit; for appends that no client waits for."""
        self._callbacks.append(callback)
        self.appended()

    @property
    def overloaded(self) -> bool:
        return self._waiting_bytes > WAITING_REPLIES_BYTES_MAX

    def commit(self) -> None:
        """Write what was gathered, publish it, release the replies that wait for no flush."""
        self._scheduled = False
        turn = self._turn
        callbacks = self._callbacks
        self._turn = []
        self._callbacks = []
        try:
            grown = self._log.commit_pending()
        except StoreWriteError as error:
            log.error("%s", error)
            self._fail(turn, str(error))
            for callback in callbacks:
                callback(False)
            return
        held: list[tuple[Connection, bytes]] = []
        for outbox in turn:
            outbox.listed = False
            if len(outbox.safe) > 0:
                replies = outbox.safe.getvalue()
                outbox.safe = BytesWriter()
                outbox.connection.write(replies)
            if len(outbox.held) > 0:
                replies = outbox.held.getvalue()
                outbox.held = BytesWriter()
                held.append((outbox.connection, replies))
                self._waiting_bytes += len(replies)
        if held:
            deadline = self._loop.time() + self._flush_timeout_seconds
            self._waiting.append(_Group(self._log.written, held, deadline))
            self._begin_flush()
        if grown:
            self._on_growth(grown)
        for callback in callbacks:
            callback(True)

    def _fail(self, turn: list[Outbox], remark: str) -> None:
        """Turn the replies written in advance into errors: nothing of this turn is in the log."""
        for outbox in turn:
            outbox.listed = False
            replies = outbox.safe.getvalue() + outbox.held.getvalue()
            outbox.safe = BytesWriter()
            outbox.held = BytesWriter()
            outbox.connection.write(replace_replies(replies, ResponseCode.SERVICE_NOT_AVAILABLE, remark))

    # ---- flush ----

    def _begin_flush(self) -> None:
        if self._flushing or self._stopped:
            return
        self._flushing = True
        future = self._loop.run_in_executor(self._executor, self._log.flush)
        future.add_done_callback(self._flushed)

    def _flushed(self, future: asyncio.Future[int]) -> None:
        self._flushing = False
        error = future.exception()
        if error is not None:
            # The kernel may have dropped the pages it could not write: no later fsync can be believed.
            self._stopped = True
            self._on_fatal(error)
            return
        flushed = future.result()
        grown = self._log.confirm(flushed)
        if grown:
            self._on_growth(grown)
        still_waiting: list[_Group] = []
        now = self._loop.time()
        for group in self._waiting:
            if group.end > flushed:
                still_waiting.append(group)
                continue
            late = now > group.deadline
            for connection, replies in group.replies:
                self._waiting_bytes -= len(replies)
                if late:
                    remark = f"the flush took longer than {self._flush_timeout_seconds} s"
                    replies = replace_replies(replies, ResponseCode.FLUSH_DISK_TIMEOUT, remark)
                connection.write(replies)
        self._waiting = still_waiting
        if still_waiting:
            self._begin_flush()

    def flush_soon(self) -> None:
        """Begin a flush that no reply waits for (ASYNC_FLUSH, by time)."""
        self._begin_flush()


def replace_replies(replies: bytes, code: int, remark: str) -> bytes:
    """The frames of ``replies``, each with another result code; their extension fields stay."""
    replaced: list[bytes] = []
    at = 0
    while at < len(replies):
        end = at + 4 + int.from_bytes(replies[at : at + 4], "big")
        answer: Command = decode_command(replies, at, end)
        answer.code = code
        answer.remark = remark
        answer.flag |= FLAG_RESPONSE
        replaced.append(encode_command(answer))
        at = end
    return b"".join(replaced)
