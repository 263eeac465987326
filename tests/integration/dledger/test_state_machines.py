"""State machines of a group: applied in order, snapshots saved, loaded and sent."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.integration.dledger.cluster import Cluster, append, running, until
from tests.integration.dledger.conftest import Run
from tests.integration.dledger.machines import Bodies

from ledgermq.dledger.codes import DLedgerCode
from ledgermq.dledger.node import Node
from ledgermq.dledger.state_machine import AppliedEntry

pytestmark = pytest.mark.slow

SMALL: dict[str, Any] = {"snapshot_threshold": 100, "mapped_file_size_for_entry_data": 16 * 1024}


def bodies(cluster: Cluster, member: str) -> list[bytes]:
    machine = cluster.machines[member]
    assert isinstance(machine, Bodies)
    return [body for _, body in machine.bodies]


def snapshots(folder: Path, member: str) -> list[int]:
    names = (folder / "g" / f"dledger-{member}" / "snapshot").glob("snapshot_*")
    return sorted(int(path.name.removeprefix("snapshot_")) for path in names)


def grown(folder: Path, before: list[int]) -> bool:
    return snapshots(folder, "n0") != before


def trimmed(node: Node) -> bool:
    return node.first_index > 0


async def fill(cluster: Cluster, count: int, start: int = 0) -> list[bytes]:
    """Appends of 10 entries of 100 bytes each."""
    sent = [b"%d " % number + bytes(100) for number in range(start, start + count)]
    for at in range(0, count, 10):
        await cluster.append(*sent[at : at + 10])
    return sent


def test_every_member_applies_the_same_in_order(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, machine=Bodies) as cluster:
            sent = await fill(cluster, 50)
            await cluster.caught_up()
            for member in cluster.ids:
                assert bodies(cluster, member) == sent

    run(scenario())


def test_an_append_is_answered_when_it_is_applied(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, size=1, machine=Bodies) as cluster:
            leader = await cluster.leader()
            code, _ = await append(leader, b"seen")
            assert code == DLedgerCode.SUCCESS
            assert bodies(cluster, "n0") == [b"seen"]

    run(scenario())


def test_snapshots_are_saved_kept_and_loaded(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, size=1, machine=Bodies, **SMALL) as cluster:
            sent = []
            for round_ in range(5):
                before = snapshots(tmp_path, "n0")
                sent += await fill(cluster, 150, 150 * round_)
                await until(partial(grown, tmp_path, before))
            await until(lambda: len(snapshots(tmp_path, "n0")) == 3)
            await until(lambda: cluster.node("n0").first_index > 0)
            await cluster.stop()
            await cluster.start()
            await cluster.caught_up()
            machine = cluster.machines["n0"]
            assert isinstance(machine, Bodies)
            assert machine.loads == 1
            assert bodies(cluster, "n0") == sent
            assert len(machine.applied) < len(sent)

    run(scenario())


def test_a_damaged_snapshot_is_passed_over(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, size=1, machine=Bodies, **SMALL) as cluster:
            sent = await fill(cluster, 150)
            await until(lambda: snapshots(tmp_path, "n0"))
            sent += await fill(cluster, 150, 150)
            await until(lambda: len(snapshots(tmp_path, "n0")) == 2)
            await cluster.stop()
            newest = snapshots(tmp_path, "n0")[-1]
            data = tmp_path / "g" / "dledger-n0" / "snapshot" / f"snapshot_{newest}" / "data"
            damaged = bytearray(data.read_bytes())
            damaged[len(damaged) // 2] ^= 1
            data.write_bytes(damaged)
            await cluster.start()
            await cluster.caught_up()
            assert bodies(cluster, "n0") == sent

    run(scenario())


def test_a_member_behind_the_log_gets_a_snapshot(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        cluster = Cluster(tmp_path, machine=Bodies, **SMALL)
        try:
            await cluster.start("n0", "n1")
            sent = []
            number = 0
            leader = await cluster.leader()
            while leader.first_index == 0:
                sent += await fill(cluster, 100, number)
                number += 100
                leader = await cluster.leader()
            await cluster.start("n2")
            await cluster.caught_up()
            assert bodies(cluster, "n2") == sent
            machine = cluster.machines["n2"]
            assert isinstance(machine, Bodies)
            assert machine.loads == 1
            # What it received stands in its directory: it can start from that.
            await cluster.kill("n2")
            await cluster.start("n2")
            sent += await fill(cluster, 10, number)
            await cluster.caught_up()
            assert bodies(cluster, "n2") == sent
        finally:
            await cluster.stop()

    run(scenario())


def test_without_a_state_machine_a_member_begins_where_the_leader_does(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        cluster = Cluster(tmp_path, **SMALL)
        try:
            await cluster.start("n0", "n1")
            await fill(cluster, 500)
            await cluster.caught_up()
            for member in ("n0", "n1"):
                node = cluster.node(member)
                node.delete_before(node.commit_index - 50)
                await until(partial(trimmed, node))
            await cluster.start("n2")
            await cluster.caught_up()
            leader = await cluster.leader()
            assert 0 < cluster.node("n2").first_index <= leader.first_index + 1
            last = await cluster.append(b"after")
            assert await cluster.bodies(last, last) == [b"after"]
        finally:
            await cluster.stop()

    run(scenario())


class Broken(Bodies):
    def apply(self, entries: Sequence[AppliedEntry]) -> None:
        raise RuntimeError("a bug in the state machine")


def test_a_state_machine_that_fails_ends_the_member(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, size=1, machine=Broken) as cluster:
            leader = await cluster.leader()
            code, _ = await append(leader, b"too much")
            assert code == DLedgerCode.TERM_CHANGED
            await cluster.servers["n0"].failed.wait()
            assert isinstance(leader.error, RuntimeError)

    run(scenario())
