"""Producers and consumers that are connected now (Java: ``ConsumerManager``, ``ProducerManager``).

A client registers its groups by heartbeats, every 30 s, on one connection. It leaves by saying so, by closing
the connection, or by silence. When the members of a group change, or what it subscribes to, the others must
share out the queues anew: the group is marked, and :meth:`ClientRegistry.take_notifications` tells whom to
notify. Marks gather, so a hundred clients that come in one moment are announced once and not a hundred times.

Rules of this file: pure. ``C``, a connection, is only compared and handed back. Time comes in. Nothing scans
all members: closing touches the connection's own, expiry only the expired, who stand first in ``_by_age``.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from ledgermq.broker.heartbeat import BROADCASTING, ConsumerData, SubscriptionData
from ledgermq.remoting.codes import LANGUAGE_NAMES, ResponseCode
from ledgermq.remoting.command import PeerError
from ledgermq.runtime.config import BrokerConfig
from ledgermq.runtime.limits import COMPENSATED_MAX, MEMBERS_MAX, SUBSCRIPTIONS_PER_GROUP_MAX

C = TypeVar("C", bound=Hashable)


class Client:
    """Who sent a heartbeat: the client id, and the language and version of its software."""

    __slots__ = ("client_id", "language", "remote", "version")

    def __init__(self, client_id: str, remote: str, language: int, version: int) -> None:
        self.client_id = client_id
        self.remote = remote
        self.language = LANGUAGE_NAMES[language] if 0 <= language < len(LANGUAGE_NAMES) else "OTHER"
        self.version = version


class Member(Generic[C]):
    """One client in one group, on one connection."""

    __slots__ = ("channel", "client", "group", "is_consumer", "seen_ms")

    def __init__(self, group: str, channel: C, client: Client, is_consumer: bool, now_ms: int) -> None:
        self.group = group
        self.channel = channel
        self.client = client
        self.is_consumer = is_consumer
        self.seen_ms = now_ms


class ConsumerGroup(Generic[C]):
    """A consumer group with at least one member; its settings are those of the latest heartbeat."""

    __slots__ = (
        "consume_from_where",
        "consume_type",
        "fingerprint",
        "members",
        "message_model",
        "subscriptions",
    )

    def __init__(self) -> None:
        self.consume_type = ""
        self.message_model = ""
        self.consume_from_where = ""
        self.members: dict[C, Member[C]] = {}
        self.subscriptions: dict[str, SubscriptionData] = {}
        self.fingerprint: int | None = None
        """The fingerprint of the latest heartbeat, 0 of one that had none."""

    @property
    def notified(self) -> bool:
        """Members of a broadcasting group do not share queues out and need not know of each other."""
        return self.message_model != BROADCASTING


class ClientRegistry(Generic[C]):
    """Groups and members, by group, by connection and by age."""

    def __init__(self, config: BrokerConfig) -> None:
        self._config = config
        self.consumer_groups: dict[str, ConsumerGroup[C]] = {}
        self.producer_groups: dict[str, dict[C, Member[C]]] = {}
        self._by_channel: dict[C, dict[Member[C], None]] = {}
        self._by_age: dict[Member[C], None] = {}
        """Every member, the one longest silent first."""
        self._groups_by_topic: dict[str, dict[str, None]] = {}
        """Topic -> consumer groups that subscribe to it now."""
        self._compensated: dict[tuple[str, str], tuple[SubscriptionData, int]] = {}
        """(group, topic) -> what a consumer without heartbeats last asked for, and when; oldest first."""
        self._changed: dict[str, None] = {}
        """Groups whose members are to be notified."""
        self.subscription_changes = 0
        """Counts every change of a consumer group's being there, of its message model and subscriptions."""

    # ---- questions ----

    def find_consumer(self, group: str, client_id: str) -> Member[C] | None:
        found = self.consumer_groups.get(group)
        if found is None:
            return None
        members = found.members.values()
        return next((member for member in members if member.client.client_id == client_id), None)

    def subscription(self, group: str, topic: str) -> SubscriptionData | None:
        """What the group wants of the topic, by its heartbeats or else by what it lately pulled."""
        found = self.consumer_groups.get(group)
        if found is not None:
            subscription = found.subscriptions.get(topic)
            if subscription is not None:
                return subscription
        compensated = self._compensated.get((group, topic))
        return None if compensated is None else compensated[0]

    def subscription_count(self, group: str) -> int:
        found = self.consumer_groups.get(group)
        return 0 if found is None else len(found.subscriptions)

    def groups_subscribing(self, topic: str) -> list[str]:
        return list(self._groups_by_topic.get(topic, ()))

    @property
    def has_notifications(self) -> bool:
        return bool(self._changed)

    def take_notifications(self) -> list[tuple[str, list[C]]]:
        """The groups that have changed since the last call, each with the connections to notify."""
        taken: list[tuple[str, list[C]]] = []
        for group in self._changed:
            found = self.consumer_groups.get(group)
            if found is not None and found.notified:
                taken.append((group, list(found.members)))
        self._changed = {}
        return taken

    # ---- consumers ----

    def register_consumer(
        self,
        channel: C,
        client: Client,
        data: ConsumerData,
        now_ms: int,
        *,
        notify: bool,
        without_sub: bool = False,
    ) -> bool:
        """A heartbeat names a consumer group; True when its members or topics have changed.

        ``without_sub``: the heartbeat leaves its subscriptions out, they are what they were.
        Raises PeerError at a limit.
        """
        name = data.group_name
        subscriptions = data.subscriptions
        if len(subscriptions) > SUBSCRIPTIONS_PER_GROUP_MAX:
            remark = (
                f"group {name!r} subscribes to {len(subscriptions)} topics, "
                f"at most {SUBSCRIPTIONS_PER_GROUP_MAX} are allowed"
            )
            raise PeerError(ResponseCode.SYSTEM_ERROR, remark)
        found = self.consumer_groups.get(name)
        known = None if found is None else found.members.get(channel)
        if known is None:
            member = self._join(name, channel, client, True, now_ms)
            group = found if found is not None else self.consumer_groups.setdefault(name, ConsumerGroup())
            group.members[channel] = member
        else:
            group = self.consumer_groups[name]
            known.client = client
            self._refresh(known, now_ms)
        group.consume_type = str(data.consume_type)
        if group.message_model != data.message_model:
            group.message_model = str(data.message_model)
            self.subscription_changes += 1
        group.consume_from_where = str(data.consume_from_where)
        changed = known is None
        if not without_sub and self._subscribe(name, group, subscriptions):
            changed = True
        if changed and notify:
            self._changed[name] = None
        return changed

    def _subscribe(self, name: str, group: ConsumerGroup[C], wanted: list[SubscriptionData]) -> bool:
        """Make ``wanted`` the group's subscriptions; True when a topic has come or gone. One that is only
        newer than the old one replaces it without a notification: the queues to share out are the same."""
        changed = False
        topics: dict[str, None] = {}
        for subscription in wanted:
            topic = subscription.topic
            topics[topic] = None
            old = group.subscriptions.get(topic)
            if old is None:
                changed = True
                self._groups_by_topic.setdefault(topic, {})[name] = None
                group.subscriptions[topic] = subscription
                self.subscription_changes += 1
            elif subscription.sub_version > old.sub_version:
                group.subscriptions[topic] = subscription
                self.subscription_changes += 1
        for topic in [topic for topic in group.subscriptions if topic not in topics]:
            changed = True
            del group.subscriptions[topic]
            self.subscription_changes += 1
            self._unsubscribe(name, topic)
        return changed

    def _unsubscribe(self, group: str, topic: str) -> None:
        groups = self._groups_by_topic[topic]
        del groups[group]
        if not groups:
            del self._groups_by_topic[topic]

    def unregister_consumer(self, group: str, channel: C, *, notify: bool) -> None:
        """The client has left the group."""
        found = self.consumer_groups.get(group)
        member = None if found is None else found.members.get(channel)
        if member is not None:
            self._leave(member)
            if notify:
                self._changed[group] = None

    def heard_fingerprint(self, group: str, fingerprint: int, *, without_sub: bool) -> bool:
        """Note the fingerprint of the heartbeat just registered; True when the client must send its
        subscriptions in full next time: another client's are different, or they were left out and are not
        known here."""
        found = self.consumer_groups[group]
        differs = fingerprint != 0 and found.fingerprint is not None and found.fingerprint != fingerprint
        found.fingerprint = fingerprint
        return differs or (without_sub and not found.subscriptions)

    def compensate(self, group: str, topic: str, subscription: SubscriptionData, now_ms: int) -> None:
        """Remember what a consumer that sends no heartbeats pulls, so that its progress can be shown."""
        key = (group, topic)
        self._compensated.pop(key, None)
        self._compensated[key] = (subscription, now_ms)
        if len(self._compensated) > COMPENSATED_MAX:
            del self._compensated[next(iter(self._compensated))]

    # ---- producers ----

    def register_producer(self, channel: C, client: Client, group: str, now_ms: int) -> None:
        """A heartbeat names a producer group. Raises PeerError at the limit."""
        members = self.producer_groups.get(group)
        known = None if members is None else members.get(channel)
        if known is not None:
            known.client = client
            self._refresh(known, now_ms)
            return
        member = self._join(group, channel, client, False, now_ms)
        self.producer_groups.setdefault(group, {})[channel] = member

    def unregister_producer(self, group: str, channel: C) -> None:
        member = self.producer_groups.get(group, {}).get(channel)
        if member is not None:
            self._leave(member)

    # ---- leaving ----

    def close(self, channel: C) -> None:
        """The connection has ended."""
        for member in list(self._by_channel.get(channel, ())):
            self._leave(member)
            if member.is_consumer:
                self._changed[member.group] = None

    def expire(self, now_ms: int) -> list[C]:
        """Forget what has been silent too long; returns the connections to close."""
        silent: dict[C, None] = {}
        expired_ms = now_ms - self._config.channel_expired_timeout
        while self._by_age:
            member = next(iter(self._by_age))
            if member.seen_ms >= expired_ms:
                break
            self._leave(member)
            silent[member.channel] = None
            if member.is_consumer:
                self._changed[member.group] = None
        expired_ms = now_ms - self._config.subscription_expired_timeout
        while self._compensated:
            key = next(iter(self._compensated))
            if self._compensated[key][1] >= expired_ms:
                break
            del self._compensated[key]
        return list(silent)

    # ---- members ----

    def _join(self, group: str, channel: C, client: Client, is_consumer: bool, now_ms: int) -> Member[C]:
        if len(self._by_age) >= MEMBERS_MAX:
            remark = (
                f"client {client.client_id!r} cannot join group {group!r}: "
                f"the broker has {MEMBERS_MAX} registrations, its limit"
            )
            raise PeerError(ResponseCode.SYSTEM_ERROR, remark)
        member = Member(group, channel, client, is_consumer, now_ms)
        self._by_channel.setdefault(channel, {})[member] = None
        self._by_age[member] = None
        return member

    def _refresh(self, member: Member[C], now_ms: int) -> None:
        member.seen_ms = now_ms
        del self._by_age[member]
        self._by_age[member] = None

    def _leave(self, member: Member[C]) -> None:
        del self._by_age[member]
        of_channel = self._by_channel[member.channel]
        del of_channel[member]
        if not of_channel:
            del self._by_channel[member.channel]
        if not member.is_consumer:
            producers = self.producer_groups[member.group]
            del producers[member.channel]
            if not producers:
                del self.producer_groups[member.group]
            return
        group = self.consumer_groups[member.group]
        del group.members[member.channel]
        if not group.members:
            for topic in group.subscriptions:
                self._unsubscribe(member.group, topic)
            del self.consumer_groups[member.group]
            self.subscription_changes += 1

    def check_invariants(self) -> None:
        """For tests: every index tells the same story."""
        consumers = [m for g in self.consumer_groups.values() for m in g.members.values()]
        producers = [m for members in self.producer_groups.values() for m in members.values()]
        members = set(consumers) | set(producers)
        assert members == set(self._by_age)
        assert members == {m for of_channel in self._by_channel.values() for m in of_channel}
        assert all(m.is_consumer for m in consumers)
        assert not any(m.is_consumer for m in producers)
        topics: dict[str, set[str]] = {}
        for name, group in self.consumer_groups.items():
            assert group.members, name
            for topic in group.subscriptions:
                topics.setdefault(topic, set()).add(name)
        assert topics == {topic: set(groups) for topic, groups in self._groups_by_topic.items()}
        seen = [member.seen_ms for member in self._by_age]
        assert seen == sorted(seen)
