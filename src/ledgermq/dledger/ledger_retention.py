"""Which data files of a ledger to delete: decided here, carried out by ``FileLedger.delete_before``.

Whole files, oldest first, at most ten at a time, never the last one and never an entry from ``keep_from``
on:

* expired ones, last written longer ago than ``reserved_hours``, at the hour of ``DELETE_HOUR`` or when
  the disk is fuller than ``check_ratio``;
* any, expired or not, when the disk is fuller than ``force_ratio``

(Java: ``DLedgerMmapFileStore.CleanSpaceService``).

Rules of this file: pure; time and fullness are arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

HOUR_MS: Final = 3_600_000
FILES_MAX: Final = 10
"""Of one round (Java: DELETE_FILES_BATCH_MAX)."""
DELETE_HOUR: Final = 4
"""Of the day, local time (Java: ``deleteWhen``)."""


class DataFile(NamedTuple):
    """A data file as retention sees it."""

    last_index: int
    """Of its last entry."""
    modified_ms: int


@dataclass(frozen=True, slots=True)
class Retention:
    """The settings of one member."""

    reserved_hours: int = 72
    check_ratio: float = 0.70
    force_ratio: float = 0.85

    def delete_before(
        self, files: Sequence[DataFile], used_ratio: float, now_ms: int, local_hour: int, keep_from: int
    ) -> int:
        """The index before which entries may go now, at most ``keep_from``; 0: none.

        ``keep_from`` is the lowest entry that a follower, a state machine or the commit still needs.
        """
        forced = used_ratio > self.force_ratio
        due = forced or local_hour == DELETE_HOUR or used_ratio > self.check_ratio
        index = 0
        if not due:
            return index
        for file in files[:-1][:FILES_MAX]:
            expired = now_ms - file.modified_ms >= max(1, self.reserved_hours) * HOUR_MS
            if not (expired or forced) or file.last_index >= keep_from:
                break
            index = file.last_index + 1
        return index
