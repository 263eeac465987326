"""Writing the checkpoint: how much recovery will have to look at.

Twice a different promise:

* :meth:`Checkpointing.note`, about once a second, writes the file ``checkpoint`` with what is known (flushed
  up to, units written up to) and makes nothing durable. It serves the restart after a killed process.
* :meth:`Checkpointing.plan` and then :meth:`CheckpointJob.run`, about once a minute and at the stop, make
  what is derived durable first: log, consume-queue files, index, the note of the queues; then the checkpoint
  that says so. It serves the start after a power failure.

==============================  ==============================
function                        may run on
==============================  ==============================
CheckpointJob.run               a worker thread, one at a time
everything else                 the owner's thread
==============================  ==============================

Rules of this file: a checkpoint never says more than what was fsynced before it. Jobs may run in another
order than they were planned in, or fail: what one had to make durable, the next one that runs does as well.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import Final

from ledgermq.store.checkpoint import Checkpoint, boot_hash, encode_checkpoint
from ledgermq.store.commit_log import CommitLog
from ledgermq.store.consume_queue import ConsumeQueue
from ledgermq.store.disk import Disk
from ledgermq.store.errors import StoreError, StoreFatalError
from ledgermq.store.key_index import KeyIndex
from ledgermq.store.queue_records import FILE_NAME, QueueRecords, encode_records
from ledgermq.store.queue_table import QueueTable

FILES_SYNCED_SINGLY_MAX: Final = 256


class CheckpointJob:
    """What one thorough checkpoint makes durable. ``owner`` learns of it when it is done."""

    def __init__(
        self,
        owner: Checkpointing,
        number: int,
        checkpoint: Checkpoint,
        queues: list[ConsumeQueue],
        stored: list[int],
        index_offset: int,
        deleted_before: dict[str, int],
    ) -> None:
        """``stored[i]`` units of ``queues[i]`` are in files that are durable or handed over to the owner."""
        self._owner = owner
        self._number = number
        self._checkpoint = checkpoint
        self._queues = queues
        self._stored = stored
        self._index_offset = index_offset
        self._deleted_before = deleted_before

    def run(self) -> None:
        """Raises StoreFatalError when an fsync fails; StoreError when something else does, to be tried
        again.
        """
        owner = self._owner
        disk, root = owner.disk, owner.root
        if self._number <= owner.done:
            return  # A later one is done; it says all that this one would.
        try:
            self._sync_log()
            owner.sync_files()
            disk.replace_file(f"{root}/{FILE_NAME}", encode_records(self._records()))
            write_checkpoint(disk, root, self._checkpoint, durably=True)
        except OSError as error:
            raise StoreError(f"checkpoint in {root} not written: {error}") from error
        owner.done = self._number
        owner.current = self._checkpoint

    def _records(self) -> QueueRecords:
        topics: dict[str, dict[str, int]] = {}
        for queue, stored in zip(self._queues, self._stored, strict=True):
            if stored > 0 and not queue.deleted:
                topics.setdefault(queue.topic.decode(), {})[str(queue.queue_id)] = stored
        return QueueRecords(topics, self._index_offset, self._deleted_before)

    def _sync_log(self) -> None:
        """The record that the checkpoint names, and all before it, must not be lost when it is relied
        upon.
        """
        log = self._owner.log
        at = int(log.flushed)
        while at <= self._checkpoint.queue_log_offset:
            segment = log.files.at(at)
            if segment is None:
                break
            self._owner.sync_path(segment.path)
            at = int(segment.base + segment.size)


class Checkpointing:
    """Keeps the file ``checkpoint`` of one store."""

    def __init__(
        self, disk: Disk, root: str, log: CommitLog, queues: QueueTable, index: KeyIndex | None
    ) -> None:
        self.disk = disk
        self.root = root
        self.log = log
        self._queues = queues
        self._index = index
        self.current = Checkpoint(boot_hash=boot_hash(disk.boot_id()))
        """What the file says."""
        self._planned = 0
        self.done = 0
        """Number of the last checkpoint that was made thoroughly; they are numbered as they are planned."""
        self._handed_over: deque[tuple[dict[str, None], dict[str, None]]] = deque()
        """Files and directories that planned jobs speak of, on their way to the worker."""
        self._paths: dict[str, None] = {}
        self._directories: dict[str, None] = {}
        """The worker has these, to be made durable by the next job that runs."""

    def begin_with(self, found: Checkpoint) -> None:
        """Go on from the checkpoint that was found: what it says of durability holds as long as it is
        ours.
        """
        self.current.master_flushed_offset = found.master_flushed_offset
        if found.ours:
            found.clean_end = -1
            found.boot_hash = self.current.boot_hash
            self.current = found

    def note(self, even_unchanged: bool = False) -> None:
        """Write what is known now. Raises OSError."""
        log = self.log
        current = self.current
        changed = (current.flushed_offset, current.stored_record) != (log.flushed, log.stored_record)
        if not changed and not even_unchanged:
            return
        current.flushed_offset = int(log.flushed)
        current.stored_record = int(log.stored_record)
        write_checkpoint(self.disk, self.root, current, durably=False)

    def plan(self, clean_end: int = -1) -> CheckpointJob:
        """A thorough checkpoint of what is in files now; ``clean_end`` is the log's end at a clean stop."""
        log = self.log
        files = self._queues.files
        paths, directories = files.take_unsynced()
        index_offset = -1
        index_ms = 0
        stored = int(log.stored_record)
        java_from, java_from_ms = stored, int(log.stored_ms)
        if self._index is not None:
            paths |= dict.fromkeys(self._index.take_written())
            directories[self._index.directory] = None
            index_offset = int(self._index.last_offset())
            index_ms = int(self._index.full_ms())
            filling = self._index.filling()
            if filling is not None:
                java_from = min(java_from, int(filling.begin_offset))
                java_from_ms = min(java_from_ms, int(filling.begin_ms) - 1)
        checkpoint = Checkpoint(
            log_ms=java_from_ms,
            queue_ms=java_from_ms,
            index_ms=index_ms,
            master_flushed_offset=self.current.master_flushed_offset,
            confirm_offset=stored,
            queue_log_offset=stored,
            ours=True,
            flushed_offset=int(log.flushed),
            stored_record=stored,
            clean_end=clean_end,
            boot_hash=self.current.boot_hash,
            java_recovers_from=java_from,
        )
        self._planned += 1
        self._handed_over.append((paths, directories))
        queues = self._queues.all()
        units = [int(queue.stored_offset) for queue in queues]
        deleted = {topic.decode(): end for topic, end in self._queues.deleted_before.items()}
        return CheckpointJob(self, self._planned, checkpoint, queues, units, index_offset, deleted)

    def sync_files(self) -> None:
        """Make durable what jobs planned so far speak of, and have not made durable yet. Raises
        StoreFatalError, OSError.
        """
        while self._handed_over:
            paths, directories = self._handed_over.popleft()
            self._paths |= paths
            self._directories |= directories
        if len(self._paths) <= FILES_SYNCED_SINGLY_MAX or not self._sync_file_systems():
            for path in self._paths:
                self.sync_path(path)
            for directory in self._directories:
                with suppress(FileNotFoundError):  # Its topic was deleted meanwhile.
                    self.disk.sync_directory(directory)
        self._paths = {}
        self._directories = {}

    def sync_path(self, path: str) -> None:
        """fsync a file that may have been deleted meanwhile. Raises StoreFatalError, OSError from opening
        it.
        """
        try:
            fd = self.disk.open(path)
        except FileNotFoundError:
            return
        try:
            self.disk.sync_data(fd)
        except OSError as error:
            self.log.fatal = True
            raise StoreFatalError(f"fsync of {path} failed: {error}") from error
        finally:
            self.disk.close(fd)

    def _sync_file_systems(self) -> bool:
        """fsync whatever is on the file systems of queues and index: forty thousand fsyncs take half a
        minute.

        False where the kernel cannot. Raises StoreFatalError.
        """
        directories = [self._queues.files.directory]
        if self._index is not None and self.disk.exists(self._index.directory):
            directories.append(self._index.directory)
        try:
            return all(self.disk.sync_file_system(directory) for directory in directories)
        except OSError as error:
            self.log.fatal = True
            raise StoreFatalError(f"fsync of the file system of {self.root} failed: {error}") from error


def write_checkpoint(disk: Disk, root: str, checkpoint: Checkpoint, durably: bool) -> None:
    """Write the file in place, as Java maps it. Raises OSError."""
    fd = disk.open(f"{root}/checkpoint", create=True)
    try:
        disk.pwrite(fd, encode_checkpoint(checkpoint), 0)
        if durably:
            disk.sync_file(fd)
    finally:
        disk.close(fd)
