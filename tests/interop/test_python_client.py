"""Our client: its scenarios against the target, side by side with the stock Java client, through failures."""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from tests.integration.client import administration, listening, pulling, sending
from tests.integration.client.world import Sink, World, eventually, take, until
from tests.interop.conftest import TopicMaker
from tests.interop.harness.cluster import Broker, Cluster, JavaPrograms, Maker, start_cluster
from tests.interop.harness.driver import Driver, message
from tests.interop.harness.mqadmin import Mqadmin

from ledgermq.client import (
    AdminClient,
    ClientError,
    Compression,
    ConsumeFrom,
    Message,
    MessageExt,
    MessageQueue,
    Producer,
    PullConsumer,
    PushConsumer,
)

Unique = Callable[[str], str]
Scenario = Callable[[World], Coroutine[Any, Any, None]]

SCENARIOS: list[Scenario] = [
    *sending.SCENARIOS,
    *listening.SCENARIOS,
    *pulling.SCENARIOS,
    *administration.SCENARIOS,
]
BODY = b"compress me " * 1000


def run(test: Coroutine[Any, Any, None], seconds: float = 120) -> None:
    asyncio.run(asyncio.wait_for(test, seconds))


def of_topic(consumer: PushConsumer, topic: str) -> list[MessageQueue]:
    return [queue for queue in consumer.assignment() if queue.topic == topic]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_scenario(scenario: Scenario, cluster: Cluster) -> None:
    run(scenario(World(cluster.namesrv)))


@pytest.mark.parametrize("compression", list(Compression))
def test_java_reads_what_we_send(
    compression: Compression, driver: Driver, cluster: Cluster, new_topic: TopicMaker, unique: Unique
) -> None:
    (queue,) = new_topic(1)

    async def send() -> list[str]:
        async with Producer(unique("python"), cluster.namesrv, compression=compression) as producer:
            first = await producer.send(
                Message(queue.topic, BODY, tags="é", keys=["k1", "k2"], properties={"ключ": "値"}, flag=9)
            )
            rest = await producer.send_batch([Message(queue.topic, b"%d" % n, tags="t") for n in range(3)])
            return [first.message_id, *rest.message_ids]

    ids = asyncio.run(send())
    with driver.push_consumer(cluster.namesrv, unique("java"), {queue.topic: "*"}) as consumer:
        received = sorted(consumer.poll(4), key=lambda one: one.queue_offset)
    assert [one.body for one in received] == [BODY, b"0", b"1", b"2"]
    assert [one.msg_id for one in received] == ids
    first = received[0]
    assert (first.tags, first.keys, first.properties["ключ"], first.flag) == ("é", "k1 k2", "値", 9)
    (stored, *_) = driver.read_queue(cluster.namesrv, queue)
    assert stored.store_size < 1000


@pytest.mark.parametrize("compression", list(Compression))
def test_we_read_what_java_sends(
    compression: Compression, driver: Driver, cluster: Cluster, new_topic: TopicMaker, unique: Unique
) -> None:
    (queue,) = new_topic(1)
    with driver.producer(cluster.namesrv, unique("java"), compressType=compression.name) as producer:
        sent = producer.send(
            queue.topic,
            [message(BODY, tags="é", keys="k1 k2", properties={"ключ": "値"}, flag=9), message(b"small")],
        )
        sent += producer.send(queue.topic, [message(b"0", tags="t"), message(b"1")], mode="batch")
    received = asyncio.run(World(cluster.namesrv).read_all(queue.topic, 4))
    assert received[0].sys_flag == compression.sys_flag
    assert [one.body for one in received] == [BODY, b"small", b"0", b"1"]
    assert [one.message_id for one in received] == [*(",".join(one.msg_id for one in sent)).split(",")]
    first, theirs = received[0], driver.read_queue(cluster.namesrv, queue)[0]
    assert (first.tags, first.keys, first.properties["ключ"], first.flag) == ("é", ["k1", "k2"], "値", 9)
    assert first.offset_message_id == theirs.offset_msg_id
    assert first.log_offset == theirs.log_offset
    assert first.store_bytes == theirs.store_size
    assert first.body_crc == theirs.body_crc
    assert first.born_timestamp_ms == theirs.born_timestamp
    assert first.store_timestamp_ms == theirs.store_timestamp
    of_javas_client = {"MIN_OFFSET", "MAX_OFFSET"}  # of the queue at that moment, not stored
    assert first.properties == {k: v for k, v in theirs.properties.items() if k not in of_javas_client}


def test_a_group_of_java_and_python_shares_the_queues(
    driver: Driver, cluster: Cluster, new_topic: TopicMaker, unique: Unique
) -> None:
    queues = new_topic(5)
    topic, group = queues[0].topic, unique("mixed")
    sink = Sink()

    async def test() -> None:
        world = World(cluster.namesrv)
        async with PushConsumer(group, cluster.namesrv, consume_from=ConsumeFrom.FIRST) as ours:
            ours.subscribe(topic, "*", sink)
            await until(lambda: len(of_topic(ours, topic)) == 5)
            with driver.push_consumer(cluster.namesrv, group, {topic: "*"}) as java:

                async def shared() -> bool:
                    theirs = await asyncio.to_thread(java.queues)
                    ids = [queue.queue_id for queue in theirs if queue.topic == topic]
                    mine = [queue.queue_id for queue in of_topic(ours, topic)]
                    return sorted(ids + mine) == [0, 1, 2, 3, 4] and abs(len(ids) - len(mine)) == 1

                await eventually(shared)
                await world.fill(topic, 20)
                await until(lambda: len(sink.messages) in (40, 60))
                theirs = await asyncio.to_thread(java.poll, 100 - len(sink.messages))
                bodies = sorted([*sink.bodies, *(one.body for one in theirs)])
                assert bodies == sorted(f"{q}-{n}".encode() for q in range(5) for n in range(20))
            await until(lambda: len(of_topic(ours, topic)) == 5)

    run(test())


def test_an_ordered_queue_has_one_reader_in_java_or_python(
    driver: Driver, cluster: Cluster, new_topic: TopicMaker, unique: Unique
) -> None:
    queues = new_topic(4)
    topic, group = queues[0].topic, unique("mixed-ordered")
    seen: dict[int, list[bytes]] = defaultdict(list)

    async def listener(received: MessageExt) -> None:
        seen[received.queue_id].append(received.body)

    async def test() -> None:
        world = World(cluster.namesrv)
        options: dict[str, Any] = {"ordered": True, "consume_from": ConsumeFrom.FIRST}
        async with PushConsumer(group, cluster.namesrv, **options) as ours:
            ours.subscribe(topic, "*", listener)
            await until(lambda: len(of_topic(ours, topic)) == 4)
            with driver.push_consumer(cluster.namesrv, group, {topic: "*"}, orderly=True) as java:
                await until(lambda: len(of_topic(ours, topic)) == 2)
                await world.fill(topic, 20)
                theirs = await asyncio.to_thread(java.poll, 40)
                await until(lambda: sum(map(len, seen.values())) == 40)
            for one in theirs:
                seen[one.queue_id].append(one.body)
            await until(lambda: len(of_topic(ours, topic)) == 4)

    run(test())
    assert seen == {q: [f"{q}-{n}".encode() for n in range(20)] for q in range(4)}


def test_java_sees_our_offsets_and_we_see_javas(
    driver: Driver, cluster: Cluster, new_topic: TopicMaker, unique: Unique
) -> None:
    (queue,) = new_topic(1)
    group = unique("offsets")

    async def test() -> None:
        world = World(cluster.namesrv)
        await world.fill(queue.topic, 10)
        async with PullConsumer(group, cluster.namesrv, consume_from=ConsumeFrom.FIRST) as reader:
            (ours,) = await reader.queues(queue.topic)
            reader.assign([ours])
            await take(reader, 7)
            await reader.commit()
            assert driver.committed(cluster.namesrv, group, queue) == 7
            driver.commit(cluster.namesrv, group, queue, 3)

            async def seen() -> bool:
                return await reader.committed(ours) == 3

            await eventually(seen)

    run(test())


def test_mqadmin_sees_our_clients(
    mqadmin: Mqadmin, cluster: Cluster, new_topic: TopicMaker, unique: Unique
) -> None:
    (queue,) = new_topic(1)
    group, senders = unique("seen"), unique("senders")
    sink = Sink()

    async def test() -> None:
        async with (
            PushConsumer(group, cluster.namesrv, consume_from=ConsumeFrom.FIRST) as consumer,
            Producer(senders, cluster.namesrv) as producer,
        ):
            consumer.subscribe(queue.topic, "a || b", sink)
            receipt = await producer.send(Message(queue.topic, b"hello", tags="a", keys=["order-1"]))
            await sink.wait(1)
            await consumer.commit()

            def admin(*words: str) -> str:
                return mqadmin.run(*words)

            connection = await asyncio.to_thread(admin, "consumerConnection", "-g", group)
            assert consumer.client_id in connection
            assert "PYTHON" in connection
            assert "a || b" in connection
            producers = await asyncio.to_thread(admin, "producerConnection", "-g", senders, "-t", queue.topic)
            assert "PYTHON" in producers
            status = await asyncio.to_thread(admin, "consumerStatus", "-g", group, "-i", consumer.client_id)
            assert "PROP_CONSUME_TYPE" in status
            assert queue.topic in status
            progress = await asyncio.to_thread(admin, "consumerProgress", "-g", group)
            assert queue.topic in progress
            found = await asyncio.to_thread(
                admin, "queryMsgByUniqueKey", "-t", queue.topic, "-i", receipt.message_id
            )
            assert "order-1" in found

    run(test())


@pytest.fixture
def own_cluster(target: Maker, java: JavaPrograms, driver: Driver, tmp_path: Path) -> Any:
    """A cluster that a test may break."""
    cluster = start_cluster(tmp_path, java, broker=target)
    try:
        driver.wait_for_broker(cluster.namesrv, cluster.broker.name)
        yield cluster
    finally:
        driver.forget(cluster.namesrv)
        cluster.kill()


def test_a_broker_that_is_killed_and_restarted_loses_nothing(own_cluster: Cluster) -> None:
    cluster = own_cluster
    sink = Sink()
    sent: set[bytes] = set()

    async def test() -> None:
        world = World(cluster.namesrv)
        topic = await world.new_topic(4)
        group = world.unique("survivors")
        async with (
            PushConsumer(group, cluster.namesrv, consume_from=ConsumeFrom.FIRST) as consumer,
            Producer(group, cluster.namesrv) as producer,
        ):
            consumer.subscribe(topic, "*", sink)

            async def send(first: int, count: int) -> None:
                for number in range(first, first + count):
                    body = b"%d" % number
                    await producer.send(Message(topic, body))
                    sent.add(body)

            await send(0, 50)
            await sink.wait(50)
            await asyncio.to_thread(cluster.broker.kill)
            with pytest.raises(ClientError):
                await producer.send(Message(topic, b"nobody hears this"), timeout_ms=500)
            await asyncio.to_thread(cluster.broker.start)

            async def works_again() -> bool:
                try:
                    await send(50, 1)
                except ClientError:
                    return False
                return True

            await eventually(works_again, 60)
            await send(51, 49)
            await until(lambda: set(sink.bodies) >= sent, 60)

    run(test(), 180)


def test_another_broker_is_tried_when_one_is_dead(
    own_cluster: Cluster, target: Maker, java: JavaPrograms, driver: Driver, tmp_path: Path
) -> None:
    cluster = own_cluster
    second = Broker(target, tmp_path / "second", java, cluster.namesrv, {"brokerName": "broker-b"})
    second.start()
    try:
        driver.wait_for_broker(cluster.namesrv, "broker-b")

        async def test() -> None:
            world = World(cluster.namesrv)
            topic = await world.new_topic(2)
            async with AdminClient(cluster.namesrv) as admin:

                async def on_both() -> bool:
                    return len((await admin.route(topic)).broker_datas) == 2

                await eventually(on_both)
            async with Producer(world.unique("group"), cluster.namesrv) as producer:
                receipts = [await producer.send(Message(topic, os.urandom(8))) for _ in range(8)]
                assert {one.queue.broker_name for one in receipts} == {"broker-a", "broker-b"}
                await asyncio.to_thread(second.kill)
                receipts = [await producer.send(Message(topic, os.urandom(8))) for _ in range(20)]
                assert {one.queue.broker_name for one in receipts} == {"broker-a"}

        run(test())
    finally:
        second.kill()
