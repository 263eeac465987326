"""What recovery does, as four tables: facts seen on disk -> decision.

Each row is one situation, with the accident that makes it; ``None`` in a row means that the fact does not
matter there. For every combination of facts exactly one row holds, which a test walks through.

Words: *clean* - the last stop was orderly (there is no file ``abort``). *Ours* - ledgermq was the last to
write the directory; what it noted beside Java's files can be used. *Promised* - known to have been fsynced.

Rules of this file: pure; rows in the order in which one would tell them.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from functools import cache
from typing import Final, NamedTuple, TypeVar


class FindEnd(Enum):
    """Where to begin looking for the end of the log."""

    AT_NOTED_END = "the end noted at the clean stop"
    FROM_STORED_RECORD = "walk from the record up to which units had been written"
    FROM_CHECKPOINT = "walk from the checkpoint's record"
    FROM_FILE_BY_TIME = "walk from the last file that is older than the checkpoint's times"


class EndFacts(NamedTuple):
    clean: bool
    noted_end: bool
    """Ours, and a noted end fits: the last record is whole and ends there, and nothing follows."""
    stored_record: bool
    """Ours, the kernel still runs that took our writes, and the record noted as stored is whole."""
    checkpoint_record: bool
    """A whole record lies at the checkpoint's queue log offset."""


class EndRow(NamedTuple):
    name: str
    clean: bool | None
    noted_end: bool | None
    stored_record: bool | None
    checkpoint_record: bool | None
    decision: FindEnd


END_ROWS: Final = (
    # The usual start: nothing is walked.
    EndRow("clean", True, True, None, None, FindEnd.AT_NOTED_END),
    # Java stopped cleanly, its checkpoint is at most a minute old; or our note does not fit the log (a
    # checkpoint file of before, a log restored from elsewhere).
    EndRow("clean-no-end", True, False, None, True, FindEnd.FROM_CHECKPOINT),
    # The process was killed: all it wrote is there, only its last write may be in part.
    EndRow("killed", False, None, True, None, FindEnd.FROM_STORED_RECORD),
    # The power failed, or Java was killed: what the checkpoint covers is safe, the rest is looked at.
    EndRow("power", False, None, False, True, FindEnd.FROM_CHECKPOINT),
    # Java before 5.5 (its checkpoint has times only), a new store, a checkpoint file that was lost.
    EndRow("clean-no-checkpoint", True, False, None, False, FindEnd.FROM_FILE_BY_TIME),
    EndRow("crash-no-checkpoint", False, None, False, False, FindEnd.FROM_FILE_BY_TIME),
)


class Stop(Enum):
    """What to do where the walk along the log meets something that is no record."""

    NEXT_FILE = "go on with the next file"
    END = "the log ends here; what follows is cleared"
    SKIP = "leave the damaged place out and go on behind it"


class StopFacts(NamedTuple):
    blank: bool
    """An end-of-file blank; else zeros, or bytes that are no record."""
    next_file: bool
    promised: bool
    """Bytes at or behind this place were promised."""
    record_follows: bool
    """A whole record begins somewhere behind, where bytes were promised."""


class StopRow(NamedTuple):
    name: str
    blank: bool | None
    next_file: bool | None
    promised: bool | None
    record_follows: bool | None
    decision: Stop


STOP_ROWS: Final = (
    # A file was full.
    StopRow("file-full", True, True, None, None, Stop.NEXT_FILE),
    # Killed between closing a file and entering the next: the place behind the last record is written again.
    StopRow("file-full-no-next", True, False, None, None, Stop.END),
    # The usual end; or the write under way when the process died or the power failed. Behind it the device
    # may have kept later pages of what nobody was promised: without the bytes before them they are no log.
    StopRow("tail", False, None, False, None, Stop.END),
    # The medium lost something in the middle of what was promised. What follows it was promised too.
    StopRow("middle", False, None, True, True, Stop.SKIP),
    # The medium lost the end of what was promised. Nothing can bring it back; it is reported.
    StopRow("promised-tail", False, None, True, False, Stop.END),
)


class Queue(Enum):
    """What to do with the files of one consume queue."""

    KEEP = "use them as they are"
    NEW = "there is nothing yet"
    REBUILD = "remove them and make them again from the whole log"


class QueueFacts(NamedTuple):
    has_files: bool
    whole: bool
    """No file is missing between the first and the last, each has its full length, and they are not those of
    a topic that was deleted."""
    known: bool
    """Our record of the queues names it, with a length that was made durable."""
    reaches: bool
    """It has at least that many units."""
    names_record: bool
    """Its last unit names a record of this queue with this queue offset; true for no unit."""


class QueueRow(NamedTuple):
    name: str
    has_files: bool | None
    whole: bool | None
    known: bool | None
    reaches: bool | None
    names_record: bool | None
    decision: Queue


QUEUE_ROWS: Final = (
    QueueRow("new", False, None, False, None, None, Queue.NEW),
    # Someone removed the directory, or it was not made durable before the power failed.
    QueueRow("lost", False, None, True, None, None, Queue.REBUILD),
    # A file was removed or cut, the configured file size was changed, or a power cut brought the files of a
    # deleted topic back.
    QueueRow("holes", True, False, None, None, None, Queue.REBUILD),
    # Zeros stand where units were made durable.
    QueueRow("short", True, True, True, False, None, Queue.REBUILD),
    # Damage, or files of another store.
    QueueRow("foreign-known", True, True, True, True, False, Queue.REBUILD),
    QueueRow("foreign", True, True, False, None, False, Queue.REBUILD),
    # The usual; units that a crash kept from the files are added from the log.
    QueueRow("known", True, True, True, True, True, Queue.KEEP),
    QueueRow("java", True, True, False, None, True, Queue.KEEP),
)


class Index(Enum):
    """What to do with one index file."""

    KEEP = "use it as it is"
    REPAIR = "keep the entries that make sense and make the slots again from them"
    DROP = "remove it and those after it; their part of the log is indexed again"


class IndexFacts(NamedTuple):
    whole: bool
    """It has its full length and a header that can be."""
    beyond_log: bool
    """It has entries for records behind the log's end."""
    settled: bool
    """It was flushed: after a clean stop, or it is full and not younger than the checkpoint's index time."""
    survived: bool
    """The kernel that held its pages still runs: only the process died."""
    covered: bool
    """It was begun before the checkpoint, so its name and the files before it are durable."""


class IndexRow(NamedTuple):
    name: str
    whole: bool | None
    beyond_log: bool | None
    settled: bool | None
    survived: bool | None
    covered: bool | None
    decision: Index


INDEX_ROWS: Final = (
    # Not an index file, cut, or made with other numbers of slots and entries.
    IndexRow("no-index", False, None, None, None, None, Index.DROP),
    # The power failed and the device kept pages of the index but not the records they name.
    IndexRow("beyond", True, True, None, None, True, Index.REPAIR),
    IndexRow("beyond-new", True, True, None, None, False, Index.DROP),
    IndexRow("settled", True, False, True, None, None, Index.KEEP),
    # Entries are written before slots, slots before the header: a killed process leaves a usable file.
    IndexRow("killed", True, False, False, True, None, Index.KEEP),
    # The power failed: any page may be there or be zeros.
    IndexRow("power", True, False, False, False, True, Index.REPAIR),
    # The same, and a file before this one may be missing.
    IndexRow("power-new", True, False, False, False, False, Index.DROP),
)


Row = TypeVar("Row", EndRow, StopRow, QueueRow, IndexRow)


def row_for(rows: Sequence[Row], facts: tuple[bool, ...]) -> Row:
    """The one row that holds for ``facts``."""
    for row in rows:
        if all(wanted is None or wanted == fact for wanted, fact in zip(row[1:-1], facts, strict=True)):
            return row
    raise AssertionError(f"no row for {facts}")


def decide_end(facts: EndFacts) -> FindEnd:
    return row_for(END_ROWS, facts).decision


def decide_stop(facts: StopFacts) -> Stop:
    return row_for(STOP_ROWS, facts).decision


@cache
def decide_queue(facts: QueueFacts) -> Queue:
    return row_for(QUEUE_ROWS, facts).decision


def decide_index(facts: IndexFacts) -> Index:
    return row_for(INDEX_ROWS, facts).decision
