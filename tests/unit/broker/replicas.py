"""Replicas of a broker's tables with their journals, and a list instead of a log."""

from __future__ import annotations

from typing import Any

from ledgermq.broker.groups import GroupTable
from ledgermq.broker.metadata_journal import MetadataJournal
from ledgermq.broker.offsets import OffsetTable
from ledgermq.broker.topics import TopicTable
from ledgermq.remoting.topic_config import DataVersion, TopicConfig
from ledgermq.runtime.config import BrokerConfig

CONFIG = BrokerConfig(broker_name="b")


class Delays:
    """Of a Scheduler, what the journal needs."""

    def __init__(self) -> None:
        self.offsets: dict[int, int] = {}
        self.data_version = DataVersion()
        self.following = False

    def replay(self, offsets: dict[int, int], version: DataVersion) -> None:
        self.offsets = dict(offsets)
        self.data_version = version.copy()


class Replica:
    """A broker's tables and journal; ``log`` has what it appended, ``heard`` what its listeners were told."""

    def __init__(self, start_ms: int = 0, *, unstated: bool = False) -> None:
        self.topics = TopicTable(CONFIG, start_ms)
        self.groups = GroupTable(CONFIG, start_ms)
        self.offsets = OffsetTable(start_ms)
        self.delays = Delays()
        self.log: list[bytes] = []
        self.heard: list[str] = []
        self.refusal: Exception | None = None
        self.topics.listeners.append(self.heard.append)
        self.groups.listeners.append(self.heard.append)
        if unstated:
            self.topics.update(topic("Java"), 1)
        self.journal = MetadataJournal(
            self.topics, self.groups, self.offsets, self.delays, self.append, unstated=unstated
        )

    def append(self, body: bytes) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.log.append(body)

    def tables(self) -> tuple[object, ...]:
        """Everything that replicas must agree upon."""
        offsets = self.offsets
        return (
            self.topics.configs,
            self.topics.data_version,
            self.groups.to_file(),
            {pair: (offsets.queues(*pair), offsets.resets(*pair)) for pair in sorted(offsets.pairs())},
            offsets.data_version,
            self.delays.offsets,
            self.delays.data_version,
        )


def topic(name: str, **changes: Any) -> TopicConfig:
    return TopicConfig(topic_name=name, **changes)
