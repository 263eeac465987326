"""Drives a core: tells it what happens, and carries out what it wants, in order.

What a turn of the loop brings (messages, appends, reads, time) is gathered; then the core hears all of it and
its effects are carried out: one write to the ledger for all appends of the turn, one push for each follower,
one fsync for whatever was written. Work that must be durable before anything else happens (term and vote, a
cut log) runs on a worker, and until it is done the core hears nothing: what comes waits in bounded queues.

Rules of this file: it is compiled; nothing is decided here. What promises durability waits in ``Held`` until
the fsync that covers it. A disk that fails is the end, told to ``failed``. A full one is not: the core is
made anew from what the ledger has, and for a while takes no entries.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeVar

from ledgermq.dledger.codes import DLedgerCode
from ledgermq.dledger.core import Core
from ledgermq.dledger.flushing import Flushing
from ledgermq.dledger.held import Held
from ledgermq.dledger.ledger import Ledger, LedgerError
from ledgermq.dledger.member import Refused
from ledgermq.dledger.messages import (
    Append,
    AppendNoop,
    Effect,
    InstallSnapshot,
    Message,
    Push,
    Reset,
    SaveState,
    SendAfterPersist,
    Truncate,
)
from ledgermq.dledger.settings import DLedgerSettings
from ledgermq.dledger.workers import Worker
from ledgermq.runtime.limits import INBOX_BYTES_MAX, INBOX_MESSAGES_MAX

log: Final = logging.getLogger("ledgermq.dledger")

T = TypeVar("T")

FULL_MS: Final = 1000
"""How long a member with a full disk takes no entries before it tries again."""

Event = Callable[[Core, int], None]
"""Something that the core is to hear: called with the core and the time in milliseconds."""


class FullError(Exception):
    """The ledger cannot take entries now: there is no room, or they do not fit it. Nothing was changed."""


class Driver:
    """Drives the core that ``make_core`` makes of the ledger and of (term, vote).

    ``carry`` takes what is done for the effects that are not about the ledger. ``at_end`` is called at the
    end of each turn, for appends and reads that were gathered, and says whether there were any; ``forget``
    when the log was cut; ``anew`` when all that the core was doing is lost; ``failed`` at the end.
    ``opening_body`` makes the body of a term's first entry behind a position.
    """

    def __init__(
        self,
        settings: DLedgerSettings,
        ledger: Ledger,
        worker: Worker,
        now_ms: Callable[[], int],
        make_core: Callable[[tuple[int, str]], Core],
        at_end: Callable[[Core, int], bool],
        send: Callable[[str, Message], None],
        forget: Callable[[], None],
        anew: Callable[[int], None],
        failed: Callable[[BaseException], None],
        opening_body: Callable[[int], bytes],
    ) -> None:
        self._ledger = ledger
        self._worker = worker
        self.now_ms = now_ms
        self._make_core = make_core
        self._at_end = at_end
        self._send = send
        self._forget = forget
        self._anew = anew
        self._failed = failed
        self._opening_body = opening_body
        self._loop = asyncio.get_running_loop()
        self._held = Held()
        policy, interval_ms = settings.flush_policy, settings.flush_file_interval
        self._flushing = Flushing(ledger, worker, policy, interval_ms, self._flushed)
        self.core: Core | None = None
        self.error: BaseException | None = None
        """Why there is no core any more."""
        self._saved = (0, "")
        """Term and vote as they are on disk."""
        self._effects: deque[Effect] = deque()
        self._inbox: list[tuple[str, Message]] = []
        self._inbox_bytes = 0
        self._events: list[Event] = []
        self._blocked = False
        """What must be done before the next effect is under way on the worker."""
        self._scheduled = False
        self._full_until_ms = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ms = 0
        self.carry: Final[dict[type, Callable[[Any], None]]] = {
            SaveState: self._save_state,
            Append: self._append,
            AppendNoop: self._append_noop,
            Truncate: self._truncate,
            Reset: self._reset,
            SendAfterPersist: self._held.hold,
        }

    @property
    def is_full(self) -> bool:
        """The disk had no room a moment ago."""
        return self._full_until_ms > 0 and self.now_ms() < self._full_until_ms

    def running(self) -> Core:
        """The core. Raises Refused when there is none."""
        if self.core is None:
            if self.error is not None:
                raise Refused(DLedgerCode.DISK_ERROR, f"this member has stopped: {self.error}")
            raise Refused(DLedgerCode.ILLEGAL_MEMBER_STATE, "this member is not running")
        return self.core

    def start(self, saved: tuple[int, str]) -> None:
        self._saved = saved
        self.core = self._make_core(saved)
        self.schedule()

    def stop(self) -> None:
        """Carry out nothing more."""
        self.core = None
        self._effects.clear()
        self._held.drop()
        self._inbox.clear()
        self._events.clear()
        self._flushing.stop()
        if self._timer is not None:
            self._timer.cancel()

    # ---- what happens ----

    def receive(self, sender: str, message: Message) -> None:
        """A member says something. What does not fit, or needs room that the disk has not, is lost."""
        size = _data_bytes(message)
        full = len(self._inbox) >= INBOX_MESSAGES_MAX or self._inbox_bytes + size > INBOX_BYTES_MAX
        if self.core is None or full or (size and self.is_full):
            return
        self._inbox.append((sender, message))
        self._inbox_bytes += size
        self.schedule()

    def hear(self, event: Event) -> None:
        """Something else happens."""
        if self.core is not None:
            self._events.append(event)
            self.schedule()

    def schedule(self) -> None:
        """There is something to do when this turn of the loop has read all sockets."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    # ---- the turn ----

    def _turn(self) -> None:
        self._scheduled = False
        core = self.core
        if core is None or self._blocked:
            return
        try:
            self._work(core)
        except FullError as full:  # compiled, a variable keeps its first type: not the next one's name
            self._begin_anew(full)
        except Exception as error:  # noqa: BLE001 - a bug or a broken disk: the core believes what is not so
            self._failed(error)

    def _work(self, core: Core) -> None:
        if self._effects and not self._carry_out(core):
            return  # what had to wait comes first
        now_ms = self.now_ms()
        inbox, events = self._inbox, self._events
        self._inbox, self._events, self._inbox_bytes = [], [], 0
        for sender, message in inbox:
            core.receive(now_ms, sender, message)
        for event in events:
            event(core, now_ms)
        if now_ms >= max(core.next_deadline_ms, self._full_until_ms):
            core.tick(now_ms)
        if not self._carry_out(core):
            return
        if self._at_end(core, now_ms) and not self._carry_out(core):
            return
        self._flushing.flush()
        self._set_timer(max(core.next_deadline_ms, self._full_until_ms))

    def _carry_out(self, core: Core) -> bool:
        """Carry out effects until there are none; False when the rest has to wait."""
        effects = self._effects
        while True:
            while effects:
                effect = effects.popleft()
                self.carry[type(effect)](effect)
                if self._blocked or self.core is not core:
                    return False
            if self._flushing.written_counts or not self._ledger.dirty:
                core.persisted(self._ledger.last_index, self._ledger.last_term)
            for send in self._held.release(core.persisted_index):
                self._send(send.to, send.message)
            effects.extend(core.take())
            if not effects:
                return True

    def _set_timer(self, deadline_ms: int) -> None:
        """Have a turn at the deadline; a timer that is set earlier is left alone, and leads here again."""
        if self._timer is not None:
            if self._timer_ms <= deadline_ms:
                return
            self._timer.cancel()
        self._timer_ms = deadline_ms
        delay_ms = max(0, deadline_ms - self.now_ms())
        self._timer = self._loop.call_later(delay_ms / 1000, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        self._turn()

    # ---- the ledger ----

    def write_bodies(self, first_index: int, term: int, bodies: list[bytes]) -> list[int]:
        """Write entries of this leader; returns their positions. Raises FullError, OSError."""
        return self._written(lambda: self._ledger.append_bodies(first_index, term, bodies))

    def _written(self, write: Callable[[], T]) -> T:
        try:
            return write()
        except OSError as error:
            if _no_room(error):
                raise FullError(str(error)) from None
            raise
        except LedgerError as misfit:
            # Entries that cannot stand here: nothing was written, so the core is to forget them again.
            raise FullError(str(misfit)) from None

    def _append(self, effect: Append) -> None:
        self._written(lambda: self._ledger.append(effect.entries))

    def _append_noop(self, effect: AppendNoop) -> None:
        self.write_bodies(effect.index, effect.term, [self._opening_body(self._ledger.end_pos)])

    def _save_state(self, effect: SaveState) -> None:
        self._held.drop()

        def save() -> None:
            self._ledger.save_state(effect.term, effect.vote)
            self._saved = (effect.term, effect.vote)

        self._block(save)

    def _truncate(self, effect: Truncate) -> None:
        self._held.drop()
        self._forget()
        self._block(lambda: self._ledger.truncate(effect.last_index, effect.base_term))

    def _reset(self, effect: Reset) -> None:
        self._held.drop()
        self._forget()
        self._block(lambda: self._ledger.reset(effect.last_index, effect.last_term, effect.next_pos))

    def _block(self, work: Callable[[], object]) -> None:
        """Do this on the worker before anything else happens."""
        self._blocked = True
        self._worker.run(work, lambda _: self._go_on(), self._blocked_failed)

    def _go_on(self) -> None:
        self._blocked = False
        self._turn()

    def _blocked_failed(self, error: BaseException) -> None:
        self._blocked = False
        refused = isinstance(error, LedgerError) and error.code != DLedgerCode.DISK_ERROR
        if refused or (isinstance(error, OSError) and _no_room(error)):
            self._begin_anew(FullError(str(error)))
        else:
            self._failed(error)

    def _flushed(self, index: int, term: int) -> None:
        # While the log is being cut, what this flush covered may be on its way to be written anew, and not be
        # durable then. When the cut is done the next turn looks at what is.
        if self.core is not None and not self._blocked:
            self.core.persisted(index, term)
            self._turn()

    def _begin_anew(self, error: FullError) -> None:
        """The ledger could not do what the core believes was done: make the core from what the ledger has."""
        log.error("entries are not taken for %d ms: %s", FULL_MS, error)
        self._full_until_ms = self.now_ms() + FULL_MS
        self._effects.clear()
        self._held.drop()
        self._forget()
        self._anew(DLedgerCode.DISK_FULL)
        self._blocked = True

        def flushed(_: object) -> None:
            if self.core is not None:
                self.core = self._make_core(self._saved)
                self._go_on()

        self._worker.run(self._ledger.flush, flushed, self._failed)


def _no_room(error: OSError) -> bool:
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def _data_bytes(message: Message) -> int:
    """Of what a message brings for the disk."""
    if isinstance(message, Push) and message.entries is not None:
        return len(message.entries.payload)
    if isinstance(message, InstallSnapshot):
        return len(message.data)
    return 0
