"""Groups of members in this process, on loopback; started, killed and started again as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.ports import free_port

from ledgermq.dledger.codes import DLedgerCode, Role
from ledgermq.dledger.json_messages import split_entries
from ledgermq.dledger.member import Refused
from ledgermq.dledger.messages import Entries
from ledgermq.dledger.node import Node
from ledgermq.dledger.server import DLedgerServer
from ledgermq.dledger.settings import DLedgerSettings
from ledgermq.dledger.state_machine import StateMachine
from ledgermq.remoting.server import bind
from ledgermq.store.disk import Disk

GROUP = "g"
SECONDS_MAX = 20
NOT_NOW = (DLedgerCode.NOT_LEADER, DLedgerCode.LEADER_TRANSFERRING, DLedgerCode.DISK_FULL)


async def until(condition: Callable[[], Any]) -> None:
    """Gives the loop turns until ``condition()`` holds."""
    async with asyncio.timeout(SECONDS_MAX):
        while not condition():  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0.002)


class Cluster:
    """Members n0, n1, … of the same groups; each has a server of its own."""

    def __init__(
        self,
        folder: Path,
        size: int = 3,
        groups: Sequence[str] = (GROUP,),
        machine: Callable[[], StateMachine] | None = None,
        **settings: Any,
    ) -> None:
        self.ids = [f"n{number}" for number in range(size)]
        self.ports = {member: free_port() for member in self.ids}
        self._sockets = {member: bind("127.0.0.1", port) for member, port in self.ports.items()}
        self.peers = ";".join(f"{member}-127.0.0.1:{self.ports[member]}" for member in self.ids)
        self._folder = folder
        self._groups = groups
        self._machine = machine
        self._settings = {
            "mapped_file_size_for_entry_data": 64 * 1024,
            "mapped_file_size_for_entry_index": 32 * 256,
            **settings,
        }
        self.servers: dict[str, DLedgerServer] = {}
        self.disks: dict[str, Disk] = {}
        self.machines: dict[str, StateMachine] = {}

    def settings(self, member: str, group: str = GROUP, **changes: Any) -> DLedgerSettings:
        values = {
            "group": group,
            "self_id": member,
            "peers": self.peers,
            "store_base_dir": str(self._folder / group),
            **self._settings,
            **changes,
        }
        return DLedgerSettings(**values)

    async def start(self, *members: str, **changes: Any) -> None:
        """Start these members, or all of them."""
        for member in members or self.ids:
            settings = [self.settings(member, group, **changes) for group in self._groups]
            machines = {}
            if self._machine is not None:
                self.machines[member] = self._machine()
                machines = {GROUP: self.machines[member]}
            server = DLedgerServer(*settings, machines=machines, disk=self.disks.get(member))
            self.servers[member] = server
            await server.start(self._sockets.pop(member, None))

    async def stop(self, *members: str) -> None:
        for member in members or list(self.servers):
            server = self.servers.pop(member, None)
            if server is not None:
                await server.stop()

    async def kill(self, member: str) -> None:
        """As kill -9 does: nothing more is said or flushed."""
        self.servers[member].abort()
        await self.stop(member)

    # ---- looking ----

    def node(self, member: str, group: str = GROUP) -> Node:
        return self.servers[member].nodes[group]

    def nodes(self, group: str = GROUP) -> list[Node]:
        return [server.nodes[group] for server in self.servers.values()]

    def leading(self, group: str = GROUP) -> Node | None:
        """The one that leads in the highest term."""
        leaders = [node for node in self.nodes(group) if node.role is Role.LEADER]
        return max(leaders, key=lambda node: node.term, default=None)

    async def leader(self, group: str = GROUP) -> Node:
        """The leader, once all who live follow it."""

        def agreed() -> bool:
            leader = self.leading(group)
            return leader is not None and all(
                node.leader_id == leader.self_id and node.term == leader.term for node in self.nodes(group)
            )

        await until(agreed)
        leader = self.leading(group)
        assert leader is not None
        return leader

    async def caught_up(self, group: str = GROUP) -> None:
        """Everyone has committed what the leader has."""
        leader = await self.leader(group)
        await until(lambda: all(node.visible_index >= leader.last_index for node in self.nodes(group)))

    # ---- asking ----

    async def append(self, *bodies: bytes, group: str = GROUP) -> int:
        """Append through whoever leads; the index of the last entry."""
        while True:
            node = await self.leader(group)
            code, index = await append(node, *bodies)
            if code == DLedgerCode.SUCCESS:
                return index
            assert code in NOT_NOW, code
            await asyncio.sleep(0.005)

    async def bodies(self, first_index: int, last_index: int, group: str = GROUP) -> list[bytes]:
        node = await self.leader(group)
        found = [await get(node, index) for index in range(first_index, last_index + 1)]
        return [body for _, body in found if body is not None]


async def append(node: Node, *bodies: bytes) -> tuple[int, int]:
    """Code and index of the last entry."""
    future: asyncio.Future[tuple[int, int]] = asyncio.get_running_loop().create_future()
    try:
        node.clients.append(bodies, lambda code, index, pos: future.set_result((code, index)))
    except Refused as refusal:
        return refusal.code, -1
    async with asyncio.timeout(SECONDS_MAX):
        return await future


async def get(node: Node, index: int) -> tuple[int, bytes | None]:
    """Code and body of an entry, read from the leader."""
    future: asyncio.Future[tuple[int, bytes | None]] = asyncio.get_running_loop().create_future()

    def done(code: int, entry: Entries | None) -> None:
        future.set_result((code, None if entry is None else split_entries(entry.payload)[0].body))

    try:
        node.clients.get(index, done)
    except Refused as refusal:
        return refusal.code, None
    async with asyncio.timeout(SECONDS_MAX):
        return await future


async def transfer(node: Node, to: str) -> int:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    node.clients.transfer(to, future.set_result)
    async with asyncio.timeout(SECONDS_MAX):
        return await future


@asynccontextmanager
async def running(folder: Path, **settings: Any) -> AsyncIterator[Cluster]:
    """A cluster, all of whose members run; stopped at the end."""
    cluster = Cluster(folder, **settings)
    try:
        await cluster.start()
        yield cluster
    finally:
        await cluster.stop()
