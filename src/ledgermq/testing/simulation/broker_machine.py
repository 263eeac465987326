"""A broker's store as a member's state machine: real queues, index and recovery on the simulated disk.

Messages come as a turn of a broker's loop brings them: gathered first, proposed together a moment later. What
the driver owes the store is done here as ``broker/group_member.py`` does it:

* A leader takes messages once all of its log is applied, and its end is an entry of its own term.
* It takes none any more when it stops leading, or the group refuses something.
* What the store wants done by a worker is done later, one job after the other.

Rules of this file: time is the run's, accelerated for the store, so that it does within seconds what it does
within minutes.
"""

from __future__ import annotations

import errno
import io
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from random import Random
from typing import Final, NamedTuple

from ledgermq.broker.committed_log import committed_log
from ledgermq.broker.group_member import GroupMachine
from ledgermq.dledger.file_ledger import FileLedger
from ledgermq.dledger.ledger import Ledger
from ledgermq.dledger.messages import NO_INDEX
from ledgermq.message import names
from ledgermq.message.batch import BatchUnit, encode_batch
from ledgermq.message.properties import PropertyScan
from ledgermq.message.record import Record
from ledgermq.runtime.config import StoreConfig
from ledgermq.store.consume_queue import ConsumeQueue
from ledgermq.store.errors import StoreError, StoreFatalError
from ledgermq.store.message_store import Job
from ledgermq.store.replicated_store import ReplicatedStore
from ledgermq.testing.simulation.broker_metadata import BrokerMetadata, MetadataChecks
from ledgermq.testing.simulation.checks import Checks
from ledgermq.testing.simulation.deliveries import LEVELS
from ledgermq.testing.simulation.disk import SimDisk
from ledgermq.testing.simulation.machine import Snapshot
from ledgermq.testing.simulation.queue_checks import DELIVERED, QueueChecks

DATA_FILE_BYTES: Final = 4096
STORE_TIME_FACTOR: Final = 40
METADATA_TOPIC: Final = names.METADATA_TOPIC.encode()
BEGIN_MS: Final = 1_700_000_000_000
_HOST: Final = b"\x7f\x00\x00\x01\x00\x00\x2a\x9f"
_APPLY_BYTES: Final = (1, 700, 1 << 20)
_WHOLE_CHECKS: Final = 0.02
_CHECKED: Final = 40
_UPKEEP_US: Final = 250_000


class SimMessage(NamedTuple):
    topic: bytes
    queue_id: int
    number: int
    body_bytes: int
    kind: bytes = b"K"
    """Its key begins with it."""

    @property
    def key(self) -> bytes:
        return b"%s%d" % (self.kind, self.number)

    @property
    def properties(self) -> bytes:
        return b"UNIQ_KEY\x01%s\x02TAGS\x01T%d\x02" % (self.key, self.number % 3)

    @property
    def body(self) -> bytes:
        return b"%d:" % self.number + b"x" * self.body_bytes


class _Store(ReplicatedStore):
    """How many units of queues are written at a time is drawn, not measured."""

    random: Random

    def _write_tails(self) -> bool:
        return any(self.log.write_tails(1) for _ in range(self.random.choice((1, 3, 100))))


class BrokerMachine:
    """``later`` runs something at a later turn of this life; ``now_us`` is the run's time."""

    def __init__(
        self,
        node_id: str,
        disk: SimDisk,
        data_directory: str,
        random: Random,
        checks: Checks,
        queue_checks: QueueChecks,
        metadata_checks: MetadataChecks,
        now_us: Callable[[], int],
        later: Callable[[int, Callable[[], None]], None],
        indexed: bool,
        opens_with_record: bool,
    ) -> None:
        self.leading = False
        self.on_appended: Callable[[], None] = _nothing
        """Something is to be proposed."""
        self.when_committed: Callable[[Callable[[], None]], None] = lambda told: None
        """Calls back when what was appended in this turn is committed and applied."""
        self._id = node_id
        self._disk = disk
        self._data_directory = data_directory
        self._random = random
        self._checks = checks
        self._queue_checks = queue_checks
        self._metadata_checks = metadata_checks
        self._now_us = now_us
        self._later = later
        self._opens_with_record = opens_with_record
        self._stopped_index: int | None = None
        """The last entry that was applied when it was stopped cleanly."""
        self._jobs: list[Job] = []
        self._config = StoreConfig(
            store_path_root_dir="/store",
            mapped_file_size_commit_log=DATA_FILE_BYTES,
            mapped_file_size_consume_queue=8 * 20,
            max_hash_slot_num=16,
            max_index_num=40,
            message_index_enable=indexed,
        )

    # ---- lives ----

    def open(self, ledger: Ledger, snapshot: Snapshot) -> int:
        assert isinstance(ledger, FileLedger)
        self._ledger = ledger
        self.leading = False
        self._jobs = []
        committed = committed_log(ledger, DATA_FILE_BYTES)
        self.store = store = _Store(self._config, _HOST, self._data_directory, committed, self._disk)
        store.random = self._random
        store.open()
        self._running = False
        self.metadata = BrokerMetadata(
            self._id,
            store,
            self._disk,
            self._metadata_checks,
            self._now_ms,
            lambda: self.on_appended(),
            self._run,
        )
        self._machine = GroupMachine(store, self.metadata.log, ledger, self._run, self._grown, _nothing)
        self.applied_index = store.applied_index
        self._check_recovered()
        self._whole_from = NO_INDEX
        if snapshot.data:
            self._load_on_start(snapshot)
        if self.applied_index == store.applied_index:
            self.check()  # Else the ledger is yet to be reset to the snapshot.
        self._running = True
        self._later(_UPKEEP_US, self._upkeep)
        return self.applied_index

    def _check_recovered(self) -> None:
        index, committed = self.applied_index, self._checks.committed
        self._queue_checks.stopped(self._id, self._stopped_index, index)
        self._stopped_index = None
        known = index < len(committed)
        if known and self._ledger.first_index <= index:
            known = self._ledger.term_at(index) == committed[index][0]
        self._queue_checks.recovered(self._id, index, known)

    def _load_on_start(self, snapshot: Snapshot) -> None:
        """As ``dledger/committed.py`` does."""
        ledger = self._ledger
        self._machine.load(io.BytesIO(snapshot.data))
        has_rest = ledger.first_index <= self.applied_index + 1
        leads_to = has_rest and ledger.term_at(snapshot.last_index) == snapshot.last_term
        replaced = ledger.first_index == snapshot.last_index + 1
        if not replaced and (self.applied_index >= snapshot.last_index or leads_to):
            self._machine.remembered(snapshot.last_index, snapshot.next_pos)
            # Only then is it known where queues end of which the log has nothing.
            self._whole_from = snapshot.last_index
        else:
            self._machine.loaded(snapshot.last_index, snapshot.next_pos)
            self.applied_index = snapshot.last_index

    def close(self) -> None:
        """As ``broker/broker.py`` does once the group's member is stopped. Raises OSError."""
        while self._jobs:
            self._work_on()
        self._save_metadata()
        try:
            self.store.close()
        except StoreFatalError as error:
            raise OSError(str(error)) from error
        except StoreError:
            return  # It is left as after a crash.
        self._stopped_index = self.applied_index

    def forget(self) -> None:
        self.leading = False
        self._jobs = []

    @property
    def state(self) -> object:
        return {
            (topic, queue_id): end
            for topic, queues in self.store.queue_ends().items()
            for queue_id, end in queues.items()
            if end
        }

    # ---- what is committed ----

    def apply(self, first_index: int, last_index: int) -> None:
        size = self._random.choice(_APPLY_BYTES)
        while first_index <= last_index:
            entries = self._ledger.read(first_index, size, last_index)
            self._machine.apply_entries(entries)
            self.applied_index = entries.last_index
            first_index = entries.last_index + 1
            if self.applied_index >= self._whole_from:
                self._queue_checks.ends(self._id, self.store, self.applied_index)
        if self._random.random() < _WHOLE_CHECKS:
            self.check()

    def check(self, newest: int = _CHECKED) -> None:
        """The ``newest`` messages of each queue can be read."""
        if self.applied_index < self._whole_from:
            return
        self._queue_checks.whole(self._id, self.store, self.applied_index, self._log_begin(), newest)

    def _log_begin(self) -> int:
        ledger = self._ledger
        if ledger.last_index < ledger.first_index:
            return ledger.end_pos
        return ledger.read(ledger.first_index, 1, ledger.first_index).first_pos

    @property
    def may_freeze(self) -> bool:
        return self._machine.may_freeze

    def freeze(self) -> bytes:
        out = io.BytesIO()
        self._machine.freeze()(out)
        return out.getvalue()

    def install(self, snapshot: Snapshot) -> None:
        self._machine.load(io.BytesIO(snapshot.data))
        self._machine.loaded(snapshot.last_index, snapshot.next_pos)
        self.applied_index = snapshot.last_index
        self._queue_checks.ends(self._id, self.store, self.applied_index)

    def _grown(self, queues: list[ConsumeQueue]) -> None:
        """Nobody waits here for messages."""

    # ---- leading ----

    def opening_body(self, end_pos: int) -> bytes:
        if not self._opens_with_record:  # as members of others' making
            return b""
        return self.store.entries.opening_record(METADATA_TOPIC, end_pos, self._now_ms())

    def lead(self, term: int) -> None:
        self.leading = True
        self.store.entries.lead(self._ledger.end_pos)
        self.metadata.lead(term)

    def follow(self) -> None:
        if self.leading:
            self.leading = False
            self.store.entries.follow()
            self.metadata.pause()

    def gather(self, messages: list[SimMessage], batch: bool) -> bool:
        """Append them, as one ``batch`` or one by one; whether that was possible."""
        if self.store.refusal is not None:
            return False
        for sent in [messages] if batch else [[message] for message in messages]:
            queue = self.store.queue(sent[0].topic, sent[0].queue_id)
            first_offset = int(queue.next_offset)
            if batch:
                self._append_batch(queue, sent)
            else:
                self._append(queue, sent[0])
            if queue.next_offset > first_offset:
                keys = [message.key for message in sent]
                place = sent[0].topic, sent[0].queue_id
                self.when_committed(partial(self._queue_checks.acknowledged, place, first_offset, keys))
        return True

    def _append(self, queue: ConsumeQueue, message: SimMessage) -> None:
        now_ms = self._now_ms()
        scan = PropertyScan()
        scan.scan(message.properties)
        self.store.entries.append(
            queue, 0, 0, now_ms, _HOST, now_ms, 0, 0, message.body, message.properties, scan
        )

    def _append_batch(self, queue: ConsumeQueue, messages: list[SimMessage]) -> None:
        now_ms = self._now_ms()
        units = encode_batch(BatchUnit(0, message.body, message.properties) for message in messages)
        with suppress(StoreError):  # It might not fit one entry: nothing of it is taken.
            self.store.entries.append_batch(queue, 0, now_ms, _HOST, now_ms, 0, units)

    def administer(self, kind: str, number: int) -> None:
        """A topic or a group is made, a consumer goes on, or the topic ``kind`` is deleted."""
        if not self.leading:
            return
        if kind == "topic":
            self.when_committed(self.metadata.make_topic(number))
        elif kind == "group":
            self.when_committed(self.metadata.make_group(number))
        elif kind == "consumer":
            self.metadata.consume(number % 3)
        else:
            self.metadata.delete_topic(kind)

    def take_bodies(self) -> tuple[list[bytes], int]:
        """What was gathered, and where its last entry is to end."""
        return self.store.entries.take_bodies(), int(self.store.entries.end)

    # ---- by time ----

    def _now_ms(self) -> int:
        return BEGIN_MS + self._now_us() // 1000

    def _upkeep(self) -> None:
        store, ledger = self.store, self._ledger
        store.entries.synced(ledger.synced_pos)
        jobs = store.log_begins(ledger.first_file_pos)
        jobs += store.upkeep(BEGIN_MS + self._now_us() // 1000 * STORE_TIME_FACTOR)
        self._start(jobs)
        if self.leading:
            told = self.metadata.log_offsets()
            if told is not None:
                self.when_committed(told)
            self._deliver()
        if self._random.random() < 0.2:
            self.metadata.log.go_on_deleting()
            self._start([self._save_metadata])
        self._later(_UPKEEP_US, self._upkeep)

    def _deliver(self) -> None:
        for level in LEVELS:
            if self.store.refusal is None:
                told = self.metadata.delays.deliver(self.store, level, self._append_again)
                if told is not None:
                    self.when_committed(told)
                    self.on_appended()

    def _append_again(self, level: int, offset: int, waiting: Record | None) -> None:
        if waiting is None:
            self._queue_checks.waits_no_more(self._id, level, offset, self._log_begin())
            return
        number = int(waiting.properties.partition(b"\x01K")[2].partition(b"\x02")[0])
        self.gather([SimMessage(b"Orders", 0, number, 0, DELIVERED)], batch=False)

    def _save_metadata(self) -> None:
        if not self.metadata.log.may_save:
            return
        try:
            self.metadata.log.save()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise

    def _start(self, jobs: list[Job]) -> None:
        idle = not self._jobs
        self._jobs += jobs
        if idle and jobs:
            self._later(int(self._random.random() * 20_000), self._work)

    def _work(self) -> None:
        self._work_on()
        if self._jobs:
            self._later(int(self._random.random() * 5_000), self._work)

    def _work_on(self) -> None:
        job = self._jobs.pop(0)
        try:
            job()
        except StoreFatalError as error:
            raise OSError(str(error)) from error
        except StoreError:
            self._jobs = []  # As broker/store_jobs.py: what follows a job that fails is not run.

    def _run(self, jobs: list[Job]) -> None:
        if self._running:
            self._start(jobs)
        else:
            for job in jobs:
                job()


def _nothing() -> None:
    pass
