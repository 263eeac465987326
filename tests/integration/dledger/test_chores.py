"""What a member does from time to time: checkpoints, and removing expired files."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from tests.integration.dledger.cluster import Cluster, get, running, until
from tests.integration.dledger.conftest import Run

from ledgermq.dledger.codes import DLedgerCode
from ledgermq.store.disk import Disk

pytestmark = pytest.mark.slow


def test_the_committed_index_is_known_after_a_kill(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, check_point_interval=10) as cluster:
            last = await cluster.append(*(b"%d" % number for number in range(50)))
            await cluster.caught_up()
            paths = [tmp_path / "g" / f"dledger-{member}" / "checkpoint" for member in cluster.ids]
            await until(
                lambda: all(path.exists() and f"committedIndex={last}" in path.read_text() for path in paths)
            )
            for member in cluster.ids:
                await cluster.kill(member)
            await cluster.start("n0")
            assert cluster.node("n0").commit_index == last

    run(scenario())


class NoCheckpoint(Disk):
    """Has no room for a checkpoint while it is ``broken``."""

    broken = True
    failures = 0

    def rename(self, source: str, target: str) -> None:
        if self.broken and target.endswith("/checkpoint"):
            self.failures += 1
            raise OSError(errno.ENOSPC, "No space left on device")
        super().rename(source, target)


def test_a_checkpoint_that_failed_is_written_later(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though nothing more is committed meanwhile."""

    async def scenario() -> None:
        disk = NoCheckpoint()
        cluster = Cluster(tmp_path, size=1, check_point_interval=10)
        cluster.disks["n0"] = disk
        await cluster.start()
        try:
            last = await cluster.append(b"x")
            path = tmp_path / "g" / "dledger-n0" / "checkpoint"
            await until(lambda: disk.failures > 1)
            disk.broken = False
            await until(lambda: path.exists() and f"committedIndex={last}" in path.read_text())
        finally:
            await cluster.stop()

    run(scenario())


def test_expired_files_are_deleted_and_the_group_goes_on(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ledgermq.dledger.chores.CLEAN_SECONDS", 0.02)

    async def scenario() -> None:
        settings = {"mapped_file_size_for_entry_data": 16 * 1024, "file_reserved_hours": 1}
        async with running(tmp_path, disk_space_ratio_to_check_expired=0.0, **settings) as cluster:
            for _ in range(20):
                await cluster.append(*(bytes(500) for _ in range(10)))
            await cluster.caught_up()
            assert [node.first_index for node in cluster.nodes()] == [0, 0, 0]
            for path in (tmp_path / "g").glob("dledger-*/data/*"):
                os.utime(path, (1, 1))
            await until(lambda: all(node.first_index > 0 for node in cluster.nodes()))
            leader = await cluster.leader()
            assert leader.first_index <= leader.commit_index
            index = await cluster.append(b"after")
            assert await cluster.bodies(index, index) == [b"after"]
            await cluster.caught_up()
            await cluster.stop()
            await cluster.start()
            assert await cluster.bodies(index, index) == [b"after"]

    run(scenario())


def test_the_code_of_an_entry_that_is_gone(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        settings = {"mapped_file_size_for_entry_data": 16 * 1024}
        async with running(tmp_path, size=1, **settings) as cluster:
            for _ in range(20):
                last = await cluster.append(*(bytes(500) for _ in range(10)))
            leader = await cluster.leader()
            leader.delete_before(last)
            await until(lambda: leader.first_index > 0)
            assert (await get(leader, 0))[0] == DLedgerCode.INDEX_LESS_THAN_LOCAL_BEGIN
            assert (await get(leader, leader.first_index))[0] == DLedgerCode.SUCCESS

    run(scenario())
