"""From an appended record to an answered sender where the log is a DLedger group's.

What a turn of the loop appends is proposed to the group as consecutive entries; the replies leave when the
last of them is committed and applied, so whoever reads then sees the message. A turn that the group does not
take, or whose fate this broker will not learn because it has lost the leadership, is answered with an error
that makes clients try again. Beyond a limit of bytes that are not committed, senders are told to come back
later (:attr:`GroupCommits.overloaded`).

Rules of this file: it is compiled; every turn is answered once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Final

from librt.strings import BytesWriter
from mypy_extensions import i64

from ledgermq.broker.commits import Commits, Outbox, replace_replies
from ledgermq.dledger.codes import DLedgerCode
from ledgermq.dledger.errors import CODE_NAMES
from ledgermq.dledger.member import Refused
from ledgermq.remoting.codes import ResponseCode
from ledgermq.remoting.connection import Connection
from ledgermq.runtime.limits import WAITING_REPLIES_BYTES_MAX
from ledgermq.store.consume_queue import ConsumeQueue
from ledgermq.store.entry_log import NOT_LEADING, EntryLog

Propose = Callable[[list[bytes], Callable[[int, int, int], None]], None]
"""Proposes bodies as consecutive entries: (bodies, done(code, last index, its position)). Raises Refused."""

DRAIN_SECONDS_MAX: Final = 3.0


class _Turn:
    """What one turn of the loop has proposed, and who waits for it."""

    def __init__(
        self,
        owner: GroupCommits,
        replies: list[tuple[Connection, bytes]],
        callbacks: list[Callable[[bool], None]],
        end: i64,
        last_bytes: i64,
    ) -> None:
        self.owner: GroupCommits = owner
        self.replies: list[tuple[Connection, bytes]] = replies
        self.callbacks: list[Callable[[bool], None]] = callbacks
        self.end: i64 = end
        """Where the last entry was foreseen to end."""
        self.last_bytes: i64 = last_bytes
        """Of the last body."""

    def done(self, code: int, index: int, pos: int) -> None:
        self.owner.turn_done(self, code, pos)


class GroupCommits(Commits):
    """Proposes what was appended. ``on_refused`` hears that the group did not take something."""

    def __init__(
        self,
        entries: EntryLog,
        executor: Executor,
        propose: Propose,
        on_refused: Callable[[], None],
        on_growth: Callable[[list[ConsumeQueue]], None],
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        super().__init__(entries, executor, False, 1000, on_growth, on_fatal)
        self._entries: EntryLog = entries
        self._propose: Propose = propose
        self._on_refused: Callable[[], None] = on_refused
        self._outstanding: i64 = 0
        """Turns that are not answered."""
        self._newest: _Turn | None = None
        """The last one that was proposed, until it is answered."""
        self._drained: asyncio.Event = asyncio.Event()

    def writer(self, outbox: Outbox, wait: bool) -> BytesWriter:
        """Every reply waits for the group: there is no lesser promise."""
        if not outbox.listed:
            outbox.listed = True
            self._turn.append(outbox)
        self.appended()
        return outbox.held

    @property
    def overloaded(self) -> bool:
        """What is not committed counts even when its senders have been told so: it is in the log."""
        return self._entries.unsettled_bytes > WAITING_REPLIES_BYTES_MAX

    def commit(self) -> None:
        self._scheduled = False
        turn = self._turn
        callbacks = self._callbacks
        self._turn = []
        self._callbacks = []
        bodies = self._entries.take_bodies()
        if len(bodies) == 0:
            if len(turn) > 0 or not self._entries.leading:
                # The leadership was lost after they were appended.
                self._fail(turn, callbacks, NOT_LEADING)
            elif self._newest is not None:
                # Nothing is new: what they rely on may be under way.
                self._newest.callbacks.extend(callbacks)
            elif self._entries.unsettled_bytes > 0:
                # It may be in what the group has not committed in time, and may yet lose.
                for callback in callbacks:
                    callback(False)
            else:
                for callback in callbacks:
                    callback(True)
            return
        replies: list[tuple[Connection, bytes]] = []
        for outbox in turn:
            outbox.listed = False
            if len(outbox.held) > 0:
                data = outbox.held.getvalue()
                outbox.held.truncate(0)
                replies.append((outbox.connection, data))
        self._outstanding += 1
        last_bytes: i64 = len(bodies[len(bodies) - 1])
        waiting = _Turn(self, replies, callbacks, self._entries.end, last_bytes)
        self._newest = waiting
        try:
            self._propose(bodies, waiting.done)
        except Refused as refusal:
            self.turn_done(waiting, refusal.code, -1)

    def turn_done(self, turn: _Turn, code: int, pos: i64) -> None:
        """The group has taken what was proposed, or not."""
        self._outstanding -= 1
        if self._newest is turn:
            self._newest = None
        if self._outstanding == 0:
            self._drained.set()
        if code == DLedgerCode.SUCCESS and pos + 48 + turn.last_bytes != turn.end:
            # Its records say that they lie elsewhere: nobody could read them.
            self._on_fatal(RuntimeError(f"an entry lies at {pos}, foreseen was its end {turn.end}"))
            code = DLedgerCode.INTERNAL_ERROR
        if code == DLedgerCode.SUCCESS:
            for connection, replies in turn.replies:
                connection.write(replies)
            for callback in turn.callbacks:
                callback(True)
            return
        late = code == DLedgerCode.WAIT_QUORUM_ACK_TIMEOUT
        answer = ResponseCode.SYSTEM_ERROR if late else ResponseCode.SERVICE_NOT_AVAILABLE
        remark = f"{CODE_NAMES.get(code, code)}: the group has not acknowledged the message"
        for connection, replies in turn.replies:
            connection.write(replace_replies(replies, answer, remark))
        for callback in turn.callbacks:
            callback(False)
        if not late:
            self._on_refused()

    # ---- flush: the group's affair ----

    def flush_soon(self) -> None:
        """The group flushes."""

    def expire(self) -> None:
        """The group says what takes too long."""

    async def drain(self) -> None:
        """Return when everyone who waits has been answered, or after a while."""
        self.commit()
        while self._outstanding > 0:
            self._drained.clear()
            try:
                await asyncio.wait_for(self._drained.wait(), DRAIN_SECONDS_MAX)
            except TimeoutError:
                return
