"""A store whose commit log is a replicated log: see store/entry_log.py.

What a driver does differently than with :class:`MessageStore`: it opens the replicated log first and gives
:class:`CommittedLog` to the constructor; instead of ``commit_pending`` it takes ``log.take_bodies()`` and
proposes them; and it calls ``log.apply`` with what is committed, in order, from ``applied_index + 1`` on.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import cast

from librt.strings import BytesWriter

from ledgermq.message.record import write_blank
from ledgermq.runtime.config import StoreConfig
from ledgermq.store.commit_log import CommitLog
from ledgermq.store.disk import Disk
from ledgermq.store.entry_log import NOT_LEADING, EntryFiles, EntryLog
from ledgermq.store.entry_recovery import CommittedLog, EntryRecovery
from ledgermq.store.entry_scan import ENTRY_HEAD_BYTES, EntryScanner
from ledgermq.store.message_store import Job, MessageStore
from ledgermq.store.recovery import Evidence, Recovery


class ReplicatedStore(MessageStore):
    """A store directory with the files of a replicated log in ``data_directory``."""

    def __init__(
        self,
        config: StoreConfig,
        store_host: bytes,
        data_directory: str,
        committed: CommittedLog,
        disk: Disk | None = None,
    ) -> None:
        self._data_directory = data_directory
        self._committed = committed
        self.applied_index = committed.committed_index
        """The last entry that was applied when the store was opened."""
        super().__init__(config, store_host, disk)

    @property
    def entries(self) -> EntryLog:
        return cast(EntryLog, self.log)

    def _make_log(self, store_host: bytes) -> CommitLog:
        files = EntryFiles(self.disk, self._data_directory, self.config.mapped_file_size_commit_log)
        return EntryLog(self.disk, files, self.index, store_host, self.queues)

    def _recovery(self, evidence: Evidence) -> Recovery:
        return EntryRecovery(
            self.disk,
            self.log.files,
            self.queues,
            self.index,
            evidence,
            self.config.max_recovery_commitlog_files,
            self._committed,
            self.log_directory,
        )

    def _begin(self, recovery: Recovery, end: int) -> None:
        super()._begin(recovery, end)
        assert isinstance(recovery, EntryRecovery)
        self.applied_index = recovery.applied_index

    # ---- topics ----

    def delete_topics(self, topics: Iterable[bytes]) -> list[Job]:
        """Nothing: a topic goes on every replica at the same place of the log, by :meth:`topics_deleted`."""
        return []

    def topics_deleted(self, topics: Iterable[bytes], before: int) -> list[Job]:
        """The log says, at log offset ``before``, that these topics are gone; returns jobs as
        :meth:`MessageStore.delete_topics` does. Raises OSError."""
        gone = {topic: self.queues.topics[topic] for topic in topics if topic in self.queues.topics}
        jobs = self._delete_topics(gone, before)
        for topic, queues in gone.items():
            for queue_id, queue in queues.items():
                if queue.next_offset > queue.written_offset:
                    self.entries.go_on(queue, self.queues.queue(topic, queue_id))
        self.entries.forget_deleted()
        return jobs

    def settle_deletions(self, deleted: dict[bytes, int]) -> None:
        """At the start: what is applied says that these topics were deleted, each for the last time at the
        log offset given. What the store does not know of is done now. Blocks; raises StoreError, OSError.

        A topic may have been made again since, and queues were recovered as they are at the end of all this:
        so they are removed with what came before, and get what came behind from the log.
        """
        known = self.queues.deleted_before
        missed = {topic: at for topic, at in deleted.items() if known.get(topic, 0) < at}
        if not missed:
            return
        jobs: list[Job] = []
        for topic, at in missed.items():
            jobs += self._remove_topics([topic], at)
        scanner = EntryScanner(self.disk, self.log.files, False, self._committed.first_pos)
        scanner.position = min(missed.values()) - ENTRY_HEAD_BYTES
        self.entries.apply_again(scanner)
        # The checkpoint that tells of the deletions must not be behind the new queues: nothing else would
        # bring their units back.
        self._write_all_tails()
        for job in (self._checkpointing.plan().run, *jobs):
            job()

    # ---- the log's beginning ----

    def _clean(self, now_ms: int) -> list[Job]:
        """Only the commit log of before replication is cleaned here; the replicated log cleans itself."""
        used = self.disk.used_ratio(self.log.files.directory)
        self.retention.observe_disk(used)
        files = [file for file in self._trimming.log_files() if file.base < self._committed.first_pos]
        if not files:
            return []
        hour = time.localtime(now_ms / 1000).tm_hour
        chosen = self.retention.files_to_delete(files, used, now_ms, hour)
        return self._trimming.detach(len(chosen))

    def log_begins(self, pos: int) -> list[Job]:
        """The replicated log has removed its files before ``pos``; returns jobs that remove what is derived
        from them. Raises OSError."""
        segments = self.log.files.segments
        if pos <= self._committed.first_pos:
            return []  # Before it lies the commit log of before replication.
        count = sum(1 for segment in segments if segment.base < pos)
        return self._trimming.detach(count) if count else []

    # ---- snapshots ----

    def queue_ends(self) -> dict[str, dict[str, int]]:
        """What is applied of each queue, by topic and queue id."""
        return {
            topic.decode(): {str(queue_id): int(queue.written_offset) for queue_id, queue in queues.items()}
            for topic, queues in self.queues.topics.items()
        }

    def raise_ends(self, ends: dict[str, dict[str, int]], pos: int) -> None:
        """Queues whose messages are all gone from the log go on where a snapshot says, of what was before
        position ``pos``. A topic that was deleted since begins anew."""
        for topic, queues in ends.items():
            if self.queues.deleted_before.get(topic.encode(), 0) >= pos:
                continue
            for queue_id, end in queues.items():
                queue = self.queues.queue(topic.encode(), int(queue_id))
                if queue.written_offset < end:
                    self.entries.pass_over(queue, end)

    def begin_anew(self, ends: dict[str, dict[str, int]], pos: int) -> list[Job]:
        """A snapshot replaces everything: the log goes on at ``pos``, the queues at ``ends``. Returns jobs as
        :meth:`topics_deleted` does. Raises OSError."""
        jobs = self._remove_topics(list(self.queues.topics), pos)
        self.entries.begin_anew(pos)
        # Of the queues that begin now no unit is written, even where their messages are in the log already.
        jobs.insert(0, self._checkpointing.plan().run)
        self.queues.deleted_before.clear()
        self.raise_ends(ends, pos)
        return jobs

    @property
    def refusal(self) -> str | None:
        if not self.entries.leading:
            return NOT_LEADING
        return super().refusal


def end_unreplicated_log(config: StoreConfig, store_host: bytes, disk: Disk) -> int:
    """Close the commit log of a store that is to be replicated from now on: the rest of its last file becomes
    a blank, as in Java. Returns where the replicated log begins, 0 where there is no such commit log.

    Blocks. Raises StoreError, OSError.
    """
    store = MessageStore(config, store_host, disk)
    directory = store.log_directory
    if not disk.exists(directory) or not any(name.isdecimal() for name in disk.list_directory(directory)):
        return 0
    store.open()
    try:
        segment = store.log.files.at(store.log.written)
        if segment is None:
            return int(store.log.written)
        end = int(segment.base + segment.size)
        left = end - int(store.log.written)
        if int(segment.base) == int(store.log.written):
            # Nothing is in the last file: the replicated log begins where it would.
            return int(segment.base) if len(store.log.files.segments) > 1 else end
        out = BytesWriter()
        write_blank(out, left)
        descriptor = store.log.files.descriptor(segment)
        disk.pwrite(descriptor, out.getvalue(), int(store.log.written) - int(segment.base))
        disk.sync_data(descriptor)
        return end
    finally:
        store.close()
