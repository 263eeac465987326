"""Answers to appends, gathered for each connection: those of one turn of the loop leave in one write.

Appends are what a group is for, and each has its answer; so the frame of a successful one is made from a
template. Everything else is answered in the ordinary way.

Rules of this file: it is compiled; a frame made here is byte for byte what encode_command makes (a test
compares).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from ledgermq.dledger.codes import DLedgerCode
from ledgermq.dledger.requests import AppendReply, encode
from ledgermq.remoting.codes import FLAG_ONEWAY, FLAG_RESPONSE
from ledgermq.remoting.command import Command, encode_command
from ledgermq.remoting.connection import Connection

_HEAD_BYTES: Final = 8
"""Length of the frame, header word."""


def _json_head() -> bytes:
    """The JSON header of a successful response, ``%d`` for its opaque."""
    command = Command(DLedgerCode.SUCCESS)
    command.flag = FLAG_RESPONSE
    command.opaque = 0
    return encode_command(command)[_HEAD_BYTES:].replace(b'"opaque":0', b'"opaque":%d')


class AppendTemplate:
    """Frames that answer appends, with the group's leader and term as they are."""

    def __init__(self, group: str, leader_id: str | None, term: int) -> None:
        self.leader_id: str | None = leader_id
        self.term: int = term
        reply = AppendReply(group=group, leader_id=leader_id, term=term, index=0, pos=0)
        body = encode(reply).replace(b"%", b"%%")
        self._body: bytes = body.replace(b'"index":0', b'"index":%d').replace(b'"pos":0', b'"pos":%d')
        self._head: bytes = _json_head()

    def body(self, index: int, pos: int) -> bytes:
        return self._body % (index, pos)

    def frame(self, opaque: int, index: int, pos: int) -> bytes:
        head = self._head % opaque
        body = self._body % (index, pos)
        length = 4 + len(head) + len(body)
        return b"".join((length.to_bytes(4, "big"), len(head).to_bytes(4, "big"), head, body))


class Replies:
    """The answers of this turn of the loop."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self._frames: dict[Connection, list[bytes]] = {}

    def add(self, connection: Connection, frame: bytes) -> None:
        frames = self._frames.get(connection)
        if frames is not None:
            frames.append(frame)
            return
        if not self._frames:
            self._loop.call_soon(self.flush)
        self._frames[connection] = [frame]

    def flush(self) -> None:
        """Write what was gathered."""
        gathered, self._frames = self._frames, {}
        for connection, frames in gathered.items():
            connection.write(b"".join(frames))


class AppendAnswer:
    """What answers one append, when it is known what became of it; ``refuse`` answers one that failed."""

    def __init__(
        self,
        replies: Replies,
        template: AppendTemplate,
        connection: Connection,
        request: Command,
        refuse: Callable[[Command, Connection, int], None],
    ) -> None:
        self._replies: Replies = replies
        self._template: AppendTemplate = template
        self._connection: Connection = connection
        self._request: Command = request
        self._refuse: Callable[[Command, Connection, int], None] = refuse

    def done(self, code: int, index: int, pos: int) -> None:
        request = self._request
        if code != DLedgerCode.SUCCESS:
            self._refuse(request, self._connection, code)
        elif request.binary:
            answer = Command(DLedgerCode.SUCCESS)
            answer.body = self._template.body(index, pos)
            self._connection.reply(request, answer)
        elif request.flag & FLAG_ONEWAY == 0:
            self._replies.add(self._connection, self._template.frame(request.opaque, index, pos))
