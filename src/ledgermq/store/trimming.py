"""Deleting: log files that retention gives up, what named their messages, and the queues of a deleted topic.

A file is first detached by the owner's thread - unmapped, closed, taken out of the tables, so that no reader
can reach it - and then deleted by a job on a worker thread, because freeing a gigabyte takes the file system
a while. A process that dies in between leaves files that the next start finds as part of the log, and deletes
again.

Rules of this file: the last file of the log and of each queue stays: the next offset is known from it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from ledgermq.store.commit_log import CommitLog
from ledgermq.store.consume_queue import ConsumeQueue
from ledgermq.store.disk import Disk
from ledgermq.store.key_index import KeyIndex
from ledgermq.store.queue_recovery import min_offset
from ledgermq.store.queue_table import QueueTable
from ledgermq.store.retention import LogFile

Job = Callable[[], None]


class LogTrimming:
    """Carries out what retention decides."""

    def __init__(self, disk: Disk, log: CommitLog, queues: QueueTable, index: KeyIndex | None) -> None:
        self._disk = disk
        self._log = log
        self._queues = queues
        self._index = index
        self._removed = 0
        """How many topics were removed since the start, which has removed what was left of earlier ones."""

    def log_files(self) -> list[LogFile]:
        """The log's files, oldest first. Raises OSError."""
        return [
            LogFile(int(segment.base), self._disk.modified_ms(segment.path))
            for segment in self._log.files.segments
        ]

    def detach(self, count: int) -> list[Job]:
        """Give up the ``count`` oldest files of the log and what only they needed. Raises OSError."""
        files = self._log.files
        count = min(count, len(files.segments) - 1)
        if count <= 0:
            return []
        paths: list[str] = []
        for segment in files.segments[:count]:
            files.release(segment)
            if segment.fd >= 0:
                return []  # Not flushed yet: it is not that old.
            paths.append(segment.path)
        # Not in place: a worker that flushes may be looking at the list.
        files.segments = files.segments[count:]
        begin = int(files.segments[0].base)
        deleted_before = self._queues.deleted_before
        for topic in [topic for topic, end in deleted_before.items() if end <= begin]:
            del deleted_before[topic]  # No record is left that could bring it back.
        for queue in self._queues.all():
            with suppress(OSError):  # Looked at again with the next files; readers pass over what is gone.
                paths.extend(self._detach_queue_files(queue, begin))
        if self._index is not None:
            paths.extend(self._index.detach_before(begin))
        return [lambda: self._delete(paths)]

    def _detach_queue_files(self, queue: ConsumeQueue, begin: int) -> list[str]:
        """Move a queue's beginning behind what was deleted; its files that are wholly before it go."""
        if queue.min_offset >= queue.max_offset:
            return []
        queue.min_offset = min_offset(queue, begin)
        files = self._queues.files
        paths: list[str] = []
        last = int(queue.stored_offset - 1) // files.file_units * files.file_units
        while 0 <= queue.first_offset < last and queue.first_offset + files.file_units <= queue.min_offset:
            path = files.file_path(queue, int(queue.first_offset))
            files.forget(path)
            paths.append(path)
            queue.first_offset += files.file_units
        return paths

    def remove_queues(self, topic: bytes, queues: list[ConsumeQueue]) -> list[Job]:
        """Delete the directories of a topic's queues. Raises OSError."""
        files = self._queues.files
        directory = f"{files.directory}/{topic.decode()}"
        queue_directories = [files.queue_directory(queue) for queue in queues]
        for queue_directory in queue_directories:
            for name in self._disk.list_directory(queue_directory):
                files.forget(f"{queue_directory}/{name}")
        # Renamed first: a topic of the same name may be made again at once.
        if not self._disk.exists(directory):
            return []
        self._removed += 1
        doomed = f"{files.directory}.deleted.{self._removed}"
        self._disk.rename(directory, doomed)
        return [lambda: self._delete_renamed(doomed)]

    def remove_leftovers(self) -> None:
        """Delete what a process that died had left of deleted topics. Raises OSError."""
        files = self._queues.files
        root, _, name = files.directory.rpartition("/")
        for leftover in self._disk.list_directory(root):
            if leftover.startswith(f"{name}.deleted."):
                self._delete_tree(f"{root}/{leftover}")

    def _delete_renamed(self, directory: str) -> None:
        self._disk.sync_directory(self._queues.files.directory)
        self._delete_tree(directory)

    def _delete(self, paths: list[str]) -> None:
        directories: dict[str, None] = {}
        for path in paths:
            with suppress(FileNotFoundError):
                self._disk.unlink(path)
                directories[path.rpartition("/")[0]] = None
        for directory in directories:
            with suppress(FileNotFoundError):
                self._disk.sync_directory(directory)

    def _delete_tree(self, directory: str) -> None:
        for name in self._disk.list_directory(directory):
            path = f"{directory}/{name}"
            if self._disk.is_directory(path):
                self._delete_tree(path)
            else:
                self._disk.unlink(path)
        self._disk.remove_directory(directory)
