"""Members in one process: they elect, replicate, lose their leader and lose nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.integration.dledger.cluster import GROUP, Cluster, append, get, running, transfer, until
from tests.integration.dledger.conftest import Run

from ledgermq.dledger.codes import DLedgerCode, Role
from ledgermq.dledger.messages import RoleChanged

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_a_group_elects_and_appends(run: Run, tmp_path: Path, size: int) -> None:
    async def scenario() -> None:
        async with running(tmp_path, size=size) as cluster:
            first = await cluster.append(b"one")
            last = await cluster.append(b"two", b"three")
            assert last == first + 2
            assert await cluster.bodies(first, last) == [b"one", b"two", b"three"]
            await cluster.caught_up()

    run(scenario())


def test_many_appends_of_one_turn_are_in_order(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as cluster:
            leader = await cluster.leader()
            answers = await asyncio.gather(*(append(leader, b"%d" % number) for number in range(500)))
            assert {code for code, _ in answers} == {DLedgerCode.SUCCESS}
            indexes = [index for _, index in answers]
            assert indexes == list(range(indexes[0], indexes[0] + 500))
            assert await get(leader, indexes[123]) == (DLedgerCode.SUCCESS, b"123")
            await cluster.caught_up()

    run(scenario())


def test_nothing_acknowledged_is_lost_when_leaders_die(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as cluster:
            acknowledged: dict[int, bytes] = {}
            for round_ in range(4):
                for number in range(20):
                    body = b"%d-%d" % (round_, number)
                    acknowledged[await cluster.append(body)] = body
                leader = await cluster.leader()
                await cluster.kill(leader.self_id)
                body = b"after %d" % round_
                acknowledged[await cluster.append(body)] = body
                await cluster.start(leader.self_id)
                await cluster.caught_up()
            leader = await cluster.leader()
            for index, body in acknowledged.items():
                assert await get(leader, index) == (DLedgerCode.SUCCESS, body)

    run(scenario())


def test_the_leadership_is_given_away(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as cluster:
            await cluster.append(b"before")
            old = await cluster.leader()
            to = next(member for member in cluster.ids if member != old.self_id)
            assert await transfer(old, to) == DLedgerCode.SUCCESS
            new = await cluster.leader()
            assert new.self_id == to
            assert (await append(old, b"late"))[0] == DLedgerCode.NOT_LEADER
            await cluster.append(b"after")

    run(scenario())


def test_a_preferred_member_gets_the_leadership(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, preferred_leader_ids="n1") as cluster:
            await until(lambda: (leader := cluster.leading()) is not None and leader.self_id == "n1")
            await cluster.append(b"there")

    run(scenario())


def test_a_group_starts_again_from_its_files(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as cluster:
            index = await cluster.append(b"kept")
            term = (await cluster.leader()).term
            await cluster.stop()
            await cluster.start()
            leader = await cluster.leader()
            assert leader.term > term
            assert await get(leader, index) == (DLedgerCode.SUCCESS, b"kept")

    run(scenario())


def test_an_empty_member_catches_up(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        cluster = Cluster(tmp_path)
        try:
            await cluster.start("n0", "n1")
            for number in range(50):
                last = await cluster.append(*(b"%d" % number + bytes(500) for _ in range(40)))
            await cluster.start("n2")
            await cluster.caught_up()
            assert cluster.node("n2").last_index >= last
        finally:
            await cluster.stop()

    run(scenario())


def test_two_groups_share_a_port(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, groups=(GROUP, "other")) as cluster:
            index = await cluster.append(b"mine")
            other = await cluster.append(b"theirs", group="other")
            assert await cluster.bodies(index, index) == [b"mine"]
            assert await cluster.bodies(other, other, group="other") == [b"theirs"]

    run(scenario())


def test_an_isolated_leader_steps_down(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as cluster:
            leader = await cluster.leader()
            for member in cluster.ids:
                if member != leader.self_id:
                    await cluster.kill(member)
            code, _ = await append(leader, b"lost?")
            assert code in (DLedgerCode.TERM_CHANGED, DLedgerCode.WAIT_QUORUM_ACK_TIMEOUT)
            await until(lambda: leader.role is not Role.LEADER)
            assert (await append(leader, b"refused"))[0] == DLedgerCode.NOT_LEADER

    run(scenario())


def test_page_cache_answers_without_an_fsync(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, flush_policy="page-cache") as cluster:
            index = await cluster.append(b"quick")
            assert await cluster.bodies(index, index) == [b"quick"]

    run(scenario())


def test_a_member_stops_within_a_second(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as cluster:
            await cluster.append(b"x")
            loop = asyncio.get_running_loop()
            began = loop.time()
            await cluster.stop()
            assert loop.time() - began < 1

    run(scenario())


def test_what_one_term_took_is_not_written_in_a_later_one(run: Run, tmp_path: Path) -> None:
    """The end of a term is heard in the turn that brought the append; the next one may begin in the same."""

    async def scenario() -> None:
        async with running(tmp_path, size=1) as cluster:
            node = await cluster.leader()
            answers: list[int] = []
            node.clients.append([b"taken"], lambda code, index, pos: answers.append(code))
            node._role_changed(RoleChanged(Role.CANDIDATE, node.term + 1, None))
            assert answers == [DLedgerCode.NOT_LEADER]
            last_index = await cluster.append(b"next")
            assert await cluster.bodies(last_index, last_index) == [b"next"]

    run(scenario())
