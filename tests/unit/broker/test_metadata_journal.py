"""A leader's tables and those of its followers: what is logged when, what is replayed, what is taken back."""

from __future__ import annotations

import copy
import json

import pytest
from tests.unit.broker.replicas import Replica, topic

from ledgermq.broker.groups import SubscriptionGroupConfig
from ledgermq.broker.metadata_records import (
    RECORD_BYTES_MAX,
    DelaysRecord,
    MetadataError,
    OffsetsRecord,
    TopicsRecord,
    decode_record,
    encode_record,
    encode_snapshot,
)
from ledgermq.remoting.codes import ResponseCode
from ledgermq.remoting.command import PeerError
from ledgermq.remoting.topic_config import DataVersion


@pytest.fixture
def leader() -> Replica:
    replica = Replica()
    replica.journal.start_leading()
    return replica


def follower_of(leader: Replica) -> Replica:
    follower = Replica()
    for body in leader.log:
        assert follower.journal.committed(body)
    return follower


def test_a_change_is_in_the_log_before_the_other_listeners_hear_of_it(leader: Replica) -> None:
    leader.topics.listeners.append(lambda name: leader.heard.append(f"{name} after {len(leader.log)}"))
    leader.topics.update(topic("T"), 5)
    assert leader.heard == ["T", "T after 1"]
    assert decode_record(leader.log[0]) == TopicsRecord(
        version=leader.topics.data_version, items={"T": topic("T")}
    )


def test_followers_have_what_the_leader_changed(leader: Replica) -> None:
    leader.topics.update(topic("T"), 5)
    leader.topics.create_for_retry("%RETRY%g", 1, 6, 0, 6)
    leader.topics.create_for_retry("%RETRY%g", 1, 6, 0, 7, order=True)
    leader.topics.update(topic("U"), 8)
    leader.topics.delete("U", 9)
    leader.groups.find_or_create("g", 10)
    leader.groups.set_may_read("g", "T", False, 11)
    leader.groups.update(SubscriptionGroupConfig(group_name="h", retry_max_times=3), 12)
    leader.groups.delete("TOOLS_CONSUMER", 13)
    leader.offsets.commit("g", "T", 0, 7, 14)
    leader.offsets.reset("g", "T", 1, 3, 15)
    leader.delays.offsets[2] = 9
    leader.delays.data_version.advance(16)
    assert leader.journal.log_offsets() == 2
    follower = follower_of(leader)
    assert follower.tables()[0] == leader.topics.configs
    assert follower.tables() == leader.tables()
    assert follower.log == []
    assert follower.heard == leader.heard
    follower.offsets.check_invariants()
    assert not follower.groups.may_read("g", "T")


@pytest.mark.parametrize("what", ["topic", "group"])
def test_offsets_that_are_removed_are_logged_at_once(leader: Replica, what: str) -> None:
    """Whoever is told that they are gone must not see them again, though a batch of progress is under way."""
    leader.offsets.commit("g", "T", 0, 5, 1)
    leader.offsets.reset("g", "T", 1, 3, 1)
    assert leader.journal.log_offsets() == 1
    leader.offsets.commit("g", "T", 0, 6, 1)
    if what == "topic":
        leader.offsets.remove_topic("T", 2)
    else:
        leader.offsets.remove_group("g", 2)
    follower = follower_of(leader)
    assert (follower.offsets.pairs(), follower.offsets.resets("g", "T")) == ([], {})
    assert follower.tables() == leader.tables()
    for body in list(leader.log):
        leader.journal.committed(body)
    assert leader.journal.log_offsets() == 0
    leader.journal.stop_leading()
    assert leader.tables() == follower.tables()


def test_a_leader_does_not_replay_its_own_records(leader: Replica) -> None:
    leader.topics.update(topic("T", perm=6), 5)
    leader.topics.update(topic("T", perm=4), 6)
    leader.heard.clear()
    assert leader.journal.committed(leader.log[0])
    assert leader.topics.get("T").perm == 4
    assert leader.journal.state.topics["T"].perm == 6
    assert leader.heard == []


def test_the_record_of_another_leader_ends_the_leadership(leader: Replica) -> None:
    leader.topics.update(topic("T"), 5)
    leader.topics.update(topic("U"), 5)
    other = Replica()
    other.journal.start_leading()
    other.topics.update(topic("V"), 6)
    assert leader.journal.committed(other.log[0])
    assert not leader.journal.leading
    assert leader.tables() == other.tables()


class TestOffsets:
    def test_only_what_has_changed_is_logged(self, leader: Replica) -> None:
        leader.offsets.commit("g", "T", 0, 7, 1)
        leader.offsets.commit("g", "T", 1, 8, 1)
        leader.offsets.commit("h", "T", 0, 9, 1)
        assert leader.journal.log_offsets() == 1
        leader.journal.committed(leader.log[0])
        assert leader.journal.log_offsets() == 0
        leader.offsets.commit("g", "T", 1, 9, 1)
        leader.offsets.commit("h", "T", 0, 9, 1)
        assert leader.journal.log_offsets() == 1
        assert json.loads(leader.log[1])["items"] == {"T@g": {"1": 9}}

    def test_one_batch_at_a_time(self, leader: Replica) -> None:
        leader.offsets.commit("g", "T", 0, 7, 1)
        assert leader.journal.log_offsets() == 1
        leader.offsets.commit("g", "T", 0, 8, 1)
        leader.offsets.commit("g", "T", 0, 7, 1)
        assert leader.journal.log_offsets() == 0
        leader.journal.committed(leader.log[0])
        leader.offsets.commit("g", "T", 0, 6, 1)
        assert leader.journal.log_offsets() == 1
        assert json.loads(leader.log[1])["items"] == {"T@g": {"0": 6}}

    def test_a_reset_and_its_end(self, leader: Replica) -> None:
        leader.offsets.reset("g", "T", 0, 7, 1)
        leader.journal.log_offsets()
        leader.journal.committed(leader.log[0])
        follower = follower_of(leader)
        assert follower.offsets.reset_pending("g", "T", 0)
        assert follower.offsets.take_reset("g", "T", 0) is None, "it waits for a pull at the leader"
        assert leader.offsets.take_reset("g", "T", 0) == 7
        leader.journal.log_offsets()
        assert json.loads(leader.log[1])["resets"] == {"T@g": {"0": None}}
        follower.journal.committed(leader.log[1])
        assert not follower.offsets.reset_pending("g", "T", 0)
        assert follower.tables() == leader.tables()

    def test_a_group_that_went_and_came(self, leader: Replica) -> None:
        leader.offsets.commit("g", "T", 0, 7, 1)
        leader.offsets.commit("g", "T", 1, 7, 1)
        leader.offsets.reset("g", "T", 1, 5, 1)
        leader.journal.log_offsets()
        leader.journal.committed(leader.log[0])
        leader.offsets.remove_group("g", 2)
        leader.offsets.commit("g", "T", 0, 1, 3)
        leader.journal.committed(leader.log[1])
        leader.journal.log_offsets()
        record = decode_record(leader.log[2])
        assert isinstance(record, OffsetsRecord)
        assert (record.removed, record.items, record.resets) == ([], {"T@g": {0: 1}}, {})
        assert follower_of(leader).tables() == leader.tables()

    def test_every_way_of_changing_them(self, leader: Replica) -> None:
        offsets = leader.offsets
        offsets.commit("g", "T", 0, 7, 1)
        offsets.commit("g", "U", 0, 7, 1)
        offsets.commit("h", "U", 0, 7, 1)
        for at, change in enumerate(
            (
                lambda: offsets.clone("g", "i", "T", 2),
                lambda: offsets.limit(lambda topic, queue_id: 5, 3),
                lambda: offsets.remove_topic("T", 4),
                lambda: offsets.remove_group("h", 5),
            )
        ):
            change()
            leader.journal.log_offsets()
            assert len(leader.log) == at + 1
            leader.journal.committed(leader.log[at])
            assert follower_of(leader).tables() == leader.tables()

    def test_what_could_not_be_appended_is_in_the_next_batch(self, leader: Replica) -> None:
        leader.offsets.commit("g", "T", 0, 7, 1)
        leader.refusal = OSError("disk")
        with pytest.raises(OSError, match="disk"):
            leader.journal.log_offsets()
        leader.refusal = None
        assert leader.journal.log_offsets() == 1
        assert follower_of(leader).tables() == leader.tables()

    def test_pulled_offsets_are_not_logged(self, leader: Replica) -> None:
        leader.offsets.commit_pulled("g", "T", 0, 7)
        assert leader.journal.log_offsets() == 0


class TestStopLeading:
    def test_what_is_not_committed_is_taken_back(self, leader: Replica) -> None:
        leader.topics.update(topic("kept", perm=6), 5)
        leader.groups.find_or_create("kept", 5)
        leader.offsets.commit("g", "T", 0, 7, 5)
        leader.journal.log_offsets()
        for body in leader.log:
            leader.journal.committed(body)
        follower = follower_of(leader)
        leader.topics.update(topic("kept", perm=4), 6)
        leader.topics.update(topic("lost"), 6)
        leader.groups.delete("kept", 6)
        leader.groups.find_or_create("lost", 6)
        leader.offsets.commit("g", "T", 0, 8, 6)
        leader.offsets.reset("g", "T", 0, 2, 6)
        leader.journal.log_offsets()
        leader.offsets.commit("g", "U", 0, 1, 6)
        leader.offsets.remove_topic("T", 6)
        leader.delays.offsets[1] = 4
        leader.heard.clear()
        leader.journal.stop_leading()
        assert leader.tables() == follower.tables()
        assert sorted(leader.heard) == ["kept", "kept", "lost", "lost"]
        leader.offsets.check_invariants()

    def test_what_is_committed_after_all_is_replayed(self, leader: Replica) -> None:
        leader.topics.update(topic("T"), 5)
        leader.topics.update(topic("U"), 5)
        leader.journal.stop_leading()
        assert leader.topics.find("T") is None
        leader.journal.committed(leader.log[0])
        assert leader.topics.find("T") is not None
        assert leader.topics.find("U") is None
        assert leader.topics.data_version == DataVersion(1, 0, 5)

    def test_topics_made_by_the_broker_stay(self, leader: Replica) -> None:
        leader.topics.mark_ordered(["SELF_TEST_TOPIC"], 5)
        assert leader.topics.get("SELF_TEST_TOPIC").order
        assert follower_of(leader).topics.get("SELF_TEST_TOPIC").order
        leader.journal.stop_leading()
        assert not leader.topics.get("SELF_TEST_TOPIC").order

    def test_twice_is_once(self, leader: Replica) -> None:
        leader.journal.stop_leading()
        leader.journal.stop_leading()
        leader.journal.start_leading()
        leader.journal.start_leading()
        leader.topics.update(topic("T"), 5)
        assert len(leader.log) == 1


class TestFollower:
    def test_changes_are_refused(self) -> None:
        replica = Replica()
        before = replica.tables()
        for change in (
            lambda: replica.topics.update(topic("T"), 1),
            lambda: replica.topics.delete("T", 1),
            lambda: replica.topics.create_for_retry("%RETRY%g", 1, 6, 0, 1),
            lambda: replica.groups.update(SubscriptionGroupConfig(group_name="g"), 1),
            lambda: replica.groups.delete("TOOLS_CONSUMER", 1),
            lambda: replica.groups.set_may_read("TOOLS_CONSUMER", "T", False, 1),
        ):
            with pytest.raises(PeerError, match="the leader") as error:
                change()
            assert error.value.code == ResponseCode.SERVICE_NOT_AVAILABLE
        assert replica.topics.create_for_send("T", "TBW102", 4, 0, 1) is None
        assert replica.groups.find_or_create("g", 1) is None
        replica.topics.mark_ordered(["TBW102"], 1)
        assert not replica.offsets.commit("g", "T", 0, 1, 1)
        assert not replica.offsets.reset("g", "T", 0, 1, 1)
        replica.offsets.remove_topic("T", 1)
        replica.offsets.remove_group("g", 1)
        assert replica.tables() == before
        assert replica.log == []
        assert replica.heard == []
        assert replica.journal.log_offsets() == 0

    def test_a_retry_topic_that_exists_is_found(self, leader: Replica) -> None:
        leader.topics.create_for_retry("%RETRY%g", 1, 6, 0, 1)
        follower = follower_of(leader)
        assert not follower.topics.create_for_retry("%RETRY%g", 1, 6, 0, 2, order=True).order

    def test_what_a_newer_program_wrote_is_passed_over(self) -> None:
        assert not Replica().journal.committed(b'{"kind":"acls"}')

    def test_damage_changes_nothing(self) -> None:
        replica = Replica()
        before = replica.tables()
        with pytest.raises(MetadataError):
            replica.journal.committed(b'{"kind":"topics","version":{},"items":{"T":{"topicName":1}}}')
        assert replica.tables() == before


class TestWhatCannotBeLogged:
    def test_the_change_is_undone_and_nobody_hears_of_it(self, leader: Replica) -> None:
        leader.topics.update(topic("T", perm=6), 5)
        leader.topics.update(topic("V"), 5)
        leader.groups.find_or_create("g", 5)
        before = copy.deepcopy(leader.tables())
        leader.refusal = PeerError(ResponseCode.SERVICE_NOT_AVAILABLE, "no quorum")
        for change in (
            lambda: leader.topics.update(topic("T", perm=4), 6),
            lambda: leader.topics.update(topic("U"), 6),
            lambda: leader.topics.update(topic("T", perm=6), 6),
            lambda: leader.topics.delete("V", 6),
            lambda: leader.groups.find_or_create("h", 6),
            lambda: leader.groups.delete("g", 6),
            lambda: leader.groups.set_may_read("g", "T", False, 6),
        ):
            with pytest.raises(PeerError, match="no quorum"):
                change()
        assert leader.tables() == before
        assert leader.groups.may_read("g", "T")
        leader.refusal = None
        leader.topics.update(topic("W"), 7)
        assert follower_of(leader).tables() == leader.tables()

    def test_settings_that_are_too_large(self, leader: Replica) -> None:
        large = {"lite.bind.topic": "x" * RECORD_BYTES_MAX}
        with pytest.raises(PeerError, match=r"group 'g' has 2[0-9]* bytes of settings, at most 262144"):
            leader.groups.update(SubscriptionGroupConfig(group_name="g", attributes=large), 5)
        assert leader.groups.find("g") is None
        assert leader.log == []


class TestSnapshot:
    def test_it_is_of_what_is_committed(self, leader: Replica) -> None:
        leader.topics.update(topic("T"), 5)
        leader.groups.find_or_create("g", 5)
        leader.groups.set_may_read("g", "T", False, 5)
        leader.offsets.reset("g", "T", 0, 7, 5)
        leader.delays.offsets[1] = 5
        leader.journal.log_offsets()
        for body in leader.log:
            leader.journal.committed(body)
        leader.topics.update(topic("U"), 6)
        leader.offsets.commit("g", "U", 0, 7, 6)
        loaded = Replica()
        loaded.journal.load(encode_snapshot(leader.journal.snapshot()))
        leader.journal.stop_leading()
        assert loaded.tables() == leader.tables()
        assert loaded.heard == ["T", "g"]

    def test_it_replaces_what_was_there(self, leader: Replica) -> None:
        empty = encode_snapshot(Replica().journal.snapshot())
        leader.topics.update(topic("T"), 5)
        leader.groups.find_or_create("g", 5)
        leader.groups.delete("TOOLS_CONSUMER", 5)
        leader.offsets.reset("g", "T", 0, 7, 5)
        leader.journal.log_offsets()
        follower = follower_of(leader)
        follower.journal.load(empty)
        assert follower.tables() == Replica().tables()
        assert not follower.offsets.reset_pending("g", "T", 0)

    def test_a_leader_loads_none(self, leader: Replica) -> None:
        with pytest.raises(MetadataError, match="no snapshot is loaded while leading"):
            leader.journal.load(encode_snapshot(leader.journal.snapshot()))

    def test_damage_changes_nothing(self, leader: Replica) -> None:
        leader.topics.update(topic("T"), 5)
        follower = follower_of(leader)
        with pytest.raises(MetadataError):
            follower.journal.load(encode_snapshot(follower.journal.snapshot())[:-1])
        assert follower.topics.find("T") is not None


class TestUnstated:
    def test_a_new_leader_states_what_no_record_does(self) -> None:
        leader, other = Replica(unstated=True), Replica()
        leader.journal.start_leading()
        stated = leader.journal.state.records(RECORD_BYTES_MAX)
        assert leader.log == [encode_record(record) for record in stated]
        for body in leader.log:
            leader.journal.committed(body)
            other.journal.committed(body)
        assert other.topics.find("Java") is not None
        assert other.tables() == leader.tables()
        assert not leader.journal.unstated
        assert not other.journal.unstated

    def test_it_states_it_again_when_it_is_not_known_to_be_committed(self) -> None:
        leader = Replica(unstated=True)
        leader.journal.start_leading()
        for body in leader.log[:-1]:
            leader.journal.committed(body)
        leader.journal.stop_leading()
        assert leader.journal.unstated
        assert leader.topics.find("Java") is not None

    def test_a_snapshot_says_so(self) -> None:
        other = Replica()
        other.journal.load(encode_snapshot(Replica(unstated=True).journal.snapshot()))
        assert other.journal.unstated
        assert other.topics.find("Java") is not None

    def test_what_a_java_master_told(self) -> None:
        replica = Replica()
        replica.journal.adopt(
            TopicsRecord(version=DataVersion(7, 0, 9), exact=("", None), items={"J": topic("J")})
        )
        replica.journal.adopt(OffsetsRecord(version=DataVersion(), items={"J@g": {0: 4}}))
        replica.journal.adopt(DelaysRecord(version=DataVersion(), items={1: 4}))
        assert replica.topics.data_version == DataVersion(7, 0, 9)
        assert replica.offsets.consumed("g", "J", 0) == 4
        replica.journal.start_leading()
        other = Replica()
        other.journal.committed(
            encode_record(TopicsRecord(version=DataVersion(), items={"old": topic("old")}))
        )
        for body in replica.log:
            replica.journal.committed(body)
            other.journal.committed(body)
        assert other.tables() == replica.tables()

    def test_a_leader_adopts_nothing(self, leader: Replica) -> None:
        with pytest.raises(MetadataError, match="nothing is adopted while leading"):
            leader.journal.adopt(DelaysRecord(version=DataVersion()))
