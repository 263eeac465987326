"""Any sequence of sends, commits, flushes, restarts and kills, against a list."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.crash.store.sim_disk import SimDisk
from tests.unit.store.stores import BEGIN_MS, bodies, opened, put

from ledgermq.store.errors import StoreWriteError

QUEUES = st.sampled_from([(b"A", 0), (b"A", 1), (b"B", 0), (b"Bcd", 7)])
Key = tuple[bytes, int]


class StoreMachine(RuleBasedStateMachine):
    """``gathered`` is what this turn appended, ``written`` what was committed, in order of the log."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = SimDisk(1)
        self.store = opened(self.disk)
        self.written: list[tuple[Key, bytes]] = []
        self.gathered: list[tuple[Key, bytes]] = []
        self.minutes = 0

    @rule(
        queue=QUEUES, size=st.sampled_from([0, 1, 100, 1500, 3900]), sys_flag=st.sampled_from([0, 0, 0, 4, 8])
    )
    def append(self, queue: Key, size: int, sys_flag: int) -> None:
        body = b"%d:" % (len(self.written) + len(self.gathered)) + b"x" * size
        put(self.store, *queue, body, b"UNIQ_KEY\x01%s\x02" % body[:8], sys_flag=sys_flag)
        if sys_flag != 4:
            self.gathered.append((queue, body))

    @rule()
    def commit(self) -> None:
        grown = {(queue.topic, int(queue.queue_id)) for queue in self.store.log.commit_pending()}
        assert grown == {queue for queue, _ in self.gathered}
        self.written += self.gathered
        self.gathered = []

    @rule()
    def fail_to_commit(self) -> None:
        if self.store.log.end == self.store.log.written:
            return
        self.disk.fail_writes = True
        try:
            self.store.log.commit_pending()
        except StoreWriteError:
            self.gathered = []
        self.disk.fail_writes = False
        assert self.gathered == []

    @rule()
    def upkeep(self) -> None:
        self.minutes += 1
        for job in self.store.upkeep(BEGIN_MS + self.minutes * 61_000):
            job()

    @rule()
    def flush(self) -> None:
        self.store.log.confirm(self.store.log.flush())

    @rule()
    def restart(self) -> None:
        self.commit()
        self.store.close()
        self.disk.kill()
        self.store = opened(self.disk)

    @rule()
    def kill(self) -> None:
        self.gathered = []
        self.disk.kill()
        self.store = opened(self.disk)

    @invariant()
    def readers_see_what_was_written(self) -> None:
        expected: dict[Key, list[bytes]] = {}
        for queue, body in self.written:
            expected.setdefault(queue, []).append(body)
        for queue, messages in expected.items():
            assert bodies(self.store, self.store.find_queue(*queue)) == messages

    @invariant()
    def offsets_are_in_order(self) -> None:
        log = self.store.log
        assert log.flushed <= log.written <= log.end
        for queue in self.store.queues.all():
            assert 0 <= queue.min_offset <= queue.max_offset <= queue.written_offset <= queue.next_offset
            assert queue.stored_offset <= queue.written_offset


StoreMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestStore = StoreMachine.TestCase
