from collections.abc import Iterator

import pytest

from ledgermq.broker import offsets as offsets_module
from ledgermq.broker.offsets import OffsetsRead, OffsetTable
from ledgermq.remoting.json_body import decode_json, encode_json
from ledgermq.remoting.topic_config import DataVersion


@pytest.fixture
def offsets() -> Iterator[OffsetTable]:
    table = OffsetTable(1000)
    yield table
    table.check_invariants()


def test_a_group_goes_on_from_what_it_committed(offsets):
    assert offsets.consumed("g", "T", 0) == -1
    assert offsets.commit("g", "T", 0, 5, 0)
    assert offsets.commit("g", "T", 0, 4, 0), "a consumer may go back"
    assert offsets.consumed("g", "T", 0) == 4
    assert offsets.consumed("g", "T", 1) == -1
    assert offsets.consumed("other", "T", 0) == -1
    assert offsets.queues("g", "T") == {0: 4}
    assert offsets.queues("g", "U") == {}
    assert offsets.topics_of("g") == ["T"]
    assert offsets.groups_of("T") == ["g"]
    assert offsets.groups_of("U") == []


def test_pulled_falls_back_to_consumed(offsets):
    offsets.commit("g", "T", 0, 5, 0)
    assert offsets.pulled("g", "T", 0) == 5
    offsets.commit_pulled("g", "T", 0, 9)
    assert offsets.pulled("g", "T", 0) == 9
    assert offsets.consumed("g", "T", 0) == 5


class TestReset:
    def test_holds_until_the_next_pull_takes_it(self, offsets):
        offsets.commit("g", "T", 0, 50, 0)
        assert offsets.reset("g", "T", 0, 10, 0)
        assert offsets.reset_pending("g", "T", 0)
        assert not offsets.commit("g", "T", 0, 51, 0), "the old progress must not come back"
        assert offsets.consumed("g", "T", 0) == 10
        assert offsets.take_reset("g", "T", 0) == 10
        assert offsets.take_reset("g", "T", 0) is None
        assert offsets.consumed("g", "T", 0) == 10, "a group that is offline starts there too"
        assert offsets.commit("g", "T", 0, 11, 0)

    def test_is_of_one_queue(self, offsets):
        offsets.reset("g", "T", 0, 10, 0)
        assert offsets.take_reset("g", "T", 1) is None
        assert offsets.take_reset("g", "U", 0) is None
        assert offsets.commit("g", "T", 1, 1, 0)

    def test_the_latest_counts(self, offsets):
        offsets.reset("g", "T", 0, 10, 0)
        offsets.reset("g", "T", 0, 20, 0)
        assert offsets.take_reset("g", "T", 0) == 20


def test_clone(offsets):
    offsets.commit("a", "T", 0, 5, 0)
    offsets.commit("b", "T", 1, 7, 0)
    offsets.clone("a", "b", "T", 0)
    assert offsets.queues("b", "T") == {0: 5, 1: 7}
    offsets.clone("nobody", "b", "T", 0)


def test_removing_a_topic_or_a_group_leaves_nothing(offsets):
    for group in ("a", "b"):
        for topic in ("T", "U"):
            offsets.reset(group, topic, 0, 5, 0)
            offsets.commit_pulled(group, topic, 0, 5)
    offsets.remove_topic("T", 0)
    assert offsets.groups_of("T") == []
    assert offsets.pulled("a", "T", 0) == -1
    assert not offsets.reset_pending("a", "T", 0)
    offsets.remove_group("a", 0)
    assert offsets.topics_of("a") == []
    assert offsets.groups_of("U") == ["b"]
    offsets.remove_group("b", 0)
    offsets.remove_group("nobody", 0)
    assert len(offsets) == 0


def test_the_number_of_entries_has_a_limit(offsets, monkeypatch):
    monkeypatch.setattr(offsets_module, "OFFSETS_MAX", 2)
    assert offsets.commit("g", "T", 0, 1, 0)
    assert offsets.commit("g", "T", 1, 1, 0)
    assert not offsets.commit("g", "T", 2, 1, 0)
    assert not offsets.reset("h", "T", 0, 1, 0)
    offsets.commit_pulled("g", "T", 0, 9)
    assert offsets.pulled("g", "T", 0) == 1
    assert offsets.commit("g", "T", 0, 2, 0), "known queues still move"
    assert not offsets.reset_pending("h", "T", 0)


def test_changes_are_counted_and_the_version_follows_slowly(offsets):
    for offset in range(500):
        offsets.commit("g", "T", 0, offset, 2000)
    assert offsets.changes == 500
    assert (offsets.data_version.counter, offsets.data_version.timestamp) == (1, 2000)


def test_the_file_has_javas_shape_and_brings_the_progress_back(offsets):
    offsets.commit("GroupA", "TopicA", 0, 5, 0)
    offsets.commit("GroupA", "TopicA", 3, 7, 0)
    offsets.commit_pulled("GroupA", "TopicA", 0, 6)
    text = encode_json(offsets.to_file())
    assert text == (
        b'{"dataVersion":{"counter":0,"stateVersion":0,"timestamp":1000},"groupTopicMap":{"GroupA":["TopicA"]},'
        b'"offsetTable":{"TopicA@GroupA":{"0":5,"3":7}},"pullOffsetTable":{"TopicA@GroupA":{"0":6}}}'
    )
    again = OffsetTable(0)
    again.load(decode_json(OffsetsRead, text), 0)
    assert again.queues("GroupA", "TopicA") == {0: 5, 3: 7}
    assert again.pulled("GroupA", "TopicA", 0) == 5, "as in Java, only committed progress is read back"
    again.check_invariants()


def test_java_files_with_unquoted_queues_are_read(offsets):
    text = b'{"offsetTable":{"TopicA@GroupA":{0:5,\n3:7},"nonsense":{0:1}}}'
    offsets.load(decode_json(OffsetsRead, text), 0)
    assert offsets.queues("GroupA", "TopicA") == {0: 5, 3: 7}
    assert len(offsets) == 2


def test_progress_behind_the_end_of_a_queue_is_taken_back(offsets):
    ends = {("T", 0): 5, ("T", 1): 5}
    for queue_id, offset in ((0, 7), (1, 5), (2, 3)):
        offsets.commit("g", "T", queue_id, offset, 0)
    before = offsets.changes
    assert offsets.limit(lambda topic, queue_id: ends.get((topic, queue_id), 0), 2000) == 2
    assert offsets.queues("g", "T") == {0: 5, 1: 5, 2: 0}
    assert offsets.changes == before + 2
    assert offsets.data_version.timestamp == 2000
    assert offsets.limit(lambda topic, queue_id: 9, 3000) == 0
    assert offsets.changes == before + 2
    offsets.check_invariants()


class TestReplay:
    VERSION = DataVersion(9, 0, 5)

    def test_the_pair_is_as_stated(self, offsets):
        offsets.commit("g", "T", 0, 7, 0)
        offsets.commit("g", "T", 1, 7, 0)
        offsets.following = True
        before = offsets.changes
        offsets.replay("g", "T", {1: 3, 2: 4}, {2: 1}, self.VERSION)
        assert offsets.queues("g", "T") == {1: 3, 2: 4}
        assert offsets.resets("g", "T") == {2: 1}
        assert offsets.changes > before
        assert offsets.data_version == self.VERSION
        assert offsets.data_version is not self.VERSION

    def test_a_pair_that_is_gone_leaves_nothing(self, offsets):
        offsets.reset("g", "T", 0, 7, 0)
        offsets.commit_pulled("g", "T", 0, 9)
        offsets.replay("g", "T", {}, {}, self.VERSION)
        assert offsets.pulled("g", "T", 0) == -1
        assert offsets.pairs() == offsets.groups_of("T") == []
        assert not offsets.reset_pending("g", "T", 0)
        assert len(offsets) == 0
        offsets.replay("g", "T", {}, {}, self.VERSION)

    def test_it_goes_beyond_the_limit(self, offsets, monkeypatch):
        monkeypatch.setattr(offsets_module, "OFFSETS_MAX", 1)
        offsets.replay("g", "T", {0: 1, 1: 1}, {}, self.VERSION)
        assert not offsets.commit("g", "T", 2, 1, 0)
        assert len(offsets) == 2

    def test_what_is_stated_stays_the_callers(self, offsets):
        queues, resets = {0: 1}, {0: 1}
        offsets.replay("g", "T", queues, resets, self.VERSION)
        offsets.take_reset("g", "T", 0)
        offsets.commit("g", "T", 0, 2, 0)
        assert queues == resets == {0: 1}


def test_what_has_changed_is_noted_when_somebody_asks(offsets):
    offsets.commit("g", "T", 0, 1, 0)
    assert offsets.take_dirty() == []
    offsets.dirty = {}
    offsets.commit("g", "T", 0, 2, 0)
    offsets.commit("g", "T", 1, 2, 0)
    offsets.commit("h", "T", 1, 2, 0)
    offsets.commit_pulled("i", "T", 1, 2)
    assert offsets.take_dirty() == [("g", "T"), ("h", "T")]
    assert offsets.take_dirty() == []
    offsets.remove_group("h", 0)
    assert offsets.take_dirty() == [("h", "T")]
