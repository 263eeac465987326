"""The files of the consume queues: ``consumequeue/<topic>/<queue id>/<20-digit byte offset>``.

A file holds 300,000 units (configurable) and always has its full length; what is not yet written is a hole
that reads as zeros and takes no space. A unit of zeros ends a queue. Where a queue's first file is entered in
its middle (the log before it was deleted), the units before are *pre-blank*: log offset 0, size 0x7FFFFFFF,
tag 0.

Descriptors of files recently used are kept open, at most ``OPEN_QUEUE_FILES_MAX`` for all queues together.

Rules of this file: not compiled, for it is used once per read and once per some hundred written units; all of
it but :meth:`QueueFiles.create` runs on the thread of the store. The files are derived from the log: an error
here loses no message.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from ledgermq.runtime.limits import OPEN_QUEUE_FILES_MAX
from ledgermq.store.disk import Disk

if TYPE_CHECKING:
    from ledgermq.store.consume_queue import ConsumeQueue

UNIT_BYTES: Final = 20

UNIT: Final = struct.Struct(">qiq")
PRE_BLANK: Final = UNIT.pack(0, 0x7FFFFFFF, 0)


class QueueFiles:
    """The directory ``consumequeue`` and the open files of all queues."""

    def __init__(self, disk: Disk, directory: str, file_bytes: int) -> None:
        self.disk = disk
        self.directory = directory
        self.file_units = file_bytes // UNIT_BYTES
        self.file_bytes = self.file_units * UNIT_BYTES
        self.unsynced: dict[str, None] = {}
        """Paths written since :meth:`take_unsynced`, in order of first writing."""
        self.new_directories: dict[str, None] = {}
        """Directories that got a name since then."""
        self._open: OrderedDict[str, int] = OrderedDict()

    def queue_directory(self, queue: ConsumeQueue) -> str:
        return f"{self.directory}/{queue.topic.decode()}/{queue.queue_id}"

    def file_path(self, queue: ConsumeQueue, first_unit: int) -> str:
        return f"{self.queue_directory(queue)}/{first_unit * UNIT_BYTES:020d}"

    def read(self, queue: ConsumeQueue, offset: int, count: int) -> bytes:
        """Up to ``count`` units from ``offset``, within one file. Raises OSError."""
        first = offset - offset % self.file_units
        count = min(count, first + self.file_units - offset)
        try:
            fd = self._descriptor(self.file_path(queue, first))
        except FileNotFoundError:
            return b""
        return self.disk.pread(fd, count * UNIT_BYTES, (offset - first) * UNIT_BYTES)

    def take_unsynced(self) -> tuple[dict[str, None], dict[str, None]]:
        """What was written since the last call: files, and directories that got a name."""
        paths, directories = self.unsynced, self.new_directories
        self.unsynced, self.new_directories = {}, {}
        return paths, directories

    def write_tail(self, queue: ConsumeQueue) -> None:
        """Move the written part of a queue's tail into its files. Raises OSError; the tail is then kept."""
        tail = queue.tail
        if tail is None or queue.deleted:
            return
        count = queue.written_offset - queue.stored_offset
        data = tail.getvalue()
        done = 0
        try:
            while done < count:
                offset = queue.stored_offset
                first = offset - offset % self.file_units
                step = min(count - done, first + self.file_units - offset)
                fd = self._descriptor_for_writing(queue, first, offset)
                units = data[done * UNIT_BYTES : (done + step) * UNIT_BYTES]
                self.disk.pwrite(fd, units, (offset - first) * UNIT_BYTES)
                done += step
                queue.stored_offset += step
        finally:
            # Also after an error: what was written leaves the tail, what was not stays.
            rest = data[done * UNIT_BYTES :]
            if rest:
                tail.truncate(0)
                tail.write(rest)
            else:
                queue.tail = None

    def create(self, queues: list[ConsumeQueue]) -> None:
        """Make the first files of new queues ahead, which is most of the work of writing them. May run on a
        worker: nothing but the disk is touched, and what the owner makes meanwhile stays as it is.
        """
        for queue in queues:
            if queue.deleted or queue.first_offset >= 0:
                continue
            try:
                self.disk.make_directories(self.queue_directory(queue))
                fd = self.disk.open(self.file_path(queue, 0), create=True)
            except OSError:
                return  # Whoever writes the units will meet it again, and tell.
            try:
                self.disk.truncate(fd, self.file_bytes)
            except OSError:
                return
            finally:
                self.disk.close(fd)

    def _descriptor(self, path: str) -> int:
        fd = self._open.get(path)
        if fd is None:
            fd = self.disk.open(path)
            self._keep(path, fd)
        else:
            self._open.move_to_end(path)
        return fd

    def _descriptor_for_writing(self, queue: ConsumeQueue, first: int, offset: int) -> int:
        path = self.file_path(queue, first)
        self.note_written(queue, first, new=False)
        try:
            fd = self._descriptor(path)
        except FileNotFoundError:
            self.disk.make_directories(self.queue_directory(queue))
            fd = self.disk.open(path, create=True)
            self._keep(path, fd)
        else:
            if queue.first_offset >= 0 and offset > first:
                return fd
            # It was made ahead or by a write that failed, perhaps not yet to its length.
        self.disk.truncate(fd, self.file_bytes)
        if offset > first:
            self.disk.pwrite(fd, PRE_BLANK * (offset - first), 0)
        if queue.first_offset < 0:
            queue.first_offset = first
        self.note_written(queue, first, new=True)
        return fd

    def note_written(self, queue: ConsumeQueue, first: int, new: bool) -> None:
        """The file that begins with unit ``first`` is to be made durable, ``new``: its name as well."""
        self.unsynced[self.file_path(queue, first)] = None
        if new:
            directory = self.queue_directory(queue)
            self.new_directories[directory] = None
            self.new_directories[directory.rpartition("/")[0]] = None
            self.new_directories[self.directory] = None

    def _keep(self, path: str, fd: int) -> None:
        if len(self._open) >= OPEN_QUEUE_FILES_MAX:
            _, oldest = self._open.popitem(last=False)
            self.disk.close(oldest)
        self._open[path] = fd

    def forget(self, path: str) -> None:
        """Close a file that is about to be deleted or replaced."""
        fd = self._open.pop(path, None)
        if fd is not None:
            self.disk.close(fd)
        self.unsynced.pop(path, None)

    def close(self) -> None:
        for fd in self._open.values():
            self.disk.close(fd)
        self._open.clear()
