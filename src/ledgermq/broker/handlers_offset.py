"""Offsets of groups and queues: QUERY_CONSUMER_OFFSET, UPDATE_CONSUMER_OFFSET, SEARCH_OFFSET_BY_TIMESTAMP,
GET_MAX_OFFSET, GET_MIN_OFFSET, GET_EARLIEST_MSG_STORETIME, GET_ALL_CONSUMER_OFFSET."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ledgermq.broker.groups import GroupTable
from ledgermq.broker.offsets import OffsetTable
from ledgermq.broker.queue_reads import check_queue
from ledgermq.broker.topics import TopicTable
from ledgermq.message import names
from ledgermq.remoting.broker_headers import (
    OffsetReply,
    QueryConsumerOffset,
    SearchOffset,
    StoreTimeReply,
    TopicQueue,
    UpdateConsumerOffset,
)
from ledgermq.remoting.codes import RequestCode, ResponseCode
from ledgermq.remoting.command import Command, PeerError
from ledgermq.remoting.connection import Connection, Handler
from ledgermq.remoting.headers import decode_header, json_response, response
from ledgermq.store.message_store import MessageStore
from ledgermq.store.reading import GetStatus


class OffsetHandlers:
    """Handlers of offsets, asked for and committed."""

    def __init__(
        self,
        topics: TopicTable,
        groups: GroupTable,
        offsets: OffsetTable,
        store: MessageStore,
        now_ms: Callable[[], int],
        forward: Callable[[Command], Awaitable[Command | None]],
    ) -> None:
        """``forward`` takes to the master what a slave is asked by clients that know no other yet."""
        self._topics = topics
        self._groups = groups
        self._offsets = offsets
        self._store = store
        self._now_ms = now_ms
        self._forward = forward

    def table(self) -> dict[int, Handler]:
        return {
            RequestCode.QUERY_CONSUMER_OFFSET: self.query,
            RequestCode.UPDATE_CONSUMER_OFFSET: self.update,
            RequestCode.SEARCH_OFFSET_BY_TIMESTAMP: self.search,
            RequestCode.GET_MAX_OFFSET: self.get_max,
            RequestCode.GET_MIN_OFFSET: self.get_min,
            RequestCode.GET_EARLIEST_MSG_STORETIME: self.get_earliest_time,
            RequestCode.GET_ALL_CONSUMER_OFFSET: self.get_all,
        }

    # ---- of groups ----

    def query(self, command: Command, connection: Connection) -> Command | Awaitable[Command | None]:
        return self._query_master(command) if self._offsets.following else self._query(command)

    async def _query_master(self, command: Command) -> Command | None:
        """A slave may be behind: what it knows is said when no master can be asked."""
        try:
            return await self._forward(command)
        except PeerError:
            return self._query(command)

    def _query(self, command: Command) -> Command:
        """Where the group goes on. One that has never committed starts at 0 while the queue's whole past is
        still in memory; otherwise the client decides by its consumeFromWhere."""
        header = decode_header(QueryConsumerOffset, command)
        offset = self._offsets.consumed(header.consumer_group, header.topic, header.queue_id)
        if offset >= 0:
            return response(header=OffsetReply(offset))
        if header.set_zero_if_not_found is not False and self._begins_at_zero(header):
            return response(header=OffsetReply(0))
        remark = (
            f"group {header.consumer_group[: names.GROUP_CHARS_MAX]!r} has no offset of "
            f"{header.topic[: names.RETRY_TOPIC_CHARS_MAX]!r} queue {header.queue_id}"
        )
        return response(ResponseCode.QUERY_NOT_FOUND, remark)

    def _begins_at_zero(self, header: QueryConsumerOffset) -> bool:
        queue = self._store.find_queue(header.topic.encode(), header.queue_id)
        if queue is None or queue.min_offset > 0:
            return False
        if self._offsets.queues(header.consumer_group, header.topic):
            # The topic got this queue while the group was at work: it is to miss nothing of it.
            return True
        return self._store.reader.get(queue, 0, 1, 1).status is GetStatus.FOUND

    def update(self, command: Command, connection: Connection) -> Command | Awaitable[Command | None]:
        if self._offsets.following:
            return self._forward(command)
        header = decode_header(UpdateConsumerOffset, command)
        group, topic, queue_id = header.consumer_group, header.topic, header.queue_id
        if self._groups.find(group) is None:
            remark = f"group {group[: names.GROUP_CHARS_MAX]!r} does not exist"
            raise PeerError(ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST, remark)
        check_queue(self._topics, self._store, topic, queue_id)
        if header.commit_offset < 0:
            # The Go client says so of a queue of which it has consumed nothing. An error would keep it from
            # telling the progress of its other queues.
            return response(remark=f"not committed: commitOffset={header.commit_offset} is no progress")
        if self._offsets.commit(group, topic, queue_id, header.commit_offset, self._now_ms()):
            return response()
        if self._offsets.reset_pending(group, topic, queue_id):
            return response(remark="not committed: an operator has reset the offset, the next pull takes it")
        remark = f"not committed: the broker keeps {len(self._offsets)} offsets, its limit"
        raise PeerError(ResponseCode.SYSTEM_ERROR, remark)

    def get_all(self, command: Command, connection: Connection) -> Command:
        return json_response(self._offsets.to_file())

    # ---- of queues ----

    def search(self, command: Command, connection: Connection) -> Command:
        header = decode_header(SearchOffset, command)
        boundary = (header.boundary_type or "LOWER").upper()
        if boundary not in ("LOWER", "UPPER"):
            remark = f"boundaryType={header.boundary_type!r} is neither LOWER nor UPPER"
            raise PeerError(ResponseCode.INVALID_PARAMETER, remark)
        queue = check_queue(self._topics, self._store, header.topic, header.queue_id)
        if queue is None:
            return response(header=OffsetReply(0))
        upper = boundary == "UPPER"
        return response(header=OffsetReply(self._store.offset_by_time(queue, header.timestamp, upper)))

    def get_max(self, command: Command, connection: Connection) -> Command:
        header = decode_header(TopicQueue, command)
        queue = check_queue(self._topics, self._store, header.topic, header.queue_id)
        return response(header=OffsetReply(0 if queue is None else queue.max_offset))

    def get_min(self, command: Command, connection: Connection) -> Command:
        header = decode_header(TopicQueue, command)
        queue = check_queue(self._topics, self._store, header.topic, header.queue_id)
        return response(header=OffsetReply(0 if queue is None else queue.min_offset))

    def get_earliest_time(self, command: Command, connection: Connection) -> Command:
        """When the first message of the queue was stored, -1 of an empty queue."""
        header = decode_header(TopicQueue, command)
        queue = check_queue(self._topics, self._store, header.topic, header.queue_id)
        if queue is None:
            return response(header=StoreTimeReply(-1))
        return response(header=StoreTimeReply(self._store.reader.store_ms_of(queue, queue.min_offset)))
