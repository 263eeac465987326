"""Who leads each group of a cluster, how far every member is, and who cannot be reached.

The name server knows the brokers that are registered; each of them says what its DLedger member does
(``broker/replication_facts.py``) and who the other members are. So a member that is dead, and registered no
more, is still seen, as long as another of its group answers.

A Java broker says nothing of its member: its broker id tells which one it is and whether it leads, a leader
of ours how far it is.

Rules of this file: pure; what was asked and answered comes in, rows go out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from ledgermq.dledger.requests import parse_peers
from ledgermq.remoting.route_data import MASTER_ID, BrokerData, ClusterInfo

LEADER: Final = "LEADER"
UNREACHABLE: Final = "UNREACHABLE"

Answer = Mapping[str, str] | str
"""A broker's runtime information, or why there is none."""


@dataclass
class Member:
    """One row. What is not known is None."""

    broker: str
    """brokerName, which all members of a group have in common."""
    group: str | None
    """dLegerGroup; None for a broker that is in no group."""
    member: str | None
    address: str | None
    """Where clients find it; None while it is not registered."""
    dledger_address: str | None
    broker_id: int | None
    """0: clients send to it."""
    role: str
    """LEADER, FOLLOWER, CANDIDATE, UNREACHABLE; MASTER or SLAVE outside of a group."""
    term: int | None = None
    first_index: int | None = None
    commit_index: int | None = None
    applied_index: int | None = None
    last_index: int | None = None
    lag: int | None = None
    """Entries of the leader's log that the leader does not know it to hold."""
    preferred: bool = False
    """It leads whenever it can."""
    note: str | None = None
    """What is wrong with it, or to be known of it."""


@dataclass
class Group:
    """The members of one broker name."""

    broker: str
    members: list[Member] = field(default_factory=list)

    @property
    def replicated(self) -> bool:
        return any(member.group is not None for member in self.members)

    @property
    def leader(self) -> Member | None:
        """Who leads in the highest term; one that was cut off may not know yet that it does not."""
        leaders = [member for member in self.members if member.role == LEADER]
        return max(leaders, key=lambda member: member.term or -1, default=None)


def groups_of(cluster: ClusterInfo, answers: Mapping[str, Answer]) -> list[Group]:
    """All brokers by name. ``answers``: by the address that was asked, each of ``cluster``."""
    return [_group(data, answers) for _, data in sorted(cluster.broker_addr_table.items())]


def _group(data: BrokerData, answers: Mapping[str, Answer]) -> Group:
    registered = {
        address: (broker_id, answers.get(address, "was not asked"))
        for broker_id, address in sorted(data.broker_addrs.items())
    }
    infos = [answer for _, answer in registered.values() if isinstance(answer, Mapping)]
    facts = [info for info in infos if info.get("dLegerGroup")]
    group = Group(data.broker_name)
    if not facts:
        for address, (broker_id, answer) in registered.items():
            group.members.append(_alone(data.broker_name, address, broker_id, answer))
        return group
    # Who has heard of the highest term knows best.
    best = max(facts, key=lambda info: (_number(info, "dLegerTerm") or -1, info.get("dLegerRole") == LEADER))
    peers = parse_peers(best["dLegerPeers"])
    for address, (broker_id, answer) in registered.items():
        group.members.append(_member(data.broker_name, best, address, broker_id, answer))
    _name_master(group, best, peers)
    _add_absent(group, best, peers)
    order = list(peers)
    group.members.sort(key=lambda member: order.index(member.member) if member.member in order else -1)
    _measure(group, best)
    return group


def _alone(broker: str, address: str, broker_id: int, answer: Answer) -> Member:
    role = "MASTER" if broker_id == MASTER_ID else "SLAVE"
    member = Member(broker, None, None, address, None, broker_id, role)
    if isinstance(answer, str):
        member.role, member.note = UNREACHABLE, answer
    return member


def _member(broker: str, best: Mapping[str, str], address: str, broker_id: int, answer: Answer) -> Member:
    """One that is registered. Where it does not say its name, its broker id tells: n0 is 1, n1 is 2."""
    group = best["dLegerGroup"]
    if isinstance(answer, str) or not answer.get("dLegerSelfId"):
        leads = broker_id == MASTER_ID
        role = LEADER if leads else "FOLLOWER"
        name = None if leads else f"n{broker_id - 1}"
        member = Member(broker, group, name, address, None, broker_id, role)
        if isinstance(answer, str):
            member.role, member.note = UNREACHABLE, answer
        else:
            member.note = "a Java broker says nothing of its log"
        return member
    return Member(
        broker,
        group,
        answer["dLegerSelfId"],
        address,
        None,
        broker_id,
        answer.get("dLegerRole", "CANDIDATE"),
        term=_number(answer, "dLegerTerm"),
        first_index=_number(answer, "dLegerFirstIndex"),
        commit_index=_number(answer, "dLegerCommitIndex"),
        applied_index=_number(answer, "dLegerAppliedIndex"),
        last_index=_number(answer, "dLegerLastIndex"),
    )


def _name_master(group: Group, best: Mapping[str, str], peers: Iterable[str]) -> None:
    """Which member is registered as the master and does not say who it is."""
    known = {member.member for member in group.members}
    unknown = [peer for peer in peers if peer not in known]
    for member in group.members:
        if member.member is None:
            leader = best.get("dLegerLeaderId")
            member.member = leader if leader in unknown else unknown[0] if len(unknown) == 1 else None


def _add_absent(group: Group, best: Mapping[str, str], peers: Mapping[str, str]) -> None:
    """Rows for the members that are not registered, and what is known of all by their names."""
    known = {member.member for member in group.members}
    for name in peers:
        if name not in known:
            note = "not registered with the name server"
            absent = Member(group.broker, best["dLegerGroup"], name, None, None, None, UNREACHABLE, note=note)
            group.members.append(absent)
    preferred = best.get("dLegerPreferredLeaderId", "").split(";")
    for member in group.members:
        member.dledger_address = peers.get(member.member or "")
        member.preferred = member.member in preferred


def _measure(group: Group, best: Mapping[str, str]) -> None:
    """How far each follower is behind its leader, and whom the leader does not reach."""
    leader = group.leader
    if leader is None or leader.last_index is None:
        return
    progress = progress_of(best.get("dLegerProgress", "")) if best["dLegerSelfId"] == leader.member else {}
    for member in group.members:
        if member is leader:
            continue
        match, reachable = progress.get(member.member or "", (member.last_index, True))
        # Of one that its leader has not heard yet nothing is known.
        if match is not None and (match >= 0 or reachable):
            member.lag = max(0, leader.last_index - match)
        if not reachable and member.note is None:
            member.note = "the leader does not reach it"


def progress_of(text: str) -> dict[str, tuple[int, bool]]:
    """``dLegerProgress``: by member, the entry up to which it is known to hold the log, and whether it
    answers. What cannot be read is left out."""
    found = {}
    for part in filter(None, text.split(";")):
        member, _, values = part.partition(":")
        table = dict(value.partition("=")[::2] for value in values.split(","))
        match = _number(table, "match")
        if match is not None:
            found[member] = (match, table.get("reachable") == "true")
    return found


def _number(table: Mapping[str, str], key: str) -> int | None:
    try:
        return int(table[key])
    except (KeyError, ValueError):
        return None


def leaderless(groups: Iterable[Group]) -> list[str]:
    """The names of the groups that nobody leads."""
    return [group.broker for group in groups if group.replicated and group.leader is None]
