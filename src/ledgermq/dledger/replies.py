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

from librt.strings import BytesWriter, write_i32_be
from mypy_extensions import i32, i64

from ledgermq.dledger.codes import DLedgerCode
from ledgermq.dledger.requests import AppendReply, encode
from ledgermq.remoting.codes import FLAG_RESPONSE
from ledgermq.remoting.command import Command, encode_command
from ledgermq.remoting.connection import Connection

_HEAD_BYTES: Final = 8
"""Length of the frame, header word."""


def _json_head() -> tuple[bytes, bytes]:
    """The JSON header of a successful response, what stands before its opaque and what behind."""
    command = Command(DLedgerCode.SUCCESS)
    command.flag = FLAG_RESPONSE
    command.opaque = 0
    before, behind = encode_command(command)[_HEAD_BYTES:].split(b'"opaque":0')
    return before + b'"opaque":', behind


class AppendTemplate:
    """Frames that answer appends, with the group's leader and term as they are."""

    def __init__(self, group: str, leader_id: str | None, term: int) -> None:
        self.term: int = term
        head_start, head_end = _json_head()
        body_start, body = encode(
            AppendReply(group=group, leader_id=leader_id, term=term, index=0, pos=0)
        ).split(b'"index":0')
        middle, body_end = body.split(b'"pos":0')
        self._head_start: bytes = head_start
        self._head_end: bytes = head_end + body_start + b'"index":'
        self._middle: bytes = middle + b'"pos":'
        self._end: bytes = body_end
        self._head_bytes: i64 = len(head_start) + len(head_end)
        self._body_bytes: i64 = len(body_start) + 8 + len(middle) + 6 + len(body_end)

    def write(self, out: BytesWriter, opaque: int, index: int, pos: int) -> None:
        """Add the frame that answers the request ``opaque``."""
        opaque_text, index_text, pos_text = str(opaque).encode(), str(index).encode(), str(pos).encode()
        head_bytes: i64 = self._head_bytes + len(opaque_text)
        write_i32_be(out, i32(4 + head_bytes + self._body_bytes + len(index_text) + len(pos_text)))
        write_i32_be(out, i32(head_bytes))
        out.write(self._head_start)
        out.write(opaque_text)
        out.write(self._head_end)
        out.write(index_text)
        out.write(self._middle)
        out.write(pos_text)
        out.write(self._end)


class Replies:
    """The answers of this turn of the loop."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self._writers: dict[Connection, BytesWriter] = {}

    def writer(self, connection: Connection) -> BytesWriter:
        """Takes whole frames for ``connection``, to be used at once."""
        writer = self._writers.get(connection)
        if writer is None:
            if not self._writers:
                self._loop.call_soon(self.flush)
            writer = self._writers[connection] = BytesWriter()
        return writer

    def flush(self) -> None:
        """Write what was gathered."""
        writers, self._writers = self._writers, {}
        for connection, writer in writers.items():
            connection.write(writer.getvalue())


class AppendAnswer:
    """What answers one append, when it is known what became of it; ``refusal`` makes the answer to one that
    failed."""

    def __init__(
        self,
        replies: Replies,
        template: AppendTemplate,
        connection: Connection,
        opaque: int,
        refusal: Callable[[int], Command],
    ) -> None:
        self._replies: Replies = replies
        self._template: AppendTemplate = template
        self._connection: Connection = connection
        self._opaque: int = opaque
        self._refusal: Callable[[int], Command] = refusal

    def done(self, code: int, index: int, pos: int) -> None:
        if code == DLedgerCode.SUCCESS:
            self._template.write(self._replies.writer(self._connection), self._opaque, index, pos)
            return
        answer = self._refusal(code)
        answer.flag = FLAG_RESPONSE
        answer.opaque = self._opaque
        self._connection.send(answer)
