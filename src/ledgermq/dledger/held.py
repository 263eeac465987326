"""Messages that promise durability, kept until it is there.

Rules of this file: it is compiled; pure.
"""

from __future__ import annotations

from collections import deque

from ledgermq.dledger.messages import Send, SendAfterPersist


class Held:
    """SendAfterPersist effects in order. Pure.

    ``drop`` goes with every SaveState, Truncate and Reset: what was promised of entries that are gone, or in
    a term that has ended, must not be said any more.
    """

    def __init__(self) -> None:
        self._waiting: deque[SendAfterPersist] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def hold(self, effect: SendAfterPersist) -> None:
        self._waiting.append(effect)

    def drop(self) -> None:
        self._waiting.clear()

    def release(self, persisted_index: int) -> list[Send]:
        """What may leave now that entries up to ``persisted_index`` are durable.

        In order: a later message never passes an earlier one, so one that asks for less waits as well.
        """
        ready: list[Send] = []
        while self._waiting and self._waiting[0].index <= persisted_index:
            effect = self._waiting.popleft()
            ready.append(Send(effect.to, effect.message))
        return ready
