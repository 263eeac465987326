"""The store, put together: the directory, its files, and the calls that are not on the hot path.

Hot callers use the parts themselves: ``store.log`` to append and commit (store/commit_log.py),
``store.reader`` to pull (store/reading.py), a queue object from :meth:`MessageStore.queue`.

What a driver has to do, all on the thread that owns the store but the jobs:

1. :meth:`MessageStore.open` (blocking) once.
2. ``store.log.commit_pending()`` after each turn in which something was appended.
3. ``store.log.flush`` on a worker thread, by time (ASYNC_FLUSH) or for waiting senders (SYNC_FLUSH), then
   ``store.log.confirm(flushed)`` on the owner's thread.
4. :meth:`MessageStore.upkeep` a few times a second; it returns jobs to be run on a worker thread one after
   another. A job that raises StoreFatalError means that the node must stop; StoreError is logged.
5. :meth:`MessageStore.close` (blocking) once, when no job runs.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Final

from ledgermq.message.delay_levels import DelayLevels
from ledgermq.message.hashing import hash_more
from ledgermq.message.record import Record
from ledgermq.runtime.config import StoreConfig
from ledgermq.store.checkpoint import decode_checkpoint
from ledgermq.store.checkpointing import Checkpointing
from ledgermq.store.commit_log import CommitLog
from ledgermq.store.consume_queue import ConsumeQueue
from ledgermq.store.disk import Disk
from ledgermq.store.errors import StoreError
from ledgermq.store.key_index import KeyIndex
from ledgermq.store.log_files import LogFiles
from ledgermq.store.queue_files import QueueFiles
from ledgermq.store.queue_records import FILE_NAME, decode_records
from ledgermq.store.queue_table import QueueTable
from ledgermq.store.reading import MessageReader, ReadLimits, physical_memory_bytes
from ledgermq.store.recovery import Evidence, Recovery, RecoveryReport
from ledgermq.store.retention import Retention
from ledgermq.store.store_lock import StoreLock
from ledgermq.store.trimming import LogTrimming

log: Final = logging.getLogger("ledgermq.store")

Job = Callable[[], None]

NOTE_INTERVAL_MS: Final = 1000
CHECKPOINT_INTERVAL_MS: Final = 60_000
"""Java's flushConsumeQueueThoroughInterval: what a power failure makes recovery look at."""
TAILS_PER_STEP: Final = 16
FILES_CREATED_MAX: Final = 1000
"""First files of queues made ahead by one job, in a tenth of a second or two."""
SEARCH_SLICE_SECONDS: Final = 0.002
"""How long a search among keys goes on before others have their turn."""
TAILS_SECONDS_MAX: Final = 0.004
"""How long one call of upkeep may write units of queues; a queue's first file takes a tenth of a
millisecond.
"""


class MessageStore:
    """A store directory."""

    def __init__(self, config: StoreConfig, store_host: bytes, disk: Disk | None = None) -> None:
        """``store_host``: the broker's address as records carry it, 8 or 20 bytes."""
        self.config = config
        self.disk = disk or Disk()
        self.root = config.store_path_root_dir
        self.index: KeyIndex | None = None
        if config.message_index_enable:
            self.index = KeyIndex(
                self.disk, f"{self.root}/index", config.max_hash_slot_num, config.max_index_num
            )
        queue_files = QueueFiles(
            self.disk, f"{self.root}/consumequeue", config.mapped_file_size_consume_queue
        )
        self.queues = QueueTable(queue_files, DelayLevels(config.message_delay_level).delays_ms)
        self.log = self._make_log(store_host)
        self.limits = ReadLimits()
        self.reader = MessageReader(self.log, self.limits)
        self.apply_config()
        self.retention = Retention(config)
        self.get = self.reader.get
        self.record_at = self.reader.record_at
        self.offset_by_time = self.reader.offset_by_time
        self._lock = StoreLock(self.disk, self.root)
        self._checkpointing = Checkpointing(self.disk, self.root, self.log, self.queues, self.index)
        self._trimming = LogTrimming(self.disk, self.log, self.queues, self.index)
        self._noted_ms = 0
        self._checkpoint_ms = 0
        self._cleaned_ms = 0
        self._creating = False
        """A job makes files of queues ahead."""

    def _make_log(self, store_host: bytes) -> CommitLog:
        log_files = LogFiles(self.disk, self.log_directory, self.config.mapped_file_size_commit_log)
        log = CommitLog(self.disk, log_files, self.index, store_host)
        log.confirm_by_flush = self.config.flush_disk_type == "SYNC_FLUSH"
        return log

    @property
    def log_directory(self) -> str:
        """Where the files of an unreplicated commit log lie."""
        return self.config.store_path_commit_log or f"{self.root}/commitlog"

    def apply_config(self) -> None:
        """Take over settings that may have changed while running."""
        config = self.config
        limits = self.limits
        limits.memory_bytes = config.max_transfer_bytes_on_message_in_memory
        limits.memory_count = config.max_transfer_count_on_message_in_memory
        limits.disk_bytes = config.max_transfer_bytes_on_message_in_disk
        limits.disk_count = config.max_transfer_count_on_message_in_disk
        limits.recent_bytes = physical_memory_bytes() * config.access_message_in_memory_max_ratio // 100

    # ---- opening and closing ---------------------------------------------------------------------------

    def open(self) -> RecoveryReport:
        """Lock the directory and recover what it holds. Blocks.

        Raises StoreLockedError, StoreDamagedError, OSError.
        """
        disk, root = self.disk, self.root
        for directory in (root, self.log.files.directory, self.queues.files.directory):
            disk.make_directories(directory)
        self._lock.take()
        try:
            return self._recover()
        except BaseException:
            self._lock.release()
            raise

    def _recover(self) -> RecoveryReport:
        disk, root = self.disk, self.root
        evidence = Evidence(
            clean=not disk.exists(f"{root}/abort"),
            others_wrote=self._lock.others_wrote,
            checkpoint=decode_checkpoint(disk.read_file(f"{root}/checkpoint")),
            records=decode_records(disk.read_file(f"{root}/{FILE_NAME}")),
            boot_id=disk.boot_id(),
        )
        recovery = self._recovery(evidence)
        end = recovery.run()
        self._begin(recovery, end)
        self.log.last_store_ms = max(0, self.reader.store_ms_at(recovery.last_record))
        self.log.stored_ms = self.log.last_store_ms
        self._trimming.remove_leftovers()
        self._write_abort_file()
        self._checkpointing.begin_with(evidence.checkpoint)
        self._write_all_tails()
        if not evidence.ours or recovery.report.derived_changed:
            self._checkpointing.plan().run()
        else:
            self._checkpointing.note(even_unchanged=True)
        self._lock.sign()
        try:
            self.log.reserve_first()
        except OSError as error:
            self.log.failure = f"no commit log file can be reserved: {error}"
        for line in recovery.report.lines():
            log.info("%s: %s", root, line)
        return recovery.report

    def _begin(self, recovery: Recovery, end: int) -> None:
        self.log.begin_at(end, recovery.last_record, self.queues.all())

    def _recovery(self, evidence: Evidence) -> Recovery:
        config = self.config
        return Recovery(
            self.disk,
            self.log.files,
            self.queues,
            self.index,
            evidence,
            config.check_crc_on_recover,
            config.max_recovery_commitlog_files,
        )

    def _write_abort_file(self) -> None:
        """From now on a start that finds this file knows that the stop was none (Java: ``abort``)."""
        fd = self.disk.open(f"{self.root}/abort", create=True)
        try:
            self.disk.pwrite(fd, b"%d\n" % os.getpid(), 0)
            self.disk.sync_file(fd)
        finally:
            self.disk.close(fd)
        self.disk.sync_directory(self.root)

    def close(self) -> None:
        """Write and flush everything and give the directory up; a store that cannot is left as after a crash.

        Raises StoreError when the stop was not clean.
        """
        try:
            if not self.log.fatal:
                self.log.commit_pending()
                self.log.flush()
                self._write_all_tails()
                self._checkpointing.plan(clean_end=int(self.log.written)).run()
                self.disk.unlink(f"{self.root}/abort")
                self.disk.sync_directory(self.root)
        except OSError as error:
            raise StoreError(f"the store in {self.root} was not closed cleanly: {error}") from error
        finally:
            self.queues.files.close()
            if self.index is not None:
                self.index.close()
            self.log.files.close()
            self._lock.release()

    def _write_all_tails(self) -> None:
        """Raises StoreError when units cannot be written."""
        while not self.log.write_tails(1000):
            if self.log.tail_failure:
                raise StoreError(self.log.tail_failure)
        # A round that had begun earlier has ended; this one, of no queue, notes that all is written.
        self.log.write_tails(1)

    # ---- by time ---------------------------------------------------------------------------------------

    def upkeep(self, now_ms: int) -> list[Job]:
        """What is due: quick things are done, blocking ones returned as jobs for a worker thread."""
        jobs: list[Job] = []
        round_ended = self._write_tails()
        if _is_due(self._noted_ms, now_ms, NOTE_INTERVAL_MS):
            self._noted_ms = now_ms
            self._note()
            if self.log.failure:
                self.log.try_again()
        if self.log.files.spare_wanted:
            self.log.files.spare_wanted = False
            jobs.append(self._allocate_spare)
        if _is_due(self._cleaned_ms, now_ms, self.config.clean_resource_interval):
            self._cleaned_ms = now_ms
            jobs.extend(self._clean(now_ms))
        if round_ended and _is_due(self._checkpoint_ms, now_ms, CHECKPOINT_INTERVAL_MS):
            first = self._checkpoint_ms == 0
            self._checkpoint_ms = now_ms
            if not first:
                jobs.append(self._checkpointing.plan().run)
        if not round_ended and not self._creating:
            ahead = self.log.queues_without_file(FILES_CREATED_MAX)
            if ahead:
                self._creating = True
                # First, for what follows a job that fails is not run.
                jobs.insert(0, partial(self._create, ahead))
        return jobs

    def _write_tails(self) -> bool:
        """Write units of queues for a while; True when none are left."""
        end = time.monotonic() + TAILS_SECONDS_MAX
        while not self.log.write_tails(TAILS_PER_STEP):
            if self.log.tail_failure or time.monotonic() > end:
                return False
        return True

    def _create(self, queues: list[ConsumeQueue]) -> None:
        self.queues.files.create(queues)
        self._creating = False

    def _note(self) -> None:
        try:
            self._checkpointing.note()
        except OSError as error:
            log.warning("checkpoint in %s not written: %s", self.root, error)

    def _allocate_spare(self) -> None:
        try:
            self.log.files.allocate_spare()
        except OSError as error:
            log.warning("the next commit log file cannot be reserved yet: %s", error)

    def _clean(self, now_ms: int) -> list[Job]:
        """Look at the disk; detach files that are to go and return the job that deletes them."""
        used = max(
            self.disk.used_ratio(self.log.files.directory), self.disk.used_ratio(self.queues.files.directory)
        )
        self.retention.observe_disk(used)
        files = self._trimming.log_files()
        hour = time.localtime(now_ms / 1000).tm_hour
        chosen = self.retention.files_to_delete(files, used, now_ms, hour)
        return self._trimming.detach(len(chosen))

    # ---- queues and messages ---------------------------------------------------------------------------

    def queue(self, topic: bytes, queue_id: int) -> ConsumeQueue:
        """The queue, created if there is none."""
        return self.queues.queue(topic, queue_id)

    def find_queue(self, topic: bytes, queue_id: int) -> ConsumeQueue | None:
        return self.queues.find(topic, queue_id)

    def delete_topics(self, topics: Iterable[bytes]) -> list[Job]:
        """Forget the queues of topics; returns the jobs that make it last and delete their files. Raises
        OSError.

        Their messages stay in the log, without a queue. Answer only when the jobs are done: until then a
        crash can bring the queues back.
        """
        return self._delete_topics(topics, int(self.log.end))

    def _delete_topics(self, topics: Iterable[bytes], before: int) -> list[Job]:
        """The topics lose their messages before log offset ``before``."""
        gone = [topic for topic in topics if topic in self.queues.topics]
        if not gone:
            return []
        jobs = self._remove_topics(gone, before)
        return [self._checkpointing.plan().run, *jobs]

    def _remove_topics(self, topics: Iterable[bytes], before: int) -> list[Job]:
        """Take their queues out of the table; the jobs delete their files, once a checkpoint knows that they
        are gone. Raises OSError."""
        table = self.queues
        jobs: list[Job] = []
        for topic in topics:
            queues = list(table.topics.pop(topic, {}).values())
            for queue in queues:
                queue.deleted = True
            table.deleted_before[topic] = before
            jobs += self._trimming.remove_queues(topic, queues)
        return jobs

    def read_at(self, log_offset: int) -> Record | None:
        """The message whose record begins at ``log_offset``, or None. Raises OSError."""
        return self.reader.decode_at(log_offset)

    def query_keys(
        self, topic: bytes, key: bytes, count_max: int, begin_ms: int, end_ms: int, tag: bool = False
    ) -> list[int]:
        """What :meth:`search_keys` finds, all at once. Raises OSError."""
        found: list[int] = []
        for _ in self.search_keys(topic, key, count_max, begin_ms, end_ms, found, tag):
            pass
        return found

    def search_keys(
        self,
        topic: bytes,
        key: bytes,
        count_max: int,
        begin_ms: int,
        end_ms: int,
        found: list[int],
        tag: bool = False,
    ) -> Iterator[None]:
        """Append to ``found`` log offsets of messages of ``topic`` that may carry ``key``, newest first.
        Yields now and then: it may take seconds. Raises OSError.

        The index keeps hashes and seconds only: the caller compares the messages.
        """
        if self.index is None:
            return
        prefix = topic + b"#"
        topic_hash = hash_more(0, prefix, 0, len(prefix))
        yield from self.index.find(
            topic_hash, key, count_max, begin_ms, end_ms, tag, found, SEARCH_SLICE_SECONDS
        )
        found[:] = [offset for offset in found if offset >= self.min_log_offset]

    @property
    def min_log_offset(self) -> int:
        """Where the log begins."""
        segments = self.log.files.segments
        return int(segments[0].base if segments else self.log.written)

    @property
    def max_log_offset(self) -> int:
        """Where the log ends, for readers."""
        return int(self.log.confirmed)

    @property
    def refusal(self) -> str | None:
        """Why no message is taken at present, or None."""
        return self.log.failure or self.log.tail_failure or self.retention.disk_full or None


def _is_due(done_ms: int, now_ms: int, interval_ms: int) -> bool:
    """Also when the clock was set back: it would take as long to come there again."""
    return not 0 <= now_ms - done_ms < interval_ms
