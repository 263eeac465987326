"""When a consumer takes and gives back queues, with routes and members in the test's hands: no network."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
from tests.integration.client.test_sender import route_of
from tests.integration.client.world import until

from ledgermq.client import rebalance
from ledgermq.client.allocation import Allocation, allocate_averagely
from ledgermq.client.errors import ClientError, TopicNotFoundError, UnreachableError
from ledgermq.client.queues import MessageQueue
from ledgermq.client.rebalance import Rebalancer
from ledgermq.remoting.route_data import TopicRouteData


class Bench:
    """Session, routes and group calls in one, and the queues that were applied."""

    def __init__(self, allocate: Allocation | None) -> None:
        self.client_id = "me"
        self.routes = self
        self.known: dict[str, TopicRouteData | ClientError] = {"t": route_of("a")}
        self.members: list[str] | ClientError = ["me"]
        self.topics = ["t"]
        self.applied: dict[str, list[int]] = {}
        self.complete = True
        self.heartbeats = 0
        self.runs = 0
        fake: Any = self
        self.rebalancer = Rebalancer(fake, fake, lambda: self.topics, allocate, self.apply)

    async def get(self, topic: str) -> TopicRouteData:
        found = self.known.get(topic, TopicNotFoundError(topic))
        if isinstance(found, ClientError):
            raise found
        return found

    async def client_ids(self, topic: str) -> list[str]:
        self.runs += 1
        if isinstance(self.members, ClientError):
            raise self.members
        return self.members

    async def send_heartbeats(self) -> None:
        self.heartbeats += 1

    async def apply(self, topic: str, share: list[MessageQueue]) -> bool:
        self.applied[topic] = [queue.queue_id for queue in share]
        return self.complete


def run(
    test: Callable[[Bench], Coroutine[Any, Any, None]], allocate: Allocation | None = allocate_averagely
) -> None:
    async def main() -> None:
        bench = Bench(allocate)
        running = asyncio.ensure_future(bench.rebalancer.run())
        try:
            async with asyncio.timeout(10):
                await test(bench)
        finally:
            running.cancel()
            await asyncio.wait((running,))
            assert running.cancelled()

    asyncio.run(main())


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebalance, "UNBALANCED_SECONDS", 0.001)


def test_a_notification_is_followed_at_once() -> None:
    async def test(bench: Bench) -> None:
        await until(lambda: bench.applied == {"t": [0, 1]})
        bench.members = ["me", "you"]
        bench.rebalancer.wake()
        await until(lambda: bench.applied == {"t": [0]})
        assert bench.heartbeats == 0

    run(test)


def test_a_subscription_is_announced_first() -> None:
    async def test(bench: Bench) -> None:
        await until(lambda: bench.applied == {"t": [0, 1]})
        bench.known["u"] = route_of("a", queue_count=1)
        bench.topics = ["t", "u"]
        bench.rebalancer.wake(announce=True)
        await until(lambda: bench.applied == {"t": [0, 1], "u": [0]})
        assert bench.heartbeats == 1
        bench.topics = ["u"]
        bench.rebalancer.wake(announce=True)
        await until(lambda: bench.applied == {"t": [], "u": [0]})

    run(test)


def test_a_broker_that_forgot_us_is_told_and_queues_are_kept() -> None:
    async def test(bench: Bench) -> None:
        await until(lambda: bench.applied == {"t": [0, 1]})
        bench.members = ["you"]
        bench.applied.clear()
        bench.rebalancer.wake()
        await until(lambda: bench.heartbeats >= 1)
        assert bench.applied == {}
        bench.members = ["me", "you"]
        await until(lambda: bench.applied == {"t": [0]})

    run(test)


@pytest.mark.parametrize("trouble", [TopicNotFoundError("t"), UnreachableError("name servers")], ids=str)
def test_queues_are_kept_while_the_route_is_not_known(trouble: ClientError) -> None:
    async def test(bench: Bench) -> None:
        await until(lambda: bench.applied == {"t": [0, 1]})
        bench.applied.clear()
        bench.known["t"] = trouble
        bench.rebalancer.wake()
        await asyncio.sleep(0.02)
        assert bench.applied == {}
        bench.known["t"] = route_of("a", "b", queue_count=1)
        await until(lambda: bench.applied == {"t": [0, 0]})

    run(test)


def test_an_allocation_of_the_applications_that_fails_is_tried_again() -> None:
    failures = [KeyError("me"), KeyError("me")]

    def allocate(
        client_id: str, queues: Sequence[MessageQueue], client_ids: Sequence[str]
    ) -> list[MessageQueue]:
        if failures:
            raise failures.pop()
        return list(queues)

    async def test(bench: Bench) -> None:
        await until(lambda: bench.applied == {"t": [0, 1]})

    run(test, allocate)


def test_a_share_that_cannot_be_taken_yet_is_tried_again() -> None:
    async def test(bench: Bench) -> None:
        bench.complete = False
        await until(lambda: bench.runs >= 3)
        bench.complete = True
        await asyncio.sleep(0.02)
        runs = bench.runs
        await asyncio.sleep(0.02)
        assert bench.runs == runs

    run(test)


def test_one_topic_in_trouble_does_not_hold_up_the_others() -> None:
    async def test(bench: Bench) -> None:
        bench.topics = ["gone", "t"]
        bench.rebalancer.wake()
        await until(lambda: bench.applied == {"t": [0, 1]})

    run(test)


def test_in_broadcasting_all_queues_are_ours() -> None:
    async def test(bench: Bench) -> None:
        bench.members = []
        await until(lambda: bench.applied == {"t": [0, 1]})
        assert bench.runs == 0

    run(test, allocate=None)
