"""Where entries may stand in data files of equal size.

Rules of this file: pure.
"""

from __future__ import annotations

from typing import Final

from ledgermq.dledger.entries import BLANK_BYTES

DATA_FILE_BYTES: Final = 1024 * 1024 * 1024
"""Java's default; all members of a group must have the same."""
INDEX_FILE_BYTES: Final = 32 * 5 * 1024 * 1024
"""Java's default."""


def fits(end_pos: int, first_pos: int, size: int, file_bytes: int, empty: bool) -> bool:
    """Whether ``size`` bytes of entries may begin at ``first_pos`` of a log that ends at ``end_pos``.

    They follow directly, or begin the next file: the leader knows whether its next entry did not fit.
    ``empty``: the log never had an entry, and may begin with any file (a broker's log went on from an
    older one).
    """
    base = first_pos - first_pos % file_bytes
    if size + BLANK_BYTES > base + file_bytes - first_pos:
        return False
    if first_pos == end_pos or (empty and first_pos == base):
        return True
    return (
        first_pos == base
        and end_pos % file_bytes != 0
        and base == end_pos - end_pos % file_bytes + file_bytes
    )
