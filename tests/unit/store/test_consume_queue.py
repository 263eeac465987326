"""One consume queue: its offsets, its tail, its files."""

from __future__ import annotations

import struct

import pytest
from tests.crash.store.sim_disk import SimDisk

from ledgermq.message.hashing import hash_more
from ledgermq.store.consume_queue import ConsumeQueue
from ledgermq.store.queue_files import QueueFiles


def queue(disk: SimDisk | None = None, file_units: int = 8) -> ConsumeQueue:
    return ConsumeQueue(b"T", 0, QueueFiles(disk or SimDisk(0), "/cq", file_units * 20))


def add(q: ConsumeQueue, count: int, publish: bool = True) -> None:
    for _ in range(count):
        n = int(q.next_offset)
        q.add(n * 100, 100, n)
    if publish:
        q.written(int(q.next_offset) * 100)
        q.max_offset = q.written_offset


def read(q: ConsumeQueue, offset: int, count: int) -> list[int]:
    """Tag codes, which are the queue offsets here."""
    return [tag for _, _, tag in struct.iter_unpack(">qiq", q.units(offset, count))]


def test_readers_see_what_is_published_only():
    q = queue()
    add(q, 3)
    add(q, 2, publish=False)
    assert read(q, 0, 100) == [0, 1, 2]
    assert read(q, 2, 1) == [2]
    for offset, count in ((3, 5), (-1, 5), (0, 0), (0, -1), (1 << 60, 1)):
        assert read(q, offset, count) == []


def test_rolling_back_leaves_what_was_written():
    q = queue()
    add(q, 3)
    add(q, 4, publish=False)
    q.roll_back()
    assert (q.next_offset, q.tail_bytes()) == (3, 60)
    add(q, 1)
    assert read(q, 0, 10) == [0, 1, 2, 3]


def test_rolling_back_to_nothing_gives_the_tail_back():
    q = queue()
    add(q, 4, publish=False)
    q.roll_back()
    assert (q.tail, q.next_offset) == (None, 0)


def test_units_in_files_in_memory_and_across():
    q = queue()
    for n in range(40):
        add(q, 1)
        if n in (2, 9, 17, 30):
            q.files.write_tail(q)
            assert q.tail is None
    for offset in range(40):
        for count in (1, 3, 20):
            got = read(q, offset, count)
            assert got == list(range(offset, offset + len(got)))
            file_end = offset - offset % 8 + 8
            wanted = min(offset + count, 40)
            assert len(got) == (wanted if file_end >= q.stored_offset else min(wanted, file_end)) - offset


def test_a_tail_keeps_units_that_are_not_written_yet():
    q = queue()
    add(q, 3)
    add(q, 2, publish=False)
    q.files.write_tail(q)
    assert (q.stored_offset, q.tail_bytes()) == (3, 40)
    q.roll_back()
    assert (q.tail, read(q, 0, 9)) == (None, [0, 1, 2])


def test_confirming_publishes_whole_messages():
    q = queue()
    add(q, 5, publish=False)
    q.written(500)
    assert not q.confirm(99)
    assert q.max_offset == 0
    assert not q.confirm(299)
    assert q.max_offset == 2
    assert q.confirm(500)
    assert q.max_offset == 5


def test_an_index_hash_is_that_of_topic_and_number_sign():
    assert queue().index_hash == hash_more(0, b"T#", 0, 2)


def test_a_failed_write_keeps_the_tail():
    disk = SimDisk(0)
    q = queue(disk)
    add(q, 20)
    disk.fail_writes = True
    with pytest.raises(OSError, match="space"):
        q.files.write_tail(q)
    assert q.stored_offset == 0
    assert read(q, 0, 100) == list(range(20))
    disk.fail_writes = False
    q.files.write_tail(q)
    assert (q.stored_offset, q.tail) == (20, None)
    assert read(q, 8, 100) == list(range(8, 16))


def test_a_write_that_fails_in_the_second_file_keeps_the_rest():
    disk = SimDisk(0)
    q = queue(disk)
    add(q, 20)
    written = 0
    pwrite = disk.pwrite

    def second_fails(fd: int, data: bytes, offset: int) -> None:
        nonlocal written
        written += 1
        if written == 2:
            raise OSError(28, "no space left on device")
        pwrite(fd, data, offset)

    disk.pwrite = second_fails  # type: ignore[method-assign]  # it fails as the test says
    with pytest.raises(OSError, match="space"):
        q.files.write_tail(q)
    assert (q.stored_offset, q.tail_bytes()) == (8, 12 * 20)
    q.files.write_tail(q)
    assert [read(q, at, 8) for at in (0, 8, 16)] == [list(range(8)), list(range(8, 16)), list(range(16, 20))]


def test_a_queue_entered_in_the_middle_has_pre_blank_units():
    disk = SimDisk(0)
    q = queue(disk)
    q.set_position(13, 13, 0)
    add(q, 2)
    q.files.write_tail(q)
    data = disk.read_file(f"/cq/T/0/{8 * 20:020d}")
    assert data is not None
    assert len(data) == 160
    units = list(struct.iter_unpack(">qiq", data))
    assert units[:5] == [(0, 0x7FFFFFFF, 0)] * 5
    assert units[5:] == [(1300, 100, 13), (1400, 100, 14), (0, 0, 0)]
    assert (q.first_offset, read(q, 13, 9)) == (8, [13, 14])


def test_few_files_stay_open():
    disk = SimDisk(0)
    files = QueueFiles(disk, "/cq", 160)
    queues = [ConsumeQueue(b"T%d" % n, 0, files) for n in range(400)]
    for q in queues:
        add(q, 1)
        files.write_tail(q)
    assert len(disk.open_files) <= 256
    for q in queues:
        assert read(q, 0, 1) == [0]
    files.close()
    assert disk.open_files == {}


def test_a_deleted_queue_writes_nothing_more():
    disk = SimDisk(0)
    q = queue(disk)
    add(q, 3)
    q.deleted = True
    q.files.write_tail(q)
    assert disk.names == {}
