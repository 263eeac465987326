"""A simulated broker's topics, groups and offsets as records of its log, and what must hold of them.

==========================  ================================================================================
rule                        what is looked at
==========================  ================================================================================
metadata stays              who begins to lead in a term knows every topic and group that was acknowledged in
                            terms up to it, and no offset is before the last such batch of offsets; none of a
                            delay level is behind what waits
replicas agree              tables are equal everywhere in the end, and equal to what the log states
==========================  ================================================================================

Terms after its own are nothing that a leader can know of: paused, it may go on, and look whether it can take
messages, before it hears that there is another. It commits nothing any more.

Rules of this file: real are journal, tables, records and their way through the log; simulated is the file of
the state, on the member's disk.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, cast

import msgspec

from ledgermq.broker.commits import Commits
from ledgermq.broker.groups import GroupTable, SubscriptionGroupConfig
from ledgermq.broker.metadata_journal import MetadataJournal
from ledgermq.broker.metadata_log import MetadataFile, MetadataLog
from ledgermq.broker.offsets import OffsetTable
from ledgermq.broker.store_jobs import StoreJobs
from ledgermq.broker.topics import TopicTable
from ledgermq.remoting.command import PeerError
from ledgermq.remoting.topic_config import TopicConfig
from ledgermq.runtime.config import BrokerConfig
from ledgermq.store.message_store import Job
from ledgermq.store.replicated_store import ReplicatedStore
from ledgermq.testing.simulation.checks import Violation
from ledgermq.testing.simulation.deliveries import LEVELS, SCHEDULE_TOPIC, Deliveries
from ledgermq.testing.simulation.disk import SimDisk

_CONFIG: Final = BrokerConfig(broker_name="b")
_FILE: Final = "/store/config/replicatedMetadata.json"
_HOST: Final = b"\x7f\x00\x00\x01\x00\x00\x2a\x9f"
_QUEUES: Final = 3


class MetadataChecks:
    """What clients were told, and the term of the leader who told them."""

    def __init__(self) -> None:
        self._topics: dict[str, int] = {}
        self._groups: dict[str, int] = {}
        self._offsets: dict[tuple[int, int], int] = {}
        """Of group ``g`` and topic ``t``, by term and queue id: what the last acknowledged batch said."""
        self._delivered: dict[tuple[int, int], int] = {}
        """The same of delay levels."""

    def topic_acknowledged(self, term: int, topic: str) -> None:
        self._topics[topic] = term

    def group_acknowledged(self, term: int, group: str) -> None:
        self._groups[group] = term

    def offsets_acknowledged(self, term: int, offsets: dict[int, int], delivered: dict[int, int]) -> None:
        for queue_id, offset in offsets.items():
            self._offsets[term, queue_id] = max(offset, self._offsets.get((term, queue_id), -1))
        for level, offset in delivered.items():
            self._delivered[term, level] = max(offset, self._delivered.get((term, level), -1))

    def leads(
        self, node: str, term: int, topics: TopicTable, groups: GroupTable, offsets: OffsetTable
    ) -> None:
        missing = [topic for topic in _told_by(term, self._topics) if topics.find(topic) is None]
        missing += [group for group in _told_by(term, self._groups) if groups.find(group) is None]
        if missing:
            raise Violation("metadata stays", f"{node} begins to lead and does not know {missing}")
        for (told, queue_id), offset in self._offsets.items():
            known = offsets.consumed("g", "t", queue_id)
            if told <= term and known < offset:
                raise Violation(
                    "metadata stays",
                    f"{node} begins to lead with offset {known} of queue {queue_id}; {offset} was stated",
                )

    def delivers(self, node: str, term: int, store: ReplicatedStore, offsets: dict[int, int]) -> None:
        for level in LEVELS:
            known = offsets.get(level, 0)
            told = max(
                (end for (of, at), end in self._delivered.items() if of <= term and at == level), default=0
            )
            queue = store.find_queue(SCHEDULE_TOPIC, level - 1)
            waiting_end = 0 if queue is None else int(queue.max_offset)
            if not told <= known <= waiting_end:
                raise Violation(
                    "metadata stays",
                    f"{node} begins to lead and has delivered {known} of {waiting_end} messages of level"
                    f" {level}; {told} was stated",
                )


def _told_by(term: int, acknowledged: dict[str, int]) -> list[str]:
    return sorted(name for name, told in acknowledged.items() if told <= term)


class _Log(MetadataLog):
    """Its file is on the simulated disk."""

    disk: SimDisk

    def _load(self) -> MetadataFile | None:
        data = self.disk.read_file(_FILE)
        return msgspec.json.decode(data, type=MetadataFile) if data else None

    def _write(self, data: bytes) -> None:
        self.disk.replace_file(_FILE, data)


class _Appended:
    """Of ``Commits``, what the log of metadata uses."""

    def __init__(self, appended: Callable[[], None]) -> None:
        self.appended = appended


class _Jobs:
    """Of ``StoreJobs``, what it uses."""

    def __init__(self, start: Callable[[list[Job]], None]) -> None:
        self.start = start


class BrokerMetadata:
    """One life of one member. ``appended`` is called when something is to be proposed."""

    def __init__(
        self,
        node_id: str,
        store: ReplicatedStore,
        disk: SimDisk,
        checks: MetadataChecks,
        now_ms: Callable[[], int],
        appended: Callable[[], None],
        start_jobs: Callable[[list[Job]], None],
    ) -> None:
        self._id = node_id
        self._checks = checks
        self._now_ms = now_ms
        self._term = -1
        """In which it leads, or did so last."""
        self.topics = TopicTable(_CONFIG, 0)
        self.groups = GroupTable(_CONFIG, 0)
        self.offsets = OffsetTable(0)
        self.delays = Deliveries()
        self._store = store
        self.log = _Log(
            store,
            cast(Commits, _Appended(appended)),
            None,  # type: ignore[arg-type]  # nothing is run on a worker here
            Path("/nowhere"),
            _HOST,
            now_ms,
            lambda topic: None,
        )
        self.log.disk = disk
        self.journal = MetadataJournal(
            self.topics, self.groups, self.offsets, self.delays, self.log.append, unstated=False
        )
        self.log.recover(self.journal, cast(StoreJobs, _Jobs(start_jobs)), ours=True)

    # ---- roles ----

    def lead(self, term: int) -> None:
        self._term = term
        self._checks.leads(self._id, term, self.topics, self.groups, self.offsets)
        self._checks.delivers(self._id, term, self._store, self.delays.offsets)
        self.journal.start_leading()
        self.log.lead(self._id)

    def pause(self) -> None:
        self.journal.stop_leading()
        self.delays.give_up()

    # ---- what clients do, while it leads; each returns what is to be called when it is acknowledged ----

    def make_topic(self, number: int) -> Callable[[], None]:
        term, topic = self._term, f"topic{number}"
        self.topics.update(TopicConfig(topic_name=topic), self._now_ms())
        return lambda: self._checks.topic_acknowledged(term, topic)

    def delete_topic(self, topic: str) -> None:
        """Its messages go; others may be sent at once."""
        if not self.topics.delete(topic, self._now_ms()):
            self.topics.update(TopicConfig(topic_name=topic), self._now_ms())

    def make_group(self, number: int) -> Callable[[], None]:
        term, group = self._term, f"group{number}"
        self.groups.update(SubscriptionGroupConfig(group_name=group), self._now_ms())
        return lambda: self._checks.group_acknowledged(term, group)

    def consume(self, queue_id: int) -> None:
        offset = max(0, self.offsets.consumed("g", "t", queue_id)) + 1
        self.offsets.commit("g", "t", queue_id, offset, self._now_ms())

    def log_offsets(self) -> Callable[[], None] | None:
        term = self._term
        stated = {queue_id: self.offsets.consumed("g", "t", queue_id) for queue_id in range(_QUEUES)}
        delivered = dict(self.delays.offsets)
        try:
            count = self.journal.log_offsets()
        except PeerError:
            return None
        return partial(self._checks.offsets_acknowledged, term, stated, delivered) if count else None

    # ---- in the end ----

    def tables(self) -> dict[str, object]:
        """Equal on all members that have applied the same, when nothing is under way."""
        known: dict[str, object] = {f"topic {name}": config for name, config in self.topics.configs.items()}
        known |= {f"group {name}": config for name, config in self.groups.configs.items()}
        known |= {f"offsets {pair}": self.offsets.queues(*pair) for pair in self.offsets.pairs()}
        known["versions"] = self.topics.data_version, self.groups.data_version
        known["delays"] = self.journal.state.delays  # Deliveries go on.
        known["master"] = self.log.master_address
        return known

    def difference(self, other: BrokerMetadata) -> str:
        ours, theirs = self.tables(), other.tables()
        names = [name for name in ours | theirs if ours.get(name) != theirs.get(name)]
        return "; ".join(
            f"{name}: {self._id} {ours.get(name)}, {other._id} {theirs.get(name)}" for name in names
        )
