"""Entries from the ledger: at once when they are in memory, else from disk on a worker.

Rules of this file: it is compiled; nothing here waits for a disk on the loop.
"""

from __future__ import annotations

from collections.abc import Callable

from ledgermq.dledger.ledger import Ledger, LedgerError
from ledgermq.dledger.messages import Entries
from ledgermq.dledger.workers import Worker


class LogReader:
    """Reads entries of ``ledger``; ``worker`` is not the one that flushes."""

    def __init__(self, ledger: Ledger, worker: Worker) -> None:
        self._ledger = ledger
        self._worker = worker
        self._asked = (-1, 0, -1)
        self._last: Entries | None = None
        """What was read last, and how: followers in step ask for the same."""

    def recent(self, first_index: int, max_bytes: int, last_index: int) -> Entries | None:
        """Entries from ``first_index`` on, whole ones of about ``max_bytes``; None when they are not in
        memory."""
        asked = (first_index, max_bytes, last_index)
        if self._last is not None and asked == self._asked:
            return self._last
        if not self._ledger.in_memory(first_index):
            return None
        try:
            self._last = self._ledger.read(first_index, max_bytes, last_index)
        except LedgerError:  # the log was shortened in between; ``fetch`` will say so
            return None
        self._asked = asked
        return self._last

    def fetch(
        self,
        first_index: int,
        max_bytes: int,
        last_index: int,
        then: Callable[[Entries], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        """The same from disk."""
        self._worker.run(lambda: self._ledger.read(first_index, max_bytes, last_index), then, failed)

    def forget(self) -> None:
        """The log was cut: what was read may not be there any more."""
        self._last = None
