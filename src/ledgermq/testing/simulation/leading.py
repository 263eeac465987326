"""When a simulated broker takes messages, and what becomes of them: ``broker/group_member.py`` and
``broker/group_commits.py`` without a loop.

Rules of this file: the decisions are those of these modules, line for line; the mutants break each once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ledgermq.dledger.codes import DLedgerCode, Role
from ledgermq.dledger.core import Refused
from ledgermq.testing.simulation.broker_machine import BrokerMachine, SimMessage
from ledgermq.testing.simulation.queue_checks import QueueChecks

if TYPE_CHECKING:
    from ledgermq.testing.simulation.member import SimMember
    from ledgermq.testing.simulation.node import SimNode

_LOOK_AGAIN_US: Final = 50_000


class Leading:
    """One life of a member with a broker's store."""

    def __init__(self, node: SimNode, member: SimMember, machine: BrokerMachine, checks: QueueChecks) -> None:
        self._node = node
        self._member = member
        self._machine = machine
        self._checks = checks
        self._scheduled = False
        self._looks_again = False
        self._told: list[Callable[[], None]] = []
        """Who waits for what is gathered."""
        self._turns: deque[tuple[int, int, list[Callable[[], None]]]] = deque()
        """Index and term of the last entry of each turn that was proposed, and who waits for it."""
        machine.on_appended = self.appended
        machine.when_committed = self._told.append

    def gather(self, messages: list[SimMessage], batch: bool) -> None:
        """Messages come in; they are proposed when this turn of the loop is over."""
        if self._machine.gather(messages, batch):
            self.appended()

    def administer(self, kind: str, number: int) -> None:
        self._machine.administer(kind, number)

    def appended(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._node.later(0, self._propose)

    def _propose(self) -> None:
        self._scheduled = False
        bodies, foreseen_end = self._machine.take_bodies()
        told = list(self._told)
        self._told.clear()
        if not bodies:
            return  # The leadership was lost meanwhile.
        try:
            self._member.propose_now(bodies)
        except Refused:
            self.refused()
            return
        ledger = self._member.ledger
        self._checks.foreseen(self._node.id, foreseen_end, ledger.end_pos)
        self._turns.append((ledger.last_index, ledger.last_term, told))

    def applied(self) -> None:
        """Who waits for what is applied now is told."""
        ledger = self._member.ledger
        while self._turns and self._turns[0][0] <= self._member.applied_index:
            index, term, told = self._turns.popleft()
            if ledger.term_at(index) == term:
                for tell in told:
                    tell()

    def failed(self, code: int) -> None:
        """Proposals were given up."""
        self._turns.clear()
        if code != DLedgerCode.WAIT_QUORUM_ACK_TIMEOUT:
            self.refused()

    def refused(self) -> None:
        self._machine.follow()
        if not self._looks_again:
            self._looks_again = True
            self._node.later(_LOOK_AGAIN_US, self._look_again)

    def _look_again(self) -> None:
        self._looks_again = False
        self.look()
        if not self._machine.leading and self._member.core.role is Role.LEADER:
            self.refused()

    def role_changed(self) -> None:
        if self._member.core.role is not Role.LEADER:
            self._machine.follow()
        self.look()

    def look(self) -> None:
        member, machine = self._member, self._machine
        core, ledger = member.core, member.ledger
        in_term = ledger.last_term == core.term
        if (
            not machine.leading
            and core.role is Role.LEADER
            and in_term
            and member.applied_index == ledger.last_index
        ):
            machine.lead(core.term)
