"""A disk in memory that forgets what was not fsynced, as a power failure makes it, and tears what was being
written.

* A file has its content as programs see it and its content on the device. ``sync_data`` copies one to the
  other. At a power cut every 512-byte sector that differs is on the device or not, by lot.
* A name (create, rename, unlink) is on the device after ``sync_directory`` of its directory. At a power cut a
  prefix of the operations not yet synced, by lot, has reached the device: a journal keeps their order.
* ``kill`` is the end of the process only: everything written stays.

Faults are asked for by number: ``cut_at`` is the count of changing operations at which the power fails (in
the middle of it, for a write), ``fail_writes`` makes them raise ENOSPC.
"""

from __future__ import annotations

import errno
from random import Random
from typing import Any

from ledgermq.store.disk import Disk, ReadView

SECTOR = 512


class PowerCut(BaseException):
    """The machine stops here. Not an Exception: nothing may handle it."""


class Inode:
    def __init__(self) -> None:
        self.seen = SimMap()
        self.device = b""


class SimMap(bytearray):
    """A file's content; also what a mapping of it for writing is: a slice is bytes."""

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        return bytes(found) if isinstance(key, slice) else found

    def close(self) -> None:
        """Nothing to unmap."""

    def flush(self) -> None:
        """msync is not relied upon for durability."""


class View:
    def __init__(self, inode: Inode) -> None:
        self._inode = inode

    def __getitem__(self, key: slice, /) -> bytes:
        return bytes(self._inode.seen[key])

    def close(self) -> None:
        """Nothing to unmap."""


Changes = list[tuple[str, Inode | None]]
"""(path, inode or None for removed)"""


class SimDisk(Disk):
    def __init__(self, seed: int | Random) -> None:
        self.rng = seed if isinstance(seed, Random) else Random(seed)
        self.names: dict[str, Inode] = {}
        self.device_names: dict[str, Inode] = {}
        self.directories: set[str] = set()
        self.pending: list[tuple[str, Changes]] = []
        """Changes of names since they were synced, each in a directory. A rename is one: no power cut finds
        both names, or neither."""
        self.open_files: dict[int, Inode] = {}
        self.next_fd = 100
        self.operations = 0
        self.cut_at = -1
        self.fail_writes = False
        self.fail_syncs = False
        self.boot = 1
        self.dead = False
        self.full = 0.1

    # ---- faults ----

    def _step(self) -> bool:
        """Count a changing operation; True when the power fails in it."""
        if self.dead:
            raise PowerCut
        self.operations += 1
        return self.operations == self.cut_at

    def _die(self) -> None:
        self.dead = True
        raise PowerCut

    def _maybe_die(self) -> None:
        if self._step():
            self._die()

    def power_cut(self) -> None:
        """What the device kept is what there is now."""
        for _, changes in self.pending[: self.rng.randint(0, len(self.pending))]:
            self._apply(changes)
        self.pending.clear()
        for inode in {id(i): i for i in (*self.names.values(), *self.device_names.values())}.values():
            inode.device = self._torn(inode.device, bytes(inode.seen))
            inode.seen = SimMap(inode.device)
        self.names = dict(self.device_names)
        self.boot += 1
        self._restart()

    def kill(self) -> None:
        """The process ends; the kernel keeps everything."""
        self._restart()

    def _restart(self) -> None:
        self.open_files.clear()
        self.operations = 0
        self.cut_at = -1
        self.dead = False

    def _torn(self, old: bytes, new: bytes) -> bytes:
        if old == new:
            return old
        whole = self.rng.random()
        # The length changes at once or not at all; of a longer file the new part is zeros or data.
        size = len(new) if len(old) == len(new) or whole < 0.7 else len(old)
        result = bytearray(old[:size].ljust(size, b"\0"))
        chance = self.rng.choice((0.0, 0.2, 0.5, 0.8, 1.0))
        for at in range(0, size, SECTOR):
            part = new[at : at + SECTOR]
            if part != result[at : at + SECTOR] and self.rng.random() < chance:
                result[at : at + len(part)] = part[: size - at]
        return bytes(result)

    def _apply(self, changes: Changes) -> None:
        for path, inode in changes:
            if inode is None:
                self.device_names.pop(path, None)
            else:
                self.device_names[path] = inode

    def _set_names(self, directory: str, changes: Changes) -> None:
        for path, inode in changes:
            if inode is None:
                del self.names[path]
            else:
                self.names[path] = inode
        self.pending.append((directory, changes))

    # ---- the Disk ----

    def open(self, path: str, create: bool = False) -> int:
        inode = self.names.get(path)
        if inode is None:
            if not create:
                raise FileNotFoundError(errno.ENOENT, "no such file", path)
            self._maybe_die()
            inode = Inode()
            self._set_names(_parent(path), [(path, inode)])
        self.next_fd += 1
        self.open_files[self.next_fd] = inode
        return self.next_fd

    def close(self, fd: int) -> None:
        self.open_files.pop(fd, None)

    def file_bytes(self, fd: int) -> int:
        return len(self.open_files[fd].seen)

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        return bytes(self.open_files[fd].seen[offset : offset + size])

    def pwrite(self, fd: int, data: bytes, offset: int) -> None:
        if self.fail_writes:
            raise OSError(errno.ENOSPC, "no space left on device")
        cut = self._step()
        content = self.open_files[fd].seen
        if cut:
            # A write that is stopped ends at a page; a sector is smaller still.
            end = offset + self.rng.randint(0, len(data))
            data = data[: max(0, end - end % SECTOR - offset)]
        if len(content) < offset + len(data):
            content.extend(bytes(offset + len(data) - len(content)))
        content[offset : offset + len(data)] = data
        if cut:
            self._die()

    def allocate(self, fd: int, offset: int, size: int) -> None:
        if self.fail_writes:
            raise OSError(errno.ENOSPC, "no space left on device")
        self._maybe_die()
        content = self.open_files[fd].seen
        if len(content) < offset + size:
            content.extend(bytes(offset + size - len(content)))

    def clear(self, fd: int, offset: int, size: int, reserve: bool) -> None:
        self.pwrite(fd, bytes(size), offset)

    def has_data(self, fd: int, offset: int) -> bool:
        return any(self.open_files[fd].seen[offset:])

    def truncate(self, fd: int, size: int) -> None:
        self._maybe_die()
        content = self.open_files[fd].seen
        if len(content) > size:
            del content[size:]
        else:
            content.extend(bytes(size - len(content)))

    def sync_data(self, fd: int) -> None:
        if self.fail_syncs:
            raise OSError(errno.EIO, "I/O error")
        self._maybe_die()
        inode = self.open_files[fd]
        inode.device = bytes(inode.seen)

    def sync_file(self, fd: int) -> None:
        self.sync_data(fd)

    def sync_file_system(self, path: str) -> bool:
        return False

    def sync_directory(self, path: str) -> None:
        self._maybe_die()
        # A directory that followed a moved one of its name is not there before that is gone.
        synced = {path} | {
            directory
            for directory, changes in self.pending
            if _is_in(path, directory) and any(_is_in(name, path) for name, _ in changes)
        }
        for change in [change for change in self.pending if change[0] in synced]:
            self._apply(change[1])
            self.pending.remove(change)

    def map_read(self, fd: int, size: int) -> ReadView:
        return View(self.open_files[fd])

    def map_write(self, fd: int, size: int) -> SimMap:  # type: ignore[override]  # all that is used of a mapping
        return self.open_files[fd].seen

    def in_cache(self, fd: int, offset: int) -> bool:
        return True

    def list_directory(self, path: str) -> list[str]:
        prefix = path + "/"
        found = {name[len(prefix) :].partition("/")[0] for name in self.names if name.startswith(prefix)}
        found.update(
            name[len(prefix) :].partition("/")[0] for name in self.directories if name.startswith(prefix)
        )
        return sorted(found)

    def is_directory(self, path: str) -> bool:
        return path in self.directories or any(name.startswith(path + "/") for name in self.names)

    def exists(self, path: str) -> bool:
        return path in self.names or self.is_directory(path)

    def make_directories(self, path: str) -> None:
        self.directories.add(path)

    def remove_directory(self, path: str) -> None:
        self.directories.discard(path)

    def rename(self, source: str, target: str) -> None:
        self._maybe_die()
        if source in self.names:
            moved: Changes = [(source, None), (target, self.names[source])]
            self._set_names(_parent(source), moved)
            return
        moved = []
        for name in [name for name in self.names if name.startswith(source + "/")]:
            moved += [(name, None), (target + name[len(source) :], self.names[name])]
        # What is in it moves with it: a sync of what gets its name next does not make that durable.
        self.pending = [
            (_parent(source) if _is_in(directory, source) else directory, changes)
            for directory, changes in self.pending
        ]
        self._set_names(_parent(source), moved)
        for directory in [d for d in self.directories if _is_in(d, source)]:
            self.directories.discard(directory)
            self.directories.add(target + directory[len(source) :])

    def unlink(self, path: str) -> None:
        if path not in self.names:
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        self._maybe_die()
        self._set_names(_parent(path), [(path, None)])

    def modified_ms(self, path: str) -> int:
        return 0

    def used_ratio(self, path: str) -> float:
        return self.full

    def lock(self, fd: int) -> int:
        return 0

    def boot_id(self) -> str:
        return f"boot-{self.boot}"

    def read_file(self, path: str) -> bytes | None:
        inode = self.names.get(path)
        return None if inode is None else bytes(inode.seen)

    def path_bytes(self, path: str) -> int:
        inode = self.names.get(path)
        return -1 if inode is None else len(inode.seen)


def _is_in(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory + "/")


def _parent(path: str) -> str:
    return path.rpartition("/")[0]
