"""Snapshots on their way between simulated members, in pieces, with patience and repetition.

Rules of this file: what is received counts when it is durable, a moment after its last piece came.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from ledgermq.dledger.codes import DLedgerCode
from ledgermq.dledger.messages import InstallSnapshot, InstallSnapshotReply, Send, SendSnapshot, SnapshotPiece
from ledgermq.testing.simulation.checks import Violation
from ledgermq.testing.simulation.machine import NO_SNAPSHOT, Snapshot

if TYPE_CHECKING:
    from ledgermq.testing.simulation.member import SimMember
    from ledgermq.testing.simulation.node import SimNode

_PIECE_BYTES: Final = 8
_PIECES: Final = 3
_PATIENCE_US: Final = 400_000
_TRIES: Final = 3


class _Sending(msgspec.Struct):
    term: int
    snapshot: Snapshot
    offset: int = 0
    tries: int = 0


class SnapshotExchange:
    """One life of one member. ``received`` is the last snapshot that came whole."""

    def __init__(self, node: SimNode, member: SimMember) -> None:
        self._node = node
        self._member = member
        self._sending: dict[str, _Sending] = {}
        self._receiving: tuple[str, int, int] | None = None
        self._pieces = bytearray()
        self.received = NO_SNAPSHOT

    # ---- sending ----

    def send(self, effect: SendSnapshot) -> None:
        node = self._node
        if node.snapshot.last_index < self._member.ledger.first_index - 1:
            raise Violation(
                "core and ledger agree", f"{node.id} has no snapshot before {self._member.ledger.first_index}"
            )
        self._sending[effect.to] = sending = _Sending(effect.term, node.snapshot)
        self._send_piece(effect.to, sending)

    def _send_piece(self, to: str, sending: _Sending) -> None:
        snapshot = sending.snapshot
        piece_bytes = max(_PIECE_BYTES, len(snapshot.data) // _PIECES)
        piece = InstallSnapshot(
            term=sending.term,
            last_index=snapshot.last_index,
            last_term=snapshot.last_term,
            next_pos=snapshot.next_pos,
            offset=sending.offset,
            data=snapshot.data[sending.offset : sending.offset + piece_bytes],
            done=sending.offset + piece_bytes >= len(snapshot.data),
        )
        self._member.send(Send(to, piece))
        self._node.later(_PATIENCE_US, self._again, to, sending, sending.offset)

    def _again(self, to: str, sending: _Sending, offset: int) -> None:
        if self._sending.get(to) is not sending or sending.offset != offset:
            return
        sending.tries += 1
        if sending.tries > _TRIES or self._member.core.term != sending.term:
            self._ends(to, sending, ok=False)
        else:
            self._send_piece(to, sending)

    def answered(self, sender: str, reply: InstallSnapshotReply) -> None:
        sending = self._sending.get(sender)
        if sending is None or reply.term != sending.term or reply.last_index != sending.snapshot.last_index:
            return
        if reply.code != DLedgerCode.SUCCESS or reply.done:
            self._ends(sender, sending, ok=reply.code == DLedgerCode.SUCCESS)
        elif reply.offset != sending.offset:
            sending.offset = reply.offset
            sending.tries = 0
            self._send_piece(sender, sending)

    def _ends(self, to: str, sending: _Sending, ok: bool) -> None:
        del self._sending[to]
        core = self._member.core
        if core.term == sending.term:
            core.snapshot_sent(self._node.now_ms(), to, ok)

    # ---- receiving ----

    def piece(self, effect: SnapshotPiece) -> None:
        piece = effect.piece
        key = (effect.sender, piece.term, piece.last_index)
        if self._receiving != key:
            self._receiving = key
            self._pieces.clear()
        if piece.offset == len(self._pieces):
            self._pieces += piece.data
            if piece.done:
                self._node.later(self._node.draw_us(20_000), self._durable, piece, bytes(self._pieces))
                return
        if not piece.done:
            reply = InstallSnapshotReply(
                piece.term, DLedgerCode.SUCCESS, piece.last_index, len(self._pieces), False
            )
            self._member.send(Send(effect.sender, reply))

    def _durable(self, piece: InstallSnapshot, data: bytes) -> None:
        node = self._node
        node.fuse.step()
        self.received = Snapshot(piece.last_index, piece.last_term, piece.next_pos, data)
        if piece.last_index > node.snapshot.last_index:  # A newer one may have come in a term gone by.
            node.snapshot = self.received
        node.fuse.step()
        self._receiving = None
        self._member.core.snapshot_received(node.now_ms(), piece, True)
