"""A snapshot on its way from the leader to a follower whose log ends before the leader's begins.

Pieces of SNAPSHOT_PIECE_BYTES go one at a time, each answered with how many bytes have arrived; one that is
not answered is sent again. The receiver keeps them beside its own snapshots; after the last one it makes them
a snapshot, durably, and only then lets the core drop the log. A group without a state machine sends an empty
one: its log is all there is, and begins where the leader's does.

Rules of this file: one transfer for each follower, one being received at most; a transfer ends with the
leader's term.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

from ledgermq.dledger.codes import DLedgerCode
from ledgermq.dledger.messages import InstallSnapshot, InstallSnapshotReply, Message
from ledgermq.dledger.snapshots import RECEIVING, EmptySnapshot, OpenSnapshot, SnapshotDirectory, SnapshotFile
from ledgermq.dledger.workers import Worker

log: Final = logging.getLogger("ledgermq.dledger")

SNAPSHOT_PIECE_BYTES: Final = 256 * 1024
ANSWER_SECONDS_MAX: Final = 1.0
"""Until a piece is sent again."""
SENDINGS_MAX: Final = 30
"""Of one piece; the last one is answered when the whole snapshot has been fsynced."""


class SnapshotSender:
    """One snapshot to one follower; ``on_end`` hears whether it was installed."""

    def __init__(
        self, term: int, send: Callable[[Message], None], on_end: Callable[[SnapshotSender, bool], None]
    ) -> None:
        self._term = term
        self._send = send
        self._on_end = on_end
        self._reply: asyncio.Future[InstallSnapshotReply] | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self, opened: OpenSnapshot | EmptySnapshot, worker: Worker, next_pos: int) -> None:
        """Send what ``opened`` holds; it is closed at the end."""
        self._task = asyncio.get_running_loop().create_task(self._run(opened, worker, next_pos))
        # Not by the task itself: one that is cancelled before its first step does nothing at all.
        self._task.add_done_callback(lambda _: opened.close())

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def replied(self, reply: InstallSnapshotReply) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.set_result(reply)

    async def _run(self, opened: OpenSnapshot | EmptySnapshot, worker: Worker, next_pos: int) -> None:
        ok = False
        try:
            ok = await self._send_all(opened, worker, next_pos)
        except OSError as error:
            log.error("a snapshot could not be read: %s", error)
        self._on_end(self, ok)

    async def _send_all(self, opened: OpenSnapshot | EmptySnapshot, worker: Worker, next_pos: int) -> bool:
        meta = opened.meta
        offset = 0
        while True:
            data = await _on_worker(worker, partial(opened.read, SNAPSHOT_PIECE_BYTES, offset))
            done = offset + len(data) >= opened.data_bytes
            piece = InstallSnapshot(
                self._term,
                meta.last_included_index,
                meta.last_included_term,
                next_pos,
                offset,
                data,
                done,
            )
            reply = await self._ask(piece)
            if reply is None:
                return False
            if reply.done or reply.code not in (DLedgerCode.SUCCESS, DLedgerCode.INCONSISTENT_STATE):
                return reply.done and reply.code == DLedgerCode.SUCCESS
            offset = min(reply.offset, opened.data_bytes)

    async def _ask(self, piece: InstallSnapshot) -> InstallSnapshotReply | None:
        for _ in range(SENDINGS_MAX):
            self._reply = asyncio.get_running_loop().create_future()
            self._send(piece)
            with suppress(TimeoutError):
                async with asyncio.timeout(ANSWER_SECONDS_MAX):
                    while True:
                        reply = await self._reply
                        if reply.term == self._term and reply.last_index == piece.last_index:
                            return reply
                        self._reply = asyncio.get_running_loop().create_future()
        return None


async def _on_worker(worker: Worker, work: Callable[[], bytes]) -> bytes:
    future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def fail(error: BaseException) -> None:
        if not future.done():
            future.set_exception(error)

    worker.run(work, lambda data: None if future.done() else future.set_result(data), fail)
    return await future


class SnapshotReceiver:
    """The pieces that a leader sends; ``send`` answers it, ``on_whole`` hears when all are durable."""

    def __init__(
        self,
        directory: SnapshotDirectory | None,
        worker: Worker,
        send: Callable[[str, Message], None],
        on_whole: Callable[[InstallSnapshot, bool], None],
    ) -> None:
        self._directory = directory
        self._worker = worker
        self._send = send
        self._on_whole = on_whole
        self._receiving: tuple[str, int, int] | None = None
        """(sender, term, last index)"""
        self._file: SnapshotFile | None = None
        self._offset = 0
        self._busy = False

    def piece(self, sender: str, piece: InstallSnapshot) -> None:
        """The next piece, or one again; what comes while the disk works is left unanswered."""
        if self._busy:
            return
        directory = self._directory
        if directory is None:  # no state machine: nothing is in it
            if piece.done:
                self._on_whole(piece, True)
            return
        key = (sender, piece.term, piece.last_index)
        if piece.offset == 0:
            self._receiving = key
            self._offset = 0
        if key != self._receiving or piece.offset != self._offset:
            have = self._offset if key == self._receiving else 0
            self._answer(sender, piece, DLedgerCode.INCONSISTENT_STATE, have)
            return
        self._busy = True
        self._worker.run(
            lambda: self._store(directory, piece),
            lambda _: self._stored(sender, piece),
            lambda error: self._failed(sender, piece, error),
        )

    def _store(self, directory: SnapshotDirectory, piece: InstallSnapshot) -> None:
        """On the worker."""
        if piece.offset == 0:
            self.close()
            self._file = directory.begin(RECEIVING)
        assert self._file is not None
        self._file.write(piece.data)
        if piece.done:
            directory.finish(self._file, piece.last_index, piece.last_term, piece.next_pos, RECEIVING)
            self._file = None

    def _stored(self, sender: str, piece: InstallSnapshot) -> None:
        self._busy = False
        self._offset = piece.offset + len(piece.data)
        if piece.done:
            self._receiving = None
            self._on_whole(piece, True)
        else:
            self._answer(sender, piece, DLedgerCode.SUCCESS, self._offset)

    def _failed(self, sender: str, piece: InstallSnapshot, error: BaseException) -> None:
        log.error("a snapshot of %s cannot be kept: %s", sender, error)
        self._busy = False
        self._receiving = None
        self._answer(sender, piece, DLedgerCode.DISK_ERROR, 0)

    def _answer(self, sender: str, piece: InstallSnapshot, code: int, offset: int) -> None:
        self._send(sender, InstallSnapshotReply(piece.term, code, piece.last_index, offset, False))

    def close(self) -> None:
        """Drop what has arrived so far."""
        if self._file is not None:
            self._file.close()
            self._file = None
