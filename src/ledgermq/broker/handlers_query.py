"""Messages are looked up: by key or unique key (QUERY_MESSAGE), by place in the log (VIEW_MESSAGE_BY_ID); and
a queue's units are shown (QUERY_CONSUME_QUEUE). Answers carry records as they lie in the log.

The index knows hashes and seconds only, so each message it names is read and compared before it is answered.
"""

from __future__ import annotations

import asyncio
import struct
from concurrent.futures import Executor
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from ledgermq.broker.clients import ClientRegistry
from ledgermq.broker.cold_reads import warm_record
from ledgermq.broker.heartbeat import SubscriptionData
from ledgermq.broker.queue_reads import check_queue
from ledgermq.broker.topics import TopicTable
from ledgermq.message import names
from ledgermq.message.properties import find_property
from ledgermq.message.record import RecordError, decode_record
from ledgermq.remoting.broker_headers import QueryConsumeQueue, QueryMessage, QueryMessageReply, ViewMessage
from ledgermq.remoting.codes import RequestCode, ResponseCode
from ledgermq.remoting.command import Command, PeerError
from ledgermq.remoting.connection import Connection, Handler
from ledgermq.remoting.headers import decode_header, response
from ledgermq.remoting.json_body import encode_json
from ledgermq.runtime.config import StoreConfig
from ledgermq.runtime.limits import ANSWER_BYTES_MAX
from ledgermq.store.message_store import MessageStore

UNIQUE_KEY_QUERY: Final = "_UNIQUE_KEY_QUERY"
"""Extension field: ``true`` when the key is a message's unique key."""
READS_PER_TURN: Final = 8
"""Messages read before other work of the loop gets its turn: each may cost a read from the disk."""
UNITS_MAX: Final = 1000
"""Units of one QUERY_CONSUME_QUEUE."""

_UNIT: Final = struct.Struct(">qiq")

KEY: Final = "K"
UNIQUE_KEY: Final = "U"
TAG: Final = "T"


class ConsumeQueueUnit(msgspec.Struct, rename="camel"):
    """One unit in QUERY_CONSUME_QUEUE's answer (Java: ``ConsumeQueueData``)."""

    eval: bool
    physic_offset: int
    physic_size: int
    tags_code: int


class ConsumeQueueBody(msgspec.Struct, rename="camel", kw_only=True):
    """QUERY_CONSUME_QUEUE's answer (Java: ``QueryConsumeQueueResponseBody``)."""

    filter_data: str | UnsetType = UNSET
    max_queue_index: int
    min_queue_index: int
    queue_data: list[ConsumeQueueUnit]
    subscription_data: SubscriptionData | UnsetType = UNSET


class QueryHandlers:
    """Handlers that read messages and units; ``executor`` reads what is not in memory."""

    def __init__(
        self,
        config: StoreConfig,
        topics: TopicTable,
        clients: ClientRegistry[Connection],
        store: MessageStore,
        executor: Executor,
    ) -> None:
        self._config = config
        self._topics = topics
        self._clients = clients
        self._store = store
        self._executor = executor

    def table(self) -> dict[int, Handler]:
        return {
            RequestCode.QUERY_MESSAGE: self.query,
            RequestCode.VIEW_MESSAGE_BY_ID: self.view,
            RequestCode.QUERY_CONSUME_QUEUE: self.query_queue,
        }

    # ---- messages ----

    async def query(self, command: Command, connection: Connection) -> Command:
        header = decode_header(QueryMessage, command)
        kind = header.index_type or KEY
        count_max = header.max_num
        if command.ext.get(UNIQUE_KEY_QUERY) == "true":
            kind = UNIQUE_KEY
            count_max = self._config.default_query_max_num
        if kind not in (KEY, UNIQUE_KEY, TAG):
            remark = f"indexType={kind[:80]!r} is not one of {KEY}, {UNIQUE_KEY}, {TAG}"
            raise PeerError(ResponseCode.INVALID_PARAMETER, remark)
        if count_max < 1:
            raise PeerError(ResponseCode.INVALID_PARAMETER, f"maxNum={count_max} is less than 1")
        found = await self._find(header, kind, min(count_max, self._config.max_msgs_num_batch))
        index = self._store.index
        last_ms, last_offset = (0, 0) if index is None else (index.last_ms(), index.last_offset())
        answer = response(header=QueryMessageReply(last_ms, last_offset), body=b"".join(found))
        if not found:
            answer.code = ResponseCode.QUERY_NOT_FOUND
            answer.remark = f"no message of {header.topic[:255]!r} has this key in this time"
        return answer

    async def _find(self, header: QueryMessage, kind: str, count_max: int) -> list[bytes]:
        """The records, in the order of the log."""
        topic, key = header.topic.encode(), header.key.encode()
        begin_ms, end_ms = header.begin_timestamp, header.end_timestamp
        offsets: list[int] = []
        for _ in self._store.search_keys(topic, key, count_max, begin_ms, end_ms, offsets, kind == TAG):
            await asyncio.sleep(0)
        found: list[bytes] = []
        total = 0
        for number, offset in enumerate(sorted(set(offsets))):
            if number % READS_PER_TURN == READS_PER_TURN - 1:
                await asyncio.sleep(0)
            await warm_record(self._store.reader, self._executor, offset)
            data = self._store.reader.read_at(offset)
            if data is None or not _carries(data, topic, key, kind):
                continue
            if found and total + len(data) > ANSWER_BYTES_MAX:
                break
            found.append(data)
            total += len(data)
        return found

    async def view(self, command: Command, connection: Connection) -> Command:
        offset = decode_header(ViewMessage, command).offset
        await warm_record(self._store.reader, self._executor, offset)
        data = self._store.reader.read_at(offset)
        if data is None:
            remark = (
                f"no message begins at log offset {offset}; "
                f"the log reaches from {self._store.min_log_offset} to {self._store.max_log_offset}"
            )
            raise PeerError(ResponseCode.SYSTEM_ERROR, remark)
        return response(body=data)

    # ---- units ----

    def query_queue(self, command: Command, connection: Connection) -> Command:
        header = decode_header(QueryConsumeQueue, command)
        queue = check_queue(self._topics, self._store, header.topic, header.queue_id)
        if not 0 < header.count <= UNITS_MAX:
            raise PeerError(ResponseCode.INVALID_PARAMETER, f"count={header.count} is not in 1..{UNITS_MAX}")
        if queue is None:
            return response(
                body=encode_json(ConsumeQueueBody(max_queue_index=0, min_queue_index=0, queue_data=[]))
            )
        units: list[ConsumeQueueUnit] = []
        while len(units) < header.count:
            data = queue.units(header.index + len(units), header.count - len(units))
            if not data:
                break
            units += [ConsumeQueueUnit(False, *unit) for unit in _UNIT.iter_unpack(data)]
        body = ConsumeQueueBody(
            max_queue_index=int(queue.max_offset), min_queue_index=int(queue.min_offset), queue_data=units
        )
        self._add_subscription(body, header)
        remark = None
        if not units:
            remark = (
                f"index={header.index} of {header.topic!r} queue {header.queue_id} does not exist, "
                f"{queue.min_offset} to {queue.max_offset - 1} do"
            )
        return response(remark=remark, body=encode_json(body))

    def _add_subscription(self, body: ConsumeQueueBody, header: QueryConsumeQueue) -> None:
        group = header.consumer_group
        if group is None:
            return
        subscription = self._clients.subscription(group, header.topic)
        if subscription is None:
            body.filter_data = f"{group[: names.GROUP_CHARS_MAX]}@{header.topic} is not online!"
        else:
            body.subscription_data = subscription
            body.filter_data = "null"


def _carries(data: bytes, topic: bytes, key: bytes, kind: str) -> bool:
    """Whether the record is of ``topic`` and carries ``key``."""
    try:
        record = decode_record(data)
    except RecordError:
        return False
    if record.topic != topic:
        return False
    properties = record.properties
    if kind == TAG:
        return find_property(properties, b"TAGS") == key
    if find_property(properties, b"UNIQ_KEY") == key:
        return True
    return kind == KEY and key in (find_property(properties, b"KEYS") or b"").split()
