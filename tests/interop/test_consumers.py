"""The stock Java consumers: push (concurrently, in order, broadcast), LitePull, retry and dead letters."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable

import pytest
from tests.interop.conftest import TopicMaker
from tests.interop.harness.cluster import Cluster
from tests.interop.harness.driver import Driver, JavaError, PushConsumer, Queue, Received, SendResult, message
from tests.interop.harness.programs import eventually

Unique = Callable[[str], str]


def send(
    driver: Driver, cluster: Cluster, topic: str, bodies: Iterable[str], **fields: object
) -> list[SendResult]:
    """Messages with these bodies, spread over the queues of the topic."""
    with driver.producer(cluster.namesrv, "interop-consumers-p") as producer:
        return producer.send(topic, [message(body, **fields) for body in bodies])


def bodies(messages: list[Received]) -> list[str]:
    return [received.body.decode() for received in messages]


def wait_for_queues(consumer: PushConsumer, topic: str, count: int) -> None:
    def look() -> bool:
        return sum(queue.topic == topic for queue in consumer.queues()) == count

    eventually(look, 30, what=f"{count} queues of {topic} for {consumer.client_id}")


def with_retry_topic(driver: Driver, cluster: Cluster, group: str) -> None:
    """Makes the retry topic that the broker itself would make at the group's first heartbeat.

    A new group hears of it only when the client next rebalances, up to 20 s later: one test waits for that.
    """
    driver.new_topic(cluster, f"%RETRY%{group}", 1)


def test_push_concurrently_delivers_each_message_once(
    either_driver: Driver, cluster: Cluster, new_topic: TopicMaker, unique: Unique
) -> None:
    driver, topic, group = either_driver, new_topic(4)[0].topic, unique("push")
    expected = Counter(f"m{i}" for i in range(300))
    send(driver, cluster, topic, list(expected)[:150])
    with driver.push_consumer(cluster.namesrv, group, {topic: "*"}) as consumer:
        received = consumer.poll(150)
        send(driver, cluster, topic, list(expected)[150:])  # now from parked pulls
        received += consumer.poll(150)
    assert Counter(bodies(received)) == expected
    assert {message.reconsume_times for message in received} == {0}


def test_a_waiting_consumer_hears_of_a_message_at_once(
    driver: Driver, cluster: Cluster, new_topic: TopicMaker, unique: Unique
) -> None:
    topic = new_topic(1)[0].topic
    with (
        driver.push_consumer(cluster.namesrv, unique("park"), {topic: "*"}) as consumer,
        driver.producer(cluster.namesrv, "interop-consumers-p") as producer,
    ):
        producer.send(topic, [message("first")])
        assert len(consumer.poll(1)) == 1
        for i in range(5):
            [result] = producer.send(topic, [message(f"m{i}")])
            assert result.queue_offset == i + 1
            started = time.monotonic()
            assert bodies(consumer.poll(1)) == [f"m{i}"]
            # Without long polling the client comes back after its suspension of 15 s.
            assert time.monotonic() - started < 5


def test_consumers_of_a_group_share_the_queues_and_take_over(
    driver: Driver, cluster: Cluster, new_topic: TopicMaker, unique: Unique
) -> None:
    topic, group = new_topic(4)[0].topic, unique("share")
    with driver.push_consumer(cluster.namesrv, group, {topic: "*"}) as first:
        wait_for_queues(first, topic, 4)
        with driver.push_consumer(cluster.namesrv, group, {topic: "*"}) as second:
            # Sooner than the client's own 20 s: the broker told the first of the second.
            wait_for_queues(first, topic, 2)
            wait_for_queues(second, topic, 2)
            assert not set(first.queues()) & {queue for queue in second.queues() if queue.topic == topic}
            send(driver, cluster, topic, [f"m{i}" for i in range(40)])
            by_first, by_second = first.poll(20), second.poll(20)
            assert len(by_first) == len(by_second) == 20
            assert Counter(bodies(by_first + by_second)) == Counter(f"m{i}" for i in range(40))
        wait_for_queues(first, topic, 4)
        send(driver, cluster, topic, [f"late{i}" for i in range(8)])
        assert Counter(bodies(first.poll(8))) == Counter(f"late{i}" for i in range(8))


def test_push_orderly_keeps_the_order_of_each_queue_over_failures(
    either_driver: Driver, cluster: Cluster, new_topic: TopicMaker, unique: Unique
) -> None:
    driver, topic, group = either_driver, new_topic(2)[0].topic, unique("orderly")
    results = send(driver, cluster, topic, [f"m{i}" for i in range(20)])
    with driver.push_consumer(
        cluster.namesrv, group, {topic: "*"}, orderly=True, failTimes=1, suspendMs=20
    ) as consumer:
        received = consumer.poll(40, timeout_ms=60_000)  # each fails once and is given again in place
    for queue in {result.queue for result in results}:
        offsets = [message.queue_offset for message in received if message.queue_id == queue.queue_id]
        assert offsets == [offset for i in range(10) for offset in (i, i)]


def test_broadcast_gives_every_consumer_every_message(
    driver: Driver, cluster: Cluster, new_topic: TopicMaker, unique: Unique
) -> None:
    topic, group = new_topic(4)[0].topic, unique("broadcast")
    expected = Counter(f"m{i}" for i in range(40))
    with (
        driver.push_consumer(cluster.namesrv, group, {topic: "*"}, broadcast=True) as first,
        driver.push_consumer(cluster.namesrv, group, {topic: "*"}, broadcast=True) as second,
    ):
        wait_for_queues(first, topic, 4)
        wait_for_queues(second, topic, 4)
        send(driver, cluster, topic, expected)
        assert Counter(bodies(first.poll(40))) == expected
        assert Counter(bodies(second.poll(40))) == expected


def test_a_group_goes_on_where_it_stopped(
    driver: Driver, cluster: Cluster, new_topic: TopicMaker, unique: Unique
) -> None:
    queues = new_topic(4)
    topic, group = queues[0].topic, unique("resume")
    send(driver, cluster, topic, [f"early{i}" for i in range(20)])
    with driver.push_consumer(cluster.namesrv, group, {topic: "*"}) as consumer:
        assert len(consumer.poll(20)) == 20
    assert [driver.committed(cluster.namesrv, group, queue) for queue in queues] == [5, 5, 5, 5]
    send(driver, cluster, topic, [f"late{i}" for i in range(8)])
    with driver.push_consumer(cluster.namesrv, group, {topic: "*"}) as consumer:
        assert Counter(bodies(consumer.poll(8))) == Counter(f"late{i}" for i in range(8))


def test_a_new_group_may_begin_at_the_end_or_at_a_time(
    driver: Driver, cluster: Cluster, new_topic: TopicMaker, unique: Unique
) -> None:
    # To a new group the broker answers offset 0 while a queue begins at 0 and is in memory, and the client
    # takes that for an offset of the group: on a young queue, "from the end" begins at the beginning.
    queues = new_topic(1)
    topic = queues[0].topic
    [sent] = send(driver, cluster, topic, ["early"])
    assert driver.pull(cluster.namesrv, sent.queue, 0).status == "FOUND"
    with driver.push_consumer(
        cluster.namesrv, unique("end"), {topic: "*"}, **{"from": "CONSUME_FROM_LAST_OFFSET"}
    ) as consumer:
        assert bodies(consumer.poll(1)) == ["early"]
    with driver.push_consumer(
        cluster.namesrv,
        unique("time"),
        {topic: "*"},
        fromTimestamp="20200101000000",
        **{"from": "CONSUME_FROM_TIMESTAMP"},
    ) as consumer:
        assert bodies(consumer.poll(1)) == ["early"]


def test_tags_select_even_where_their_hashes_are_equal(
    either_driver: Driver, cluster: Cluster, new_topic: TopicMaker, unique: Unique
) -> None:
    driver, topic = either_driver, new_topic(2)[0].topic
    with driver.producer(cluster.namesrv, "interop-consumers-p") as producer:
        # "Aa" and "BB" have one String.hashCode: the broker passes both, the client drops one.
        producer.send(
            topic, [message(f"{tag}{i}", tags=tag) for i in range(10) for tag in ("Aa", "BB", "red", "é")]
        )
        producer.send(topic, [message("untagged")])
    with driver.push_consumer(cluster.namesrv, unique("tags"), {topic: "Aa || é"}) as consumer:
        received = consumer.poll(20)
        assert Counter(bodies(received)) == Counter(f"{tag}{i}" for i in range(10) for tag in ("Aa", "é"))
        with driver.producer(cluster.namesrv, "interop-consumers-p") as producer:
            producer.send(topic, [message("BB", tags="BB"), message("last", tags="Aa")])
        assert bodies(consumer.poll(1)) == ["last"]


def test_lite_pull_by_assignment_seeks_where_it_is_told(
    either_driver: Driver, cluster: Cluster, new_topic: TopicMaker, unique: Unique
) -> None:
    driver, queues = either_driver, new_topic(2)
    topic = queues[0].topic
    with driver.producer(cluster.namesrv, "interop-consumers-p") as producer:
        producer.send(
            topic, [message(f"m{i}") for i in range(50)], mode="queue", broker=queues[0].broker, queueId=0
        )
    with driver.pull_consumer(cluster.namesrv, unique("assign")) as consumer:
        assert set(consumer.queues(topic)) == set(queues)
        consumer.assign([queues[0]])
        # A seek while pulls are on their way may be answered by them: stock client, any broker.
        assert bodies(consumer.poll(50)) == [f"m{i}" for i in range(50)]
        consumer.seek(queues[0], 30)
        assert bodies(consumer.poll(20)) == [f"m{i}" for i in range(30, 50)]
        consumer.seek_to(queues[0], "begin")
        assert bodies(consumer.poll(50))[:50] == [f"m{i}" for i in range(50)]
        consumer.seek_to(queues[0], "end")
        assert consumer.poll(1, timeout_ms=300) == []
        middle = driver.pull(cluster.namesrv, queues[0], 25, count=1).messages[0]
        found = consumer.offset_for_timestamp(queues[0], middle.store_timestamp)
        same_ms = driver.pull(cluster.namesrv, queues[0], found, count=1).messages[0]
        assert same_ms.store_timestamp == middle.store_timestamp
        assert found <= 25


def test_lite_pull_by_subscription_commits_and_resumes(
    either_driver: Driver, cluster: Cluster, new_topic: TopicMaker, unique: Unique
) -> None:
    driver, queues = either_driver, new_topic(4)
    topic, group = queues[0].topic, unique("subscribe")
    send(driver, cluster, topic, [f"early{i}" for i in range(40)])
    with driver.pull_consumer(cluster.namesrv, group, topics={topic: "*"}) as consumer:
        assert Counter(bodies(consumer.poll(40))) == Counter(f"early{i}" for i in range(40))
        consumer.commit()  # in the client; it tells the broker when it stops
    assert [driver.committed(cluster.namesrv, group, queue) for queue in queues] == [10] * 4
    send(driver, cluster, topic, [f"late{i}" for i in range(12)])
    with driver.pull_consumer(cluster.namesrv, group, topics={topic: "*"}, autoCommit=True) as consumer:
        assert Counter(bodies(consumer.poll(12))) == Counter(f"late{i}" for i in range(12))


def test_retries_end_in_the_dead_letter_queue(
    either_driver: Driver, cluster: Cluster, new_topic: TopicMaker, unique: Unique
) -> None:
    driver, topic, group = either_driver, new_topic(2)[0].topic, unique("retry")
    with_retry_topic(driver, cluster, group)
    [sent] = send(driver, cluster, topic, ["poison"], tags="t", keys="poison-key")
    with driver.push_consumer(
        cluster.namesrv, group, {topic: "*"}, failTimes=-1, maxReconsumeTimes=2, delayLevel=1
    ) as consumer:
        received = consumer.poll(3, timeout_ms=30_000)
        assert bodies(received) == ["poison"] * 3
        assert [message.reconsume_times for message in received] == [0, 1, 2]
        assert {message.topic for message in received} == {topic}  # the client undoes the retry topic
        assert {message.msg_id for message in received} == {sent.msg_id}
        for retried in received[1:]:
            assert retried.properties["RETRY_TOPIC"] == topic
            assert retried.properties["ORIGIN_MESSAGE_ID"] == sent.offset_msg_id
            assert retried.tags == "t"

        dead = Queue(f"%DLQ%{group}", cluster.broker.name, 0)
        driver.wait_for_route(cluster.namesrv, dead.topic)
        [letter] = eventually(lambda: driver.pull(cluster.namesrv, dead, 0).messages, what="the dead letter")
        assert letter.body == b"poison"
        assert letter.keys == "poison-key"
        assert letter.reconsume_times == 3
        assert letter.properties["RETRY_TOPIC"] == topic
        assert letter.properties["ORIGIN_MESSAGE_ID"] == sent.offset_msg_id
        assert consumer.poll(1, timeout_ms=1500) == []
    retry = Queue(f"%RETRY%{group}", cluster.broker.name, 0)
    assert [message.reconsume_times for message in driver.read_queue(cluster.namesrv, retry)] == [1, 2]


def test_a_message_that_succeeds_when_retried_is_done(
    driver: Driver, cluster: Cluster, new_topic: TopicMaker, unique: Unique
) -> None:
    topic, group = new_topic(1)[0].topic, unique("retry-once")
    send(driver, cluster, topic, [f"m{i}" for i in range(10)])
    with driver.push_consumer(cluster.namesrv, group, {topic: "*"}, failTimes=1, delayLevel=1) as consumer:
        received = consumer.poll(20, timeout_ms=30_000)
        again = [message for message in received if message.reconsume_times == 1]
        assert Counter(bodies(again)) == Counter(f"m{i}" for i in range(10))
        assert consumer.poll(1, timeout_ms=1500) == []
    retry = Queue(f"%RETRY%{group}", cluster.broker.name, 0)
    assert driver.offsets(cluster.namesrv, retry) == (0, 10)
    assert driver.committed(cluster.namesrv, group, retry) == 10


def test_an_ordered_message_that_keeps_failing_goes_to_the_retry_topic(
    driver: Driver, cluster: Cluster, new_topic: TopicMaker, unique: Unique
) -> None:
    topic, group = new_topic(1)[0].topic, unique("orderly-poison")
    send(driver, cluster, topic, ["poison"])
    with driver.push_consumer(
        cluster.namesrv, group, {topic: "*"}, orderly=True, failTimes=-1, maxReconsumeTimes=2, suspendMs=20
    ) as consumer:
        assert len(consumer.poll(3)) >= 3
        dead = Queue(f"%DLQ%{group}", cluster.broker.name, 0)
        driver.wait_for_route(cluster.namesrv, dead.topic)
        [letter] = eventually(lambda: driver.pull(cluster.namesrv, dead, 0).messages, what="the dead letter")
    assert letter.body == b"poison"


def test_messages_are_found_by_key_unique_key_and_id(
    either_driver: Driver, cluster: Cluster, new_topic: TopicMaker, unique: Unique
) -> None:
    driver, topic = either_driver, new_topic(4)[0].topic
    with driver.producer(cluster.namesrv, "interop-consumers-p") as producer:
        results = producer.send(
            topic, [message(f"m{i}", keys=f"order-{i} customer-{i % 2} ключ") for i in range(20)]
        )

    def found(key: str) -> list[str]:
        return sorted(bodies(driver.query_key(cluster.namesrv, topic, key)))

    # The index follows the log a little later than the send is answered.
    eventually(lambda: found("order-19"), what="the index entry of the last message")
    assert found("order-7") == ["m7"]
    assert found("customer-1") == sorted(f"m{i}" for i in range(1, 20, 2))
    assert len(found("ключ")) == 20
    with pytest.raises(JavaError):
        found("order-99")
    by_unique_key = driver.view_message(cluster.namesrv, topic, results[3].msg_id)
    by_offset_id = driver.view_message(cluster.namesrv, topic, results[3].offset_msg_id)
    assert by_unique_key.body == by_offset_id.body == b"m3"
    assert by_unique_key.log_offset == int(results[3].offset_msg_id[16:], 16)


def test_reset_offset_by_time_reaches_the_consumer_that_is_online(
    driver: Driver, cluster: Cluster, new_topic: TopicMaker, unique: Unique
) -> None:
    topic, group = new_topic(2)[0].topic, unique("reset")
    send(driver, cluster, topic, [f"m{i}" for i in range(10)])
    with driver.push_consumer(cluster.namesrv, group, {topic: "*"}) as consumer:
        assert len(consumer.poll(10)) == 10
        offsets = driver.call(
            "admin.resetOffset", namesrv=cluster.namesrv, topic=topic, group=group, timestampMs=0
        )
        assert sorted((row["queueId"], row["offset"]) for row in offsets) == [(0, 0), (1, 0)]
        again = consumer.poll(10, timeout_ms=60_000)
        assert Counter(bodies(again)) == Counter(f"m{i}" for i in range(10))


def test_the_broker_relays_questions_and_messages_to_a_consumer(
    driver: Driver, cluster: Cluster, new_topic: TopicMaker, unique: Unique
) -> None:
    queues = new_topic(2)
    topic, group = queues[0].topic, unique("relay")
    [sent] = send(driver, cluster, topic, ["directly"])
    with driver.push_consumer(cluster.namesrv, group, {topic: "a || *"}, instance="relay") as consumer:
        wait_for_queues(consumer, topic, 2)
        consumer.poll(1, timeout_ms=3000)

        answer = driver.call(
            "admin.runningInfo",
            namesrv=cluster.namesrv,
            group=group,
            clientId=consumer.client_id,
            jstack=True,
        )
        assert {"topic": topic, "expression": "a || *"} in answer["subscriptions"]
        assert "PROP_CONSUMER_START_TIMESTAMP" in answer["properties"]
        assert "main" in str(answer["jstack"])
        result = driver.call(
            "admin.consumeDirectly",
            namesrv=cluster.namesrv,
            group=group,
            clientId=consumer.client_id,
            topic=topic,
            msgId=sent.msg_id,
        )
        assert result["result"] == "CR_SUCCESS"
        assert result["order"] is False
        assert bodies(consumer.poll(1)) == ["directly"]


def test_fingerprint_heartbeats_keep_a_consumer_registered(
    driver: Driver, cluster: Cluster, new_topic: TopicMaker, unique: Unique
) -> None:
    topic, group = new_topic(2)[0].topic, unique("fingerprint")
    with driver.push_consumer(cluster.namesrv, group, {topic: "*"}, heartbeatV2=True) as consumer:
        wait_for_queues(consumer, topic, 2)
        send(driver, cluster, topic, ["m0", "m1"])
        assert Counter(bodies(consumer.poll(2))) == Counter(["m0", "m1"])
        with driver.push_consumer(cluster.namesrv, group, {topic: "*"}, heartbeatV2=True) as second:
            wait_for_queues(second, topic, 1)
            wait_for_queues(consumer, topic, 1)


def test_pulls_outside_of_a_queue_say_where_it_is(
    driver: Driver, cluster: Cluster, new_topic: TopicMaker
) -> None:
    [queue] = new_topic(1)
    send(driver, cluster, queue.topic, ["m0", "m1", "m2"])
    at_end = driver.pull(cluster.namesrv, queue, 3)
    assert (at_end.status, at_end.next_offset, at_end.min_offset, at_end.max_offset) == (
        "NO_NEW_MSG",
        3,
        0,
        3,
    )
    beyond = driver.pull(cluster.namesrv, queue, 1000)
    assert (beyond.status, beyond.next_offset, beyond.max_offset) == ("OFFSET_ILLEGAL", 3, 3)
    with pytest.raises(JavaError):
        driver.pull(cluster.namesrv, Queue(queue.topic, queue.broker, 9), 0)
    assert [m.queue_offset for m in driver.pull(cluster.namesrv, queue, 1, count=1).messages] == [1]
    unmatched = driver.pull(cluster.namesrv, queue, 0, expression="nothing")
    assert (unmatched.status, unmatched.next_offset) == ("NO_MATCHED_MSG", 3)
