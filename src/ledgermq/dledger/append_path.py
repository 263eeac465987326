"""The hot path of appending: a frame in, its entries handed to the group's leader, an answer prepared.

Taken here is what the leaders on this port take. Everything else returns False and goes the general way of
:mod:`ledgermq.dledger.server`, which explains what is wrong, and which ends in :meth:`AppendPath.append` too.

Rules of this file: it is compiled; nothing here explains an error. The frames of appends and of their answers
have JSON headers: the request's code does not fit the binary one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from mypy_extensions import i64

from ledgermq.dledger.client_requests import ClientRequests
from ledgermq.dledger.codes import DLedgerCode, DLedgerRequest
from ledgermq.dledger.member import Refused
from ledgermq.dledger.node import Node
from ledgermq.dledger.replies import AppendAnswer, AppendTemplate, Replies
from ledgermq.dledger.requests import UNREADABLE, AppendReply, AppendRequest, decoder, encode
from ledgermq.remoting.codes import FLAG_ONEWAY, FLAG_RESPONSE
from ledgermq.remoting.command import Command
from ledgermq.remoting.connection import Connection, FastPath
from ledgermq.remoting.request_frame import RequestFrame
from ledgermq.runtime.limits import APPEND_BATCH_COUNT_MAX

_COMPILED: Final = not __file__.endswith(".py")


class AppendFrame(RequestFrame):
    """The header of an append."""

    def wants(self, code: i64) -> bool:
        return code == DLedgerRequest.APPEND


class AppendGroup:
    """One group's member, and the answers to appends while it leads in one term."""

    def __init__(self, node: Node) -> None:
        self.node: Node = node
        self.clients: ClientRequests = node.clients
        self._template: AppendTemplate = AppendTemplate(node.group, node.self_id, -1)

    def template(self) -> AppendTemplate:
        """For an append that is taken now: all of it in this term, or not at all."""
        term = self.clients.term
        if self._template.term != term:
            self._template = AppendTemplate(self.node.group, self.node.self_id, term)
        return self._template

    def refusal(self, code: int) -> Command:
        node = self.node
        reply = AppendReply(group=node.group, code=code, leader_id=node.leader_id, term=node.term)
        answer = Command(DLedgerCode.SUCCESS)
        answer.body = encode(reply)
        return answer


class AppendPath(FastPath):
    """Appends to the groups of ``nodes``."""

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self.replies: Replies = Replies()
        self._nodes: Mapping[str, Node] = nodes
        self._groups: dict[str, AppendGroup] = {}
        self._frame: AppendFrame = AppendFrame()
        self._decoder = decoder(AppendRequest)

    def take(self, connection: Connection, frame: bytes, at: i64, end: i64) -> bool:
        header = self._frame
        if not _COMPILED or not header.read_header(frame, at, end):
            return False
        if header.flag & (FLAG_ONEWAY | FLAG_RESPONSE) != 0:
            return False
        try:
            request = self._decoder.decode(frame[header.body_at : end])
            node = self._nodes.get(request.group or "")
            if node is None or request.remote_id != node.self_id:
                return False
            self.append(node, request, connection, int(header.opaque), False)
        except UNREADABLE:
            return False
        except Refused:
            return False
        return True

    def append(
        self, node: Node, request: AppendRequest, connection: Connection, opaque: int, oneway: bool
    ) -> None:
        """Have ``request`` appended, and answered when it is. Raises Refused."""
        group = self._groups.get(node.group)
        if group is None:
            group = self._groups[node.group] = AppendGroup(node)
        answer = AppendAnswer(self.replies, group.template(), connection, opaque, group.refusal)
        group.clients.append(_bodies(request), _ignore if oneway else answer.done)


def _bodies(request: AppendRequest) -> Sequence[bytes]:
    bodies = request.batch_msgs
    if bodies is None:
        return () if request.body is None else (request.body,)
    if len(bodies) > APPEND_BATCH_COUNT_MAX:
        text = f"batchMsgs of {len(bodies)} entries, allowed are {APPEND_BATCH_COUNT_MAX}"
        raise Refused(DLedgerCode.UNEXPECTED_ARGUMENT, text)
    return bodies


def _ignore(code: int, index: int, pos: int) -> None:
    return None
