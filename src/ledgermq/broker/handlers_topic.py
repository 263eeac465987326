"""Topics are created, changed, shown and deleted: 17, 18, 215, 21, 351, and their state: 202."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import get_args

import msgspec

from ledgermq.broker.attributes import parse_attributes
from ledgermq.broker.handlers_group import PAGE_MAX, page_version
from ledgermq.broker.offsets import OffsetTable
from ledgermq.broker.persistence import OFFSETS_FILE, TOPICS_FILE, ConfigFiles
from ledgermq.broker.queue_key import QueueKey
from ledgermq.broker.queue_reads import QUEUES_PER_TURN, queue_range, store_ms
from ledgermq.broker.stats import BrokerStats
from ledgermq.broker.store_jobs import StoreJobs
from ledgermq.broker.topics import TopicTable
from ledgermq.message import names
from ledgermq.remoting.broker_headers import CreateTopic, TopicPage, TopicPageReply
from ledgermq.remoting.codes import RequestCode, ResponseCode
from ledgermq.remoting.command import Command, PeerError
from ledgermq.remoting.connection import Connection, Handler
from ledgermq.remoting.headers import Topic, decode_body, decode_header, json_response, response
from ledgermq.remoting.json_body import encode_json, encode_object_map
from ledgermq.remoting.topic_config import DataVersion, TopicConfig, TopicFilterType
from ledgermq.runtime.limits import QUEUES_MAX
from ledgermq.store.consume_queue import ConsumeQueue
from ledgermq.store.message_store import Job, MessageStore


class TopicList(msgspec.Struct, rename="camel"):
    """UPDATE_AND_CREATE_TOPIC_LIST's body."""

    topic_config_list: list[TopicConfig]


class TopicPageBody(msgspec.Struct, rename="camel", kw_only=True):
    """GET_ALL_TOPIC_CONFIG's answer (Java: ``TopicConfigAndMappingSerializeWrapper``); static topics, whose
    mappings the last two fields would hold, are not served."""

    data_version: DataVersion
    mapping_data_version: DataVersion = msgspec.field(default_factory=DataVersion)
    topic_config_table: dict[str, TopicConfig]
    topic_queue_mapping_detail_map: dict[str, object] = {}
    topic_queue_mapping_info_map: dict[str, object] = {}


class TopicOffset(msgspec.Struct, rename="camel"):
    """One queue in GET_TOPIC_STATS_INFO's answer."""

    last_update_timestamp: int
    max_offset: int
    min_offset: int


class TopicStats(msgspec.Struct, rename="camel"):
    """GET_TOPIC_STATS_INFO's answer (Java: ``TopicStatsTable``)."""

    offset_table: msgspec.Raw
    topic_put_tps: float


class TopicHandlers:
    """Handlers of requests about topics.

    ``release`` has everyone who waits for some queues ask again.
    """

    def __init__(
        self,
        broker_name: str,
        topics: TopicTable,
        offsets: OffsetTable,
        stats: BrokerStats,
        store: MessageStore,
        jobs: StoreJobs,
        files: ConfigFiles,
        release: Callable[[Iterable[ConsumeQueue]], None],
        now_ms: Callable[[], int],
    ) -> None:
        self._broker_name = broker_name
        self._topics = topics
        self._offsets = offsets
        self._stats = stats
        self._store = store
        self._jobs = jobs
        self._files = files
        self._release = release
        self._now_ms = now_ms

    def table(self) -> dict[int, Handler]:
        return {
            RequestCode.UPDATE_AND_CREATE_TOPIC: self.update,
            RequestCode.UPDATE_AND_CREATE_TOPIC_LIST: self.update_list,
            RequestCode.DELETE_TOPIC_IN_BROKER: self.delete,
            RequestCode.GET_ALL_TOPIC_CONFIG: self.get_all,
            RequestCode.GET_TOPIC_CONFIG: self.get_one,
            RequestCode.GET_TOPIC_STATS_INFO: self.get_stats,
        }

    # ---- changes ----

    async def update(self, command: Command, connection: Connection) -> Command:
        header = decode_header(CreateTopic, command)
        for field, queues in (
            ("readQueueNums", header.read_queue_nums),
            ("writeQueueNums", header.write_queue_nums),
        ):
            if not 0 <= queues <= QUEUES_MAX:
                remark = f"{field}={queues} of topic {header.topic[:255]!r} is not in 0..{QUEUES_MAX}"
                raise PeerError(ResponseCode.INVALID_PARAMETER, remark)
        filter_type = next((t for t in get_args(TopicFilterType) if t == header.topic_filter_type), None)
        if filter_type is None:
            remark = f"topicFilterType={header.topic_filter_type!r} is neither SINGLE_TAG nor MULTI_TAG"
            raise PeerError(ResponseCode.INVALID_PARAMETER, remark)
        wanted = TopicConfig(
            topic_name=header.topic,
            read_queue_nums=header.read_queue_nums,
            write_queue_nums=header.write_queue_nums,
            perm=header.perm,
            order=header.order,
            topic_filter_type=filter_type,
            topic_sys_flag=header.topic_sys_flag or 0,
            attributes=parse_attributes(header.attributes),
        )
        return await self._store_all([wanted])

    async def update_list(self, command: Command, connection: Connection) -> Command:
        return await self._store_all(decode_body(TopicList, command).topic_config_list)

    async def _store_all(self, wanted: list[TopicConfig]) -> Command:
        checked = [self._topics.check_update(topic) for topic in wanted]  # all or none
        now_ms = self._now_ms()
        for stored in checked:
            if stored is not None:
                self._topics.update(stored, now_ms)
        await self._files.save(TOPICS_FILE)
        return response()

    async def delete(self, command: Command, connection: Connection) -> Command:
        """Delete the topic with its queues and the groups' offsets, and the retry topics that pop consumers
        have of it."""
        topic = decode_header(Topic, command).topic
        doomed = [topic]
        for group in self._offsets.groups_of(topic):
            retries = (f"{names.retry_topic(group)}_{topic}", f"{names.retry_topic(group)}+{topic}")
            doomed += [retry for retry in retries if self._topics.find(retry) is not None]
        now_ms = self._now_ms()
        queues: list[ConsumeQueue] = []
        had_offsets = False
        for name in doomed:
            self._topics.delete(name, now_ms)
            had_offsets |= bool(self._offsets.groups_of(name))
            self._offsets.remove_topic(name, now_ms)
            self._stats.drop_topic(name)
            queues += self._store.queues.topics.get(name.encode(), {}).values()
        jobs = self._store.delete_topics(name.encode() for name in doomed)
        self._release(queues)
        await self._jobs.see_through(self._make_last(jobs, had_offsets))
        return response()

    async def _make_last(self, jobs: list[Job], had_offsets: bool) -> None:
        """Write down what was deleted, and then delete the queues' files."""
        await self._files.save(TOPICS_FILE)
        if had_offsets:
            # A crash must not bring them back: a topic made again under this name begins at 0.
            await self._files.save(OFFSETS_FILE)
        await self._jobs.run(jobs)

    # ---- questions ----

    def get_all(self, command: Command, connection: Connection) -> Command:
        header = decode_header(TopicPage, command)
        count = min(PAGE_MAX, header.max_topic_num or PAGE_MAX) if "topicSeq" in command.ext else None
        page = self._topics.page(header.topic_seq, count, page_version(header.data_version))
        body = TopicPageBody(data_version=self._topics.data_version, topic_config_table=page)
        return response(header=TopicPageReply(len(self._topics.configs)), body=encode_json(body))

    def get_one(self, command: Command, connection: Connection) -> Command:
        return json_response(self._topics.get(decode_header(Topic, command).topic))

    async def get_stats(self, command: Command, connection: Connection) -> Command:
        """Each queue's first offset, end, and the time of its last message."""
        name = decode_header(Topic, command).topic
        topic = self._topics.get(name)
        entries: list[tuple[QueueKey, object]] = []
        for queue_id in range(max(topic.read_queue_nums, topic.write_queue_nums)):
            offsets = queue_range(self._store, name, queue_id)
            last_ms = 0
            if offsets.max_offset > 0:
                last_ms = store_ms(self._store, name, queue_id, offsets.max_offset - 1)
            state = TopicOffset(last_ms, offsets.max_offset, offsets.min_offset)
            entries.append((QueueKey(self._broker_name, queue_id, name), state))
            if queue_id % QUEUES_PER_TURN == QUEUES_PER_TURN - 1:
                await asyncio.sleep(0)
        return json_response(TopicStats(encode_object_map(entries), self._stats.put_tps(name)))
