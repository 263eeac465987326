"""The file ``checkpoint``: up to where the store is known to be safe, so that recovery need not read all of
it.

===  =======================  ==================================================================
at   field                    note
===  =======================  ==================================================================
0    log timestamp            ms, store time of the last message that was flushed
8    queue timestamp          ms, the same for consume queues
16   index timestamp          ms, end of the last full index file that was flushed
24   master flushed offset    of a slave's master
32   confirm offset
40   queue log offset         a record; all before it is in consume queues, durably: Java begins its
                              recovery from a crash with the log file that holds it
64   ours: magic              ``LMQ1``
68   ours: CRC-32             of the bytes from 72 to 120
72   ours: flushed offset     the log before it was fsynced
80   ours: stored record      a record; the units of all before it were written, maybe not fsynced
88   ours: log end            at a clean stop; else -1
96   ours: copy of 40         differs when Java has written since
104  ours: boot hash          of the running kernel: what was written survives while it is the same
112  ours: queue log offset   a record; all before it is in consume queues and index, durably
===  =======================  ==================================================================

The first six fields are Java's (``StoreCheckpoint``, six since 5.5.0); Java keeps what lies behind them. The
file has 4096 bytes; all numbers are int64, big endian.

Rules of this file: pure. Bytes that are no checkpoint decode to one that promises nothing.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Final

CHECKPOINT_BYTES: Final = 4096
_JAVA: Final = struct.Struct(">6q")
_OURS: Final = struct.Struct(">6q")
_HEAD: Final = struct.Struct(">4sI")
_OURS_AT: Final = 64
_MAGIC: Final = b"LMQ1"


@dataclass(slots=True)
class Checkpoint:
    """What a checkpoint file says. ``ours`` is false when ledgermq did not write it last."""

    log_ms: int = 0
    queue_ms: int = 0
    index_ms: int = 0
    master_flushed_offset: int = 0
    confirm_offset: int = 0
    queue_log_offset: int = 0
    ours: bool = False
    flushed_offset: int = 0
    stored_record: int = 0
    clean_end: int = -1
    boot_hash: int = 0
    java_recovers_from: int = 0
    """What the field at 40 says in a file of ours, at most ``queue_log_offset``: Java deletes, after a crash,
    the index file that was being filled, and indexes again no more than what it recovers.
    """


def boot_hash(boot_id: str) -> int:
    """A boot id as a number; 0, which equals none, where there is no boot id."""
    return zlib.crc32(boot_id.encode()) + 1 if boot_id else 0


def encode_checkpoint(checkpoint: Checkpoint) -> bytes:
    """The file's 4096 bytes."""
    data = bytearray(CHECKPOINT_BYTES)
    _JAVA.pack_into(
        data,
        0,
        checkpoint.log_ms,
        checkpoint.queue_ms,
        checkpoint.index_ms,
        checkpoint.master_flushed_offset,
        checkpoint.confirm_offset,
        checkpoint.java_recovers_from,
    )
    ours = _OURS.pack(
        checkpoint.flushed_offset,
        checkpoint.stored_record,
        checkpoint.clean_end,
        checkpoint.java_recovers_from,
        checkpoint.boot_hash,
        checkpoint.queue_log_offset,
    )
    _HEAD.pack_into(data, _OURS_AT, _MAGIC, zlib.crc32(ours))
    data[_OURS_AT + _HEAD.size : _OURS_AT + _HEAD.size + _OURS.size] = ours
    return bytes(data)


def decode_checkpoint(data: bytes | None) -> Checkpoint:
    """The checkpoint in ``data``; negative numbers count as 0."""
    if data is None or len(data) < _JAVA.size:
        return Checkpoint()
    checkpoint = Checkpoint(*(max(0, value) for value in _JAVA.unpack_from(data)))
    end = _OURS_AT + _HEAD.size + _OURS.size
    if len(data) < end:
        return checkpoint
    magic, crc = _HEAD.unpack_from(data, _OURS_AT)
    ours = data[_OURS_AT + _HEAD.size : end]
    if magic != _MAGIC or crc != zlib.crc32(ours):
        return checkpoint
    flushed, stored, clean_end, java_recovers_from, boot, queue_log_offset = _OURS.unpack(ours)
    if java_recovers_from == checkpoint.queue_log_offset:
        checkpoint.ours = True
        checkpoint.java_recovers_from = java_recovers_from
        checkpoint.queue_log_offset = queue_log_offset
        checkpoint.flushed_offset = flushed
        checkpoint.stored_record = stored
        checkpoint.clean_end = clean_end
        checkpoint.boot_hash = boot
    return checkpoint
