"""What a member does from time to time: its checkpoint, and removing the log's head.

The checkpoint holds the committed index, so that a restart need not wait for a leader to learn it again. The
head of the log goes when a snapshot has it, or when its files have expired; never what is not committed, what
a state machine has no snapshot of, or what a follower in step still needs.

Rules of this file: disk work on the worker; nothing here is urgent, and what fails is tried again next time.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from ledgermq.dledger.committed import Committed
from ledgermq.dledger.core import Core
from ledgermq.dledger.driver import Driver
from ledgermq.dledger.ledger import Ledger
from ledgermq.dledger.progress import ProgressState
from ledgermq.dledger.settings import DLedgerSettings
from ledgermq.dledger.workers import Worker

log: Final = logging.getLogger("ledgermq.dledger")


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
        self._settings = settings
        self._ledger = ledger
        self._worker = worker
        self._driver = driver
        self._committed = committed
        self._saved_index = -1
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._saved_index = self._committed.commit_index
        self._wait()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._settings.check_point_interval / 1000, self._on_time)

    def _on_time(self) -> None:
        commit_index = self._committed.commit_index
        if commit_index != self._saved_index:
            self._saved_index = commit_index
            self._worker.run(
                lambda: self._ledger.save_checkpoint(commit_index),
                lambda _: None,
                lambda error: log.error("the checkpoint could not be written: %s", error),
            )
        self._wait()

    # ---- the head of the log ----

    def snapshot_saved(self, oldest_index: int) -> None:
        """Snapshots reach back to entry ``oldest_index``: the log need not reach further back."""
        self.delete_before(oldest_index + 1)

    def _needed_from(self, core: Core) -> int:
        """The lowest entry that a follower in step has not got, or that is not committed."""
        needed = core.commit_index + 1
        for member in core.members:
            progress = core.progress_of(member)
            if progress is not None and progress.state is ProgressState.APPEND:
                needed = min(needed, progress.match + 1)
        return needed

    def delete_before(self, index: int) -> None:
        """Remove the entries before ``index``, as far as nobody needs them; whole data files only."""
        core = self._driver.core
        if core is None:
            return
        index = min(index, self._needed_from(core))
        if index <= self._ledger.first_index:
            return
        self._worker.run(
            lambda: self._ledger.delete_before(index),
            self._deleted,
            lambda error: log.error("the head of the log could not be deleted: %s", error),
        )

    def _deleted(self, first_index: int) -> None:
        self._driver.hear(lambda core, _: core.log_starts_at(first_index))
