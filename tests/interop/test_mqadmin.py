"""mqadmin's own commands against the broker and name server, their printed answers read back."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable

import pytest
from tests.interop.conftest import TopicMaker
from tests.interop.harness.cluster import Cluster
from tests.interop.harness.driver import Driver, JavaError, Queue, SendResult, message
from tests.interop.harness.mqadmin import Mqadmin, read_table
from tests.interop.harness.programs import eventually

Unique = Callable[[str], str]


def send(driver: Driver, cluster: Cluster, topic: str, count: int, **fields: object) -> list[SendResult]:
    with driver.producer(cluster.namesrv, "interop-mqadmin-p") as producer:
        return producer.send(topic, [message(f"m{i}", **fields) for i in range(count)])


def consume(driver: Driver, cluster: Cluster, topic: str, group: str, count: int) -> None:
    """Leaves the group with its offsets after `count` messages of the topic."""
    with driver.push_consumer(cluster.namesrv, group, {topic: "*"}) as consumer:
        assert len(consumer.poll(count)) == count


# Topics


def test_update_topic_creates_and_changes(
    mqadmin: Mqadmin, driver: Driver, cluster: Cluster, unique: Unique
) -> None:
    topic, address = unique("topic"), cluster.broker.address
    out = mqadmin.run("updateTopic", "-b", address, "-t", topic, "-r", "6", "-w", "5", "-p", "6")
    assert f"create topic to {address} success" in out
    driver.wait_for_route(cluster.namesrv, topic)
    route = mqadmin.run("topicRoute", "-t", topic)
    assert re.search(r'"readQueueNums":\s*6', route)
    assert re.search(r'"writeQueueNums":\s*5', route)
    assert f'0:"{address}"' in route
    assert topic in mqadmin.run("topicList").split()

    mqadmin.run(
        "updateTopic",
        "-c",
        "DefaultCluster",
        "-t",
        topic,
        "-r",
        "3",
        "-w",
        "3",
        "-p",
        "4",
        "-a",
        "+message.type=FIFO",
    )
    config = driver.call("admin.topicConfig", namesrv=cluster.namesrv, address=address, topic=topic)
    assert (config["readQueueNums"], config["writeQueueNums"], config["perm"]) == (3, 3, 4)
    assert config["attributes"] == {"message.type": "FIFO"}


def test_update_topic_refuses_names_it_may_not_have(mqadmin: Mqadmin, cluster: Cluster) -> None:
    for name in ("with space", "a" * 300, "SCHEDULE_TOPIC_XXXX"):
        with pytest.raises(JavaError):
            mqadmin.run("updateTopic", "-b", cluster.broker.address, "-t", name)


def test_update_topic_perm(mqadmin: Mqadmin, driver: Driver, cluster: Cluster, new_topic: TopicMaker) -> None:
    topic = new_topic(2)[0].topic
    mqadmin.run("updateTopicPerm", "-b", cluster.broker.address, "-t", topic, "-p", "4")
    config = driver.call(
        "admin.topicConfig", namesrv=cluster.namesrv, address=cluster.broker.address, topic=topic
    )
    assert config["perm"] == 4


def test_delete_topic(mqadmin: Mqadmin, driver: Driver, cluster: Cluster, new_topic: TopicMaker) -> None:
    topic = new_topic(2)[0].topic
    send(driver, cluster, topic, 4)
    out = mqadmin.run("deleteTopic", "-c", "DefaultCluster", "-t", topic)
    assert f"delete topic [{topic}] from cluster [DefaultCluster] success." in out
    assert f"delete topic [{topic}] from NameServer success." in out
    eventually(lambda: driver.route(cluster.namesrv, topic) is None, what="the route to go")
    assert topic not in mqadmin.run("topicList").split()
    with pytest.raises(JavaError):
        driver.call("admin.topicConfig", namesrv=cluster.namesrv, address=cluster.broker.address, topic=topic)


def test_topic_list_with_clusters_and_groups(
    mqadmin: Mqadmin, driver: Driver, cluster: Cluster, new_topic: TopicMaker, unique: Unique
) -> None:
    topic, group = new_topic(1)[0].topic, unique("group")
    send(driver, cluster, topic, 1)
    consume(driver, cluster, topic, group, 1)
    rows = read_table(mqadmin.run("topicList", "-c"))
    assert {"Cluster Name": "DefaultCluster", "Topic": topic, "Consumer Group": group} in rows


def test_topic_status_and_cluster_list(
    mqadmin: Mqadmin, driver: Driver, cluster: Cluster, new_topic: TopicMaker
) -> None:
    topic = new_topic(4)[0].topic
    before_ms = time.time() * 1000
    send(driver, cluster, topic, 8)
    rows = mqadmin.table("topicStatus", "-t", topic)
    found = [(row["Broker Name"], row["QID"], row["Min Offset"], row["Max Offset"]) for row in rows]
    assert found == [("broker-a", str(i), "0", "2") for i in range(4)]
    for row in rows:
        updated = time.mktime(time.strptime(row["Last Updated"].split(",")[0], "%Y-%m-%d %H:%M:%S"))
        assert abs(updated * 1000 - before_ms) < 60_000
    assert mqadmin.run("topicClusterList", "-t", topic).split() == ["DefaultCluster"]


# Subscription groups


def test_subscription_groups_are_created_read_and_deleted(
    mqadmin: Mqadmin, driver: Driver, cluster: Cluster, unique: Unique
) -> None:
    group, address = unique("subgroup"), cluster.broker.address
    out = mqadmin.run(
        "updateSubGroup", "-b", address, "-g", group, "-r", "7", "-q", "2", "-o", "true", "-d", "false"
    )
    assert f"create subscription group to {address} success" in out
    settings = mqadmin.settings("getConsumerConfig", "-g", group)
    assert settings["groupName"] == group
    assert settings["retryMaxTimes"] == "7"
    assert settings["retryQueueNums"] == "2"
    assert settings["consumeMessageOrderly"] == "true"
    assert settings["consumeBroadcastEnable"] == "false"

    out = mqadmin.run("deleteSubGroup", "-b", address, "-g", group, "-r", "true")
    assert f"delete subscription group [{group}] from broker [{address}] success." in out
    assert "retryMaxTimes" not in mqadmin.settings("getConsumerConfig", "-g", group)


def test_a_group_that_may_not_consume_is_refused(
    mqadmin: Mqadmin, driver: Driver, cluster: Cluster, new_topic: TopicMaker, unique: Unique
) -> None:
    [queue] = new_topic(1)
    send(driver, cluster, queue.topic, 1)
    mqadmin.run("updateSubGroup", "-b", cluster.broker.address, "-g", "INTEROP_QUEUE_READER", "-s", "false")
    try:
        with pytest.raises(JavaError) as refusal:
            driver.pull(cluster.namesrv, queue, 0)
        assert refusal.value.code == 16
    finally:
        mqadmin.run(
            "updateSubGroup", "-b", cluster.broker.address, "-g", "INTEROP_QUEUE_READER", "-s", "true"
        )
    assert driver.pull(cluster.namesrv, queue, 0).status == "FOUND"


# Consumers and producers


def test_consumer_progress_of_a_group_and_of_all(
    mqadmin: Mqadmin, driver: Driver, cluster: Cluster, new_topic: TopicMaker, unique: Unique
) -> None:
    topic, group = new_topic(2)[0].topic, unique("progress")
    send(driver, cluster, topic, 6)
    consume(driver, cluster, topic, group, 6)
    send(driver, cluster, topic, 4)

    out = mqadmin.run("consumerProgress", "-g", group)
    rows = [row for row in read_table(out) if row["Topic"] == topic]
    assert Counter((row["Broker Offset"], row["Consumer Offset"], row["Diff"]) for row in rows) == Counter(
        [("5", "3", "2")] * 2
    )
    assert re.search(r"^Consume Diff Total: 4$", out, re.MULTILINE)
    [row] = [row for row in mqadmin.table("consumerProgress") if row["Group"] == group]
    assert row["Count"] == "0"  # nobody is online


def test_consumer_connection_and_status(
    mqadmin: Mqadmin, driver: Driver, cluster: Cluster, new_topic: TopicMaker, unique: Unique
) -> None:
    topic, group = new_topic(2)[0].topic, unique("connection")
    with driver.push_consumer(cluster.namesrv, group, {topic: "red || blue"}) as consumer:
        out = mqadmin.run("consumerConnection", "-g", group)
        [row] = read_table(out)
        assert (row["ClientId"], row["Language"], row["Version"]) == (consumer.client_id, "JAVA", "V5_5_0")
        assert row["ClientAddr"].startswith("127.0.0.1:")
        subscriptions = read_table(out[out.index("#Topic") :])
        assert {"Topic": topic, "SubExpression": "red || blue"} in subscriptions
        assert {"Topic": f"%RETRY%{group}", "SubExpression": "*"} in subscriptions
        settings = dict(re.findall(r"^(\w+): (\w+)", out, re.MULTILINE))
        assert settings["ConsumeType"] == "CONSUME_PASSIVELY"
        assert settings["MessageModel"] == "CLUSTERING"
        assert settings["ConsumeFromWhere"] == "CONSUME_FROM_FIRST_OFFSET"

        status = mqadmin.run("consumerStatus", "-g", group)
        assert consumer.client_id in status
        info = mqadmin.run("consumerStatus", "-g", group, "-i", consumer.client_id, "-s")
        assert "#Consumer Properties#" in info
        assert topic in info
    with pytest.raises(JavaError):
        mqadmin.run("consumerConnection", "-g", group)


def test_producer_connection_and_producers(
    mqadmin: Mqadmin, driver: Driver, cluster: Cluster, new_topic: TopicMaker, unique: Unique
) -> None:
    topic, group = new_topic(1)[0].topic, unique("producers")
    with driver.producer(cluster.namesrv, group) as producer:
        producer.send(topic, [message("so that it knows the broker")])

        def connections() -> str | None:
            try:
                return mqadmin.run("producerConnection", "-g", group, "-t", topic)
            except JavaError:  # its heartbeat is not there yet
                return None

        # A producer that starts before it knows a broker sends its first heartbeat some time later.
        out = eventually(connections, 60, what="the producer's heartbeat")
        [connection] = re.findall(r"^\d+ +(\S+) +(127\.0\.0\.1:\d+) +(\S+) +(\S+)$", out, re.MULTILINE)
        assert connection[0] == producer.client_id
        assert connection[2:] == ("JAVA", "V5_5_0")
        everyone = mqadmin.run("producer", "-b", cluster.broker.address)
        assert re.search(rf"producer group \({group}\) instance.*{re.escape(producer.client_id)}", everyone)


# Cluster, broker and statistics


def test_cluster_list(mqadmin: Mqadmin, cluster: Cluster) -> None:
    [row] = mqadmin.table("clusterList")
    assert row["Cluster Name"] == "DefaultCluster"
    assert row["Broker Name"] == "broker-a"
    assert row["BID"] == "0"
    assert row["Addr"] == cluster.broker.address
    assert row["Version"] == "V5_5_0"
    [row] = mqadmin.table("clusterList", "-m")
    assert row["Broker Name"] == "broker-a"
    assert int(row["InTotalYest"]) == 0
    assert int(row["InTotalToday"]) >= 0


def test_broker_status_counts_messages(
    mqadmin: Mqadmin, driver: Driver, cluster: Cluster, new_topic: TopicMaker
) -> None:
    topic = new_topic(1)[0].topic

    def status() -> dict[str, str]:
        return mqadmin.settings("brokerStatus", "-b", cluster.broker.address)

    before = status()
    send(driver, cluster, topic, 7)
    driver.read_queue(cluster.namesrv, Queue(topic, cluster.broker.name, 0))
    after = status()
    assert int(after["msgPutTotalTodayNow"]) - int(before["msgPutTotalTodayNow"]) >= 7
    assert int(after["msgGetTotalTodayNow"]) - int(before["msgGetTotalTodayNow"]) >= 7
    assert int(after["commitLogMaxOffset"]) > int(before["commitLogMaxOffset"])
    assert after["commitLogMinOffset"] == "0"
    assert after["brokerVersionDesc"] == "V5_5_0"
    assert 0 <= float(after["commitLogDiskRatio"]) <= 1
    assert abs(int(after["bootTimestamp"]) - time.time() * 1000) < 3_600_000
    for name in ("putTps", "getFoundTps", "putMessageDistributeTime", "remainTransientStoreBufferNumbs"):
        assert name in after, name


def test_broker_config_is_read_and_changed(mqadmin: Mqadmin, cluster: Cluster) -> None:
    address = cluster.broker.address
    settings = mqadmin.settings("getBrokerConfig", "-b", address)
    assert settings["brokerName"] == "broker-a"
    assert settings["listenPort"] == address.split(":")[1]
    assert settings["mappedFileSizeCommitLog"] == "16777216"
    assert settings["flushDiskType"] == "ASYNC_FLUSH"
    assert settings["fileReservedTime"] == "48"

    out = mqadmin.run("updateBrokerConfig", "-b", address, "-k", "fileReservedTime", "-v", "47")
    assert "update broker config success" in out
    assert mqadmin.settings("getBrokerConfig", "-b", address)["fileReservedTime"] == "47"
    mqadmin.run("updateBrokerConfig", "-c", "DefaultCluster", "-k", "fileReservedTime", "-v", "48")
    assert mqadmin.settings("getBrokerConfig", "-c", "DefaultCluster")["fileReservedTime"] == "48"


def test_stats_of_a_topic_and_its_group(
    mqadmin: Mqadmin, driver: Driver, cluster: Cluster, new_topic: TopicMaker, unique: Unique
) -> None:
    topic, group = new_topic(2)[0].topic, unique("stats")
    send(driver, cluster, topic, 6)
    consume(driver, cluster, topic, group, 6)
    send(driver, cluster, topic, 2)
    [row] = mqadmin.table("statsAll", "-t", topic)
    assert row["Topic"] == topic
    assert row["Consumer Group"] == group
    assert row["Accumulation"] == "2"


# Messages


@pytest.fixture
def three(driver: Driver, cluster: Cluster, new_topic: TopicMaker) -> list[SendResult]:
    """Three messages with the key "k<i>" and the tag "red", in one queue, and their index entries."""
    topic = new_topic(1)[0].topic
    with driver.producer(cluster.namesrv, "interop-mqadmin-p") as producer:
        results = producer.send(topic, [message(f"body {i}", keys=f"k{i}", tags="red") for i in range(3)])

    def indexed() -> bool:
        try:
            return bool(driver.query_key(cluster.namesrv, topic, "k2"))
        except JavaError:  # "query message by key finished, but no message"
            return False

    eventually(indexed, what="the index entry of the last message")
    return results


def test_query_msg_by_id(mqadmin: Mqadmin, cluster: Cluster, three: list[SendResult]) -> None:
    sent = three[1]
    details = dict(
        re.findall(
            r"^(\S.*?): +(.*?)$",
            mqadmin.run("queryMsgById", "-t", sent.queue.topic, "-i", sent.offset_msg_id),
            re.MULTILINE,
        )
    )
    assert details["OffsetID"] == sent.offset_msg_id
    assert details["Topic"] == sent.queue.topic
    assert details["Tags"] == "[red]"
    assert details["Keys"] == "[k1]"
    assert details["Queue ID"] == "0"
    assert details["Queue Offset"] == "1"
    assert details["CommitLog Offset"] == str(int(sent.offset_msg_id[16:], 16))
    assert details["Reconsume Times"] == "0"
    assert details["Store Host"] == cluster.broker.address
    assert "Message Body Path" in details or "Message Body" in details


def test_query_msg_by_key(mqadmin: Mqadmin, three: list[SendResult]) -> None:
    [row] = mqadmin.table("queryMsgByKey", "-t", three[0].queue.topic, "-k", "k2")
    assert row["Message ID"] == three[2].msg_id
    assert (row["QID"], row["Offset"]) == ("0", "2")


def test_query_msg_by_unique_key(mqadmin: Mqadmin, three: list[SendResult]) -> None:
    out = mqadmin.run("queryMsgByUniqueKey", "-t", three[0].queue.topic, "-i", three[0].msg_id)
    details = dict(re.findall(r"^(\S.*?): +(.*?)$", out, re.MULTILINE))
    assert details["Topic"] == three[0].queue.topic
    assert details["Keys"] == "[k0]"
    assert details["Queue Offset"] == "0"


def test_query_msg_by_offset_and_print_by_queue(
    mqadmin: Mqadmin, cluster: Cluster, three: list[SendResult]
) -> None:
    topic = three[0].queue.topic
    out = mqadmin.run("queryMsgByOffset", "-t", topic, "-b", cluster.broker.name, "-i", "0", "-o", "1")
    assert three[1].offset_msg_id in out
    out = mqadmin.run(
        "printMsgByQueue", "-t", topic, "-a", cluster.broker.name, "-i", "0", "-p", "true", "-d", "true"
    )
    assert re.findall(r"BODY: (body \d)", out) == ["body 0", "body 1", "body 2"]


def test_print_msg(mqadmin: Mqadmin, three: list[SendResult]) -> None:
    out = mqadmin.run("printMsg", "-t", three[0].queue.topic, "-d", "true")
    assert "minOffset=0, maxOffset=3" in out
    assert re.findall(r"BODY: (body \d)", out) == ["body 0", "body 1", "body 2"]
    assert all(sent.msg_id in out for sent in three)


def test_print_msg_between_times(mqadmin: Mqadmin, three: list[SendResult]) -> None:
    out = mqadmin.run(
        "printMsg", "-t", three[0].queue.topic, "-b", "0", "-e", str(int(time.time() * 1000) - 3_600_000)
    )
    assert "BODY" not in out


def test_consume_message(mqadmin: Mqadmin, cluster: Cluster, three: list[SendResult]) -> None:
    words = ["-t", three[0].queue.topic, "-b", cluster.broker.name, "-i", "0", "-o", "1", "-c", "2"]
    out = mqadmin.run("consumeMessage", *words)
    assert re.findall(r"BODY: (body \d)", out) == ["body 1", "body 2"]


def test_send_message(mqadmin: Mqadmin, driver: Driver, cluster: Cluster, new_topic: TopicMaker) -> None:
    queues = new_topic(2)
    topic = queues[0].topic
    words = [
        "-t",
        topic,
        "-p",
        "by mqadmin",
        "-k",
        "key1",
        "-c",
        "blue",
        "-b",
        cluster.broker.name,
        "-i",
        "1",
    ]
    [row] = mqadmin.table("sendMessage", *words)
    assert (row["Broker Name"], row["QID"], row["Send Result"]) == (cluster.broker.name, "1", "SEND_OK")
    [stored] = driver.read_queue(cluster.namesrv, queues[1])
    assert (stored.body, stored.keys, stored.tags) == (b"by mqadmin", "key1", "blue")
    assert stored.msg_id == row["MsgId"]


def test_query_cq(mqadmin: Mqadmin, cluster: Cluster, three: list[SendResult], unique: Unique) -> None:
    words = ["-t", three[0].queue.topic, "-q", "0", "-i", "1", "-c", "5", "-b", cluster.broker.address]
    out = mqadmin.run("queryCq", *words)
    assert "max: 3, min: 0" in out
    units = re.findall(
        r"idx: (\d+)\s+ConsumeQueueData\{physicOffset=(\d+), physicSize=(\d+), tagsCode=(-?\d+)", out
    )
    red_hash = 112785  # "red".hashCode()
    assert [(int(idx), int(offset), int(tags)) for idx, offset, _, tags in units] == [
        (i, int(three[i].offset_msg_id[16:], 16), red_hash) for i in (1, 2)
    ]


# Offsets


def test_reset_offset_by_time_of_a_group_that_is_offline(
    mqadmin: Mqadmin, driver: Driver, cluster: Cluster, new_topic: TopicMaker, unique: Unique
) -> None:
    queues = new_topic(2)
    topic, group = queues[0].topic, unique("offline")
    send(driver, cluster, topic, 6)
    consume(driver, cluster, topic, group, 6)
    mqadmin.run("resetOffsetByTime", "-g", group, "-t", topic, "-s", "0")
    with driver.push_consumer(cluster.namesrv, group, {topic: "*"}) as consumer:
        assert Counter(m.body.decode() for m in consumer.poll(6)) == Counter(f"m{i}" for i in range(6))


def test_clone_group_offset(
    mqadmin: Mqadmin, driver: Driver, cluster: Cluster, new_topic: TopicMaker, unique: Unique
) -> None:
    queues = new_topic(2)
    topic, group, copy = queues[0].topic, unique("clone-from"), unique("clone-to")
    send(driver, cluster, topic, 6)
    consume(driver, cluster, topic, group, 6)
    send(driver, cluster, topic, 6)
    mqadmin.run("updateSubGroup", "-b", cluster.broker.address, "-g", copy)
    mqadmin.run("cloneGroupOffset", "-s", group, "-d", copy, "-t", topic)
    assert [driver.committed(cluster.namesrv, copy, queue) for queue in queues] == [3, 3]


# Name server


def test_write_permission_is_wiped_and_given_back(
    mqadmin: Mqadmin, driver: Driver, cluster: Cluster, new_topic: TopicMaker
) -> None:
    topic = new_topic(1)[0].topic

    def perm() -> int:
        route = driver.route(cluster.namesrv, topic)
        assert route is not None
        answer: int = route["queueDatas"][0]["perm"]
        return answer

    out = mqadmin.run("wipeWritePerm", "-b", cluster.broker.name)
    assert re.search(r"wipe write perm of broker\[broker-a\] in name server\[[^]]*\] OK, [1-9]\d*", out)
    try:
        assert perm() == 4
    finally:
        out = mqadmin.run("addWritePerm", "-b", cluster.broker.name)
    assert re.search(r"add write perm of broker\[broker-a\] in name server\[[^]]*\] OK, [1-9]\d*", out)
    assert perm() == 6


def test_kv_config_and_order_conf(mqadmin: Mqadmin, new_topic: TopicMaker) -> None:
    assert "success" in mqadmin.run("updateKvConfig", "-s", "INTEROP", "-k", "name", "-v", "value")
    assert "success" in mqadmin.run("deleteKvConfig", "-s", "INTEROP", "-k", "name")
    topic = new_topic(1)[0].topic
    assert "success" in mqadmin.run("updateOrderConf", "-m", "put", "-t", topic, "-v", "broker-a:4")
    assert "broker-a:4" in mqadmin.run("updateOrderConf", "-m", "get", "-t", topic)
    assert "success" in mqadmin.run("updateOrderConf", "-m", "delete", "-t", topic)


def test_namesrv_config_is_read_and_changed(mqadmin: Mqadmin, cluster: Cluster) -> None:
    settings = mqadmin.settings("getNamesrvConfig")
    assert settings["listenPort"] == cluster.namesrv.split(":")[1]
    out = mqadmin.run("updateNamesrvConfig", "-k", "orderMessageEnable", "-v", "true")
    assert "success" in out
    assert mqadmin.settings("getNamesrvConfig")["orderMessageEnable"] == "true"
    mqadmin.run("updateNamesrvConfig", "-k", "orderMessageEnable", "-v", "false")
    assert mqadmin.settings("getNamesrvConfig")["orderMessageEnable"] == "false"
