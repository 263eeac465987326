"""Which messages carry a key."""

from __future__ import annotations

import time

import pytest
from tests.crash.store.sim_disk import SimDisk
from tests.unit.store.stores import BEGIN_MS, fill, opened, put

from ledgermq.store.errors import StoreWriteError
from ledgermq.store.key_index import file_name
from ledgermq.store.message_store import MessageStore

EVER = (0, 1 << 60)


def ask(store: MessageStore, key: bytes, topic: bytes = b"T", tag: bool = False) -> list[int]:
    return store.query_keys(topic, key, 100, *EVER, tag=tag)


def test_unique_key_each_word_of_keys_and_tags_are_indexed():
    store = opened()
    at = put(store, properties=b"KEYS\x01order-1  user-2 \x02TAGS\x01paid\x02UNIQ_KEY\x01U1\x02")
    store.log.commit_pending()
    for key in (b"U1", b"order-1", b"user-2"):
        assert ask(store, key) == [at]
    assert ask(store, b"paid", tag=True) == [at]
    for key in (b"paid", b"", b"order-1  user-2", b"u1"):
        assert ask(store, key) == []
    assert ask(store, b"U1", topic=b"Other") == []
    assert store.index is not None
    assert store.index.files[0].count == 5, "four entries"


def test_rolled_back_messages_are_not_indexed():
    store = opened()
    properties = b"UNIQ_KEY\x01U\x02"
    kept = [put(store, properties=properties, sys_flag=flag) for flag in (0, 4, 8)]
    put(store, properties=properties, sys_flag=0xC)
    store.log.commit_pending()
    assert ask(store, b"U") == kept[::-1]


def test_non_ascii_keys_hash_as_java_s():
    store = opened()
    at = put(store, properties="KEYS\x01заказ 订单\x02".encode())
    store.log.commit_pending()
    assert ask(store, "заказ".encode()) == ask(store, "订单".encode()) == [at]


def test_keys_of_a_turn_taken_back_are_forgotten():
    disk = SimDisk(0)
    store = opened(disk)
    fill(store, 1)
    disk.fail_writes = True
    put(store, properties=b"UNIQ_KEY\x01lost\x02")
    with pytest.raises(StoreWriteError):
        store.log.commit_pending()
    disk.fail_writes = False
    fill(store, 1, first=1)
    assert ask(store, b"lost") == []
    assert len(ask(store, b"k1")) == 1


def test_files_follow_one_another_when_full():
    store = opened()
    offsets = fill(store, 100)
    assert store.index is not None
    names = [file.path.rpartition("/")[2] for file in store.index.files]
    assert len(names) == 6
    assert names == sorted(set(names))
    for n in (0, 19, 20, 50, 99):
        assert ask(store, b"k%d" % n) == [offsets[n]]
    assert len(ask(store, b"odd", tag=True)) == 50
    assert store.query_keys(b"T", b"odd", 3, *EVER, tag=True) == [offsets[99], offsets[97], offsets[95]]


def test_one_turn_may_fill_several_files():
    store = opened()
    offsets = [put(store, properties=b"UNIQ_KEY\x01k%d\x02" % n) for n in range(150)]
    store.log.commit_pending()
    assert [ask(store, b"k%d" % n) for n in range(150)] == [[offset] for offset in offsets]


def test_asking_for_a_span_of_time():
    store = opened()
    offsets = fill(store, 60)
    begin, end = BEGIN_MS + 10_000, BEGIN_MS + 14_000
    assert store.query_keys(b"T", b"even", 100, begin, end, tag=True) == [
        offsets[14],
        offsets[12],
        offsets[10],
    ]


def test_a_long_search_lets_others_have_their_turn():
    """A key of every message makes a chain of as many entries, and one event loop serves everybody."""
    store = opened(max_index_num=1000)
    offsets = fill(store, 600)
    index = store.index
    assert index is not None
    at = store.queue(b"T", 0).index_hash
    found: list[int] = []
    turns = sum(1 for _ in index.find(at, b"even", 3, 0, BEGIN_MS + 3_000, True, found, 0.0))
    assert (turns, found) == (5, [offsets[2], offsets[0]])


def test_a_search_ends_with_a_file_that_is_given_up_meanwhile():
    disk = SimDisk(0)
    store = opened(disk, max_index_num=1000)
    fill(store, 700)
    index = store.index
    assert index is not None
    assert len(index.files) == 2
    found: list[int] = []
    search = index.find(store.queue(b"T", 0).index_hash, b"even", 999, 0, 1 << 60, True, found, 0.0)
    while len(found) < 150:
        next(search)
    for path in index.detach_before(index.files[0].end_offset + 1):
        disk.unlink(path)
    for _ in search:
        pass
    assert 150 <= len(found) < 350


def test_deleted_messages_are_not_answered():
    store = opened()
    offsets = fill(store, 5)
    store.log.files.segments[0].base += 4096
    assert ask(store, b"k1") == []
    assert offsets[1] < 4096


def test_a_store_without_index():
    store = opened(message_index_enable=False)
    fill(store, 3)
    assert ask(store, b"k1") == []


def test_file_names_are_local_times():
    moment = time.mktime((2024, 2, 29, 13, 5, 9, 0, 0, -1)) + 0.042
    assert file_name(moment + 0.0001) == "20240229130509042"
