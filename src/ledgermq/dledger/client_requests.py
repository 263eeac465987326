"""What clients ask of a member: appends, linearizable reads, the transfer of the leadership.

Rules of this file: it is compiled; each request that was taken is answered exactly once, by a call of its
``done`` on the loop; one that is not taken raises Refused.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

from ledgermq.dledger.codes import DLedgerCode, Role
from ledgermq.dledger.committed import Committed
from ledgermq.dledger.core import Core
from ledgermq.dledger.driver import Driver
from ledgermq.dledger.ledger import LedgerError
from ledgermq.dledger.log_reader import LogReader
from ledgermq.dledger.member import Refused
from ledgermq.dledger.messages import Entries, FailProposals, ReadFailed, ReadReady, TransferDone
from ledgermq.dledger.proposals import Done, Proposals
from ledgermq.dledger.read_requests import ReadDone, ReadRequests
from ledgermq.runtime.limits import WAITING_READS_MAX

log: Final = logging.getLogger("ledgermq.dledger")

_LEADER: Final = Role.LEADER

Got = Callable[[int, Entries | None], None]


class ClientRequests:
    """The requests of one member's clients."""

    def __init__(
        self,
        self_id: str,
        driver: Driver,
        proposals: Proposals,
        committed: Committed,
        reader: LogReader,
        body_bytes_max: int,
    ) -> None:
        self._self_id = self_id
        self._driver = driver
        self._proposals = proposals
        self._committed = committed
        self._reader = reader
        self._body_bytes_max: int = body_bytes_max
        self._reads = ReadRequests()
        self._transfer_done: Callable[[int], None] | None = None
        driver.carry[FailProposals] = self._proposals_failed
        driver.carry[ReadReady] = self._read_ready
        driver.carry[ReadFailed] = self._read_failed
        driver.carry[TransferDone] = self._transfer_ended

    @property
    def term(self) -> int:
        core = self._driver.core
        return -1 if core is None else core.term

    # ---- appends ----

    def append(self, bodies: Sequence[bytes], done: Done) -> None:
        """Append an entry for each of ``bodies``, consecutive ones."""
        self._leading()
        if not bodies:
            raise Refused(DLedgerCode.REQUEST_WITH_EMPTY_BODYS, "nothing to append")
        size = 0
        for body in bodies:
            if len(body) > self._body_bytes_max:
                text = f"an entry of {len(body)} bytes, allowed are {self._body_bytes_max}"
                raise Refused(DLedgerCode.UNEXPECTED_ARGUMENT, text)
            size += len(body)
        if not self._proposals.add(bodies, size, done):
            text = f"{self._proposals.count} entries, {self._proposals.bytes} bytes, wait already"
            raise Refused(DLedgerCode.LEADER_PENDING_FULL, text)
        self._driver.schedule()

    def _leading(self) -> Core:
        core = self._driver.running()
        if self._driver.is_full and core.leader_id in (None, self._self_id):
            raise Refused(DLedgerCode.DISK_FULL, f"{self._self_id} takes no entries: its disk is full")
        if core.role is not _LEADER:
            text = f"{self._self_id} does not lead, {core.leader_id or 'nobody'} does"
            raise Refused(DLedgerCode.NOT_LEADER, text)
        return core

    def hand_over(self, core: Core, now_ms: int) -> bool:
        """At the end of a turn: the appends and the reads that it brought, each kind together. Returns
        whether there were any. Raises FullError, OSError.
        """
        if not self._proposals.has_new and not self._reads.has_new:
            return False
        if self._proposals.has_new:
            bodies = self._proposals.new_bodies()
            try:
                first_index = core.propose(now_ms, len(bodies))
            except Refused as refusal:
                self._proposals.refuse_new(refusal.code)
            else:
                try:
                    positions = self._driver.write_bodies(first_index, core.term, bodies)
                except OSError:
                    # Some of it may be on the disk, and come into the log with the next start.
                    self._proposals.refuse_new(DLedgerCode.INTERNAL_ERROR)
                    raise
                self._proposals.written(first_index, positions)
        if self._reads.has_new:
            core.read(now_ms, self._reads.ask())
        return True

    def refuse_new(self, code: int) -> None:
        """What was not written yet will not be: the leadership that took it is over, and the next one, even
        of this member, has another log."""
        self._proposals.refuse_new(code)

    def _proposals_failed(self, effect: FailProposals) -> None:
        self._proposals.failed(effect.first_index, effect.last_index, effect.code)

    # ---- reads ----

    def read(self, done: ReadDone) -> None:
        """``done(SUCCESS)`` when everything that was acknowledged before this call is visible here."""
        self._leading()
        waiting = self._reads.count + self._committed.waiting_count
        if waiting >= WAITING_READS_MAX:
            raise Refused(DLedgerCode.LEADER_PENDING_FULL, f"{waiting} reads wait already")
        self._reads.add(done)
        self._driver.schedule()

    def get(self, index: int, done: Got) -> None:
        """A linearizable read of one entry: ``done(SUCCESS, entry)``, or a code that says why there is
        none."""
        self.read(lambda code: self._get(index, code, done))

    def _get(self, index: int, code: int, done: Got) -> None:
        core = self._driver.core
        if code == DLedgerCode.SUCCESS and core is not None:
            if index < core.first_index:
                code = DLedgerCode.INDEX_LESS_THAN_LOCAL_BEGIN
            elif index > self._committed.visible_index:
                code = DLedgerCode.INDEX_OUT_OF_RANGE
        if code != DLedgerCode.SUCCESS:
            done(code, None)
            return
        entry = self._reader.recent(index, 1, index)
        if entry is not None:
            done(code, entry)
            return

        def failed(error: BaseException) -> None:
            log.warning("entry %d cannot be read: %s", index, error)
            done(error.code if isinstance(error, LedgerError) else DLedgerCode.DISK_ERROR, None)

        self._reader.fetch(index, 1, index, lambda read: done(code, read), failed)

    def _read_ready(self, effect: ReadReady) -> None:
        for done in self._reads.take(effect.token):
            self._committed.when_visible(effect.index, done)

    def _read_failed(self, effect: ReadFailed) -> None:
        for done in self._reads.take(effect.token):
            done(effect.code)

    # ---- the leadership ----

    def transfer(self, to: str, done: Callable[[int], None]) -> None:
        """Give the leadership to ``to``: ``done`` is called with a code."""
        self._driver.running().transfer(self._driver.now_ms(), to)
        self._transfer_done = done
        self._driver.schedule()

    def _transfer_ended(self, effect: TransferDone) -> None:
        done, self._transfer_done = self._transfer_done, None
        if done is not None:
            done(effect.code)

    # ---- the end ----

    def fail_all(self, code: int) -> None:
        """Nobody who waits will learn here what becomes of it; ``code`` is for what was not even begun."""
        self._proposals.refuse_new(code)
        self._proposals.fail_all(DLedgerCode.TERM_CHANGED)
        for done in self._reads.take_all():
            done(DLedgerCode.NOT_LEADER)
        self._committed.fail_waiting(DLedgerCode.NOT_LEADER)
        self._transfer_ended(TransferDone(DLedgerCode.TERM_CHANGED))
