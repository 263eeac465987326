"""Offsets are reset: INVOKE_BROKER_TO_RESET_OFFSET.

With ``useServerSideResetOffset`` (the default) the broker notes the new offsets and each queue's next pull
takes its one, whether the group is online or not. Without it the group's online members are told
(RESET_CONSUMER_CLIENT_OFFSET) and commit the new offsets themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from ledgermq.broker.clients import ClientRegistry
from ledgermq.broker.groups import GroupTable
from ledgermq.broker.offsets import OffsetTable
from ledgermq.broker.queue_key import QueueKey
from ledgermq.broker.queue_reads import QUEUES_PER_TURN, check_queue
from ledgermq.broker.topics import TopicTable
from ledgermq.message import names
from ledgermq.remoting.broker_headers import ResetOffset
from ledgermq.remoting.codes import LANGUAGE_NAMES, RequestCode, ResponseCode
from ledgermq.remoting.command import Command, PeerError
from ledgermq.remoting.connection import Connection, Handler
from ledgermq.remoting.headers import decode_header, json_response, oneway
from ledgermq.remoting.json_body import encode_json, encode_object_map
from ledgermq.runtime.config import BrokerConfig
from ledgermq.store.consume_queue import ConsumeQueue
from ledgermq.store.message_store import MessageStore

LANGUAGE_CPP: Final = LANGUAGE_NAMES.index("CPP")


class OffsetsBody(msgspec.Struct, rename="camel"):
    """The answer, and what members are told (Java: ``ResetOffsetBody``)."""

    offset_table: msgspec.Raw


class QueueOffset(msgspec.Struct, rename="camel"):
    """One queue as C++ clients are told (Java: ``MessageQueueForC``)."""

    broker_name: str
    offset: int
    queue_id: int
    topic: str


class OffsetList(msgspec.Struct, rename="camel"):
    """What C++ clients are told (Java: ``ResetOffsetBodyForC``)."""

    offset_table: list[QueueOffset]


class ResetHandlers:
    """``release`` has everyone who waits for some queues ask again, so that a reset acts at once."""

    def __init__(
        self,
        config: BrokerConfig,
        topics: TopicTable,
        groups: GroupTable,
        clients: ClientRegistry[Connection],
        offsets: OffsetTable,
        store: MessageStore,
        release: Callable[[Iterable[ConsumeQueue]], None],
        now_ms: Callable[[], int],
    ) -> None:
        self._config = config
        self._topics = topics
        self._groups = groups
        self._clients = clients
        self._offsets = offsets
        self._store = store
        self._release = release
        self._now_ms = now_ms

    def table(self) -> dict[int, Handler]:
        return {RequestCode.INVOKE_BROKER_TO_RESET_OFFSET: self.reset}

    async def reset(self, command: Command, connection: Connection) -> Command:
        header = decode_header(ResetOffset, command)
        topic = self._topics.get(header.topic)
        if self._groups.find(header.group) is None:
            remark = f"group {header.group[: names.GROUP_CHARS_MAX]!r} does not exist"
            raise PeerError(ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST, remark)
        if header.queue_id >= 0:
            targets = {header.queue_id: self._target_of_one(header)}
        else:
            targets = await self._all_by_time(header, topic.read_queue_nums)
        if not targets:
            raise PeerError(ResponseCode.SYSTEM_ERROR, f"topic {header.topic!r} has no queue to read")
        self._offsets.refuse_following()
        if self._config.use_server_side_reset_offset:
            self._note(header, targets)
        else:
            self._tell(header, targets)
        return json_response(OffsetsBody(self._queue_map(header.topic, targets)))

    def _target_of_one(self, header: ResetOffset) -> int:
        if header.offset is None or header.offset == -1:
            return self._by_time(header, header.queue_id)
        queue = check_queue(self._topics, self._store, header.topic, header.queue_id)
        low, high = (0, 0) if queue is None else (int(queue.min_offset), int(queue.max_offset))
        if not low <= header.offset <= high:
            remark = (
                f"offset={header.offset} of {header.topic!r} queue {header.queue_id} is not in {low}..{high}"
            )
            raise PeerError(ResponseCode.SYSTEM_ERROR, remark)
        return header.offset

    async def _all_by_time(self, header: ResetOffset, queues: int) -> dict[int, int]:
        targets: dict[int, int] = {}
        for queue_id in range(queues):
            targets[queue_id] = self._by_time(header, queue_id)
            if queue_id % QUEUES_PER_TURN == QUEUES_PER_TURN - 1:
                await asyncio.sleep(0)
        return targets

    def _by_time(self, header: ResetOffset, queue_id: int) -> int:
        """The offset of a moment; a negative timestamp is the queue's end."""
        queue = check_queue(self._topics, self._store, header.topic, queue_id)
        if queue is None:
            return 0
        if header.timestamp < 0:
            return int(queue.max_offset)
        return int(self._store.offset_by_time(queue, header.timestamp))

    def _queue_map(self, topic: str, targets: dict[int, int]) -> msgspec.Raw:
        name = self._config.broker_name
        return encode_object_map(
            (QueueKey(name, queue_id, topic), offset) for queue_id, offset in targets.items()
        )

    def _note(self, header: ResetOffset, targets: dict[int, int]) -> None:
        now_ms = self._now_ms()
        queues: list[ConsumeQueue] = []
        for queue_id, offset in targets.items():
            if not self._offsets.reset(header.group, header.topic, queue_id, offset, now_ms):
                remark = f"not reset: the broker keeps {len(self._offsets)} offsets, its limit"
                raise PeerError(ResponseCode.SYSTEM_ERROR, remark)
            queue = self._store.find_queue(header.topic.encode(), queue_id)
            if queue is not None:
                queues.append(queue)
        self._release(queues)

    def _tell(self, header: ResetOffset, targets: dict[int, int]) -> None:
        """Members take the targets; without ``isForce`` only those that lie before their progress."""
        group = self._clients.consumer_groups.get(header.group)
        if group is None:
            remark = f"group {header.group!r} has no consumer online that could reset its offsets"
            raise PeerError(ResponseCode.CONSUMER_NOT_ONLINE, remark)
        for queue_id, offset in targets.items():
            consumed = self._offsets.consumed(header.group, header.topic, queue_id)
            if not header.is_force and 0 <= consumed < offset:
                targets[queue_id] = consumed
        told = ResetOffset(group=header.group, topic=header.topic, timestamp=header.timestamp)
        body = encode_json(OffsetsBody(self._queue_map(header.topic, targets)))
        for member in group.members.values():
            if member.client.language == LANGUAGE_NAMES[LANGUAGE_CPP]:
                body_sent = encode_json(self._offset_list(header.topic, targets))
            else:
                body_sent = body
            member.channel.notify(oneway(RequestCode.RESET_CONSUMER_CLIENT_OFFSET, told, body_sent))

    def _offset_list(self, topic: str, targets: dict[int, int]) -> OffsetList:
        name = self._config.broker_name
        return OffsetList(
            [QueueOffset(name, offset, queue_id, topic) for queue_id, offset in targets.items()]
        )
