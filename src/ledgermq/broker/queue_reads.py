"""What handlers read of a queue by topic and number, whether the queue exists or not."""

from __future__ import annotations

from typing import Final, NamedTuple

from ledgermq.broker.topics import TopicTable
from ledgermq.remoting.codes import ResponseCode
from ledgermq.remoting.command import PeerError
from ledgermq.store.consume_queue import ConsumeQueue
from ledgermq.store.message_store import MessageStore

QUEUES_PER_TURN: Final = 16
"""Queues looked at before other work of the loop gets its turn: each may cost a read from the disk."""


class QueueRange(NamedTuple):
    """The first message of a queue and the end; both 0 of a queue that has never had one."""

    min_offset: int
    max_offset: int


def queue_range(store: MessageStore, topic: str, queue_id: int) -> QueueRange:
    queue = store.find_queue(topic.encode(), queue_id)
    return QueueRange(0, 0) if queue is None else QueueRange(int(queue.min_offset), int(queue.max_offset))


def store_ms(store: MessageStore, topic: str, queue_id: int, offset: int) -> int:
    """When the message at ``offset`` was stored; -1 when there is none. Raises OSError."""
    queue = store.find_queue(topic.encode(), queue_id)
    return -1 if queue is None else int(store.reader.store_ms_of(queue, offset))


def check_queue(topics: TopicTable, store: MessageStore, topic: str, queue_id: int) -> ConsumeQueue | None:
    """The queue if it has ever been used. Raises PeerError for a topic or a queue that does not exist; one
    that has messages may lie beyond the topic's present number of queues."""
    found = topics.get(topic)
    queue = store.find_queue(topic.encode(), queue_id) if queue_id >= 0 else None
    queues = max(found.read_queue_nums, found.write_queue_nums)
    if queue is None and not 0 <= queue_id < queues:
        remark = f"queueId={queue_id} of topic {topic!r} does not exist, 0..{queues - 1} do"
        raise PeerError(ResponseCode.INVALID_PARAMETER, remark)
    return queue
