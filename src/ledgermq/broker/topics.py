"""The topics of this broker and how they come, change and go (Java: ``TopicConfigManager``).

Rules of this file: pure; time comes in. Every change advances ``changes``, which never falls (as
``data_version`` does where a leader's change is taken back), and calls ``listeners`` with the topic's name:
one writes ``topics.json``, one tells the name servers. A :class:`TopicConfig` is never changed in place: a
change puts another one in its stead.

While ``following``, only :meth:`TopicTable.replay` changes the table: what a leader's log states.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from ledgermq.broker.attributes import MESSAGE_TYPE, TOPIC_ATTRIBUTES, alter_attributes
from ledgermq.broker.names import check_topic
from ledgermq.message import names
from ledgermq.remoting.codes import ResponseCode
from ledgermq.remoting.command import PeerError
from ledgermq.remoting.topic_config import (
    PERM_INHERIT,
    PERM_READ,
    PERM_WRITE,
    DataVersion,
    TopicConfig,
)
from ledgermq.runtime.config import BrokerConfig
from ledgermq.runtime.limits import TOPICS_MAX

SCHEDULE_QUEUES: Final = 18
"""One queue for each delay level."""
BENCHMARK_QUEUES: Final = 1024


class TopicFile(msgspec.Struct, rename="camel"):
    """``topics.json``."""

    data_version: DataVersion
    topic_config_table: dict[str, TopicConfig]


def system_topics(config: BrokerConfig) -> list[TopicConfig]:
    """The topics that a broker has from the start, as the Java broker creates them."""
    inherit_all = PERM_INHERIT | PERM_READ | PERM_WRITE
    named = names.MEMBER_TOPIC_PREFIX + config.broker_name
    revive = names.REVIVE_TOPIC_PREFIX + config.broker_cluster_name
    topics = [
        _topic(names.SELF_TEST_TOPIC),
        _topic(names.BENCHMARK_TOPIC, BENCHMARK_QUEUES),
        _topic(config.broker_cluster_name, 16, inherit_all if config.cluster_topic_enable else PERM_INHERIT),
        _topic(config.broker_name, 1, inherit_all if config.broker_topic_enable else PERM_INHERIT),
        _topic(names.OFFSET_MOVED_TOPIC),
        _topic(names.SCHEDULE_TOPIC, SCHEDULE_QUEUES),
        _topic(config.broker_cluster_name + names.REPLY_TOPIC_SUFFIX),
        _topic(revive, config.revive_queue_num),
        _topic(named, 1, PERM_INHERIT),
        _topic(names.TRANS_HALF_TOPIC),
        _topic(names.TRANS_OP_HALF_TOPIC),
        _topic(names.ROCKSDB_TRANS_HALF_TOPIC),
        _topic(names.ROCKSDB_TRANS_OP_HALF_TOPIC),
        _topic(names.TIMER_TOPIC),
    ]
    if config.auto_create_topic_enable:
        topics.append(_topic(names.AUTO_CREATE_TOPIC, config.default_topic_queue_nums, inherit_all))
    if config.trace_topic_enable:
        topics.append(_topic(config.msg_trace_topic_name))
    return topics


def _topic(name: str, queues: int = 1, perm: int = PERM_READ | PERM_WRITE) -> TopicConfig:
    return TopicConfig(topic_name=name, read_queue_nums=queues, write_queue_nums=queues, perm=perm)


class TopicTable:
    """Every topic of the broker by name; ``configs`` is for reading only."""

    def __init__(self, config: BrokerConfig, now_ms: int) -> None:
        self._config = config
        self.configs: dict[str, TopicConfig] = {}
        self.data_version = DataVersion(timestamp=now_ms)
        self.changes = 0
        """Counts every change, replayed ones too, which may set ``data_version`` back."""
        self.following = False
        self.listeners: list[Callable[[str], None]] = []
        self.made = {topic.topic_name: topic for topic in system_topics(config)}
        """The topics that the broker has from the start."""
        self.configs.update(self.made)
        self._system: dict[str, None] = dict.fromkeys(names.SYSTEM_TOPICS) | dict.fromkeys(self.made)

    # ---- questions ----

    def find(self, topic: str) -> TopicConfig | None:
        return self.configs.get(topic)

    def get(self, topic: str) -> TopicConfig:
        """Raises PeerError TOPIC_NOT_EXIST."""
        found = self.configs.get(topic)
        if found is None:
            raise PeerError(ResponseCode.TOPIC_NOT_EXIST, f"topic {topic[:255]!r} does not exist")
        return found

    def is_system(self, topic: str) -> bool:
        return topic in self._system or topic.startswith(names.SYSTEM_TOPIC_PREFIX)

    def system_names(self) -> list[str]:
        """The reserved names, whether a topic of that name exists or not."""
        return list(self._system)

    def page(self, seq: int, count: int | None, version: DataVersion | None) -> dict[str, TopicConfig]:
        """``count`` topics from the ``seq``-th of the sorted names on. A reader whose ``version`` is not the
        current one has seen pages of another table and starts from the first."""
        start = seq if seq > 0 and version == self.data_version else 0
        chosen = sorted(self.configs)[start : None if count is None else start + max(count, 0)]
        return {name: self.configs[name] for name in chosen}

    # ---- changes ----

    def create_for_send(
        self, topic: str, default_topic: str, queue_nums: int, sys_flag: int, now_ms: int
    ) -> TopicConfig | None:
        """The topic that a producer sends to, created after the pattern of ``default_topic`` if need be.

        None when the pattern does not exist or does not allow it (no PERM_INHERIT), or while following.
        Java: ``createTopicInSendMessageMethod``.
        """
        found = self.configs.get(topic)
        if found is not None:
            return found
        pattern = self.configs.get(default_topic)
        if self.following or pattern is None or pattern.perm & PERM_INHERIT == 0:
            return None
        if default_topic == names.AUTO_CREATE_TOPIC and not self._config.auto_create_topic_enable:
            return None
        queues = min(queue_nums, pattern.write_queue_nums)
        if queues < 1:
            remark = f"topic {topic!r} cannot be created: defaultTopicQueueNums={queue_nums} is below 1"
            raise PeerError(ResponseCode.INVALID_PARAMETER, remark)
        created = TopicConfig(
            topic_name=topic,
            read_queue_nums=queues,
            write_queue_nums=queues,
            perm=pattern.perm & ~PERM_INHERIT,
            topic_sys_flag=sys_flag,
            topic_filter_type=pattern.topic_filter_type,
        )
        self._put(created, now_ms)
        return created

    def create_for_retry(
        self, topic: str, queue_nums: int, perm: int, sys_flag: int, now_ms: int, order: bool = False
    ) -> TopicConfig:
        """A group's retry or dead-letter topic, created if need be; ``order`` follows the latest call, but
        not while following.

        Java: ``createTopicInSendMessageBackMethod``.
        """
        found = self.configs.get(topic)
        if found is not None:
            if found.order == order or self.following:
                return found
            found = msgspec.structs.replace(found, order=order)
            self._put(found, now_ms)
            return found
        created = TopicConfig(
            topic_name=topic,
            read_queue_nums=queue_nums,
            write_queue_nums=queue_nums,
            perm=perm,
            topic_sys_flag=sys_flag,
            order=order,
        )
        self._put(created, now_ms)
        return created

    def check_update(self, wanted: TopicConfig) -> TopicConfig | None:
        """``wanted``, whose attributes still carry their signs, as it would be stored; None when nothing
        would change. Changes nothing. Raises PeerError naming the field at fault."""
        topic = wanted.topic_name
        check_topic(topic)
        self._refuse_system(topic)
        if not 0 <= wanted.perm <= 7:
            remark = f"perm={wanted.perm} of topic {topic!r} is not in 0..7 (inherit 1, write 2, read 4)"
            raise PeerError(ResponseCode.INVALID_PARAMETER, remark)
        mixed = wanted.attributes.get("+" + MESSAGE_TYPE) == "MIXED"
        if mixed and not self._config.enable_mixed_message_type:
            remark = f"attribute {MESSAGE_TYPE}=MIXED needs enableMixedMessageType=true in the broker"
            raise PeerError(ResponseCode.INVALID_PARAMETER, remark)
        old = self.configs.get(topic)
        current = None if old is None else old.attributes
        attributes = alter_attributes(TOPIC_ATTRIBUTES, current, wanted.attributes)
        stored = msgspec.structs.replace(wanted, attributes=attributes)
        return None if stored == old else stored

    def update(self, stored: TopicConfig, now_ms: int) -> None:
        """Creates or replaces a topic with what :meth:`check_update` returned."""
        self._put(stored, now_ms)

    def delete(self, topic: str, now_ms: int) -> bool:
        """Removes the topic; False when there was none. Raises PeerError for a system topic."""
        if not topic.strip():
            raise PeerError(ResponseCode.INVALID_PARAMETER, "topic is blank")
        self._refuse_system(topic)
        self._refuse_following()
        if self.configs.pop(topic, None) is None:
            return False
        self._changed(topic, now_ms)
        return True

    def mark_ordered(self, topics: list[str], now_ms: int) -> None:
        """Topics that the name servers list in ORDER_TOPIC_CONFIG become ordered
        (Java: ``updateOrderTopicConfig``). While following nothing is done: the leader does it."""
        if self.following:
            return
        for topic in topics:
            found = self.configs.get(topic)
            if found is not None and not found.order:
                self._put(msgspec.structs.replace(found, order=True), now_ms)

    def advance_version(self, now_ms: int) -> None:
        """What the broker registers has changed though no topic has (``brokerPermission``)."""
        self.data_version.advance(now_ms)

    def replay(self, topic: str, stated: TopicConfig | None, version: DataVersion) -> None:
        """The log states that the topic is this now, or gone, and the table's version."""
        if stated is None:
            self.configs.pop(topic, None)
        else:
            self.configs[topic] = stated
        self.data_version = version.copy()
        self._tell(topic)

    def _refuse_following(self) -> None:
        if self.following:
            remark = "topics are changed by the leader, which this broker is not"
            raise PeerError(ResponseCode.SERVICE_NOT_AVAILABLE, remark)

    def _refuse_system(self, topic: str) -> None:
        if self.is_system(topic):
            remark = f"topic {topic!r} is a system topic, which cannot be changed or deleted"
            raise PeerError(ResponseCode.INVALID_PARAMETER, remark)

    def _put(self, topic: TopicConfig, now_ms: int) -> None:
        self._refuse_following()
        name = topic.topic_name
        if name not in self.configs and len(self.configs) >= TOPICS_MAX:
            remark = f"topic {name!r} cannot be created: the broker has {TOPICS_MAX} topics, its limit"
            raise PeerError(ResponseCode.SYSTEM_ERROR, remark)
        self.configs[name] = topic
        self._changed(name, now_ms)

    def _changed(self, topic: str, now_ms: int) -> None:
        self.data_version.advance(now_ms)
        self._tell(topic)

    def _tell(self, topic: str) -> None:
        self.changes += 1
        for listener in self.listeners:
            listener(topic)

    # ---- the file ----

    def to_file(self) -> TopicFile:
        return TopicFile(self.data_version, self.configs)

    def load(self, file: TopicFile) -> None:
        """Adds what ``topics.json`` holds; it goes before the system topics created at the start."""
        for name, topic in file.topic_config_table.items():
            topic.topic_name = name
            self.configs[name] = topic
        self.data_version = file.data_version.copy()
