"""Groups of brokers on DLedger, of either maker or both, with links between them that can be cut.

A group has one broker name; each member has a store of its own, whoever serves it. Clients and name servers
reach the members without detours; the members reach each other's DLedger ports through proxies when the group
is made with links.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tests.interop.harness.cluster import Broker, JavaPrograms, Maker, NameServer
from tests.interop.harness.cuttable import Cuttable
from tests.interop.harness.driver import Driver, JavaError, Queue
from tests.interop.harness.programs import eventually
from tests.ports import free_port

from ledgermq.dledger.client import DLedgerClient
from ledgermq.dledger.errors import DLedgerError

T = TypeVar("T")

GROUP = "broker-q"
FILE_BYTES = 16 * 1024 * 1024
SMALL_INDEX = {"maxHashSlotNum": "5000", "maxIndexNum": "20000"}
"""So that a store can be copied."""
TRANSFER_TIMEOUT_S = 40
"""Java's leader looks at its followers for a while before it hands over."""
MASTER_TIMEOUT_S = 90
"""Java elects after six seconds of silence, and not always at the first try."""


class LoopThread:
    """An event loop on a thread, for tests that are no coroutines."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(120)

    def call(self, work: Callable[[], None]) -> None:
        async def run() -> None:
            work()

        self.do(run())

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@dataclass
class Member:
    """One broker of a group."""

    id: str
    broker: Broker
    dledger_port: int
    frozen: bool = False

    @property
    def address(self) -> str:
        return self.broker.address

    @property
    def maker(self) -> Maker:
        return self.broker.maker

    @property
    def store(self) -> Path:
        return self.broker.store

    @property
    def running(self) -> bool:
        return self.broker.program is not None and self.broker.program.alive

    def start(self, maker: Maker | None = None) -> None:
        self.broker.start(maker)

    def stop(self) -> None:
        self.broker.stop()

    def kill(self) -> None:
        """kill -9, frozen or not."""
        self.frozen = False
        self.broker.kill()

    def freeze(self) -> None:
        """SIGSTOP: nothing of it runs and its connections stay, until ``thaw``."""
        self._signal(signal.SIGSTOP)
        self.frozen = True

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)
        self.frozen = False

    def _signal(self, number: int) -> None:
        assert self.broker.program is not None
        os.killpg(self.broker.program.pid, number)


@dataclass
class Quorum:
    """The members, their name server and the links between them."""

    members: list[Member]
    name_server: NameServer
    driver: Driver
    loop: LoopThread
    links: dict[tuple[str, str], Cuttable] = field(default_factory=dict)
    """(from, to): what the first sends to the second, and the answers."""

    @property
    def namesrv(self) -> str:
        return self.name_server.address

    @property
    def peers(self) -> str:
        """For clients: the members' own ports."""
        return ";".join(f"{member.id}-127.0.0.1:{member.dledger_port}" for member in self.members)

    def member(self, id: str) -> Member:
        return next(member for member in self.members if member.id == id)

    def others(self, *but: Member) -> list[Member]:
        return [member for member in self.members if member not in but]

    def by(self, maker: Maker) -> list[Member]:
        return [member for member in self.members if member.maker == maker]

    def start(self) -> None:
        self.name_server.start()
        self.start_brokers()

    def start_brokers(self, members: Sequence[Member] | None = None) -> None:
        """All at once."""
        for member in members or self.members:
            member.broker.launch()
        for member in members or self.members:
            member.broker.wait()

    def stop(self) -> None:
        """The leader last: while it is there, who stops is no further than it."""
        leader = self.leader()
        for member in sorted(self.members, key=lambda member: member is leader):
            member.stop()

    def close(self) -> None:
        """Ends everything, however it stands."""
        for member in self.members:
            member.kill()
        self.name_server.kill()
        self.driver.forget(self.namesrv)
        for link in self.links.values():
            self.loop.do(link.stop())
        self.loop.close()

    # ---- who leads ----

    def leader(self) -> Member | None:
        """Whom DLedger's members name, as far as they answer and agree."""
        return self.loop.do(self._leader())

    async def _leader(self) -> Member | None:
        async with DLedgerClient(GROUP, self.peers, timeout_ms=2000) as client:
            try:
                metadata = await client.metadata()
            except DLedgerError:
                return None
        return None if metadata.leader_id is None else self.member(metadata.leader_id)

    def master(self) -> Member | None:
        """Whom the name server gives clients for brokerId 0; it may be dead."""
        address = self.addresses().get("0")
        return next((member for member in self.members if member.address == address), None)

    def addresses(self, broker_name: str = GROUP) -> dict[str, str]:
        """By brokerId, as the name server has them."""
        table: dict[str, Any] = (
            self.driver.call("admin.clusterInfo", namesrv=self.namesrv)["brokerAddrTable"] or {}
        )
        if broker_name not in table:
            return {}
        addresses: dict[str, str] = table[broker_name]["brokerAddrs"]
        return addresses

    def wait_for_master(self, *, but: Member | None = None) -> Member:
        """Until DLedger's leader is the name server's master, who runs and is not ``but``."""

        def look() -> Member | None:
            leader = self.leader()
            if leader is None or leader is but or not leader.running or leader.frozen:
                return None
            return leader if self.master() is leader else None

        return eventually(look, MASTER_TIMEOUT_S, what=f"a master of {GROUP} other than {but and but.id}")

    def make_master(self, member: Member) -> None:
        """By DLedger's transfer of leadership; asked again where the leader says no."""

        def look() -> bool:
            with suppress(DLedgerError):
                self.loop.do(self._transfer(member.id))
            return self.leader() is member

        if self.leader() is not member:
            eventually(look, TRANSFER_TIMEOUT_S, what=f"{member.id} leading")
        eventually(lambda: self.master() is member, MASTER_TIMEOUT_S, what=f"{member.id} as the master")

    async def _transfer(self, to: str) -> None:
        async with DLedgerClient(GROUP, self.peers, timeout_ms=10_000) as client:
            await client.transfer(to)

    # ---- links ----

    def cut(self, member: Member, *, to: Sequence[Member] | None = None, reject: bool = False) -> None:
        """Between it and the others (or ``to``), both ways: nothing arrives, or connections break."""
        ends = {other.id for other in (self.others(member) if to is None else to)}
        for (sender, receiver), link in self.links.items():
            if (sender == member.id and receiver in ends) or (receiver == member.id and sender in ends):
                self.loop.call(link.reject if reject else link.hold)

    def heal(self) -> None:
        for link in self.links.values():
            self.loop.call(link.heal)

    # ---- what one member has ----

    def bodies(self, member: Member, queue: Queue, start: int = 0) -> list[tuple[int, str]]:
        """Queue offset and body of each message that this very member gives a pull, from ``start`` on."""
        rows = self._ask(member, "broker.bodies", queue, **{"from": start})
        return [(offset, body) for offset, body in rows]

    def max_offset(self, member: Member, queue: Queue) -> int:
        """Behind the last message that this very member gives; -1 while it does not answer."""
        try:
            offset: int = self._ask(member, "broker.maxOffset", queue)
        except JavaError:
            return -1
        return offset

    def committed(self, member: Member, group: str, queue: Queue) -> int:
        """The group's progress as this very member has it, -1 for none."""
        offset: int = self._ask(member, "broker.committed", queue, group=group)
        return offset

    def topics(self, member: Member) -> set[str]:
        return set(self.driver.call("broker.topics", address=member.address))

    def groups(self, member: Member) -> set[str]:
        return set(self.driver.call("broker.groups", address=member.address))

    def runtime_info(self, member: Member) -> dict[str, str]:
        info: dict[str, str] = self.driver.call("broker.runtimeInfo", address=member.address)
        return info

    def _ask(self, member: Member, op: str, queue: Queue, **args: Any) -> Any:
        return self.driver.call(op, address=member.address, topic=queue.topic, queueId=queue.queue_id, **args)

    def new_topic(self, topic: str, queue_count: int) -> list[Queue]:
        """Made at the master; there when the name server has a route with the master in it."""
        master = self.wait_for_master()
        self.driver.call(
            "admin.createTopic",
            namesrv=self.namesrv,
            address=master.address,
            topic=topic,
            queueCount=queue_count,
            perm=6,
        )
        self.driver.wait_for_route(self.namesrv, topic)
        return [Queue(topic, GROUP, queue_id) for queue_id in range(queue_count)]

    def new_group(self, group: str) -> None:
        """A consumer group, made at the master."""
        self.driver.call("broker.createGroup", address=self.wait_for_master().address, group=group)

    def wait_until_caught_up(self, member: Member, queues: Sequence[Queue], timeout_s: float = 60) -> None:
        """Until the member serves of each queue what the master serves now."""
        master = self.wait_for_master()
        ends = {queue: self.max_offset(master, queue) for queue in queues}
        eventually(
            lambda: all(self.max_offset(member, queue) >= end for queue, end in ends.items()),
            timeout_s,
            what=f"{member.id} serving up to {list(ends.values())}",
        )


def new_quorum(
    folder: Path,
    java: JavaPrograms,
    driver: Driver,
    makers: Sequence[Maker],
    *,
    name_server: Maker = "ledgermq",
    config: dict[str, str] | None = None,
    links: bool = False,
) -> Quorum:
    """Members n0, n1, … by these makers, none started; ``config`` is for all of them."""
    names = NameServer(name_server, folder / "namesrv", java)
    loop = LoopThread()
    ids = [f"n{i}" for i in range(len(makers))]
    ports = {id: free_port() for id in ids}
    proxies: dict[tuple[str, str], Cuttable] = {}
    for sender in ids if links else ():
        for receiver in ids:
            if sender != receiver:
                proxies[sender, receiver] = Cuttable(ports[receiver])
                loop.do(proxies[sender, receiver].start())

    def port_of(sender: str, receiver: str) -> int:
        link = proxies.get((sender, receiver))
        return ports[receiver] if link is None else link.port

    members = []
    for id, maker in zip(ids, makers, strict=True):
        settings = {
            **SMALL_INDEX,
            "brokerName": GROUP,
            "enableDLegerCommitLog": "true",
            "dLegerGroup": GROUP,
            "dLegerSelfId": id,
            "dLegerPeers": ";".join(f"{other}-127.0.0.1:{port_of(id, other)}" for other in ids),
            "mappedFileSizeCommitLog": str(FILE_BYTES),
            "slaveReadEnable": "true",
            "flushDiskType": "SYNC_FLUSH",
            "sendMessageThreadPoolNums": "8",
            **(config or {}),
        }
        members.append(Member(id, Broker(maker, folder / id, java, names.address, settings), ports[id]))
    return Quorum(members, names, driver, loop, proxies)
