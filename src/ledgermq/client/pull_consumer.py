"""Consuming messages by asking for them (Java: ``DefaultLitePullConsumer``)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Self

from ledgermq.client.allocation import Allocation, allocate_averagely
from ledgermq.client.callbacks import Callbacks, DirectResult, RunningInfo
from ledgermq.client.errors import ClientError, ClosedError
from ledgermq.client.group_calls import GroupCalls, QueueCalls
from ledgermq.client.names import check_group, check_topic
from ledgermq.client.offset_store import BrokerOffsets
from ledgermq.client.pull_queue import PullQueue
from ledgermq.client.pulling import Puller
from ledgermq.client.queues import MessageQueue
from ledgermq.client.rebalance import Rebalancer
from ledgermq.client.routes import subscribe_queues
from ledgermq.client.session import ConsumerData, Session
from ledgermq.client.settings import require_positive
from ledgermq.client.start_offset import HALF_HOUR_MS, ConsumeFrom, StartOffset
from ledgermq.client.subscription import ALL_TAGS, SubscriptionData, parse_expression
from ledgermq.message.model import MessageExt
from ledgermq.remoting.codes import ResponseCode
from ledgermq.remoting.command import PeerError
from ledgermq.runtime.clock import now_ms

log: Final = logging.getLogger("ledgermq.client")

COMMIT_SECONDS: Final = 5


class PullConsumer:
    """Hands out messages when asked.

    ```python
    async with PullConsumer(group="audit", name_servers="127.0.0.1:9876") as consumer:
        consumer.subscribe("topic", "*")
        async for message in consumer:
            print(message.body)
    ```

    Either :meth:`subscribe`, and the members of the group share the queues, or :meth:`assign` queues of
    one's own choice. What was handed out counts as done when more is asked for, and when the ``async with``
    block ends without an exception; only what is done is committed, so after a failure the messages that
    were being dealt with come again.
    """

    def __init__(
        self,
        group: str,
        name_servers: str | Sequence[str],
        *,
        allocate: Allocation = allocate_averagely,
        consume_from: ConsumeFrom = ConsumeFrom.LAST,
        consume_from_ms: int | None = None,
        auto_commit: bool = True,
        pull_count_max: int = 32,
        cached_count_max: int = 1000,
        cached_bytes_max: int = 100 * 1024 * 1024,
        instance_name: str | None = None,
    ) -> None:
        """``auto_commit`` commits what is done every 5 s and at the end; else :meth:`commit` does. The two
        ``cached`` limits are for each queue. The rest is as for :class:`PushConsumer`."""
        check_group(group)
        require_positive(
            pull_count_max=pull_count_max,
            cached_count_max=cached_count_max,
            cached_bytes_max=cached_bytes_max,
        )
        self.group = group
        self._consume_from = consume_from
        self._auto_commit = auto_commit
        self._cached_count_max = cached_count_max
        self._cached_bytes_max = cached_bytes_max
        self._started_ms = 0
        self._session = Session(name_servers, Callbacks(self).handlers(), instance_name)
        self._session.consumer = self._consumer_data
        calls = GroupCalls(self._session, group)
        self._queue_calls = QueueCalls(self._session)
        self._store = BrokerOffsets(calls)
        begin_ms = now_ms() - HALF_HOUR_MS if consume_from_ms is None else consume_from_ms
        self._start_offset = StartOffset(self._store, self._queue_calls, consume_from, begin_ms)
        self._puller = Puller(self._session, group, count_max=pull_count_max, lite=True)
        self._data: dict[str, SubscriptionData] = {}
        """What is wanted of each topic, earlier ones too: their queues ask until they are given back."""
        self._subscribed: dict[str, None] = {}
        """The topics subscribed to now, in order."""
        self._is_assigned = False
        self._queues: dict[MessageQueue, PullQueue] = {}
        self._arrived = asyncio.Event()
        self._turn = 0
        self._rebalancer = Rebalancer(
            self._session, calls, lambda: list(self._subscribed), allocate, self._apply
        )

    # ---- life ----

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None:
            self._acknowledge()
        await self.close()

    async def start(self) -> None:
        """Reach a name server and begin. Raises UnreachableError when there is none."""
        await self._session.open()
        self._started_ms = now_ms()
        self._session.routes.on_change = lambda topic: self._rebalancer.wake()
        if self._auto_commit:
            self._session.every(COMMIT_SECONDS, lambda: self._store.write(self._done(), wait=False))
        self._session.spawn(self._rebalancer.run())
        for queue in self._queues.values():
            queue.start(self._session, self._puller, self._start_offset, None)

    async def close(self) -> None:
        """Commit what is done (with ``auto_commit``) and leave the group."""
        if not self._session.is_open:
            return
        for queue in self._queues.values():
            queue.stop(self._puller)
        if self._auto_commit:
            await self._store.write(self._done(), wait=True)
        await self._session.close()
        self._arrived.set()

    # ---- which queues ----

    def subscribe(self, topic: str, expression: str = ALL_TAGS) -> None:
        """Share the queues of ``topic`` with the group, and take the messages that ``expression`` selects:
        ``*`` or tags, ``a || b``. Raises IllegalNameError, ValueError; ClientError after :meth:`assign`."""
        check_topic(topic)
        if self._is_assigned:
            raise ClientError("queues were assigned; a consumer either subscribes or is assigned queues")
        self._data[topic] = parse_expression(topic, expression, now_ms())
        self._subscribed[topic] = None
        self._rebalancer.wake(announce=True)

    def unsubscribe(self, topic: str) -> None:
        """Consume ``topic`` no more."""
        self._subscribed.pop(topic, None)
        self._rebalancer.wake(announce=True)

    def assign(self, queues: Iterable[MessageQueue], expression: str = ALL_TAGS) -> None:
        """Read these queues and no others, whatever the rest of the group does.

        Raises ClientError after :meth:`subscribe`.
        """
        if self._subscribed:
            raise ClientError("topics are subscribed to; a consumer either subscribes or is assigned queues")
        wanted = set(queues)
        self._is_assigned = True
        for queue in wanted:
            self._data[queue.topic] = parse_expression(queue.topic, expression, now_ms())
        for queue in set(self._queues) - wanted:
            self._queues.pop(queue).stop(self._puller)
        for queue in sorted(wanted - set(self._queues)):
            self._add(queue)

    @property
    def client_id(self) -> str:
        """By what brokers and the other members know this consumer; empty until it is started."""
        return self._session.client_id

    def assignment(self) -> list[MessageQueue]:
        """The queues that are ours at the moment, sorted."""
        return sorted(self._queues)

    async def queues(self, topic: str) -> list[MessageQueue]:
        """All queues of ``topic`` that can be read. Raises TopicNotFoundError, UnreachableError."""
        self._session.check_open()
        return subscribe_queues(topic, await self._session.routes.get(topic))

    async def _apply(self, topic: str, share: list[MessageQueue]) -> bool:
        for queue in [queue for queue in self._queues if queue.topic == topic and queue not in share]:
            log.info("%s is not ours any more", queue)
            leaving = self._queues.pop(queue)
            leaving.stop(self._puller)
            if leaving.prefetch is not None and self._auto_commit:
                await self._store.write({queue: leaving.prefetch.done}, wait=True)
        for queue in share:
            if queue not in self._queues:
                log.info("%s is ours", queue)
                self._add(queue)
        return True

    def _add(self, queue: MessageQueue) -> None:
        self._queues[queue] = PullQueue(
            queue,
            lambda: self._data[queue.topic],
            self._arrived,
            count_max=self._cached_count_max,
            bytes_max=self._cached_bytes_max,
        )
        if self._session.is_open:
            self._queues[queue].start(self._session, self._puller, self._start_offset, None)

    # ---- messages ----

    async def poll(self, timeout_ms: int = 5000, count_max: int = 100) -> list[MessageExt]:
        """The next messages, at most ``count_max``; none when there is none within ``timeout_ms``.

        What earlier calls returned counts as done now. Raises ClosedError.
        """
        self._session.check_open()
        self._acknowledge()
        messages = self._take(count_max)
        if messages:
            return messages
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                while not messages:
                    self._arrived.clear()
                    await self._arrived.wait()
                    self._session.check_open()
                    messages = self._take(count_max)
        except TimeoutError:
            return []
        return messages

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> MessageExt:
        """The next message; the one before counts as done now. Ends when the consumer is closed."""
        while True:
            try:
                messages = await self.poll(count_max=1)
            except ClosedError:
                raise StopAsyncIteration from None
            if messages:
                return messages[0]

    def _take(self, count: int) -> list[MessageExt]:
        """Messages of all queues in turn, so that a full one does not starve the others."""
        queues = list(self._queues.values())
        taken: list[MessageExt] = []
        for step in range(len(queues)):
            if len(taken) == count:
                break
            taken += queues[(self._turn + step) % len(queues)].take(count - len(taken))
        self._turn += 1
        return taken

    def _acknowledge(self) -> None:
        for queue in self._queues.values():
            if queue.prefetch is not None:
                queue.prefetch.acknowledge()

    # ---- offsets ----

    async def commit(self) -> None:
        """Commit everything that was handed out, and wait until the brokers have stored it.

        A failure is logged, and made good by the next commit.
        """
        self._session.check_open()
        self._acknowledge()
        await self._store.write(self._done(), wait=True)

    async def committed(self, queue: MessageQueue) -> int | None:
        """The offset that the group committed; None when it never did. Raises ClientError."""
        self._session.check_open()
        return await self._store.read(queue)

    def position(self, queue: MessageQueue) -> int | None:
        """The offset of the next message to hand out; None while it is not known, or not our queue."""
        held = self._queues.get(queue)
        return held.prefetch.position if held is not None and held.prefetch is not None else None

    async def seek(self, queue: MessageQueue, offset: int) -> None:
        """Go on with ``queue`` at ``offset``, back or forth.

        Raises ClientError when the queue is not ours or does not have the offset.
        """
        begin, end = await self.begin_offset(queue), await self.end_offset(queue)
        if not begin <= offset <= end:
            raise ClientError(f"offset {offset} is not in {begin}..{end}, which {queue} has")
        self._restart(queue, offset)

    async def seek_to_begin(self, queue: MessageQueue) -> None:
        """Go on with the oldest message of ``queue``. Raises ClientError."""
        self._restart(queue, await self.begin_offset(queue))

    async def seek_to_end(self, queue: MessageQueue) -> None:
        """Go on with what comes into ``queue`` from now on. Raises ClientError."""
        self._restart(queue, await self.end_offset(queue))

    async def begin_offset(self, queue: MessageQueue) -> int:
        """The offset of the oldest message of ``queue``. Raises ClientError."""
        self._session.check_open()
        return await self._queue_calls.min_offset(queue)

    async def end_offset(self, queue: MessageQueue) -> int:
        """The offset that the next message of ``queue`` will have. Raises ClientError."""
        self._session.check_open()
        return await self._queue_calls.max_offset(queue)

    async def offsets_for_time(
        self, queues: Iterable[MessageQueue], timestamp_ms: int
    ) -> dict[MessageQueue, int]:
        """For each queue, the offset of the first message stored at or after ``timestamp_ms``."""
        self._session.check_open()
        wanted = list(queues)
        found = await asyncio.gather(
            *(self._queue_calls.offset_for_time(queue, timestamp_ms) for queue in wanted)
        )
        return dict(zip(wanted, found, strict=True))

    def pause(self, queues: Iterable[MessageQueue]) -> None:
        """Hand out nothing of these queues until :meth:`resume`; pulling goes on up to the cache limits."""
        for queue in queues:
            self._held(queue).paused = True

    def resume(self, queues: Iterable[MessageQueue]) -> None:
        """Hand out messages of these queues again."""
        for queue in queues:
            self._held(queue).paused = False
        self._arrived.set()

    def _held(self, queue: MessageQueue) -> PullQueue:
        held = self._queues.get(queue)
        if held is None:
            raise ClientError(f"{queue} is not assigned to this consumer at the moment")
        return held

    def _restart(self, queue: MessageQueue, offset: int) -> None:
        self._held(queue).start(self._session, self._puller, self._start_offset, offset)

    def _done(self) -> dict[MessageQueue, int]:
        return {
            queue: held.prefetch.done for queue, held in self._queues.items() if held.prefetch is not None
        }

    # ---- what brokers ask ----

    def _consumer_data(self) -> ConsumerData:
        return ConsumerData(
            self.group,
            "CONSUME_ACTIVELY",
            "CLUSTERING",
            self._consume_from.value,
            self._subscription_data(),
        )

    def _subscription_data(self) -> list[SubscriptionData]:
        return [self._data[topic] for topic in self._subscribed]

    def rebalance_now(self) -> None:
        """The members of the group changed."""
        self._rebalancer.wake()

    def reset_offsets(self, offsets: Mapping[MessageQueue, int]) -> None:
        """An operator sets the group's offsets."""
        for queue, offset in offsets.items():
            if queue in self._queues:
                log.info("offset of %s is reset to %d", queue, offset)
                self._restart(queue, offset)

    def offsets(self, topic: str) -> dict[MessageQueue, int]:
        """How far our queues of ``topic`` are consumed."""
        return {queue: offset for queue, offset in self._done().items() if queue.topic == topic}

    def running_info(self) -> RunningInfo:
        """How we are doing."""
        properties = {
            "PROP_NAMESERVER_ADDR": ";".join(self._session.name_servers.addresses),
            "PROP_CONSUME_TYPE": "CONSUME_ACTIVELY",
            "PROP_CLIENT_VERSION": "V5_5_0",
            "PROP_CONSUMER_START_TIMESTAMP": str(self._started_ms),
        }
        queues = {queue: held.info() for queue, held in self._queues.items()}
        return RunningInfo(properties, self._subscription_data(), queues, {})

    async def consume_directly(self, message: MessageExt) -> DirectResult:
        """There is no listener that could consume it."""
        raise PeerError(ResponseCode.SYSTEM_ERROR, f"group {self.group} pulls, it has no listener")
