"""Looking through consume-queue units, for recovery.

Rules of this file: it is compiled; pure.
"""

from __future__ import annotations

from typing import Final

from librt.strings import read_i32_be, read_i64_be
from mypy_extensions import i64

UNIT_BYTES: Final[i64] = 20
PRE_BLANK_SIZE: Final[i64] = 0x7FFFFFFF


def count_units(data: bytes, previous: i64) -> i64:
    """How many units from the beginning of ``data`` can be units of one queue.

    Units name records in log order; ``previous`` is the log offset of the unit before, -1 when there is none.
    Pre-blank units name none. The first unit of zeros, or out of order, ends the queue.
    """
    end: i64 = len(data)
    i: i64 = 0
    while i + UNIT_BYTES <= end:
        log_offset: i64 = read_i64_be(data, i)
        size: i64 = i64(read_i32_be(data, i + 8))
        if size == PRE_BLANK_SIZE and log_offset == 0:
            i += UNIT_BYTES
            continue
        if size <= 0 or log_offset <= previous:
            break
        previous = log_offset
        i += UNIT_BYTES
    return i // UNIT_BYTES


def last_named(data: bytes) -> i64:
    """Log offset in the last unit of ``data`` that names a record, -1 when none does."""
    i: i64 = len(data) // UNIT_BYTES * UNIT_BYTES
    while i > 0:
        i -= UNIT_BYTES
        if i64(read_i32_be(data, i + 8)) != PRE_BLANK_SIZE:
            return read_i64_be(data, i)
    return -1
