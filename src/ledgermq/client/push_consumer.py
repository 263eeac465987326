"""Consuming messages by listeners: the client pulls, balances the load, retries and commits."""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

from ledgermq.client.allocation import Allocation, allocate_averagely
from ledgermq.client.callbacks import Callbacks, DirectResult, RunningInfo
from ledgermq.client.consume_stats import ConsumeStats
from ledgermq.client.failed_messages import FailedMessages
from ledgermq.client.group_calls import GroupCalls, QueueCalls
from ledgermq.client.listening import (
    BatchListener,
    Listener,
    RetryLater,
    Subscription,
    Subscriptions,
    consume,
)
from ledgermq.client.names import check_group, check_topic
from ledgermq.client.offset_store import BrokerOffsets, FileOffsets
from ledgermq.client.offsets import OffsetTable
from ledgermq.client.pulling import Puller
from ledgermq.client.push_queue import (
    ConsumeLimits,
    Consumption,
)
from ledgermq.client.push_queues import PushQueues
from ledgermq.client.queues import MessageQueue
from ledgermq.client.rebalance import Rebalancer
from ledgermq.client.sender import Sender
from ledgermq.client.session import ConsumerData, Session
from ledgermq.client.settings import require_positive
from ledgermq.client.start_offset import HALF_HOUR_MS, ConsumeFrom, StartOffset
from ledgermq.client.subscription import ALL_TAGS, parse_expression
from ledgermq.message.model import MessageExt
from ledgermq.runtime.clock import now_ms

log: Final = logging.getLogger("ledgermq.client")

RECONSUME_TIMES_MAX: Final = 16
RETRY_ATTEMPTS_MAX: Final = 3


class MessageModel(enum.Enum):
    """Whether the members of a group share the messages, or each of them gets all."""

    CLUSTERING = "CLUSTERING"
    BROADCASTING = "BROADCASTING"


class PushConsumer:
    """Calls listeners with messages.

    ```python
    async def listener(message: MessageExt) -> None: ...

    async with PushConsumer(group="orders", name_servers="127.0.0.1:9876") as consumer:
        consumer.subscribe("topic", "a || b", listener)
        await asyncio.Event().wait()
    ```

    A message is done when its listener returns. When the listener raises, the message comes again: by way
    of the group's retry topic and, after ``reconsume_times_max`` times, to its dead-letter topic; with
    ``ordered``, the queue waits for it instead. A message may be seen twice, when a member of the group
    comes, goes or crashes; it is not lost.
    """

    def __init__(
        self,
        group: str,
        name_servers: str | Sequence[str],
        *,
        ordered: bool = False,
        model: MessageModel = MessageModel.CLUSTERING,
        allocate: Allocation = allocate_averagely,
        consume_from: ConsumeFrom = ConsumeFrom.LAST,
        consume_from_ms: int | None = None,
        concurrency_max: int = 20,
        pull_count_max: int = 32,
        cached_count_max: int = 1000,
        cached_bytes_max: int = 100 * 1024 * 1024,
        offset_span_max: int = 2000,
        reconsume_times_max: int | None = None,
        timeout_seconds: float = 900.0,
        suspend_ms: int = 1000,
        close_seconds: float = 5.0,
        instance_name: str | None = None,
        offsets_path: Path | None = None,
    ) -> None:
        """``ordered`` consumes each queue's messages one after the other, by one member at a time.

        ``allocate`` shares the queues out; all members of a group must use the same. ``consume_from`` says
        where a new group begins, at ``consume_from_ms`` with ConsumeFrom.TIME (default: half an hour ago).
        ``concurrency_max`` listeners run at a time. The three ``cached`` and ``span`` limits are for each
        queue. ``reconsume_times_max`` is 16 and unlimited when ordered. A listener is cancelled after
        ``timeout_seconds``, and its message comes again. ``suspend_ms`` is how long an ordered queue waits
        after a failure. ``close_seconds`` is what listeners at work are given at the end.

        In broadcasting, offsets are kept in ``offsets_path``, by default where Java keeps them:
        ``~/.rocketmq_offsets/<client id>/<group>/offsets.json``, with ``instance_name`` in the client id.
        Raises IllegalNameError or ValueError.
        """
        check_group(group)
        require_positive(
            concurrency_max=concurrency_max,
            pull_count_max=pull_count_max,
            cached_count_max=cached_count_max,
            cached_bytes_max=cached_bytes_max,
            offset_span_max=offset_span_max,
            timeout_seconds=timeout_seconds,
        )
        self.group = group
        self._ordered = ordered
        self._model = model
        self._clustering = model is MessageModel.CLUSTERING
        self._consume_from = consume_from
        self._concurrency_max = concurrency_max
        self._close_seconds = close_seconds
        self._offsets_path = offsets_path
        self._started_ms = 0
        if not self._clustering and instance_name is None:
            instance_name = "DEFAULT"
        self._session = Session(name_servers, Callbacks(self).handlers(), instance_name)
        self._session.consumer = self._consumer_data
        calls = GroupCalls(self._session, group)
        if reconsume_times_max is None:
            reconsume_times_max = 2**31 - 1 if ordered else RECONSUME_TIMES_MAX
        self._store = BrokerOffsets(calls) if self._clustering else FileOffsets()
        self._subscriptions = Subscriptions(group, has_retry_topic=self._clustering)
        sender = Sender(self._session, group, RETRY_ATTEMPTS_MAX)
        queue_calls = QueueCalls(self._session)
        begin_ms = now_ms() - HALF_HOUR_MS if consume_from_ms is None else consume_from_ms
        self._consumption = Consumption(
            puller=Puller(self._session, group, count_max=pull_count_max, lite=False),
            subscriptions=self._subscriptions,
            offsets=OffsetTable(),
            start_offset=StartOffset(self._store, queue_calls, consume_from, begin_ms),
            failed=FailedMessages(calls, sender, group, reconsume_times_max) if self._clustering else None,
            limits=ConsumeLimits(
                cached_count_max,
                cached_bytes_max,
                # Ordered messages are consumed in turn, so the queue cannot run ahead.
                2**63 if ordered else offset_span_max,
                timeout_seconds,
                suspend_ms,
                reconsume_times_max,
            ),
            stats=ConsumeStats(),
            spawn=self._session.spawn,
        )
        self._queues = PushQueues(
            calls,
            self._store,
            self._consumption,
            concurrency_max=concurrency_max,
            ordered=ordered,
            needs_locks=ordered and self._clustering,
        )
        self._rebalancer = Rebalancer(
            self._session,
            calls,
            self._subscriptions.topics,
            allocate if self._clustering else None,
            self._queues.apply,
        )
        self._rebalancing: asyncio.Task[None] | None = None

    # ---- life ----

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Reach a name server and begin. Raises UnreachableError when there is none."""
        await self._session.open()
        if isinstance(self._store, FileOffsets):
            try:
                await self._store.open(self._offsets_path or self._java_offsets_path())
            except BaseException:  # being cancelled too
                await self._session.close()
                raise
        self._started_ms = now_ms()
        self._session.routes.on_change = lambda topic: self._rebalancer.wake()
        self._queues.start(self._session)
        self._rebalancing = self._session.spawn(self._rebalancer.run())

    def _java_offsets_path(self) -> Path:
        return Path.home() / ".rocketmq_offsets" / self._session.client_id / self.group / "offsets.json"

    async def close(self) -> None:
        """Stop pulling, let listeners at work finish for ``close_seconds``, commit, leave the group."""
        if not self._session.is_open or self._rebalancing is None:
            return
        self._rebalancing.cancel()
        await asyncio.wait((self._rebalancing,))
        await self._queues.close(self._close_seconds)
        await self._session.close()

    # ---- what the application asks ----

    def subscribe(self, topic: str, expression: str, listener: Listener) -> None:
        """Have ``listener`` called with each message of ``topic`` that ``expression`` selects.

        ``expression`` is ``*`` for all, or tags: ``a || b``. All members of a group must have the same
        subscriptions. May be called at any time, again too. Raises IllegalNameError or ValueError.
        """

        async def one(messages: Sequence[MessageExt]) -> object:
            return await listener(messages[0])

        self.subscribe_batch(topic, expression, one, count_max=1)

    def subscribe_batch(
        self, topic: str, expression: str, listener: BatchListener, *, count_max: int
    ) -> None:
        """Like :meth:`subscribe`, with up to ``count_max`` messages of one queue in each call."""
        check_topic(topic)
        require_positive(count_max=count_max)
        data = parse_expression(topic, expression or ALL_TAGS, now_ms())
        self._subscriptions.add(Subscription(data, listener, count_max))
        self._rebalancer.wake(announce=True)

    def unsubscribe(self, topic: str) -> None:
        """Consume ``topic`` no more."""
        self._subscriptions.remove(topic)
        self._queues.stop_listening(topic)
        self._rebalancer.wake(announce=True)

    async def commit(self) -> None:
        """Store the offsets of what is done now, instead of within 5 s. A failure is logged."""
        self._session.check_open()
        await self._queues.commit(wait=True)

    def pause(self) -> None:
        """Pull no more until :meth:`resume`; what was pulled is still consumed."""
        self._queues.set_paused(True)

    def resume(self) -> None:
        """Go on pulling."""
        self._queues.set_paused(False)

    @property
    def client_id(self) -> str:
        """By what brokers and the other members know this consumer; empty until it is started."""
        return self._session.client_id

    def assignment(self) -> list[MessageQueue]:
        """The queues that are ours at the moment, sorted."""
        return sorted(self._queues.held)

    def _consumer_data(self) -> ConsumerData:
        return ConsumerData(
            self.group,
            "CONSUME_PASSIVELY",
            self._model.value,
            self._consume_from.value,
            self._subscriptions.all_data(),
        )

    # ---- what brokers ask ----

    def rebalance_now(self) -> None:
        """The members of the group changed."""
        self._rebalancer.wake()

    def reset_offsets(self, offsets: Mapping[MessageQueue, int]) -> None:
        """An operator sets the group's offsets."""
        for queue, offset in offsets.items():
            held = self._queues.held.get(queue)
            if held is not None:
                log.info("offset of %s is reset to %d", queue, offset)
                held.restart(offset)

    def offsets(self, topic: str) -> dict[MessageQueue, int]:
        """How far our queues of ``topic`` are consumed."""
        return self._consumption.offsets.snapshot(topic)

    def running_info(self) -> RunningInfo:
        """How we are doing."""
        properties = {
            "PROP_NAMESERVER_ADDR": ";".join(self._session.name_servers.addresses),
            "PROP_CONSUME_TYPE": "CONSUME_PASSIVELY",
            "PROP_CLIENT_VERSION": "V5_5_0",
            "PROP_CONSUMEORDERLY": "true" if self._ordered else "false",
            "PROP_THREADPOOL_CORE_SIZE": str(self._concurrency_max),
            "PROP_CONSUMER_START_TIMESTAMP": str(self._started_ms),
        }
        data = self._subscriptions.all_data()
        queues = {queue: held.info() for queue, held in self._queues.held.items()}
        status = {one.topic: self._consumption.stats.status(one.topic, now_ms()) for one in data}
        return RunningInfo(properties, data, queues, status)

    async def consume_directly(self, message: MessageExt) -> DirectResult:
        """An operator has the listener try ``message``; whatever comes of it, nothing is committed."""
        begin_ms = now_ms()
        error = await consume(self._subscriptions, [message], self._consumption.limits.timeout_seconds)
        if error is None:
            result, remark = "CR_SUCCESS", None
        elif isinstance(error, RetryLater):
            result, remark = "CR_LATER", None
        else:
            result, remark = "CR_THROW_EXCEPTION", f"{type(error).__name__}: {error}"
        return DirectResult(self._ordered, True, result, remark, now_ms() - begin_ms)
