"""One queue of a push consumer, with messages, broker and clock in the test's hands: no network."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
from tests.integration.client.world import until
from tests.unit.client.messages import received

from ledgermq.client import unordered_queue
from ledgermq.client.consume_stats import ConsumeStats
from ledgermq.client.errors import ClientError
from ledgermq.client.listening import RetryLater, Subscription, Subscriptions
from ledgermq.client.offsets import OffsetTable
from ledgermq.client.ordered_queue import BROKER_LOCK_LIFE_MS, OrderedQueue
from ledgermq.client.pulling import PullResult, PullStatus
from ledgermq.client.push_queue import ConsumeLimits, Consumption
from ledgermq.client.queues import MessageQueue
from ledgermq.client.subscription import SubscriptionData, parse_expression
from ledgermq.client.unordered_queue import Batch, UnorderedQueue
from ledgermq.message.model import MessageExt
from ledgermq.runtime.clock import now_ms

QUEUE = MessageQueue("topic", "broker", 0)


class FakeBroker:
    """Puller, start offset and failed-message desk in one. ``stored`` is what the queue has."""

    def __init__(self, count: int) -> None:
        self.stored = [received(offset, b"%d" % offset) for offset in range(count)]
        self.committed = 0
        self.min_offset = 0
        self.takes_back = True
        self.handed_over: list[int] = []
        self.dead: list[int] = []
        self.more = asyncio.Event()

    async def pull(
        self, queue: MessageQueue, offset: int, subscription: SubscriptionData, commit_offset: int | None
    ) -> PullResult:
        await asyncio.sleep(0)
        if offset < self.min_offset:
            return PullResult(PullStatus.OFFSET_MOVED, [], self.min_offset, self.min_offset, len(self.stored))
        while offset >= len(self.stored):
            self.more.clear()
            await self.more.wait()
        messages = [received(one.queue_offset, one.raw_body) for one in self.stored[offset : offset + 10]]
        return PullResult(PullStatus.FOUND, messages, offset + len(messages), 0, len(self.stored))

    def forget(self, queue: MessageQueue) -> None:
        pass

    async def doubt(self, queue: MessageQueue) -> None:
        pass

    async def find(self, queue: MessageQueue) -> int:
        return self.committed

    async def hand_over(self, queue: MessageQueue, message: MessageExt, delay_level: int) -> bool:
        self.handed_over.append(message.queue_offset)
        return self.takes_back

    async def send_anew(self, message: MessageExt) -> bool:
        self.dead.append(message.queue_offset)
        return self.takes_back


class Listening:
    """A listener whose calls end when the test says so."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.at_work: dict[int, asyncio.Future[None]] = {}
        self.automatic = False
        self.fails: Callable[[int], Exception | None] = lambda offset: None

    async def __call__(self, messages: Sequence[MessageExt]) -> None:
        (message,) = messages
        offset = message.queue_offset
        self.seen.append(offset)
        if not self.automatic:
            future = self.at_work[offset] = asyncio.get_running_loop().create_future()
            try:
                await future
            finally:
                if self.at_work.get(offset) is future:
                    del self.at_work[offset]
        error = self.fails(offset)
        if error is not None:
            raise error

    def finish(self, *offsets: int) -> None:
        for offset in offsets:
            self.at_work[offset].set_result(None)


class Bench:
    def __init__(self, broker: FakeBroker, listening: Listening, **limits: Any) -> None:
        self.broker = broker
        self.offsets = OffsetTable()
        self.tasks: set[asyncio.Task[None]] = set()
        self.work: asyncio.Queue[Batch] = asyncio.Queue()
        subscriptions = Subscriptions("group", has_retry_topic=True)
        subscriptions.add(Subscription(parse_expression("topic", "*", 1), listening, 1))
        settings: dict[str, Any] = {
            "cached_count_max": 100,
            "cached_bytes_max": 10**9,
            "offset_span_max": 1000,
            "timeout_seconds": 60.0,
            "suspend_ms": 1,
            "reconsume_times_max": 2,
        }
        fake: Any = broker
        self.consumption = Consumption(
            puller=fake,
            subscriptions=subscriptions,
            offsets=self.offsets,
            start_offset=fake,
            failed=fake,
            limits=ConsumeLimits(**(settings | limits)),
            stats=ConsumeStats(),
            spawn=self.spawn,
        )

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        return task

    async def _worker(self) -> None:
        while True:
            batch = await self.work.get()
            await batch.queue.consume(batch)

    def unordered(self, workers: int = 4) -> UnorderedQueue:
        queue = UnorderedQueue(QUEUE, self.consumption, self.work)
        for _ in range(workers):
            self.spawn(self._worker())
        queue.start()
        return queue

    def ordered(self) -> OrderedQueue:
        queue = OrderedQueue(QUEUE, self.consumption, asyncio.Semaphore(4), needs_lock=True)
        queue.start()
        return queue

    def committed(self) -> int | None:
        return self.offsets.get(QUEUE)

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        results = await asyncio.gather(*self.tasks, return_exceptions=True)
        bugs = [one for one in results if isinstance(one, Exception)]
        assert bugs == []


def run(test: Callable[[Bench, Listening], Coroutine[Any, Any, None]], count: int = 4, **limits: Any) -> None:
    async def main() -> None:
        listening = Listening()
        bench = Bench(FakeBroker(count), listening, **limits)
        try:
            async with asyncio.timeout(10):
                await test(bench, listening)
        finally:
            await bench.end()

    asyncio.run(main())


async def settle() -> None:
    """Let everything happen that can."""
    for _ in range(30):
        await asyncio.sleep(0)


def test_the_offset_waits_for_the_slowest() -> None:
    async def test(bench: Bench, listening: Listening) -> None:
        bench.unordered()
        await until(lambda: len(listening.at_work) == 4)
        listening.finish(1, 2, 3)
        await settle()
        assert bench.committed() == 0
        listening.finish(0)
        await settle()
        assert bench.committed() == 4

    run(test)


def test_failed_messages_are_handed_over_and_done_with() -> None:
    async def test(bench: Bench, listening: Listening) -> None:
        listening.automatic = True
        listening.fails = lambda offset: RetryLater() if offset % 2 else None
        bench.unordered()
        await until(lambda: bench.committed() == 4)
        assert sorted(bench.broker.handed_over) == [1, 3]

    run(test)


def test_a_message_that_no_broker_takes_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unordered_queue, "KEPT_RETRY_SECONDS", 0.01)

    async def test(bench: Bench, listening: Listening) -> None:
        listening.automatic = True
        listening.fails = lambda offset: ValueError("no") if offset == 1 else None
        bench.broker.takes_back = False
        bench.unordered()
        await until(lambda: listening.seen.count(1) >= 3)
        assert bench.committed() == 1
        bench.broker.takes_back = True
        await until(lambda: bench.committed() == 4)

    run(test)


def test_results_of_an_ended_generation_do_not_count() -> None:
    async def test(bench: Bench, listening: Listening) -> None:
        queue = bench.unordered(workers=8)
        await until(lambda: len(listening.at_work) == 4)
        queue.restart(2)  # an operator resets the offset while listeners are at work
        old = dict(listening.at_work)
        await until(lambda: listening.seen.count(2) == 2)
        assert bench.committed() == 2
        for future in old.values():
            if not future.done():
                future.set_result(None)
        await settle()
        assert bench.committed() == 2
        listening.finish(2, 3)
        await until(lambda: bench.committed() == 4)
        assert bench.broker.handed_over == []

    run(test)


def test_the_broker_moves_the_offset() -> None:
    async def test(bench: Bench, listening: Listening) -> None:
        listening.automatic = True
        bench.broker.min_offset = 2
        bench.unordered()
        await until(lambda: bench.committed() == 4)
        assert sorted(listening.seen) == [2, 3]

    run(test)


def test_stopping_waits_for_listeners_at_work_and_counts_them() -> None:
    async def test(bench: Bench, listening: Listening) -> None:
        queue = bench.unordered(workers=2)
        await until(lambda: len(listening.at_work) == 2)
        stopping = asyncio.ensure_future(queue.stop(10))
        await settle()
        assert not stopping.done()
        listening.finish(0, 1)
        await stopping
        assert bench.committed() == 2
        assert sorted(listening.seen) == [0, 1]  # the other two are left to the queue's next reader

    run(test)


def test_stopping_does_not_wait_for_ever() -> None:
    async def test(bench: Bench, listening: Listening) -> None:
        queue = bench.unordered()
        await until(lambda: len(listening.at_work) == 4)
        await queue.stop(0.01)
        listening.finish(0, 1, 2, 3)
        await settle()
        assert bench.committed() == 0

    run(test)


def test_pulling_goes_on_when_there_is_room() -> None:
    async def test(bench: Bench, listening: Listening) -> None:
        queue = bench.unordered(workers=1)
        await until(lambda: queue.messages.count == 20)
        await settle()
        assert queue.messages.count == 20  # no third pull while 15 or more are at hand
        listening.automatic = True
        listening.finish(0)
        await until(lambda: bench.committed() == 100)

    run(test, count=100, cached_count_max=15)


def test_ordered_messages_wait_for_the_lock_and_go_one_by_one() -> None:
    async def test(bench: Bench, listening: Listening) -> None:
        queue = bench.ordered()
        await settle()
        assert listening.seen == []
        bench.broker.committed = 1  # by who had the lock before
        queue.set_lock(True, now_ms())
        for expected in (1, 2, 3):
            await until(lambda: bool(listening.at_work))
            assert list(listening.at_work) == [expected]
            listening.finish(expected)
            await settle()
        await until(lambda: bench.committed() == 4)
        assert listening.seen == [1, 2, 3]

    run(test)


def test_an_ordered_message_that_fails_is_next_again() -> None:
    async def test(bench: Bench, listening: Listening) -> None:
        listening.automatic = True
        listening.fails = lambda offset: RetryLater() if offset == 1 and listening.seen.count(1) < 3 else None
        bench.ordered().set_lock(True, now_ms())
        await until(lambda: bench.committed() == 4)
        assert listening.seen == [0, 1, 1, 1, 2, 3]
        assert bench.broker.dead == []

    run(test)


def test_an_ordered_message_that_fails_too_often_lets_the_next_pass() -> None:
    async def test(bench: Bench, listening: Listening) -> None:
        listening.automatic = True
        listening.fails = lambda offset: ValueError("no") if offset == 1 else None
        bench.ordered().set_lock(True, now_ms())
        await until(lambda: bench.committed() == 4)
        assert listening.seen == [0, 1, 1, 1, 2, 3]
        assert bench.broker.dead == [1]

    run(test)


def test_a_lost_lock_ends_the_generation() -> None:
    async def test(bench: Bench, listening: Listening) -> None:
        queue = bench.ordered()
        queue.set_lock(True, now_ms())
        await until(lambda: list(listening.at_work) == [0])
        queue.set_lock(False, now_ms())
        assert queue.locked_ms == 0
        bench.broker.committed = 2  # by who has it now
        queue.set_lock(True, now_ms())
        await settle()
        # The old listener is still at work, and of one queue never two are.
        assert listening.seen == [0]
        listening.finish(0)
        await until(lambda: list(listening.at_work) == [2])
        assert bench.committed() == 2

    run(test)


def test_a_lock_confirmed_too_late_may_have_been_somebody_elses() -> None:
    async def test(bench: Bench, listening: Listening) -> None:
        queue = bench.ordered()
        long_ago_ms = now_ms() - BROKER_LOCK_LIFE_MS - 1
        queue.set_lock(True, now_ms())
        await until(lambda: list(listening.at_work) == [0])
        queue.locked_ms = long_ago_ms
        listening.finish(0)
        await settle()
        assert listening.seen == [0]  # nothing is begun under a lock that is not confirmed
        bench.broker.committed = 3
        queue.set_lock(True, now_ms())
        await until(lambda: list(listening.at_work) == [3])

    run(test)


def test_an_unknown_start_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledgermq.client.push_queue.START_RETRY_SECONDS", 0.001)

    async def test(bench: Bench, listening: Listening) -> None:
        answers: list[ClientError | int] = [ClientError("not now"), ClientError("not now"), 2]

        async def find(queue: MessageQueue) -> int:
            answer = answers.pop(0)
            if isinstance(answer, ClientError):
                raise answer
            return answer

        bench.broker.find = find  # type: ignore[method-assign]  # it fails as the test says
        listening.automatic = True
        bench.unordered()
        await until(lambda: bench.committed() == 4)
        assert sorted(listening.seen) == [2, 3]

    run(test)


@pytest.mark.parametrize("ordered", [False, True])
def test_an_offset_that_is_reset_while_the_start_is_asked_for_counts(ordered: bool) -> None:
    async def test(bench: Bench, listening: Listening) -> None:
        asked, answer = asyncio.Event(), asyncio.Event()

        async def find(queue: MessageQueue) -> int:
            asked.set()
            await answer.wait()
            return 0

        bench.broker.find = find  # type: ignore[method-assign]  # it answers when the test says
        listening.automatic = True
        queue = bench.ordered() if ordered else bench.unordered()
        queue.set_lock(True, now_ms())
        await asked.wait()
        queue.restart(2)
        answer.set()
        await until(lambda: bench.committed() == 4)
        assert listening.seen == [2, 3]

    run(test)


def test_an_offset_that_is_reset_while_the_lock_is_waited_for_counts() -> None:
    async def test(bench: Bench, listening: Listening) -> None:
        listening.automatic = True
        queue = bench.ordered()
        await settle()
        queue.restart(2)
        queue.set_lock(True, now_ms())
        await until(lambda: bench.committed() == 4)
        assert listening.seen == [2, 3]

    run(test)


def test_an_outage_is_one_line_of_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("ledgermq.client.pulling.RETRY_SECONDS", 0.001)
    caplog.set_level(logging.INFO, "ledgermq.client")

    async def test(bench: Bench, listening: Listening) -> None:
        pull = bench.broker.pull
        failures = [ClientError("gone"), ClientError("gone"), ClientError("still gone")]

        async def fail(*arguments: Any) -> PullResult:
            if failures:
                raise failures.pop(0)
            return await pull(*arguments)

        bench.broker.pull = fail  # type: ignore[assignment,method-assign]  # it fails as the test says
        listening.automatic = True
        bench.unordered()
        await until(lambda: bench.committed() == 4)

    run(test)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", f"pull of {QUEUE} failed, trying again: gone"),
        ("INFO", f"pull of {QUEUE} works again"),
    ]


def test_a_listener_that_cancels_itself_only_fails() -> None:
    async def test(bench: Bench, listening: Listening) -> None:
        bench.unordered(workers=1)
        await until(lambda: list(listening.at_work) == [0])
        listening.at_work[0].cancel()
        listening.automatic = True
        await until(lambda: bench.committed() == 4)
        assert bench.broker.handed_over == [0]

    run(test)


def test_a_listener_cannot_keep_the_consumer_from_closing() -> None:
    async def test(bench: Bench, listening: Listening) -> None:
        async def stubborn(messages: Sequence[MessageExt]) -> None:
            listening.seen.append(messages[0].queue_offset)
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise ValueError("no") from None

        bench.consumption.subscriptions.add(Subscription(parse_expression("topic", "*", 1), stubborn, 1))
        bench.unordered(workers=2)
        await until(lambda: len(listening.seen) == 2)
        await bench.end()
        assert bench.broker.handed_over == []

    run(test)
