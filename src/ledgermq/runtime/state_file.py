"""State files: small files that are rewritten as a whole, whose previous state stays beside them as ``.bak``.

Writing: the new text goes to ``<name>.tmp`` and is fsynced, the current file becomes ``<name>.bak``, the
temporary file takes the name, the directory is fsynced. Whenever the power fails, the file or its ``.bak`` is
whole, which is what Java's loaders expect too (Java: ``ConfigManager.persist``, ``MixAll.string2File``; they
write in place and can leave an empty file, so an empty file counts as none).

Rules of this file: it blocks; who runs an event loop calls it on a worker thread, one write of a file at a
time.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

T = TypeVar("T")

log: Final = logging.getLogger("ledgermq.runtime")


def backup_of(path: Path) -> Path:
    """Where the previous state of ``path`` is."""
    return path.with_name(path.name + ".bak")


def load_state_file(path: Path, decode: Callable[[bytes], T]) -> T | None:
    """What ``decode`` makes of the file, or of its previous state when the file is missing, empty or damaged;
    None when there is neither.

    Raises ValueError naming the file when what there is cannot be decoded, OSError when it cannot be read.
    """
    fault: ValueError | None = None
    for candidate in (path, backup_of(path)):
        try:
            data = candidate.read_bytes()
        except FileNotFoundError:
            continue
        if not data.strip():
            continue
        try:
            value = decode(data)
        except ValueError as error:
            log.warning("%s cannot be read: %s", candidate, error)
            fault = fault or ValueError(f"{candidate} cannot be read: {error}")
            continue
        if candidate != path:
            log.warning("%s is missing or damaged; %s is used instead", path, candidate)
            _put_aside(path)
        return value
    if fault is not None:
        raise fault
    return None


def write_state_file(path: Path, data: bytes) -> None:
    """Replaces the file durably. Raises OSError; then the file is as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    _keep_previous(path)
    os.replace(temporary, path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _put_aside(path: Path) -> None:
    """A damaged file gets another name: under its own, the next write would make it the previous state, in
    place of the good one."""
    with suppress(OSError):  # Missing, or a directory that cannot be written: nothing else can be either.
        path.replace(path.with_name(path.name + ".damaged"))


def _keep_previous(path: Path) -> None:
    """The current file stays as the previous state. At every moment at least one of the two is there."""
    spare = path.with_name(path.name + ".bak.tmp")
    with suppress(FileNotFoundError):
        spare.unlink()
    try:
        os.link(path, spare)
    except FileNotFoundError:
        return
    except OSError:  # a file system without hard links
        os.replace(path, backup_of(path))
    else:
        os.replace(spare, backup_of(path))
