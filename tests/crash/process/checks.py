"""What must be true of a store after a kill and a restart, whatever was in flight."""

from __future__ import annotations

import random
from collections import defaultdict
from pathlib import Path

from tests.crash.process.producers import History, Sent
from tests.crash.process.store_files import (
    IndexFiles,
    Record,
    java_hash,
    parse_records,
    queue_directories,
    read_log,
    read_queue,
    record_at,
)

from bench import wire

QueueRecords = dict[tuple[str, int], list[Record]]


def check_acknowledged_bytes(store: Path, history: History) -> None:
    """Right after the kill, before any recovery: what was acknowledged had been written."""
    for message in history.acknowledged:
        _same(record_at(store / "commitlog", message.log_offset), message)


def check_files(store: Path, history: History, *, slot_count: int, in_order: bool = True) -> QueueRecords:
    """The files after recovery; returns the records by queue."""
    records = list(read_log(store / "commitlog"))
    queues = _check_log(records, history)
    if in_order:
        _check_order(records, history)
    _check_queues(store, queues)
    index = IndexFiles(store / "index", slot_count)
    for record in records:
        for key in record.keys:
            assert record.log_offset in index.find(record.topic, key), f"the index does not know {key}"
    return queues


def _check_log(records: list[Record], history: History) -> QueueRecords:
    queues: QueueRecords = defaultdict(list)
    seen: dict[str, Record] = {}
    for record in records:
        key = record.properties["UNIQ_KEY"]
        assert key in history.messages, f"{key} at {record.log_offset} was never sent"
        assert key not in seen, f"{key} is there twice: at {seen[key].log_offset} and {record.log_offset}"
        seen[key] = record
        _same(record, history.messages[key])
        queue = queues[record.topic, record.queue_id]
        assert record.queue_offset == len(queue), f"{key} at {record.queue_offset}, after {len(queue)} others"
        queue.append(record)
    for message in history.acknowledged:
        assert message.key in seen, f"{message.key} was acknowledged at {message.log_offset} and is lost"
    return queues


def _same(record: Record, message: Sent) -> None:
    assert (record.topic, record.queue_id) == (message.topic, message.queue_id), message
    assert record.body == message.body, message.key
    # WAIT is for the broker, which does not keep it everywhere; the broker adds properties of its own.
    kept = {name: record.properties.get(name) for name in ("UNIQ_KEY", "KEYS", "TAGS")}
    assert kept == {name: message.properties[name] for name in kept}, f"{message.key} at {record.log_offset}"
    if message.acknowledged:
        assert record.log_offset == message.log_offset, message
        assert record.queue_offset == message.queue_offset, message


def _check_order(records: list[Record], history: History) -> None:
    """In each queue, what one connection sent is in the order in which it was sent, with or without an
    answer.
    """
    sent_order = {key: number for number, key in enumerate(history.messages)}
    last: dict[tuple[str, int, int], int] = {}
    for record in records:
        key = record.properties["UNIQ_KEY"]
        lane = (record.topic, record.queue_id, history.messages[key].connection)
        assert sent_order[key] > last.get(lane, -1), f"{key} stands before one that was sent earlier"
        last[lane] = sent_order[key]


def _check_queues(store: Path, queues: QueueRecords) -> None:
    found = set()
    for topic, queue_id, directory in queue_directories(store):
        first, units = read_queue(directory)
        records = queues.get((topic, queue_id), [])
        found.add((topic, queue_id))
        assert first == 0, directory
        assert len(units) == len(records), f"{topic}/{queue_id}: {len(units)} units, {len(records)} records"
        for unit, record in zip(units, records, strict=True):
            assert (unit.log_offset, unit.size) == (record.log_offset, record.size), (topic, queue_id, unit)
            assert unit.tags_code == java_hash(record.properties["TAGS"])
    assert set(queues) <= found


def check_answers(address: str, queues: QueueRecords, history: History, random_source: random.Random) -> None:
    """The same by the protocol: every queue from end to end, and some keys."""
    with wire.Peer(address) as peer:
        for (topic, queue_id), records in queues.items():
            assert wire.min_offset(peer, topic, queue_id) == 0
            assert wire.max_offset(peer, topic, queue_id) == len(records)
            assert _pull_all(peer, topic, queue_id, len(records)) == records
        acknowledged = history.acknowledged
        for message in random_source.sample(acknowledged, min(10, len(acknowledged))):
            for key in (message.key, f"k-{message.key}"):
                fields = {"topic": message.topic, "key": key, "maxNum": 32, "beginTimestamp": 0}
                answer = peer.ask(wire.QUERY_MESSAGE, fields | {"endTimestamp": 1 << 62})
                offsets = [record.log_offset for record in parse_records(answer.body)]
                assert message.log_offset in offsets, f"{key} is not found by its key"


def _pull_all(peer: wire.Peer, topic: str, queue_id: int, count: int) -> list[Record]:
    records: list[Record] = []
    while len(records) < count:
        fields = wire.pull_fields("crash-consumer", topic, queue_id, len(records))
        answer = peer.ask(wire.PULL_MESSAGE, fields)
        records += parse_records(answer.body)
        assert int(answer.fields["nextBeginOffset"]) == len(records)
    return records
