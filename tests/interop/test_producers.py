"""The stock Java producer in every way of sending, read back at the offsets the broker answered."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from tests.interop.conftest import TopicMaker
from tests.interop.harness.cluster import Cluster
from tests.interop.harness.driver import (
    MESSAGE_ILLEGAL,
    NO_PERMISSION,
    NOT_FOUND_TOPIC,
    Driver,
    JavaError,
    Queue,
    Received,
    SendResult,
    message,
)
from tests.interop.harness.programs import eventually

GROUP = "interop-producers"
COMPRESSION_TYPE = {"ZLIB": 0x300, "LZ4": 0x100, "ZSTD": 0x200}


def read_at(driver: Driver, cluster: Cluster, result: SendResult) -> Received:
    """The one message at the queue offset a send was answered with."""
    answer = driver.pull(cluster.namesrv, result.queue, result.queue_offset, count=1)
    assert answer.status == "FOUND"
    return answer.messages[0]


def read_topic(driver: Driver, cluster: Cluster, queues: list[Queue]) -> list[Received]:
    return [received for queue in queues for received in driver.read_queue(cluster.namesrv, queue)]


def wait_for_count(driver: Driver, cluster: Cluster, queues: list[Queue], count: int) -> None:
    def look() -> bool:
        return sum(driver.offsets(cluster.namesrv, queue)[1] for queue in queues) == count

    eventually(look, what=f"{count} messages in {queues[0].topic}")


def test_sync_sends_go_round_the_queues_and_are_readable_at_their_offsets(
    either_driver: Driver, cluster: Cluster, new_topic: TopicMaker
) -> None:
    queues = new_topic(4)
    topic = queues[0].topic
    sent = [
        message(
            f"body {i} é漢字",
            tags=f"tag{i % 3}",
            keys=f"key{i} other{i}",
            flag=i,
            properties={"ключ": "値=;"},
        )
        for i in range(20)
    ]
    with either_driver.producer(cluster.namesrv, GROUP) as producer:
        results = producer.send(topic, sent)

    assert [result.status for result in results] == ["SEND_OK"] * 20
    assert {result.queue for result in results} == set(queues)
    for queue in queues:
        offsets = [result.queue_offset for result in results if result.queue == queue]
        assert offsets == list(range(5))
    for i, result in enumerate(results):
        received = read_at(either_driver, cluster, result)
        assert received.topic == topic
        assert received.queue_offset == result.queue_offset
        assert received.body.decode() == f"body {i} é漢字"
        assert received.tags == f"tag{i % 3}"
        assert received.keys == f"key{i} other{i}"
        assert received.properties["ключ"] == "値=;"
        assert received.flag == i
        assert received.sys_flag == 0
        assert received.msg_id == result.msg_id == received.properties["UNIQ_KEY"]
        assert received.offset_msg_id == result.offset_msg_id
        assert received.store_host == f"/{cluster.broker.address}"
        assert received.properties["CLUSTER"] == "DefaultCluster"
        assert result.region_id == "DefaultRegion"
    log_offsets = [int(result.offset_msg_id[16:], 16) for result in results]
    assert log_offsets == sorted(log_offsets)


def test_async_sends_call_back_with_the_offset_of_each(
    either_driver: Driver, cluster: Cluster, new_topic: TopicMaker
) -> None:
    queues = new_topic(4)
    with either_driver.producer(cluster.namesrv, GROUP) as producer:
        results = producer.send(queues[0].topic, [message(f"async {i}") for i in range(200)], mode="async")
    stored = {
        (received.queue_id, received.queue_offset): received.body.decode()
        for received in read_topic(either_driver, cluster, queues)
    }
    assert len(stored) == 200
    for i, result in enumerate(results):
        assert stored[result.queue.queue_id, result.queue_offset] == f"async {i}"


def test_oneway_sends_arrive(either_driver: Driver, cluster: Cluster, new_topic: TopicMaker) -> None:
    queues = new_topic(2)
    with either_driver.producer(cluster.namesrv, GROUP) as producer:
        producer.send(queues[0].topic, [message(f"oneway {i}") for i in range(50)], mode="oneway")
        wait_for_count(either_driver, cluster, queues, 50)
    bodies = {received.body.decode() for received in read_topic(either_driver, cluster, queues)}
    assert bodies == {f"oneway {i}" for i in range(50)}


def test_a_batch_is_one_run_of_offsets_in_one_queue(
    either_driver: Driver, cluster: Cluster, new_topic: TopicMaker
) -> None:
    queues = new_topic(4)
    batch = [message(f"batch {i}", tags="b", keys=f"b{i}", properties={"n": str(i)}) for i in range(32)]
    with either_driver.producer(cluster.namesrv, GROUP) as producer:
        [first] = producer.send(queues[0].topic, batch, mode="batch")
        [second] = producer.send(queues[0].topic, batch[:3], mode="batch")
    assert first.status == "SEND_OK"
    assert first.queue_offset == 0
    stored = either_driver.read_queue(cluster.namesrv, first.queue)
    assert [received.queue_offset for received in stored[:32]] == list(range(32))
    assert [received.body.decode() for received in stored[:32]] == [f"batch {i}" for i in range(32)]
    assert [received.keys for received in stored[:32]] == [f"b{i}" for i in range(32)]
    assert [received.properties["n"] for received in stored[:32]] == [str(i) for i in range(32)]
    assert [received.msg_id for received in stored[:32]] == first.msg_id.split(",")
    assert [received.offset_msg_id for received in stored[:32]] == first.offset_msg_id.split(",")
    assert len(either_driver.read_queue(cluster.namesrv, second.queue)) == (
        35 if second.queue == first.queue else 3
    )


def test_a_selector_keeps_the_messages_of_a_key_in_order(
    either_driver: Driver, cluster: Cluster, new_topic: TopicMaker
) -> None:
    queues = new_topic(4)
    sent = [message(f"order-{i % 5} step {i // 5}", sharding_key=f"order-{i % 5}") for i in range(50)]
    with either_driver.producer(cluster.namesrv, GROUP) as producer:
        results = producer.send(queues[0].topic, sent, mode="select")
    for order in range(5):
        assert len({result.queue for result in results[order::5]}) == 1
    for queue in queues:
        steps: dict[str, list[int]] = {}
        for received in either_driver.read_queue(cluster.namesrv, queue):
            order_name, _, step = received.body.decode().partition(" step ")
            steps.setdefault(order_name, []).append(int(step))
        assert all(taken == list(range(10)) for taken in steps.values())


def test_a_send_to_a_chosen_queue(driver: Driver, cluster: Cluster, new_topic: TopicMaker) -> None:
    queues = new_topic(4)
    with driver.producer(cluster.namesrv, GROUP) as producer:
        [result] = producer.send(
            queues[0].topic, [message("chosen")], mode="queue", broker=queues[3].broker, queueId=3
        )
    assert result.queue == queues[3]
    assert read_at(driver, cluster, result).body == b"chosen"


def test_the_fast_port_takes_sends_too(driver: Driver, cluster: Cluster, new_topic: TopicMaker) -> None:
    queues = new_topic(1)
    with driver.producer(cluster.namesrv, GROUP, vipChannel=True) as producer:
        [result] = producer.send(queues[0].topic, [message("by the fast port")])
    received = read_at(driver, cluster, result)
    assert received.body == b"by the fast port"
    assert received.store_host == f"/{cluster.broker.address}"


def test_an_unknown_topic_is_created_from_the_defaults(
    driver: Driver, cluster: Cluster, unique: Callable[[str], str]
) -> None:
    topic = unique("auto")
    with driver.producer(cluster.namesrv, GROUP, topicQueueCount=3) as producer:
        [result] = producer.send(topic, [message("first")])
    assert result.status == "SEND_OK"
    assert read_at(driver, cluster, result).body == b"first"
    route = driver.wait_for_route(cluster.namesrv, topic)
    [queue_data] = route["queueDatas"]
    assert (queue_data["readQueueNums"], queue_data["writeQueueNums"], queue_data["perm"]) == (3, 3, 6)


@pytest.mark.parametrize("compress_type", ["ZLIB", "LZ4", "ZSTD"])
def test_a_large_body_is_stored_compressed_and_read_whole(
    either_driver: Driver, cluster: Cluster, new_topic: TopicMaker, compress_type: str
) -> None:
    queues = new_topic(1)
    body = b"".join(b"line %d of a body that compresses well\n" % i for i in range(20_000))
    with either_driver.producer(cluster.namesrv, GROUP, compressType=compress_type) as producer:
        [result] = producer.send(queues[0].topic, [message(body)])
    received = read_at(either_driver, cluster, result)
    assert received.body == body
    # The client clears the compressed bit when it has decompressed; the type stays.
    assert received.sys_flag == COMPRESSION_TYPE[compress_type]
    assert received.store_size < len(body) // 2


def test_a_body_of_almost_four_mebibytes_uncompressed(
    either_driver: Driver, cluster: Cluster, new_topic: TopicMaker
) -> None:
    queues = new_topic(1)
    body = bytes(range(256)) * (4 * 1024 * 4 - 8)
    with either_driver.producer(cluster.namesrv, GROUP, compressOverBytes=2**31 - 1) as producer:
        [result] = producer.send(queues[0].topic, [message(body)])
    received = read_at(either_driver, cluster, result)
    assert received.body == body
    assert received.sys_flag == 0


def test_a_body_above_the_limit_is_refused_with_message_illegal(
    driver: Driver, cluster: Cluster, new_topic: TopicMaker
) -> None:
    queues = new_topic(1)
    sizes = {"compressOverBytes": 2**31 - 1, "maxMessageBytes": 8 * 1024 * 1024}
    with driver.producer(cluster.namesrv, GROUP, **sizes) as producer:
        with pytest.raises(JavaError) as failure:
            producer.send(queues[0].topic, [message(bytes(4 * 1024 * 1024 + 1))])
        assert failure.value.code == MESSAGE_ILLEGAL
        [result] = producer.send(queues[0].topic, [message("the connection is still good")])
    assert result.queue_offset == 0


def test_a_topic_without_read_permission_refuses_pulls(
    driver: Driver, cluster: Cluster, unique: Callable[[str], str]
) -> None:
    [queue] = driver.new_topic(cluster, unique("write-only"), 1, perm=2)
    with driver.producer(cluster.namesrv, GROUP) as producer:
        producer.send(queue.topic, [message("unread")])
    with pytest.raises(JavaError) as failure:
        driver.pull(cluster.namesrv, queue, 0)
    assert failure.value.code == NO_PERMISSION


def test_a_topic_without_write_permission_offers_no_queue_to_producers(
    driver: Driver, cluster: Cluster, unique: Callable[[str], str]
) -> None:
    [queue] = driver.new_topic(cluster, unique("read-only"), 1, perm=4)
    with driver.producer(cluster.namesrv, GROUP) as producer, pytest.raises(JavaError) as failure:
        producer.send(queue.topic, [message("unsent")])
    assert failure.value.code == NOT_FOUND_TOPIC
    assert driver.offsets(cluster.namesrv, queue) == (0, 0)


def test_a_queue_id_beyond_the_topic_is_refused(
    driver: Driver, cluster: Cluster, new_topic: TopicMaker
) -> None:
    queues = new_topic(2)
    with driver.producer(cluster.namesrv, GROUP) as producer, pytest.raises(JavaError) as failure:
        producer.send(queues[0].topic, [message("lost")], mode="queue", broker=queues[0].broker, queueId=7)
    assert re.search("queueId", failure.value.message)
