"""Members whose disk is slow, full or broken."""

from __future__ import annotations

import asyncio
import errno
import threading
from pathlib import Path

import pytest
from tests.integration.broker.disks import FullDisk, HeldDisk
from tests.integration.dledger.cluster import GROUP, Cluster, append, get, running, until
from tests.integration.dledger.conftest import Run

from ledgermq.dledger.codes import DLedgerCode, Role
from ledgermq.dledger.ledger import LedgerError
from ledgermq.dledger.server import DLedgerServer
from ledgermq.remoting.server import bind
from ledgermq.store.disk import Disk

pytestmark = pytest.mark.slow


async def lead(cluster: Cluster, member: str) -> None:
    """Wait until ``member``, whom the others prefer, leads and has committed."""
    await until(lambda: (leader := cluster.leading()) is not None and leader.self_id == member)
    await cluster.append(b"first")


def test_a_slow_fsync_stops_nothing_but_its_entries(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        cluster = Cluster(tmp_path, preferred_leader_ids="n0")
        disk = cluster.disks["n0"] = HeldDisk()
        try:
            await cluster.start()
            await lead(cluster, "n0")
            leader = cluster.node("n0")
            term = leader.term
            disk.hold()
            waiting = asyncio.ensure_future(append(leader, b"slow"))
            await until(disk.syncing.is_set)
            # Longer than a follower's patience: heartbeats go out while the disk hangs.
            await asyncio.sleep(cluster.settings("n0").max_vote_interval_ms * 2 / 1000)
            assert not waiting.done()
            assert (leader.role, leader.term) == (Role.LEADER, term)
            disk.let_go()
            assert (await waiting)[0] == DLedgerCode.SUCCESS
        finally:
            disk.let_go()
            await cluster.stop()

    run(scenario())


def test_a_failed_fsync_ends_the_member_and_the_group_goes_on(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        cluster = Cluster(tmp_path, preferred_leader_ids="n0")
        disk = cluster.disks["n0"] = HeldDisk()
        try:
            await cluster.start()
            await lead(cluster, "n0")
            broken, server = cluster.node("n0"), cluster.servers["n0"]
            disk.hold()
            waiting = asyncio.ensure_future(append(broken, b"perhaps"))
            await until(disk.syncing.is_set)
            disk.let_go(OSError(errno.EIO, "broken"))
            assert (await waiting)[0] == DLedgerCode.TERM_CHANGED
            await server.failed.wait()
            assert isinstance(broken.error, OSError)
            assert (await append(broken, b"never"))[0] == DLedgerCode.DISK_ERROR
            assert (await get(broken, 0))[0] == DLedgerCode.DISK_ERROR
            term = broken.term
            await cluster.stop("n0")
            index = await cluster.append(b"without it")
            assert await cluster.bodies(index, index) == [b"without it"]
            assert term == -1
        finally:
            await cluster.stop()

    run(scenario())


@pytest.mark.parametrize("size", [1, 3])
def test_a_full_disk_refuses_entries_until_there_is_room(run: Run, tmp_path: Path, size: int) -> None:
    async def scenario() -> None:
        cluster = Cluster(tmp_path, size=size)
        disks = {member: FullDisk() for member in cluster.ids}
        cluster.disks.update(disks)
        try:
            await cluster.start()
            kept = await cluster.append(b"kept")
            leader = await cluster.leader()
            for disk in disks.values():
                disk.where, disk.error = "/data/", errno.ENOSPC
            code, _ = await append(leader, bytes(1000))
            assert code == DLedgerCode.DISK_FULL
            assert (await append(leader, b"x"))[0] == DLedgerCode.DISK_FULL
            for disk in disks.values():
                disk.error = 0
            last = await cluster.append(b"room again")
            assert (await cluster.bodies(kept, kept), await cluster.bodies(last, last)) == (
                [b"kept"],
                [b"room again"],
            )
            await cluster.caught_up()
        finally:
            await cluster.stop()

    run(scenario())


def test_a_follower_without_room_catches_up_later(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        cluster = Cluster(tmp_path, preferred_leader_ids="n0;n1")
        disk = cluster.disks["n2"] = FullDisk()
        try:
            await cluster.start()
            await until(lambda: (it := cluster.leading()) is not None and it.self_id in ("n0", "n1"))
            await cluster.append(b"first")
            disk.where, disk.error = "/data/", errno.ENOSPC
            for number in range(20):
                last = await cluster.append(b"%d" % number)
            disk.error = 0
            await until(lambda: cluster.node("n2").commit_index >= last)
        finally:
            await cluster.stop()

    run(scenario())


def test_a_disk_that_cannot_keep_votes_ends_the_member(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        cluster = Cluster(tmp_path)
        disk = cluster.disks["n0"] = FullDisk()
        disk.where, disk.error = "currterm", errno.EIO
        try:
            await cluster.start()
            await cluster.servers["n0"].failed.wait()
            await cluster.stop("n0")
            await cluster.append(b"two are enough")
        finally:
            await cluster.stop()

    run(scenario())


def test_appends_are_kept_over_a_restart_of_all(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as cluster:
            sent = [b"%d" % number for number in range(300)]
            indexes = [await cluster.append(body) for body in sent]
            for member in list(cluster.servers):
                await cluster.kill(member)
            await cluster.start()
            leader = await cluster.leader()
            for index, body in zip(indexes, sent, strict=True):
                assert await get(leader, index) == (DLedgerCode.SUCCESS, body)

    run(scenario())


def test_a_damaged_entry_is_not_read(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, size=1) as cluster:
            index = await cluster.append(b"to be damaged")
            last = await cluster.append(*(bytes(1000) for _ in range(200)))
            await cluster.stop()
            first_file = min((tmp_path / "g" / "dledger-n0" / "data").iterdir())
            data = first_file.read_bytes()
            at = data.index(b"to be damaged")
            first_file.write_bytes(data[:at] + b"T" + data[at + 1 :])
            await cluster.start()
            leader = await cluster.leader()
            assert await get(leader, index) == (DLedgerCode.DISK_ERROR, None)
            assert (await get(leader, last))[0] == DLedgerCode.SUCCESS
            assert (await append(leader, b"on it goes"))[0] == DLedgerCode.SUCCESS

    run(scenario())


def test_a_server_that_cannot_start_leaves_nothing_open(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, size=1) as cluster:
            index = await cluster.append(b"kept")
            with pytest.raises(LedgerError, match="used by another"):
                await DLedgerServer(cluster.settings("n0")).start(bind("127.0.0.1", 0))
            await cluster.stop()
            blocker = bind("127.0.0.1", cluster.ports["n0"])
            blocker.listen()
            with pytest.raises(OSError, match="cannot listen"):
                await DLedgerServer(cluster.settings("n0")).start()
            blocker.close()
            await cluster.start()
            assert await cluster.bodies(index, index) == [b"kept"]

    run(scenario())


class WatchedDisk(Disk):
    """Remembers the threads that read data files."""

    def __init__(self) -> None:
        self.readers: set[str] = set()
        self._paths: dict[int, str] = {}

    def open(self, path: str, create: bool = False) -> int:
        fd = super().open(path, create)
        self._paths[fd] = path
        return fd

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        if "/data/" in self._paths.get(fd, ""):
            self.readers.add(threading.current_thread().name.partition("_")[0])
        return super().pread(fd, size, offset)


def test_a_follower_far_behind_is_served_from_disk_by_a_worker(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        cluster = Cluster(tmp_path)
        try:
            await cluster.start("n0", "n1")
            for _ in range(20):
                last = await cluster.append(*(bytes(1000) for _ in range(50)))
            await cluster.stop("n0", "n1")
            disks = {member: WatchedDisk() for member in ("n0", "n1")}
            cluster.disks.update(disks)
            await cluster.start("n0", "n1")  # nothing is in memory now
            leader = await cluster.leader()
            disk = disks[leader.self_id]
            disk.readers.clear()
            await cluster.start("n2")
            await cluster.caught_up()
            assert cluster.node("n2").last_index >= last
            assert disk.readers == {f"dledger-slow-{GROUP}-{leader.self_id}"}
        finally:
            await cluster.stop()

    run(scenario())
