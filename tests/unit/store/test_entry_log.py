"""A commit log whose records are entries: places foreseen, what is visible when, roles."""

from __future__ import annotations

import random
import struct

import pytest
from tests.unit.store.replicas import FILE_BYTES, Replica
from tests.unit.store.stores import BEGIN_MS, HOST, bodies, records

from ledgermq.message.batch import BatchUnit, encode_batch
from ledgermq.message.record import MAGIC_V1, decode_record, record_bytes
from ledgermq.store.entry_log import NOT_LEADING
from ledgermq.store.errors import StoreError, StoreWriteError
from ledgermq.store.reading import GetStatus

HEAD = 48
BODY_MAX = FILE_BYTES - 2 * HEAD - record_bytes(b"T", HOST, HOST, b"", b"")
"""The largest body that an entry takes in files of this size."""


def leader() -> Replica:
    replica = Replica()
    replica.lead(1)
    return replica


def batch_of(sizes: list[int]) -> bytes:
    return encode_batch(
        BatchUnit(n, b"%d" % n + b"x" * size, b"UNIQ_KEY\x01u%d\x02TAGS\x01t\x02" % n)
        for n, size in enumerate(sizes)
    )


def put_batch(replica: Replica, batch: bytes, queue_id: int = 0) -> list[int]:
    queue = replica.store.queue(b"T", queue_id)
    offsets = replica.log.append_batch(queue, 0, BEGIN_MS, HOST, BEGIN_MS, 0, batch)
    return [offset for (offset,) in struct.iter_unpack(">q", offsets)]


# ---- where entries will lie ----


@pytest.mark.parametrize("left", [*range(40, 320), FILE_BYTES - 48])
def test_an_entry_lies_where_it_was_foreseen_whatever_room_a_file_has_left(left: int):
    replica = leader()
    # Bring the end to `left` bytes before the end of the file, as far as entries allow.
    fixed = HEAD + record_bytes(b"T", HOST, HOST, b"", b"")
    fill = FILE_BYTES - replica.ledger.end_pos - left - fixed
    foreseen = [replica.put(body=b"f" * fill)] if fill >= 0 else []
    foreseen += [replica.put(body=b"b" * size) for size in (0, 1, 80)]
    foreseen_end = int(replica.log.end)
    positions = replica.propose()
    assert foreseen == [pos + HEAD for pos in positions]
    assert foreseen_end == replica.ledger.end_pos


@pytest.mark.parametrize("first", range(0, BODY_MAX + 1, 400))
def test_every_body_size_is_foreseen(first: int):
    replica = leader()
    for size in range(first, min(first + 400, BODY_MAX + 1), 3):
        at = [replica.put(body=b"b" * size), replica.put(body=b"")]
        assert at == [pos + HEAD for pos in replica.propose()]
        assert replica.log.end == replica.ledger.end_pos


@pytest.mark.parametrize("left", [*range(40, 320, 7), FILE_BYTES - 48])
def test_the_record_that_opens_a_term_knows_its_place_and_enters_no_queue(left: int):
    replica = leader()
    fixed = HEAD + record_bytes(b"T", HOST, HOST, b"", b"")
    replica.put(body=b"f" * max(0, FILE_BYTES - replica.ledger.end_pos - left - fixed))
    replica.propose()
    replica.apply()
    ledger = replica.ledger
    body = replica.log.opening_record(b"opening", ledger.end_pos, BEGIN_MS)
    [pos] = ledger.append_bodies(ledger.last_index + 1, ledger.last_term, [body])
    assert decode_record(body, 0).log_offset == pos + HEAD
    assert replica.apply() == []
    queue = replica.store.find_queue(b"opening", 0)
    assert queue is None or queue.max_offset == 0


@pytest.mark.parametrize("size", [BODY_MAX + 1, BODY_MAX + 100, 70_000])
def test_what_fits_no_entry_is_refused_and_changes_nothing(size: int):
    replica = leader()
    end = replica.log.end
    with pytest.raises(StoreError, match="no entry of the group's log: allowed are 4000"):
        replica.put(body=b"b" * size)
    assert replica.log.end == end
    assert replica.log.take_bodies() == []
    replica.put()
    replica.propose()
    assert [queue.topic for queue in replica.apply()] == [b"T"]


def test_many_turns_lie_where_they_were_foreseen():
    rng = random.Random(1)
    replica = leader()
    for _ in range(60):
        foreseen = [
            replica.put(b"T", rng.randrange(3), rng.randbytes(rng.choice((0, 7, 90, 700, 1900))))
            for _ in range(rng.randint(1, 5))
        ]
        assert foreseen == [pos + HEAD for pos in replica.propose()]
        assert replica.log.end == replica.ledger.end_pos
    replica.apply()
    assert sum(queue.max_offset for queue in replica.store.queues.all()) == replica.ledger.last_index


@pytest.mark.parametrize("sizes", [[1500, 1500, 1500, 20], [BODY_MAX]])
def test_a_batch_that_may_hold_what_fits_no_entry_is_refused_as_a_whole(sizes: list[int]):
    replica = leader()
    end = replica.log.end
    with pytest.raises(StoreError, match="no entry of the group's log: allowed are 4000"):
        put_batch(replica, batch_of(sizes))
    assert replica.log.take_bodies() == []
    assert (replica.log.end, replica.store.queue(b"T", 0).next_offset) == (end, 0)


@pytest.mark.parametrize(
    "sizes", [[0], [10] * 28, [10] * 60, [BODY_MAX - 800, 5], [300] * 9, [1300, 0, 1300, 0]]
)
def test_each_message_of_a_batch_is_an_entry(sizes: list[int]):
    replica = leader()
    replica.put(body=b"some room is gone" * 100)
    before = replica.put(body=b"before")
    offsets = put_batch(replica, batch_of(sizes))
    assert [before, *offsets] == [pos + HEAD for pos in replica.propose()][1:]
    replica.apply()
    queue = replica.store.queue(b"T", 0)
    assert bodies(replica.store, queue)[1:] == [
        b"before",
        *(b"%d" % n + b"x" * size for n, size in enumerate(sizes)),
    ]
    for n in range(len(sizes)):
        record = replica.store.record_at(queue, n + 2)
        assert record is not None
        assert (record.log_offset, record.queue_offset, record.flag) == (offsets[n], n + 2, n)
        assert offsets[n] in replica.store.query_keys(b"T", b"u%d" % n, 9, 0, 1 << 60)


def test_a_damaged_batch_is_refused_as_a_whole():
    replica = leader()
    end = replica.log.end
    for batch in (b"", b"\0" * 30, batch_of([5, 5])[:-1]):
        with pytest.raises(StoreError, match="batch"):
            put_batch(replica, batch)
    assert replica.log.take_bodies() == []
    assert (replica.log.end, replica.store.queue(b"T", 0).next_offset) == (end, 0)


# ---- what is seen when ----


def test_nothing_is_seen_before_it_is_applied():
    replica = leader()
    properties = b"UNIQ_KEY\x01k1\x02"
    at = replica.put(properties=properties)
    queue = replica.store.queue(b"T", 0)
    replica.propose()
    assert (queue.next_offset, queue.max_offset, queue.written_offset) == (1, 0, 0)
    assert replica.store.get(queue, 0, 32, 1 << 20).status is GetStatus.NO_MESSAGE_IN_QUEUE
    assert replica.store.read_at(at) is None
    assert replica.store.query_keys(b"T", b"k1", 9, 0, 1 << 60) == []
    assert replica.store.max_log_offset <= at
    assert replica.apply() == [queue]
    assert replica.store.get(queue, 0, 32, 1 << 20).count == 1
    assert replica.store.read_at(at) is not None
    assert replica.store.query_keys(b"T", b"k1", 9, 0, 1 << 60) == [at]


def test_a_pull_takes_the_records_and_not_the_heads_between_them():
    replica = leader()
    for n in range(100):
        replica.put(b"T", n % 2, b"%d" % n)
    replica.propose()
    replica.apply()
    for queue_id in (0, 1):
        queue = replica.store.queue(b"T", queue_id)
        result = replica.store.get(queue, 3, 20, 1 << 20)
        found = list(records(result.payload))
        assert result.count == len(found) == 20
        assert [record.queue_offset for record in found] == list(range(3, 23))
        assert [record.body for record in found] == [b"%d" % (queue_id + 2 * n) for n in range(3, 23)]
        assert result.next_offset == 23


def test_grown_queues_are_told_once():
    replica = leader()
    for n in range(9):
        replica.put(b"T", n % 3)
    replica.propose()
    grown = replica.apply()
    assert sorted(int(queue.queue_id) for queue in grown) == [0, 1, 2]
    assert replica.apply() == []


def test_a_follower_and_a_recovery_make_what_the_leader_made():
    rng = random.Random(2)
    first = leader()
    for n in range(150):
        properties = b"UNIQ_KEY\x01k%d\x02TAGS\x01%s\x02" % (n, rng.choice((b"a", b"b")))
        flag = rng.choice((0, 0, 0, 4, 8, 12))
        body = rng.randbytes(rng.choice((0, 20, 500)))
        first.put(rng.choice((b"T", b"U")), rng.randrange(3), body, properties, flag)
        if rng.random() < 0.3:
            first.propose()
            first.apply()
    first.propose()
    first.apply()
    second = Replica()
    second.copy(first)
    second.apply(max_bytes=300)
    third = Replica()
    third.copy(first)
    third.ledger.flush()
    third.ledger.save_checkpoint(third.ledger.last_index)
    third.kill()
    assert first.queues() == second.queues() == third.queues()
    for n in range(150):
        found = [
            [sorted(replica.store.query_keys(topic, b"k%d" % n, 9, 0, 1 << 60)) for topic in (b"T", b"U")]
            for replica in (first, second, third)
        ]
        assert found[0] == found[1] == found[2]


def test_prepared_and_rolled_back_messages_enter_no_queue():
    replica = leader()
    replica.put(sys_flag=4)
    replica.put(sys_flag=12)
    replica.put(sys_flag=8)
    replica.put()
    replica.propose()
    replica.apply()
    queue = replica.store.queue(b"T", 0)
    assert queue.max_offset == queue.next_offset == 2
    assert [replica.store.record_at(queue, n).sys_flag for n in (0, 1)] == [8, 0]  # type: ignore[union-attr]  # else the test fails


# ---- roles ----


def test_who_does_not_lead_takes_nothing():
    replica = Replica()
    assert replica.store.refusal == NOT_LEADING
    with pytest.raises(StoreWriteError, match="slave"):
        replica.put()
    with pytest.raises(StoreWriteError, match="slave"):
        put_batch(replica, batch_of([1]))
    replica.lead(1)
    assert replica.store.refusal is None
    replica.put()
    replica.log.follow()
    assert replica.store.refusal == NOT_LEADING
    with pytest.raises(StoreWriteError, match="slave"):
        replica.put()


def test_queue_offsets_fall_back_to_what_is_applied_when_the_leadership_is_lost():
    old, new = leader(), Replica()
    for n in range(3):
        old.put(b"T", 0, b"%d" % n)
    old.propose()
    old.apply()
    new.copy(old)
    new.apply()
    for n in range(5):
        old.put(b"T", n % 2, b"lost %d" % n)
    old.propose()
    old.put(b"T", 0, b"not even proposed")
    assert old.store.queue(b"T", 0).next_offset == 7
    old.log.follow()
    assert old.log.take_bodies() == []
    assert [old.store.queue(b"T", n).next_offset for n in (0, 1)] == [3, 0]
    assert old.log.end == old.log.written
    new.lead(2)
    new.put(b"T", 0, b"3")
    new.put(b"T", 1, b"0 of 1")
    new.propose()
    new.apply()
    old.copy(new)
    old.apply()
    assert old.queues() == new.queues()
    assert bodies(old.store, old.store.find_queue(b"T", 0)) == [b"0", b"1", b"2", b"3"]
    assert bodies(old.store, old.store.find_queue(b"T", 1)) == [b"0 of 1"]
    old.lead(3)
    assert old.put(b"T", 0, b"4") == old.propose()[0] + HEAD
    old.apply()
    assert old.store.queue(b"T", 0).max_offset == 5


def test_a_leader_that_falls_back_and_leads_again_gives_the_right_offsets():
    replica = leader()
    replica.put()
    replica.propose()
    replica.log.follow()
    replica.apply()  # what was under way is committed after all
    replica.log.lead(replica.ledger.end_pos)
    assert replica.put(body=b"second") == replica.propose()[0] + HEAD
    replica.apply()
    assert bodies(replica.store, replica.store.find_queue(b"T", 0)) == [b"body", b"second"]


def test_follow_and_lead_may_be_called_twice():
    replica = leader()
    replica.log.follow()
    replica.log.follow()
    replica.log.lead(replica.ledger.end_pos)
    replica.log.lead(replica.ledger.end_pos)
    assert replica.put() == replica.propose()[0] + HEAD


# ---- entries of all kinds ----


def test_entries_without_a_record_are_passed_over():
    replica = leader()
    replica.put()
    replica.propose()
    for body in (b"", b"x", b"y" * 47, b"z" * 300, bytes(91), b"\xff" * 91):
        replica.ledger.append_bodies(replica.ledger.last_index + 1, 1, [body])
    replica.log.lead(replica.ledger.end_pos)
    replica.put(body=b"2")
    replica.propose()
    replica.apply()
    assert bodies(replica.store, replica.store.find_queue(b"T", 0)) == [b"body", b"2"]
    replica.kill()
    replica.apply()
    assert bodies(replica.store, replica.store.find_queue(b"T", 0)) == [b"body", b"2"]


def test_a_record_of_another_place_is_passed_over():
    replica = leader()
    replica.put(body=b"1")
    elsewhere = replica.log.take_bodies()[0]
    replica.ledger.append_bodies(replica.ledger.last_index + 1, 1, [b"before", elsewhere])
    replica.apply()
    replica.log.follow()
    assert replica.store.queue(b"T", 0).max_offset == 0
    replica.kill()
    replica.apply()
    assert replica.queues() == {}


def without_crcs(payload: bytes) -> bytes:
    """The same entries with heads as Java writes them: zeros for both CRCs."""
    made, at = bytearray(payload), 0
    while at < len(made):
        size = struct.unpack_from(">i", made, at + 4)[0]
        made[at + 36 : at + 44] = bytes(8)
        at += size
    return bytes(made)


def test_entries_of_javas_form_are_entries():
    first = leader()
    for n in range(40):
        first.put(b"T", n % 2, b"%d" % n, b"UNIQ_KEY\x01k%d\x02" % n)
    first.propose()
    first.apply()
    second = Replica()
    while second.ledger.last_index < first.ledger.last_index:
        entries = first.ledger.read(second.ledger.last_index + 1, 700)
        second.ledger.append(
            type(entries)(
                entries.first_index,
                entries.last_index,
                entries.first_pos,
                entries.runs,
                without_crcs(entries.payload),
            )
        )
    second.apply()
    assert second.queues() == first.queues()
    second.kill()
    second.apply()
    assert second.queues() == first.queues()


@pytest.mark.parametrize(
    ("field", "at", "value"),
    [
        ("queue id", 12, -1),
        ("magic", 4, 7),
        ("size", 0, 100),
        ("log offset", 28, 99),
    ],
)
def test_a_record_that_cannot_be_is_passed_over(field: str, at: int, value: int):
    replica = leader()
    replica.put(body=b"1")
    replica.put(body=b"2")
    replica.put(body=b"3")
    made = replica.log.take_bodies()
    damaged = bytearray(made[1])
    struct.pack_into(">q" if at == 28 else ">i", damaged, at, value)
    replica.ledger.append_bodies(replica.ledger.last_index + 1, 1, [made[0], bytes(damaged), made[2]])
    replica.apply()
    queue = replica.store.queue(b"T", 0)
    # Its place stays empty, so that offsets mean the same on all replicas.
    assert queue.max_offset == 3
    assert [replica.store.record_at(queue, n) is not None for n in range(3)] == [True, False, True]
    assert bodies(replica.store, queue) == [b"1", b"3"]
    seen = replica.queues()
    replica.kill()
    replica.apply()
    assert replica.queues() == seen


def test_records_of_a_version_with_long_topics():
    replica = leader()
    topic = b"L" * 200
    replica.put(topic, 0, b"long")
    replica.propose()
    replica.apply()
    assert bodies(replica.store, replica.store.find_queue(topic, 0)) == [b"long"]
    record = replica.store.record_at(replica.store.queue(topic, 0), 0)
    assert record is not None
    data = replica.store.reader.read_at(record.log_offset)
    assert data is not None
    assert struct.unpack_from(">i", data, 4)[0] != MAGIC_V1
    assert decode_record(data).topic == topic


def test_a_snapshots_filler_is_passed_over():
    first, second = leader(), Replica()
    for n in range(60):
        first.put(b"T", 0, b"%d" % n)
    first.propose()
    first.apply()
    places = first.entry_places()
    second.ledger.reset(20, 1, places[21])
    second.kill()
    second.ledger.append(first.ledger.read(21, 1 << 20))
    second.apply(max_bytes=500)
    queue = second.store.queue(b"T", 0)
    assert (queue.min_offset, queue.max_offset) == (20, second.ledger.last_index)


def test_a_replica_that_begins_behind_the_logs_beginning():
    """As after a retention: queues begin where the log's messages do."""
    first, second = leader(), Replica()
    for n in range(60):
        first.put(b"T", n % 2, b"%d" % n)
    first.propose()
    first.apply()
    places = first.entry_places()
    index = next(index for index, pos in enumerate(places) if pos >= FILE_BYTES)
    second.ledger.reset(index - 1, 1, places[index])
    second.open()
    while second.ledger.last_index < first.ledger.last_index:
        second.ledger.append(first.ledger.read(second.ledger.last_index + 1, 1 << 20))
    second.apply()
    for queue_id in (0, 1):
        queue, whole = second.store.queue(b"T", queue_id), first.store.queue(b"T", queue_id)
        assert queue.max_offset == whole.max_offset
        assert 0 < queue.min_offset < queue.max_offset
        assert bodies(second.store, queue) == bodies(first.store, whole)[int(queue.min_offset) :]
    seen = second.queues()
    second.kill()
    second.apply()
    assert second.queues() == seen
