"""What the committed part of the replicated log states of topics, groups and offsets.

The tables of a leader are ahead of this: they have changes whose records are not committed yet. What a
snapshot holds, and what a leader goes back to that is none any more, is this.

Rules of this file: pure; :meth:`MetadataState.replay` alone changes the state, and no item of it in place:
another thread may be encoding it. Items are shared with the tables where these do the same (configs), and
copied where they do not (offsets, forbidden topics).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import TypeVar

import msgspec

from ledgermq.broker.metadata_records import (
    EVERY_NAME,
    QUEUE_BYTES,
    DelaysRecord,
    GroupsRecord,
    GroupState,
    MetadataRecord,
    OffsetsRecord,
    Range,
    Resets,
    TopicsRecord,
    name_bytes,
    offset_records,
    ranges,
)
from ledgermq.broker.offsets import Queues
from ledgermq.remoting.topic_config import DataVersion, TopicConfig

T = TypeVar("T")

Touched = dict[str, None]
"""Names whose items a record speaks of; a dict for its order."""


class MetadataState:
    """``made``: the topics that this broker makes by itself."""

    def __init__(self, made: dict[str, TopicConfig], now_ms: int = 0) -> None:
        self._made = made
        self.topics: dict[str, TopicConfig] = dict(made)
        self.groups: dict[str, GroupState] = {}
        self.offsets: dict[str, Queues] = {}
        """``topic@group`` -> queue -> offset."""
        self.resets: dict[str, Queues] = {}
        self.delays: dict[int, int] = {}
        self.topics_version = DataVersion(timestamp=now_ms)
        self.groups_version = DataVersion(timestamp=now_ms)
        self.offsets_version = DataVersion(timestamp=now_ms)
        self.delays_version = DataVersion(timestamp=now_ms)
        self._sorted: list[str] = []
        """The names of ``_sorted_of`` before the records of a series, whose last range ended at
        ``_sorted_from``: a table of a million names is sorted once, not searched for each record."""
        self._sorted_of: object = None
        self._sorted_from: str | None = None

    # ---- changes ----

    def replay(self, record: MetadataRecord) -> Touched:
        """Take over what the record states; the names of the items that it may have changed."""
        if isinstance(record, TopicsRecord):
            return self._replay_topics(record)
        if isinstance(record, GroupsRecord):
            return self._replay_groups(record)
        if isinstance(record, OffsetsRecord):
            return self._replay_offsets(record)
        self.delays = dict(record.items)
        self.delays_version = record.version.copy()
        return {}

    def _replay_topics(self, record: TopicsRecord) -> Touched:
        gone = dict.fromkeys([*self._in_range(self.topics, record.exact), *record.removed])
        for topic in gone:
            if topic in self._made:
                self.topics[topic] = self._made[topic]
            else:
                self.topics.pop(topic, None)
        self.topics.update(record.items)
        self.topics_version = record.version.copy()
        return gone | dict.fromkeys(record.items)

    def _replay_groups(self, record: GroupsRecord) -> Touched:
        gone = dict.fromkeys([*self._in_range(self.groups, record.exact), *record.removed])
        for group in gone:
            self.groups.pop(group, None)
        self.groups.update(record.items)
        self.groups_version = record.version.copy()
        return gone | dict.fromkeys(record.items)

    def _replay_offsets(self, record: OffsetsRecord) -> Touched:
        gone = dict.fromkeys([*self._in_range(self.offsets, record.exact), *record.removed])
        for pair in gone:
            self.offsets.pop(pair, None)
            self.resets.pop(pair, None)
        for pair, queues in record.items.items():
            self.offsets[pair] = self.offsets.get(pair, {}) | queues
        for pair, stated in record.resets.items():
            merged = self.resets.get(pair, {}) | stated
            pending = {queue_id: offset for queue_id, offset in merged.items() if offset is not None}
            if pending:
                self.resets[pair] = pending
            else:
                self.resets.pop(pair, None)
        self.offsets_version = record.version.copy()
        return gone | dict.fromkeys(record.items) | dict.fromkeys(record.resets)

    def _in_range(self, table: dict[str, T], exact: Range | None) -> list[str]:
        """Those names of a table that lie in the range of a record about it."""
        if exact is None:
            if self._sorted_of is table:
                self._sorted_of = None
            return []
        low, high = exact
        if self._sorted_of is not table or self._sorted_from != low:
            self._sorted, self._sorted_of = sorted(table), table
        self._sorted_from = high
        end = len(self._sorted) if high is None else bisect_left(self._sorted, high)
        return [name for name in self._sorted[bisect_left(self._sorted, low) : end] if name in table]

    # ---- stating everything ----

    def whole(self) -> list[MetadataRecord]:
        """One record of each kind that state everything, whatever the reader's state was before: made at once
        and not changed by what is replayed later."""
        topics = {name: topic for name, topic in self.topics.items() if topic != self._made.get(name)}
        resets: dict[str, Resets] = {pair: {**queues} for pair, queues in self.resets.items()}
        return [
            TopicsRecord(version=self.topics_version.copy(), exact=EVERY_NAME, items=topics),
            GroupsRecord(version=self.groups_version.copy(), exact=EVERY_NAME, items=dict(self.groups)),
            OffsetsRecord(
                version=self.offsets_version.copy(), exact=EVERY_NAME, items=dict(self.offsets), resets=resets
            ),
            self._delays_record(),
        ]

    def records(self, bytes_max: int) -> Iterator[MetadataRecord]:
        """As :meth:`whole`, in records of about ``bytes_max`` bytes. Any of them may be the last one that is
        committed."""
        yield from self._topic_records(bytes_max)
        for exact, groups in ranges(self.groups, _item_bytes, bytes_max):
            yield GroupsRecord(version=self.groups_version.copy(), exact=exact, items=groups)
        yield from self._offset_records(bytes_max)
        yield self._delays_record()

    def _delays_record(self) -> DelaysRecord:
        return DelaysRecord(version=self.delays_version.copy(), items=dict(self.delays), complete=True)

    def _topic_records(self, bytes_max: int) -> Iterator[MetadataRecord]:
        stated = {name: topic for name, topic in self.topics.items() if topic != self._made.get(name)}
        for exact, topics in ranges(stated, _item_bytes, bytes_max):
            yield TopicsRecord(version=self.topics_version.copy(), exact=exact, items=topics)

    def _offset_records(self, bytes_max: int) -> Iterator[MetadataRecord]:
        """A pair that needs several records is not within a range: with the first of them committed alone,
        the range would take away what the others state."""
        version = self.offsets_version
        sizes = {pair: self._pair_bytes(pair) for pair in self.offsets}
        small = {pair: size for pair, size in sizes.items() if size <= bytes_max // 2}
        large = [pair for pair in sorted(sizes) if pair not in small]
        for exact, pairs in ranges(small, lambda _, size: size, bytes_max):
            for hole in _without(exact, large):
                within = _covered(pairs, hole)
                yield OffsetsRecord(
                    version=version.copy(),
                    exact=hole,
                    items={pair: dict(self.offsets[pair]) for pair in within},
                    resets={pair: {**self.resets[pair]} for pair in within if pair in self.resets},
                )
        for pair in large:
            resets: dict[str, Resets] = {pair: {**self.resets.get(pair, {})}}
            yield from offset_records(version.copy(), [], {pair: self.offsets[pair]}, resets, bytes_max)

    def _pair_bytes(self, pair: str) -> int:
        return 2 * name_bytes(pair) + QUEUE_BYTES * (len(self.offsets[pair]) + len(self.resets.get(pair, ())))


def _covered(names: Iterable[str], exact: Range) -> list[str]:
    """Those of ``names`` that lie in the range."""
    low, high = exact
    return [name for name in names if low <= name and (high is None or name < high)]


def _without(exact: Range, names: list[str]) -> Iterator[Range]:
    """The range without the ``names``, which are sorted."""
    low, high = exact
    for name in _covered(names, exact):
        if low < name:
            yield low, name
        low = name + "\0"
    yield low, high


def _item_bytes(name: str, item: object) -> int:
    return name_bytes(name) + len(msgspec.json.encode(item))
