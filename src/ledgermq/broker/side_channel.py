"""What is not in the log of a Java master: a follower asks it for its tables every few seconds.

A Java master logs messages only. Its slaves ask it for topics (21), groups (201), consumer offsets (43) and
delay offsets (45) and take them over (Java: ``SlaveSynchronize``); so do we while a Java node leads our
DLedger group. What we learn is stated by no record: the journal notes that and states it when we lead. The
other way round Java slaves ask us (``handlers_slave.py``).

A master that has followed us until now asked us every ten seconds and may have missed what came last, such
as a topic whose messages it has. So, other than in Java, its first answer takes nothing away: what it does
not know is kept, and of two offsets the greater one. From then on what it changes is taken over.

An answer counts only when the same Java node has led all the time since it was asked for: what a later leader
puts into the log must not be overwritten with it.

Rules of this file: pure functions say which records an answer makes; :class:`SideChannel` alone asks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Generic, NamedTuple, TypeVar

import msgspec

from ledgermq.broker.groups import SubscriptionGroupConfig
from ledgermq.broker.metadata_journal import MetadataJournal
from ledgermq.broker.metadata_records import (
    DelaysRecord,
    GroupsRecord,
    GroupState,
    MetadataRecord,
    OffsetsRecord,
    TopicsRecord,
)
from ledgermq.broker.metadata_state import MetadataState
from ledgermq.broker.offsets import TOPIC_GROUP_SEPARATOR, OffsetsRead, Queues
from ledgermq.broker.persistence import decode_file
from ledgermq.broker.schedule import DelayOffsetFile
from ledgermq.remoting.broker_headers import GroupPage, GroupPageReply, TopicPage, TopicPageReply
from ledgermq.remoting.codes import RequestCode, ResponseCode
from ledgermq.remoting.command import Command, PeerError
from ledgermq.remoting.connection import RemotingError
from ledgermq.remoting.headers import decode_body, decode_header, request, request_name
from ledgermq.remoting.nameserver_headers import MemberGroup
from ledgermq.remoting.route_data import MASTER_ID, BrokerMemberGroupBody, KvTable
from ledgermq.remoting.topic_config import DataVersion, TopicConfig
from ledgermq.runtime.config import BrokerConfig

log: Final = logging.getLogger("ledgermq.broker")

PAGE_MAX: Final = 2000
"""Items of one answer (Java: ``splitMetadataSize``)."""
RESTARTS_MAX: Final = 3
"""A table that changes while it is read is read again from the start, so often; then it is left for later."""
ASK_TIMEOUT_MS: Final = 3000
OURS: Final = "dLegerRole"
"""A key of the runtime information that only our brokers have."""

Ask = Callable[[str, Command, int], Awaitable[Command]]
"""As :meth:`RemotingClient.invoke`."""

T = TypeVar("T")


class JavaLeader(NamedTuple):
    """Which Java node leads the group, and in which term."""

    member: str
    term: int


class TopicsRead(msgspec.Struct, rename="camel"):
    """GET_ALL_TOPIC_CONFIG's answer, as far as it is used."""

    data_version: DataVersion
    topic_config_table: dict[str, TopicConfig]


class GroupsRead(msgspec.Struct, rename="camel"):
    """GET_ALL_SUBSCRIPTIONGROUP_CONFIG's answer."""

    data_version: DataVersion
    subscription_group_table: dict[str, SubscriptionGroupConfig]
    forbidden_table: dict[str, dict[str, int]] | None = None


# ---- what answers mean ----


class Pages(Generic[T]):
    """The pages of a table, collected until it is whole. ``known``: the version that we have already."""

    def __init__(self, known: DataVersion | None) -> None:
        self._known = known
        self._restarts = 0
        self.items: dict[str, T] = {}
        self.version: DataVersion | None = None
        self.done = False
        self.unchanged = False

    @property
    def version_text(self) -> str:
        """For the request of the next page, which begins behind ``items``."""
        return "" if self.version is None else msgspec.json.encode(self.version).decode()

    def add(self, version: DataVersion, page: dict[str, T], total: int | None) -> None:
        """``total``: items of the table; None: the page is all of it. Raises PeerError when the table changes
        all the time."""
        if self.version is None and version == self._known:
            self.done = self.unchanged = True
            return
        if self.version is not None and version != self.version:
            self._restarts += 1
            if self._restarts > RESTARTS_MAX:
                raise PeerError(ResponseCode.SYSTEM_ERROR, "the master's table changes while it is read")
            # Who asks with another version than the table's is given the first page.
            self.items = {}
        self.version = version
        self.items.update(page)
        self.done = total is None or not page or len(self.items) >= total


def topics_record(pages: Pages[TopicConfig], told: Iterable[str]) -> TopicsRecord | None:
    """``told``: topics that the same master had when it was last asked. None when nothing has changed."""
    if pages.unchanged or pages.version is None:
        return None
    for name, topic in pages.items.items():
        topic.topic_name = name
    removed = [name for name in told if name not in pages.items]
    return TopicsRecord(version=pages.version, removed=removed, items=pages.items)


def groups_record(pages: Pages[GroupState], told: Iterable[str]) -> GroupsRecord | None:
    """As :func:`topics_record`."""
    if pages.unchanged or pages.version is None:
        return None
    removed = [name for name in told if name not in pages.items]
    return GroupsRecord(version=pages.version, removed=removed, items=pages.items)


def group_items(read: GroupsRead) -> dict[str, GroupState]:
    """The groups of one page."""
    items: dict[str, GroupState] = {}
    forbidden = read.forbidden_table or {}
    for name, group in read.subscription_group_table.items():
        group.group_name = name
        items[name] = GroupState(group, forbidden.get(name, {}))
    return items


def offsets_record(read: OffsetsRead, state: MetadataState, told: OffsetsRead | None) -> OffsetsRecord | None:
    """``told``: the same master's last answer. None when nothing has changed."""
    removed: list[str] = []
    items: dict[str, Queues] = {}
    for pair, queues in read.offset_table.items():
        if TOPIC_GROUP_SEPARATOR not in pair or not queues:
            continue
        if told is None:
            known = state.offsets.get(pair, {})
            ahead = {queue: offset for queue, offset in queues.items() if offset > known.get(queue, -1)}
            if ahead:
                items[pair] = ahead
        elif told.offset_table.get(pair) != queues:
            # All of the pair: a reset that waits here is over, for the group has been at work there.
            removed.append(pair)
            items[pair] = queues
    if not items:
        return None
    version = read.data_version or state.offsets_version
    return OffsetsRecord(version=version.copy(), removed=removed, items=items)


def delays_record(read: DelayOffsetFile, state: MetadataState) -> DelaysRecord | None:
    """None when nothing has changed."""
    items = dict(state.delays)
    for level, offset in read.offset_table.items():
        items[level] = max(offset, items.get(level, 0))
    if items == state.delays:
        return None
    return DelaysRecord(version=read.data_version, items=items)


# ---- asking ----


class SideChannel:
    """Follows a Java master. ``address`` is this broker's own; ``java_leader`` says which Java node leads the
    group now, None when none does."""

    def __init__(
        self,
        config: BrokerConfig,
        address: str,
        journal: MetadataJournal,
        ask: Ask,
        java_leader: Callable[[], JavaLeader | None],
    ) -> None:
        self._config = config
        self._address = address
        self._journal = journal
        self._ask_peer = ask
        self._java_leader = java_leader
        self._followed: JavaLeader | None = None
        """Who told us what the next three fields hold."""
        self._topics_told: TopicsRecord | None = None
        self._groups_told: GroupsRecord | None = None
        self._offsets_told: OffsetsRead | None = None
        self._task: asyncio.Task[None] | None = None
        self._failure = ""
        """So that a master that does not answer for hours is one line in the log."""

    def look(self) -> None:
        """To be called every few seconds: begin to ask if a Java node leads and nobody is asked now."""
        leader = self._java_leader()
        if leader is not None and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(leader))
            self._task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Ask nobody any more."""
        task = self._task
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and task.exception() is not None:
            log.error("following a Java master has failed", exc_info=task.exception())

    async def _run(self, leader: JavaLeader) -> None:
        try:
            await self.follow(leader)
        except (RemotingError, PeerError, ValueError) as error:
            if str(error) != self._failure:
                log.warning("topics, groups and offsets of the Java master are not known now: %s", error)
            self._failure = str(error)
        else:
            self._failure = ""

    async def follow(self, leader: JavaLeader) -> None:
        """Take over the master's tables once. Raises RemotingError, PeerError, ValueError."""
        if leader != self._followed:
            self._followed = leader
            self._topics_told = self._groups_told = self._offsets_told = None
        master = await self._find_master()
        if master is None or master == self._address or await self._is_ours(master):
            return  # The name servers do not know of the new master yet.
        topics = await self._read_topics(master)
        if self._adopt(topics, leader):
            self._topics_told = topics or self._topics_told
        groups = await self._read_groups(master)
        if self._adopt(groups, leader):
            self._groups_told = groups or self._groups_told
        offsets = await self._read_offsets(master)
        if self._adopt(offsets_record(offsets, self._journal.state, self._offsets_told), leader):
            self._offsets_told = offsets
        delays = await self._read_delays(master)
        self._adopt(delays_record(delays, self._journal.state), leader)

    def _adopt(self, record: MetadataRecord | None, leader: JavaLeader) -> bool:
        """False when the answer came too late."""
        if self._java_leader() != leader:
            return False
        if record is not None:
            self._journal.adopt(record)
        return True

    async def _find_master(self) -> str | None:
        """As the first name server says that answers."""
        header = MemberGroup(self._config.broker_cluster_name, self._config.broker_name)
        failure: RemotingError | PeerError | None = None
        for server in filter(None, self._config.namesrv_addr.split(";")):
            try:
                answer = await self._ask(server, request(RequestCode.GET_BROKER_MEMBER_GROUP, header))
                group = decode_body(BrokerMemberGroupBody, answer).broker_member_group
                return group.broker_addrs.get(MASTER_ID)
            except (RemotingError, PeerError) as error:
                failure = error
        if failure is not None:
            raise failure
        return None

    async def _is_ours(self, master: str) -> bool:
        answer = await self._ask_peer(master, request(RequestCode.GET_BROKER_RUNTIME_INFO), ASK_TIMEOUT_MS)
        # Java answers with an error while it has no statistics, as in its first second.
        return answer.code == ResponseCode.SUCCESS and OURS in decode_body(KvTable, answer).table

    async def _read_topics(self, master: str) -> TopicsRecord | None:
        told = self._topics_told
        pages: Pages[TopicConfig] = Pages(None if told is None else told.version)
        while not pages.done:
            header = TopicPage(len(pages.items), pages.version_text, PAGE_MAX)
            answer = await self._ask(master, request(RequestCode.GET_ALL_TOPIC_CONFIG, header))
            read = decode_body(TopicsRead, answer)
            total = decode_header(TopicPageReply, answer).total_topic_num
            pages.add(read.data_version, read.topic_config_table, total)
        return topics_record(pages, () if told is None else told.items)

    async def _read_groups(self, master: str) -> GroupsRecord | None:
        told = self._groups_told
        pages: Pages[GroupState] = Pages(None if told is None else told.version)
        while not pages.done:
            header = GroupPage(len(pages.items), pages.version_text, PAGE_MAX)
            answer = await self._ask(master, request(RequestCode.GET_ALL_SUBSCRIPTIONGROUP_CONFIG, header))
            read = decode_body(GroupsRead, answer)
            total = decode_header(GroupPageReply, answer).total_group_num
            pages.add(read.data_version, group_items(read), total)
        return groups_record(pages, () if told is None else told.items)

    async def _read_offsets(self, master: str) -> OffsetsRead:
        return await self._read_file(OffsetsRead, master, RequestCode.GET_ALL_CONSUMER_OFFSET)

    async def _read_delays(self, master: str) -> DelayOffsetFile:
        return await self._read_file(DelayOffsetFile, master, RequestCode.GET_ALL_DELAY_OFFSET)

    async def _read_file(self, kind: type[T], master: str, code: int) -> T:
        """An answer that is the text of a file."""
        answer = await self._ask(master, request(code))
        try:
            return decode_file(kind, answer.body)
        except ValueError as error:
            raise ValueError(f"{request_name(code)} of {master}: {error}") from None

    async def _ask(self, address: str, command: Command) -> Command:
        answer = await self._ask_peer(address, command, ASK_TIMEOUT_MS)
        if answer.code != ResponseCode.SUCCESS:
            raise PeerError(answer.code, f"{address} answered code {answer.code}: {answer.remark}")
        return answer
