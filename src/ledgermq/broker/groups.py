"""The consumer groups of this broker and what they may read (Java: ``SubscriptionGroupManager``).

Rules of this file: pure; time comes in; every change advances ``data_version`` and calls ``listeners`` with
the group's name, one of which writes ``subscriptionGroup.json``. A :class:`SubscriptionGroupConfig` is never
changed in place: a change puts another one in its stead.

While ``following``, only :meth:`GroupTable.replay` changes the table: what a leader's log states.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ledgermq.broker.attributes import GROUP_ATTRIBUTES, alter_attributes
from ledgermq.broker.names import check_group, check_topic
from ledgermq.message import names
from ledgermq.remoting.codes import ResponseCode
from ledgermq.remoting.command import PeerError
from ledgermq.remoting.topic_config import PERM_READ, DataVersion
from ledgermq.runtime.config import BrokerConfig
from ledgermq.runtime.limits import FORBIDDEN_TOPICS_MAX, GROUPS_MAX, QUEUES_MAX

TOOLS_GROUP: Final = "TOOLS_CONSUMER"

SYSTEM_GROUPS: Final = (
    TOOLS_GROUP,
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    "CID_RMQ_SYS_TRANS",
)
"""Groups that a broker has from the start, as the Java broker creates them."""


class ExponentialRetryPolicy(msgspec.Struct):
    """Delay before retry n: ``initial * multiplier ** n`` ms, at most ``max`` ms."""

    initial: int = 5_000
    max: int = 7_200_000
    multiplier: int = 2


class CustomizedRetryPolicy(msgspec.Struct):
    """Delay before each retry in ms, the last one for all further ones."""

    next: list[int]


class GroupRetryPolicy(msgspec.Struct, rename="camel", kw_only=True):
    customized_retry_policy: CustomizedRetryPolicy | UnsetType | None = UNSET
    exponential_retry_policy: ExponentialRetryPolicy | UnsetType | None = UNSET
    type: Literal["CUSTOMIZED", "EXPONENTIAL"] = "CUSTOMIZED"


class SimpleSubscription(msgspec.Struct, rename="camel", kw_only=True):
    """A subscription fixed by the operator instead of the consumers."""

    expression: str | None = None
    expression_type: str = "TAG"
    topic: str
    version: int = 0


class SubscriptionGroupConfig(msgspec.Struct, rename="camel", kw_only=True):
    """One consumer group. Field order is fastjson's; unset fields are left out, as nulls are."""

    attributes: dict[str, str] = {}
    broker_id: int = 0
    consume_broadcast_enable: bool = True
    consume_enable: bool = True
    consume_from_min_enable: bool = True
    consume_message_orderly: bool = False
    consume_timeout_minute: int = 15
    group_name: str
    group_retry_policy: GroupRetryPolicy = msgspec.field(default_factory=GroupRetryPolicy)
    group_sys_flag: int = 0
    notify_consumer_ids_changed_enable: bool = True
    retry_max_times: int = 16
    retry_queue_nums: Annotated[int, Meta(ge=0, le=QUEUES_MAX)] = 1
    subscription_data_set: list[SimpleSubscription] | UnsetType | None = UNSET
    which_broker_when_consume_slowly: int = 1

    def __post_init__(self) -> None:
        if self.subscription_data_set is None:
            self.subscription_data_set = UNSET


class GroupFile(msgspec.Struct, rename="camel", kw_only=True):
    """``subscriptionGroup.json``; ``forbidden_table`` is group -> topic -> the PERM_* bits taken away."""

    data_version: DataVersion
    forbidden_table: dict[str, dict[str, int]] = {}
    subscription_group_table: dict[str, SubscriptionGroupConfig]


class GroupTable:
    """Every consumer group of the broker by name; ``configs`` is for reading only."""

    def __init__(self, config: BrokerConfig, now_ms: int) -> None:
        self._config = config
        self.configs = {name: SubscriptionGroupConfig(group_name=name) for name in SYSTEM_GROUPS}
        self.data_version = DataVersion(timestamp=now_ms)
        self.changes = 0
        """Counts every change, replayed ones too, which may set ``data_version`` back."""
        self.following = False
        self.listeners: list[Callable[[str], None]] = []
        self._forbidden: dict[str, dict[str, int]] = {}

    # ---- questions ----

    def find(self, group: str) -> SubscriptionGroupConfig | None:
        return self.configs.get(group)

    def find_or_create(self, group: str, now_ms: int) -> SubscriptionGroupConfig | None:
        """The group, created if the broker creates groups by itself and the name is a valid one; while
        following none is created.

        Java: ``findSubscriptionGroupConfig``.
        """
        found = self.configs.get(group)
        if found is not None:
            return found
        automatic = self._config.auto_create_subscription_group
        if not automatic and not group.startswith(names.SYSTEM_GROUP_PREFIX):
            return None
        if self.following or names.group_fault(group) is not None:
            return None
        created = SubscriptionGroupConfig(group_name=group)
        self._put(created, now_ms)
        return created

    def page(
        self, seq: int, count: int | None, version: DataVersion | None
    ) -> dict[str, SubscriptionGroupConfig]:
        """As :meth:`TopicTable.page`."""
        start = seq if seq > 0 and version == self.data_version else 0
        chosen = sorted(self.configs)[start : None if count is None else start + max(count, 0)]
        return {name: self.configs[name] for name in chosen}

    def forbidden(self, groups: dict[str, SubscriptionGroupConfig]) -> dict[str, dict[str, int]]:
        """The forbidden topics of ``groups``."""
        return {group: topics for group, topics in self._forbidden.items() if group in groups}

    def forbidden_of(self, group: str) -> dict[str, int]:
        """Topic -> the PERM_* bits taken away from the group; a copy."""
        return dict(self._forbidden.get(group, ()))

    def may_read(self, group: str, topic: str) -> bool:
        """False when an operator has forbidden it (UPDATE_AND_GET_GROUP_FORBIDDEN)."""
        return self._forbidden.get(group, {}).get(topic, 0) & PERM_READ == 0

    # ---- changes ----

    def check_update(self, wanted: SubscriptionGroupConfig) -> SubscriptionGroupConfig:
        """``wanted``, whose attributes still carry their signs, as it would be stored. Changes nothing.
        Raises PeerError naming the field at fault."""
        check_group(wanted.group_name)
        old = self.configs.get(wanted.group_name)
        current = None if old is None else old.attributes
        attributes = alter_attributes(GROUP_ATTRIBUTES, current, wanted.attributes)
        return msgspec.structs.replace(wanted, attributes=attributes)

    def update(self, stored: SubscriptionGroupConfig, now_ms: int) -> None:
        """Creates or replaces a group with what :meth:`check_update` returned."""
        self._put(stored, now_ms)

    def delete(self, group: str, now_ms: int) -> bool:
        """Removes the group; False when there was none."""
        self._refuse_following()
        forbidden = self._forbidden.pop(group, None)
        found = self.configs.pop(group, None)
        if found is not None or forbidden is not None:
            self._changed(group, now_ms)
        return found is not None

    def set_may_read(self, group: str, topic: str, readable: bool, now_ms: int) -> None:
        """Forbid ``group`` to read ``topic``, or allow it again.

        Raises PeerError when the group does not exist, the topic has no proper name, or at the limit.
        """
        self._refuse_following()
        check_topic(topic)
        if group not in self.configs:
            remark = f"group {group[: names.GROUP_CHARS_MAX]!r} does not exist"
            raise PeerError(ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST, remark)
        topics = self._forbidden.setdefault(group, {})
        old = topics.get(topic, 0)
        new = old & ~PERM_READ if readable else old | PERM_READ
        if new and not old and len(topics) >= FORBIDDEN_TOPICS_MAX:
            remark = f"group {group!r} is forbidden {FORBIDDEN_TOPICS_MAX} topics already, the limit"
            raise PeerError(ResponseCode.SYSTEM_ERROR, remark)
        if new:
            topics[topic] = new
        else:
            topics.pop(topic, None)
        if not topics:
            del self._forbidden[group]
        if new != old:
            self._changed(group, now_ms)

    def replay(
        self,
        group: str,
        stated: SubscriptionGroupConfig | None,
        forbidden: dict[str, int],
        version: DataVersion,
    ) -> None:
        """The log states that the group is this now, or gone, which topics it may not read, and the table's
        version."""
        if stated is None:
            self.configs.pop(group, None)
        else:
            self.configs[group] = stated
        if forbidden:
            self._forbidden[group] = dict(forbidden)
        else:
            self._forbidden.pop(group, None)
        self.data_version = version.copy()
        self._tell(group)

    def _refuse_following(self) -> None:
        if self.following:
            remark = "groups are changed by the leader, which this broker is not"
            raise PeerError(ResponseCode.SERVICE_NOT_AVAILABLE, remark)

    def _put(self, group: SubscriptionGroupConfig, now_ms: int) -> None:
        self._refuse_following()
        name = group.group_name
        if name not in self.configs and len(self.configs) >= GROUPS_MAX:
            remark = f"group {name!r} cannot be created: the broker has {GROUPS_MAX} groups, its limit"
            raise PeerError(ResponseCode.SYSTEM_ERROR, remark)
        self.configs[name] = group
        self._changed(name, now_ms)

    def _changed(self, group: str, now_ms: int) -> None:
        self.data_version.advance(now_ms)
        self._tell(group)

    def _tell(self, group: str) -> None:
        self.changes += 1
        for listener in self.listeners:
            listener(group)

    # ---- the file ----

    def to_file(self) -> GroupFile:
        return GroupFile(
            data_version=self.data_version,
            forbidden_table=self._forbidden,
            subscription_group_table=self.configs,
        )

    def load(self, file: GroupFile) -> None:
        """Adds what ``subscriptionGroup.json`` holds; it goes before the system groups."""
        for name, group in file.subscription_group_table.items():
            group.group_name = name
            self.configs[name] = group
        self._forbidden.update(file.forbidden_table)
        self.data_version = file.data_version.copy()
