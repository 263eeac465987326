"""What a member does from time to time: its checkpoint, and removing the log's head.

The checkpoint holds the committed index, so that a restart need not wait for a leader to learn it again. The
head of the log goes when a snapshot has it, or when its files have expired or the disk is too full; never
what is not committed, what a state machine has no snapshot of, or what a follower in step still needs.

Rules of this file: disk work on the worker; nothing here is urgent, and what fails is tried again next time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from ledgermq.dledger.committed import Committed
from ledgermq.dledger.core import Core
from ledgermq.dledger.driver import Driver
from ledgermq.dledger.file_ledger import FileLedger
from ledgermq.dledger.ledger import Ledger
from ledgermq.dledger.ledger_retention import Retention
from ledgermq.dledger.progress import ProgressState
from ledgermq.dledger.settings import DLedgerSettings
from ledgermq.dledger.workers import Worker
from ledgermq.runtime.clock import local_hour, now_ms

log: Final = logging.getLogger("ledgermq.dledger")

CLEAN_SECONDS: Final = 10.0
"""Between two looks at the age of files and the room on the disk."""


class Chores:
    """The chores of one member."""

    def __init__(
        self,
        settings: DLedgerSettings,
        ledger: Ledger,
        worker: Worker,
        driver: Driver,
        committed: Committed,
    ) -> None:
        self._check_point_seconds = settings.check_point_interval / 1000
        self._retention = Retention(
            settings.file_reserved_hours,
            settings.disk_space_ratio_to_check_expired,
            settings.disk_space_ratio_to_force_clean,
        )
        self._ledger = ledger
        self._worker = worker
        self._driver = driver
        self._committed = committed
        self._saved_index = -1
        self._timers: dict[Callable[[], None], asyncio.TimerHandle] = {}

    def start(self) -> None:
        self._saved_index = self._committed.commit_index
        self._wait(self._check_point_seconds, self._save_checkpoint)
        self._wait(CLEAN_SECONDS, self._clean)

    def stop(self) -> None:
        for timer in self._timers.values():
            timer.cancel()

    def _wait(self, seconds: float, chore: Callable[[], None]) -> None:
        self._timers[chore] = asyncio.get_running_loop().call_later(seconds, chore)

    def _save_checkpoint(self) -> None:
        self._wait(self._check_point_seconds, self._save_checkpoint)
        commit_index = self._committed.commit_index

        def saved(_: object) -> None:
            self._saved_index = commit_index

        if commit_index != self._saved_index:
            self._worker.run(
                lambda: self._ledger.save_checkpoint(commit_index),
                saved,
                lambda error: log.error("the checkpoint could not be written: %s", error),
            )

    # ---- the head of the log ----

    def delete_before(self, index: int) -> None:
        """Remove the entries before ``index``, as far as nobody needs them; whole data files only."""
        core = self._driver.core
        if core is not None:
            keep_from = self._needed_from(core)
            self._delete(lambda: min(index, keep_from, self._committed.needed_from()))

    def _clean(self) -> None:
        self._wait(CLEAN_SECONDS, self._clean)
        core, ledger = self._driver.core, self._ledger
        if core is None or not isinstance(ledger, FileLedger):
            return
        keep_from = self._needed_from(core)

        def expired() -> int:
            keep = min(keep_from, self._committed.needed_from())
            files, used_ratio = ledger.data_files(), ledger.used_ratio
            return self._retention.delete_before(files, used_ratio, now_ms(), local_hour(), keep)

        self._delete(expired)

    def _needed_from(self, core: Core) -> int:
        """The lowest entry that a follower in step has not got, or that may yet be the log's last.

        The last committed one is: when all behind it is cut, votes depend on its term, which the files know
        only while they have it.
        """
        needed = core.commit_index
        for member in core.members:
            progress = core.progress_of(member)
            if progress is not None and progress.state is ProgressState.APPEND:
                needed = min(needed, progress.match + 1)
        return needed

    def _delete(self, index_of: Callable[[], int]) -> None:
        ledger = self._ledger

        def delete() -> int:
            index = index_of()
            return ledger.delete_before(index) if index > ledger.first_index else ledger.first_index

        self._worker.run(
            delete,
            lambda first_index: self._driver.hear(lambda core, _: core.log_starts_at(first_index)),
            lambda error: log.error("the head of the log could not be deleted: %s", error),
        )
