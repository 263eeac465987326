"""The small files of a member: ``currterm``, its term and vote, and ``checkpoint``, what is known to be
safe.

Both are Java's properties text (Java: ``MemberState``, ``DLedgerMmapFileStore.persistCheckPoint``):

============  ==============================  ===================================================
file          keys                            note
============  ==============================  ===================================================
currterm      currTerm, voteLeader            the vote is empty when there is none
checkpoint    endIndex, committedIndex        Java's
checkpoint    flushedIndex, flushedTerm,      ours: the last entry that is known to be durable,
              flushedPos                      and where it begins; Java drops them when it writes
============  ==============================  ===================================================

Rules of this file: a file is written to a temporary one, fsynced, renamed, and its directory fsynced,
before anybody relies on it; a term that was lost is never made up.
"""

from __future__ import annotations

from typing import NamedTuple

from ledgermq.dledger.codes import DLedgerCode
from ledgermq.dledger.ledger import LedgerError
from ledgermq.dledger.messages import NO_INDEX, NO_TERM
from ledgermq.runtime.properties_text import parse_properties
from ledgermq.store.disk import Disk

UNKNOWN_VOTE = "?"
"""The vote of a term in which it is not known: no member's name, so nobody gets a second one."""


class FlushedEntry(NamedTuple):
    """An entry that an fsync has covered, with all before it; last_index -1: none is known."""

    last_index: int = NO_INDEX
    term: int = NO_TERM
    pos: int = 0


NOTHING_FLUSHED = FlushedEntry()


class Checkpoint(NamedTuple):
    committed_index: int = NO_INDEX
    flushed: FlushedEntry = NOTHING_FLUSHED


def encode_checkpoint(checkpoint: Checkpoint, end_index: int) -> bytes:
    flushed = checkpoint.flushed
    text = f"endIndex={end_index}\ncommittedIndex={checkpoint.committed_index}\n"
    if flushed.last_index >= 0:
        text += f"flushedIndex={flushed.last_index}\nflushedTerm={flushed.term}\nflushedPos={flushed.pos}\n"
    return text.encode()


def decode_checkpoint(data: bytes | None) -> Checkpoint:
    """What a checkpoint file says; what is missing or no number promises nothing."""
    values = _properties(data)
    index, term, pos = (_number(values.get(key)) for key in ("flushedIndex", "flushedTerm", "flushedPos"))
    known = index is not None and term is not None and pos is not None
    flushed = NOTHING_FLUSHED
    if known and index is not None and term is not None and pos is not None:
        flushed = FlushedEntry(index, term, pos)
    committed = _number(values.get("committedIndex"))
    return Checkpoint(NO_INDEX if committed is None else committed, flushed)


def encode_state(term: int, vote: str) -> bytes:
    return f"currTerm={term}\nvoteLeader={vote}\n".encode()


def decode_state(data: bytes | None) -> tuple[int, str] | None:
    """Term and vote; None when this is no whole ``currterm``."""
    values = _properties(data)
    term = _number(values.get("currTerm"))
    if term is None or "voteLeader" not in values:
        return None
    return term, values["voteLeader"]


def load_state(disk: Disk, path: str, last_term: int) -> tuple[int, str]:
    """Term and vote of ``currterm``; (0, "") where nobody ever voted.

    Java replaces the file in three steps, and when it dies between them the new one is ``.tmp`` and the
    old one ``.bak``. ``last_term`` is that of the log's last entry, -1 without one. Raises OSError, and
    LedgerError when there is a log but no readable file: a member that forgot its vote could give a
    second one.
    """
    data = disk.read_file(path)
    state = decode_state(data)
    if state is None and data is None:
        state = _found_beside(disk, path)
        if state is None and last_term < 0:
            return 0, ""
    if state is None:
        raise LedgerError(
            DLedgerCode.DISK_ERROR,
            f"{path} is {'missing' if data is None else 'damaged'}, so the member's vote is lost: restore "
            "the file (the old one may be in currterm.bak), or remove the member's directory while the "
            "others have a majority, and it is filled again",
        )
    if state[0] < last_term:  # Java does not fsync the file: a power cut may leave an older one.
        return last_term, UNKNOWN_VOTE
    return state


def _found_beside(disk: Disk, path: str) -> tuple[int, str] | None:
    """The state of ``.tmp`` or ``.bak``, which gets its name before it is spoken of: saving the next one
    begins with emptying ``.tmp``."""
    for spare in (f"{path}.tmp", f"{path}.bak"):
        state = decode_state(disk.read_file(spare))
        if state is not None:
            fd = disk.open(spare)
            try:
                disk.sync_file(fd)
            finally:
                disk.close(fd)
            disk.rename(spare, path)
            disk.sync_directory(path.rpartition("/")[0] or ".")
            return state
    return None


def _properties(data: bytes | None) -> dict[str, str]:
    if data is None:
        return {}
    return {entry.key: entry.value for entry in parse_properties(data.decode("utf-8", "replace"))}


def _number(text: str | None) -> int | None:
    """An index, a term or a position; None for anything else."""
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 18:
        return None
    return int(text)
