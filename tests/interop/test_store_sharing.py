"""One store, served by ledgermq and the Java broker in turn, after clean stops and after kill -9.

Every message is compared as the Java client reads it, all fields: the same bytes at the same offsets. The two
brokers take over with one name and one address, so that even store hosts and message ids are equal.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
from tests.interop.conftest import TARGETS
from tests.interop.harness.cluster import Cluster, JavaPrograms, Maker, start_cluster, tracebacks
from tests.interop.harness.driver import Driver, JavaError, PushConsumer, Queue, Received, message
from tests.interop.harness.mqadmin import Mqadmin
from tests.interop.harness.programs import eventually

HANDOVERS: list[tuple[Maker, Maker]] = []
if "ledgermq" in TARGETS:
    HANDOVERS += [("ledgermq", "java"), ("java", "ledgermq")]
if "java" in TARGETS:
    HANDOVERS += [("java", "java")]

WRITTEN = ("orders", "events", "large", "failing")  # topics that only producers write
KEYS = [f"order-{i}" for i in range(0, 200, 20)]


@dataclass
class Content:
    """What a store is known to hold, read back through the broker that wrote it."""

    queues: list[Queue]
    messages: dict[Queue, list[Received]] = field(default_factory=dict)
    committed: dict[tuple[str, Queue], int] = field(default_factory=dict)
    by_key: dict[str, list[Received]] = field(default_factory=dict)


def as_stored(received: Received) -> Received:
    """Without the bounds of the queue that the client adds to the properties when it reads."""
    stored = {
        name: value for name, value in received.properties.items() if name not in ("MIN_OFFSET", "MAX_OFFSET")
    }
    return msgspec.structs.replace(received, properties=stored)


class Session:
    """A cluster whose broker changes makers, and what its store must hold."""

    def __init__(self, cluster: Cluster, driver: Driver) -> None:
        self.cluster = cluster
        self.driver = driver
        self.mqadmin = Mqadmin(driver, cluster.namesrv)
        self.turn = 0
        self.keys_whole = True

    def hand_over(self, maker: Maker, how: str) -> None:
        if how == "kill" and self.cluster.broker.maker == maker == "java":
            # Java deletes the index file it was filling and indexes again only a part: its keys are lost.
            self.keys_whole = False
        if how == "clean":
            self.cluster.broker.stop()
            assert not (self.cluster.broker.store / "abort").exists()
        else:
            self.cluster.broker.kill()
            assert (self.cluster.broker.store / "abort").exists()
        self.driver.forget(self.cluster.namesrv)
        self.cluster.broker.start(maker)
        self.driver.wait_for_broker(self.cluster.namesrv, self.cluster.broker.name)

    def write(self) -> Content:
        """Adds messages of every kind, a retry, a dead letter and offsets; returns all that is there now."""
        self.turn += 1
        driver, namesrv = self.driver, self.cluster.namesrv
        orders, events, large = (
            driver.new_topic(self.cluster, name, count)
            for name, count in (("orders", 4), ("events", 2), ("large", 1))
        )
        with driver.producer(namesrv, "store-p") as producer:
            producer.send(
                "orders",
                [
                    message(
                        f"turn {self.turn} order {i} é漢字",
                        tags=("red", "blue", "Aa", "BB")[i % 4],
                        keys=f"order-{i} customer-{i % 7}",
                        properties={"n": str(i), "ключ": "値"},
                        flag=i,
                    )
                    for i in range(200)
                ],
                mode="async",
            )
            producer.send("events", [message(f"turn {self.turn} event {i}") for i in range(32)], mode="batch")
            # Bodies that do not compress: past the end of the first 16 MiB file.
            noise = random.Random(self.turn)
            for _ in range(6):
                producer.send("large", [message(noise.randbytes(3 * 1024 * 1024))])
            producer.send("large", [message(b"compresses well " * 10_000)])
        self.fail_some()
        self.mqadmin.run(
            "updateSubGroup", "-b", self.cluster.broker.address, "-g", "store-c", "-r", str(6 + self.turn)
        )
        driver.commit(namesrv, "store-c", orders[0], 10 + self.turn)
        driver.commit(namesrv, "store-c", orders[3], 5)
        return self.read(orders + events + large)

    def fail_some(self) -> None:
        """A group that fails each message once with a delay and one that gives up at once."""
        driver, namesrv = self.driver, self.cluster.namesrv
        [failing] = driver.new_topic(self.cluster, "failing", 1)
        for group in ("store-retry", "store-dead"):
            driver.new_topic(self.cluster, f"%RETRY%{group}", 1)
        with driver.producer(namesrv, "store-p") as producer:
            producer.send(failing.topic, [message(f"turn {self.turn} failing", keys=f"failing-{self.turn}")])
        with driver.push_consumer(
            namesrv, "store-retry", {"failing": "*"}, failTimes=1, delayLevel=1
        ) as consumer:
            assert self.deliveries(consumer, 2) == [0, 1]
        with driver.push_consumer(
            namesrv, "store-dead", {"failing": "*"}, failTimes=-1, delayLevel=-1
        ) as consumer:
            assert self.deliveries(consumer, 1) == [0]
            dead = Queue("%DLQ%store-dead", self.cluster.broker.name, 0)
            driver.wait_for_route(namesrv, dead.topic)
            eventually(
                lambda: driver.offsets(namesrv, dead)[1] >= self.turn, what=f"{self.turn} dead letters"
            )

    def deliveries(self, consumer: PushConsumer, count: int) -> list[int]:
        """Reconsume times of this turn's failing message: after a kill, another turn's may come again."""
        times: list[int] = []
        while len(times) < count:
            received = consumer.poll(1)
            assert received, f"only {times}"
            times += [m.reconsume_times for m in received if m.body.decode() == f"turn {self.turn} failing"]
        return times

    def read(self, queues: list[Queue]) -> Content:
        driver, namesrv, broker = self.driver, self.cluster.namesrv, self.cluster.broker.name
        queues = queues + [
            Queue(topic, broker, 0)
            for topic in ("failing", "%RETRY%store-retry", "%DLQ%store-dead", "SCHEDULE_TOPIC_XXXX")
        ]
        content = Content(queues)
        for queue in queues:
            content.messages[queue] = driver.read_queue(namesrv, queue)
        for group in ("store-c", "store-retry", "store-dead"):
            for queue in queues:
                content.committed[group, queue] = driver.committed(namesrv, group, queue)
        for key in KEYS if self.keys_whole else ():
            content.by_key[key] = self.query(key, self.turn)
        return content

    def query(self, key: str, count: int) -> list[Received]:
        """The messages with this key by the index, which may be catching up with the log."""
        found: list[Received] = []

        def complete() -> bool:
            nonlocal found
            try:
                found = self.driver.query_key(self.cluster.namesrv, "orders", key)
            except JavaError:
                found = []
            return len(found) == count

        eventually(complete, what=f"{count} messages with the key {key}")
        return sorted(found, key=lambda received: received.log_offset)

    def check(self, content: Content, how: str) -> None:
        """The broker that runs now serves exactly `content`."""
        driver, namesrv = self.driver, self.cluster.namesrv
        for queue in content.queues:
            driver.wait_for_route(namesrv, queue.topic)
        now = self.read([queue for queue in content.queues if queue.topic in ("orders", "events", "large")])
        for queue, messages in content.messages.items():
            found = now.messages[queue]
            if how == "kill" and queue.topic not in WRITTEN:
                # Progress of groups and of delay levels is saved every few seconds: a message that failed may
                # be delivered, and fail, once more.
                found = found[: len(messages)]
            assert len(found) == len(messages), queue
            for before, after in zip(messages, found, strict=True):
                assert as_stored(after) == as_stored(before), queue
        if self.keys_whole:
            assert now.by_key == content.by_key
        for (group, queue), offset in content.committed.items():
            if how == "clean":
                assert now.committed[group, queue] == offset, (group, queue)
            else:  # progress since the last save may be repeated, never skipped
                assert now.committed[group, queue] <= offset, (group, queue)
        self.check_tags(content)
        settings = self.mqadmin.settings("getConsumerConfig", "-g", "store-c")
        assert settings["retryMaxTimes"] == str(6 + self.turn)

    def check_tags(self, content: Content) -> None:
        """The tag hashes in the consume queue select what they selected."""
        queue = content.queues[0]
        answer = self.driver.pull(self.cluster.namesrv, queue, 0, expression="red", count=32)
        expected = [m.queue_offset for m in content.messages[queue] if m.tags == "red"]
        assert [m.queue_offset for m in answer.messages] == expected[: len(answer.messages)]
        assert len(answer.messages) == min(32, len(expected))

    def check_it_goes_on(self, how: str) -> None:
        """A group goes on with the new broker where it was with the old one."""
        expected = Counter(f"turn {self.turn} event {i}" for i in range(32))
        with self.driver.push_consumer(self.cluster.namesrv, "store-events", {"events": "*"}) as consumer:
            received = Counter(m.body.decode() for m in consumer.poll(32))
            while how == "kill" and not expected <= received:  # what it had before may come again
                more = consumer.poll(1)
                assert more, f"only {received}"
                received += Counter(m.body.decode() for m in more)
        if how == "clean":
            assert received == expected
        else:
            assert received >= expected
        queues = [Queue("events", self.cluster.broker.name, queue_id) for queue_id in range(2)]
        self.driver.check_all_consumed(self.cluster, "store-events", queues)


@pytest.fixture(params=HANDOVERS, ids=lambda pair: f"{pair[0]}-{pair[1]}")
def makers(request: pytest.FixtureRequest) -> tuple[Maker, Maker]:
    pair: tuple[Maker, Maker] = request.param
    return pair


@pytest.fixture
def session(
    makers: tuple[Maker, Maker], java: JavaPrograms, driver: Driver, tmp_path: Path
) -> Iterator[Session]:
    maker = makers[0]
    cluster = start_cluster(tmp_path, java, broker=maker)
    driver.wait_for_broker(cluster.namesrv, cluster.broker.name)
    yield Session(cluster, driver)
    driver.forget(cluster.namesrv)
    cluster.kill()
    assert not tracebacks(tmp_path)


@pytest.mark.parametrize("how", ["clean", "kill"])
def test_a_store_changes_hands_and_comes_back(
    session: Session, makers: tuple[Maker, Maker], how: str
) -> None:
    first, second = makers
    content = session.write()
    assert len(list((session.cluster.broker.store / "commitlog").iterdir())) >= 2
    session.hand_over(second, how)
    session.check(content, how)
    session.check_it_goes_on(how)

    content = session.write()  # the second broker adds to what the first has written
    session.hand_over(first, how)
    session.check(content, how)
    session.check_it_goes_on(how)
