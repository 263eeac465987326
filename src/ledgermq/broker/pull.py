"""PULL_MESSAGE and LITE_PULL_MESSAGE: consumers fetch from a queue, or wait until it grows.

A pull names a queue offset; the answer carries the records from there on as they lie in the log, and where
to go on. One that finds nothing and may wait is parked (:mod:`ledgermq.broker.parked_pulls`) and served
again when a message arrives in its queue or its time is over (Java: ``PullMessageProcessor``).

Rules of this file: who may pull is decided in :class:`PullAccess`, without touching the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Executor
from typing import Final

from ledgermq.broker.clients import ClientRegistry
from ledgermq.broker.groups import GroupTable, SubscriptionGroupConfig
from ledgermq.broker.heartbeat import BROADCASTING, SubscriptionData
from ledgermq.broker.names import check_group
from ledgermq.broker.offsets import OffsetTable
from ledgermq.broker.parked_pulls import ParkedPulls
from ledgermq.broker.pull_path import PULL_BYTES_MAX, PullPath, PullPermit, pull_answer
from ledgermq.broker.stats import BrokerStats
from ledgermq.broker.topics import TopicTable
from ledgermq.broker.traffic import Traffic
from ledgermq.message.hashing import java_hash
from ledgermq.remoting.broker_headers import PullMessage
from ledgermq.remoting.codes import RequestCode, ResponseCode
from ledgermq.remoting.command import Command, PeerError
from ledgermq.remoting.connection import Connection, Handler
from ledgermq.remoting.headers import decode_header, response
from ledgermq.remoting.topic_config import PERM_READ, TopicConfig
from ledgermq.runtime.config import BrokerConfig
from ledgermq.store.consume_queue import ConsumeQueue
from ledgermq.store.reading import GetResult, GetStatus, MessageReader

SYS_COMMIT_OFFSET: Final = 1
SYS_SUSPEND: Final = 2
SYS_SUBSCRIPTION: Final = 4

ALL_TAGS: Final = "*"

_CODES: Final = {
    GetStatus.FOUND: ResponseCode.SUCCESS,
    GetStatus.MESSAGE_WAS_REMOVING: ResponseCode.PULL_RETRY_IMMEDIATELY,
    GetStatus.NO_MATCHED_MESSAGE: ResponseCode.PULL_RETRY_IMMEDIATELY,
    GetStatus.OFFSET_FOUND_NULL: ResponseCode.PULL_NOT_FOUND,
    GetStatus.OFFSET_OVERFLOW_ONE: ResponseCode.PULL_NOT_FOUND,
    GetStatus.OFFSET_OVERFLOW_BADLY: ResponseCode.PULL_OFFSET_MOVED,
    GetStatus.OFFSET_TOO_SMALL: ResponseCode.PULL_OFFSET_MOVED,
    GetStatus.OFFSET_RESET: ResponseCode.PULL_OFFSET_MOVED,
    # The data is on disk only. A pull that arrives waits for it; one that was parked comes back and does.
    GetStatus.COLD: ResponseCode.PULL_RETRY_IMMEDIATELY,
}
"""Without the statuses that depend on the offset asked for: see :func:`code_of`."""


def code_of(status: GetStatus, asked_offset: int) -> int:
    """The response code of a status. An empty queue moves whoever asks for more than its first message."""
    if status in (GetStatus.NO_MATCHED_LOGIC_QUEUE, GetStatus.NO_MESSAGE_IN_QUEUE):
        return ResponseCode.PULL_OFFSET_MOVED if asked_offset else ResponseCode.PULL_NOT_FOUND
    return _CODES[status]


def tag_codes(expression: str) -> frozenset[int] | None:
    """The tag codes that ``a || b`` selects, None for all (Java: ``FilterAPI.buildSubscriptionData``).

    Raises PeerError when no tag is named.
    """
    if not expression.strip() or expression.strip() == ALL_TAGS:
        return None
    tags = [tag.strip() for tag in expression.split("||")]
    codes = frozenset(int(java_hash(tag.encode())) for tag in tags if tag)
    if not codes:
        remark = f"subscription={expression[:80]!r} names no tag; expected is {ALL_TAGS!r} or 'a || b'"
        raise PeerError(ResponseCode.SUBSCRIPTION_PARSE_FAILED, remark)
    return codes


class Pull:
    """One request, from its arrival to its answer; ``offset`` moves on when what came matched no tag."""

    __slots__ = (
        "command",
        "connection",
        "group",
        "header",
        "offset",
        "stated",
        "tags",
        "topic",
        "traffic",
        "version",
    )

    def __init__(
        self,
        command: Command,
        connection: Connection,
        header: PullMessage,
        topic: TopicConfig,
        group: SubscriptionGroupConfig,
        tags: frozenset[int] | None,
        stated: SubscriptionData | None,
        traffic: Traffic,
        version: int,
    ) -> None:
        self.traffic = traffic
        self.command = command
        self.connection = connection
        self.header = header
        self.topic = topic
        self.group = group
        self.tags = tags
        self.stated = stated
        """The subscription, if the pull carries it."""
        self.offset = header.queue_offset
        self.version = version
        """Of what allowed it: :meth:`PullAccess.version`."""


class PullAccess:
    """Who may pull what."""

    def __init__(
        self,
        config: BrokerConfig,
        topics: TopicTable,
        groups: GroupTable,
        clients: ClientRegistry[Connection],
        stats: BrokerStats,
    ) -> None:
        self._stats = stats
        self._config = config
        self._topics = topics
        self._groups = groups
        self._clients = clients

    def version(self) -> int:
        """Another number than before when any table that :meth:`check` looks at has changed. Settings are not
        in it."""
        return self._topics.changes + self._groups.changes + self._clients.subscription_changes

    def check(self, command: Command, connection: Connection, header: PullMessage, now_ms: int) -> Pull:
        """Raises PeerError with what forbids the pull."""
        if self._config.broker_permission & PERM_READ == 0:
            name = self._config.broker_name
            remark = f"broker {name!r} gives no messages: its brokerPermission has no read bit"
            raise PeerError(ResponseCode.NO_PERMISSION, remark)
        group = self._group(header, now_ms)
        topic = self._topic(header)
        stated = None
        if header.sys_flag & SYS_SUBSCRIPTION:
            stated = self._stated(header)
            self._clients.compensate(header.consumer_group, header.topic, stated, now_ms)
            tags = tag_codes(stated.sub_string or "")
        else:
            tags = self._registered(header, group)
        traffic = self._stats.gets(
            header.consumer_group, header.topic, system=self._topics.is_system(header.topic)
        )
        return Pull(command, connection, header, topic, group, tags, stated, traffic, self.version())

    def renew(self, pull: Pull, now_ms: int) -> None:
        """A pull that has waited goes by what is known now: its group may want more than it did. Raises
        PeerError."""
        if pull.version == self.version():
            return
        fresh = self.check(pull.command, pull.connection, pull.header, now_ms)
        pull.topic, pull.group, pull.tags = fresh.topic, fresh.group, fresh.tags
        pull.stated, pull.traffic, pull.version = fresh.stated, fresh.traffic, fresh.version

    def _group(self, header: PullMessage, now_ms: int) -> SubscriptionGroupConfig:
        name = header.consumer_group
        group = self._groups.find_or_create(name, now_ms)
        if group is None:
            check_group(name)
            remark = f"group {name!r} does not exist: create it with updateSubGroup"
            raise PeerError(ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST, remark)
        if not group.consume_enable:
            remark = f"group {name!r} may not consume: consumeEnable=false"
            raise PeerError(ResponseCode.NO_PERMISSION, remark)
        return group

    def _topic(self, header: PullMessage) -> TopicConfig:
        topic = self._topics.get(header.topic)
        if not topic.readable:
            remark = f"topic {header.topic!r} is not readable: perm={topic.perm}"
            raise PeerError(ResponseCode.NO_PERMISSION, remark)
        if not 0 <= header.queue_id < topic.read_queue_nums:
            remark = (
                f"queueId={header.queue_id} of topic {header.topic!r} is not in "
                f"0..{topic.read_queue_nums - 1}"
            )
            raise PeerError(ResponseCode.INVALID_PARAMETER, remark)
        return topic

    def _stated(self, header: PullMessage) -> SubscriptionData:
        """The subscription that the pull carries."""
        kind = header.expression_type or "TAG"
        if kind != "TAG":
            raise _no_filter(kind)
        expression = header.subscription or ALL_TAGS
        return SubscriptionData(topic=header.topic, sub_string=expression, sub_version=header.sub_version)

    def _registered(self, header: PullMessage, group: SubscriptionGroupConfig) -> frozenset[int] | None:
        """The pull relies on the subscription of the group's heartbeats."""
        name = header.consumer_group
        members = self._clients.consumer_groups.get(name)
        if members is None:
            remark = f"group {name!r} has no consumer connected: a heartbeat must come before the pull"
            raise PeerError(ResponseCode.SUBSCRIPTION_NOT_EXIST, remark)
        if members.message_model == BROADCASTING and not group.consume_broadcast_enable:
            remark = f"group {name!r} may not broadcast: consumeBroadcastEnable=false"
            raise PeerError(ResponseCode.NO_PERMISSION, remark)
        if not self._groups.may_read(name, header.topic):
            remark = f"group {name!r} is forbidden to read {header.topic!r}"
            raise PeerError(ResponseCode.NO_PERMISSION, remark)
        subscription = members.subscriptions.get(header.topic)
        if subscription is None:
            remark = f"group {name!r} does not subscribe to {header.topic!r}: do all its consumers agree?"
            raise PeerError(ResponseCode.SUBSCRIPTION_NOT_EXIST, remark)
        if subscription.sub_version < header.sub_version:
            remark = f"group {name!r} has a newer subscription to {header.topic!r} than its heartbeats"
            raise PeerError(ResponseCode.SUBSCRIPTION_NOT_LATEST, remark)
        if not subscription.by_tag:
            raise _no_filter(str(subscription.expression_type))
        if subscription.sub_string in ("", ALL_TAGS):
            return None
        return frozenset(subscription.code_set or ()) or tag_codes(subscription.sub_string or "")


def _no_filter(kind: str) -> PeerError:
    remark = f"expressionType={kind!r} is not served: this broker filters by TAG only"
    return PeerError(ResponseCode.SYSTEM_ERROR, remark)


class PullHandlers:
    """Serves pulls, parks them, wakes them. What it has allowed, ``path`` may repeat.

    ``executor`` reads what is not in memory, so that one slow disk read stops nobody else. ``missed`` counts
    the pulls that found nothing. Waiting is measured by ``monotonic_ms``, a clock that nobody sets.
    """

    def __init__(
        self,
        config: BrokerConfig,
        access: PullAccess,
        path: PullPath,
        reader: MessageReader,
        queue_of: Callable[[bytes, int], ConsumeQueue],
        offsets: OffsetTable,
        missed: Traffic,
        executor: Executor,
        now_ms: Callable[[], int],
        monotonic_ms: Callable[[], int],
    ) -> None:
        self._config = config
        self._access = access
        self._path = path
        self._reader = reader
        self._queue_of = queue_of
        self._offsets = offsets
        self._missed = missed
        self._executor = executor
        self._now_ms = now_ms
        self._monotonic_ms = monotonic_ms
        self.parked: ParkedPulls[ConsumeQueue, Pull] = ParkedPulls()

    def table(self) -> dict[int, Handler]:
        return {RequestCode.PULL_MESSAGE: self.pull, RequestCode.LITE_PULL_MESSAGE: self.pull}

    def pull(self, command: Command, connection: Connection) -> Command | Awaitable[Command | None] | None:
        header = decode_header(PullMessage, command)
        now_ms = self._now_ms()
        pull = self._access.check(command, connection, header, now_ms)
        group, topic, queue_id = header.consumer_group, header.topic, header.queue_id
        if header.sys_flag & SYS_COMMIT_OFFSET and header.commit_offset >= 0:
            self._offsets.commit(group, topic, queue_id, header.commit_offset, now_ms)
        queue = self._queue_of(topic.encode(), queue_id)
        result = self._get(pull, queue)
        if result.status is GetStatus.COLD:
            return self._read_cold(pull, queue, result)
        if result.status is GetStatus.FOUND:
            self._path.allow(self._permit(pull, queue))
        return self._answer_or_park(pull, queue, result)

    def _get(self, pull: Pull, queue: ConsumeQueue) -> GetResult:
        header = pull.header
        if self._config.use_server_side_reset_offset:
            reset = self._offsets.take_reset(header.consumer_group, header.topic, header.queue_id)
            if reset is not None:
                return GetResult(GetStatus.OFFSET_RESET, reset, queue.min_offset, queue.max_offset)
        bytes_max = header.max_msg_bytes or PULL_BYTES_MAX
        # The Go client's pull consumer leaves maxMsgNums at 0; like Java, that gets one message.
        return self._reader.get(queue, pull.offset, max(1, header.max_msg_nums), bytes_max, pull.tags)

    async def _read_cold(self, pull: Pull, queue: ConsumeQueue, result: GetResult) -> Command | None:
        """What was asked for is on disk only: have it read by a worker, then look again."""
        loop = asyncio.get_running_loop()
        while result.status is GetStatus.COLD:
            await loop.run_in_executor(self._executor, self._reader.warm, result.cold_offset)
            result = self._get(pull, queue)
        return self._answer_or_park(pull, queue, result)

    def _answer_or_park(self, pull: Pull, queue: ConsumeQueue, result: GetResult) -> Command | None:
        code = self._code(pull, result)
        if result.count == 0:
            self._missed.add(0, 0)
        # OFFSET_FOUND_NULL: a queue file is missing, the consumer has to go on behind it at once.
        waits = code == ResponseCode.PULL_NOT_FOUND and result.status is not GetStatus.OFFSET_FOUND_NULL
        if waits and self._park(pull, queue):
            return None
        return self._answer(pull, result, code)

    def _code(self, pull: Pull, result: GetResult) -> int:
        """The response code. A slave may lack what its master has, and moves nobody: what is behind its last
        message will come, for what is before its first one the consumer asks the master."""
        code = code_of(result.status, pull.offset)
        if not self._offsets.following:
            return code
        if result.status in (GetStatus.OFFSET_TOO_SMALL, GetStatus.OFFSET_FOUND_NULL):
            result.next_offset = pull.offset
            return ResponseCode.PULL_RETRY_IMMEDIATELY
        if code == ResponseCode.PULL_OFFSET_MOVED:
            result.next_offset = pull.offset
            return ResponseCode.PULL_NOT_FOUND
        return code

    def _park(self, pull: Pull, queue: ConsumeQueue) -> bool:
        header = pull.header
        if not header.sys_flag & SYS_SUSPEND or header.suspend_timeout_millis <= 0 or pull.command.is_oneway:
            return False
        wait_ms = header.suspend_timeout_millis
        if not self._config.long_polling_enable:
            wait_ms = self._config.short_polling_time_mills
        return self.parked.park(queue, pull, self._monotonic_ms(), wait_ms)

    def _answer(self, pull: Pull, result: GetResult, code: int) -> Command:
        header = pull.header
        next_offset = int(result.next_offset)
        self._offsets.commit_pulled(header.consumer_group, header.topic, header.queue_id, next_offset)
        if code == ResponseCode.SUCCESS:
            pull.traffic.add(result.count, len(result.payload))
        topic_sys_flag, group_sys_flag = pull.topic.topic_sys_flag, pull.group.group_sys_flag
        slave_id = self._slave_id(pull.group)
        return pull_answer(code, result.status.name, result, topic_sys_flag, group_sys_flag, slave_id)

    def _slave_id(self, group: SubscriptionGroupConfig) -> int:
        return group.which_broker_when_consume_slowly if self._config.slave_read_enable else 0

    def _permit(self, pull: Pull, queue: ConsumeQueue) -> PullPermit:
        header = pull.header
        return PullPermit(
            header.consumer_group,
            header.topic,
            queue,
            pull.tags,
            header.sub_version,
            pull.stated,
            pull.topic.topic_sys_flag,
            pull.group.group_sys_flag,
            self._slave_id(pull.group),
            pull.traffic,
        )

    # ---- parked pulls ----

    def grown(self, queues: Iterable[ConsumeQueue]) -> None:
        """Messages have arrived in ``queues``: serve who waits for them."""
        if self.parked.count == 0:
            return
        for queue in queues:
            self.parked.wake(queue, self._serve)

    def _serve(self, queue: ConsumeQueue, pull: Pull) -> bool:
        """Answer a parked pull if there is something for it; True when it is done with."""
        if pull.connection.closed:
            return True
        result = self._look(queue, pull)
        if result is None:
            return True
        code = self._code(pull, result)
        if code == ResponseCode.PULL_NOT_FOUND:
            return False
        pull.connection.reply(pull.command, self._answer(pull, result, code))
        return True

    def _look(self, queue: ConsumeQueue, pull: Pull) -> GetResult | None:
        """What there is for a pull that has waited; None when it was answered with what is wrong."""
        try:
            self._access.renew(pull, self._now_ms())
            result = self._get(pull, queue)
            while result.status is GetStatus.NO_MATCHED_MESSAGE and result.next_offset > pull.offset:
                pull.offset = int(result.next_offset)
                result = self._get(pull, queue)
        except OSError as error:
            remark = f"queue {queue.queue_id} of {queue.topic.decode()!r} cannot be read: {error}"
            pull.connection.reply(pull.command, response(ResponseCode.SYSTEM_ERROR, remark))
        except PeerError as refusal:
            pull.connection.reply(pull.command, response(refusal.code, refusal.remark))
        else:
            return result
        return None

    def expire(self) -> None:
        """Answer the pulls whose wait is over; called once a second."""
        for queue, pull in self.parked.expire(self._monotonic_ms()):
            self._end(queue, pull)

    def _end(self, queue: ConsumeQueue, pull: Pull) -> None:
        if pull.connection.closed:
            return
        result = self._look(queue, pull)
        if result is None:
            return
        code = self._code(pull, result)
        if code == ResponseCode.PULL_NOT_FOUND and pull.offset != pull.header.queue_offset:
            # What came meanwhile matched no tag: the consumer goes on behind it.
            code = ResponseCode.PULL_RETRY_IMMEDIATELY
        pull.connection.reply(pull.command, self._answer(pull, result, code))

    def release(self, queues: Iterable[ConsumeQueue]) -> None:
        """Have everyone who waits for ``queues`` ask again: an operator has reset offsets or deleted the
        topic."""
        for queue in queues:
            self.parked.wake(queue, self._release)

    def _release(self, queue: ConsumeQueue, pull: Pull) -> bool:
        self._end(queue, pull)
        return True
