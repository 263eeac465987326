"""A follower of a Java master: what its answers change, and which are not taken."""

from __future__ import annotations

from collections.abc import Callable, Coroutine

import pytest
from tests.unit.broker.replicas import Replica, topic

from ledgermq.broker.groups import SubscriptionGroupConfig
from ledgermq.broker.metadata_records import DelaysRecord, OffsetsRecord, Snapshot
from ledgermq.broker.offsets import OffsetsRead
from ledgermq.broker.schedule import DelayOffsetFile
from ledgermq.broker.side_channel import (
    RESTARTS_MAX,
    JavaLeader,
    Pages,
    SideChannel,
    delays_record,
    offsets_record,
)
from ledgermq.remoting.codes import RequestCode, ResponseCode
from ledgermq.remoting.command import Command, PeerError
from ledgermq.remoting.connection import ConnectionLostError
from ledgermq.remoting.headers import json_response, response
from ledgermq.remoting.json_body import encode_json
from ledgermq.remoting.topic_config import DataVersion
from ledgermq.runtime.config import BrokerConfig

CONFIG = BrokerConfig(broker_name="b", namesrv_addr="dead:1;ns:2")
LEADER = JavaLeader("n1", 4)


def version(counter: int) -> DataVersion:
    return DataVersion(counter, 0, 9)


class TestPages:
    def test_one_page_is_all_when_nobody_says_how_many_there_are(self) -> None:
        pages: Pages[int] = Pages(None)
        assert pages.version_text == ""
        pages.add(version(1), {"a": 1}, None)
        assert pages.done
        assert pages.items == {"a": 1}

    def test_a_known_version_is_not_read_on(self) -> None:
        pages: Pages[int] = Pages(version(1))
        pages.add(version(1), {"a": 1}, 9)
        assert pages.done
        assert pages.unchanged

    def test_pages_until_all_are_there(self) -> None:
        pages: Pages[int] = Pages(version(0))
        pages.add(version(1), {"a": 1, "b": 2}, 3)
        assert not pages.done
        assert pages.version_text == '{"counter":1,"stateVersion":0,"timestamp":9}'
        pages.add(version(1), {"c": 3}, 3)
        assert pages.done
        assert pages.items == {"a": 1, "b": 2, "c": 3}

    def test_a_table_that_changes_is_read_again(self) -> None:
        pages: Pages[int] = Pages(None)
        pages.add(version(1), {"a": 1, "b": 2}, 4)
        pages.add(version(2), {"a": 1, "c": 2}, 3)
        assert not pages.done
        pages.add(version(2), {"d": 3}, 3)
        assert pages.done
        assert pages.items == {"a": 1, "c": 2, "d": 3}

    def test_not_for_ever(self) -> None:
        pages: Pages[int] = Pages(None)
        for counter in range(RESTARTS_MAX + 1):
            pages.add(version(counter), {"a": 1}, 2)
        with pytest.raises(PeerError, match="changes while it is read"):
            pages.add(version(99), {"a": 1}, 2)

    def test_an_empty_page_is_the_end(self) -> None:
        pages: Pages[int] = Pages(None)
        pages.add(version(1), {"a": 1}, 5)
        pages.add(version(1), {}, 5)
        assert pages.done


class TestOffsets:
    def test_the_first_answer_takes_nothing_away(self) -> None:
        state = Replica().journal.state
        state.replay(OffsetsRecord(version=version(1), items={"T@g": {0: 5, 1: 5}, "U@g": {0: 1}}))
        read = OffsetsRead(
            {"T@g": {0: 4, 1: 6, 2: 0}, "U@g": {0: 1}, "V@g": {0: 0}, "none": {0: 1}}, version(7)
        )
        assert offsets_record(read, state, None) == OffsetsRecord(
            version=version(7), items={"T@g": {1: 6, 2: 0}, "V@g": {0: 0}}
        )

    def test_then_what_has_changed_there_is_all_of_the_pair(self) -> None:
        state = Replica().journal.state
        told = OffsetsRead({"T@g": {0: 4}, "U@g": {0: 4}}, version(1))
        read = OffsetsRead({"T@g": {0: 3}, "U@g": {0: 4}, "V@g": {0: 4}})
        assert offsets_record(read, state, told) == OffsetsRecord(
            version=state.offsets_version,
            removed=["T@g", "V@g"],
            items={"T@g": {0: 3}, "V@g": {0: 4}},
        )
        assert offsets_record(read, state, read) is None

    def test_delays_never_go_back(self) -> None:
        state = Replica().journal.state
        state.replay(DelaysRecord(version=version(1), items={1: 5, 2: 5}))
        assert delays_record(DelayOffsetFile(version(2), {1: 4}), state) is None
        assert delays_record(DelayOffsetFile(version(2), {1: 4, 2: 6, 3: 1}), state) == DelaysRecord(
            version=version(2), items={1: 5, 2: 6, 3: 1}
        )


class Java:
    """A Java master and the name server that knows it."""

    def __init__(self) -> None:
        self.leader: JavaLeader | None = LEADER
        self.address: str | None = "java:10911"
        self.info: dict[str, str] | None = {"brokerVersionDesc": "V5_5_0"}
        self.version = version(3)
        self.topics = {"T": topic("T"), "U": topic("U"), "V": topic("V")}
        self.groups = {"g": SubscriptionGroupConfig(group_name="g")}
        self.forbidden = {"g": {"T": 4}}
        self.offsets = (
            b'{"dataVersion":{"counter":2,"stateVersion":0,"timestamp":9},"offsetTable":{"T@g":{0:5}}}'
        )
        self.delays = b'{"dataVersion":{"counter":2,"stateVersion":0,"timestamp":9},"offsetTable":{3:7}}'
        self.asked: list[tuple[str, int]] = []
        self.before_answer: Callable[[int], None] = lambda code: None
        self.refusal: Command | None = None

    def leads(self) -> JavaLeader | None:
        return self.leader

    async def ask(self, address: str, command: Command, timeout_ms: int) -> Command:
        if address == "dead:1":
            raise ConnectionLostError("dead")
        self.asked.append((address, command.code))
        answer = self.answer(command)
        self.before_answer(command.code)
        return answer

    def answer(self, command: Command) -> Command:
        if command.code == RequestCode.GET_BROKER_MEMBER_GROUP:
            assert command.ext == {"clusterName": CONFIG.broker_cluster_name, "brokerName": "b"}
            members = {} if self.address is None else {"0": self.address, "1": "slave:1"}
            return json_response(
                {"brokerMemberGroup": {"brokerAddrs": members, "brokerName": "b", "cluster": "c"}}
            )
        if command.code == RequestCode.GET_BROKER_RUNTIME_INFO:
            if self.info is None:
                return response(ResponseCode.SYSTEM_ERROR, "java.util.NoSuchElementException")
            return json_response({"table": self.info})
        if self.refusal is not None:
            return self.refusal
        if command.code == RequestCode.GET_ALL_TOPIC_CONFIG:
            page = sorted(self.topics)[int(command.ext["topicSeq"]) :][:2]
            answer = json_response(
                {
                    "dataVersion": self.version,
                    "topicConfigTable": {name: self.topics[name] for name in page},
                    "topicQueueMappingDetailMap": {},
                }
            )
            answer.ext = {"totalTopicNum": str(len(self.topics))}
            return answer
        if command.code == RequestCode.GET_ALL_SUBSCRIPTIONGROUP_CONFIG:
            body = {
                "dataVersion": self.version,
                "subscriptionGroupTable": self.groups,
                "forbiddenTable": self.forbidden,
            }
            return response(body=encode_json(body))
        if command.code == RequestCode.GET_ALL_CONSUMER_OFFSET:
            return response(body=self.offsets)
        assert command.code == RequestCode.GET_ALL_DELAY_OFFSET
        return response(body=self.delays)


def run(coroutine: Coroutine[object, None, None]) -> None:
    """Nothing here waits, so no loop is needed."""
    with pytest.raises(StopIteration):
        coroutine.send(None)


class Follower(Replica):
    """A replica that follows ``java``."""

    def __init__(self, java: Java) -> None:
        super().__init__()
        self.channel = SideChannel(CONFIG, "me:10911", self.journal, java.ask, java.leads)

    def follow(self) -> None:
        run(self.channel.follow(LEADER))


@pytest.fixture
def java() -> Java:
    return Java()


@pytest.fixture
def follower(java: Java) -> Follower:
    return Follower(java)


def test_a_follower_has_what_a_java_master_has(java: Java, follower: Follower) -> None:
    follower.follow()
    assert {name: follower.topics.find(name) for name in "TUV"} == java.topics
    assert follower.topics.data_version == version(3)
    assert not follower.groups.may_read("g", "T")
    assert follower.groups.data_version == version(3)
    assert follower.offsets.consumed("g", "T", 0) == 5
    assert follower.delays.offsets == {3: 7}
    assert follower.journal.unstated
    assert {address for address, _ in java.asked} == {"ns:2", "java:10911"}


def test_what_has_not_changed_is_not_taken_again(java: Java, follower: Follower) -> None:
    follower.follow()
    before, heard = follower.journal.snapshot(), len(follower.heard)
    java.asked.clear()
    follower.follow()
    assert follower.journal.snapshot() == before
    assert len(follower.heard) == heard
    assert len(java.asked) == 6, "one page of topics is enough to see it"


def test_what_is_deleted_there_is_deleted_here_and_nothing_else(java: Java, follower: Follower) -> None:
    leader = Replica()
    leader.journal.start_leading()
    leader.topics.update(topic("made just before Java led"), 5)
    leader.groups.find_or_create("h", 5)
    for body in leader.log:
        follower.journal.committed(body)
    follower.follow()
    del java.topics["U"]
    java.groups = {"i": SubscriptionGroupConfig(group_name="i")}
    java.version = version(4)
    follower.follow()
    assert follower.topics.find("U") is None
    assert follower.topics.find("T") is not None
    assert follower.topics.find("made just before Java led") is not None
    assert follower.topics.find("TBW102") is not None
    assert sorted({"g", "h", "i"} & follower.groups.configs.keys()) == ["h", "i"]
    assert follower.groups.may_read("g", "T")


def test_a_reset_ends_when_the_group_has_been_at_work_there(java: Java, follower: Follower) -> None:
    leader = Replica()
    leader.journal.start_leading()
    leader.offsets.reset("g", "T", 0, 9, 5)
    leader.journal.log_offsets()
    follower.journal.committed(leader.log[0])
    follower.follow()
    assert follower.offsets.reset_pending("g", "T", 0)
    java.offsets = java.offsets.replace(b"{0:5}", b"{0:20}")
    follower.follow()
    assert not follower.offsets.reset_pending("g", "T", 0)
    assert follower.offsets.consumed("g", "T", 0) == 20


@pytest.mark.parametrize(
    "code",
    [
        RequestCode.GET_ALL_TOPIC_CONFIG,
        RequestCode.GET_ALL_SUBSCRIPTIONGROUP_CONFIG,
        RequestCode.GET_ALL_CONSUMER_OFFSET,
        RequestCode.GET_ALL_DELAY_OFFSET,
    ],
)
@pytest.mark.parametrize("leader", [None, JavaLeader("n1", 5), JavaLeader("n2", 4)])
def test_an_answer_that_comes_after_the_leader_changed_is_not_taken(
    java: Java, follower: Follower, code: int, leader: JavaLeader | None
) -> None:
    def change(asked: int) -> None:
        if asked == code:
            java.leader = leader
            following.clear()
            following.append(follower.journal.snapshot())

    following: list[Snapshot] = []
    java.before_answer = change
    follower.follow()
    assert following == [follower.journal.snapshot()]


@pytest.mark.parametrize("address", [None, "me:10911"])
def test_the_name_server_does_not_know_the_master_yet(
    java: Java, follower: Follower, address: str | None
) -> None:
    java.address = address
    follower.follow()
    assert not follower.journal.unstated


def test_a_master_of_ours_is_not_asked(java: Java, follower: Follower) -> None:
    java.info = {"dLegerRole": "LEADER"}
    follower.follow()
    assert not follower.journal.unstated
    assert java.asked[-1] == ("java:10911", RequestCode.GET_BROKER_RUNTIME_INFO)


def test_a_java_master_that_has_no_statistics_yet_is_asked(java: Java, follower: Follower) -> None:
    java.info = None
    follower.follow()
    assert follower.topics.find("T") is not None


def test_a_master_that_refuses(java: Java, follower: Follower) -> None:
    java.refusal = response(ResponseCode.SYSTEM_ERROR, "busy")
    with pytest.raises(PeerError, match="java:10911 answered code 1: busy"):
        follower.channel.follow(LEADER).send(None)


def test_a_body_that_is_none(java: Java, follower: Follower) -> None:
    java.offsets = b"{"
    with pytest.raises(ValueError, match=r"GET_ALL_CONSUMER_OFFSET\(43\) of java:10911: no key"):
        follower.channel.follow(LEADER).send(None)
    assert follower.topics.find("T") is not None


def test_no_name_server_answers(java: Java) -> None:
    config = BrokerConfig(broker_name="b", namesrv_addr="dead:1;dead:1")
    channel = SideChannel(config, "me:1", Replica().journal, java.ask, java.leads)
    with pytest.raises(ConnectionLostError):
        channel.follow(LEADER).send(None)
