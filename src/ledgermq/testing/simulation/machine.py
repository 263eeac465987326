"""What a simulated member does with committed entries: a checksum over them, or a broker's store.

Rules of this file: a machine belongs to one member for all its lives; ``open`` begins each.
"""

from __future__ import annotations

import zlib
from typing import Final, Protocol

import msgspec

from ledgermq.dledger.ledger import Ledger
from ledgermq.dledger.messages import NO_INDEX, NO_TERM


class Snapshot(msgspec.Struct, frozen=True):
    """``data`` is the machine's state after entry ``last_index``."""

    last_index: int
    last_term: int
    next_pos: int
    data: bytes


NO_SNAPSHOT: Final = Snapshot(NO_INDEX, NO_TERM, 0, b"")


class Machine(Protocol):
    @property
    def state(self) -> object:
        """Equal on members that have applied the same."""

    def open(self, ledger: Ledger, snapshot: Snapshot) -> int:
        """Begin a life with the newest snapshot; the last entry that is applied."""

    def apply(self, first_index: int, last_index: int) -> None:
        """These are committed."""

    @property
    def may_freeze(self) -> bool:
        """A start can go on from the state as it is."""

    def freeze(self) -> bytes:
        """The state as it is."""

    def install(self, snapshot: Snapshot) -> None:
        """The state of another replaces everything."""

    def opening_body(self, end_pos: int) -> bytes:
        """What a leader opens its term with, behind position ``end_pos``."""

    def close(self) -> None:
        """A clean stop. Raises OSError."""

    def forget(self) -> None:
        """The process is gone."""


class ChecksumMachine:
    def __init__(self) -> None:
        self._state = 0

    @property
    def state(self) -> object:
        return self._state

    def open(self, ledger: Ledger, snapshot: Snapshot) -> int:
        self._ledger = ledger
        self.install(snapshot)
        return snapshot.last_index

    def apply(self, first_index: int, last_index: int) -> None:
        for index in range(first_index, last_index + 1):
            item = b"%d " % self._ledger.term_at(index) + self._ledger.body(index)
            self._state = zlib.crc32(item, self._state)

    @property
    def may_freeze(self) -> bool:
        return True

    def freeze(self) -> bytes:
        return b"%020d" % self._state

    def install(self, snapshot: Snapshot) -> None:
        self._state = int(snapshot.data or b"0")

    def opening_body(self, end_pos: int) -> bytes:
        return b""

    def close(self) -> None:
        """There is nothing to write."""

    def forget(self) -> None:
        self._state = 0
