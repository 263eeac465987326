"""A simulated broker's waiting messages: ``broker/schedule.py`` with no clock, so that all that waits is due.

Rules of this file: as there, a message counts as delivered when its second record is in the log.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from ledgermq.message import names
from ledgermq.message.record import Record
from ledgermq.remoting.topic_config import DataVersion
from ledgermq.store.replicated_store import ReplicatedStore

SCHEDULE_TOPIC: Final = names.SCHEDULE_TOPIC.encode()
LEVELS: Final = (1, 2)
_DELIVER_BATCH: Final = 5


class Deliveries:
    """One life of one member. ``offsets``: level -> queue offset of the next message to deliver."""

    def __init__(self) -> None:
        self.offsets: dict[int, int] = {}
        self.data_version = DataVersion()
        self.following = False
        self._under_way: set[int] = set()

    def replay(self, offsets: dict[int, int], version: DataVersion) -> None:
        self.offsets = dict(offsets)
        self.data_version = version.copy()

    def give_up(self) -> None:
        """What is under way may never be committed."""
        self._under_way.clear()

    def deliver(
        self, store: ReplicatedStore, level: int, append: Callable[[int, int, Record | None], None]
    ) -> Callable[[], None] | None:
        """Give what waits in a level to ``append``: level, queue offset, and the record if the log has it.
        Returns what is to be called when that is committed, None when nothing waits. Raises OSError."""
        queue = store.find_queue(SCHEDULE_TOPIC, level - 1)
        if queue is None or level in self._under_way:
            return None
        first = self.offsets.get(level, 0)
        end = min(max(first, int(queue.min_offset)) + _DELIVER_BATCH, int(queue.max_offset))
        if first >= end:
            return None
        for offset in range(first, end):
            append(level, offset, store.record_at(queue, offset) if offset >= queue.min_offset else None)
        self._under_way.add(level)
        return partial(self._delivered, level, end)

    def _delivered(self, level: int, end: int) -> None:
        self._under_way.discard(level)
        if not self.following:
            self.offsets[level] = end
            self.data_version.advance(0)
