"""The bodies of metadata records: what they look like, what is passed over, what is refused, and how many
items become several records."""

from __future__ import annotations

import json

import pytest

from ledgermq.broker.groups import ExponentialRetryPolicy, GroupRetryPolicy, SubscriptionGroupConfig
from ledgermq.broker.metadata_records import (
    RECORD_BYTES_MAX,
    DelaysRecord,
    GroupsRecord,
    GroupState,
    MetadataError,
    MetadataRecord,
    OffsetsRecord,
    Snapshot,
    TopicsRecord,
    decode_record,
    decode_snapshot,
    encode_record,
    offset_records,
    ranges,
)
from ledgermq.remoting.topic_config import DataVersion, TopicConfig

VERSION = DataVersion(3, 0, 1700)

RECORDS: list[MetadataRecord] = [
    TopicsRecord(version=VERSION, items={"T": TopicConfig(topic_name="T", order=True, perm=4)}),
    TopicsRecord(version=VERSION, removed=["T", "U"], exact=("", None)),
    GroupsRecord(
        version=VERSION,
        items={
            "g": GroupState(
                SubscriptionGroupConfig(
                    group_name="g",
                    group_retry_policy=GroupRetryPolicy(exponential_retry_policy=ExponentialRetryPolicy()),
                ),
                {"T": 4},
            ),
            "gone": GroupState(None, {"T": 4}),
        },
    ),
    OffsetsRecord(version=VERSION, items={"T@g": {0: 12, 7: 0}}, resets={"T@g": {0: 3, 1: None}}),
    DelaysRecord(version=VERSION, items={1: 5, 18: 2**62}, complete=True),
]


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_is_read_as_it_was_written(record: MetadataRecord) -> None:
    assert decode_record(encode_record(record)) == record


def test_the_form_of_a_record() -> None:
    assert json.loads(encode_record(RECORDS[3])) == {
        "kind": "offsets",
        "version": {"counter": 3, "stateVersion": 0, "timestamp": 1700},
        "items": {"T@g": {"0": 12, "7": 0}},
        "resets": {"T@g": {"0": 3, "1": None}},
    }


@pytest.mark.parametrize(
    "body",
    [
        b'{"kind":"acls","v":1,"x":[1]}',
        b'{"kind":"topics","v":2}',
    ],
)
def test_what_a_newer_program_wrote_is_passed_over(body: bytes) -> None:
    assert decode_record(body) is None


def test_a_field_that_a_newer_program_added_is_passed_over() -> None:
    body = b'{"kind":"delays","version":{},"items":{"1":5},"new":[1]}'
    assert decode_record(body) == DelaysRecord(version=DataVersion(), items={1: 5})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"kind":"topics"}',
        b'{"kind":"topics","version":{},"items":{"T":null}}',
        b'{"kind":"offsets","version":{},"items":{"T@g":{"x":1}}}',
        b'{"kind":"delays","version":{},"items":{"1":5}',
        b"[" * 100_000,
    ],
)
def test_damage_is_an_error(body: bytes) -> None:
    with pytest.raises(MetadataError, match=f"metadata record of {len(body)} bytes"):
        decode_record(body)


@pytest.mark.parametrize("data", [b"", b"{}", b'{"records":[{}]}', b'{"records":[],"v":2}'])
def test_a_snapshot_that_cannot_be_read_is_an_error(data: bytes) -> None:
    with pytest.raises(MetadataError, match="metadata snapshot"):
        decode_snapshot(data)


def test_an_empty_snapshot() -> None:
    assert decode_snapshot(b'{"records":[]}') == Snapshot([])


def test_ranges_cover_every_name() -> None:
    items = dict.fromkeys("dbac", 0)
    parts = list(ranges(items, lambda _, __: 100, 2048 + 200))
    assert parts == [(("", "c"), {"a": 0, "b": 0}), (("c", None), {"c": 0, "d": 0})]
    assert list(ranges({}, lambda _, __: 100, 1)) == [(("", None), {})]


class TestOffsetRecords:
    def test_nothing(self) -> None:
        assert list(offset_records(VERSION, [], {}, {})) == []

    def test_one_record_while_it_is_small(self) -> None:
        assert list(offset_records(VERSION, ["T@g", "U@g"], {"T@g": {0: 1}}, {"V@g": {2: None}})) == [
            OffsetsRecord(
                version=VERSION,
                removed=["T@g", "U@g"],
                items={"T@g": {0: 1}},
                resets={"V@g": {2: None}},
            )
        ]

    def test_many_pairs_become_several_records(self) -> None:
        items = {f"topic-{at}@group": dict.fromkeys(range(65520, 65536), 2**63 - 1) for at in range(999)}
        removed = list(items)
        records = list(offset_records(VERSION, removed, items, {}))
        assert max(len(encode_record(record)) for record in records) <= RECORD_BYTES_MAX
        assert 2 <= len(records) <= 4
        together = {pair: queues for record in records for pair, queues in record.items.items()}
        assert together == items
        for record in records:
            assert record.removed == list(record.items), "a pair goes and comes in one record"

    def test_a_pair_of_very_many_queues_becomes_several_records(self) -> None:
        queues = dict.fromkeys(range(65_536), 2**63 - 1)
        records = list(offset_records(VERSION, ["T@g"], {"T@g": queues}, {"T@g": {**queues}}))
        assert max(len(encode_record(record)) for record in records) <= RECORD_BYTES_MAX
        items: dict[int, int] = {}
        resets: dict[int, int | None] = {}
        for record in records:
            items |= record.items.get("T@g", {})
            resets |= record.resets.get("T@g", {})
        assert items == resets == queues
        assert [record.removed for record in records] == [["T@g"]] + [[]] * (len(records) - 1)
