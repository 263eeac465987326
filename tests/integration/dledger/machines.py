"""A state machine for tests: a list of the bodies it was given, in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import BinaryIO

import msgspec

from ledgermq.dledger.state_machine import AppliedEntry


class Bodies:
    """Remembers every body with its index; its snapshot is all of it."""

    def __init__(self) -> None:
        self.bodies: list[tuple[int, bytes]] = []
        self.applied: list[int] = []
        """Indexes given to ``apply`` in this life."""
        self.loads = 0

    def apply(self, entries: Sequence[AppliedEntry]) -> None:
        for entry in entries:
            assert not self.bodies or entry.index > self.bodies[-1][0]
            self.applied.append(entry.index)
            self.bodies.append((entry.index, entry.body))

    def freeze(self) -> Callable[[BinaryIO], None]:
        frozen = list(self.bodies)

        def write(data: BinaryIO) -> None:
            data.write(msgspec.msgpack.encode(frozen))

        return write

    def load(self, data: BinaryIO) -> None:
        try:
            self.bodies = msgspec.msgpack.decode(data.read(), type=list[tuple[int, bytes]])
        except msgspec.MsgspecError as error:
            raise ValueError(str(error)) from None
        self.loads += 1
