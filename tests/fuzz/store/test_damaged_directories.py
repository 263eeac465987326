"""A store directory with anything done to its files opens, or is refused with a StoreError; never anything
else.

What is opened then works: every queue can be read from one end to the other, and new messages go in.
"""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.crash.store.sim_disk import SimDisk
from tests.unit.store.stores import BEGIN_MS, HOST, config, fill, opened, put

from ledgermq.message.record import RecordError, decode_record
from ledgermq.store.checkpoint import decode_checkpoint
from ledgermq.store.errors import StoreError
from ledgermq.store.message_store import MessageStore
from ledgermq.store.queue_records import decode_records
from ledgermq.store.reading import GetStatus

DAMAGE = st.lists(
    st.tuples(
        st.integers(0, 1 << 16),  # which file
        st.sampled_from(["flip", "zero", "garbage", "cut", "grow", "remove", "swap", "shift"]),
        st.integers(0, 4095),
        st.integers(1, 600),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=4,
)


def make() -> SimDisk:
    disk = SimDisk(0)
    store = opened(disk)
    fill(store, 70)
    fill(store, 20, b"Other", 3)
    store.upkeep(BEGIN_MS)
    for job in store.upkeep(BEGIN_MS + 61_000):
        job()
    fill(store, 10, first=70)
    store.log.flush()
    return disk


def hurt(disk: SimDisk, which: int, how: str, at: int, size: int, value: int) -> None:
    names = sorted(name for name in disk.names if not name.endswith(("/lock", "/abort")))
    name = names[which % len(names)]
    content = disk.names[name].seen
    if not content:
        return
    at %= len(content)
    if how == "flip":
        content[at] ^= value or 1
    elif how == "zero":
        content[at : at + size] = bytes(len(content[at : at + size]))
    elif how == "garbage":
        content[at : at + size] = bytes([value]) * len(content[at : at + size])
    elif how == "cut":
        del content[at:]
    elif how == "grow":
        content.extend(bytes([value]) * size)
    elif how == "remove":
        del disk.names[name]
    elif how == "swap":
        other = disk.names[names[(which + 1) % len(names)]].seen
        content[:], other[:] = bytes(other), bytes(content)
    elif how == "shift":
        content[:] = (bytes([value]) * size + bytes(content))[: len(content)]


def read_everything(store: MessageStore) -> None:
    for queue in store.queues.all():
        offset = int(queue.min_offset)
        for _ in range(int(queue.max_offset) + 10):
            if offset >= queue.max_offset:
                break
            result = store.get(queue, offset, 32, 1 << 20)
            assert result.next_offset > offset, result.status
            if result.status is GetStatus.FOUND:
                at = 0
                while at < len(result.payload):
                    with contextlib.suppress(RecordError):
                        decode_record(result.payload, at, check_crc=True)
                    at += int.from_bytes(result.payload[at : at + 4], "big")
            offset = int(result.next_offset)
        assert offset >= queue.max_offset
    for key in (b"k1", b"k69"):
        for log_offset in store.query_keys(b"T", key, 64, 0, 1 << 60):
            store.read_at(log_offset)


@pytest.mark.slow
@settings(max_examples=300)
@given(DAMAGE, st.booleans(), st.booleans())
@example([(0, "flip", 0, 1, 1)], True, True)
def test_any_damage_opens_or_is_refused(
    damage: list[tuple[int, str, int, int, int]], clean: bool, power: bool
) -> None:
    disk = make()
    if clean:
        disk.kill()
        store = opened(disk)
        store.close()
    disk.kill()
    if power:
        disk.power_cut()
    for item in damage:
        hurt(disk, *item)
    store = MessageStore(config(), HOST, disk)
    try:
        store.open()
    except StoreError:
        return
    read_everything(store)
    before = {(queue.topic, int(queue.queue_id)): int(queue.max_offset) for queue in store.queues.all()}
    put(store, b"T", 0, b"new")
    store.log.commit_pending()
    queue = store.find_queue(b"T", 0)
    assert queue is not None
    assert queue.max_offset == before.get((b"T", 0), 0) + 1
    assert store.get(queue, int(queue.max_offset) - 1, 1, 1 << 20).status is GetStatus.FOUND
    store.close()
    disk.kill()
    again = MessageStore(config(), HOST, disk)
    again.open()
    after = {(queue.topic, int(queue.queue_id)): int(queue.max_offset) for queue in again.queues.all()}
    assert after[b"T", 0] == before.get((b"T", 0), 0) + 1


@given(st.binary(max_size=200))
def test_any_bytes_are_a_checkpoint_or_note_or_not(data: bytes) -> None:
    decode_checkpoint(data)
    decode_records(data)
