"""How far a group has consumed each queue, as this consumer knows it. Pure: nothing is stored here."""

from __future__ import annotations

from ledgermq.client.queues import MessageQueue


class OffsetTable:
    """Offsets to commit: the first message that is not done, by queue (Java: ``RemoteBrokerOffsetStore``)."""

    def __init__(self) -> None:
        self._offsets: dict[MessageQueue, int] = {}

    def advance(self, queue: MessageQueue, offset: int) -> None:
        """Move forward to ``offset``; never back, for batches that ran side by side end in any order."""
        if offset > self._offsets.get(queue, -1):
            self._offsets[queue] = offset

    def set(self, queue: MessageQueue, offset: int) -> None:
        """Move to ``offset``, back too."""
        self._offsets[queue] = offset

    def get(self, queue: MessageQueue) -> int | None:
        """The offset of ``queue``, None when it is not known here."""
        return self._offsets.get(queue)

    def forget(self, queue: MessageQueue) -> None:
        """Drop a queue that belongs to somebody else now."""
        self._offsets.pop(queue, None)

    def snapshot(self, topic: str | None = None) -> dict[MessageQueue, int]:
        """A copy, of one topic or of all."""
        return {queue: offset for queue, offset in self._offsets.items() if topic in (None, queue.topic)}
