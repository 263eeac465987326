"""How far groups have come: GET_CONSUME_STATS, GET_BROKER_CONSUME_STATS, QUERY_CONSUME_TIME_SPAN,
QUERY_CORRECTION_OFFSET, CLONE_GROUP_OFFSET."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

import msgspec

from ledgermq.broker.clients import ClientRegistry
from ledgermq.broker.groups import GroupTable
from ledgermq.broker.names import check_group
from ledgermq.broker.offsets import OffsetTable
from ledgermq.broker.queue_key import QueueKey
from ledgermq.broker.queue_reads import QUEUES_PER_TURN, queue_range, store_ms
from ledgermq.broker.stats import BrokerStats
from ledgermq.broker.topics import TopicTable
from ledgermq.remoting.broker_headers import (
    BrokerConsumeStats,
    CloneGroupOffset,
    ConsumeStats,
    QueryCorrectionOffset,
    TopicGroup,
)
from ledgermq.remoting.codes import RequestCode, ResponseCode
from ledgermq.remoting.command import Command, PeerError
from ledgermq.remoting.connection import Connection, Handler
from ledgermq.remoting.headers import decode_header, json_response, response
from ledgermq.remoting.json_body import encode_object_map
from ledgermq.remoting.topic_config import TopicConfig
from ledgermq.store.message_store import MessageStore

LONG_MAX: Final = 2**63 - 1


class OffsetWrapper(msgspec.Struct, rename="camel"):
    """A group's state in one queue."""

    broker_offset: int
    consumer_offset: int
    last_timestamp: int
    pull_offset: int


class ConsumeStatsBody(msgspec.Struct, rename="camel"):
    """GET_CONSUME_STATS' answer (Java: ``ConsumeStats``)."""

    consume_tps: float
    offset_table: msgspec.Raw


class ConsumeStatsList(msgspec.Struct, rename="camel"):
    """GET_BROKER_CONSUME_STATS' answer; each element is group -> one answer for each topic."""

    broker_addr: str
    consume_stats_list: list[dict[str, list[ConsumeStatsBody]]]
    total_diff: int
    total_inflight_diff: int


class QueueTimeSpan(msgspec.Struct, rename="camel"):
    """A group's state in one queue, in time: of the last message consumed, the last and the first stored."""

    consume_time_stamp: int
    consume_time_stamp_str: str
    delay_time: int
    max_time_stamp: int
    max_time_stamp_str: str
    message_queue: QueueKey
    min_time_stamp: int
    min_time_stamp_str: str


class TimeSpans(msgspec.Struct, rename="camel"):
    """QUERY_CONSUME_TIME_SPAN's answer."""

    consume_time_span_set: list[QueueTimeSpan]


class CorrectionOffsets(msgspec.Struct, rename="camel"):
    """QUERY_CORRECTION_OFFSET's answer: queue -> offset."""

    correction_offsets: dict[int, int]


class ProgressHandlers:
    """Handlers that compare groups' offsets with the queues."""

    def __init__(
        self,
        broker_name: str,
        broker_address: str,
        topics: TopicTable,
        groups: GroupTable,
        clients: ClientRegistry[Connection],
        offsets: OffsetTable,
        stats: BrokerStats,
        store: MessageStore,
        now_ms: Callable[[], int],
    ) -> None:
        self._broker_name = broker_name
        self._broker_address = broker_address
        self._topics = topics
        self._groups = groups
        self._clients = clients
        self._offsets = offsets
        self._stats = stats
        self._store = store
        self._now_ms = now_ms

    def table(self) -> dict[int, Handler]:
        return {
            RequestCode.GET_CONSUME_STATS: self.get_group,
            RequestCode.GET_BROKER_CONSUME_STATS: self.get_all,
            RequestCode.QUERY_CONSUME_TIME_SPAN: self.get_time_spans,
            RequestCode.QUERY_CORRECTION_OFFSET: self.get_corrections,
            RequestCode.CLONE_GROUP_OFFSET: self.clone,
        }

    # ---- stats ----

    async def get_group(self, command: Command, connection: Connection) -> Command:
        header = decode_header(ConsumeStats, command)
        group = header.consumer_group
        stated = [topic for topic in (header.topic_list or "").split(";") if topic]
        if stated:
            chosen = stated
        else:
            known = (
                [header.topic] if header.topic and header.topic.strip() else self._offsets.topics_of(group)
            )
            chosen = [topic for topic in known if self._consumes(group, topic)]
        tps = 0.0
        entries: list[tuple[QueueKey, OffsetWrapper]] = []
        for name in dict.fromkeys(chosen):
            topic = self._topics.find(name)
            if topic is None:
                continue
            entries += await self._offsets_of(group, topic, topic.read_queue_nums)
            tps += self._stats.get_tps(group, name)
        return json_response(ConsumeStatsBody(tps, encode_object_map(entries)))

    async def get_all(self, command: Command, connection: Connection) -> Command:
        header = decode_header(BrokerConsumeStats, command)
        found: list[dict[str, list[ConsumeStatsBody]]] = []
        total_diff = total_inflight = 0
        for group in list(self._groups.configs):
            of_group: list[ConsumeStatsBody] = []
            for name in self._offsets.topics_of(group):
                topic = self._topics.find(name)
                if topic is None or (header.is_order and not topic.order) or not self._consumes(group, name):
                    continue
                entries = await self._offsets_of(group, topic, topic.write_queue_nums)
                total_diff += sum(state.broker_offset - state.consumer_offset for _, state in entries)
                total_inflight += sum(max(0, s.pull_offset - s.consumer_offset) for _, s in entries)
                of_group.append(
                    ConsumeStatsBody(self._stats.get_tps(group, name), encode_object_map(entries))
                )
            found.append({group: of_group})
        return json_response(ConsumeStatsList(self._broker_address, found, total_diff, total_inflight))

    def _consumes(self, group: str, topic: str) -> bool:
        """Offsets of a topic that the group's online consumers do not subscribe to are left-overs."""
        return (
            self._clients.subscription_count(group) == 0
            or self._clients.subscription(group, topic) is not None
        )

    async def _offsets_of(
        self, group: str, topic: TopicConfig, queues: int
    ) -> list[tuple[QueueKey, OffsetWrapper]]:
        name = topic.topic_name
        entries: list[tuple[QueueKey, OffsetWrapper]] = []
        for queue_id in range(queues):
            end = queue_range(self._store, name, queue_id).max_offset
            consumed = max(0, self._offsets.consumed(group, name, queue_id))
            pulled = max(consumed, self._offsets.pulled(group, name, queue_id))
            last_ms = store_ms(self._store, name, queue_id, consumed - 1) if consumed > 0 else 0
            state = OffsetWrapper(end, consumed, max(0, last_ms), pulled)
            entries.append((QueueKey(self._broker_name, queue_id, name), state))
            if queue_id % QUEUES_PER_TURN == QUEUES_PER_TURN - 1:
                await asyncio.sleep(0)
        return entries

    async def get_time_spans(self, command: Command, connection: Connection) -> Command:
        header = decode_header(TopicGroup, command)
        topic = self._topics.get(header.topic)
        spans: list[QueueTimeSpan] = []
        for queue_id in range(topic.write_queue_nums):
            spans.append(self._time_span(header.group, header.topic, queue_id))
            if queue_id % QUEUES_PER_TURN == QUEUES_PER_TURN - 1:
                await asyncio.sleep(0)
        return json_response(TimeSpans(spans))

    def _time_span(self, group: str, topic: str, queue_id: int) -> QueueTimeSpan:
        def stored(offset: int) -> int:
            return store_ms(self._store, topic, queue_id, offset)

        offsets = queue_range(self._store, topic, queue_id)
        first_ms = stored(offsets.min_offset)
        last_ms = stored(offsets.max_offset - 1)
        consumed = max(0, self._offsets.consumed(group, topic, queue_id))
        consumed_ms = stored(consumed - 1) if consumed > 0 else first_ms
        next_ms = stored(consumed) if consumed < offsets.max_offset else -1
        return QueueTimeSpan(
            consumed_ms,
            _shown(consumed_ms),
            self._now_ms() - next_ms if next_ms >= 0 else 0,
            last_ms,
            _shown(last_ms),
            QueueKey(self._broker_name, queue_id, topic),
            first_ms,
            _shown(first_ms),
        )

    # ---- offsets ----

    def get_corrections(self, command: Command, connection: Connection) -> Command:
        """The least offset of all groups but some, for each queue: what a group may be set back to. A queue
        in which ``compareGroup`` is behind that gets 2^63 - 1: there is nothing to correct."""
        header = decode_header(QueryCorrectionOffset, command)
        left_out = set((header.filter_groups or "").split(","))
        least: dict[int, int] = {}
        for group in self._offsets.groups_of(header.topic):
            if group in left_out:
                continue
            for queue_id, offset in self._offsets.queues(group, header.topic).items():
                if offset >= queue_range(self._store, header.topic, queue_id).min_offset:
                    least[queue_id] = min(offset, least.get(queue_id, LONG_MAX))
        for queue_id, offset in self._offsets.queues(header.compare_group, header.topic).items():
            if least.get(queue_id, LONG_MAX) > offset:
                least[queue_id] = LONG_MAX
        return json_response(CorrectionOffsets(least))

    def clone(self, command: Command, connection: Connection) -> Command:
        """A group takes over what another has committed."""
        header = decode_header(CloneGroupOffset, command)
        self._offsets.refuse_following()
        check_group(header.dest_group)
        now_ms = self._now_ms()
        if self._groups.find_or_create(header.dest_group, now_ms) is None:
            remark = f"destGroup={header.dest_group!r} does not exist"
            raise PeerError(ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST, remark)
        source = header.src_group
        chosen = [header.topic] if header.topic and header.topic.strip() else self._offsets.topics_of(source)
        for topic in chosen:
            if self._topics.find(topic) is None or not (header.offline or self._consumes(source, topic)):
                continue
            self._offsets.clone(source, header.dest_group, topic, now_ms)
        return response()


def _shown(timestamp_ms: int) -> str:
    """As Java shows it: ``2026-11-21#03:48:20:863``, local time."""
    moment = time.localtime(timestamp_ms // 1000)
    return time.strftime("%Y-%m-%d#%H:%M:%S", moment) + f":{timestamp_ms % 1000:03d}"
