"""Messages that wait: a group's retries lie in SCHEDULE_TOPIC_XXXX until their delay is over.

A delayed message is stored under the topic SCHEDULE_TOPIC_XXXX in the queue of its level (level - 1), its
own topic and queue in the properties REAL_TOPIC and REAL_QID. When the time has come it is appended again
under its own topic (Java: ``ScheduleMessageService``). How far each level has been delivered stands in
``delayOffset.json``.

Within one level the delay is the same, so the queue is in order of delivery and only its head is looked at:
one timer for each level that has something waiting.

Rules of this file: what is due is decided from the records' own times; a message counts as delivered only
when its second record is in the log.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import msgspec

from ledgermq.broker import names
from ledgermq.broker.commits import Commits
from ledgermq.broker.send_frame import SendFrame
from ledgermq.broker.send_path import SendPath, SendTopic
from ledgermq.broker.topics import TopicTable
from ledgermq.message.delay_levels import DelayLevels
from ledgermq.message.properties import PropertyScan, decode_properties, encode_properties
from ledgermq.message.record import Record
from ledgermq.remoting.topic_config import DataVersion
from ledgermq.store.consume_queue import ConsumeQueue
from ledgermq.store.errors import StoreError
from ledgermq.store.message_store import MessageStore

log: Final = logging.getLogger("ledgermq.broker")

DELAY_LEVEL: Final = "DELAY"
REAL_TOPIC: Final = "REAL_TOPIC"
REAL_QUEUE: Final = "REAL_QID"

DELIVER_BATCH: Final = 256
"""Messages delivered for one level before other work gets its turn."""
RETRY_MS: Final = 1000
"""Pause after a delivery that the store refused."""


def as_scheduled(
    properties: dict[str, str], topic: str, queue_id: int, levels: DelayLevels, path: SendPath
) -> tuple[SendTopic, int]:
    """Mark ``properties`` for delivery to ``topic`` later; the topic to append to, and the level."""
    level_text = properties[DELAY_LEVEL]
    level = levels.clamp(int(level_text) if level_text.isdigit() else 1)
    properties[DELAY_LEVEL] = str(level)
    properties[REAL_TOPIC] = topic
    properties[REAL_QUEUE] = str(queue_id)
    return path.topic(names.SCHEDULE_TOPIC.encode(), len(levels.delays_ms)), level


class DelayOffsetFile(msgspec.Struct, rename="camel"):
    """``delayOffset.json``: level -> offset of the next message to deliver."""

    data_version: DataVersion
    offset_table: dict[int, int]


class Scheduler:
    """Delivers waiting messages when their time has come."""

    def __init__(
        self,
        levels: DelayLevels,
        topics: TopicTable,
        store: MessageStore,
        path: SendPath,
        commits: Commits,
        now_ms: Callable[[], int],
    ) -> None:
        self._levels = levels
        self._topics = topics
        self._store = store
        self._path = path
        self._commits = commits
        self._now_ms = now_ms
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._stopped = False
        self.offsets: dict[int, int] = {}
        self.data_version = DataVersion(timestamp=now_ms())
        self.changes = 0

    def to_file(self) -> DelayOffsetFile:
        return DelayOffsetFile(self.data_version, self.offsets)

    def load(self, file: DelayOffsetFile) -> None:
        self.offsets = dict(file.offset_table)
        self.data_version = file.data_version.copy()

    def start(self) -> None:
        for level in range(1, len(self._levels.delays_ms) + 1):
            self._look(level)

    def stop(self) -> None:
        self._stopped = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def grown(self, queue: ConsumeQueue) -> None:
        """A message has entered ``queue``; matters when it is one of the levels'."""
        if queue.topic == names.SCHEDULE_TOPIC.encode():
            level = int(queue.queue_id) + 1
            if level not in self._timers:
                self._look(level)

    def _wait(self, level: int, delay_ms: int) -> None:
        if not self._stopped:
            loop = asyncio.get_running_loop()
            self._timers[level] = loop.call_later(max(0, delay_ms) / 1000, self._look, level)

    def _look(self, level: int) -> None:
        """Deliver what is due in ``level`` and set the timer for what is not."""
        self._timers.pop(level, None)
        queue = self._store.find_queue(names.SCHEDULE_TOPIC.encode(), level - 1)
        if queue is None or self._stopped:
            return
        offset = max(self.offsets.get(level, 0), int(queue.min_offset))
        now_ms = self._now_ms()
        first = offset
        while offset < queue.max_offset and offset - first < DELIVER_BATCH:
            record = self._store.record_at(queue, offset)
            if record is not None:
                # A clock that was set back must not hold a message longer than its level says.
                due_ms = min(self._levels.due_time(level, record.store_ms), now_ms + self._longest(level))
                if due_ms > now_ms:
                    self._wait(level, due_ms - now_ms)
                    break
                if self._store.refusal is not None or not self._deliver(record):
                    self._wait(level, RETRY_MS)
                    break
            offset += 1
        if offset > first:
            end = offset
            self._commits.on_commit(lambda written: self._delivered(level, first, end, written))

    def _longest(self, level: int) -> int:
        return self._levels.delays_ms[level - 1]

    def _delivered(self, level: int, first: int, end: int, written: bool) -> None:
        """Only what is in the log counts as delivered; the rest is tried again."""
        self.offsets[level] = end if written else first
        self.changes += 1
        self.data_version.advance(self._now_ms())
        if not written:
            old = self._timers.pop(level, None)
            if old is not None:
                old.cancel()
            self._wait(level, RETRY_MS)
        elif level not in self._timers:
            self._wait(level, 0)

    def _deliver(self, record: Record) -> bool:
        """Append the message under its own topic; False when the store does not take it now."""
        properties = decode_properties(record.properties)
        topic_name = properties.get(REAL_TOPIC, "")
        queue_text = properties.get(REAL_QUEUE, "")
        topic = self._topics.find(topic_name)
        if topic is None or not queue_text.isdigit() or names.topic_fault(topic_name) is not None:
            log.warning("delayed message at %d dropped: topic %r is gone", record.log_offset, topic_name)
            return True
        properties.pop(DELAY_LEVEL, None)
        queue_count = max(topic.write_queue_nums, topic.read_queue_nums)
        target = self._path.topic(topic_name.encode(), queue_count)
        send = SendFrame()
        send.queue_id = min(int(queue_text), max(0, queue_count - 1))
        send.message_flag = record.flag
        send.sys_flag = record.sys_flag
        send.born_timestamp = record.born_ms
        send.reconsume_times = record.reconsume_times
        encoded = encode_properties(properties)
        scan = PropertyScan()
        scan.scan(encoded)
        try:
            self._path.put(target, send, record.born_host, record.body, encoded, scan)
        except StoreError as error:
            log.warning("delayed message at %d not delivered yet: %s", record.log_offset, error)
            return False
        return True
