"""Random histories of a replicated group's tables: leaders change them, commits come late or never, leaders
change with or without the tail of their log, followers start from snapshots.

What each prefix of the log stands for is noted from the leader's own tables when it appends: a copy of them
is the model. Every replica that has replayed a prefix must be equal to that, whatever it was before."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.unit.broker.replicas import Replica, topic

from ledgermq.broker.groups import SubscriptionGroupConfig
from ledgermq.broker.metadata_records import (
    MetadataError,
    OffsetsRecord,
    decode_record,
    encode_record,
    encode_snapshot,
)
from ledgermq.remoting.codes import ResponseCode
from ledgermq.remoting.command import PeerError

pytestmark = pytest.mark.slow

few = st.sampled_from
TOPICS = few(["T", "U", "V", "%RETRY%g"])
GROUPS = few(["g", "h", "TOOLS_CONSUMER"])
QUEUES = st.integers(0, 3)
OFFSETS = st.integers(0, 9)
REPLICAS = st.integers(0, 2)

Tables = tuple[Any, ...]
"""topics and their version, groups, offsets and their version, delays and theirs."""
PROGRESS_AT = 3
"""Where in the tables that begins which is logged in batches."""


class Group(RuleBasedStateMachine):
    """Three replicas. ``log`` is what the leader has; ``committed`` of it is what all will have, ``applied``
    says how much each has replayed."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = 0
        self.replicas = [Replica() for _ in range(3)]
        self.log: list[bytes] = []
        self.committed = 0
        self.applied = [0, 0, 0]
        self.leader: int | None = None
        self.expected: list[Tables] = [copy.deepcopy(self.replicas[0].tables())]
        """What the tables of a replica hold after each prefix of the log."""
        self.snapshots: list[tuple[int, bytes]] = [(0, encode_snapshot(self.replicas[0].journal.snapshot()))]

    @initialize(leader=REPLICAS)
    def first(self, leader: int) -> None:
        self.lead(leader)

    def lead(self, replica: int) -> None:
        self.leader = replica
        self.take(replica, self.committed)
        self.replicas[replica].journal.start_leading()

    @property
    def head(self) -> Replica:
        assert self.leader is not None
        return self.replicas[self.leader]

    def take(self, replica: int, until: int) -> None:
        """Give the replica what is committed."""
        for body in self.log[self.applied[replica] : until]:
            assert self.replicas[replica].journal.committed(body)
        self.applied[replica] = max(self.applied[replica], until)

    def note(self, *, progress: bool) -> None:
        """The leader has appended: what follows from the log up to here."""
        new = self.head.log
        now = copy.deepcopy(self.head.tables())
        for body in new:
            self.log.append(body)
            before = self.expected[-1]
            settled = now if progress else now[:PROGRESS_AT] + before[PROGRESS_AT:]
            record = decode_record(body)
            if not progress and isinstance(record, OffsetsRecord):
                # Offsets are removed at once; what else has changed of them comes with the next batch.
                kept = {
                    pair: item
                    for pair, item in before[3].items()
                    if "@".join(pair[::-1]) not in record.removed
                }
                settled = (*now[:3], kept, now[4], *before[5:])
            self.expected.append(settled)
        new.clear()

    # ---- the leader's changes ----

    def change(self, what: str, *arguments: Any, **settings: Any) -> None:
        self.now_ms += 1
        table, name = what.split(".")
        getattr(getattr(self.head, table), name)(*arguments, self.now_ms, **settings)
        self.note(progress=False)

    @rule(name=TOPICS, perm=few([2, 4, 6]), queues=st.integers(1, 4))
    def update_topic(self, name: str, perm: int, queues: int) -> None:
        self.change("topics.update", topic(name, perm=perm, read_queue_nums=queues))

    @rule(name=TOPICS)
    def delete_topic(self, name: str) -> None:
        self.change("topics.delete", name)
        self.change("offsets.remove_topic", name)

    @rule(group=GROUPS, ordered=st.booleans())
    def create_retry_topic(self, group: str, ordered: bool) -> None:
        self.change("topics.create_for_retry", f"%RETRY%{group}", 1, 6, 0, order=ordered)

    @rule(group=GROUPS, retries=st.integers(0, 3))
    def update_group(self, group: str, retries: int) -> None:
        self.change("groups.update", SubscriptionGroupConfig(group_name=group, retry_max_times=retries))

    @rule(group=GROUPS)
    def find_group(self, group: str) -> None:
        self.change("groups.find_or_create", group)

    @rule(group=GROUPS, name=TOPICS, readable=st.booleans())
    def forbid(self, group: str, name: str, readable: bool) -> None:
        if group in self.head.groups.configs:
            self.change("groups.set_may_read", group, name, readable)

    @rule(group=GROUPS, with_offsets=st.booleans())
    def delete_group(self, group: str, with_offsets: bool) -> None:
        self.change("groups.delete", group)
        if with_offsets:
            self.change("offsets.remove_group", group)

    @rule(group=GROUPS, name=TOPICS, queue_id=QUEUES, offset=OFFSETS)
    def commit_offset(self, group: str, name: str, queue_id: int, offset: int) -> None:
        self.change("offsets.commit", group, name, queue_id, offset)

    @rule(group=GROUPS, name=TOPICS, queue_id=QUEUES, offset=OFFSETS)
    def reset_offset(self, group: str, name: str, queue_id: int, offset: int) -> None:
        self.change("offsets.reset", group, name, queue_id, offset)

    @rule(group=GROUPS, name=TOPICS, queue_id=QUEUES)
    def take_reset(self, group: str, name: str, queue_id: int) -> None:
        self.head.offsets.take_reset(group, name, queue_id)

    @rule(source=GROUPS, taker=GROUPS, name=TOPICS)
    def clone_offsets(self, source: str, taker: str, name: str) -> None:
        self.change("offsets.clone", source, taker, name)

    @rule(level=st.integers(1, 3), offset=OFFSETS)
    def deliver_delayed(self, level: int, offset: int) -> None:
        self.now_ms += 1
        self.head.delays.offsets[level] = offset
        self.head.delays.data_version.advance(self.now_ms)

    @rule()
    def log_offsets(self) -> None:
        count = self.head.journal.log_offsets()
        assert count == len(self.head.log)
        if count:
            delays_logged = self.head.delays.offsets != self.expected[-1][5]
            before = self.expected[-1]
            offsets_logged = isinstance(decode_record(self.head.log[0]), OffsetsRecord)
            self.note(progress=True)
            # A record carries the version of its own table; of two, the first is of the offsets.
            for at in range(len(self.expected) - count, len(self.expected)):
                tables = self.expected[at]
                offsets = tables[3:5] if offsets_logged else before[3:5]
                last = at == len(self.expected) - 1
                delays = tables[5:] if delays_logged and last else before[5:]
                self.expected[at] = tables[:PROGRESS_AT] + offsets + delays

    @rule(name=TOPICS, group=GROUPS)
    def refuse(self, name: str, group: str) -> None:
        """The log does not take a change: it is as if nobody had asked for it."""
        before = copy.deepcopy(self.head.tables())
        self.head.refusal = PeerError(ResponseCode.SERVICE_NOT_AVAILABLE, "no")
        for what in (
            lambda: self.head.topics.update(topic(name, perm=1), self.now_ms + 1),
            lambda: self.head.groups.update(
                SubscriptionGroupConfig(group_name=group, broker_id=7), self.now_ms + 1
            ),
        ):
            with pytest.raises(PeerError, match="no"):
                what()
        self.head.refusal = None
        assert self.head.tables() == before

    # ---- commits and followers ----

    @rule(count=st.integers(1, 5))
    def commit(self, count: int) -> None:
        self.committed = min(len(self.log), self.committed + count)
        assert self.leader is not None
        self.take(self.leader, self.committed)

    @rule(replica=REPLICAS, count=st.integers(1, 9))
    def replay(self, replica: int, count: int) -> None:
        if replica != self.leader:
            self.take(replica, min(self.committed, self.applied[replica] + count))

    @rule(replica=REPLICAS, name=TOPICS)
    def believe_to_lead(self, replica: int, name: str) -> None:
        """A replica that has not heard of the new leader goes on; nobody gets its records."""
        old = self.replicas[replica]
        if replica != self.leader and old.journal.leading:
            old.topics.update(topic(name, perm=1), self.now_ms)
            old.offsets.commit("old", name, 0, 1, self.now_ms)
            old.journal.log_offsets()
            old.log.clear()

    @rule(replica=REPLICAS)
    def make_snapshot(self, replica: int) -> None:
        snapshot = encode_snapshot(self.replicas[replica].journal.snapshot())
        self.snapshots.append((self.applied[replica], snapshot))

    @rule(replica=REPLICAS, data=st.data(), fresh=st.booleans())
    def load_snapshot(self, replica: int, data: st.DataObject, fresh: bool) -> None:
        """A follower is started again, or so far behind that it gets a snapshot."""
        if replica == self.leader:
            return
        index, snapshot = data.draw(st.sampled_from(self.snapshots))
        if fresh:
            self.replicas[replica] = Replica()
        elif index < self.applied[replica]:
            return
        self.replicas[replica].journal.stop_leading()
        self.replicas[replica].journal.load(snapshot)
        self.applied[replica] = index

    @rule(replica=REPLICAS, kept=st.integers(0, 9), told=st.booleans())
    def change_leader(self, replica: int, kept: int, told: bool) -> None:
        """The new leader has ``kept`` records of those that are not committed; its own first entry commits
        them. The old one may be the new one, and if not, may still have to hear of it."""
        if told or replica == self.leader:
            self.head.journal.stop_leading()
        self.replicas[replica].journal.stop_leading()
        self.replicas[replica].log.clear()
        self.check_followers()
        assert self.head.log == []
        del self.log[self.committed + kept :]
        del self.expected[len(self.log) + 1 :]
        self.committed = len(self.log)
        self.lead(replica)
        assert self.head.tables() == self.expected[-1]

    # ---- what always holds ----

    @invariant()
    def check_followers(self) -> None:
        for at, replica in enumerate(self.replicas):
            if not replica.journal.leading:
                assert replica.tables() == self.expected[self.applied[at]], at
                assert replica.log == []
            replica.offsets.check_invariants()

    @invariant()
    @precondition(lambda self: self.leader is not None)
    def check_state_of_leader(self) -> None:
        copied = Replica()
        copied.journal.load(encode_snapshot(self.head.journal.snapshot()))
        assert copied.tables() == self.expected[self.committed]

    @invariant()
    @precondition(lambda self: self.leader is not None)
    def check_nothing_is_missed(self) -> None:
        """With everything logged and committed, the followers would be as the leader is."""
        last, tables = self.expected[-1], self.head.tables()
        assert tables[:PROGRESS_AT] == last[:PROGRESS_AT]
        if not self.head.offsets.dirty:
            assert tables[3] == last[3]


TestGroup = Group.TestCase


NAMES = st.text(st.characters(exclude_characters="@", codec="utf-8"), min_size=1, max_size=5)
MANY_QUEUES = st.dictionaries(st.integers(0, 65_535), st.integers(-1, 2**63 - 1), min_size=1, max_size=60)


class Content(msgspec.Struct):
    """What a table may hold that came from Java."""

    topics: list[str]
    groups: dict[str, list[str]]
    offsets: dict[tuple[str, str], dict[int, int]]
    delays: dict[int, int]


CONTENTS = st.builds(
    Content,
    topics=st.lists(NAMES, max_size=20, unique=True),
    groups=st.dictionaries(NAMES, st.lists(TOPICS, max_size=2), max_size=5),
    offsets=st.dictionaries(st.tuples(NAMES, NAMES), MANY_QUEUES, max_size=8),
    delays=st.dictionaries(st.integers(1, 18), st.integers(0, 2**63 - 1), max_size=3),
)


def filled(content: Content) -> Replica:
    replica = Replica()
    replica.journal.start_leading()
    for name in content.topics:
        replica.topics.update(topic(name), 2)
    for group, forbidden in content.groups.items():
        replica.groups.update(SubscriptionGroupConfig(group_name=group), 2)
        for name in forbidden:
            replica.groups.set_may_read(group, name, False, 3)
    for (group, name), queues in content.offsets.items():
        for queue_id, offset in queues.items():
            replica.offsets.reset(group, name, queue_id, offset, 4)
            if queue_id % 2:
                replica.offsets.take_reset(group, name, queue_id)
    replica.delays.offsets.update(content.delays)
    replica.journal.log_offsets()
    for body in replica.log:
        replica.journal.committed(body)
    replica.log.clear()
    before = copy.deepcopy(replica.tables())
    replica.journal.stop_leading()
    assert replica.tables() == before
    return replica


@given(CONTENTS, CONTENTS, st.integers(2100, 4000))
def test_a_leader_that_states_everything_makes_all_replicas_equal(
    told: Content, other: Content, bytes_max: int
) -> None:
    """In records of little more than their envelope, so that tables are cut in many places."""
    leader, follower = filled(told), filled(other)
    for record in leader.journal.state.records(bytes_max):
        body = encode_record(record)
        assert len(body) <= bytes_max
        assert follower.journal.committed(body)
    assert follower.tables() == leader.tables()
    follower.offsets.check_invariants()


@given(CONTENTS, CONTENTS)
def test_a_snapshot_makes_replicas_equal(told: Content, other: Content) -> None:
    leader, follower = filled(told), filled(other)
    follower.journal.load(encode_snapshot(leader.journal.snapshot()))
    assert follower.tables() == leader.tables()


@given(CONTENTS, CONTENTS, st.data())
def test_a_lost_tail_of_what_states_everything_loses_no_offset(
    told: Content, other: Content, data: st.DataObject
) -> None:
    """Of two replicas that know the same, one states everything and only a part of it is committed."""
    leader, follower = filled(told), filled(told)
    records = list(leader.journal.state.records(data.draw(st.integers(2100, 4000))))
    for record in records[: data.draw(st.integers(0, len(records)))]:
        follower.journal.committed(encode_record(record))
    assert follower.tables() == leader.tables()


@given(st.binary(max_size=80) | st.builds(lambda text: b'{"kind":"topics",' + text, st.binary(max_size=60)))
def test_any_bytes_are_a_record_or_unknown_or_an_error(body: bytes) -> None:
    replica = Replica()
    before = replica.tables()
    try:
        replica.journal.committed(body)
    except MetadataError:
        assert replica.tables() == before
