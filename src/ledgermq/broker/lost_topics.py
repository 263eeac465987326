"""Topics that a crash has taken from topics.json and not from the store.

A message may be acknowledged some milliseconds before the topic that it made is in topics.json: waiting for
that file would hold up everybody. After a crash in between the store has the messages and nobody can read
them. So at the start each topic of the store that the table lacks is made again, if its first message is not
older than the file: topics that were deleted have only older ones.
"""

from __future__ import annotations

import logging
from typing import Final

from ledgermq.broker.topics import TopicTable
from ledgermq.message import names
from ledgermq.remoting.command import PeerError
from ledgermq.remoting.topic_config import TopicConfig
from ledgermq.store.consume_queue import ConsumeQueue
from ledgermq.store.message_store import MessageStore

log: Final = logging.getLogger("ledgermq.broker")

QUEUES_MIN: Final = 4
"""What stock clients ask for when a message makes its topic; producers may know so many already."""


def restore_topics(topics: TopicTable, store: MessageStore, saved_ms: int, now_ms: int) -> None:
    """``saved_ms``: the time of the last change that topics.json knows, 0 when there is no file.

    Raises OSError when the store cannot be read.
    """
    for topic, queues in store.queues.topics.items():
        name = topic.decode()
        if topics.find(name) is not None or topics.is_system(name) or names.topic_fault(name) is not None:
            continue
        if name.startswith(names.LIGHT_QUEUE_PREFIX) or _first_ms(store, queues) < saved_ms:
            continue
        derived = name.startswith((names.RETRY_PREFIX, names.DLQ_PREFIX))
        queue_count = max(1 if derived else QUEUES_MIN, max(queues) + 1)
        config = TopicConfig(topic_name=name, read_queue_nums=queue_count, write_queue_nums=queue_count)
        try:
            topics.update(config, now_ms)
        except PeerError as error:  # the table is full: the broker serves what is in it
            log.error("topic %r has messages, and nobody can read them: %s", name, error)
            return
        log.warning("topic %r was not in topics.json: made again with %d queues", name, queue_count)


def _first_ms(store: MessageStore, queues: dict[int, ConsumeQueue]) -> int:
    """When the oldest of the first messages of ``queues`` was stored; -1 without messages."""
    found = [store.reader.store_ms_of(queue, queue.min_offset) for queue in queues.values()]
    return min((int(store_ms) for store_ms in found if store_ms >= 0), default=-1)
