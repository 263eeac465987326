"""What a broker says of its DLedger member in GET_BROKER_RUNTIME_INFO.

=======================  ==============================================================================
key                      value
=======================  ==============================================================================
dLegerGroup              name of the group
dLegerSelfId             this member
dLegerRole               LEADER, FOLLOWER, or CANDIDATE: it knows no leader
dLegerTerm               its term
dLegerLeaderId           who leads, as it knows; empty: nobody
dLegerFirstIndex         the oldest entry of its log
dLegerLastIndex          the newest entry, committed or not; -1: there is none
dLegerCommitIndex        the newest entry that it knows to be committed
dLegerAppliedIndex       the newest entry whose message is in the queues
dLegerPeers              all members, ``n0-host:port;n1-host:port``
dLegerPreferredLeaderId  who leads whenever it can; empty: no preference
dLegerProgress           of a leader alone: ``n1:match=123,reachable=true;n2:match=-1,reachable=false``;
                         ``match`` is the newest entry that the follower is known to hold durably
=======================  ==============================================================================

Java 5.5.0 says nothing of its member; the keys are ours, spelled as its settings are.

Rules of this file: it reads the member and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from ledgermq.dledger.node import Follower, Node


def replication_facts(node: Node) -> dict[str, str]:
    """Every key with its value as text."""
    facts = {
        "dLegerGroup": node.group,
        "dLegerSelfId": node.self_id,
        "dLegerRole": node.role.value,
        "dLegerTerm": str(node.term),
        "dLegerLeaderId": node.leader_id or "",
        "dLegerFirstIndex": str(node.first_index),
        "dLegerLastIndex": str(node.last_index),
        "dLegerCommitIndex": str(node.commit_index),
        "dLegerAppliedIndex": str(node.visible_index),
        "dLegerPeers": ";".join(f"{member}-{address}" for member, address in node.addresses.items()),
        "dLegerPreferredLeaderId": node.settings.preferred_leader_ids,
    }
    followers = node.followers()
    if followers:
        facts["dLegerProgress"] = progress_text(followers)
    return facts


def progress_text(followers: Mapping[str, Follower]) -> str:
    """The value of ``dLegerProgress``."""
    return ";".join(
        f"{member}:match={follower.match_index},reachable={str(follower.reachable).lower()}"
        for member, follower in followers.items()
    )
