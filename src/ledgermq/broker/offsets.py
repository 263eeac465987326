"""How far each group has consumed each queue (Java: ``ConsumerOffsetManager``).

Three tables with one shape, group -> topic -> queue -> offset:

- ``_consumed``: what consumers have committed; it is the one in ``consumerOffset.json``.
- ``_pulled``: how far consumers that commit by themselves have pulled; only shown, never relied upon.
- ``_reset``: offsets set by an operator that the group's next pull must take. Until it has, commits for the
  queue are ignored: they would bring the old progress back.

Rules of this file: pure; ``changes`` counts every change of what is persisted. What has changed of
``_consumed`` and ``_reset`` is noted in ``dirty`` for the replicated log, if there is one. While
``following``, only :meth:`OffsetTable.replay` changes these two: what a leader's log states.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from ledgermq.remoting.codes import ResponseCode
from ledgermq.remoting.command import PeerError
from ledgermq.remoting.topic_config import DataVersion
from ledgermq.runtime.limits import OFFSETS_MAX

TOPIC_GROUP_SEPARATOR: Final = "@"
VERSION_STEP: Final = 500
"""``data_version`` advances once in so many commits (Java: ``consumerOffsetUpdateVersionStep``)."""

Queues = dict[int, int]
Table = dict[str, dict[str, Queues]]


class OffsetFile(msgspec.Struct, rename="camel"):
    """``consumerOffset.json``; the tables are keyed ``topic@group``, then by queue. Java reads back only the
    version and ``offset_table``."""

    data_version: DataVersion
    group_topic_map: dict[str, list[str]]
    offset_table: dict[str, Queues]
    pull_offset_table: dict[str, Queues]


class OffsetsRead(msgspec.Struct, rename="camel"):
    """What is read back of ``consumerOffset.json``."""

    offset_table: dict[str, Queues]
    data_version: DataVersion | None = None


def _find(table: Table, group: str, topic: str) -> Queues | None:
    topics = table.get(group)
    return None if topics is None else topics.get(topic)


class OffsetTable:
    """Consumed, pulled and reset offsets of every group."""

    def __init__(self, now_ms: int) -> None:
        self._consumed: Table = {}
        self._pulled: Table = {}
        self._reset: Table = {}
        self._groups_by_topic: dict[str, dict[str, None]] = {}
        """The inverse of ``_consumed``'s first two levels."""
        self._entries = 0
        self.data_version = DataVersion(timestamp=now_ms)
        self.changes = 0
        self.following = False
        self.dirty: dict[tuple[str, str], None] | None = None
        """The (group, topic) that have changed since :meth:`take_dirty`; None when nobody asks for them."""
        self.on_removed: Callable[[list[tuple[str, str]]], None] | None = None
        """Hears which (group, topic) an operator has removed."""

    # ---- questions ----

    def consumed(self, group: str, topic: str, queue_id: int) -> int:
        """The offset the group goes on from: a pending reset, else what it committed, else -1."""
        if self._reset:
            queues = _find(self._reset, group, topic)
            if queues is not None and queue_id in queues:
                return queues[queue_id]
        queues = _find(self._consumed, group, topic)
        return -1 if queues is None else queues.get(queue_id, -1)

    def pulled(self, group: str, topic: str, queue_id: int) -> int:
        """How far the group has pulled, as far as known; else as :meth:`consumed`."""
        queues = _find(self._pulled, group, topic)
        if queues is not None and queue_id in queues:
            return queues[queue_id]
        return self.consumed(group, topic, queue_id)

    def queues(self, group: str, topic: str) -> Queues:
        """The committed offset of every queue; a copy."""
        return dict(_find(self._consumed, group, topic) or {})

    def resets(self, group: str, topic: str) -> Queues:
        """The pending resets; a copy."""
        return dict(_find(self._reset, group, topic) or {})

    def pairs(self) -> list[tuple[str, str]]:
        """Every (group, topic) with committed offsets."""
        return [(group, topic) for group, topics in self._consumed.items() for topic in topics]

    def topics_of(self, group: str) -> list[str]:
        """Topics that the group has committed offsets of."""
        return list(self._consumed.get(group, ()))

    def groups_of(self, topic: str) -> list[str]:
        """Groups that have committed offsets of the topic."""
        return list(self._groups_by_topic.get(topic, ()))

    def reset_pending(self, group: str, topic: str, queue_id: int) -> bool:
        queues = _find(self._reset, group, topic)
        return queues is not None and queue_id in queues

    def __len__(self) -> int:
        return self._entries

    def refuse_following(self) -> None:
        """For what an operator asks: a slave would do nothing. Raises PeerError."""
        if self.following:
            remark = "offsets are changed by the leader, which this broker is not"
            raise PeerError(ResponseCode.SERVICE_NOT_AVAILABLE, remark)

    # ---- changes ----

    def commit(self, group: str, topic: str, queue_id: int, offset: int, now_ms: int) -> bool:
        """Record the group's progress. False, and nothing done, when a reset of the queue is pending, the
        table is full, or while following."""
        if self._reset and self.reset_pending(group, topic, queue_id):
            return False
        return self._store(group, topic, queue_id, offset, now_ms)

    def commit_pulled(self, group: str, topic: str, queue_id: int, offset: int) -> None:
        """Record how far the group has pulled; a full table forgets it."""
        queues = _find(self._pulled, group, topic)
        if queues is None:
            if self._entries >= OFFSETS_MAX:
                return
            queues = self._pulled.setdefault(group, {}).setdefault(topic, {})
        if queue_id not in queues:
            if self._entries >= OFFSETS_MAX:
                return
            self._entries += 1
        queues[queue_id] = offset

    def reset(self, group: str, topic: str, queue_id: int, offset: int, now_ms: int) -> bool:
        """An operator moves the group to ``offset``: its next pull takes it. False when the table is full, or
        while following."""
        if not self._store(group, topic, queue_id, offset, now_ms):
            return False
        self._reset.setdefault(group, {}).setdefault(topic, {})[queue_id] = offset
        return True

    def take_reset(self, group: str, topic: str, queue_id: int) -> int | None:
        """The pending reset of the queue, which is done with this; None when there is none, or while
        following: it waits for the next pull at the leader."""
        queues = _find(self._reset, group, topic)
        if queues is None or queue_id not in queues or self.following:
            return None
        offset = queues.pop(queue_id)
        self._note(group, topic)
        if not queues:
            self._forget(self._reset, group, topic)
        return offset

    def limit(self, end_of: Callable[[str, int], int], now_ms: int) -> int:
        """Take back progress that lies behind a queue's end, ``end_of(topic, queue_id)``; returns of how many
        queues."""
        limited = 0
        for group, topics in self._consumed.items():
            for topic, queues in topics.items():
                for queue_id, offset in queues.items():
                    end = end_of(topic, queue_id)
                    if offset > end:
                        queues[queue_id] = end
                        self._note(group, topic)
                        limited += 1
        if limited:
            self.changes += limited
            self.data_version.advance(now_ms)
        return limited

    def clone(self, source: str, target: str, topic: str, now_ms: int) -> None:
        """``target`` takes over what ``source`` has committed of ``topic``."""
        for queue_id, offset in self.queues(source, topic).items():
            self._store(target, topic, queue_id, offset, now_ms)

    def remove_topic(self, topic: str, now_ms: int) -> None:
        """Not while following: the leader does it."""
        if self.following:
            return
        for table in (self._pulled, self._reset):
            for group in [group for group, topics in table.items() if topic in topics]:
                self._drop(table, group, topic)
        self._remove([(group, topic) for group in self.groups_of(topic)], now_ms)

    def remove_group(self, group: str, now_ms: int) -> None:
        """Not while following: the leader does it."""
        if self.following:
            return
        for table in (self._pulled, self._reset):
            for topic in list(table.get(group, ())):
                self._drop(table, group, topic)
        self._remove([(group, topic) for topic in self.topics_of(group)], now_ms)

    def replay(self, group: str, topic: str, queues: Queues, resets: Queues, version: DataVersion) -> None:
        """The log states that these are all offsets of the group in the topic, and all pending resets;
        without any the two have nothing to do with each other any more. No limit: the leader has kept it."""
        old = _find(self._consumed, group, topic)
        if queues:
            self._entries += len(queues) - (0 if old is None else len(old))
            self._consumed.setdefault(group, {})[topic] = dict(queues)
            self._groups_by_topic.setdefault(topic, {})[group] = None
        elif old is not None:
            self._drop_consumed(group, topic)
            if _find(self._pulled, group, topic) is not None:
                self._drop(self._pulled, group, topic)
        if resets:
            self._reset.setdefault(group, {})[topic] = dict(resets)
        elif _find(self._reset, group, topic) is not None:
            self._drop(self._reset, group, topic)
        self.changes += 1
        self.data_version = version.copy()

    def take_dirty(self) -> list[tuple[str, str]]:
        """The (group, topic) whose offsets or resets have changed since the last call."""
        dirty = self.dirty
        if not dirty:
            return []
        self.dirty = {}
        return list(dirty)

    def _note(self, group: str, topic: str) -> None:
        if self.dirty is not None:
            self.dirty[(group, topic)] = None

    def _store(self, group: str, topic: str, queue_id: int, offset: int, now_ms: int) -> bool:
        if self.following:
            return False
        queues = _find(self._consumed, group, topic)
        if queues is None or queue_id not in queues:
            if self._entries >= OFFSETS_MAX:
                return False
            self._entries += 1
            queues = self._consumed.setdefault(group, {}).setdefault(topic, {})
            self._groups_by_topic.setdefault(topic, {})[group] = None
        queues[queue_id] = offset
        if self.dirty is not None:  # not by _note: this is on the path of each pull
            self.dirty[(group, topic)] = None
        self.changes += 1
        if self.changes % VERSION_STEP == 0:
            self.data_version.advance(now_ms)
        return True

    def _remove(self, pairs: list[tuple[str, str]], now_ms: int) -> None:
        for group, topic in pairs:
            self._drop_consumed(group, topic)
            self._note(group, topic)
            self.changes += 1
            self.data_version.advance(now_ms)
        if self.on_removed is not None:
            self.on_removed(pairs)

    def _drop_consumed(self, group: str, topic: str) -> None:
        self._drop(self._consumed, group, topic)
        groups = self._groups_by_topic[topic]
        del groups[group]
        if not groups:
            del self._groups_by_topic[topic]

    def _drop(self, table: Table, group: str, topic: str) -> None:
        queues = self._forget(table, group, topic)
        if table is not self._reset:  # resets are not counted: each stands in _consumed too
            self._entries -= len(queues)

    @staticmethod
    def _forget(table: Table, group: str, topic: str) -> Queues:
        topics = table[group]
        queues = topics.pop(topic)
        if not topics:
            del table[group]
        return queues

    # ---- the file ----

    def to_file(self) -> OffsetFile:
        return OffsetFile(
            data_version=self.data_version,
            group_topic_map={group: list(topics) for group, topics in self._consumed.items()},
            offset_table=_flat(self._consumed),
            pull_offset_table=_flat(self._pulled),
        )

    def load(self, file: OffsetsRead, now_ms: int) -> None:
        """Adds what ``consumerOffset.json`` holds."""
        for key, queues in file.offset_table.items():
            topic, separator, group = key.partition(TOPIC_GROUP_SEPARATOR)
            if not separator:
                continue
            for queue_id, offset in queues.items():
                self._store(group, topic, queue_id, offset, now_ms)
        if file.data_version is not None:
            self.data_version = file.data_version.copy()

    def check_invariants(self) -> None:
        """For tests: the inverse table and the count agree with the tables."""
        inverse: dict[str, set[str]] = {}
        for group, topics in self._consumed.items():
            assert topics, group
            for topic in topics:
                inverse.setdefault(topic, set()).add(group)
        assert inverse == {topic: set(groups) for topic, groups in self._groups_by_topic.items()}
        counted = (self._consumed, self._pulled)
        entries = sum(len(q) for table in counted for topics in table.values() for q in topics.values())
        assert entries == self._entries


def _flat(table: Table) -> dict[str, Queues]:
    return {
        topic + TOPIC_GROUP_SEPARATOR + group: queues
        for group, topics in table.items()
        for topic, queues in topics.items()
    }
