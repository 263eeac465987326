"""Small stores in memory for the tests of this room."""

from __future__ import annotations

from collections.abc import Iterable

from tests.crash.store.sim_disk import SimDisk

from ledgermq.message.properties import PropertyScan
from ledgermq.message.record import Record, decode_record
from ledgermq.runtime.config import StoreConfig
from ledgermq.store.consume_queue import ConsumeQueue
from ledgermq.store.message_store import MessageStore

HOST = b"\x7f\x00\x00\x01\x00\x00\x2a\x9f"
BEGIN_MS = 1_700_000_000_000


def config(**settings: object) -> StoreConfig:
    """Files of 4 KiB, 8 units and 40 entries."""
    known: dict[str, object] = {
        "store_path_root_dir": "/store",
        "mapped_file_size_commit_log": 4096,
        "mapped_file_size_consume_queue": 8 * 20,
        "max_hash_slot_num": 16,
        "max_index_num": 40,
    }
    known.update(settings)
    return StoreConfig(**known)  # type: ignore[arg-type]  # keywords of a test


def opened(disk: SimDisk | None = None, **settings: object) -> MessageStore:
    store = MessageStore(config(**settings), HOST, disk or SimDisk(0))
    store.open()
    return store


def put(
    store: MessageStore,
    topic: bytes = b"T",
    queue_id: int = 0,
    body: bytes = b"body",
    properties: bytes = b"",
    store_ms: int = BEGIN_MS,
    sys_flag: int = 0,
) -> int:
    """Gather one message."""
    scan = PropertyScan()
    scan.scan(properties)
    queue = store.queue(topic, queue_id)
    return int(store.log.append(queue, 0, sys_flag, store_ms, HOST, store_ms, 0, 0, body, properties, scan))


def fill(
    store: MessageStore, count: int, topic: bytes = b"T", queue_id: int = 0, first: int = 0
) -> list[int]:
    """Store messages with bodies ``0``, ``1`` ..., keys ``k0`` ..., one second apart; returns their
    offsets.
    """
    offsets = []
    for n in range(first, first + count):
        properties = b"UNIQ_KEY\x01k%d\x02TAGS\x01%s\x02" % (n, b"even" if n % 2 == 0 else b"odd")
        offsets.append(put(store, topic, queue_id, b"%d" % n, properties, BEGIN_MS + n * 1000))
        store.log.commit_pending()
    return offsets


def records(payload: bytes) -> Iterable[Record]:
    at = 0
    while at < len(payload):
        record = decode_record(payload, at, check_crc=True)
        yield record
        at += record.size


def bodies(
    store: MessageStore, queue: ConsumeQueue | None, tags: frozenset[int] | None = None
) -> list[bytes]:
    """All messages of a queue that readers see."""
    assert queue is not None
    found: list[bytes] = []
    offset = queue.min_offset
    while offset < queue.max_offset:
        result = store.get(queue, offset, 32, 1 << 20, tags)
        found += [record.body for record in records(result.payload)]
        assert result.next_offset > offset
        offset = result.next_offset
    return found
