"""Requests of Java members that wait until the core has its reply.

Between ledgermq nodes a reply is a message of its own. A Java node wants a response to its request, so each
request is kept here until the core says the message that answers it. Heartbeats are told apart by their
round, which is given out here because Java's have none; pushes by their index; votes and hand-overs come one
at a time.

Rules of this file: it is compiled; pure; a request is answered once or forgotten; MEMBER_REQUESTS_MAX
bounds each member's.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ledgermq.dledger.codes import DLedgerCode, PushKind
from ledgermq.dledger.messages import (
    Heartbeat,
    HeartbeatReply,
    Message,
    Push,
    PushReply,
    TakeLeadership,
    TakeLeadershipReply,
    VoteReply,
    VoteRequest,
)
from ledgermq.runtime.limits import MEMBER_REQUESTS_MAX

Answer = Callable[[Message], None]

_ASKED: dict[type, type] = {
    VoteReply: VoteRequest,
    HeartbeatReply: Heartbeat,
    PushReply: Push,
    TakeLeadershipReply: TakeLeadership,
}


class JavaRequests:
    """The open requests of all Java members of a group."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[tuple[Message, Answer]]] = {}
        self._round = 0

    def add(self, member: str, message: Message, answer: Answer) -> Message:
        """Keep a request of ``member``; returns it as the core is to hear it."""
        if isinstance(message, Heartbeat):
            self._round += 1
            message = msgspec.structs.replace(message, round=self._round)
        waiting = self._waiting.setdefault(member, [])
        if len(waiting) >= MEMBER_REQUESTS_MAX:
            del waiting[0]
        waiting.append((message, answer))
        return message

    def answer(self, member: str, reply: Message) -> bool:
        """Answer what ``reply`` replies to; False when ``member`` has asked no such thing."""
        waiting = self._waiting.get(member)
        asked = _ASKED.get(type(reply))
        if not waiting or asked is None:
            return False
        several = isinstance(reply, PushReply) and reply.code == DLedgerCode.SUCCESS
        matching: list[Answer] = []
        rest: list[tuple[Message, Answer]] = []
        for message, answer in waiting:
            if type(message) is asked and _answers(reply, message) and (several or not matching):
                matching.append(answer)
            else:
                rest.append((message, answer))
        self._waiting[member] = rest
        for answer in matching:
            answer(reply)
        return bool(matching)

    def forget(self, member: str) -> None:
        """The connection of ``member`` has ended."""
        self._waiting.pop(member, None)


def _answers(reply: Message, asked: Message) -> bool:
    if isinstance(reply, HeartbeatReply) and isinstance(asked, Heartbeat):
        return reply.round == asked.round
    if isinstance(reply, PushReply) and isinstance(asked, Push):
        if reply.kind is not asked.kind:
            return False
        if asked.kind is PushKind.COMMIT:
            return True
        if reply.code == DLedgerCode.SUCCESS and asked.entries is not None:
            return asked.entries.last_index <= reply.index
        return reply.index == asked.prev_index
    return True
