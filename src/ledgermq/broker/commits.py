"""From an appended record to an answered sender: one write per turn of the loop, replies when they are safe.

Whatever a turn of the event loop appends is gathered by the store. Once all sockets of the turn have been
read, :meth:`Commits.commit` writes it with one call, wakes the pulls that wait for it, and lets the replies
go: at once (ASYNC_FLUSH), or with the fsync that covers them (SYNC_FLUSH; one fsync serves all that wait,
and the next begins when it ends).

Rules of this file: it is compiled. A reply stands in ``Outbox.safe`` or ``Outbox.held`` and reaches the
socket only from here, so no acknowledgement can leave before its bytes are where they were promised to be.
A write that fails turns the replies of its turn into errors; an fsync that fails stops the broker, and nobody
who waits for it is answered.
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


class _Waiting:
    """What one turn left to wait until the log is flushed up to ``end``.

    Replies wait until ``deadline`` at most (seconds of the loop's clock), callbacks as long as it takes.
    """

    def __init__(
        self,
        end: int,
        deadline: float,
        replies: list[tuple[Connection, bytes]],
        callbacks: list[Callable[[bool], None]],
    ) -> None:
        self.end: int = end
        self.deadline: float = deadline
        self.replies: list[tuple[Connection, bytes]] = replies
        self.callbacks: list[Callable[[bool], None]] = callbacks


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
        self._callbacks: list[Callable[[bool], None]] = []
        self._waiting: list[_Waiting] = []
        """By ``end`` and by ``deadline``, both ascending."""
        self._waiting_bytes: i64 = 0
        self._flush: asyncio.Future[int] | None = None
        """The flush under way."""
        self._stopped: bool = False
        self._failing: bool = False
        """The last write failed; it was logged then."""

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
        """For appends that no client waits for: call ``callback(True)`` when they are as safe as an
        acknowledged message is, ``callback(False)`` when they were not written."""
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
            if not self._failing:
                self._failing = True
                log.error("messages are refused: %s", error)
            self._fail(turn, callbacks, str(error))
            return
        except Exception as error:  # a bug: what the store holds in memory is not to be trusted any more
            log.exception("a commit failed")
            self._on_fatal(error)
            self._fail(turn, callbacks, f"the broker stops: {error}")
            return
        if self._failing:
            self._failing = False
            log.info("messages are taken again")
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
        if self.sync_flush:
            if held or callbacks:
                deadline = self._loop.time() + self._flush_timeout_seconds
                self._waiting.append(_Waiting(self._log.written, deadline, held, callbacks))
                callbacks = []
            self._flush_rest()
        for callback in callbacks:
            callback(True)
        if grown:
            self._on_growth(grown)

    def _fail(self, turn: list[Outbox], callbacks: list[Callable[[bool], None]], remark: str) -> None:
        """Turn the replies written in advance into errors: nothing of this turn is in the log."""
        for outbox in turn:
            outbox.listed = False
            replies = outbox.safe.getvalue() + outbox.held.getvalue()
            outbox.safe = BytesWriter()
            outbox.held = BytesWriter()
            outbox.connection.write(replace_replies(replies, ResponseCode.SERVICE_NOT_AVAILABLE, remark))
        for callback in callbacks:
            callback(False)

    # ---- flush ----

    def flush_soon(self) -> None:
        """Begin a flush that no reply waits for (ASYNC_FLUSH, by time)."""
        if self._flush is None and not self._stopped:
            flush = self._loop.run_in_executor(self._executor, self._log.flush)
            self._flush = flush
            flush.add_done_callback(self._flushed)

    def _flush_rest(self) -> None:
        """SYNC_FLUSH: nothing stays unflushed; what comes during a flush has the next one together."""
        if self._log.written > self._log.flushed:
            self.flush_soon()

    def _flushed(self, flush: asyncio.Future[int]) -> None:
        self._flush = None
        if self._stopped:
            return
        error = flush.exception()
        if error is not None:
            # The kernel may have dropped the pages it could not write: no later fsync can be believed.
            self._stopped = True
            self._on_fatal(error)
            return
        flushed = flush.result()
        grown = self._log.confirm(flushed)
        while self._waiting and self._waiting[0].end <= flushed:
            self._release(self._waiting.pop(0))
        if grown:
            self._on_growth(grown)
        if self.sync_flush:
            self._flush_rest()

    def _release(self, waiting: _Waiting) -> None:
        for connection, replies in waiting.replies:
            self._waiting_bytes -= len(replies)
            connection.write(replies)
        for callback in waiting.callbacks:
            callback(True)

    def expire(self) -> None:
        """Answer who has waited for a flush longer than ``syncFlushTimeout``; call it once a second."""
        now = self._loop.time()
        remark = f"the message is written, its flush takes longer than {self._flush_timeout_seconds} s"
        for waiting in self._waiting:
            if waiting.deadline > now:
                break
            for connection, replies in waiting.replies:
                self._waiting_bytes -= len(replies)
                connection.write(replace_replies(replies, ResponseCode.FLUSH_DISK_TIMEOUT, remark))
            waiting.replies = []
        # A disk that hangs may do so for hours.
        self._waiting = [waiting for waiting in self._waiting if waiting.callbacks or waiting.deadline > now]

    # ---- the end ----

    async def drain(self) -> None:
        """Commit, and return when everyone who waits for a flush so far has been answered."""
        self.commit()
        end: int = self._log.written
        while self._flush is not None and self._waiting and self._waiting[0].end <= end:
            await asyncio.wait([self._flush])

    def stop(self) -> None:
        """Commit, and begin no flush any more; one under way may still end."""
        self.commit()
        self._stopped = True


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
