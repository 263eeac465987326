import pytest

from ledgermq.broker import topics as topics_module
from ledgermq.broker.topics import TopicFile, TopicTable
from ledgermq.remoting.codes import ResponseCode
from ledgermq.remoting.command import PeerError
from ledgermq.remoting.json_body import decode_json, encode_json
from ledgermq.remoting.topic_config import PERM_READ, PERM_WRITE, DataVersion, TopicConfig
from ledgermq.runtime.config import BrokerConfig

READ_WRITE = PERM_READ | PERM_WRITE


@pytest.fixture
def config() -> BrokerConfig:
    return BrokerConfig(broker_name="broker-a", broker_cluster_name="DefaultCluster")


@pytest.fixture
def topics(config: BrokerConfig) -> TopicTable:
    return TopicTable(config, 1000)


def wanted(name: str = "T", **fields: object) -> TopicConfig:
    return TopicConfig(topic_name=name, **fields)  # type: ignore[arg-type]  # each test names its own fields


def test_a_broker_has_the_system_topics_of_the_java_broker(topics):
    # As a Java 5.5.0 broker "broker-a" of "DefaultCluster" wrote them to topics.json.
    shapes = {name: (t.read_queue_nums, t.write_queue_nums, t.perm) for name, t in topics.configs.items()}
    assert shapes == {
        "SCHEDULE_TOPIC_XXXX": (18, 18, 6),
        "SELF_TEST_TOPIC": (1, 1, 6),
        "rmq_sys_wheel_timer": (1, 1, 6),
        "DefaultCluster": (16, 16, 7),
        "RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC": (1, 1, 6),
        "DefaultCluster_REPLY_TOPIC": (1, 1, 6),
        "rmq_sys_REVIVE_LOG_DefaultCluster": (8, 8, 6),
        "RMQ_SYS_TRANS_HALF_TOPIC": (1, 1, 6),
        "rmq_sys_SYNC_BROKER_MEMBER_broker-a": (1, 1, 1),
        "broker-a": (1, 1, 7),
        "RMQ_SYS_ROCKSDB_TRANS_OP_HALF_TOPIC": (1, 1, 6),
        "RMQ_SYS_TRANS_OP_HALF_TOPIC": (1, 1, 6),
        "TBW102": (8, 8, 7),
        "BenchmarkTest": (1024, 1024, 6),
        "OFFSET_MOVED_EVENT": (1, 1, 6),
    }
    assert all(topics.is_system(name) for name in shapes)
    assert topics.is_system("RMQ_SYS_TRACE_TOPIC")
    assert "RMQ_SYS_TRACE_TOPIC" in topics.system_names()
    assert not topics.is_system("T")


def test_settings_shape_the_system_topics(config):
    config.auto_create_topic_enable = False
    config.cluster_topic_enable = False
    config.broker_topic_enable = False
    config.trace_topic_enable = True
    topics = TopicTable(config, 0)
    assert topics.find("TBW102") is None
    assert topics.get("DefaultCluster").perm == 1
    assert topics.get("broker-a").perm == 1
    assert topics.get("RMQ_SYS_TRACE_TOPIC").write_queue_nums == 1


class TestCreateForSend:
    def test_a_new_topic_follows_the_pattern_without_its_inherit_bit(self, topics):
        created = topics.create_for_send("T", "TBW102", 4, 1, 2000)
        assert created == wanted(read_queue_nums=4, write_queue_nums=4, perm=6, topic_sys_flag=1)
        assert topics.find("T") is created
        assert topics.data_version == DataVersion(counter=1, timestamp=2000)

    def test_a_known_topic_is_returned_as_it_is(self, topics):
        first = topics.create_for_send("T", "TBW102", 4, 0, 2000)
        assert topics.create_for_send("T", "TBW102", 7, 0, 3000) is first
        assert topics.data_version.counter == 1

    def test_the_pattern_limits_the_queues(self, topics):
        created = topics.create_for_send("T", "TBW102", 100, 0, 2000)
        assert created is not None
        assert created.read_queue_nums == 8

    @pytest.mark.parametrize("queue_nums", [0, -1])
    def test_a_topic_without_queues_is_refused(self, topics, queue_nums):
        with pytest.raises(PeerError, match=f"defaultTopicQueueNums={queue_nums}") as refused:
            topics.create_for_send("T", "TBW102", queue_nums, 0, 2000)
        assert refused.value.code == ResponseCode.INVALID_PARAMETER
        assert topics.find("T") is None

    @pytest.mark.parametrize("pattern", ["unknown", "SELF_TEST_TOPIC", ""])
    def test_no_pattern_no_topic(self, topics, pattern):
        assert topics.create_for_send("T", pattern, 4, 0, 2000) is None

    def test_auto_creation_can_be_switched_off_while_running(self, topics, config):
        config.auto_create_topic_enable = False
        assert topics.create_for_send("T", "TBW102", 4, 0, 2000) is None

    def test_the_number_of_topics_has_a_limit(self, topics, monkeypatch):
        monkeypatch.setattr(topics_module, "TOPICS_MAX", len(topics.configs) + 1)
        topics.create_for_send("T", "TBW102", 4, 0, 2000)
        with pytest.raises(PeerError, match="its limit"):
            topics.create_for_send("U", "TBW102", 4, 0, 2000)


class TestCreateForRetry:
    def test_created_once(self, topics):
        created = topics.create_for_retry("%RETRY%g", 1, READ_WRITE, 2, 2000)
        assert created == wanted(
            "%RETRY%g", read_queue_nums=1, write_queue_nums=1, perm=6, topic_sys_flag=2, order=False
        )
        assert topics.create_for_retry("%RETRY%g", 3, READ_WRITE, 0, 3000) is created
        assert topics.data_version.counter == 1

    def test_order_follows_the_latest_call(self, topics):
        created = topics.create_for_retry("%RETRY%g", 1, READ_WRITE, 0, 2000)
        ordered = topics.create_for_retry("%RETRY%g", 1, READ_WRITE, 0, 3000, order=True)
        assert ordered.order
        assert topics.get("%RETRY%g") is ordered
        assert not created.order, "a config is never changed in place"
        assert topics.data_version == DataVersion(counter=2, timestamp=3000)


class TestUpdate:
    def test_create_change_and_no_change(self, topics):
        heard: list[str] = []
        topics.listeners.append(heard.append)
        stored = topics.check_update(wanted(attributes={"+message.type": "FIFO"}))
        assert stored is not None
        assert topics.find("T") is None, "checking changes nothing"
        topics.update(stored, 2000)
        assert topics.get("T").attributes == {"message.type": "FIFO"}
        assert topics.check_update(wanted()) is None, "attributes not named stay"
        assert topics.check_update(wanted(attributes={"-message.type": ""})) == wanted()
        assert heard == ["T"]

    @pytest.mark.parametrize("name", ["TBW102", "rmq_sys_anything", "broker-a", "CHECKPOINT_TOPIC"])
    def test_system_topics_are_refused(self, topics, name):
        for action in (lambda: topics.check_update(wanted(name)), lambda: topics.delete(name, 0)):
            with pytest.raises(PeerError, match="is a system topic") as refused:
                action()
            assert refused.value.code == ResponseCode.INVALID_PARAMETER

    @pytest.mark.parametrize(
        ("topic", "said"),
        [
            (wanted("a/b"), "illegal"),
            (wanted(perm=8), "perm=8"),
            (wanted(perm=-1), "perm=-1"),
            (wanted(attributes={"+message.type": "MIXED"}), "enableMixedMessageType"),
            (wanted(attributes={"+x": "1"}), "unknown"),
        ],
    )
    def test_bad_fields_are_named(self, topics, topic, said):
        with pytest.raises(PeerError, match=said):
            topics.check_update(topic)

    def test_mixed_types_can_be_allowed(self, topics, config):
        config.enable_mixed_message_type = True
        assert topics.check_update(wanted(attributes={"+message.type": "MIXED"})) is not None


def test_delete(topics):
    topics.create_for_send("T", "TBW102", 4, 0, 2000)
    assert topics.delete("T", 3000)
    assert topics.find("T") is None
    assert topics.data_version == DataVersion(counter=2, timestamp=3000)
    assert not topics.delete("T", 4000)
    assert topics.data_version.counter == 2
    with pytest.raises(PeerError, match="blank"):
        topics.delete(" ", 0)
    with pytest.raises(PeerError, match="'T' does not exist") as missing:
        topics.get("T")
    assert missing.value.code == ResponseCode.TOPIC_NOT_EXIST


def test_ordered_topics_of_the_name_server_become_ordered(topics):
    topics.create_for_send("T", "TBW102", 4, 0, 2000)
    topics.mark_ordered(["T", "unknown"], 3000)
    topics.mark_ordered(["T"], 4000)
    assert topics.get("T").order
    assert topics.data_version == DataVersion(counter=2, timestamp=3000)


def test_pages_go_through_the_sorted_names(topics):
    every = topics.page(0, None, None)
    assert list(every) == sorted(topics.configs)
    assert list(topics.page(0, 2, None)) == list(every)[:2]
    assert list(topics.page(2, 2, topics.data_version.copy())) == list(every)[2:4]
    assert list(topics.page(2, 2, None)) == list(every)[:2], "another table: from the start"
    assert topics.page(1000, 2, topics.data_version.copy()) == {}
    assert topics.page(0, -1, None) == {}


def test_the_file_brings_everything_back(topics, config):
    topics.create_for_send("T", "TBW102", 4, 0, 2000)
    topics.update(wanted("TBW102", write_queue_nums=2), 3000)
    again = TopicTable(config, 9000)
    again.load(decode_json(TopicFile, encode_json(topics.to_file())))
    assert again.configs == topics.configs
    assert again.data_version == topics.data_version
    assert again.data_version is not topics.data_version


def test_an_old_java_file_is_read():
    text = b'{"dataVersion":{"counter":3,"timestamp":7},"topicConfigTable":{"T":{"order":false,"perm":6,\
"readQueueNums":4,"topicFilterType":"SINGLE_TAG","topicName":"T","topicSysFlag":0,"writeQueueNums":4}}}'
    file = decode_json(TopicFile, text)
    assert file.topic_config_table["T"] == wanted(read_queue_nums=4, write_queue_nums=4)
    assert file.data_version == DataVersion(counter=3, timestamp=7)
