"""Rows of ``ledgermq cluster status`` from what brokers and the name server say."""

from __future__ import annotations

import pytest

from ledgermq.cli.cluster_status import Answer, Group, Member, groups_of, leaderless, progress_of
from ledgermq.remoting.route_data import BrokerData, ClusterInfo

PEERS = "n0-h0:7;n1-h1:7;n2-h2:7"
NOT_REGISTERED = "not registered with the name server"
SILENT = "h1:9 did not answer within 2 s"


def info(member: str, role: str, leader: str, last: int, progress: str = "", term: int = 3) -> dict[str, str]:
    facts = {
        "bootTimestamp": "1",
        "dLegerGroup": "g",
        "dLegerSelfId": member,
        "dLegerRole": role,
        "dLegerTerm": str(term),
        "dLegerLeaderId": leader,
        "dLegerFirstIndex": "0",
        "dLegerLastIndex": str(last),
        "dLegerCommitIndex": str(min(last, 100)),
        "dLegerAppliedIndex": str(min(last, 99)),
        "dLegerPeers": PEERS,
        "dLegerPreferredLeaderId": "n0",
    }
    return facts | ({"dLegerProgress": progress} if progress else {})


LEADER = info("n0", "LEADER", "n0", 101, "n1:match=90,reachable=true;n2:match=-1,reachable=false")


def one_group(addresses: dict[int, str], answers: dict[str, Answer]) -> Group:
    data = BrokerData(broker_name="b", cluster="C", broker_addrs=addresses)
    (group,) = groups_of(ClusterInfo(broker_addr_table={"b": data}), answers)
    return group


def facts(member: Member) -> tuple[object, ...]:
    return (member.member, member.address, member.broker_id, member.role, member.lag, member.note)


def test_a_group_that_is_well() -> None:
    all_well = LEADER | {"dLegerProgress": "n1:match=90,reachable=true;n2:match=101,reachable=true"}
    group = one_group(
        {0: "h0:9", 2: "h1:9", 3: "h2:9"},
        {
            "h0:9": all_well,
            "h1:9": info("n1", "FOLLOWER", "n0", 95),
            "h2:9": info("n2", "FOLLOWER", "n0", 101),
        },
    )
    assert group.replicated
    assert group.leader is group.members[0]
    first = Member("b", "g", "n0", "h0:9", "h0:7", 0, "LEADER", preferred=True)
    first.term, first.first_index, first.commit_index, first.applied_index = 3, 0, 100, 99
    first.last_index = 101
    assert group.members[0] == first
    assert [facts(member) for member in group.members[1:]] == [
        ("n1", "h1:9", 2, "FOLLOWER", 11, None),
        ("n2", "h2:9", 3, "FOLLOWER", 0, None),
    ]
    assert leaderless([group]) == []


def test_one_is_dead_and_one_hangs() -> None:
    group = one_group({0: "h0:9", 2: "h1:9"}, {"h0:9": LEADER, "h1:9": SILENT})
    assert [facts(member) for member in group.members[1:]] == [
        ("n1", "h1:9", 2, "UNREACHABLE", 11, SILENT),
        ("n2", None, None, "UNREACHABLE", None, NOT_REGISTERED),
    ]
    assert group.members[2].dledger_address == "h2:7"


def test_the_leader_does_not_reach_a_follower_that_we_do() -> None:
    group = one_group({0: "h0:9", 3: "h2:9"}, {"h0:9": LEADER, "h2:9": info("n2", "CANDIDATE", "", 40)})
    assert facts(group.members[2]) == ("n2", "h2:9", 3, "CANDIDATE", None, "the leader does not reach it")


def test_nobody_leads() -> None:
    group = one_group({2: "h1:9"}, {"h1:9": info("n1", "CANDIDATE", "", 95)})
    assert [(member.member, member.role, member.lag) for member in group.members] == [
        ("n0", "UNREACHABLE", None),
        ("n1", "CANDIDATE", None),
        ("n2", "UNREACHABLE", None),
    ]
    assert group.leader is None
    assert leaderless([group]) == ["b"]


def test_the_master_hangs_and_nobody_is_elected_yet() -> None:
    """It does not say who it is; the others are known, so it is the third."""
    followers: dict[str, Answer] = {f"h{n}:9": info(f"n{n}", "CANDIDATE", "", 95) for n in (1, 2)}
    group = one_group({0: "h0:9", 2: "h1:9", 3: "h2:9"}, {"h0:9": "h0:9 is silent", **followers})
    assert facts(group.members[0]) == ("n0", "h0:9", 0, "UNREACHABLE", None, "h0:9 is silent")
    assert len(group.members) == 3
    assert leaderless([group]) == ["b"]


def test_an_old_leader_that_was_cut_off_does_not_lead() -> None:
    new = info("n1", "LEADER", "n1", 120, "n0:match=50,reachable=false;n2:match=120,reachable=true", term=4)
    group = one_group({1: "h0:9", 0: "h1:9"}, {"h0:9": LEADER, "h1:9": new})
    assert group.leader is not None
    assert group.leader.member == "n1"
    assert facts(group.members[0]) == ("n0", "h0:9", 1, "LEADER", 70, "the leader does not reach it")
    assert facts(group.members[2])[4] == 0


def test_java_brokers_are_known_by_their_ids() -> None:
    java = {"bootTimestamp": "1"}
    group = one_group({0: "h0:9", 2: "h1:9", 3: "h2:9"}, {"h0:9": LEADER, "h1:9": java, "h2:9": java})
    note = "a Java broker says nothing of its log"
    assert facts(group.members[1]) == ("n1", "h1:9", 2, "FOLLOWER", 11, note)
    group = one_group(
        {0: "h0:9", 2: "h1:9", 3: "h2:9"},
        {"h0:9": java, "h1:9": info("n1", "FOLLOWER", "n0", 95), "h2:9": java},
    )
    assert facts(group.members[0]) == ("n0", "h0:9", 0, "LEADER", None, note)
    assert leaderless([group]) == []


def test_brokers_without_a_group() -> None:
    group = one_group({0: "h0:9", 1: "h1:9"}, {"h0:9": {"bootTimestamp": "1"}, "h1:9": SILENT})
    assert [facts(member) for member in group.members] == [
        (None, "h0:9", 0, "MASTER", None, None),
        (None, "h1:9", 1, "UNREACHABLE", None, SILENT),
    ]
    assert not group.replicated
    assert leaderless([group]) == []


@pytest.mark.parametrize(
    ("text", "progress"),
    [
        ("", {}),
        ("n1:match=123,reachable=true", {"n1": (123, True)}),
        (
            "n1:match=-1,reachable=false;n2:match=5,reachable=true,more=1",
            {"n1": (-1, False), "n2": (5, True)},
        ),
        ("n1:match=x,reachable=true;n2;;n3:reachable=true", {}),
    ],
)
def test_progress(text: str, progress: dict[str, tuple[int, bool]]) -> None:
    assert progress_of(text) == progress
