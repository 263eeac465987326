"""A simulated process, its turns and its restarts: it lives, dies, and comes back with what its storage kept.

A turn takes what has arrived, then carries out the core's effects in order until there are none, then begins
an fsync if one is needed and none runs (member.py). A turn may be late; the node may be paused, so that
everything waits; it may die at any effect and inside any write.

Rules of this file: what is of one life only is in ``SimMember``, or goes by :meth:`SimNode._forget`; an error
of the disk ends the process: it starts again from its files.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeVarTuple

from ledgermq.dledger.core import Core
from ledgermq.dledger.ledger import Ledger
from ledgermq.testing.simulation.checks import Violation
from ledgermq.testing.simulation.java_core import JavaCore
from ledgermq.testing.simulation.machine import NO_SNAPSHOT, Machine
from ledgermq.testing.simulation.member import SimMember, Surroundings
from ledgermq.testing.simulation.model_ledger import Died, Fuse

Ts = TypeVarTuple("Ts")


class Storage(Protocol):
    """A ledger with its disk; see model_ledger.py and file_storage.py."""

    full: bool
    broken: bool

    @property
    def ledger(self) -> Ledger: ...
    def open(self) -> None: ...
    def begin_flush(self) -> tuple[int, int]: ...
    def end_flush(self) -> None: ...
    def stop(self, commit_index: int) -> None: ...
    def crash(self, power: bool) -> None: ...
    def damage(self, index: int) -> None: ...
    def holds(self, index: int, term: int, written: bool = False) -> bool: ...


class SimNode:
    """``member`` is its present life, None while it is dead."""

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
        self.member: SimMember | None = None
        self.lives = 0
        """So many it has had; events of an earlier one are nothing to this."""
        self.paused = False
        self.calm = False
        """All trouble is over: the disk is quick, and pushes are as long as they may be."""
        self.snapshot = NO_SNAPSHOT
        """The newest one, durable."""
        self.on_death: Callable[[SimNode, bool], None] = lambda node, power: None
        skew = world.faults.skew
        self._rate = self._random.randrange(900_000, 1_100_001) if skew else 1_000_000
        self._offset_us = self._random.randrange(1_000_000_000_000) if skew else 0
        self._forget()

    def _forget(self) -> None:
        """The memory of a life."""
        self.member = None
        self._inbox: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self._turn_comes = False
        self._armed_ms = -1
        self.machine.forget()

    @property
    def core(self) -> Core | JavaCore | None:
        return None if self.member is None else self.member.core

    @property
    def state(self) -> tuple[int, object]:
        """Applied index and the state machine's state, while it lives."""
        assert self.member is not None
        return self.member.applied_index, self.machine.state

    # ---- life and death ----

    def start(self) -> None:
        """Open the ledger and begin a life; a broken disk keeps the node dead."""
        if self.member is not None:
            return
        self._forget()
        self.lives += 1
        self.paused = False
        try:
            self._boot()
        except Died as death:
            self.die(death.power)
        except OSError:
            self.die(False)

    def _boot(self) -> None:
        self.storage.open()
        ledger = self.storage.ledger
        saved = ledger.load_state()
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
        self._world.checks.rebuilt(self.id, ledger.first_index, items, ledger.base_term)
        core = self._make_core(ledger, saved, commit_index)
        self.member = member = SimMember(self, self._world, core, ledger, applied_index)
        member.apply(core.commit_index)
        self.take(member.settle)

    def _make_core(self, ledger: Ledger, saved: tuple[int, str], commit_index: int) -> Core | JavaCore:
        world = self._world
        term, vote = saved
        kind = JavaCore if self.id in world.java else Core
        core = kind(
            self.id,
            world.members,
            world.config,
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
        world.checks.has_term(self.id, core.term)
        if world.trace is not None:
            self._trace(
                f"starts: term {term} vote {vote!r} log {ledger.first_index}..{ledger.last_index}"
                f" commit {core.commit_index} snapshot {self.snapshot.last_index}"
            )
        for peer in world.members:
            if peer != self.id:
                core.peer_is_java(peer, peer in world.java)
        return core

    def die(self, power: bool) -> None:
        """The process ends here, or with ``power`` the machine."""
        self.fuse.cut()
        self.storage.crash(power)
        if self._world.trace is not None:
            self._trace(
                f"dies{' with its machine' if power else ''}: log to {self.storage.ledger.last_index}"
            )
        self._forget()
        self.on_death(self, power)

    def stop(self, power: bool) -> None:
        """A clean stop between two turns; ``power``: the machine is switched off when it is done."""
        assert self.member is not None
        if self._world.trace is not None:
            self._trace("stops")
        try:
            self.storage.stop(self.member.core.commit_index)
            self.machine.close()
        except Died as death:
            power = death.power
        except OSError as error:
            power = error.errno != errno.ENOSPC  # As in a turn.
        self.die(power)

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False
        if self.member is not None:
            self._inbox.append((self._tick, ()))
            if self._random.random() < 0.5:
                self._inbox.insert(0, self._inbox.pop())
            self._turn()

    def _trace(self, text: str) -> None:
        assert self._world.trace is not None
        self._world.trace(self.id, text)

    # ---- turns ----

    def tell(self, event: Callable[[SimMember, *Ts], None], *args: *Ts) -> None:
        """This happens to the member at its next turn, if it lives."""
        if self.member is not None:
            self.take(event, self.member, *args)

    def later(self, delay_us: int, action: Callable[..., None], *args: Any) -> None:
        """Do this at a turn of this life, not before ``delay_us``."""
        self._events.after(delay_us, self._in_life, self.lives, action, args)

    def _in_life(self, life: int, action: Callable[..., None], args: tuple[Any, ...]) -> None:
        if life == self.lives:
            self.take(action, *args)

    def draw_us(self, below_us: int) -> int:
        return int(self._random.random() * below_us)

    def take(self, action: Callable[..., None], *args: Any) -> None:
        """Do this at the next turn."""
        if self.member is None:
            return
        self._inbox.append((action, args))
        if self._turn_comes:
            return
        self._turn_comes = True
        if self._world.faults.batching:
            self._events.after(int(self._random.random() * 3000), self._turn, self.lives)
        else:
            self._events.after(0, self._turn, self.lives)

    def _turn(self, life: int = -1) -> None:
        member = self.member
        if member is None or self.paused or life not in (-1, self.lives):
            return
        self._turn_comes = False
        inbox, self._inbox = self._inbox, []
        try:
            for action, args in inbox:
                action(*args)
            member.end_turn()
        except Died as death:
            self.die(death.power)
            return
        except OSError as error:
            # After a failed fsync the pages count as clean and may be lost: as after a power cut.
            self.die(power=error.errno != errno.ENOSPC)
            return
        member.agree()
        member.begin_flush()
        self._arm(member.core.next_deadline_ms)

    # ---- time ----

    def now_ms(self) -> int:
        return (self._offset_us + self._events.now_us * self._rate // 1_000_000) // 1000

    def _arm(self, deadline_ms: int) -> None:
        if 0 <= self._armed_ms <= deadline_ms:
            return  # An event comes early enough; it will look again.
        now_ms = self.now_ms()
        # At the deadline of the node's own clock.
        wait_us = max(0, deadline_ms - now_ms) * 1000 * 1_000_000 // self._rate
        if wait_us > 10_000_000:
            self._armed_ms = -1
            return
        self._armed_ms = deadline_ms
        self._events.after(wait_us + 1, self._fires, self.lives, deadline_ms)

    def _fires(self, life: int, armed_ms: int) -> None:
        if self.member is None or life != self.lives or armed_ms != self._armed_ms:
            return
        self._armed_ms = -1
        self.take(self._tick)

    def _tick(self) -> None:
        assert self.member is not None
        self.member.core.tick(self.now_ms())
