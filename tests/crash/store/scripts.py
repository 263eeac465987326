"""What the crash tests do to a store, and what must hold afterwards.

A script is a seeded series of sends, commits, flushes, upkeep and retention on a small store (files of 4 KiB,
queue files of 8 units, index files of 40 entries), so that every kind of roll happens every few messages.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from tests.crash.store.sim_disk import SimDisk

from ledgermq.message.properties import PropertyScan
from ledgermq.message.record import decode_record
from ledgermq.runtime.config import StoreConfig
from ledgermq.store.message_store import MessageStore
from ledgermq.store.reading import GetStatus

HOST = b"\x7f\x00\x00\x01\x00\x00\x2a\x9f"
BEGIN_MS = 1_700_000_000_000

Place = tuple[bytes, int, int]
"""Topic, queue id, queue offset."""


@dataclass(slots=True)
class Sent:
    place: Place
    log_offset: int
    body: bytes
    key: bytes


@dataclass(slots=True)
class Ledger:
    """What was sent, and how much of it was promised to whom."""

    sent: list[Sent] = field(default_factory=list)
    written: int = 0
    """The first so many were committed."""
    promised: int = 0
    """The first so many were flushed."""
    minutes: int = 0


def open_store(disk: SimDisk, sync: bool) -> MessageStore:
    config = StoreConfig(
        store_path_root_dir="/store",
        mapped_file_size_commit_log=4096,
        mapped_file_size_consume_queue=8 * 20,
        max_hash_slot_num=16,
        max_index_num=40,
        flush_disk_type="SYNC_FLUSH" if sync else "ASYNC_FLUSH",
    )
    store = MessageStore(config, HOST, disk)
    store.open()
    return store


def send(store: MessageStore, ledger: Ledger, rng: random.Random) -> None:
    topic = rng.choice((b"Orders", b"Bills"))
    queue = store.queue(topic, rng.randrange(3))
    key = b"K%d" % len(ledger.sent)
    properties = b"UNIQ_KEY\x01%s\x02TAGS\x01T%d\x02KEYS\x01a b\x02" % (key, len(ledger.sent) % 3)
    scan = PropertyScan()
    scan.scan(properties)
    body = rng.randbytes(rng.choice((0, 1, 20, 150, 700)))
    offset = queue.next_offset
    store_ms = BEGIN_MS + len(ledger.sent)
    at = store.log.append(queue, 0, 0, store_ms, HOST, store_ms, 0, 0, body, properties, scan)
    ledger.sent.append(Sent((topic, int(queue.queue_id), int(offset)), int(at), body, key))


def act(store: MessageStore, ledger: Ledger, rng: random.Random, retention: bool = False) -> None:
    """One step of a script; ``retention``: the log may lose its beginning."""
    disk = store.disk
    assert isinstance(disk, SimDisk)
    choice = rng.random()
    if choice < 0.5:
        for _ in range(rng.randint(1, 6)):
            send(store, ledger, rng)
        store.log.commit_pending()
        ledger.written = len(ledger.sent)
    elif choice < 0.75:
        count = ledger.written
        store.log.confirm(store.log.flush())
        ledger.promised = count
    else:
        ledger.minutes += rng.randint(0, 2)
        if retention and rng.random() < 0.3:
            disk.full = 0.87  # The oldest files are deleted, expired or not.
        for job in store.upkeep(BEGIN_MS + ledger.minutes * 61_000):
            job()
        disk.full = 0.1


def messages_of(store: MessageStore) -> dict[Place, tuple[int, bytes, bytes]]:
    """Every message that consumers can read: place -> (log offset, body, unique key)."""
    found: dict[Place, tuple[int, bytes, bytes]] = {}
    for queue in store.queues.all():
        offset = int(queue.min_offset)
        while offset < queue.max_offset:
            result = store.get(queue, offset, 32, 1 << 20)
            assert result.status is GetStatus.FOUND, (queue.topic, queue.queue_id, offset, result.status)
            at = 0
            while at < len(result.payload):
                record = decode_record(result.payload, at, check_crc=True)
                assert (record.topic, record.queue_id) == (queue.topic, queue.queue_id)
                assert record.queue_offset == offset, "offsets of a queue are dense"
                key = record.properties.split(b"\x02")[0].split(b"\x01")[1]
                found[queue.topic, int(queue.queue_id), offset] = int(record.log_offset), record.body, key
                at += record.size
                offset += 1
            assert result.next_offset == offset
    return found


def check(store: MessageStore, ledger: Ledger, promised: int) -> None:
    """Everything promised is there, where it was; everything there was sent, and nothing before it is
    missing.
    """
    found = messages_of(store)
    begin = store.min_log_offset
    sent = {message.place: message for message in ledger.sent}
    for message in ledger.sent[:promised]:
        if message.log_offset >= begin:
            assert found.get(message.place) == (message.log_offset, message.body, message.key), message.place
    for place, (log_offset, body, key) in found.items():
        message = sent[place]
        assert log_offset >= begin
        assert (message.log_offset, message.body, message.key) == (log_offset, body, key), place
    end = max((log_offset for log_offset, _, _ in found.values()), default=begin - 1)
    survived = [message for message in ledger.sent if message.log_offset <= end or message.log_offset < begin]
    assert all(message.place in found for message in survived if message.log_offset >= begin), "no gaps"
    for message in survived:
        if message.log_offset < begin:
            continue
        offsets = store.query_keys(message.place[0], message.key, 64, 0, 1 << 60)
        assert message.log_offset in offsets, f"{message.key!r} is indexed"
    # From here on the store goes its own way: what is not there was never sent.
    del ledger.sent[len(survived) :]
    ledger.written = len(ledger.sent)
