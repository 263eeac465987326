"""What a group's log is for: a state machine to which every member applies the committed entries in order.

Rules of this file: what a machine must do, and nothing that does it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import BinaryIO, Protocol

import msgspec

from ledgermq.dledger.messages import Entries


class AppliedEntry(msgspec.Struct, frozen=True):
    index: int
    term: int
    body: bytes


class StateMachine(Protocol):
    """Deterministic: the same entries make the same state on every member (Java: ``StateMachine``).

    ``apply`` and ``freeze`` are called on the loop and should be quick; the others on a worker, while nothing
    else is called.
    """

    def apply(self, entries: Sequence[AppliedEntry]) -> None:
        """The next committed entries, in order. Entries without a body (a leader's first) are left out."""

    def freeze(self) -> Callable[[BinaryIO], None]:
        """A function that writes the state as it is now; it runs on a worker while ``apply`` goes on."""

    def load(self, data: BinaryIO) -> None:
        """Replace the state by what ``freeze``'s function wrote. Raises ValueError, and the state stays."""


class EntryMachine(ABC):
    """A state machine that keeps its state on disk by itself, and takes entries as they lie in the log."""

    recovered_index: int
    """The last entry whose effect it had when it was opened."""

    def opening_body(self, end_pos: int) -> bytes:
        """The body of the entry with which this member opens its term as leader; the log ends at position
        ``end_pos``. Empty unless every entry must say something."""
        return b""

    @abstractmethod
    def apply_entries(self, entries: Entries) -> None:
        """The next committed entries, in order, all of them; called on the loop."""

    @property
    def may_freeze(self) -> bool:
        """Whether a start could go on from here with what is on the disk, and without the log before."""
        return True

    @abstractmethod
    def freeze(self) -> Callable[[BinaryIO], None]:
        """As :meth:`StateMachine.freeze`."""

    @abstractmethod
    def load(self, data: BinaryIO) -> None:
        """As :meth:`StateMachine.load`, but the state is replaced by :meth:`loaded`."""

    @abstractmethod
    def loaded(self, last_index: int, next_pos: int) -> None:
        """On the loop: what ``load`` has read is the state after entry ``last_index``; the next one begins at
        position ``next_pos``."""

    @abstractmethod
    def remembered(self, last_index: int, next_pos: int) -> None:
        """At the start: the state stays, though ``load`` has read the one after entry ``last_index``. It is
        newer, or the log has what is between, and that is applied. ``next_pos`` as in :meth:`loaded`."""
