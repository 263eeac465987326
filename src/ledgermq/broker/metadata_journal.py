"""Topics, groups, consumer offsets and delay offsets as part of the replicated log.

Who leads changes its tables at once and appends a record of each change (``broker/metadata_records.py``)
before anything can rely on it: a topic's record lies before the first message of the topic. Offsets change
too often for that; what has changed of them is logged by :meth:`MetadataJournal.log_offsets` a few times a
second, so a new leader knows each offset up to that time. Those that an operator removes are logged at once.
Everybody replays what is committed:

======================= ==================================================================================
who leads               its tables have it already; only ``state`` takes it over
everybody else          ``state`` and the tables take it over; the tables' listeners hear of what changed
======================= ==================================================================================

``state`` is what the committed records state, so the tables of a leader are ``state`` plus the changes of
``_pending`` and the offsets that are dirty. When it stops leading, nobody knows which of these will be
committed: it sets everything it has changed to what ``state`` says, and those of its records that are
committed after all are replayed as anybody's.

While this broker does not lead, its tables are ``following``: they refuse changes (PeerError
SERVICE_NOT_AVAILABLE, or do nothing where a client asked for no change). The broker should not even try: a
follower's handlers refuse what changes tables.

Rules of this file: pure, no time and no I/O; ``append`` is called only while leading. :meth:`committed` gets
every metadata record that is committed, in the order of the log, and nothing else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from ledgermq.broker.groups import GroupTable
from ledgermq.broker.metadata_records import (
    RECORD_BYTES_MAX,
    DelaysRecord,
    GroupsRecord,
    GroupState,
    MetadataError,
    MetadataRecord,
    OffsetsRecord,
    Resets,
    Snapshot,
    TopicsRecord,
    decode_record,
    decode_snapshot,
    encode_record,
    offset_records,
)
from ledgermq.broker.metadata_state import MetadataState, Touched
from ledgermq.broker.offsets import TOPIC_GROUP_SEPARATOR, OffsetTable, Queues
from ledgermq.broker.topics import TopicTable
from ledgermq.remoting.codes import ResponseCode
from ledgermq.remoting.command import PeerError
from ledgermq.remoting.topic_config import DataVersion, TopicConfig

NOTHING: Final = GroupState()


class DelayOffsets(Protocol):
    """What is needed of :class:`Scheduler`."""

    offsets: dict[int, int]
    data_version: DataVersion
    following: bool

    def replay(self, offsets: dict[int, int], version: DataVersion) -> None: ...


class MetadataJournal:
    """Keeps the tables and the replicated log the same.

    Make it when the tables hold what this replica begins with: nothing, or what Java's files say. It begins
    as a follower. ``append`` adds the body of a metadata record to the log; what it raises is raised by the
    change of the table, which is then undone.

    ``unstated``: the tables hold something that no record states (Java's files, what a Java master told us).
    Such a broker states everything when it begins to lead.
    """

    def __init__(
        self,
        topics: TopicTable,
        groups: GroupTable,
        offsets: OffsetTable,
        delays: DelayOffsets,
        append: Callable[[bytes], None],
        *,
        unstated: bool = False,
    ) -> None:
        self._topics = topics
        self._groups = groups
        self._offsets = offsets
        self._delays = delays
        self._append = append
        self.unstated = unstated
        self.adoptions = 0
        """So often ``state`` has changed without a record."""
        self.leading = False
        self.state = self._state_of_tables()
        self._pending: deque[tuple[bytes, MetadataRecord]] = deque()
        """Appended and not committed, oldest first; empty while not leading."""
        self._progress_pending = 0
        """Those of ``_pending`` that state offsets or delays."""
        self._replaying = False
        # First of all listeners: what cannot be logged is undone before the others hear of it.
        topics.listeners.insert(0, self._topic_changed)
        groups.listeners.insert(0, self._group_changed)
        offsets.on_removed = self._offsets_removed
        self._follow(True)

    # ---- roles ----

    def start_leading(self) -> None:
        """Every committed record has been replayed, and from here on this broker alone appends."""
        if self.leading:
            return
        self.leading = True
        self._follow(False)
        if self.unstated:
            for record in self.state.records(RECORD_BYTES_MAX):
                self._log(record)

    def stop_leading(self) -> None:
        """Take back what is not known to be committed."""
        if not self.leading:
            return
        self.leading = False
        dirty = [_pair(group, topic) for group, topic in self._offsets.take_dirty()]
        self._follow(True)
        records = [record for _, record in self._pending]
        self._settle_topics(_touched(records, TopicsRecord))
        self._settle_groups(_touched(records, GroupsRecord))
        self._settle_offsets(_touched(records, OffsetsRecord) | dict.fromkeys(dirty))
        self._settle_delays()
        self._pending.clear()
        self._progress_pending = 0

    def _follow(self, following: bool) -> None:
        self._topics.following = self._groups.following = following
        self._offsets.following = self._delays.following = following
        self._offsets.dirty = None if following else {}

    # ---- the leader's changes ----

    def _topic_changed(self, topic: str) -> None:
        if not self.leading or self._replaying:
            return
        config = self._topics.find(topic)
        record = TopicsRecord(version=self._topics.data_version.copy())
        if config is None:
            record.removed.append(topic)
        else:
            record.items[topic] = config
        try:
            self._log_change(record, f"topic {topic!r}")
        except BaseException:
            version = self._logged_version(TopicsRecord, self.state.topics_version)
            self._set_topic(topic, self._logged_topic(topic), version)
            raise

    def _group_changed(self, group: str) -> None:
        if not self.leading or self._replaying:
            return
        item = self._group_in_table(group)
        record = GroupsRecord(version=self._groups.data_version.copy())
        if item == NOTHING:
            record.removed.append(group)
        else:
            record.items[group] = item
        try:
            self._log_change(record, f"group {group!r}")
        except BaseException:
            version = self._logged_version(GroupsRecord, self.state.groups_version)
            self._set_group(group, self._logged_group(group), version)
            raise

    def _offsets_removed(self, pairs: list[tuple[str, str]]) -> None:
        """Whatever batch is pending: who was told that they are gone must not see them again."""
        removed = [_pair(group, topic) for group, topic in pairs]
        for record in offset_records(self._offsets.data_version.copy(), removed, {}, {}):
            self._log(record)

    def _log_change(self, record: MetadataRecord, what: str) -> None:
        body = encode_record(record)
        if len(body) > RECORD_BYTES_MAX:
            remark = f"{what} has {len(body)} bytes of settings, at most {RECORD_BYTES_MAX} are allowed"
            raise PeerError(ResponseCode.INVALID_PARAMETER, remark)
        self._log_body(body, record)

    def _log(self, record: MetadataRecord) -> None:
        self._log_body(encode_record(record), record)

    def _log_body(self, body: bytes, record: MetadataRecord) -> None:
        progress = isinstance(record, OffsetsRecord | DelaysRecord)
        self._pending.append((body, record))
        self._progress_pending += progress
        try:
            self._append(body)
        except BaseException:
            self._pending.pop()
            self._progress_pending -= progress
            raise

    def log_offsets(self) -> int:
        """Append records of the consumer and delay offsets that have changed since the last call; how many.

        To be called while leading, a few times a second. Does nothing while an earlier batch is not
        committed: a leader without a quorum must not fill its log.
        """
        if not self.leading or self._progress_pending:
            return 0
        removed: list[str] = []
        items: dict[str, Queues] = {}
        resets: dict[str, Resets] = {}
        for group, topic in self._offsets.take_dirty():
            self._compare(group, topic, removed, items, resets)
        records: list[MetadataRecord] = list(
            offset_records(self._offsets.data_version.copy(), removed, items, resets)
        )
        if self._delays.offsets != self.state.delays:
            version = self._delays.data_version.copy()
            records.append(DelaysRecord(version=version, items=dict(self._delays.offsets)))
        for at, record in enumerate(records):
            try:
                self._log(record)
            except BaseException:
                self._dirty_again(records[at:])
                raise
        return len(records)

    def _compare(
        self, group: str, topic: str, removed: list[str], items: dict[str, Queues], resets: dict[str, Resets]
    ) -> None:
        """Note how the offsets of the pair differ from the state's. No record of them is pending."""
        pair = _pair(group, topic)
        old = self.state.offsets.get(pair, {})
        old_resets = self.state.resets.get(pair, {})
        new, new_resets = self._offsets.queues(group, topic), self._offsets.resets(group, topic)
        if not old.keys() <= new.keys():
            removed.append(pair)
            old = old_resets = {}
        changed = {queue_id: offset for queue_id, offset in new.items() if old.get(queue_id) != offset}
        if changed:
            items[pair] = changed
        stated: Resets = {queue_id: None for queue_id in old_resets if queue_id not in new_resets}
        for queue_id, offset in new_resets.items():
            if old_resets.get(queue_id) != offset:
                stated[queue_id] = offset
        if stated:
            resets[pair] = stated

    def _dirty_again(self, records: list[MetadataRecord]) -> None:
        """These could not be appended: the next batch must have them."""
        dirty = self._offsets.dirty
        for pair in _touched(records, OffsetsRecord):
            topic, _, group = pair.partition(TOPIC_GROUP_SEPARATOR)
            if dirty is not None:
                dirty[(group, topic)] = None

    # ---- what is committed ----

    def committed(self, body: bytes) -> MetadataRecord | None:
        """A metadata record is committed; returns it. None when it is passed over, for it is of a kind that
        this program does not know: a newer one has made it. Raises MetadataError, and has changed nothing
        then.

        A record that is not the next of ours is another leader's: then we do not lead any more, whatever the
        caller knows yet.
        """
        if self.leading and (not self._pending or self._pending[0][0] != body):
            self.stop_leading()
        record: MetadataRecord | None
        if self.leading:
            _, record = self._pending.popleft()
            self._progress_pending -= isinstance(record, OffsetsRecord | DelaysRecord)
            self.state.replay(record)
        else:
            record = decode_record(body)
            if record is None:
                return None
            self._take_over(record)
        if isinstance(record, DelaysRecord) and record.complete:
            self.unstated = False
        return record

    def adopt(self, record: MetadataRecord) -> None:
        """Take over what is not in the log: a Java master has told it by its side channel. Raises
        MetadataError while leading."""
        self._refuse_leading("nothing is adopted")
        self._take_over(record)
        self.unstated = True
        self.adoptions += 1

    def _take_over(self, record: MetadataRecord) -> None:
        touched = self.state.replay(record)
        if isinstance(record, TopicsRecord):
            self._settle_topics(touched)
        elif isinstance(record, GroupsRecord):
            self._settle_groups(touched)
        elif isinstance(record, OffsetsRecord):
            self._settle_offsets(touched)
        else:
            self._settle_delays()

    # ---- snapshots ----

    def snapshot(self) -> Snapshot:
        """The committed state; it belongs to the log up to the last record given to :meth:`committed`. It may
        be large: to be encoded on a worker."""
        return Snapshot(self.state.whole(), self.unstated)

    def load(self, data: bytes) -> None:
        """Set the tables to a snapshot's state. Raises MetadataError, and has changed nothing then."""
        self._refuse_leading("no snapshot is loaded")
        snapshot = decode_snapshot(data)
        for record in snapshot.records:
            self._take_over(record)
        self.unstated = snapshot.unstated

    def _refuse_leading(self, what: str) -> None:
        if self.leading:
            raise MetadataError(f"{what} while leading")

    # ---- tables and state ----

    def _state_of_tables(self) -> MetadataState:
        state = MetadataState(self._topics.made)
        state.topics |= self._topics.configs
        file = self._groups.to_file()
        for group in dict.fromkeys([*self._groups.configs, *file.forbidden_table]):
            state.groups[group] = self._group_in_table(group)
        for group, topic in self._offsets.pairs():
            pair = _pair(group, topic)
            state.offsets[pair] = self._offsets.queues(group, topic)
            resets = self._offsets.resets(group, topic)
            if resets:
                state.resets[pair] = resets
        state.delays = dict(self._delays.offsets)
        state.topics_version = self._topics.data_version.copy()
        state.groups_version = self._groups.data_version.copy()
        state.offsets_version = self._offsets.data_version.copy()
        state.delays_version = self._delays.data_version.copy()
        return state

    def _group_in_table(self, group: str) -> GroupState:
        return GroupState(self._groups.find(group), self._groups.forbidden_of(group))

    def _logged_topic(self, topic: str) -> TopicConfig | None:
        """What the topic is when everything pending will be committed."""
        for _, record in reversed(self._pending):
            if isinstance(record, TopicsRecord) and topic in _names(record):
                return record.items.get(topic)
        return self.state.topics.get(topic)

    def _logged_group(self, group: str) -> GroupState:
        for _, record in reversed(self._pending):
            if isinstance(record, GroupsRecord) and group in _names(record):
                return record.items.get(group, NOTHING)
        return self.state.groups.get(group, NOTHING)

    def _logged_version(self, kind: type[MetadataRecord], committed: DataVersion) -> DataVersion:
        return next((rec.version for _, rec in reversed(self._pending) if isinstance(rec, kind)), committed)

    def _settle_topics(self, topics: Iterable[str]) -> None:
        """Set these topics of the table to what ``state`` says of them."""
        version = self.state.topics_version
        self._topics.data_version = version.copy()
        for topic in topics:
            self._set_topic(topic, self.state.topics.get(topic), version)

    def _set_topic(self, topic: str, config: TopicConfig | None, version: DataVersion) -> None:
        self._topics.data_version = version.copy()
        if config == self._topics.find(topic):
            return
        self._replaying = True
        try:
            self._topics.replay(topic, config, version)
        finally:
            self._replaying = False

    def _settle_groups(self, groups: Iterable[str]) -> None:
        version = self.state.groups_version
        self._groups.data_version = version.copy()
        for group in groups:
            self._set_group(group, self.state.groups.get(group, NOTHING), version)

    def _set_group(self, group: str, item: GroupState, version: DataVersion) -> None:
        self._groups.data_version = version.copy()
        if item == self._group_in_table(group):
            return
        self._replaying = True
        try:
            self._groups.replay(group, item.config, item.forbidden, version)
        finally:
            self._replaying = False

    def _settle_offsets(self, pairs: Iterable[str]) -> None:
        version = self.state.offsets_version
        self._offsets.data_version = version.copy()
        for pair in pairs:
            topic, _, group = pair.partition(TOPIC_GROUP_SEPARATOR)
            queues, resets = self.state.offsets.get(pair, {}), self.state.resets.get(pair, {})
            if queues != self._offsets.queues(group, topic) or resets != self._offsets.resets(group, topic):
                self._offsets.replay(group, topic, queues, resets, version)

    def _settle_delays(self) -> None:
        if (
            self.state.delays != self._delays.offsets
            or self.state.delays_version != self._delays.data_version
        ):
            self._delays.replay(self.state.delays, self.state.delays_version)


def _pair(group: str, topic: str) -> str:
    return topic + TOPIC_GROUP_SEPARATOR + group


def _names(record: TopicsRecord | GroupsRecord | OffsetsRecord) -> Touched:
    """The items that the record speaks of by name."""
    names = dict.fromkeys([*record.removed, *record.items])
    return names | dict.fromkeys(record.resets) if isinstance(record, OffsetsRecord) else names


def _touched(records: Iterable[MetadataRecord], kind: type[MetadataRecord]) -> Touched:
    """The items that the records of one kind speak of."""
    touched: Touched = {}
    for record in records:
        if isinstance(record, kind) and not isinstance(record, DelaysRecord):
            touched |= _names(record)
    return touched
