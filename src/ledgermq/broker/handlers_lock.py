"""Ordered consumers lock and unlock queues: LOCK_BATCH_MQ, UNLOCK_BATCH_MQ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec
from msgspec import Meta

from ledgermq.broker.groups import GroupTable
from ledgermq.broker.locks import QueueLocks
from ledgermq.broker.queue_key import QueueKey
from ledgermq.broker.topics import TopicTable
from ledgermq.message import names
from ledgermq.remoting.codes import RequestCode, ResponseCode
from ledgermq.remoting.command import Command, PeerError
from ledgermq.remoting.connection import Connection, Handler
from ledgermq.remoting.headers import decode_body, json_response, response
from ledgermq.runtime.limits import CLIENT_ID_CHARS_MAX


class LockBatch(msgspec.Struct, rename="camel", kw_only=True):
    """The body of both requests (Java: ``LockBatchRequestBody``, ``UnlockBatchRequestBody``)."""

    client_id: Annotated[str, Meta(max_length=CLIENT_ID_CHARS_MAX)]
    consumer_group: str
    mq_set: list[QueueKey] = []


class Locked(msgspec.Struct):
    """LOCK_BATCH_MQ's answer (Java: ``LockBatchResponseBody``)."""

    lockOKMQSet: list[QueueKey]  # noqa: N815 - a name of the wire that no rule makes


class LockHandlers:
    """Handlers of queue locks."""

    def __init__(
        self,
        broker_name: str,
        topics: TopicTable,
        groups: GroupTable,
        locks: QueueLocks,
        monotonic_ms: Callable[[], int],
    ) -> None:
        self._broker_name = broker_name
        self._topics = topics
        self._groups = groups
        self._locks = locks
        self._monotonic_ms = monotonic_ms

    def table(self) -> dict[int, Handler]:
        return {
            RequestCode.LOCK_BATCH_MQ: self.lock,
            RequestCode.UNLOCK_BATCH_MQ: self.unlock,
        }

    def lock(self, command: Command, connection: Connection) -> Command:
        body = decode_body(LockBatch, command)
        group = body.consumer_group
        if self._groups.find(group) is None:
            remark = f"group {group[: names.GROUP_CHARS_MAX]!r} does not exist"
            raise PeerError(ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST, remark)
        if self._topics.following:
            # Java's slaves give it: then two consumers of an ordered queue have it, one by an old route.
            remark = "locks are the master's to give: this broker is a slave"
            raise PeerError(ResponseCode.SERVICE_NOT_AVAILABLE, remark)
        queues = [queue for queue in body.mq_set if self._exists(queue)]
        return json_response(Locked(self._locks.lock(group, queues, body.client_id, self._monotonic_ms())))

    def unlock(self, command: Command, connection: Connection) -> Command:
        body = decode_body(LockBatch, command)
        self._locks.unlock(body.consumer_group, body.mq_set, body.client_id)
        return response()

    def _exists(self, queue: QueueKey) -> bool:
        """Only such a queue can be locked: names made up must not fill the table."""
        if queue.broker_name != self._broker_name:
            return False
        topic = self._topics.find(queue.topic)
        return topic is not None and 0 <= queue.queue_id < max(topic.read_queue_nums, topic.write_queue_nums)
