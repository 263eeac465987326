"""One member of one group, put together: the core and its driver, the ledger, links to the other members, the
state machine with its snapshots, and the requests of clients.

Rules of this file: it is compiled; assembly, and what other members say. A disk that fails ends the
node: it drops its links and says nothing more, and whoever owns it hears of it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Final, NamedTuple

from ledgermq.dledger.chores import Chores
from ledgermq.dledger.client_requests import ClientRequests
from ledgermq.dledger.codes import DLedgerCode, Role
from ledgermq.dledger.committed import Committed
from ledgermq.dledger.core import Core
from ledgermq.dledger.driver import Driver
from ledgermq.dledger.java_requests import JavaRequests
from ledgermq.dledger.json_messages import PeerRequest, encode_reply
from ledgermq.dledger.ledger import Ledger
from ledgermq.dledger.log_reader import LogReader
from ledgermq.dledger.member import Random
from ledgermq.dledger.messages import (
    Commit,
    InstallReceived,
    InstallSnapshot,
    InstallSnapshotReply,
    Message,
    RoleChanged,
    Send,
    SendEntries,
    SendSnapshot,
    SnapshotPiece,
)
from ledgermq.dledger.native_messages import VERSION
from ledgermq.dledger.peer_link import NativeFrames, PeerLink
from ledgermq.dledger.proposals import Proposals
from ledgermq.dledger.replication import Replication
from ledgermq.dledger.requests import Hello
from ledgermq.dledger.settings import DLedgerSettings
from ledgermq.dledger.snapshot_transfer import SnapshotReceiver
from ledgermq.dledger.snapshots import SnapshotDirectory
from ledgermq.dledger.state_machine import EntryMachine, StateMachine
from ledgermq.dledger.workers import Worker
from ledgermq.runtime.clock import monotonic_ms
from ledgermq.runtime.limits import entry_body_bytes_max
from ledgermq.store.disk import Disk

log: Final = logging.getLogger("ledgermq.dledger")

STOP_SECONDS_MAX: Final = 0.8
SILENT_MS_MAX: Final = 1000
"""A follower that answers nothing for so long counts as unreachable to those who watch."""


class Follower(NamedTuple):
    """What a leader knows of another member."""

    match_index: int
    """It has durably what the leader has up to here; -1 while nothing is known."""
    reachable: bool


class Node:
    """The member ``settings.self_id``. ``on_role`` hears of each change of role or leader, ``on_fatal`` of
    the error that ended it. Made on the loop; raises SettingsError."""

    def __init__(
        self,
        settings: DLedgerSettings,
        ledger: Ledger,
        machine: StateMachine | EntryMachine | None = None,
        *,
        on_role: Callable[[Node], None] | None = None,
        on_fatal: Callable[[Node, BaseException], None] | None = None,
        source: Random | None = None,
        now_ms: Callable[[], int] = monotonic_ms,
        disk: Disk | None = None,
    ) -> None:
        settings.check()
        self.settings: Final = settings
        self.group: Final = settings.group
        self.self_id: Final = settings.self_id
        self.addresses: Final = settings.members()
        self.error: BaseException | None = None
        """Why it has ended by itself."""
        self._ledger = ledger
        self._on_role = on_role
        self._on_fatal = on_fatal
        self._random = source or random.Random()
        self._now_ms = now_ms
        self._started = False
        self._stopped = False
        self._java = JavaRequests()
        name = f"{self.group}-{self.self_id}"
        self._worker = Worker(f"dledger-{name}", 1, self._fail)
        """Fsyncs, term and vote, cuts of the log: one after the other."""
        self._slow_worker = Worker(f"dledger-slow-{name}", 2, self._fail)
        """Cold reads and snapshots: no fsync waits for them."""
        self.links: Final = self._make_links()
        self._make_parts(machine, disk or Disk())

    def _make_links(self) -> dict[str, PeerLink]:
        frames = NativeFrames(self.group, self.self_id)
        members = sorted(self.addresses)
        hello = Hello(group=self.group, local_id=self.self_id, version=VERSION, members=members)
        return {
            peer: PeerLink(hello, peer, address, frames, self)
            for peer, address in self.addresses.items()
            if peer != self.self_id
        }

    def _make_parts(self, machine: StateMachine | EntryMachine | None, disk: Disk) -> None:
        settings, ledger, slow = self.settings, self._ledger, self._slow_worker
        snapshots = None
        if machine is not None:
            path = f"{settings.directory}/snapshot"
            snapshots = SnapshotDirectory(path, settings.max_snapshot_reserved_num, disk)
        self._reader = LogReader(ledger, slow)
        proposals = Proposals(settings.max_pending_requests_num)
        self._committed = Committed(
            settings,
            ledger,
            self._reader,
            slow,
            proposals,
            machine,
            snapshots,
            again=self._advance_soon,
            failed=self._fail,
        )
        self._replication = Replication(
            self.links,
            ledger,
            self._reader,
            slow,
            snapshots,
            settings.max_batch_push_size,
            tell=lambda event: self._driver.hear(event),
            failed=self._fail,
        )
        self._driver = Driver(
            settings,
            ledger,
            self._worker,
            self._now_ms,
            make_core=self._make_core,
            at_end=lambda core, now_ms: self.clients.hand_over(core, now_ms),
            send=self._send,
            forget=self._forget,
            anew=lambda code: self.clients.fail_all(code),
            failed=self._fail,
            opening_body=machine.opening_body if isinstance(machine, EntryMachine) else lambda _: b"",
        )
        self._receiver = SnapshotReceiver(snapshots, slow, self._send, self._snapshot_whole)
        body_bytes_max = entry_body_bytes_max(settings.mapped_file_size_for_entry_data)
        self.clients = ClientRequests(
            self.self_id, self._driver, proposals, self._committed, self._reader, body_bytes_max
        )
        self._chores = Chores(settings, ledger, self._worker, self._driver, self._committed)
        if not isinstance(machine, EntryMachine):
            # What such a machine has applied is its data, and is kept as long as retention says.
            self._committed.on_snapshot = lambda oldest_index: self._chores.delete_before(oldest_index + 1)
        self._driver.carry.update(
            {
                Send: lambda effect: self._send(effect.to, effect.message),
                SendEntries: self._send_entries,
                SendSnapshot: self._send_snapshot,
                SnapshotPiece: lambda effect: self._receiver.piece(effect.sender, effect.piece),
                InstallReceived: self._install_received,
                Commit: lambda effect: self._committed.commit(effect.index),
                RoleChanged: self._role_changed,
            }
        )

    # ---- state ----

    @property
    def role(self) -> Role:
        core = self._driver.core
        return Role.CANDIDATE if core is None else core.role

    @property
    def term(self) -> int:
        return self.clients.term

    @property
    def leader_id(self) -> str | None:
        core = self._driver.core
        return None if core is None else core.leader_id

    @property
    def first_index(self) -> int:
        return self._ledger.first_index

    @property
    def last_index(self) -> int:
        return self._ledger.last_index

    @property
    def commit_index(self) -> int:
        return self._committed.commit_index

    @property
    def visible_index(self) -> int:
        """The last entry that is committed, and applied where there is a state machine."""
        return self._committed.visible_index

    def followers(self) -> dict[str, Follower]:
        """What this leader knows of the other members; empty while it does not lead."""
        core, oldest_ms = self._driver.core, self._now_ms() - SILENT_MS_MAX
        found: dict[str, Follower] = {}
        if core is None:
            return found
        for peer, link in self.links.items():
            progress = core.progress_of(peer)
            if progress is not None:
                reachable = link.java is not None and progress.heard_ms >= oldest_ms
                found[peer] = Follower(progress.match, reachable)
        return found

    # ---- life ----

    async def start(self) -> None:
        """Recover, and take part. Raises OSError, LedgerError, SnapshotError."""

        def recover() -> tuple[int, str]:
            self._committed.recover()
            return self._ledger.load_state()

        saved = await asyncio.to_thread(recover)
        self._started = True
        self._driver.start(saved)
        self._chores.start()
        for link in self.links.values():
            link.start()
        self._committed.advance()

    def _make_core(self, saved: tuple[int, str]) -> Core:
        ledger = self._ledger
        core = Core(
            self.self_id,
            tuple(self.addresses),
            self.settings.core_config(),
            self._random,
            now_ms=self._now_ms(),
            term=saved[0],
            vote=saved[1],
            first_index=ledger.first_index,
            last_index=ledger.last_index,
            runs=ledger.runs(),
            commit_index=self.commit_index,
            base_term=ledger.base_term,
        )
        for peer, link in self.links.items():
            core.peer_is_java(peer, link.java is True)
        if self._on_role is not None:
            asyncio.get_running_loop().call_soon(self._on_role, self)
        return core

    async def stop(self) -> None:
        """Take no more part; who waits is answered. The files are closed, unless the disk hangs."""
        self._end(DLedgerCode.ILLEGAL_MEMBER_STATE)
        await asyncio.gather(*(link.stop() for link in self.links.values()))
        idle = await self._worker.close(STOP_SECONDS_MAX)
        idle = await self._slow_worker.close(STOP_SECONDS_MAX) and idle
        if idle:
            self._receiver.close()
            await asyncio.to_thread(self._close_ledger)

    def delete_before(self, index: int) -> None:
        """The owner needs no entry before ``index``: remove what the group does not need either."""
        self._chores.delete_before(index)

    def _close_ledger(self) -> None:
        if self.error is None and self._started:
            if self._ledger.dirty:
                self._ledger.flush()
            self._ledger.save_checkpoint(self.commit_index)
        self._ledger.close()

    def _end(self, code: int) -> None:
        if self._stopped:
            return
        self._stopped = True
        self._driver.stop()
        self._chores.stop()
        self._forget()
        self.clients.fail_all(code)

    def abort(self) -> None:
        """End as a process does that is killed: without a word and without an fsync. Then call stop."""
        self._die(RuntimeError("aborted"))

    def _die(self, error: BaseException) -> None:
        self.error = error
        self._driver.error = error
        for link in self.links.values():
            link.drop()
        self._end(DLedgerCode.DISK_ERROR)

    def _fail(self, error: BaseException) -> None:
        """The disk failed, or this node is broken: end, without a word to the other members."""
        if self._stopped:
            return
        log.error("group %s: member %s stops: %s", self.group, self.self_id, error, exc_info=error)
        self._die(error)
        if self._on_fatal is not None:
            self._on_fatal(self, error)

    def _forget(self) -> None:
        """The log was cut, or everything begins anew: what is being read or sent does not count any more."""
        self._reader.forget()
        self._replication.forget()

    # ---- what other members say ----

    def received(self, sender: str, message: Message) -> None:
        """A member's message."""
        if isinstance(message, InstallSnapshotReply):
            self._replication.snapshot_replied(sender, message)
        self._driver.receive(sender, message)

    def asked(self, request: PeerRequest, answer: Callable[[bytes], None]) -> None:
        """A Java member's request; ``answer`` takes the body of the response. Raises Refused."""
        self._driver.running().peer_is_java(request.sender, True)

        def reply(message: Message) -> None:
            answer(encode_reply(request, message, self.leader_id))

        self.received(request.sender, self._java.add(request.sender, request.message, reply))

    def met(self, peer: str, java: bool) -> None:
        """First contact over a link."""
        core = self._driver.core
        if core is not None:
            core.peer_is_java(peer, java)

    def lost(self, peer: str) -> None:
        """A connection with ``peer``, either way, has ended."""
        self._java.forget(peer)
        self._driver.hear(lambda core, now_ms: core.disconnected(now_ms, peer))

    # ---- what the core wants ----

    def _send(self, to: str, message: Message) -> None:
        """To whoever asked as Java does, as the response; else over the link."""
        if not self._java.answer(to, message):
            self._replication.send(to, message)

    def _send_entries(self, effect: SendEntries) -> None:
        core = self._driver.running()
        last_index = self._replication.send_entries(effect, core.last_index)
        if last_index is not None:
            core.pushed(effect.to, last_index)

    def _send_snapshot(self, effect: SendSnapshot) -> None:
        core = self._driver.running()
        self._replication.send_snapshot(effect, core.term_at(core.first_index - 1))

    def _snapshot_whole(self, piece: InstallSnapshot, ok: bool) -> None:
        self._driver.hear(lambda core, now_ms: core.snapshot_received(now_ms, piece, ok))

    def _install_received(self, effect: InstallReceived) -> None:
        self._committed.load_received(effect.last_index, effect.last_term)

    def _role_changed(self, effect: RoleChanged) -> None:
        log.info(
            "group %s: member %s is %s in term %d, the leader is %s",
            self.group,
            self.self_id,
            effect.role.value.lower(),
            effect.term,
            effect.leader_id or "unknown",
        )
        if effect.role is not Role.LEADER:
            self._replication.forget()
            self.clients.refuse_new(DLedgerCode.NOT_LEADER)
        if self._on_role is not None:
            self._on_role(self)

    def _advance_soon(self) -> None:
        asyncio.get_running_loop().call_soon(self._advance)

    def _advance(self) -> None:
        if self._stopped:
            return
        try:
            self._committed.advance()
        except Exception as error:  # noqa: BLE001 - a state machine that fails has not applied the entry
            self._fail(error)
