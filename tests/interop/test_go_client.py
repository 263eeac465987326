"""The official Go client: producing in every way, consuming by push (in order, too) and by pull."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from tests.interop.conftest import TopicMaker
from tests.interop.harness.cluster import Cluster
from tests.interop.harness.driver import Driver, Queue, Received, message
from tests.interop.harness.go_client import GoClient
from tests.interop.harness.programs import eventually

Unique = Callable[[str], str]

SEND_OK = 0


def stored(driver: Driver, cluster: Cluster, queues: list[Queue]) -> dict[tuple[int, int], Received]:
    """What the queues hold, by queue id and offset, as the Java client reads it."""
    return {
        (received.queue_id, received.queue_offset): received
        for queue in queues
        for received in driver.read_queue(cluster.namesrv, queue)
    }


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_produce(
    mode: str, go_client: GoClient, driver: Driver, cluster: Cluster, new_topic: TopicMaker, unique: Unique
) -> None:
    queues = new_topic(4)
    results = go_client.run(
        "produce",
        namesrv=cluster.namesrv,
        topic=queues[0].topic,
        group=unique("go-p"),
        mode=mode,
        count=40,
        tag="go",
    )
    assert [result["status"] for result in results] == [SEND_OK] * 40
    messages = stored(driver, cluster, queues)
    assert Counter(m.body.decode() for m in messages.values()) == Counter(f"go-{mode}-{i}" for i in range(40))
    for result in results:
        received = messages[result["queueId"], result["queueOffset"]]
        assert received.msg_id == result["msgId"]
        assert received.offset_msg_id == result["offsetMsgId"]
        assert received.tags == "go"
        assert received.keys == f"key-{received.properties['i']}"


def test_produce_oneway(
    go_client: GoClient, driver: Driver, cluster: Cluster, new_topic: TopicMaker, unique: Unique
) -> None:
    queues = new_topic(1)
    # The client shuts down without waiting for what it sent: the last of them may not have left.
    go_client.run(
        "produce",
        namesrv=cluster.namesrv,
        topic=queues[0].topic,
        group=unique("go-p"),
        mode="oneway",
        count=30,
    )
    bodies = eventually(
        lambda: Counter(m.body.decode() for m in stored(driver, cluster, queues).values()),
        what="one of the messages",
    )
    assert bodies <= Counter(f"go-oneway-{i}" for i in range(30))


def test_produce_a_batch(
    go_client: GoClient, driver: Driver, cluster: Cluster, new_topic: TopicMaker, unique: Unique
) -> None:
    queues = new_topic(2)
    [result] = go_client.run(
        "produce",
        namesrv=cluster.namesrv,
        topic=queues[0].topic,
        group=unique("go-p"),
        mode="batch",
        count=20,
    )
    assert result["status"] == SEND_OK
    messages = stored(driver, cluster, queues)
    bodies = [messages[result["queueId"], result["queueOffset"] + i].body.decode() for i in range(20)]
    assert bodies == [f"go-batch-{i}" for i in range(20)]
    assert len(messages) == 20


def test_produce_a_compressed_body(
    go_client: GoClient, driver: Driver, cluster: Cluster, new_topic: TopicMaker, unique: Unique
) -> None:
    [queue] = new_topic(1)
    go_client.run(
        "produce", namesrv=cluster.namesrv, topic=queue.topic, group=unique("go-p"), count=1, bytes=100_000
    )
    [received] = driver.read_queue(cluster.namesrv, queue)
    assert received.body == b"go-sync-0".ljust(100_000, b".")
    assert received.store_size < 10_000


@pytest.mark.parametrize("orderly", [False, True])
def test_push_consume(
    orderly: bool,
    go_client: GoClient,
    driver: Driver,
    cluster: Cluster,
    new_topic: TopicMaker,
    unique: Unique,
) -> None:
    queues = new_topic(4)
    topic, group = queues[0].topic, unique("go-c")
    with driver.producer(cluster.namesrv, "interop-go-p") as producer:
        for tag in ("blue", "red"):
            producer.send(topic, [message(f"{tag} {i} é", tags=tag, keys=f"k{i}") for i in range(20)])
        producer.send(topic, [message(b"red 20 " + bytes(20_000), tags="red")])  # compressed
    received = go_client.run(
        "push", namesrv=cluster.namesrv, topic=topic, group=group, expression="red", count=21, orderly=orderly
    )
    expected = Counter([f"red {i} é" for i in range(20)] + ["red 20 " + "\0" * 20_000])
    assert Counter(m["body"] for m in received) == expected
    for queue in queues:
        offsets = [m["queueOffset"] for m in received if m["queueId"] == queue.queue_id]
        if orderly:
            assert offsets == sorted(offsets)
        assert driver.committed(cluster.namesrv, group, queue) > max(offsets)


def test_push_consume_broadcast(
    go_client: GoClient, driver: Driver, cluster: Cluster, new_topic: TopicMaker, unique: Unique
) -> None:
    topic = new_topic(2)[0].topic
    with driver.producer(cluster.namesrv, "interop-go-p") as producer:
        producer.send(topic, [message(f"m{i}") for i in range(10)])
    received = go_client.run(
        "push", namesrv=cluster.namesrv, topic=topic, group=unique("go-c"), count=10, broadcast=True
    )
    assert Counter(m["body"] for m in received) == Counter(f"m{i}" for i in range(10))


def test_push_consume_with_retries(
    go_client: GoClient, driver: Driver, cluster: Cluster, new_topic: TopicMaker, unique: Unique
) -> None:
    topic, group = new_topic(1)[0].topic, unique("go-c")
    driver.new_topic(cluster, f"%RETRY%{group}", 1)  # otherwise the client hears of it after half a minute
    with driver.producer(cluster.namesrv, "interop-go-p") as producer:
        [sent] = producer.send(topic, [message("again")])
    received = go_client.run(
        "push", namesrv=cluster.namesrv, topic=topic, group=group, count=2, fail=1, timeout="60s"
    )
    assert [(m["body"], m["reconsumeTimes"]) for m in received] == [("again", 0), ("again", 1)]
    assert received[1]["properties"]["ORIGIN_MESSAGE_ID"] == sent.offset_msg_id


def test_pull_consume(
    go_client: GoClient, driver: Driver, cluster: Cluster, new_topic: TopicMaker, unique: Unique
) -> None:
    topic = new_topic(2)[0].topic
    with driver.producer(cluster.namesrv, "interop-go-p") as producer:
        producer.send(topic, [message(f"m{i}") for i in range(12)])
    received = go_client.run("pull", namesrv=cluster.namesrv, topic=topic, group=unique("go-c"), count=12)
    assert Counter(m["body"] for m in received) == Counter(f"m{i}" for i in range(12))


def test_go_to_go(go_client: GoClient, cluster: Cluster, new_topic: TopicMaker, unique: Unique) -> None:
    topic = new_topic(4)[0].topic
    go_client.run("produce", namesrv=cluster.namesrv, topic=topic, group=unique("go-p"), count=16)
    received = go_client.run("push", namesrv=cluster.namesrv, topic=topic, group=unique("go-c"), count=16)
    assert Counter(m["body"] for m in received) == Counter(f"go-sync-{i}" for i in range(16))
