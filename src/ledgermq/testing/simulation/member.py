"""One life of a simulated member: it tells the core what happens and carries out what the core wants, as
``dledger.node`` and ``dledger.driver`` do.

Rules of this file: the driver's duties towards the core, each of which the mutants break once:

* Effects are carried out one after the other; a proposal is written at once, behind the effects before it.
* What SendAfterPersist holds leaves when an fsync covers it, and never after a SaveState, Truncate or Reset.
* An fsync that began before a Truncate or Reset says nothing about the log after it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ledgermq.dledger.codes import DLedgerCode, PushKind, Role, VoteResult
from ledgermq.dledger.core import Core, CoreConfig, Refused
from ledgermq.dledger.entries import ENTRY_HEAD_BYTES
from ledgermq.dledger.held import Held
from ledgermq.dledger.ledger import Ledger
from ledgermq.dledger.messages import (
    NO_TERM,
    Append,
    AppendNoop,
    Commit,
    FailProposals,
    InstallReceived,
    InstallSnapshotReply,
    Message,
    Push,
    ReadFailed,
    ReadReady,
    Reset,
    RoleChanged,
    SaveState,
    Send,
    SendAfterPersist,
    SendEntries,
    SendSnapshot,
    SnapshotPiece,
    TransferDone,
    Truncate,
    VoteReply,
)
from ledgermq.testing.simulation.broker_machine import BrokerMachine
from ledgermq.testing.simulation.checks import Checks, Violation
from ledgermq.testing.simulation.events import EventQueue
from ledgermq.testing.simulation.faults import Faults
from ledgermq.testing.simulation.java_core import JavaCore
from ledgermq.testing.simulation.leading import Leading
from ledgermq.testing.simulation.machine import Snapshot
from ledgermq.testing.simulation.network import Network
from ledgermq.testing.simulation.queue_checks import QueueChecks
from ledgermq.testing.simulation.snapshot_exchange import SnapshotExchange

if TYPE_CHECKING:
    from ledgermq.testing.simulation.node import SimNode

_SETTLE_MAX: Final = 10_000
"""Rounds of effects in one turn: a core that never has enough hangs its node."""
_PUSH_BYTES: Final = 1 << 20
_SMALL_PUSH_BYTES: Final = (1, 1, 200)
_YOUNG_STEPS: Final = 60


class Surroundings(msgspec.Struct, frozen=True):
    """What all members of a run have in common."""

    events: EventQueue
    random: Random
    faults: Faults
    network: Network
    checks: Checks
    queue_checks: QueueChecks
    config: CoreConfig
    members: tuple[str, ...]
    java: tuple[str, ...]
    """The members that are Java's."""
    trace: Callable[[str, str], None] | None


class SimMember:
    """One life of ``node``, whose ledger and state machine are open, with ``applied_index`` applied. All that
    happens to it happens in a turn of the node."""

    def __init__(
        self, node: SimNode, world: Surroundings, core: Core | JavaCore, ledger: Ledger, applied_index: int
    ) -> None:
        self.id: Final = node.id
        self.core: Final = core
        self.ledger: Final = ledger
        self.applied_index = applied_index
        self._commit_index = core.commit_index
        self._node = node
        self._machine = node.machine
        self._world = world
        self._random = world.random
        self._checks = world.checks
        self._held = Held()
        self._flush_runs = False
        self._flush_stale = False
        """The log was cut since the fsync began."""
        self.leading: Final = (
            Leading(node, self, node.machine, world.queue_checks)
            if isinstance(node.machine, BrokerMachine)
            else None
        )
        self._snapshots = SnapshotExchange(node, self)
        self._proposals: dict[int, tuple[int, bytes]] = {}
        """Index -> (term, body) of the proposals that a client waits for."""
        self._reads: dict[int, int] = {}
        """Token -> what was known when it was asked."""
        self._ready: list[tuple[int, int]] = []
        """(index, token) of the reads that wait for the state machine."""
        self._next_token = 0
        self._carry_out: dict[type, Callable[[Any], None]] = {
            SaveState: self._save_state,
            Append: self._append,
            AppendNoop: self._append_noop,
            Truncate: self._truncate,
            Reset: self._reset,
            Send: self.send,
            SendAfterPersist: self._send_after_persist,
            SendEntries: self._send_entries,
            SendSnapshot: self._snapshots.send,
            SnapshotPiece: self._snapshots.piece,
            InstallReceived: self._install_received,
            Commit: self._commit,
            FailProposals: self._fail_proposals,
            RoleChanged: self._role_changed,
            ReadReady: self._read_ready,
            ReadFailed: self._read_failed,
            TransferDone: self._transfer_done,
        }

    # ---- a turn ----

    def end_turn(self) -> None:
        """All that this turn has brought was heard."""
        self.settle()
        ledger = self.ledger
        if self.core.persisted_index < ledger.last_index and not ledger.dirty:
            # A truncation made durable what is left, or an fsync covered more than it was asked for.
            self.persisted(ledger.last_index, ledger.last_term)
            self.settle()

    def settle(self) -> None:
        """Carry out effects until there are none."""
        core, carry_out, step = self.core, self._carry_out, self._node.fuse.step
        trace = self._world.trace
        for _ in range(_SETTLE_MAX):
            effects = core.take()
            if not effects:
                return
            for effect in effects:
                step()
                if trace is not None and type(effect) is not Send:
                    trace(self.id, f"  {effect}")
                carry_out[type(effect)](effect)
        raise Violation("the core settles", f"{self.id} has effects without end, the last is {effects[-1]}")

    def agree(self) -> None:
        core, ledger = self.core, self.ledger
        if core.last_index != ledger.last_index or core.term_at(core.last_index) != ledger.last_term:
            raise Violation(
                "core and ledger agree",
                f"{self.id}'s core ends at {core.last_index} of term {core.term_at(core.last_index)}, its"
                f" ledger at {ledger.last_index} of term {ledger.last_term}",
            )
        known = self.applied_index <= self._commit_index == core.commit_index
        if core.commit_index > core.last_index or not known:
            raise Violation(
                "applied in order",
                f"{self.id} has applied {self.applied_index}, committed {core.commit_index} of"
                f" {core.last_index}",
            )
        self._checks.has_term(self.id, core.term)

    # ---- events of the core ----

    def receive(self, sender: str, message: Message) -> None:
        if self._world.trace is not None:
            self._world.trace(self.id, f"<- {sender} {message}")
        self.core.receive(self._node.now_ms(), sender, message)
        if type(message) is InstallSnapshotReply:
            self._snapshots.answered(sender, message)

    def disconnected(self, peer: str) -> None:
        self.core.disconnected(self._node.now_ms(), peer)

    def propose(self, bodies: Sequence[bytes]) -> None:
        try:
            self.propose_now(bodies)
        except Refused as refused:
            if self._world.trace is not None:
                self._world.trace(self.id, f"refuses a proposal: {refused}")

    def propose_now(self, bodies: Sequence[bytes]) -> None:
        """Raises Refused."""
        core = self.core
        if self._node.storage.full:
            raise Refused(DLedgerCode.DISK_FULL, "the disk is full")
        self.settle()  # What the core has written so far stands before the proposal.
        first_index = core.propose(self._node.now_ms(), len(bodies))
        if self._world.trace is not None:
            last_index = first_index + len(bodies) - 1
            self._world.trace(self.id, f"is asked to append {first_index}..{last_index} of term {core.term}")
        self._write(first_index, core.term, bodies)
        for index, body in enumerate(bodies, first_index):
            self._proposals[index] = core.term, body

    def read(self, seen_index: int) -> None:
        self._next_token += 1
        self._reads[self._next_token] = seen_index
        self.core.read(self._node.now_ms(), self._next_token)

    def transfer(self, to: str) -> None:
        try:
            self.core.transfer(self._node.now_ms(), to)
        except Refused as refused:
            if self._world.trace is not None:
                self._world.trace(self.id, f"refuses a transfer: {refused}")

    # ---- effects: the ledger ----

    def _save_state(self, effect: SaveState) -> None:
        self.ledger.save_state(effect.term, effect.vote)
        self._held.drop()
        self._checks.saved(self.id, effect.term, effect.vote)

    def _write(self, first_index: int, term: int, bodies: Sequence[bytes]) -> None:
        self.ledger.append_bodies(first_index, term, bodies)
        self._wrote(first_index)

    def _append_noop(self, effect: AppendNoop) -> None:
        self._write(effect.index, effect.term, [self._machine.opening_body(self.ledger.end_pos)])

    def _append(self, effect: Append) -> None:
        self.ledger.append(effect.entries)
        self._wrote(effect.entries.first_index)

    def _wrote(self, first_index: int) -> None:
        ledger = self.ledger
        prev_term: int | None = ledger.term_at(first_index - 1)
        if prev_term == NO_TERM and first_index > 0:
            prev_term = None
        for index in range(first_index, ledger.last_index + 1):
            item = (ledger.term_at(index), ledger.body(index))
            self._checks.appended(self.id, index, item, prev_term)
            prev_term = item[0]

    def _truncate(self, effect: Truncate) -> None:
        self._checks.truncated(self.id, effect.last_index, self.applied_index)
        self.ledger.truncate(effect.last_index, effect.base_term)
        self._cut()

    def _reset(self, effect: Reset) -> None:
        self.ledger.reset(effect.last_index, effect.last_term, effect.next_pos)
        self._cut()

    def _cut(self) -> None:
        self._held.drop()
        self._flush_stale = True

    def begin_flush(self) -> None:
        if self._flush_runs or not self.ledger.dirty:
            return
        self._flush_runs = True
        self._flush_stale = False
        covered = self._node.storage.begin_flush()
        if self._world.faults.page_cache or self._node.calm:
            delay_us = 0
        else:
            delay_us = 100 + int(self._random.random() * self._world.faults.slow_fsync_ms * 1000)
        self._node.later(delay_us, self._flushed, covered)

    def _flushed(self, covered: tuple[int, int]) -> None:
        self._node.storage.end_flush()
        self._flush_runs = False
        if self._flush_stale:
            return  # Other bytes may stand there now; the next fsync covers them.
        self.persisted(*covered)

    def persisted(self, index: int, term: int) -> None:
        core = self.core
        core.persisted(index, term)
        for effect in self._held.release(core.persisted_index):
            self.send(effect)

    # ---- effects: messages ----

    def send(self, effect: Send) -> None:
        message = effect.message
        if type(message) is Push and self._world.java:
            message = self._with_entry(effect.to, message)
        if type(message) is VoteReply and message.result is VoteResult.ACCEPT and not message.pre:
            self._checks.voted(self.id, message.term, effect.to)
        if self._world.trace is not None:
            self._world.trace(self.id, f"-> {effect.to} {message}")
        self._world.network.send(self.id, effect.to, message)

    def _with_entry(self, to: str, push: Push) -> Push:
        """Java's COMPARE and TRUNCATE have the whole entry; before the log's begin it is the first one."""
        if push.entries is not None or push.kind is PushKind.COMMIT:
            return push
        if to not in self._world.java and self.id not in self._world.java:
            return push
        index = max(push.prev_index, self.ledger.first_index)
        entry = self.ledger.read(index, 1, index)
        return msgspec.structs.replace(push, prev_index=index, prev_term=entry.runs[0][1], entries=entry)

    def _send_after_persist(self, effect: SendAfterPersist) -> None:
        self._held.hold(effect)
        for ready in self._held.release(self.core.persisted_index):
            self.send(ready)

    def _send_entries(self, effect: SendEntries) -> None:
        small = self._world.faults.small_pushes and not self._node.calm
        max_bytes = self._random.choice(_SMALL_PUSH_BYTES) if small else _PUSH_BYTES
        entries = self.ledger.read(effect.first_index, max_bytes)
        prev_index = effect.first_index - 1
        push = Push(PushKind.APPEND, effect.term, prev_index, effect.prev_term, effect.commit_index, entries)
        self.send(Send(effect.to, push))
        self.core.pushed(effect.to, entries.last_index)

    # ---- effects: what is committed ----

    def _commit(self, effect: Commit) -> None:
        core, checks = self.core, self._checks
        if effect.index >= len(checks.committed):
            checks.quorum_holds(self.id, core.term, effect.index, self.ledger.term_at(effect.index))
        self._commit_index = effect.index
        self._learn_committed(len(checks.committed), effect.index)
        self._apply_some()

    def _learn_committed(self, first_index: int, last_index: int) -> None:
        core, ledger, checks = self.core, self.ledger, self._checks
        for index in range(first_index, last_index + 1):
            item = ledger.term_at(index), ledger.body(index)
            if self.leading is not None and index == len(checks.committed):
                log_offset = ledger.read(index, 1, index).first_pos + ENTRY_HEAD_BYTES
                self._world.queue_checks.committed(index, int(log_offset), item[1])
            checks.commits(self.id, core.term, index, item)

    def _apply_some(self) -> None:
        """All that is committed, or a part while other things happen first."""
        last_index = self._commit_index
        slow = self._world.faults.slow_applies and not self._node.calm
        if slow and self.applied_index < last_index and self._random.random() < 0.3:
            last_index = self._random.randrange(self.applied_index, last_index)
            self._node.later(self._node.draw_us(20_000), self._apply_some)
        self.apply(last_index)

    def apply(self, last_index: int) -> None:
        ledger, checks = self.ledger, self._checks
        first_index = self.applied_index + 1
        self._learn_committed(first_index, last_index)
        if first_index <= last_index:
            self._machine.apply(first_index, last_index)
            self.applied_index = last_index
        for index in range(first_index, last_index + 1):
            proposal = self._proposals.pop(index, None)
            if proposal is not None:
                checks.acknowledge(self.id, index, *proposal)
        if self._world.faults.remembered_commits and self._random.random() < 0.2:
            ledger.save_checkpoint(self.applied_index)
        self._serve_reads()
        if self.leading is not None:
            self.leading.applied()
            self.leading.look()

    def _fail_proposals(self, effect: FailProposals) -> None:
        failed = [self._proposals.pop(i, None) for i in range(effect.first_index, effect.last_index + 1)]
        if self.leading is not None and any(failed):
            self.leading.failed(effect.code)

    def _read_ready(self, effect: ReadReady) -> None:
        self._ready.append((effect.index, effect.token))
        self._serve_reads()

    def _serve_reads(self) -> None:
        waiting: list[tuple[int, int]] = []
        for index, token in self._ready:
            if index <= self.applied_index:
                self._checks.served(self.id, self._reads.pop(token), self.applied_index)
            else:
                waiting.append((index, token))
        self._ready = waiting

    def _read_failed(self, effect: ReadFailed) -> None:
        del self._reads[effect.token]

    def _role_changed(self, effect: RoleChanged) -> None:
        if self.leading is not None:
            self.leading.role_changed()
        if effect.role is Role.LEADER:
            core = self.core
            # Java asks for votes in its old term when it comes back, and may lead in it again.
            life = 0 if self.id in self._world.java else self._node.lives
            self._checks.leads(self.id, life, effect.term, core.term_at, core.first_index)
            chance = self._world.faults.young_deaths
            if chance and not self._node.calm and self._random.random() < chance:
                power = not self._world.faults.page_cache and self._random.random() < 0.5
                self._node.fuse.light(self._random.randrange(1, _YOUNG_STEPS), power)

    def _transfer_done(self, effect: TransferDone) -> None:
        """The client that asked is told."""

    # ---- snapshots ----

    def save_snapshot(self) -> None:
        """Save the state machine's state durably, then drop a part of the log that it covers."""
        self.settle()
        ledger = self.ledger
        index = self.applied_index
        if index <= self._node.snapshot.last_index or not self._machine.may_freeze:
            return
        next_pos = ledger.read(index, 1, index).end_pos
        data = self._machine.freeze()
        self._node.fuse.step()
        self._node.snapshot = Snapshot(index, ledger.term_at(index), next_pos, data)
        self._node.fuse.step()
        keep = self._random.choice((0, 0, 3, 20))
        if self.leading is not None:
            keep = max(keep, 1)  # As dledger/chores.py: the log's last file is never made anew under a store.
        first_index = ledger.delete_before(index + 1 - keep)
        self._node.fuse.step()
        self.core.log_starts_at(first_index)

    def _install_received(self, effect: InstallReceived) -> None:
        snapshot = self._snapshots.received
        if (snapshot.last_index, snapshot.last_term) != (effect.last_index, effect.last_term):
            raise Violation(
                "core and ledger agree", f"{self.id} installs {effect}, its snapshot is {snapshot}"
            )
        self._machine.install(snapshot)
        self.applied_index = self._commit_index = snapshot.last_index
        self._proposals.clear()
        self._serve_reads()
