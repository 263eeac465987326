"""The hot path of pulling: a frame in, records found, the answer out, in one compiled call.

Taken here are the pulls that repeat one that the general way of :mod:`ledgermq.broker.pull` has allowed: of
the same group, queue and subscription, while nothing has changed that this depended on, and that find
messages. Everything else (the first pull, what finds nothing and waits, cold data, a reset, errors) returns
False, with nothing done, and takes the general way. Both ways answer with :func:`pull_answer`.

Rules of this file: it is compiled; nothing here decides who may pull or explains an error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mypy_extensions import i64

from ledgermq.broker.heartbeat import SubscriptionData
from ledgermq.broker.offsets import OffsetTable
from ledgermq.broker.pull_frame import PullFrame
from ledgermq.broker.traffic import Traffic
from ledgermq.remoting.codes import FLAG_ONEWAY, FLAG_RESPONSE
from ledgermq.remoting.command import Command
from ledgermq.remoting.connection import Connection, FastPath
from ledgermq.runtime.limits import PULL_PERMITS_MAX
from ledgermq.store.consume_queue import ConsumeQueue
from ledgermq.store.reading import GetResult, MessageReader

_COMPILED: Final = not __file__.endswith(".py")

SYS_COMMIT_OFFSET: Final[i64] = 1
SYS_SUBSCRIPTION: Final[i64] = 4
PULL_BYTES_MAX: Final[i64] = 128 * 1024 * 1024
"""What a pull that states no limit may take, before the broker's own limits (Java: ``MAX_PULL_MSG_SIZE``)."""
SUCCESS: Final = 0
ALL_TAGS: Final = b"*"

Key = tuple[bytes, bytes, int, bytes | None]
"""Group, topic, queue id, and the subscription of a pull that carries it."""


def pull_answer(
    code: int, remark: str, result: GetResult, topic_sys_flag: int, group_sys_flag: int, slave_id: int
) -> Command:
    """The answer to a pull (Java: ``PullMessageResponseHeader``). ``slave_id``: the broker that consumers far
    behind are to ask next."""
    answer = Command(code)
    answer.flag = FLAG_RESPONSE
    answer.remark = remark
    answer.ext = {
        "suggestWhichBrokerId": str(slave_id) if result.suggest_slave else "0",
        "nextBeginOffset": str(result.next_offset),
        "minOffset": str(result.min_offset),
        "maxOffset": str(result.max_offset),
        "topicSysFlag": str(topic_sys_flag),
        "groupSysFlag": str(group_sys_flag),
    }
    answer.body = result.payload
    return answer


class PullPermit:
    """What the general way has found out about a pull that it allowed.

    ``tags`` are the tag codes wanted, None for all; ``sub_version`` is that of the subscription, which is
    ``stated`` when the pull itself carries it and is to be remembered.
    """

    def __init__(
        self,
        group: str,
        topic: str,
        queue: ConsumeQueue,
        tags: frozenset[int] | None,
        sub_version: int,
        stated: SubscriptionData | None,
        topic_sys_flag: int,
        group_sys_flag: int,
        slave_id: int,
        traffic: Traffic,
    ) -> None:
        self.group: str = group
        self.topic: str = topic
        self.queue: ConsumeQueue = queue
        self.tags: frozenset[int] | None = tags
        self.sub_version: i64 = sub_version
        self.stated: SubscriptionData | None = stated
        self.topic_sys_flag: int = topic_sys_flag
        self.group_sys_flag: int = group_sys_flag
        self.slave_id: int = slave_id
        self.traffic: Traffic = traffic


class PullPath(FastPath):
    """Answers pulls that were allowed before.

    ``version`` changes with everything that a permit depends on; ``remember`` notes a subscription that a
    pull carried (:meth:`ClientRegistry.compensate`).
    """

    def __init__(
        self,
        reader: MessageReader,
        offsets: OffsetTable,
        version: Callable[[], int],
        remember: Callable[[str, str, SubscriptionData, int], None],
        now_ms: Callable[[], int],
    ) -> None:
        self._reader: MessageReader = reader
        self._offsets: OffsetTable = offsets
        self._version: Callable[[], int] = version
        self._remember: Callable[[str, str, SubscriptionData, int], None] = remember
        self._now_ms: Callable[[], int] = now_ms
        self._frame: PullFrame = PullFrame()
        self._permits: dict[Key, PullPermit] = {}
        self._permits_version: int = -1
        """The version at which ``_permits`` were given."""

    def allow(self, permit: PullPermit) -> None:
        """The general way has just allowed this."""
        version = self._version()
        if version != self._permits_version or len(self._permits) >= PULL_PERMITS_MAX:
            self._permits.clear()
            self._permits_version = version
        stated = permit.stated
        subscription = None if stated is None else (stated.sub_string or "").encode()
        group, topic = permit.group.encode(), permit.topic.encode()
        self._permits[(group, topic, int(permit.queue.queue_id), subscription)] = permit

    def forget(self) -> None:
        """Settings have changed: each next pull takes the general way."""
        self._permits.clear()

    def take(self, connection: Connection, frame: bytes, at: i64, end: i64) -> bool:
        pull = self._frame
        if not _COMPILED or not pull.read(frame, at, end) or pull.flag & (FLAG_ONEWAY | FLAG_RESPONSE) != 0:
            return False
        permit = self._permit()
        if permit is None:
            return False
        offsets = self._offsets
        if offsets.reset_pending(permit.group, permit.topic, pull.queue_id):
            return False
        count_max: i64 = pull.max_msg_nums if pull.max_msg_nums > 1 else 1
        bytes_max: i64 = pull.max_msg_bytes if pull.max_msg_bytes != 0 else PULL_BYTES_MAX
        try:
            result = self._reader.get(permit.queue, pull.queue_offset, count_max, bytes_max, permit.tags)
        except OSError:
            return False
        if result.count == 0:
            return False
        self._note(permit, result)
        answer = pull_answer(
            SUCCESS, "FOUND", result, permit.topic_sys_flag, permit.group_sys_flag, permit.slave_id
        )
        answer.opaque = pull.opaque
        answer.binary = pull.binary
        connection.send(answer)
        return True

    def _permit(self) -> PullPermit | None:
        """What allows the pull that was just read."""
        pull = self._frame
        if self._version() != self._permits_version:
            return None
        states: bool = pull.sys_flag & SYS_SUBSCRIPTION != 0
        subscription: bytes | None = None
        if states:
            subscription = pull.subscription if len(pull.subscription) > 0 else ALL_TAGS
        permit = self._permits.get((pull.consumer_group, pull.topic, int(pull.queue_id), subscription))
        if permit is None or permit.queue.deleted or pull.sub_version > permit.sub_version:
            return None
        if states and (not pull.by_tag or pull.sub_version != permit.sub_version):
            return None
        return permit

    def _note(self, permit: PullPermit, result: GetResult) -> None:
        """What the general way notes of such a pull."""
        pull = self._frame
        queue_id = int(pull.queue_id)
        stated = permit.stated
        now_ms = self._now_ms()
        if stated is not None:
            self._remember(permit.group, permit.topic, stated, now_ms)
        if pull.sys_flag & SYS_COMMIT_OFFSET != 0 and pull.commit_offset >= 0:
            self._offsets.commit(permit.group, permit.topic, queue_id, pull.commit_offset, now_ms)
        self._offsets.commit_pulled(permit.group, permit.topic, queue_id, int(result.next_offset))
        permit.traffic.add(result.count, len(result.payload))
