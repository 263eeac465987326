"""What a broker says of its DLedger member, with a group that runs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.integration.dledger.cluster import running, until

from ledgermq.broker.replication_facts import replication_facts
from ledgermq.dledger.memory_ledger import MemoryLedger
from ledgermq.dledger.node import Node
from ledgermq.dledger.settings import DLedgerSettings


@pytest.mark.slow
def test_of_a_leader_and_its_followers(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as cluster:
            index = await cluster.append(b"a", b"b")
            await cluster.caught_up()
            leader = await cluster.leader()
            followers = [node for node in cluster.nodes() if node is not leader]
            # A push tells what is durable; the leader hears of it a moment after the commit.
            await until(lambda: all(one.match_index == index for one in leader.followers().values()))
            same = {
                "dLegerGroup": "g",
                "dLegerTerm": str(leader.term),
                "dLegerLeaderId": leader.self_id,
                "dLegerFirstIndex": "0",
                "dLegerLastIndex": str(index),
                "dLegerCommitIndex": str(index),
                "dLegerAppliedIndex": str(index),
                "dLegerPeers": cluster.peers,
                "dLegerPreferredLeaderId": "",
            }
            assert replication_facts(leader) == same | {
                "dLegerSelfId": leader.self_id,
                "dLegerRole": "LEADER",
                "dLegerProgress": ";".join(f"{n.self_id}:match={index},reachable=true" for n in followers),
            }
            for node in followers:
                mine = {"dLegerSelfId": node.self_id, "dLegerRole": "FOLLOWER"}
                assert replication_facts(node) == same | mine
            gone = followers[0].self_id
            await cluster.kill(gone)
            await until(lambda: not leader.followers()[gone].reachable)
            text = replication_facts(leader)["dLegerProgress"]
            assert f"{gone}:match={index},reachable=false" in text.split(";")
            assert f"{followers[1].self_id}:match={index},reachable=true" in text.split(";")

    asyncio.run(scenario())


def test_of_a_member_that_does_not_run(tmp_path: Path) -> None:
    async def scenario() -> None:
        settings = DLedgerSettings(store_base_dir=str(tmp_path), preferred_leader_ids="n0")
        facts = replication_facts(Node(settings, MemoryLedger()))
        assert facts["dLegerRole"] == "CANDIDATE"
        assert facts["dLegerLeaderId"] == ""
        assert facts["dLegerPreferredLeaderId"] == "n0"
        assert "dLegerProgress" not in facts

    asyncio.run(scenario())
