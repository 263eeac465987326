"""When a simulated broker takes messages, and what becomes of them: ``broker/group_member.py`` and
``broker/group_commits.py`` without a loop.

Rules of this file: the decisions are those of these modules, line for line; the mutants break each once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ledgermq.dledger.codes import DLedgerCode, Role
from ledgermq.dledger.core import Refused
from ledgermq.testing.simulation.broker_machine import BrokerMachine, SimMessage
from ledgermq.testing.simulation.queue_checks import QueueChecks

if TYPE_CHECKING:
    from ledgermq.testing.simulation.node import SimNode

_LOOK_AGAIN_US: Final = 50_000


class Leading:
    """One life of a member with a broker's store."""

    def __init__(self, node: SimNode, machine: BrokerMachine, checks: QueueChecks) -> None:
        self._node = node
        self._machine = machine
        self._checks = checks
        self._scheduled = False
        self._looks_again = False

    def gather(self, messages: list[SimMessage]) -> None:
        """Messages come in; they are proposed when this turn of the loop is over."""
        if not self._machine.gather(messages) or self._scheduled:
            return
        self._scheduled = True
        self._node.later(0, self._propose)

    def _propose(self) -> None:
        self._scheduled = False
        bodies, foreseen_end = self._machine.take_bodies()
        if not bodies:
            return  # The leadership was lost meanwhile.
        try:
            self._node.propose_now(bodies)
        except Refused:
            self.refused()
            return
        self._checks.foreseen(self._node.id, foreseen_end, self._node.ledger.end_pos)

    def failed(self, code: int) -> None:
        """Proposals were given up."""
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
        if not self._machine.leading and self._node.running.role is Role.LEADER:
            self.refused()

    def role_changed(self) -> None:
        if self._node.running.role is not Role.LEADER:
            self._machine.follow()
        self.look()

    def look(self) -> None:
        node, machine = self._node, self._machine
        core, ledger = node.running, node.ledger
        in_term = ledger.last_term == core.term
        if (
            not machine.leading
            and core.role is Role.LEADER
            and in_term
            and node.applied_index == ledger.last_index
        ):
            machine.lead()
