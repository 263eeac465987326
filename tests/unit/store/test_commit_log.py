"""Appending and committing."""

from __future__ import annotations

import errno
import struct
from contextlib import suppress

import pytest
from tests.crash.store.sim_disk import SimDisk
from tests.unit.store.stores import BEGIN_MS, HOST, bodies, fill, opened, put, records

from ledgermq.message.properties import PropertyScan
from ledgermq.message.record import decode_record
from ledgermq.store.errors import StoreError, StoreWriteError
from ledgermq.store.message_store import MessageStore


def unit(body: bytes, properties: bytes = b"", flag: int = 0) -> bytes:
    """A unit of a client's batch."""
    size = 22 + len(body) + len(properties)
    head = struct.pack(">iiiii", size, 0, 0, flag, len(body))
    return head + body + struct.pack(">h", len(properties)) + properties


def append_batch(store: MessageStore, batch: bytes, sys_flag: int = 0) -> list[int]:
    offsets = store.log.append_batch(store.queue(b"T", 0), sys_flag, BEGIN_MS, HOST, BEGIN_MS, 0, batch)
    return [offset for (offset,) in struct.iter_unpack(">q", offsets)]


def test_nothing_is_visible_before_the_commit():
    store = opened()
    queue = store.queue(b"T", 0)
    put(store)
    put(store)
    assert (queue.next_offset, queue.written_offset, queue.max_offset) == (2, 0, 0)
    assert store.log.written == 0
    assert store.log.commit_pending() == [queue]
    assert (queue.next_offset, queue.written_offset, queue.max_offset) == (2, 2, 2)
    assert store.log.commit_pending() == []


def test_a_turn_is_one_write():
    disk = SimDisk(0)
    store = opened(disk)
    before = disk.operations
    for queue_id in range(10):
        put(store, queue_id=queue_id)
    grown = store.log.commit_pending()
    assert [queue.queue_id for queue in grown] == list(range(10))
    assert disk.operations == before + 1


def test_offsets_follow_one_another_and_records_know_their_place():
    store = opened()
    offsets = fill(store, 50)
    for n, offset in enumerate(offsets):
        record = store.read_at(offset)
        assert record is not None
        assert (record.log_offset, record.queue_offset, record.body) == (offset, n, b"%d" % n)


def test_a_full_file_ends_with_a_blank_and_a_record_never_crosses():
    disk = SimDisk(0)
    store = opened(disk)
    for _ in range(3):
        put(store, body=b"x" * 1200)
    store.log.commit_pending()
    end = 3 * (91 + 1 + 1200)
    fourth = put(store, body=b"x" * 1200)
    store.log.commit_pending()
    assert fourth == 4096
    first = disk.read_file("/store/commitlog/00000000000000000000")
    assert first is not None
    assert struct.unpack_from(">iI", first, end) == (4096 - end, 0xCBD43194)
    assert len(bodies(store, store.find_queue(b"T", 0))) == 4


@pytest.mark.parametrize("left", [0, 1, 7, 8, 9])
def test_a_record_and_the_blank_must_fit(left: int):
    store = opened()
    body = b"x" * (4096 - 92 - left)
    if left < 8:
        with pytest.raises(StoreError, match="does not fit"):
            put(store, body=body)
    else:
        assert put(store, body=body) == 0
        assert put(store) == 4096
    store.log.commit_pending()
    assert not store.log.failure


def test_half_and_rolled_back_messages_get_no_unit():
    store = opened()
    queue = store.queue(b"T", 0)
    put(store)
    half = put(store, sys_flag=0x4)
    rolled_back = put(store, sys_flag=0xC)
    committed = put(store, sys_flag=0x8)
    store.log.commit_pending()
    assert queue.max_offset == 2
    for offset, queue_offset in ((half, 0), (rolled_back, 0), (committed, 1)):
        record = store.read_at(offset)
        assert record is not None
        assert record.queue_offset == queue_offset


def test_batch_is_contiguous_with_consecutive_offsets():
    store = opened()
    fill(store, 3)
    offsets = append_batch(store, unit(b"a", b"TAGS\x01t\x02", 7) + unit(b"", b"") + unit(b"ccc"))
    store.log.commit_pending()
    result = store.get(store.find_queue(b"T", 0), 3, 32, 1 << 20)
    found = list(records(result.payload))
    assert [(r.log_offset, r.queue_offset, r.body, r.flag) for r in found] == [
        (offsets[0], 3, b"a", 7),
        (offsets[1], 4, b"", 0),
        (offsets[2], 5, b"ccc", 0),
    ]
    assert offsets[1] == offsets[0] + found[0].size


@pytest.mark.parametrize("sys_flag", [4, 8, 12, 1 << 31])
def test_a_batch_of_a_transaction_is_refused(sys_flag: int):
    store = opened()
    with pytest.raises(StoreError):
        append_batch(store, unit(b"a"), sys_flag)
    assert store.log.commit_pending() == []


def test_batch_moves_to_the_next_file_as_a_whole():
    store = opened()
    put(store, body=b"x" * 3500)
    assert append_batch(store, unit(b"x" * 150) * 4)[0] == 4096


@pytest.mark.parametrize(
    ("batch", "complaint"),
    [
        (b"", "empty"),
        (unit(b"")[:-1], "bytes left"),
        (unit(b"a")[:-1], "body length"),
        (unit(b"a") + b"\0", "bytes left"),
        (struct.pack(">iiiii", 30, 0, 0, 0, 1 << 20) + bytes(10), "body length"),
        (struct.pack(">iiiii", 30, 0, 0, 0, -1) + bytes(10), "body length"),
        (struct.pack(">iiiii", 22, 0, 0, 0, 0) + b"\x7f\xff", "properties length"),
        (struct.pack(">iiiii", 22, 0, 0, 0, 0) + b"\xff\xff", "properties length"),
        (struct.pack(">iiiii", 99, 0, 0, 0, 0) + b"\0\0", "size"),
        (unit(b"x" * 5000), "does not fit"),
        (unit(b"x" * 900) * 5, "does not fit"),
    ],
)
def test_a_batch_that_is_none_leaves_nothing(batch: bytes, complaint: str):
    store = opened()
    with pytest.raises(StoreError, match=complaint):
        append_batch(store, batch)
    assert store.queue(b"T", 0).next_offset == 0
    assert store.log.commit_pending() == []


@pytest.mark.parametrize("field", range(3))
def test_numbers_that_fit_no_field_are_refused(field: int):
    store = opened()
    values = [0, 0, 0]
    values[field] = 1 << 31
    flag, sys_flag, times = values
    with pytest.raises(StoreError, match="32-bit"):
        store.log.append(store.queue(b"T", 0), flag, sys_flag, 1, HOST, 1, times, 0, b"", b"", PropertyScan())
    with pytest.raises(StoreError, match="32767"):
        put(store, properties=b"a\x01" + b"x" * 32766)
    assert store.log.commit_pending() == []


def test_a_failed_write_takes_the_turn_back():
    disk = SimDisk(0)
    store = opened(disk)
    offsets = fill(store, 5)
    end = store.log.end
    disk.fail_writes = True
    put(store, properties=b"UNIQ_KEY\x01lost\x02")
    put(store, queue_id=1)
    with pytest.raises(StoreWriteError, match="space"):
        store.log.commit_pending()
    assert store.log.end == store.log.written == end
    assert [int(q.next_offset) for q in store.queues.all()] == [5, 0]
    assert store.refusal is not None
    assert bodies(store, store.find_queue(b"T", 0)) == [b"0", b"1", b"2", b"3", b"4"]
    disk.fail_writes = False
    assert fill(store, 1, first=5) == [end]
    assert store.refusal is None
    assert store.query_keys(b"T", b"lost", 10, 0, 1 << 60) == []
    assert len(offsets) == 5


def test_a_turn_over_several_files_is_taken_back_as_well():
    disk = SimDisk(0)
    store = opened(disk)
    fill(store, 2)
    end = store.log.end
    for _ in range(6):
        put(store, body=b"x" * 1500)
    assert store.log.end > 8192
    disk.fail_writes = True
    with pytest.raises(StoreWriteError):
        store.log.commit_pending()
    assert store.log.end == end
    disk.fail_writes = False
    fill(store, 3, first=2)
    assert bodies(store, store.find_queue(b"T", 0)) == [b"0", b"1", b"2", b"3", b"4"]


def test_no_room_for_the_next_file_refuses_one_message_only():
    disk = SimDisk(0)
    store = opened(disk)
    put(store, body=b"x" * 3000)
    disk.fail_writes = True
    with pytest.raises(StoreWriteError, match="no next commit log file"):
        put(store, body=b"x" * 3000)
    disk.fail_writes = False
    put(store, body=b"small")
    store.log.commit_pending()
    assert [len(body) for body in bodies(store, store.find_queue(b"T", 0))] == [3000, 5]


@pytest.mark.parametrize("filled", [100, 4000])
def test_a_store_finds_out_by_itself_that_there_is_room_again(filled: int):
    disk = SimDisk(0)
    store = opened(disk)
    put(store, body=b"x" * (filled - 92))
    store.log.commit_pending()
    disk.fail_writes = True
    with suppress(StoreWriteError):  # Where the file is full, the append itself fails.
        put(store)
    if store.log.end > store.log.written:
        with pytest.raises(StoreWriteError):
            store.log.commit_pending()
    store.upkeep(BEGIN_MS)
    assert store.refusal is not None
    disk.fail_writes = False
    store.upkeep(BEGIN_MS + 5000)
    assert store.refusal is None
    fill(store, 1)


def test_a_store_says_that_it_takes_nothing_as_long_as_that_is_so():
    disk = SimDisk(0)
    store = opened(disk)
    fill(store, 1)
    store.upkeep(BEGIN_MS)  # no units of queues wait that could not be written either
    disk.fail_writes = True
    put(store)
    with pytest.raises(StoreWriteError):
        store.log.commit_pending()
    for seconds in range(1, 4):
        store.upkeep(BEGIN_MS + seconds * 5000)
        assert store.refusal is not None
    disk.fail_writes = False
    store.upkeep(BEGIN_MS - 3_600_000)  # the clock was set back meanwhile
    assert store.refusal is None


def test_readers_wait_for_the_flush_under_sync_flush():
    store = opened(flush_disk_type="SYNC_FLUSH")
    queue = store.queue(b"T", 0)
    put(store)
    assert store.log.commit_pending() == []
    first_end = store.log.written
    put(store)
    put(store, queue_id=1)
    store.log.commit_pending()
    assert (queue.written_offset, queue.max_offset) == (2, 0)
    assert store.log.confirm(first_end) == [queue]
    assert queue.max_offset == 1
    grown = store.log.confirm(store.log.flush())
    assert [(int(q.queue_id), int(q.max_offset)) for q in grown] == [(0, 2), (1, 1)]
    assert store.log.confirm(store.log.written) == []


def test_confirming_reads_units_that_went_to_files_meanwhile():
    store = opened(flush_disk_type="SYNC_FLUSH")
    queue = store.queue(b"T", 0)
    ends = []
    for _ in range(30):
        put(store)
        store.log.commit_pending()
        ends.append(int(store.log.written))
    store.upkeep(BEGIN_MS)
    assert queue.tail is None
    for n, end in enumerate(ends):
        store.log.confirm(end)
        assert queue.max_offset == n + 1


def test_units_that_cannot_be_read_hide_no_message_for_long(monkeypatch: pytest.MonkeyPatch):
    disk = SimDisk(0)
    store = opened(disk, flush_disk_type="SYNC_FLUSH")
    queue = store.queue(b"T", 0)
    put(store)
    store.log.commit_pending()
    first_end = store.log.written
    put(store)
    put(store, queue_id=1)
    store.log.commit_pending()
    store.upkeep(BEGIN_MS)

    def unreadable(fd: int, size: int, offset: int) -> bytes:
        raise OSError(errno.EIO, "I/O error")

    with monkeypatch.context() as broken:
        broken.setattr(disk, "pread", unreadable)
        assert store.log.confirm(first_end) == []
    put(store)
    store.log.commit_pending()
    grown = store.log.confirm(store.log.flush())
    assert [(int(q.queue_id), int(q.max_offset)) for q in grown] == [(0, 3), (1, 1)]
    assert bodies(store, queue) == [b"body"] * 3


def test_tails_are_written_in_rounds():
    store = opened()
    for queue_id in range(5):
        fill(store, 1, queue_id=queue_id)
    last = store.log.last_record
    assert store.log.stored_record < last
    assert not store.log.write_tails(3)
    fill(store, 1, queue_id=9)
    assert not store.log.write_tails(3), "the round has ended, another queue got messages meanwhile"
    assert store.log.stored_record == last
    assert store.log.write_tails(3)
    assert store.log.stored_record == store.log.last_record
    assert all(queue.tail is None for queue in store.queues.all())


def test_a_queue_file_gets_its_length_though_not_at_once(monkeypatch: pytest.MonkeyPatch):
    """Java refuses a directory with a short one, and a start would make the queue anew from the whole log."""
    disk = SimDisk(0)
    store = opened(disk)
    fill(store, 8)
    store.upkeep(BEGIN_MS)
    fill(store, 1, first=8)

    def full(fd: int, size: int) -> None:
        raise OSError(errno.EDQUOT, "quota exceeded")

    with monkeypatch.context() as broken:
        broken.setattr(disk, "truncate", full)
        store.upkeep(BEGIN_MS + 1000)
        assert store.refusal is not None
    store.upkeep(BEGIN_MS + 2000)
    assert store.refusal is None
    assert [disk.path_bytes(f"/store/consumequeue/T/0/{at:020d}") for at in (0, 160)] == [160, 160]


def test_queue_files_that_cannot_be_written_refuse_sends_until_they_can():
    disk = SimDisk(0)
    store = opened(disk)
    fill(store, 3)
    disk.fail_writes = True
    store.upkeep(BEGIN_MS)
    assert "consume queue" in (store.refusal or "")
    put(store)
    with pytest.raises(StoreWriteError):
        store.log.commit_pending()
    assert len(bodies(store, store.find_queue(b"T", 0))) == 3
    disk.fail_writes = False
    store.upkeep(BEGIN_MS + 5000)
    assert store.refusal is None
    fill(store, 1, first=3)
    assert len(bodies(store, store.find_queue(b"T", 0))) == 4


def test_the_next_file_is_asked_for_when_half_is_full():
    store = opened()
    put(store, body=b"x" * 1000)
    store.log.commit_pending()
    assert not store.log.files.spare_wanted
    put(store, body=b"x" * 1000)
    store.log.commit_pending()
    assert store.log.files.spare_wanted
    for job in store.upkeep(BEGIN_MS):
        job()
    assert store.log.files.spare is not None
    put(store, body=b"x" * 3000)
    store.log.commit_pending()
    assert (store.log.files.spare, len(store.log.files.segments)) == (None, 2)


def test_the_record_on_disk_is_the_record_read():
    disk = SimDisk(0)
    store = opened(disk)
    put(store, body=b"hello", properties=b"a\x01b\x02")
    store.log.commit_pending()
    data = disk.read_file("/store/commitlog/00000000000000000000")
    assert data is not None
    assert decode_record(data).body == b"hello"


def test_a_spare_that_someone_deleted_is_not_written():
    disk = SimDisk(0)
    store = opened(disk)
    put(store, body=b"x" * 3000)
    store.log.commit_pending()
    store.log.files.allocate_spare()
    del disk.names["/store/commitlog/00000000000000004096"]
    put(store, body=b"x" * 3000)
    store.log.commit_pending()
    disk.kill()
    assert len(bodies(opened(disk), opened(disk).find_queue(b"T", 0))) == 2
