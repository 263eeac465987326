"""When the store deletes old messages, and when it takes no new ones: decided here, carried out by the store.

Deleted are whole files of the log, oldest first, never the last one, at most ``deleteFileBatchMax`` at a
time:

* expired ones (last written longer ago than ``fileReservedTime``) at the hours of ``deleteWhen``, at any hour
  when the disk is fuller than ``diskMaxUsedSpaceRatio``, and when an operator asks;
* any, expired or not, when the disk is fuller than ``diskSpaceCleanForciblyRatio`` (with
  ``cleanFileForciblyEnable``).

Sends are refused while the disk is fuller than ``diskSpaceWarningLevelRatio``. Consume-queue and index files
go with the log files that they name (Java: ``CleanCommitLogService``).

Rules of this file: pure; time and fullness are arguments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ledgermq.runtime.config import StoreConfig

HOUR_MS: Final = 3_600_000
MANUAL_ROUNDS: Final = 20
"""Rounds in which expired files are deleted after an operator asked (Java: MAX_MANUAL_DELETE_FILE_TIMES)."""


@dataclass(slots=True, frozen=True)
class LogFile:
    """A file of the log as retention sees it."""

    base: int
    modified_ms: int


@dataclass(slots=True)
class Retention:
    """The deciding state of one store."""

    config: StoreConfig
    manual_rounds: int = 0
    disk_full: str = ""
    """Why sends are refused; empty while there is room."""

    def delete_now(self) -> None:
        """An operator asks for expired files to be deleted."""
        self.manual_rounds = MANUAL_ROUNDS

    def observe_disk(self, used_ratio: float) -> None:
        """Take note of how full the disk is, 0 to 1; sends are refused and accepted again accordingly."""
        limit = min(max(self.config.disk_space_warning_level_ratio, 35), 100)
        if used_ratio * 100 > limit:
            self.disk_full = (
                f"disk is {used_ratio:.1%} full, above diskSpaceWarningLevelRatio={limit} %: "
                "free some space, messages are taken again by themselves"
            )
        else:
            self.disk_full = ""

    def files_to_delete(
        self, files: list[LogFile], used_ratio: float, now_ms: int, local_hour: int
    ) -> list[LogFile]:
        """Which files to delete now; ``files`` is the whole log, oldest first."""
        config = self.config
        used_percent = used_ratio * 100
        forcibly = config.clean_file_forcibly_enable and used_percent > config.disk_space_clean_forcibly_ratio
        manual = self.manual_rounds > 0
        if manual:
            self.manual_rounds -= 1
        hours = {int(hour) for hour in config.delete_when.split(";")}
        due = manual or local_hour in hours or used_percent > config.disk_max_used_space_ratio
        if not due and not forcibly:
            return []
        chosen: list[LogFile] = []
        for file in files[:-1]:
            expired = now_ms - file.modified_ms > config.file_reserved_time * HOUR_MS
            if not (forcibly or expired) or len(chosen) >= config.delete_file_batch_max:
                break
            chosen.append(file)
        return chosen
