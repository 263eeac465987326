"""A broker, put together: the store, the tables, the handlers, the ports, and what happens by time.

This is the one place that knows all the parts. Each handler gets the few it uses; none gets the broker.

=====================  =============================================================================
every                  what
=====================  =============================================================================
0.25 s                 look after the store: queue units, checkpoint, the next log file, retention
1 s                    end pulls and flushes whose wait is over
flushIntervalCommitLog flush the log
flushConsumerOffset-   write the tables that changed
Interval
10 s                   sample the statistics, forget silent clients and expired locks
in a group, 0.25 s     look after the group's log: what is on the disk, what retention has removed
in a group, 0.5 s      write the consumers' progress to the log
in a group, 2 s        ask a Java master for its tables
in a group, 10 s       write the metadata's state to its file
=====================  =============================================================================
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Final

from ledgermq.broker.chores import Chores
from ledgermq.broker.clients import ClientRegistry
from ledgermq.broker.commits import Commits, Outbox
from ledgermq.broker.group_commits import GroupCommits
from ledgermq.broker.group_member import (
    HAND_OVER_SECONDS_MAX,
    GroupMember,
    refuse_group_member,
    slave_id,
)
from ledgermq.broker.groups import GroupFile, GroupTable
from ledgermq.broker.handlers_admin import AdminHandlers
from ledgermq.broker.handlers_client import ClientHandlers
from ledgermq.broker.handlers_connections import ConnectionHandlers
from ledgermq.broker.handlers_group import GroupHandlers
from ledgermq.broker.handlers_lock import LockHandlers
from ledgermq.broker.handlers_offset import OffsetHandlers
from ledgermq.broker.handlers_progress import ProgressHandlers
from ledgermq.broker.handlers_query import QueryHandlers
from ledgermq.broker.handlers_relay import RelayHandlers
from ledgermq.broker.handlers_reset import ResetHandlers
from ledgermq.broker.handlers_slave import SlaveHandlers
from ledgermq.broker.handlers_topic import TopicHandlers
from ledgermq.broker.locks import QueueLocks
from ledgermq.broker.lost_topics import restore_topics
from ledgermq.broker.metadata_journal import MetadataJournal
from ledgermq.broker.metadata_log import GroupFiles, MetadataLog
from ledgermq.broker.offsets import OffsetsRead, OffsetTable
from ledgermq.broker.persistence import (
    DELAY_FILE,
    GROUPS_FILE,
    OFFSETS_FILE,
    TOPICS_FILE,
    ConfigFiles,
)
from ledgermq.broker.pull import PullAccess, PullHandlers
from ledgermq.broker.pull_path import PullPath
from ledgermq.broker.queue_reads import queue_range
from ledgermq.broker.registration import Registrar
from ledgermq.broker.replication_facts import replication_facts
from ledgermq.broker.schedule import DelayOffsetFile, Scheduler
from ledgermq.broker.send import SendHandlers
from ledgermq.broker.send_back import SendBackHandlers
from ledgermq.broker.send_path import SendPath
from ledgermq.broker.side_channel import SideChannel
from ledgermq.broker.stats import SAMPLE_MS, BrokerStats
from ledgermq.broker.store_jobs import StoreJobs
from ledgermq.broker.to_master import ToMaster
from ledgermq.broker.topics import TopicFile, TopicTable
from ledgermq.broker.traffic import Traffic
from ledgermq.dledger.node import Node
from ledgermq.message.delay_levels import DelayLevels
from ledgermq.message.ids import UniqueKeys
from ledgermq.remoting.client import RemotingClient
from ledgermq.remoting.command import PeerError
from ledgermq.remoting.connection import Connection, Handler
from ledgermq.remoting.server import Server, bind
from ledgermq.runtime.clock import monotonic_ms, now_ms, today
from ledgermq.runtime.config import BrokerSettings
from ledgermq.store.consume_queue import ConsumeQueue
from ledgermq.store.disk import Disk
from ledgermq.store.message_store import MessageStore

log: Final = logging.getLogger("ledgermq.broker")

FAST_PORT_DISTANCE: Final = 2
WORKER_THREADS: Final = 4
"""For cold reads, reserving and deleting files. These may queue up; the flush has a thread of its own."""
REGISTER_WAIT_MS: Final = 3000
"""How long the start waits for the name servers; later the registration goes on by itself."""
UPKEEP_SECONDS: Final = 0.25
LOG_OFFSETS_SECONDS: Final = 0.5
"""So long a group's progress may be known to the master alone."""
SAVE_METADATA_SECONDS: Final = 10.0
SIDE_CHANNEL_SECONDS: Final = 2.0
"""So long a Java master's tables may be known to it alone; its own slaves ask every ten seconds."""


def packed_host(ip: str, port: int) -> bytes:
    """An address as records carry it: 4 or 16 bytes of IP and an int32 port."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    return socket.inet_pton(family, ip) + port.to_bytes(4, "big")


def advertised_ip(configured: str, bound: str) -> str:
    """The address clients are told: the configured one, else where we listen, else this host's own."""
    address = configured or bound
    if address not in ("0.0.0.0", "::", ""):
        return address if ":" in address else socket.gethostbyname(address)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a datagram socket sends nothing: it asks the routing table which address is ours.
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


class Broker:
    """One broker. ``failed`` is set when it cannot go on (an fsync failed); who runs it then stops it.

    :meth:`start` raises OSError (a port is taken), StoreError (the directory cannot be used) or ValueError
    (a file of ``config/`` cannot be read).
    """

    def __init__(
        self, settings: BrokerSettings, config_path: Path | None = None, disk: Disk | None = None
    ) -> None:
        """``config_path``: the file that changes of the running configuration are written to."""
        self.settings = settings
        self._disk = disk
        self._config_path = config_path
        self.failed = asyncio.Event()
        self.address = ""
        self.port = 0
        self.fast_port = 0
        self._group: GroupMember | None = None
        """With enableDLegerCommitLog: this broker as a member of its group."""
        self.node: Node | None = None
        """The group's member, once it takes part."""

    async def start(self) -> None:
        sockets = self._bind()
        with ExitStack() as opened:  # A start that fails leaves nothing open.
            for bound in sockets:
                opened.callback(bound.close)
            self._open_store(opened)
            handlers = self._load_and_wire()
            if self._group is not None:
                await self._join(self._group)
            opened.pop_all()
        self._server = Server(
            handlers,
            fast_path=self._path,
            on_open=self._opened,
            on_close=self._clients_handlers.connection_closed,
            idle_seconds_max=self.settings.remoting.server_channel_max_idle_time_seconds,
        )
        for bound in sockets:
            await self._server.serve(bound)
        if self._group is None:
            self._scheduler.start()
        self._start_chores()
        await self._registrar.start(REGISTER_WAIT_MS)
        log.info("broker %s serves at %s", self.settings.broker.broker_name, self.address)

    # ---- opening ----

    def _bind(self) -> list[socket.socket]:
        """The main and the fast port. They are bound before the store is opened: its records carry the
        broker's address."""
        host = self.settings.remoting.bind_address
        wanted = self.settings.broker.listen_port
        if 0 < wanted <= FAST_PORT_DISTANCE:
            raise ValueError(
                f"listenPort={wanted} leaves no number for the fast port, {FAST_PORT_DISTANCE} below"
            )
        main = bind(host, wanted)
        try:
            fast = bind(host, wanted - FAST_PORT_DISTANCE if wanted else 0)
        except OSError:
            main.close()
            raise
        self.port = main.getsockname()[1]
        self.fast_port = fast.getsockname()[1]
        ip = advertised_ip(self.settings.broker.broker_ip1, host)
        self.address = f"[{ip}]:{self.port}" if ":" in ip else f"{ip}:{self.port}"
        self._store_host = packed_host(ip, self.port)
        return [main, fast]

    def _open_store(self, opened: ExitStack) -> None:
        self._executor = ThreadPoolExecutor(WORKER_THREADS, "ledgermq-worker")
        self._flusher = ThreadPoolExecutor(1, "ledgermq-flush")
        self.store: MessageStore
        if self.settings.store.enable_dleger_commit_log:
            self._group = GroupMember(self.settings, self._disk)
            self.store = self._group.open(self._store_host)
            opened.callback(self._group.close)
        else:
            refuse_group_member(self.settings.store.store_path_root_dir)
            self.store = MessageStore(self.settings.store, self._store_host, self._disk)
        self._recovered = self.store.open()
        opened.callback(self.store.close)
        opened.callback(self._executor.shutdown)
        opened.callback(self._flusher.shutdown)

    @property
    def is_registered(self) -> bool:
        """Whether clients can find it at one of its name servers at least."""
        return self._registrar.is_registered

    @property
    def is_master(self) -> bool:
        """Whether it takes messages: alone, or as its group's leader."""
        return self._group is None or self._group.leading

    async def _join(self, group: GroupMember) -> None:
        """Take part in the group, as a slave until it is known who leads."""
        group.on_lead = self._lead
        group.on_pause = self._pause
        group.on_follow = self._follow
        self._follow()
        await group.start(self._metadata, self._jobs, self._grown)
        self.node = group.node
        self._side_channel = SideChannel(
            self.settings.broker, self.address, self._journal, self._peers.invoke, group.java_leader
        )

    def _lead(self) -> None:
        """This broker leads its group, and knows all of its log."""
        self._path.refusing = self.failed.is_set()
        unstated = self._journal.unstated
        self._journal.start_leading()
        self._metadata.lead(self.address)
        if unstated:  # a Java leader may have made topics after it was last asked
            restore_topics(self.topics, self.store, self.topics.data_version.timestamp, now_ms())
        self._scheduler.start()
        if self._registrar.set_broker_id(0):
            log.info("broker %s is the master now", self.address)

    def _pause(self) -> None:
        """No messages are taken for the moment."""
        self._path.refusing = True
        self._commits.commit()  # what this turn of the loop appended is not in the log
        self._scheduler.stop()
        self._journal.stop_leading()

    def _follow(self) -> None:
        """Another broker leads the group, or will."""
        assert self._group is not None
        log.info("broker %s is a slave now", self.address)
        self._path.refusing = True
        self._registrar.set_broker_id(slave_id(self._group.settings.self_id))
        # Whoever waits here asks again, and by then perhaps knows where.
        self._pulls.release(self._pulls.parked.queues())

    def _load_and_wire(self) -> dict[int, Handler]:
        topics_saved_ms = self._load_tables()
        handlers = self._wire()
        if self._group is None or self._group_is_new:
            restore_topics(self.topics, self.store, topics_saved_ms, now_ms())
        if self._group is not None:
            self._recover_metadata(self._group)
        elif self._recovered.power_failed and self._recovered.ours:
            self._limit_offsets()
        return handlers

    def _recover_metadata(self, group: GroupMember) -> None:
        """From here on the tables say what the group's log states."""
        host = self._store_host
        self._metadata = MetadataLog(
            group.store, self._commits, self._executor, self.files.directory, host, now_ms, self._path.forget
        )
        self._journal = MetadataJournal(
            self.topics,
            self.groups,
            self.offsets,
            self._scheduler,
            self._metadata.append,
            unstated=self._group_is_new and self._has_files,
        )
        self._metadata.recover(self._journal, self._jobs, not self._group_is_new)

    def _limit_offsets(self) -> None:
        """A power failure may leave progress that is ahead of the log: a group that kept it would miss the
        messages that get these offsets now."""

        def end_of(topic: str, queue_id: int) -> int:
            return queue_range(self.store, topic, queue_id).max_offset

        limited = self.offsets.limit(end_of, now_ms())
        if limited:
            log.warning("%d consumer offsets lay behind the end of their queue and were set to it", limited)

    def _load_tables(self) -> int:
        """Returns when the last change was made that topics.json knows; 0 without the file."""
        config = self.settings.broker
        directory = Path(self.settings.store.store_path_root_dir) / "config"
        self._group_is_new = not (self._recovered.ours and MetadataLog.saved(directory))
        self.files = ConfigFiles(directory) if self._group is None else GroupFiles(directory)
        self.topics = TopicTable(config, now_ms())
        self.groups = GroupTable(config, now_ms())
        self.offsets = OffsetTable(now_ms())
        self.clients: ClientRegistry[Connection] = ClientRegistry(config)
        self.locks = QueueLocks()
        self.stats = BrokerStats(config.broker_cluster_name, now_ms(), today())
        topics = self.files.load(TOPICS_FILE, TopicFile)
        if topics is not None:
            self.topics.load(topics)
        groups = self.files.load(GROUPS_FILE, GroupFile)
        if groups is not None:
            self.groups.load(groups)
        offsets = self.files.load(OFFSETS_FILE, OffsetsRead)
        if offsets is not None:
            self.offsets.load(offsets, now_ms())
        self._has_files = any(file is not None for file in (topics, groups, offsets))
        return 0 if topics is None else topics.data_version.timestamp

    def _wire(self) -> dict[int, Handler]:
        """Make the handlers, and the paths between them."""
        config, store = self.settings.broker, self.store
        ip = self._store_host[:-4]
        unique_keys = UniqueKeys(
            socket.inet_ntoa(ip) if len(ip) == 4 else "::1", os.getpid(), secrets.randbits(32)
        )
        self._commits = self._make_commits()
        if isinstance(self.files, GroupFiles):
            self.files.commits = self._commits
        access = PullAccess(config, self.topics, self.groups, self.clients, self.stats)
        self._pull_path = PullPath(
            store.reader, self.offsets, access.version, self.clients.compensate, now_ms
        )
        self._path = SendPath(
            store.log,
            self._commits,
            cluster=config.broker_cluster_name,
            region=config.region_id,
            trace_on=config.trace_on,
            body_bytes_max=self._body_bytes_max,
            queue_of=store.queue,
            traffic_of=self._traffic_of,
            now_ms=now_ms,
            following=self._pull_path,
        )
        levels = DelayLevels(self.settings.store.message_delay_level)
        self._scheduler = Scheduler(levels, self.topics, store, self._path, self._commits, now_ms)
        delays = self.files.load(DELAY_FILE, DelayOffsetFile)
        if delays is not None:
            self._scheduler.load(delays)
        self._track_files()
        self._registrar = Registrar(config, self.topics, RemotingClient(), self.address, self._ha_address())
        self._pulls = PullHandlers(
            config,
            access,
            self._pull_path,
            store.reader,
            store.queue,
            self.offsets,
            self.stats.missed_pulls,
            self._executor,
            now_ms,
            monotonic_ms,
        )
        sends = SendHandlers(
            config,
            self.topics,
            self.groups,
            lambda group: self.locks.holds_any(group, monotonic_ms()),
            store,
            self._path,
            self._commits,
            levels,
            unique_keys,
            now_ms,
        )
        backs = SendBackHandlers(
            config,
            self.topics,
            self.groups,
            store,
            self._path,
            self._commits,
            levels,
            self.stats,
            self._executor,
            now_ms,
        )
        self._clients_handlers = ClientHandlers(config, self.topics, self.groups, self.clients, now_ms)
        groups = GroupHandlers(self.groups, self.offsets, self.stats, self.files, now_ms)
        locks = LockHandlers(config.broker_name, self.topics, self.groups, self.locks, monotonic_ms)
        table: dict[int, Handler] = {}
        for handlers in (sends, backs, self._pulls, self._clients_handlers, groups, locks):
            table.update(handlers.table())
        table.update(self._wire_operators())
        return table

    def _make_commits(self) -> Commits:
        settings, group, flusher = self.settings.store, self._group, self._flusher
        if group is not None:
            entries = group.store.entries
            return GroupCommits(entries, flusher, group.propose, group.refused, self._grown, self._fatal)
        sync_flush = settings.flush_disk_type == "SYNC_FLUSH"
        return Commits(
            self.store.log, flusher, sync_flush, settings.sync_flush_timeout, self._grown, self._fatal
        )

    def _track_files(self) -> None:
        """From now on the tables are written when they change; they have been loaded."""
        topics, groups, offsets, scheduler = self.topics, self.groups, self.offsets, self._scheduler
        track = self.files.track
        track(TOPICS_FILE, topics.to_file, lambda: topics.changes, "topic_config_table")
        track(GROUPS_FILE, groups.to_file, lambda: groups.changes, "subscription_group_table")
        track(OFFSETS_FILE, offsets.to_file, lambda: offsets.changes)
        track(DELAY_FILE, scheduler.to_file, lambda: scheduler.changes)
        topics.listeners.append(partial(self.files.item_changed, TOPICS_FILE))
        groups.listeners.append(partial(self.files.item_changed, GROUPS_FILE))

    def _wire_operators(self) -> dict[int, Handler]:
        """The handlers of what administrators and their tools ask."""
        config, store = self.settings.broker, self.store
        name, release = config.broker_name, self._pulls.release
        topics, groups, clients, offsets, stats = (
            self.topics, self.groups, self.clients, self.offsets, self.stats,
        )  # fmt: skip
        changed = self._settings_changed
        self._jobs = jobs = StoreJobs(self._executor, self._fatal)
        self._peers = RemotingClient()
        to_master = ToMaster(self._peers, self.address, lambda: self._metadata.master_address)
        table: dict[int, Handler] = {}
        for handlers in (
            OffsetHandlers(topics, groups, offsets, store, now_ms, to_master.pass_on),
            TopicHandlers(name, topics, offsets, stats, store, jobs, self.files, release, now_ms),
            QueryHandlers(self.settings.store, topics, clients, store, self._executor),
            ConnectionHandlers(self.address, clients, offsets),
            ProgressHandlers(name, self.address, topics, groups, clients, offsets, stats, store, now_ms),
            ResetHandlers(config, topics, groups, clients, offsets, store, release, now_ms),
            RelayHandlers(name, topics, groups, clients, store),
            SlaveHandlers(self._scheduler),
            AdminHandlers(
                self.settings,
                self._config_path,
                topics,
                stats,
                store,
                jobs,
                changed,
                lambda: {} if self.node is None else replication_facts(self.node),
                now_ms,
            ),
        ):
            table.update(handlers.table())
        return table

    @property
    def _body_bytes_max(self) -> int:
        """Of a message that is taken: in a group it must fit an entry, whatever stands beside it when it is
        delivered again."""
        wanted = self.settings.store.max_message_size
        return wanted if self._group is None else min(wanted, self._group.body_bytes_max)

    def _ha_address(self) -> str:
        ip = self.settings.broker.broker_ip2 or self.address.rpartition(":")[0]
        return f"{ip}:{self.settings.store.ha_listen_port or self.port + 1}"

    def _traffic_of(self, topic: bytes) -> Traffic:
        name = topic.decode()
        return self.stats.puts(name, system=self.topics.is_system(name))

    def _opened(self, connection: Connection) -> None:
        connection.attachment = Outbox(connection, packed_host(connection.remote_ip, connection.remote_port))

    # ---- while it runs ----

    def _settings_changed(self) -> None:
        """An operator has changed settings: those that were copied are copied again."""
        config = self.settings.broker
        self._path.configure(config.region_id, config.trace_on, self._body_bytes_max)
        self._pull_path.forget()
        self.store.apply_config()
        self._registrar.register_all()

    def _grown(self, queues: list[ConsumeQueue]) -> None:
        """Consumers can see more of ``queues``."""
        self._pulls.grown(queues)
        self._scheduler.grown(queues)

    def _fatal(self, error: BaseException) -> None:
        log.critical("the broker stops: %s", error)
        self._path.refusing = True
        self.failed.set()

    def _start_chores(self) -> None:
        self._chores = Chores()
        self._chores.every(1.0, self._pulls.expire)
        self._chores.every(1.0, self._commits.expire)
        self._chores.every(UPKEEP_SECONDS, self._look_after_store)
        self._chores.every(self.settings.store.flush_interval_commit_log / 1000, self._commits.flush_soon)
        self._chores.every(
            self.settings.broker.flush_consumer_offset_interval / 1000, self.files.save_changed
        )
        if self._group is not None:
            self._chores.every(UPKEEP_SECONDS, self._group.upkeep)
            self._chores.every(LOG_OFFSETS_SECONDS, self._metadata.log_offsets)
            self._chores.every(SAVE_METADATA_SECONDS, self._metadata.save_soon)
            self._chores.every(SIDE_CHANNEL_SECONDS, self._side_channel.look)
        self._chores.every(SAMPLE_MS / 1000, lambda: self.stats.sample(now_ms(), today()))
        self._chores.every(10.0, self._clients_handlers.expire)
        self._chores.every(10.0, lambda: self.locks.expire(monotonic_ms()))

    def _look_after_store(self) -> None:
        if self._group is not None and self._group.failed.is_set() and not self.failed.is_set():
            self._fatal(RuntimeError("its member of the DLedger group has stopped"))
        self._path.refusing = self.store.refusal is not None or self.failed.is_set()
        jobs = self.store.upkeep(now_ms())
        if jobs:
            self._jobs.start(jobs)

    # ---- the end ----

    async def stop(self) -> None:
        """Unregister, answer who waits for a flush, close the ports, write and flush everything."""
        if self._group is not None:
            await self._hand_over(self._group)
        self._chores.stop()
        self._scheduler.stop()
        self._clients_handlers.stop()
        await self._registrar.stop()
        await self._commits.drain()
        await self._server.stop()
        if self._group is not None:
            await self._side_channel.stop()
        await self._peers.close()
        self._commits.stop()
        if self._group is not None:
            await self._group.stop()
        await self._jobs.finish()
        if self._group is not None:
            await self._metadata.close()
        await self.files.close()
        self._executor.shutdown(wait=True)
        self._flusher.shutdown(wait=True)
        self.store.close()
        log.info("broker %s stopped", self.settings.broker.broker_name)

    async def _hand_over(self, group: GroupMember) -> None:
        """Let another broker lead, which is to know the progress of consumers: what it does not know is
        delivered again."""
        if group.successor() is not None:
            # Without an answer in time it goes on as after a crash.
            with suppress(PeerError, TimeoutError):
                async with asyncio.timeout(HAND_OVER_SECONDS_MAX):
                    for _ in range(2):  # What is under way, then what has come since.
                        self._metadata.log_offsets()
                        await self.files.save(OFFSETS_FILE)
        await group.hand_over()
