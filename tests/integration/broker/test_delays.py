"""Delay levels on a real store, in virtual time: when messages come, and that each comes once."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.integration.broker.disks import FullDisk
from tests.integration.broker.virtual_time import run_virtually

from ledgermq.broker.commits import Commits
from ledgermq.broker.schedule import DELIVER_BATCH, DelayOffsetFile, Scheduler, as_scheduled
from ledgermq.broker.send_frame import SendFrame
from ledgermq.broker.send_path import SendPath
from ledgermq.broker.topics import TopicTable
from ledgermq.broker.traffic import Traffic
from ledgermq.message.delay_levels import DelayLevels
from ledgermq.message.properties import PropertyScan, decode_properties, encode_properties
from ledgermq.runtime.config import BrokerConfig, StoreConfig
from ledgermq.store.consume_queue import ConsumeQueue
from ledgermq.store.disk import Disk, ReadView
from ledgermq.store.message_store import MessageStore

RETRY = "%RETRY%g"
HOST = bytes([127, 0, 0, 1, 0, 0, 0, 9])
HOUR_MS = 3_600_000


class Hand(Executor):
    """Does what it is given when the test says so."""

    def __init__(self) -> None:
        self._given: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._given.append((future, lambda: fn(*args, **kwargs)))
        return future

    def work(self) -> None:
        given, self._given = self._given, []
        for future, action in given:
            future.set_result(action())


class World:
    """What a broker has of delayed messages, on the store in ``folder``."""

    def __init__(
        self, folder: Path, levels: str = "1s 5s", *, sync: bool = False, disk: Disk | None = None
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.clock_is_off_ms = 0
        self.hand = Hand()
        config = StoreConfig(
            store_path_root_dir=str(folder),
            mapped_file_size_commit_log=1024 * 1024,
            message_index_enable=False,
            message_delay_level=levels,
            flush_disk_type="SYNC_FLUSH" if sync else "ASYNC_FLUSH",
            disk_space_warning_level_ratio=100,
        )
        self.store = MessageStore(config, HOST, disk)
        self.store.open()
        self.topics = TopicTable(BrokerConfig(broker_name="b"), 0)
        self.topics.create_for_retry(RETRY, 2, 6, 0, 0)
        self.commits = Commits(self.store.log, self.hand, sync, 5000, self.grown, self.fatal)
        self.path = SendPath(
            self.store.log,
            self.commits,
            cluster="c",
            region="r",
            trace_on=True,
            body_bytes_max=10_000,
            queue_of=self.store.queue,
            traffic_of=lambda topic: Traffic(),
            now_ms=self.now_ms,
        )
        self.levels = DelayLevels(levels)
        self.scheduler = Scheduler(self.levels, self.topics, self.store, self.path, self.commits, self.now_ms)

    def now_ms(self) -> int:
        return 1_700_000_000_000 + round(self.loop.time() * 1000) + self.clock_is_off_ms

    def grown(self, queues: list[ConsumeQueue]) -> None:
        self.scheduler.grown(queues)

    def fatal(self, error: BaseException) -> None:
        raise AssertionError(error)

    def put(self, body: bytes, level: int = 1, queue_id: int = 0, **properties: str) -> None:
        """Store a message that waits; ``properties`` replace those it gets for that."""
        given: dict[str, str] = {}
        target, target_queue_id = as_scheduled(given, RETRY, queue_id, level, self.levels, self.path)
        encoded = encode_properties(given | properties)
        scan = PropertyScan()
        scan.scan(encoded)
        frame = SendFrame()
        frame.born_timestamp = frame.message_flag = frame.sys_flag = frame.reconsume_times = 0
        self.path.put(target, target_queue_id, frame, HOST, body, encoded, scan)
        self.commits.appended()

    def came(self, queue_id: int = 0) -> list[bytes]:
        """What consumers see of the retry topic."""
        queue = self.store.queue(RETRY.encode(), queue_id)
        records = [self.store.record_at(queue, offset) for offset in range(queue.max_offset)]
        return [record.body for record in records if record is not None]

    def close(self) -> DelayOffsetFile:
        self.scheduler.stop()
        self.commits.stop()
        self.hand.work()
        self.store.close()
        return self.scheduler.to_file()


@contextmanager
def world(folder: Path, levels: str = "1s 5s", **options: Any) -> Iterator[World]:
    made = World(folder, levels, **options)
    try:
        made.scheduler.start()
        yield made
    finally:
        made.close()


def test_a_message_comes_when_its_time_is_over(tmp_path: Path) -> None:
    async def test() -> None:
        with world(tmp_path) as here:
            here.put(b"soon", 1, 1)
            here.put(b"later", 2, 0)
            await asyncio.sleep(0.999)
            assert here.came(1) == here.came(0) == []
            await asyncio.sleep(0.002)
            assert here.came(1) == [b"soon"]
            await asyncio.sleep(3.998)
            assert here.came(0) == []
            await asyncio.sleep(0.002)
            assert here.came(0) == [b"later"]
            record = here.store.record_at(here.store.queue(RETRY.encode(), 0), 0)
            assert record is not None
            assert decode_properties(record.properties) == {"REAL_TOPIC": RETRY, "REAL_QID": "0"}

    run_virtually(test())


def test_each_comes_once_and_in_order(tmp_path: Path) -> None:
    async def test() -> None:
        with world(tmp_path) as here:
            count = 3 * DELIVER_BATCH + 5
            for n in range(count):
                here.put(b"%d" % n)
                if n % 100 == 0:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(2)
            assert here.came() == [b"%d" % n for n in range(count)]
            assert here.scheduler.offsets[1] == count
            await asyncio.sleep(10)
            assert len(here.came()) == count

    run_virtually(test())


@pytest.mark.slow
@pytest.mark.parametrize("sync", [False, True])
def test_a_message_that_enters_in_the_turn_of_a_delivery_brings_no_second_one(
    tmp_path: Path, sync: bool
) -> None:
    async def test() -> None:
        with world(tmp_path, sync=sync) as here:

            async def work_on() -> None:
                while True:
                    here.hand.work()
                    await asyncio.sleep(0.0001)

            working = asyncio.ensure_future(work_on())
            for n in range(10):
                here.put(b"a%d" % n)
                await asyncio.sleep(0.001)
            begun = here.loop.time() - 0.01
            for n in range(10):
                # Before the level is looked at, and after: both in the turn that ends with one commit.
                here.loop.call_at(begun + 1 + n / 1000, here.put, b"b%d" % n)
                here.loop.call_at(begun + 1.0000001 + n / 1000, here.put, b"c%d" % n)
            await asyncio.sleep(5)
            working.cancel()
            came = here.came()
            assert len(came) == 30
            assert sorted(came) == sorted(
                b"%s%d" % (word, n) for word in (b"a", b"b", b"c") for n in range(10)
            )

    run_virtually(test())


def test_under_sync_flush_a_delivery_counts_when_it_is_flushed(tmp_path: Path) -> None:
    async def test() -> None:
        with world(tmp_path, sync=True) as here:
            here.put(b"one")
            await asyncio.sleep(0)
            here.hand.work()
            await asyncio.sleep(2)
            assert here.scheduler.offsets.get(1, 0) == 0
            assert here.came() == []
            assert here.store.queue(RETRY.encode(), 0).written_offset == 1
            here.hand.work()
            await asyncio.sleep(0.01)
            assert here.scheduler.offsets == {1: 1}
            assert here.came() == [b"one"]

    run_virtually(test())


def test_a_clock_that_is_set_back_holds_nothing_longer(tmp_path: Path) -> None:
    async def test() -> None:
        with world(tmp_path) as here:
            here.put(b"before")
            await asyncio.sleep(0.5)
            here.clock_is_off_ms -= HOUR_MS
            await asyncio.sleep(0.6)
            assert here.came() == [b"before"]
            here.put(b"after")
            await asyncio.sleep(0.9)
            assert here.came() == [b"before"]
            await asyncio.sleep(0.2)
            assert here.came() == [b"before", b"after"]

    run_virtually(test())


def test_a_clock_that_is_set_forward_delivers_early_at_most(tmp_path: Path) -> None:
    async def test() -> None:
        with world(tmp_path) as here:
            here.put(b"before")
            await asyncio.sleep(0.5)
            here.clock_is_off_ms += HOUR_MS
            await asyncio.sleep(0.51)
            assert here.came() == [b"before"]

    run_virtually(test())


def test_a_restart_goes_on_where_it_was(tmp_path: Path) -> None:
    async def test() -> None:
        with world(tmp_path) as here:
            here.put(b"done", 1)
            here.put(b"waits", 2)
            await asyncio.sleep(2)
        file = here.scheduler.to_file()
        assert file.offset_table == {1: 1}
        await asyncio.sleep(1)
        again = World(tmp_path)
        again.scheduler.load(file)
        again.scheduler.start()
        again.put(b"new", 1)
        await asyncio.sleep(1.9)
        assert again.came() == [b"done", b"new"]
        await asyncio.sleep(0.2)
        assert again.came() == [b"done", b"new", b"waits"]
        again.close()
        # What became due while nobody served it comes at once.
        later = World(tmp_path)
        later.scheduler.load(DelayOffsetFile(file.data_version, {2: 0}))
        await asyncio.sleep(10)
        later.scheduler.start()
        await asyncio.sleep(0.01)
        assert later.came()[-3:] == [b"done", b"new", b"waits"]
        later.close()

    run_virtually(test())


def test_an_offset_beyond_the_queue_misses_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        here = World(tmp_path)
        here.put(b"old", 2)
        await asyncio.sleep(0)
        here.scheduler.load(DelayOffsetFile(here.topics.data_version, {1: 100, 2: 100, 77: 5}))
        here.scheduler.start()
        here.put(b"first", 1)
        here.put(b"second", 2)
        await asyncio.sleep(6)
        assert here.came() == [b"first", b"second"]
        assert here.close().offset_table == {1: 1, 2: 2, 77: 5}

    run_virtually(test())


def test_a_store_that_refuses_is_tried_again(tmp_path: Path) -> None:
    async def test() -> None:
        disk = FullDisk()
        with world(tmp_path, disk=disk) as here:

            async def look_after_store() -> None:
                while True:
                    here.store.upkeep(here.now_ms())
                    await asyncio.sleep(0.25)

            upkeep = asyncio.ensure_future(look_after_store())
            for n in range(3):
                here.put(b"%d" % n)
            await asyncio.sleep(0.5)
            disk.where, disk.error = "commitlog", errno.ENOSPC
            await asyncio.sleep(10)
            assert here.came() == []
            assert here.scheduler.offsets.get(1, 0) == 0
            disk.error = 0
            await asyncio.sleep(3)
            assert here.came() == [b"0", b"1", b"2"]
            assert here.scheduler.offsets[1] == 3
            upkeep.cancel()

    run_virtually(test())


def test_a_message_that_cannot_be_delivered_now_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its topic is to be made again, and the table of topics is full."""

    async def test() -> None:
        with world(tmp_path) as here:
            here.put(b"first")
            here.put(b"poison", REAL_TOPIC="%RETRY%another")
            here.put(b"behind")
            monkeypatch.setattr("ledgermq.broker.topics.TOPICS_MAX", 1)
            await asyncio.sleep(3)
            here.put(b"one more")  # looks at the level from where it is written
            await asyncio.sleep(3)
            assert (here.came(), here.scheduler.offsets) == ([b"first"], {1: 1})
            monkeypatch.undo()
            await asyncio.sleep(3)
            assert here.came() == [b"first", b"behind", b"one more"]
            queue = here.store.find_queue(b"%RETRY%another", 0)
            assert queue is not None
            assert queue.max_offset == 1

    run_virtually(test())


class Unreadable(Disk):
    broken = False

    def map_read(self, fd: int, size: int) -> ReadView:
        if self.broken:
            raise OSError(errno.EIO, "Input/output error")
        return super().map_read(fd, size)


def test_a_read_error_ends_no_level(tmp_path: Path) -> None:
    async def test() -> None:
        disk = Unreadable()
        with world(tmp_path, disk=disk) as here:
            disk.broken = True
            here.put(b"one")
            await asyncio.sleep(5)
            disk.broken = False
            await asyncio.sleep(2)
            assert here.came() == [b"one"]

    run_virtually(test())


def test_what_cannot_be_delivered_holds_up_nobody(tmp_path: Path) -> None:
    async def test() -> None:
        with world(tmp_path) as here:
            here.put(b"gone", REAL_TOPIC="Unknown")
            here.put(b"nameless", REAL_TOPIC="a b")
            here.put(b"no topic", REAL_TOPIC="")
            here.put(b"odd queue", REAL_QID="²")
            here.put(b"no queue", REAL_QID="")
            here.put(b"far queue", REAL_QID="77")
            here.put(b"long", k="v" * 32_600)
            here.put(b"good")
            await asyncio.sleep(2)
            assert here.came(0) == [b"odd queue", b"no queue", b"long", b"good"]
            assert here.came(1) == [b"far queue"]
            assert here.scheduler.offsets[1] == 8

    run_virtually(test())


def test_a_topic_without_queues_keeps_its_message_in_the_first(tmp_path: Path) -> None:
    async def test() -> None:
        with world(tmp_path) as here:
            topic = here.topics.get(RETRY)
            topic.read_queue_nums = topic.write_queue_nums = 0
            here.put(b"one", queue_id=1)
            await asyncio.sleep(2)
            assert here.came(0) == [b"one"]

    run_virtually(test())


def test_levels_may_be_many_or_few(tmp_path: Path) -> None:
    async def test() -> None:
        with world(tmp_path, " ".join(f"{n}s" for n in range(40))) as here:
            here.put(b"last", 99)
            here.put(b"at once", 1)
            await asyncio.sleep(0.01)
            assert here.came() == [b"at once"]
            await asyncio.sleep(40)
            assert here.came() == [b"at once", b"last"]

    run_virtually(test())


def test_nothing_is_delivered_after_the_stop(tmp_path: Path) -> None:
    async def test() -> None:
        with world(tmp_path) as here:
            here.put(b"one")
            await asyncio.sleep(0.5)
            here.scheduler.stop()
            here.put(b"two")
            await asyncio.sleep(5)
            assert here.came() == []

    run_virtually(test())
