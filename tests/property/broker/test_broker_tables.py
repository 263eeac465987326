"""Random histories of the broker's tables against their invariants and naive models; random bytes against
the decoders of their bodies."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ledgermq.broker.attributes import TOPIC_ATTRIBUTES, alter_attributes, parse_attributes
from ledgermq.broker.clients import Client, ClientRegistry
from ledgermq.broker.groups import GroupFile, SubscriptionGroupConfig
from ledgermq.broker.handlers_lock import LockBatch
from ledgermq.broker.handlers_relay import offsets_of_status
from ledgermq.broker.heartbeat import CheckClient, ConsumerData, HeartbeatData, SubscriptionData
from ledgermq.broker.locks import LOCK_MS, QueueLocks
from ledgermq.broker.offsets import OffsetsRead, OffsetTable
from ledgermq.broker.queue_key import QueueKey
from ledgermq.broker.topics import TopicFile
from ledgermq.message import names
from ledgermq.remoting.command import PeerError
from ledgermq.remoting.json_body import JsonError, decode_json
from ledgermq.runtime.config import BrokerConfig

pytestmark = pytest.mark.slow

few = st.sampled_from
CHANNELS = few("ABCD")
GROUPS = few(["g", "h", "i"])
TOPICS = few(["T", "U", "V"])


class Clients(RuleBasedStateMachine):
    """Clients come, change and go; nobody may stay behind in an index, and whoever shares a group with a
    change must be notified."""

    def __init__(self) -> None:
        super().__init__()
        self.config = BrokerConfig(broker_name="b")
        self.clients: ClientRegistry[str] = ClientRegistry(self.config)
        self.now_ms = 0
        self.members: dict[str, set[str]] = {}
        self.topics: dict[str, frozenset[str]] = {}

    @rule(channel=CHANNELS, group=GROUPS, topics=st.frozensets(TOPICS), version=st.integers(0, 3))
    def beat(self, channel: str, group: str, topics: frozenset[str], version: int) -> None:
        wanted = [SubscriptionData(topic=topic, sub_version=version) for topic in sorted(topics)]
        data = ConsumerData(group_name=group, message_model="CLUSTERING", subscription_data_set=wanted)
        client = Client(channel, "", 0, 1)
        changed = self.clients.register_consumer(channel, client, data, self.now_ms, notify=True)
        members = self.members.setdefault(group, set())
        assert changed == (channel not in members or self.topics[group] != topics)
        members.add(channel)
        self.topics[group] = topics
        notified = dict(self.clients.take_notifications()).get(group, [])
        assert set(notified) == (members if changed else set())

    @rule(channel=CHANNELS, group=GROUPS)
    def produce(self, channel: str, group: str) -> None:
        self.clients.register_producer(channel, Client(channel, "", 0, 1), group, self.now_ms)

    @rule(channel=CHANNELS, group=GROUPS)
    def leave(self, channel: str, group: str) -> None:
        self.clients.unregister_consumer(group, channel, notify=True)
        self.clients.unregister_producer(group, channel)
        self.gone(channel, group)

    @rule(channel=CHANNELS)
    def close(self, channel: str) -> None:
        self.clients.close(channel)
        for group in list(self.members):
            self.gone(channel, group)
        assert all(channel not in members for members in self.clients.producer_groups.values())

    @rule(elapsed_ms=st.integers(0, 200_000))
    def pass_time(self, elapsed_ms: int) -> None:
        self.now_ms += elapsed_ms
        self.clients.expire(self.now_ms)
        for group in list(self.members):
            left = self.clients.consumer_groups.get(group)
            for channel in list(self.members[group]):
                if left is None or channel not in left.members:
                    self.gone(channel, group)
        oldest = self.now_ms - self.config.channel_expired_timeout
        for found in self.clients.consumer_groups.values():
            assert all(member.seen_ms >= oldest for member in found.members.values())
        self.clients.take_notifications()

    def gone(self, channel: str, group: str) -> None:
        members = self.members.get(group, set())
        members.discard(channel)
        if not members:
            self.members.pop(group, None)
            self.topics.pop(group, None)
        self.clients.take_notifications()

    @invariant()
    def agrees(self) -> None:
        self.clients.check_invariants()
        assert {g: set(found.members) for g, found in self.clients.consumer_groups.items()} == self.members
        for group, topics in self.topics.items():
            assert set(self.clients.consumer_groups[group].subscriptions) == topics


class Offsets(RuleBasedStateMachine):
    """Against three flat dictionaries."""

    def __init__(self) -> None:
        super().__init__()
        self.table = OffsetTable(0)
        self.consumed: dict[tuple[str, str, int], int] = {}
        self.reset: dict[tuple[str, str, int], int] = {}

    @rule(group=GROUPS, topic=TOPICS, queue=st.integers(0, 2), offset=st.integers(0, 9))
    def commit(self, group: str, topic: str, queue: int, offset: int) -> None:
        key = (group, topic, queue)
        assert self.table.commit(group, topic, queue, offset, 0) == (key not in self.reset)
        if key not in self.reset:
            self.consumed[key] = offset

    @rule(group=GROUPS, topic=TOPICS, queue=st.integers(0, 2), offset=st.integers(0, 9))
    def commit_pulled(self, group: str, topic: str, queue: int, offset: int) -> None:
        self.table.commit_pulled(group, topic, queue, offset)

    @rule(group=GROUPS, topic=TOPICS, queue=st.integers(0, 2), offset=st.integers(0, 9))
    def set_back(self, group: str, topic: str, queue: int, offset: int) -> None:
        assert self.table.reset(group, topic, queue, offset, 0)
        self.consumed[group, topic, queue] = self.reset[group, topic, queue] = offset

    @rule(group=GROUPS, topic=TOPICS, queue=st.integers(0, 2))
    def pull(self, group: str, topic: str, queue: int) -> None:
        assert self.table.take_reset(group, topic, queue) == self.reset.pop((group, topic, queue), None)

    @rule(topic=TOPICS)
    def remove_topic(self, topic: str) -> None:
        self.table.remove_topic(topic, 0)
        self.forget(lambda key: key[1] == topic)

    @rule(group=GROUPS)
    def remove_group(self, group: str) -> None:
        self.table.remove_group(group, 0)
        self.forget(lambda key: key[0] == group)

    @rule(source=GROUPS, taker=GROUPS, topic=TOPICS)
    def clone(self, source: str, taker: str, topic: str) -> None:
        self.table.clone(source, taker, topic, 0)
        for (group, of, queue), offset in list(self.consumed.items()):
            if (group, of) == (source, topic):
                self.consumed[taker, topic, queue] = offset

    def forget(self, doomed: Any) -> None:
        for table in (self.consumed, self.reset):
            for key in [key for key in table if doomed(key)]:
                del table[key]

    @invariant()
    def agrees(self) -> None:
        self.table.check_invariants()
        for group in ("g", "h", "i"):
            for topic in ("T", "U", "V"):
                expected = {q: o for (g, t, q), o in self.consumed.items() if (g, t) == (group, topic)}
                assert self.table.queues(group, topic) == expected
        for key, offset in self.reset.items():
            assert self.table.consumed(*key) == offset


class Locks(RuleBasedStateMachine):
    """Nobody holds what another holds."""

    def __init__(self) -> None:
        super().__init__()
        self.locks = QueueLocks()
        self.now_ms = 0
        self.held: dict[tuple[str, QueueKey], tuple[str, int]] = {}

    @rule(group=GROUPS, client=CHANNELS, queues=st.lists(st.integers(0, 3), unique=True))
    def lock(self, group: str, client: str, queues: list[int]) -> None:
        keys = [QueueKey("b", queue, "T") for queue in queues]
        locked = self.locks.lock(group, keys, client, self.now_ms)
        for key in keys:
            holder, at = self.held.get((group, key), (client, self.now_ms))
            assert (key in locked) == (holder == client or self.now_ms - at > LOCK_MS)
            if key in locked:
                self.held[group, key] = (client, self.now_ms)

    @rule(group=GROUPS, client=CHANNELS, queue=st.integers(0, 3))
    def unlock(self, group: str, client: str, queue: int) -> None:
        key = QueueKey("b", queue, "T")
        self.locks.unlock(group, [key], client)
        if self.held.get((group, key), ("", 0))[0] == client:
            del self.held[group, key]

    @rule(elapsed_ms=st.integers(0, 70_000), expire=st.booleans())
    def pass_time(self, elapsed_ms: int, expire: bool) -> None:
        self.now_ms += elapsed_ms
        if expire:
            self.locks.expire(self.now_ms)

    @invariant()
    def agrees(self) -> None:
        for (group, key), (client, at) in self.held.items():
            alive = self.now_ms - at <= LOCK_MS
            assert self.locks.holder(group, key, self.now_ms) == (client if alive else None)


for machine in (Clients, Offsets, Locks):
    machine.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)

TestClients = Clients.TestCase
TestOffsets = Offsets.TestCase
TestLocks = Locks.TestCase


@given(st.text(alphabet="+-=,ab.") | st.text())
def test_attributes_parse_or_are_refused(text: str) -> None:
    try:
        changes = parse_attributes(text)
    except PeerError:
        return
    assert all(name[0] in "+-" for name in changes)


@given(
    st.none() | st.dictionaries(few(sorted(TOPIC_ATTRIBUTES)), st.text(max_size=5)),
    st.dictionaries(
        st.builds(str.__add__, few("+-x"), few([*sorted(TOPIC_ATTRIBUTES), "other"])),
        few(["NORMAL", "1", "-1", "", "DELETE"]),
    ),
)
def test_altered_attributes_are_allowed_ones(current: dict[str, str] | None, changes: dict[str, str]) -> None:
    before = None if current is None else dict(current)
    try:
        altered = alter_attributes(TOPIC_ATTRIBUTES, current, changes)
    except PeerError:
        altered = {}
    assert current == before
    assert set(altered) <= set(TOPIC_ATTRIBUTES)


@given(st.text())
def test_names_are_valid_or_have_a_fault(name: str) -> None:
    for fault in (names.topic_fault(name), names.group_fault(name)):
        if fault is None:
            assert name.isascii()
            assert 0 < len(name) <= 255


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            few(
                [
                    "clientID",
                    "groupName",
                    "topic",
                    "consumerDataSet",
                    "mqSet",
                    "offsetTable",
                    "dataVersion",
                    "a@b",
                    "0",
                ]
            )
            | st.text(max_size=8),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)
KINDS: list[Any] = [
    HeartbeatData,
    CheckClient,
    SubscriptionGroupConfig,
    GroupFile,
    TopicFile,
    OffsetsRead,
    LockBatch,
    QueueKey,
]


@given(few(KINDS), json_values.map(lambda value: json.dumps(value).encode()) | st.binary())
def test_bodies_decode_or_are_refused(kind: Any, data: bytes) -> None:
    try:
        value = decode_json(kind, data)
    except JsonError:
        return
    assert isinstance(value, kind)


@given(json_values.map(lambda value: json.dumps({"messageQueueTable": value}).encode()) | st.binary())
def test_a_clients_status_is_read_or_left_out(data: bytes) -> None:
    offsets_of_status(data)
