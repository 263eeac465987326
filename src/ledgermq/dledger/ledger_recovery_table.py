"""What recovery of a ledger does, as tables: facts seen on disk -> decision.

Each row is one situation, with the accident that makes it; ``None`` in a row means that the fact does not
matter there. For every combination of facts exactly one row holds, which a test walks through.

*Promised*: an fsync has covered it, so this member may have said that it has it. Known to be promised is

* what the checkpoint's note of ours says (it is lowered before a truncation), and
* every file that is followed by one with an entry: before the first entry goes to a new file, the one
  before it is fsynced. (Java's flushes reach the next file within 10 ms as well.)

What is promised and not there is never cut silently: a member that forgot an entry could help to elect a
leader who does not have it either. It does not start, and a human decides. What is not promised may end
anywhere: with the power, pages that were not fsynced survive in any order, so whole entries behind a
damaged one are nothing but leftovers.

Rules of this file: pure; rows in the order in which one would tell them.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Final, NamedTuple, TypeVar


class File(Enum):
    """What to do with a data file."""

    KEEP = "it can hold entries"
    REMOVE = "it was being made: remove it"
    REFUSE = "do not start: its length is not the configured one"


class FileFacts(NamedTuple):
    whole: bool
    """It has its full length."""
    last: bool
    """No file follows it."""
    data: bool
    """It holds anything but zeros."""


class FileRow(NamedTuple):
    name: str
    whole: bool | None
    last: bool | None
    data: bool | None
    decision: File


FILE_ROWS: Final = (
    FileRow("whole", True, None, None, File.KEEP),
    # Stopped while the next file was being made: it has a name but not yet its length.
    FileRow("unfinished", False, True, False, File.REMOVE),
    # mappedFileSizeForEntryData was changed, or somebody cut the file.
    FileRow("other-size", False, True, True, File.REFUSE),
    FileRow("middle-size", False, False, None, File.REFUSE),
)


class Begin(Enum):
    """Where to begin looking for the end of the log."""

    RESET = "finish the reset that was under way"
    EMPTY = "there is no log yet"
    LOST = "do not start: entries were promised and there are no files"
    NOTE = "walk from the entry that the checkpoint notes"
    FILE = "walk from the third last file, or the first before it that begins with an entry"


class BeginFacts(NamedTuple):
    marker: bool
    """The file ``reset`` is there: the log was being dropped."""
    files: bool
    noted: bool
    """The checkpoint notes an entry as durable."""
    fits: bool
    """That entry is where the note says, whole."""


class BeginRow(NamedTuple):
    name: str
    marker: bool | None
    files: bool | None
    noted: bool | None
    fits: bool | None
    decision: Begin


BEGIN_ROWS: Final = (
    # Died between the decision to drop the log for a snapshot and its end: old and new files may be mixed.
    BeginRow("reset", True, None, None, None, Begin.RESET),
    # A new member; or one that died before its first entry.
    BeginRow("new", False, False, False, None, Begin.EMPTY),
    # Somebody removed the directory ``data``, or its disk is not mounted.
    BeginRow("lost", False, False, True, None, Begin.LOST),
    # The usual start: what was written in the seconds since the checkpoint is walked.
    BeginRow("noted", False, True, True, True, Begin.NOTE),
    # Promised entries were damaged: the walk will find out where, and refuse.
    BeginRow("noted-damaged", False, True, True, False, Begin.FILE),
    # Java wrote last, or we died before the first checkpoint.
    BeginRow("java", False, True, False, None, Begin.FILE),
)


class Stop(Enum):
    """What to do where the walk meets something that is no entry."""

    NEXT_FILE = "go on with the next file"
    END = "the log ends here; what follows is cleared"
    REFUSE = "do not start: promised entries are damaged or missing"


class StopFacts(NamedTuple):
    blank: bool
    """An end-of-file blank; else zeros, or bytes that are no entry that could be here."""
    next_file: bool
    later: bool
    """A later file begins with an entry."""
    promised: bool
    """The note's entry was not reached."""


class StopRow(NamedTuple):
    name: str
    blank: bool | None
    next_file: bool | None
    later: bool | None
    promised: bool | None
    decision: Stop


STOP_ROWS: Final = (
    # A file was full.
    StopRow("file-full", True, True, None, None, Stop.NEXT_FILE),
    # Stopped between closing a file and entering the next: the place behind the last entry is written again.
    StopRow("file-full-no-next", True, False, None, False, Stop.END),
    # The usual end; or what was being written when the process died or the power failed.
    StopRow("tail", False, None, False, False, Stop.END),
    # A bit flipped, or a sector was lost, in a file that had been fsynced before the next was begun.
    StopRow("middle", False, None, True, None, Stop.REFUSE),
    # The same, or files were restored from before the checkpoint, in what the checkpoint covers.
    StopRow("promised", False, None, False, True, Stop.REFUSE),
    StopRow("promised-file", True, False, None, True, Stop.REFUSE),
)


class Index(Enum):
    """What to do with the index files."""

    KEEP = "use them up to where the walk begins, and write on from there"
    REBUILD = "remove them and make them again from all data"


class IndexFacts(NamedTuple):
    whole: bool
    """No file is missing from the first entry's to the one before the walk's begin, and all have full
    length."""
    fits: bool
    """They are what the data says. With the checkpoint's note, which was written after an fsync of the index,
    the units of the first entry and of the one before the walk's begin tell; without it, all of them."""


class IndexRow(NamedTuple):
    name: str
    whole: bool | None
    fits: bool | None
    decision: Index


INDEX_ROWS: Final = (
    # The usual start: units up to the checkpoint were fsynced with it.
    IndexRow("whole", True, True, Index.KEEP),
    # Power failed before Java's index was flushed; or damage.
    IndexRow("foreign", True, False, Index.REBUILD),
    # Files were removed or cut, mappedFileSizeForEntryIndex was changed, or the walk begins with the log.
    IndexRow("holes", False, None, Index.REBUILD),
)


Row = TypeVar("Row", FileRow, BeginRow, StopRow, IndexRow)


def row_for(rows: Sequence[Row], facts: tuple[bool, ...]) -> Row:
    """The one row that holds for ``facts``."""
    for row in rows:
        if all(wanted is None or wanted == fact for wanted, fact in zip(row[1:-1], facts, strict=True)):
            return row
    raise AssertionError(f"no row for {facts}")


def decide_file(facts: FileFacts) -> File:
    return row_for(FILE_ROWS, facts).decision


def decide_begin(facts: BeginFacts) -> Begin:
    return row_for(BEGIN_ROWS, facts).decision


def decide_stop(facts: StopFacts) -> Stop:
    return row_for(STOP_ROWS, facts).decision


def decide_index(facts: IndexFacts) -> Index:
    return row_for(INDEX_ROWS, facts).decision
