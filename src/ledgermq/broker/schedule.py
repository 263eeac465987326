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
import re
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from ledgermq.broker.commits import Commits
from ledgermq.broker.send_frame import SendFrame
from ledgermq.broker.send_path import SendPath, SendTopic
from ledgermq.broker.topics import TopicTable
from ledgermq.message import names
from ledgermq.message.delay_levels import DelayLevels
from ledgermq.message.properties import PropertyScan, decode_properties, encode_properties
from ledgermq.message.record import Record
from ledgermq.remoting.codes import ResponseCode
from ledgermq.remoting.command import PeerError
from ledgermq.remoting.topic_config import PERM_READ, PERM_WRITE, DataVersion
from ledgermq.store.consume_queue import ConsumeQueue
from ledgermq.store.errors import StoreError, StoreWriteError
from ledgermq.store.message_store import MessageStore

log: Final = logging.getLogger("ledgermq.broker")

DELAY_LEVEL: Final = "DELAY"
REAL_TOPIC: Final = "REAL_TOPIC"
REAL_QUEUE: Final = "REAL_QID"

TIMER_PROPERTIES: Final = ("TIMER_DELAY_SEC", "TIMER_DELAY_MS", "TIMER_DELIVER_MS")

DELIVER_BATCH: Final = 256
"""Messages delivered for one level before other work gets its turn."""
RETRY_MS: Final = 1000
"""Pause after a delivery that the store refused."""


def delay_level(properties: dict[str, str]) -> int:
    """What the property DELAY asks for; 0 without it. Raises PeerError."""
    text = properties.get(DELAY_LEVEL, "0")
    if re.fullmatch("-?[0-9]{1,9}", text) is None:
        remark = f"property {DELAY_LEVEL}={text[:40]!r} is no delay level, which is a number"
        raise PeerError(ResponseCode.MESSAGE_ILLEGAL, remark)
    return int(text)


def as_scheduled(
    properties: dict[str, str], topic: str, queue_id: int, level: int, levels: DelayLevels, path: SendPath
) -> tuple[SendTopic, int]:
    """Mark ``properties`` for delivery to a queue of ``topic`` later; where the message waits until then."""
    for name in TIMER_PROPERTIES:  # of the first delivery; what counts now is the level
        properties.pop(name, None)
    level = levels.clamp(level)
    properties[DELAY_LEVEL] = str(level)
    properties[REAL_TOPIC] = topic
    properties[REAL_QUEUE] = str(queue_id)
    return path.topic(names.SCHEDULE_TOPIC.encode(), len(levels.delays_ms)), level - 1


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
        """When each level is looked at again."""
        self._under_way: set[int] = set()
        """Levels with deliveries that are not committed yet. They are not looked at: ``offsets`` does not
        count these, so they would be delivered again."""
        self._stopped = False
        self.offsets: dict[int, int] = {}
        """Level -> queue offset of the next message to deliver."""
        self.data_version = DataVersion(timestamp=now_ms())
        self.changes = 0
        self.following = False
        """While set, only :meth:`replay` moves the offsets."""

    def to_file(self) -> DelayOffsetFile:
        return DelayOffsetFile(self.data_version, self.offsets)

    def load(self, file: DelayOffsetFile) -> None:
        self.offsets = dict(file.offset_table)
        self.data_version = file.data_version.copy()

    def replay(self, offsets: dict[int, int], version: DataVersion) -> None:
        """The log states that this is how far each level has been delivered."""
        self.offsets = dict(offsets)
        self.data_version = version.copy()
        self.changes += 1

    def start(self) -> None:
        """Begin, or begin again after :meth:`stop`."""
        self._stopped = False
        for level in range(1, len(self._levels.delays_ms) + 1):
            queue = self._queue(level)
            end = 0 if queue is None else int(queue.max_offset)
            if self.offsets.get(level, 0) > end:
                # After a power cut the file may know of more than the log; what comes must not be missed.
                log.warning("delay level %d: its offset %d is beyond the queue", level, self.offsets[level])
                self.offsets[level] = end
            self._look(level)

    def stop(self) -> None:
        self._stopped = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def grown(self, queues: Sequence[ConsumeQueue]) -> None:
        """Messages have entered ``queues``; matters where one is a level's."""
        for queue in queues:
            if queue.delay_ms >= 0:
                level = int(queue.queue_id) + 1
                if level not in self._timers:
                    self._look(level)

    def _queue(self, level: int) -> ConsumeQueue | None:
        return self._store.find_queue(names.SCHEDULE_TOPIC.encode(), level - 1)

    def _wait(self, level: int, delay_ms: int) -> None:
        if not self._stopped:
            loop = asyncio.get_running_loop()
            self._timers[level] = loop.call_later(delay_ms / 1000, self._look, level)

    def _look(self, level: int) -> None:
        """Deliver what is due in ``level`` and set the timer for what is not."""
        self._timers.pop(level, None)
        queue = self._queue(level)
        if queue is None or self._stopped or level in self._under_way:
            return
        first = max(self.offsets.get(level, 0), int(queue.min_offset))
        end, pause_ms = self._append_due(level, queue, first)
        if end > first:
            self._under_way.add(level)
            self._commits.on_commit(lambda safe: self._delivered(level, first, end, safe, pause_ms))
        elif pause_ms is not None:
            self._wait(level, pause_ms)

    def _append_due(self, level: int, queue: ConsumeQueue, first: int) -> tuple[int, int | None]:
        """Append what is due from queue offset ``first`` on; the offset behind, and in how many ms there may
        be more to do, None when the queue is at its end."""
        now_ms = self._now_ms()
        offset = first
        while offset < queue.max_offset:
            if offset - first >= DELIVER_BATCH:
                return offset, 0
            try:
                record = self._store.record_at(queue, offset)
            except OSError as error:
                log.error("delay level %d cannot be read: %s", level, error)
                return offset, RETRY_MS
            if record is not None:
                wait_ms = self._levels.due_time(level, record.store_ms) - now_ms
                # Longer than the level says only when the clock was set back: it has waited enough.
                if 0 < wait_ms <= self._levels.delays_ms[level - 1]:
                    return offset, wait_ms
                if self._store.refusal is not None or not self._try_to_deliver(record):
                    return offset, RETRY_MS
            offset += 1
        return offset, None

    def _delivered(self, level: int, first: int, end: int, safe: bool, pause_ms: int | None) -> None:
        """Only what is in the log counts as delivered; the rest is tried again."""
        self._under_way.discard(level)
        if self.following:
            return
        self.offsets[level] = end if safe else first
        self.changes += 1
        self.data_version.advance(self._now_ms())
        self._wait(level, (pause_ms or 0) if safe else RETRY_MS)

    def _try_to_deliver(self, record: Record) -> bool:
        """Append the message under its own topic; False when that cannot be done now.

        Whatever is wrong with one message must not end who looks at it: in a group every member in turn would
        come to it.
        """
        try:
            self._deliver(record)
        except (PeerError, StoreWriteError) as error:
            log.warning("delayed message at %d not delivered yet: %s", record.log_offset, error)
        except Exception:  # see above
            log.exception("delayed message at %d not delivered", record.log_offset)
        else:
            return True
        return False

    def _deliver(self, record: Record) -> None:
        """Append it, or drop what can never be. Raises PeerError, StoreWriteError."""
        properties = decode_properties(record.properties)
        topic_name = properties.get(REAL_TOPIC, "")
        queue_text = properties.get(REAL_QUEUE, "")
        topic = self._topics.find(topic_name)
        if topic is None and topic_name.startswith(names.RETRY_PREFIX) and not names.topic_fault(topic_name):
            # Made when the message was sent back, and lost in a crash before it was in topics.json.
            topic = self._topics.create_for_retry(topic_name, 1, PERM_WRITE | PERM_READ, 0, self._now_ms())
        if topic is None:
            log.warning("delayed message at %d dropped: topic %r is gone", record.log_offset, topic_name)
            return
        properties.pop(DELAY_LEVEL, None)
        queue_count = max(topic.write_queue_nums, topic.read_queue_nums, 1)
        target = self._path.topic(topic_name.encode(), queue_count)
        queue_id = int(queue_text) if re.fullmatch("[0-9]{1,9}", queue_text) else 0
        send = SendFrame()
        send.message_flag = record.flag
        send.sys_flag = record.sys_flag
        send.born_timestamp = record.born_ms
        send.reconsume_times = record.reconsume_times
        encoded = encode_properties(properties)
        scan = PropertyScan()
        scan.scan(encoded)
        queue_id = min(queue_id, queue_count - 1)
        try:
            self._path.put(target, queue_id, send, record.born_host, record.body, encoded, scan)
        except StoreWriteError:
            raise
        except StoreError as error:
            log.error("delayed message at %d dropped: %s", record.log_offset, error)
        else:
            target.traffic.add(1, len(record.body))
