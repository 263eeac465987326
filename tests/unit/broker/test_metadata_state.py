"""What records make of the state, and how the state is stated in records."""

from __future__ import annotations

import pytest

from ledgermq.broker.metadata_records import (
    RECORD_BYTES_MAX,
    DelaysRecord,
    MetadataRecord,
    OffsetsRecord,
    TopicsRecord,
    encode_record,
)
from ledgermq.broker.metadata_state import MetadataState
from ledgermq.remoting.topic_config import DataVersion, TopicConfig

VERSION = DataVersion(3, 0, 1700)
MADE = {name: TopicConfig(topic_name=name) for name in ("M", "N")}


def offsets(**fields: object) -> OffsetsRecord:
    return OffsetsRecord(version=VERSION, **fields)  # type: ignore[arg-type]  # the tests name the fields


class TestTopics:
    def test_what_the_broker_makes_comes_back(self) -> None:
        state = MetadataState(MADE)
        ordered = TopicConfig(topic_name="M", order=True)
        state.replay(TopicsRecord(version=VERSION, items={"M": ordered, "T": TopicConfig(topic_name="T")}))
        assert state.topics["M"].order
        touched = state.replay(TopicsRecord(version=VERSION, exact=("", None)))
        assert state.topics == MADE
        assert sorted(touched) == ["M", "N", "T"]

    def test_only_what_differs_from_it_is_stated(self) -> None:
        state = MetadataState(MADE)
        ordered = TopicConfig(topic_name="M", order=True)
        state.replay(TopicsRecord(version=VERSION, items={"M": ordered}))
        assert state.whole()[0] == TopicsRecord(version=VERSION, exact=("", None), items={"M": ordered})

    def test_a_range_leaves_the_others_alone(self) -> None:
        state = MetadataState({})
        names = dict.fromkeys("abcd")
        state.replay(
            TopicsRecord(version=VERSION, items={name: TopicConfig(topic_name=name) for name in names})
        )
        state.replay(
            TopicsRecord(version=VERSION, exact=("b", "d"), items={"c": TopicConfig(topic_name="c")})
        )
        assert list(state.topics) == ["a", "d", "c"]

    def test_a_series_that_was_cut_off_and_another(self) -> None:
        """What the first brought is not there any more when the second does not state it."""
        state = MetadataState({})

        def state_range(low: str, high: str | None, names: str) -> None:
            items = {name: TopicConfig(topic_name=name) for name in names}
            state.replay(TopicsRecord(version=VERSION, exact=(low, high), items=items))

        state_range("", "c", "ab")
        state_range("c", "e", "cd")
        state_range("", "b", "")
        state_range("b", "d", "b")
        assert sorted(state.topics) == ["b", "d"]
        state.replay(TopicsRecord(version=VERSION, items={"x": TopicConfig(topic_name="x")}))
        state_range("d", None, "e")
        assert sorted(state.topics) == ["b", "e"]


class TestOffsets:
    @pytest.mark.parametrize(
        ("record", "consumed", "pending"),
        [
            (offsets(items={"T@g": {1: 9}}), {0: 1, 1: 9}, {0: 5, 1: -1}),
            (offsets(items={"T@g": {7: 9}}), {0: 1, 1: 2, 7: 9}, {0: 5, 1: -1}),
            (offsets(removed=["T@g"]), None, None),
            (offsets(removed=["T@g"], items={"T@g": {1: 9}}), {1: 9}, None),
            (offsets(exact=("T", "U"), items={"T@g": {1: 9}}), {1: 9}, None),
            (offsets(exact=("U", None)), {0: 1, 1: 2}, {0: 5, 1: -1}),
            (offsets(resets={"T@g": {1: None, 3: None}}), {0: 1, 1: 2}, {0: 5}),
            (offsets(resets={"T@g": {0: None, 1: None}}), {0: 1, 1: 2}, None),
            (offsets(resets={"T@g": {2: 0}}), {0: 1, 1: 2}, {0: 5, 1: -1, 2: 0}),
        ],
    )
    def test_what_a_record_makes_of_them(
        self, record: OffsetsRecord, consumed: dict[int, int] | None, pending: dict[int, int] | None
    ) -> None:
        state = MetadataState({})
        state.replay(offsets(items={"T@g": {0: 1, 1: 2}}, resets={"T@g": {0: 5, 1: -1}}))
        for _ in range(2):  # twice is once
            state.replay(record)
            assert (state.offsets.get("T@g"), state.resets.get("T@g")) == (consumed, pending)

    def test_a_pair_of_many_queues_is_never_within_a_range(self) -> None:
        """Its records could be cut off behind the first, which would take the other queues away."""
        state = MetadataState({})
        many = dict.fromkeys(range(500), 2**62)
        pairs = {f"{topic}@g": ({0: 1} if topic.islower() else many) for topic in "AaBbCDz"}
        state.replay(offsets(items=pairs, resets={"B@g": dict(many)}))
        bytes_max = 6000
        records = [record for record in state.records(bytes_max) if isinstance(record, OffsetsRecord)]
        for count in range(len(records) + 1):
            other = MetadataState({})
            other.replay(offsets(items={**pairs, "A@old": {0: 1}, "a": {0: 1}, "z@z": {0: 1}}))
            for record in records[:count]:
                assert len(encode_record(record)) <= bytes_max
                other.replay(record)
            assert {pair: other.offsets[pair] for pair in pairs} == pairs
        assert other.offsets == state.offsets
        assert other.resets == state.resets


def test_the_delays_are_stated_as_a_whole() -> None:
    state = MetadataState({})
    state.replay(DelaysRecord(version=VERSION, items={1: 5, 2: 6}))
    state.replay(DelaysRecord(version=VERSION, items={1: 4}))
    assert state.delays == {1: 4}
    assert state.whole()[-1] == DelaysRecord(version=VERSION, items={1: 4}, complete=True)


def test_what_states_everything_is_independent_of_the_state() -> None:
    """They are encoded on a worker, while more is replayed."""
    state = MetadataState(MADE)
    record: MetadataRecord = offsets(items={"T@g": {0: 1}}, resets={"T@g": {0: 5}})
    state.replay(record)
    stated = [*state.whole(), *state.records(RECORD_BYTES_MAX)]
    before = [encode_record(each) for each in stated]
    state.replay(offsets(items={"T@g": {0: 2}}, resets={"T@g": {0: None}}))
    assert [encode_record(each) for each in stated] == before
