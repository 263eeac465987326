"""A member of the simulated group: it drives the real core as ``dledger.node`` does, on a disk that forgets.

A turn takes what has arrived, then carries out the core's effects in order until there are none, then begins
an fsync if one is needed and none runs. A turn may be late; the node may be paused, so that everything waits;
it may die at any effect and inside any write, and comes back with what its storage kept.

Rules of this file: the driver's duties towards the core, each of which the mutants break once:

* Effects are carried out one after the other; a proposal is written at once, behind the effects before it.
* What SendAfterPersist holds leaves when an fsync covers it, and never after a SaveState, Truncate or Reset.
* An fsync that began before a Truncate or Reset says nothing about the log after it.
* An error of the disk ends the node: it starts again from its files.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final, Protocol

import msgspec

from ledgermq.dledger.codes import DLedgerCode, PushKind, Role, VoteResult
from ledgermq.dledger.core import Core, CoreConfig, Refused
from ledgermq.dledger.entries import ENTRY_HEAD_BYTES
from ledgermq.dledger.held import Held
from ledgermq.dledger.ledger import Ledger
from ledgermq.dledger.messages import (
    NO_INDEX,
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
from ledgermq.testing.simulation.broker_machine import BrokerMachine, SimMessage
from ledgermq.testing.simulation.checks import Checks, Violation
from ledgermq.testing.simulation.events import EventQueue
from ledgermq.testing.simulation.faults import Faults
from ledgermq.testing.simulation.java_core import JavaCore
from ledgermq.testing.simulation.leading import Leading
from ledgermq.testing.simulation.machine import NO_SNAPSHOT, Machine, Snapshot
from ledgermq.testing.simulation.model_ledger import Died, Fuse
from ledgermq.testing.simulation.network import Network
from ledgermq.testing.simulation.queue_checks import QueueChecks
from ledgermq.testing.simulation.snapshot_exchange import SnapshotExchange

_SETTLE_MAX: Final = 10_000
"""Rounds of effects in one turn: a core that never has enough hangs its node."""
_PUSH_BYTES: Final = 1 << 20
_SMALL_PUSH_BYTES: Final = (1, 1, 200)
_YOUNG_STEPS: Final = 60


class Storage(Protocol):
    """A ledger with its disk; see model_ledger.py and file_storage.py."""

    full: bool
    broken: bool

    @property
    def ledger(self) -> Ledger: ...
    def open(self) -> None: ...
    def begin_flush(self) -> tuple[int, int]: ...
    def end_flush(self) -> None: ...
    def crash(self, power: bool) -> None: ...
    def damage(self, index: int) -> None: ...
    def holds(self, index: int, term: int, written: bool = False) -> bool: ...


class Surroundings(msgspec.Struct, frozen=True):
    """What all nodes of a run have in common."""

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


class SimNode:
    """``core`` is None while it is dead. Clients and faults call the public methods."""

    def __init__(
        self, node_id: str, world: Surroundings, storage: Storage, machine: Machine, fuse: Fuse
    ) -> None:
        self.id: Final = node_id
        self.storage: Final = storage
        self.machine: Final = machine
        self.fuse: Final = fuse
        self._world: Final = world
        self._events: Final = world.events
        self._random: Final = world.random
        self._checks: Final = world.checks
        self._ledger = storage.ledger
        self.core: Core | JavaCore | None = None
        self.life = 0
        self.paused = False
        self.calm = False
        """All trouble is over: the disk is quick, and pushes are as long as they may be."""
        self.snapshot = NO_SNAPSHOT
        """The newest one, durable."""
        self.on_death: Callable[[SimNode, bool], None] = lambda node, power: None
        skew = world.faults.skew
        self._rate = self._random.randrange(900_000, 1_100_001) if skew else 1_000_000
        self._offset_us = self._random.randrange(1_000_000_000_000) if skew else 0
        self._carry_out: dict[type, Callable[[Any], None]] = {
            SaveState: self._save_state,
            Append: self._append,
            AppendNoop: self._append_noop,
            Truncate: self._truncate,
            Reset: self._reset,
            Send: self.send,
            SendAfterPersist: self._send_after_persist,
            SendEntries: self._send_entries,
            SendSnapshot: lambda effect: self._exchange.send(effect),
            SnapshotPiece: lambda effect: self._exchange.piece(effect),
            InstallReceived: self._install_received,
            Commit: self._commit,
            FailProposals: self._fail_proposals,
            RoleChanged: self._role_changed,
            ReadReady: self._read_ready,
            ReadFailed: self._read_failed,
            TransferDone: self._transfer_done,
        }
        self._forget()

    def _forget(self) -> None:
        """The memory of a life."""
        self._inbox: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self._turn_comes = False
        self._armed_ms = -1
        self._held = Held()
        self._flush_runs = False
        self._flush_stale = False
        """The log was cut since the fsync began."""
        self.applied_index = NO_INDEX
        self.machine.forget()
        self._leading = (
            Leading(self, self.machine, self._world.queue_checks)
            if isinstance(self.machine, BrokerMachine)
            else None
        )
        self._exchange = SnapshotExchange(self)
        self._proposals: dict[int, tuple[int, bytes]] = {}
        """Index -> (term, body) of the proposals that a client waits for."""
        self._reads: dict[int, int] = {}
        """Token -> what was known when it was asked."""
        self._ready: list[tuple[int, int]] = []
        """(index, token) of the reads that wait for the state machine."""
        self._next_token = 0

    # ---- life and death ----

    def now_ms(self) -> int:
        return (self._offset_us + self._events.now_us * self._rate // 1_000_000) // 1000

    def start(self) -> None:
        """Open the ledger and begin a life; a broken disk keeps the node dead."""
        if self.core is not None:
            return
        self._forget()
        self.life += 1
        self.paused = False
        try:
            self._boot()
        except Died as death:
            self.die(death.power)
        except OSError:
            self.die(False)

    def _boot(self) -> None:
        self.storage.open()
        self._ledger = ledger = self.storage.ledger
        term, vote = ledger.load_state()
        snapshot = self.snapshot
        applied_index = self.machine.open(ledger, snapshot)
        if (
            snapshot.last_index >= ledger.first_index
            and ledger.term_at(snapshot.last_index) != snapshot.last_term
        ):
            # It died between the snapshot of another and the reset of its own log.
            ledger.reset(snapshot.last_index, snapshot.last_term, snapshot.next_pos)
        if ledger.first_index > max(snapshot.last_index, applied_index) + 1:
            raise Violation(
                "core and ledger agree",
                f"{self.id} has neither entries nor snapshot before {ledger.first_index}",
            )
        commit_index = max(snapshot.last_index, applied_index)
        if self._world.faults.remembered_commits:
            commit_index = max(commit_index, min(ledger.committed_index, ledger.last_index))
        items = [
            (ledger.term_at(i), ledger.body(i)) for i in range(ledger.first_index, ledger.last_index + 1)
        ]
        self._checks.rebuilt(self.id, ledger.first_index, items, ledger.base_term)
        kind = JavaCore if self.id in self._world.java else Core
        self.core = core = kind(
            self.id,
            self._world.members,
            self._world.config,
            self._random,
            now_ms=self.now_ms(),
            term=term,
            vote=vote,
            first_index=ledger.first_index,
            last_index=ledger.last_index,
            runs=ledger.runs(),
            commit_index=commit_index,
            base_term=ledger.base_term,
        )
        self._checks.has_term(self.id, core.term)
        if self._world.trace is not None:
            self._trace(
                f"starts: term {term} vote {vote!r} log {ledger.first_index}..{ledger.last_index}"
                f" commit {core.commit_index} snapshot {snapshot.last_index}"
            )
        for peer in self._world.members:
            if peer != self.id:
                core.peer_is_java(peer, peer in self._world.java)
        self.applied_index = applied_index
        self._apply(core.commit_index)
        self._take(self._settle)

    def die(self, power: bool) -> None:
        """The process ends here, or with ``power`` the machine."""
        self.fuse.cut()
        self.core = None
        self.storage.crash(power)
        if self._world.trace is not None:
            self._trace(
                f"dies{' with its machine' if power else ''}: log to {self.storage.ledger.last_index}"
            )
        self._forget()
        self.on_death(self, power)

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False
        if self.core is not None:
            self._inbox.append((self._tick, ()))
            if self._random.random() < 0.5:
                self._inbox.insert(0, self._inbox.pop())
            self._turn()

    @property
    def running(self) -> Core | JavaCore:
        assert self.core is not None
        return self.core

    @property
    def ledger(self) -> Ledger:
        return self._ledger

    def later(self, delay_us: int, action: Callable[..., None], *args: Any) -> None:
        """Do this at a turn of this life, not before ``delay_us``."""
        self._events.after(delay_us, self._in_life, self.life, action, args)

    def _in_life(self, life: int, action: Callable[..., None], args: tuple[Any, ...]) -> None:
        if life == self.life:
            self._take(action, *args)

    def draw_us(self, below_us: int) -> int:
        return int(self._random.random() * below_us)

    # ---- what happens to it ----

    def receive(self, sender: str, message: Message) -> None:
        self._take(self._received_message, sender, message)

    def propose(self, bodies: Sequence[bytes]) -> None:
        self._take(self._proposed, bodies)

    def send_messages(self, messages: list[SimMessage]) -> None:
        """A broker's clients send these."""
        if self._leading is not None:
            self._take(self._leading.gather, messages)

    def administer(self, kind: str, number: int) -> None:
        """A broker's clients make a topic or a group, or consume."""
        if self._leading is not None:
            self._take(self._leading.administer, kind, number)

    def read(self) -> None:
        self._take(self._asked_to_read, self._checks.seen_index)

    def transfer(self, to: str) -> None:
        self._take(self._asked_to_transfer, to)

    def peer_died(self, peer: str) -> None:
        self._take(self._disconnected, peer)

    def save_snapshot(self) -> None:
        self._take(self._saves_snapshot)

    def _take(self, action: Callable[..., None], *args: Any) -> None:
        if self.core is None:
            return
        self._inbox.append((action, args))
        if self._turn_comes:
            return
        self._turn_comes = True
        if self._world.faults.batching:
            self._events.after(int(self._random.random() * 3000), self._turn, self.life)
        else:
            self._events.after(0, self._turn, self.life)

    def _turn(self, life: int = -1) -> None:
        if self.core is None or self.paused or life not in (-1, self.life):
            return
        self._turn_comes = False
        inbox, self._inbox = self._inbox, []
        try:
            for action, args in inbox:
                action(*args)
            self._settle()
            if self.running.persisted_index < self._ledger.last_index and not self._ledger.dirty:
                # A truncation made durable what is left, or an fsync covered more than it was asked for.
                self._persisted(self._ledger.last_index, self._ledger.last_term)
                self._settle()
        except Died as death:
            self.die(death.power)
            return
        except OSError as error:
            # After a failed fsync the pages count as clean and may be lost: as after a power cut.
            self.die(power=error.errno != errno.ENOSPC)
            return
        self._agree()
        self._begin_flush()
        self._arm()

    def _settle(self) -> None:
        """Carry out effects until there are none."""
        core, carry_out, step = self.running, self._carry_out, self.fuse.step
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

    def _agree(self) -> None:
        core, ledger = self.running, self._ledger
        if core.last_index != ledger.last_index or core.term_at(core.last_index) != ledger.last_term:
            raise Violation(
                "core and ledger agree",
                f"{self.id}'s core ends at {core.last_index} of term {core.term_at(core.last_index)}, its"
                f" ledger at {ledger.last_index} of term {ledger.last_term}",
            )
        if core.commit_index > core.last_index or self.applied_index != core.commit_index:
            raise Violation(
                "applied in order",
                f"{self.id} has applied {self.applied_index}, committed {core.commit_index} of"
                f" {core.last_index}",
            )
        self._checks.has_term(self.id, core.term)

    # ---- time ----

    def _arm(self) -> None:
        deadline_ms = self.running.next_deadline_ms
        if 0 <= self._armed_ms <= deadline_ms:
            return  # An event comes early enough; it will look again.
        now_ms = self.now_ms()
        # At the deadline of the node's own clock.
        wait_us = max(0, deadline_ms - now_ms) * 1000 * 1_000_000 // self._rate
        if wait_us > 10_000_000:
            self._armed_ms = -1
            return
        self._armed_ms = deadline_ms
        self._events.after(wait_us + 1, self._fires, self.life, deadline_ms)

    def _fires(self, life: int, armed_ms: int) -> None:
        if self.core is None or life != self.life or armed_ms != self._armed_ms:
            return
        self._armed_ms = -1
        self._take(self._tick)

    def _tick(self) -> None:
        self.running.tick(self.now_ms())

    # ---- events of the core ----

    def _received_message(self, sender: str, message: Message) -> None:
        if self._world.trace is not None:
            self._trace(f"<- {sender} {message}")
        self.running.receive(self.now_ms(), sender, message)
        if type(message) is InstallSnapshotReply:
            self._exchange.answered(sender, message)

    def _disconnected(self, peer: str) -> None:
        self.running.disconnected(self.now_ms(), peer)

    def _proposed(self, bodies: Sequence[bytes]) -> None:
        try:
            self.propose_now(bodies)
        except Refused as refused:
            if self._world.trace is not None:
                self._trace(f"refuses a proposal: {refused}")

    def propose_now(self, bodies: Sequence[bytes]) -> None:
        """Raises Refused."""
        core = self.running
        if self.storage.full:
            raise Refused(DLedgerCode.DISK_FULL, "the disk is full")
        self._settle()  # What the core has written so far stands before the proposal.
        first_index = core.propose(self.now_ms(), len(bodies))
        if self._world.trace is not None:
            self._trace(
                f"is asked to append {first_index}..{first_index + len(bodies) - 1} of term {core.term}"
            )
        self._write(first_index, core.term, bodies)
        for index, body in enumerate(bodies, first_index):
            self._proposals[index] = core.term, body

    def _asked_to_read(self, seen_index: int) -> None:
        self._next_token += 1
        self._reads[self._next_token] = seen_index
        self.running.read(self.now_ms(), self._next_token)

    def _asked_to_transfer(self, to: str) -> None:
        try:
            self.running.transfer(self.now_ms(), to)
        except Refused as refused:
            if self._world.trace is not None:
                self._trace(f"refuses a transfer: {refused}")

    # ---- effects: the ledger ----

    def _save_state(self, effect: SaveState) -> None:
        self._ledger.save_state(effect.term, effect.vote)
        self._held.drop()
        self._checks.saved(self.id, effect.term, effect.vote)

    def _write(self, first_index: int, term: int, bodies: Sequence[bytes]) -> None:
        self._ledger.append_bodies(first_index, term, bodies)
        self._wrote(first_index)

    def _append_noop(self, effect: AppendNoop) -> None:
        self._write(effect.index, effect.term, [b""])

    def _append(self, effect: Append) -> None:
        self._ledger.append(effect.entries)
        self._wrote(effect.entries.first_index)

    def _wrote(self, first_index: int) -> None:
        ledger = self._ledger
        prev_term: int | None = ledger.term_at(first_index - 1)
        if prev_term == NO_TERM and first_index > 0:
            prev_term = None
        for index in range(first_index, ledger.last_index + 1):
            item = (ledger.term_at(index), ledger.body(index))
            self._checks.appended(self.id, index, item, prev_term)
            prev_term = item[0]

    def _truncate(self, effect: Truncate) -> None:
        self._checks.truncated(self.id, effect.last_index, self.applied_index)
        self._ledger.truncate(effect.last_index, effect.base_term)
        self._cut()

    def _reset(self, effect: Reset) -> None:
        self._ledger.reset(effect.last_index, effect.last_term, effect.next_pos)
        self._cut()

    def _cut(self) -> None:
        self._held.drop()
        self._flush_stale = True

    def _begin_flush(self) -> None:
        if self._flush_runs or not self._ledger.dirty:
            return
        self._flush_runs = True
        self._flush_stale = False
        covered = self.storage.begin_flush()
        if self._world.faults.page_cache or self.calm:
            delay_us = 0
        else:
            delay_us = 100 + int(self._random.random() * self._world.faults.slow_fsync_ms * 1000)
        self._events.after(delay_us, self._flush_ends, self.life, covered)

    def _flush_ends(self, life: int, covered: tuple[int, int]) -> None:
        if life == self.life:
            self._take(self._flushed, covered)

    def _flushed(self, covered: tuple[int, int]) -> None:
        self.storage.end_flush()
        self._flush_runs = False
        if self._flush_stale:
            return  # Other bytes may stand there now; the next fsync covers them.
        self._persisted(*covered)

    def _persisted(self, index: int, term: int) -> None:
        core = self.running
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
            self._trace(f"-> {effect.to} {message}")
        self._world.network.send(self.id, effect.to, message)

    def _with_entry(self, to: str, push: Push) -> Push:
        """Java's COMPARE and TRUNCATE have the whole entry; before the log's begin it is the first one."""
        if push.entries is not None or push.kind is PushKind.COMMIT:
            return push
        if to not in self._world.java and self.id not in self._world.java:
            return push
        index = max(push.prev_index, self._ledger.first_index)
        entry = self._ledger.read(index, 1, index)
        return msgspec.structs.replace(push, prev_index=index, prev_term=entry.runs[0][1], entries=entry)

    def _send_after_persist(self, effect: SendAfterPersist) -> None:
        self._held.hold(effect)
        for ready in self._held.release(self.running.persisted_index):
            self.send(ready)

    def _send_entries(self, effect: SendEntries) -> None:
        small = self._world.faults.small_pushes and not self.calm
        max_bytes = self._random.choice(_SMALL_PUSH_BYTES) if small else _PUSH_BYTES
        entries = self._ledger.read(effect.first_index, max_bytes)
        prev_index = effect.first_index - 1
        push = Push(PushKind.APPEND, effect.term, prev_index, effect.prev_term, effect.commit_index, entries)
        self.send(Send(effect.to, push))
        self.running.pushed(effect.to, entries.last_index)

    # ---- effects: what is committed ----

    def _commit(self, effect: Commit) -> None:
        core, checks = self.running, self._checks
        if effect.index >= len(checks.committed):
            checks.quorum_holds(self.id, core.term, effect.index, self._ledger.term_at(effect.index))
        self._apply(effect.index)

    def _apply(self, last_index: int) -> None:
        core, ledger, checks = self.running, self._ledger, self._checks
        first_index = self.applied_index + 1
        for index in range(first_index, last_index + 1):
            item = ledger.term_at(index), ledger.body(index)
            if self._leading is not None and index == len(checks.committed):
                log_offset = ledger.read(index, 1, index).first_pos + ENTRY_HEAD_BYTES
                self._world.queue_checks.committed(index, int(log_offset), item[1])
            checks.commits(self.id, core.term, index, item)
        if first_index <= last_index:
            self.machine.apply(first_index, last_index)
            self.applied_index = last_index
        for index in range(first_index, last_index + 1):
            proposal = self._proposals.pop(index, None)
            if proposal is not None:
                checks.acknowledge(self.id, index, *proposal)
        if self._world.faults.remembered_commits and self._random.random() < 0.2:
            ledger.save_checkpoint(self.applied_index)
        self._serve_reads()
        if self._leading is not None:
            self._leading.applied()
            self._leading.look()

    def _fail_proposals(self, effect: FailProposals) -> None:
        failed = [self._proposals.pop(i, None) for i in range(effect.first_index, effect.last_index + 1)]
        if self._leading is not None and any(failed):
            self._leading.failed(effect.code)

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
        if self._leading is not None:
            self._leading.role_changed()
        if effect.role is Role.LEADER:
            core = self.running
            # Java asks for votes in its old term when it comes back, and may lead in it again.
            life = 0 if self.id in self._world.java else self.life
            self._checks.leads(self.id, life, effect.term, core.term_at, core.first_index)
            chance = self._world.faults.young_deaths
            if chance and not self.calm and self._random.random() < chance:
                power = not self._world.faults.page_cache and self._random.random() < 0.5
                self.fuse.light(self._random.randrange(1, _YOUNG_STEPS), power)

    def _transfer_done(self, effect: TransferDone) -> None:
        """The client that asked is told."""

    # ---- snapshots ----

    def _saves_snapshot(self) -> None:
        """Save the state machine's state durably, then drop a part of the log that it covers."""
        self._settle()
        ledger = self._ledger
        index = self.applied_index
        if index <= self.snapshot.last_index:
            return
        if index < ledger.last_index:
            next_pos = ledger.read(index + 1, 1).first_pos
        else:
            next_pos = ledger.end_pos
        data = self.machine.freeze()
        self.fuse.step()
        self.snapshot = Snapshot(index, ledger.term_at(index), next_pos, data)
        self.fuse.step()
        keep = self._random.choice((0, 0, 3, 20))
        first_index = ledger.delete_before(index + 1 - keep)
        self.fuse.step()
        self.running.log_starts_at(first_index)

    def _install_received(self, effect: InstallReceived) -> None:
        snapshot = self._exchange.received
        if (snapshot.last_index, snapshot.last_term) != (effect.last_index, effect.last_term):
            raise Violation(
                "core and ledger agree", f"{self.id} installs {effect}, its snapshot is {snapshot}"
            )
        self.machine.install(snapshot)
        self.applied_index = snapshot.last_index
        self._proposals.clear()
        self._serve_reads()

    # ---- what a reader of a trace sees ----

    @property
    def state(self) -> tuple[int, object]:
        """Applied index and the state machine's state."""
        return self.applied_index, self.machine.state

    def _trace(self, text: str) -> None:
        assert self._world.trace is not None
        self._world.trace(self.id, text)
