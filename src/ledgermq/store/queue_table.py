"""All consume queues, by topic and queue id.

Rules of this file: it is compiled; a queue is created by the first that asks for it and costs one small
object until it gets a message.
"""

from __future__ import annotations

from mypy_extensions import i64

from ledgermq.message.delay_levels import SCHEDULE_TOPIC
from ledgermq.store.consume_queue import ConsumeQueue
from ledgermq.store.queue_files import QueueFiles


class QueueTable:
    """``topics[topic][queue id]``; topics are UTF-8."""

    def __init__(self, files: QueueFiles, delays_ms: list[int]) -> None:
        """``delays_ms``: the delay of each level, for the queues of delayed messages."""
        self.files: QueueFiles = files
        self.delays_ms: list[int] = delays_ms
        self.topics: dict[bytes, dict[int, ConsumeQueue]] = {}
        self.deleted_before: dict[bytes, int] = {}
        """Topics that were deleted: records of theirs that begin before this log offset have no queue.

        A topic may be made again under its old name; its old messages must not come back with a replay.
        """

    def queue(self, topic: bytes, queue_id: i64) -> ConsumeQueue:
        """The queue, created if there is none. The caller has checked the topic's name and the id."""
        queues = self.topics.get(topic)
        if queues is None:
            queues = {}
            self.topics[topic] = queues
        queue = queues.get(queue_id)
        if queue is None:
            queue = ConsumeQueue(topic, queue_id, self.files)
            if topic == SCHEDULE_TOPIC and 0 <= queue_id < len(self.delays_ms):
                queue.delay_ms = self.delays_ms[queue_id]
            queues[queue_id] = queue
        return queue

    def find(self, topic: bytes, queue_id: i64) -> ConsumeQueue | None:
        queues = self.topics.get(topic)
        return None if queues is None else queues.get(queue_id)

    def all(self) -> list[ConsumeQueue]:
        """All queues, topic by topic."""
        found: list[ConsumeQueue] = []
        for queues in self.topics.values():
            found.extend(queues.values())
        return found
