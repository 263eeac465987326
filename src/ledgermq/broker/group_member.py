"""This broker as a member of a DLedger group: its ledger, its store over it, and who leads.

The leader of the group is the master once it has applied everything that was in its log when it was elected:
then it knows every queue's end, and takes messages (Java: ``DLedgerRoleChangeHandler``). It stops the moment
it loses the leadership.

Rules of this file: assembly, and the one decision when a leader may take messages (:meth:`_look`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from ledgermq.broker.committed_log import committed_log
from ledgermq.broker.metadata_log import MetadataFile, MetadataLog
from ledgermq.broker.side_channel import JavaLeader
from ledgermq.broker.store_jobs import StoreJobs
from ledgermq.dledger.codes import Role
from ledgermq.dledger.file_ledger import FileLedger
from ledgermq.dledger.ledger import LedgerError
from ledgermq.dledger.member import Refused
from ledgermq.dledger.messages import Entries
from ledgermq.dledger.node import Node
from ledgermq.dledger.server import DLedgerServer
from ledgermq.dledger.settings import DLedgerSettings, SettingsError
from ledgermq.dledger.snapshots import SnapshotError
from ledgermq.dledger.state_machine import EntryMachine
from ledgermq.message import names
from ledgermq.runtime.clock import now_ms
from ledgermq.runtime.config import BrokerSettings
from ledgermq.runtime.limits import RECORD_OVERHEAD_BYTES_MAX, entry_body_bytes_max
from ledgermq.store.consume_queue import ConsumeQueue
from ledgermq.store.disk import Disk
from ledgermq.store.errors import StoreError
from ledgermq.store.message_store import Job
from ledgermq.store.replicated_store import ReplicatedStore, end_unreplicated_log

log: Final = logging.getLogger("ledgermq.broker")

FLUSH_INTERVAL_MS_MAX: Final = 60_000
HAND_OVER_SECONDS_MAX: Final = 2.0
LOOK_AGAIN_SECONDS: Final = 0.05
"""After the group refused something: whether messages can be taken again."""


def group_settings(settings: BrokerSettings) -> DLedgerSettings:
    """The settings of the group's member. Raises SettingsError."""
    store = settings.store
    for key, text in (("dLegerPeers", store.dleger_peers), ("dLegerSelfId", store.dleger_self_id)):
        if not text:
            raise SettingsError(f"enableDLegerCommitLog=true needs {key}, which is not set")
    made = DLedgerSettings(
        group=store.dleger_group or settings.broker.broker_name,
        self_id=store.dleger_self_id,
        peers=store.dleger_peers,
        bind_address=settings.remoting.bind_address,
        store_base_dir=store.store_path_root_dir,
        flush_policy="quorum-fsync" if store.flush_disk_type == "SYNC_FLUSH" else "page-cache",
        flush_file_interval=min(store.flush_interval_commit_log, FLUSH_INTERVAL_MS_MAX),
        preferred_leader_ids=store.preferred_leader_id,
        mapped_file_size_for_entry_data=store.mapped_file_size_commit_log,
        file_reserved_hours=store.file_reserved_time,
        # A process that dies is noticed at once, by its connections. A broker may be busy for longer than a
        # bare log, and a change of master costs clients more than a moment's wait.
        min_vote_interval_ms=700,
        max_vote_interval_ms=1000,
        # The broker refuses messages when too much is not committed, before the group would: GroupCommits.
        max_pending_requests_num=2**31 - 1,
        # A snapshot for each file of the log that retention may remove; entries are counted in bytes only.
        snapshot_threshold=2**31 - 1,
        snapshot_threshold_bytes=store.mapped_file_size_commit_log,
    )
    made.check()
    return made


def refuse_group_member(root: str) -> None:
    """Raise StoreError where the store's messages are in the log of a group: without that log, queues would
    be cut down to what was there before."""
    for data in Path(root).glob("dledger-n*/data"):
        if any(data.iterdir()):
            raise StoreError(
                f"the log of {root} is a DLedger group's, in {data.parent}: set enableDLegerCommitLog=true, "
                "or move that directory away to go on without the messages in it"
            )


def slave_id(self_id: str) -> int:
    """The broker id of a member that does not lead: the number in its id, and one (0 is the master)."""
    return int(self_id[1:]) + 1


class GroupSnapshot(msgspec.Struct, rename="camel"):
    """What a replica needs that begins behind the log's beginning."""

    metadata: MetadataFile
    queue_ends: dict[str, dict[str, int]]
    """By topic and queue id: which queue offset comes next."""


class GroupMachine(EntryMachine):
    """Queues, index and metadata of a broker, fed with what the group has committed.

    ``on_growth`` hears which queues grew, ``applied`` that something was applied, ``run`` takes jobs for a
    worker.
    """

    def __init__(
        self,
        store: ReplicatedStore,
        metadata: MetadataLog,
        ledger: FileLedger,
        run: Callable[[list[Job]], None],
        on_growth: Callable[[list[ConsumeQueue]], None],
        applied: Callable[[], None],
    ) -> None:
        self.recovered_index = store.applied_index
        self._store = store
        self._entries = store.entries
        self._metadata = metadata
        self._ledger = ledger
        self._run = run
        self._on_growth = on_growth
        self._applied = applied
        self._read: GroupSnapshot | None = None
        self._ends: tuple[int, int, dict[str, dict[str, int]]] | None = None
        """Of a snapshot: its last entry, where the next one lies, and the queues' ends then."""

    def opening_body(self, end_pos: int) -> bytes:
        return self._entries.opening_record(names.METADATA_TOPIC.encode(), end_pos, now_ms())

    def apply_entries(self, entries: Entries) -> None:
        grown = self._entries.apply(entries.payload, entries.first_pos)
        if grown:
            self._on_growth(grown)
        if self._ends is not None:
            self._raise_ends(entries.last_index)
        self._applied()

    @property
    def may_freeze(self) -> bool:
        """Until the files of deleted queues are gone for good, a start must meet what deletes them: the
        record in the log, or the snapshot that has replaced everything."""
        return self._metadata.may_save

    def freeze(self) -> Callable[[BinaryIO], None]:
        metadata, ends = self._metadata.snapshot(), self._store.queue_ends()

        def write(out: BinaryIO) -> None:
            out.write(msgspec.json.encode(GroupSnapshot(metadata(), ends)))

        return write

    def load(self, data: BinaryIO) -> None:
        try:
            self._read = msgspec.json.decode(data.read(), type=GroupSnapshot)
        except msgspec.MsgspecError as error:
            raise ValueError(f"not a snapshot of a broker: {error}") from None

    def loaded(self, last_index: int, next_pos: int) -> None:
        snapshot, self._read = self._read, None
        assert snapshot is not None, "load comes before loaded"
        self._ends = None
        log.info("the log goes on behind a snapshot, after entry %d", last_index)
        deletions = self._store.begin_anew(snapshot.queue_ends, next_pos)
        self._run(self._metadata.install(snapshot.metadata, deletions))

    def remembered(self, last_index: int, next_pos: int) -> None:
        snapshot, self._read = self._read, None
        assert snapshot is not None, "load comes before remembered"
        self._metadata.remember(snapshot.metadata)
        self._ends = last_index, next_pos, snapshot.queue_ends
        self._raise_ends(self.recovered_index)

    def _raise_ends(self, applied_index: int) -> None:
        """Once everything up to the snapshot is applied, queues that are behind it lack messages that the log
        has no more."""
        if self._ends is not None and self._ends[0] <= applied_index:
            _, next_pos, ends = self._ends
            self._ends = None
            self._store.raise_ends(ends, next_pos)


class GroupMember:
    """One broker's part in its group. ``on_lead`` is called when it may take messages, ``on_pause`` when it
    may not any more, and ``on_follow`` when it is not the leader any more."""

    def __init__(self, settings: BrokerSettings, disk: Disk | None) -> None:
        self.settings = group_settings(settings)
        self.leading = False
        """Messages are taken."""
        self.on_lead: Callable[[], None] = _nothing
        self.on_pause: Callable[[], None] = _nothing
        self.on_follow: Callable[[], None] = _nothing
        self._elected = False
        """The member leads its group, and may not know all of its log yet."""
        self._leader = False
        """It has been taken for the master, and nobody has heard otherwise."""
        self._broker_settings = settings
        self._disk = disk or Disk()
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = False

    @property
    def body_bytes_max(self) -> int:
        """Of a message."""
        file_bytes = self.settings.mapped_file_size_for_entry_data
        return entry_body_bytes_max(file_bytes) - RECORD_OVERHEAD_BYTES_MAX

    # ---- opening ----

    def open(self, store_host: bytes) -> ReplicatedStore:
        """Open the ledger and make the store over it. Blocks. Raises StoreError, OSError."""
        try:
            return self._open(store_host)
        except LedgerError as error:
            raise StoreError(str(error)) from None

    def _open(self, store_host: bytes) -> ReplicatedStore:
        config = self._broker_settings.store
        settings = self.settings
        ledger = FileLedger(
            self._disk,
            settings.directory,
            settings.mapped_file_size_for_entry_data,
            settings.mapped_file_size_for_entry_index,
        )
        try:
            if ledger.last_index < 0 and ledger.end_pos == 0:
                first_pos = end_unreplicated_log(config, store_host, self._disk)
                if first_pos > 0:
                    log.info("the group's log goes on behind the commit log, at %d", first_pos)
                    ledger.reset(-1, -1, first_pos)
            data_directory = f"{self.settings.directory}/data"
            committed = committed_log(ledger, self.settings.mapped_file_size_for_entry_data)
            store = ReplicatedStore(config, store_host, data_directory, committed, self._disk)
        except BaseException:
            ledger.close()
            raise
        self._ledger = ledger
        self.store = store
        return store

    def close(self) -> None:
        """Give the ledger up: the broker does not start."""
        self._ledger.close()

    async def start(
        self,
        metadata: MetadataLog,
        jobs: StoreJobs,
        on_growth: Callable[[list[ConsumeQueue]], None],
    ) -> None:
        """Take part. Raises OSError, StoreError."""
        settings = self.settings
        self._jobs = jobs
        self._running = False
        machine = GroupMachine(self.store, metadata, self._ledger, self._run, on_growth, self._look)
        self._server = DLedgerServer(
            settings,
            machines={settings.group: machine},
            ledgers={settings.group: self._ledger},
            on_role=self._role_changed,
            takes_appends=False,
            disk=self._disk,
        )
        try:
            await self._server.start()
        except (LedgerError, SnapshotError) as error:
            raise StoreError(str(error)) from None
        self._running = True

    def _run(self, jobs: list[Job]) -> None:
        """On a worker; at once while the member recovers, which is on one."""
        if self._running:
            self._jobs.start(jobs)
        else:
            for job in jobs:
                job()

    @property
    def node(self) -> Node:
        return self._server.nodes[self.settings.group]

    def java_leader(self) -> JavaLeader | None:
        """The Java member that leads the group, who writes no metadata to the log; None when none does."""
        node = self.node
        link = node.links.get(node.leader_id or "")
        return JavaLeader(link.peer, node.term) if link is not None and link.java else None

    @property
    def failed(self) -> asyncio.Event:
        """Set when the member could not go on."""
        return self._server.failed

    def successor(self) -> str | None:
        """The follower that has most of the log of those that are there, while this broker leads."""
        if not self.leading:
            return None
        followers = {
            member: follower for member, follower in self.node.followers().items() if follower.reachable
        }
        return max(followers, key=lambda member: followers[member].match_index, default=None)

    async def hand_over(self) -> None:
        """Before a stop: let another one lead, if one is there."""
        to = self.successor()
        if to is None:
            return
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        try:
            self.node.clients.transfer(to, lambda code: None if done.done() else done.set_result(code))
            async with asyncio.timeout(HAND_OVER_SECONDS_MAX):
                await done
        except (Refused, TimeoutError) as error:
            log.warning("the leadership could not be handed to %s: %s", to, error)

    async def stop(self) -> None:
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()
        await self._server.stop()

    def upkeep(self) -> None:
        """A few times a second: what the ledger has done by itself."""
        self.store.entries.synced(self._ledger.synced_pos)
        jobs = self.store.log_begins(self._ledger.first_file_pos)
        if jobs:
            self._jobs.start(jobs)

    # ---- the role ----

    def propose(self, bodies: list[bytes], done: Callable[[int, int, int], None]) -> None:
        self.node.clients.append(bodies, done)

    def refused(self) -> None:
        """The group did not take something: where the next entry will lie is not known any more."""
        self._pause()
        if self._timer is None and not self._stopping:
            self._timer = asyncio.get_running_loop().call_later(LOOK_AGAIN_SECONDS, self._look_again)

    def _look_again(self) -> None:
        self._timer = None
        self._look()
        if not self.leading and self._elected:
            self.refused()

    def _role_changed(self, node: Node) -> None:
        self._elected = node.role is Role.LEADER
        if not self._elected:
            self._pause()
            if self._leader:
                self._leader = False
                self.on_follow()
        self._look()

    def _look(self) -> None:
        """Whether to take messages now: as the leader, and with nothing in the log that is not applied."""
        if self.leading or not self._elected or self._stopping:
            return
        node, ledger = self.node, self._ledger
        # A leader's first entry is of its own term: until it is in the log, the log is not what is led.
        in_term = ledger.last_term == node.term
        if node.role is Role.LEADER and in_term and node.visible_index == ledger.last_index:
            self.leading = self._leader = True
            self.store.entries.lead(self._ledger.end_pos)
            self.on_lead()

    def _pause(self) -> None:
        if self.leading:
            self.leading = False
            self.store.entries.follow()
            self.on_pause()


def _nothing() -> None:
    pass
