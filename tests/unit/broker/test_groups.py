import pytest

from ledgermq.broker import groups as groups_module
from ledgermq.broker.groups import GroupFile, GroupTable, SubscriptionGroupConfig
from ledgermq.remoting.codes import ResponseCode
from ledgermq.remoting.command import PeerError
from ledgermq.remoting.json_body import decode_json, encode_json
from ledgermq.remoting.topic_config import DataVersion
from ledgermq.runtime.config import BrokerConfig

JAVA_GROUP = (
    b'{"attributes":{"priority.factor":"50"},"brokerId":0,"consumeBroadcastEnable":true,"consumeEnable":true,'
    b'"consumeFromMinEnable":true,"consumeMessageOrderly":false,"consumeTimeoutMinute":15,"groupName":"GroupA",'
    b'"groupRetryPolicy":{"exponentialRetryPolicy":{"initial":1000,"max":7200000,"multiplier":2},'
    b'"type":"EXPONENTIAL"},"groupSysFlag":0,"notifyConsumerIdsChangedEnable":true,"retryMaxTimes":16,'
    b'"retryQueueNums":2,"subscriptionDataSet":[{"expression":"*","expressionType":"TAG","topic":"T",'
    b'"version":1}],"whichBrokerWhenConsumeSlowly":1}'
)
"""GET_SUBSCRIPTIONGROUP_CONFIG's answer of a Java 5.5.0 broker."""

JAVA_DEFAULT_GROUP = (
    b'{"attributes":{},"brokerId":0,"consumeBroadcastEnable":true,"consumeEnable":true,'
    b'"consumeFromMinEnable":true,"consumeMessageOrderly":false,"consumeTimeoutMinute":15,'
    b'"groupName":"GroupFresh","groupRetryPolicy":{"type":"CUSTOMIZED"},"groupSysFlag":0,'
    b'"notifyConsumerIdsChangedEnable":true,"retryMaxTimes":16,"retryQueueNums":1,'
    b'"whichBrokerWhenConsumeSlowly":1}'
)


@pytest.fixture
def config() -> BrokerConfig:
    return BrokerConfig(broker_name="b")


@pytest.fixture
def groups(config: BrokerConfig) -> GroupTable:
    return GroupTable(config, 1000)


def test_groups_are_encoded_as_java_encodes_them():
    assert encode_json(decode_json(SubscriptionGroupConfig, JAVA_GROUP)) == JAVA_GROUP
    assert encode_json(SubscriptionGroupConfig(group_name="GroupFresh")) == JAVA_DEFAULT_GROUP


def test_nulls_are_left_out_again():
    policy = b'{"customizedRetryPolicy":{"next":[1]}}'
    text = b'{"groupName":"G","subscriptionDataSet":null,"groupRetryPolicy":' + policy + b"}"
    group = decode_json(SubscriptionGroupConfig, text)
    encoded = encode_json(group)
    assert b"subscriptionDataSet" not in encoded
    assert b'"groupRetryPolicy":{"customizedRetryPolicy":{"next":[1]},"type":"CUSTOMIZED"}' in encoded


def test_a_broker_has_the_system_groups_of_the_java_broker(groups):
    assert set(groups.configs) == {
        "SELF_TEST_C_GROUP",
        "CID_ONSAPI_OWNER",
        "CID_ONSAPI_PERMISSION",
        "CID_RMQ_SYS_TRANS",
        "TOOLS_CONSUMER",
        "CID_ONS-HTTP-PROXY",
        "FILTERSRV_CONSUMER",
        "CID_ONSAPI_PULL",
    }


class TestFindOrCreate:
    def test_creates_once(self, groups):
        heard: list[str] = []
        groups.listeners.append(heard.append)
        created = groups.find_or_create("G", 2000)
        assert created == SubscriptionGroupConfig(group_name="G")
        assert groups.find_or_create("G", 3000) is created
        assert groups.data_version == DataVersion(counter=1, timestamp=2000)
        assert heard == ["G"]

    def test_not_with_a_bad_name(self, groups):
        assert groups.find_or_create("a b", 2000) is None
        assert groups.find_or_create("", 2000) is None

    def test_not_when_switched_off_unless_it_is_a_system_group(self, groups, config):
        config.auto_create_subscription_group = False
        assert groups.find_or_create("G", 2000) is None
        assert groups.find_or_create("CID_RMQ_SYS_X", 2000) is not None

    def test_the_number_of_groups_has_a_limit(self, groups, monkeypatch):
        monkeypatch.setattr(groups_module, "GROUPS_MAX", len(groups.configs))
        with pytest.raises(PeerError, match="its limit"):
            groups.find_or_create("G", 2000)


def test_update_and_delete(groups):
    stored = groups.check_update(
        SubscriptionGroupConfig(group_name="G", attributes={"+priority.factor": "1"})
    )
    groups.update(stored, 2000)
    assert groups.find("G").attributes == {"priority.factor": "1"}
    stored = groups.check_update(SubscriptionGroupConfig(group_name="G", retry_max_times=3))
    groups.update(stored, 2000)
    assert groups.find("G").retry_max_times == 3
    assert groups.find("G").attributes == {"priority.factor": "1"}
    with pytest.raises(PeerError, match="unknown"):
        groups.check_update(SubscriptionGroupConfig(group_name="G", attributes={"+x": "1"}))
    with pytest.raises(PeerError, match="illegal"):
        groups.check_update(SubscriptionGroupConfig(group_name="a/b"))
    assert groups.delete("G", 3000)
    assert not groups.delete("G", 3000)
    assert groups.find("G") is None


class TestForbidden:
    def test_forbid_and_allow(self, groups):
        groups.find_or_create("G", 2000)
        groups.set_may_read("G", "T", False, 3000)
        groups.set_may_read("G", "U", False, 3000)
        assert not groups.may_read("G", "T")
        assert groups.may_read("G", "X")
        assert groups.forbidden(groups.configs) == {"G": {"T": 4, "U": 4}}
        groups.set_may_read("G", "T", True, 4000)
        assert groups.may_read("G", "T")
        assert not groups.may_read("G", "U"), "only the one topic is allowed again"
        groups.set_may_read("G", "U", True, 4000)
        assert groups.forbidden(groups.configs) == {}

    def test_no_change_no_version(self, groups):
        groups.find_or_create("G", 2000)
        groups.set_may_read("G", "T", True, 3000)
        assert groups.data_version.counter == 1

    def test_of_a_group_that_exists_only(self, groups):
        with pytest.raises(PeerError, match="does not exist") as refused:
            groups.set_may_read("G", "T", False, 3000)
        assert refused.value.code == ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST

    def test_limited(self, groups, monkeypatch):
        monkeypatch.setattr(groups_module, "FORBIDDEN_TOPICS_MAX", 1)
        groups.find_or_create("G", 2000)
        groups.set_may_read("G", "T", False, 3000)
        with pytest.raises(PeerError, match="the limit"):
            groups.set_may_read("G", "U", False, 3000)

    def test_gone_with_the_group(self, groups):
        groups.find_or_create("G", 2000)
        groups.set_may_read("G", "T", False, 3000)
        groups.delete("G", 4000)
        assert groups.may_read("G", "T")


def test_the_file_brings_everything_back(groups, config):
    groups.find_or_create("G", 2000)
    groups.set_may_read("G", "T", False, 3000)
    again = GroupTable(config, 9000)
    again.load(decode_json(GroupFile, encode_json(groups.to_file())))
    assert again.configs == groups.configs
    assert not again.may_read("G", "T")
    assert again.data_version == groups.data_version


def test_pages(groups):
    names = sorted(groups.configs)
    assert list(groups.page(0, 3, None)) == names[:3]
    assert list(groups.page(3, 3, groups.data_version.copy())) == names[3:6]
    assert list(groups.page(3, 3, DataVersion(counter=99))) == names[:3]
