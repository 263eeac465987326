"""Prometheus' text of what members say."""

from ledgermq.cli.metrics import metrics_text

FOLLOWER = {
    "dLegerGroup": "g1",
    "dLegerSelfId": "n0",
    "dLegerRole": "FOLLOWER",
    "dLegerTerm": "2",
    "dLegerLeaderId": "",
    "dLegerFirstIndex": "0",
    "dLegerLastIndex": "-1",
    "dLegerCommitIndex": "-1",
    "dLegerAppliedIndex": "-1",
}
LEADER = {
    "dLegerGroup": "g0",
    "dLegerSelfId": "n0",
    "dLegerRole": "LEADER",
    "dLegerTerm": "3",
    "dLegerLeaderId": "n0",
    "dLegerFirstIndex": "5",
    "dLegerLastIndex": "101",
    "dLegerCommitIndex": "100",
    "dLegerAppliedIndex": "99",
    "dLegerProgress": "n1:match=90,reachable=true;n2:match=-1,reachable=false",
}


def test_the_page() -> None:
    page = metrics_text([LEADER, FOLLOWER])
    lines = page.splitlines()
    assert page.endswith("\n")
    for line in (
        "# HELP ledgermq_dledger_leads 1 for the leader.",
        "# TYPE ledgermq_dledger_leads gauge",
        'ledgermq_dledger_leads{group="g0",member="n0"} 1',
        'ledgermq_dledger_leads{group="g1",member="n0"} 0',
        'ledgermq_dledger_knows_leader{group="g1",member="n0"} 0',
        'ledgermq_dledger_term{group="g0",member="n0"} 3',
        'ledgermq_dledger_first_index{group="g0",member="n0"} 5',
        'ledgermq_dledger_last_index{group="g1",member="n0"} -1',
        'ledgermq_dledger_commit_index{group="g0",member="n0"} 100',
        'ledgermq_dledger_applied_index{group="g0",member="n0"} 99',
        'ledgermq_dledger_follower_reachable{group="g0",member="n0",follower="n1"} 1',
        'ledgermq_dledger_follower_reachable{group="g0",member="n0",follower="n2"} 0',
        'ledgermq_dledger_follower_lag_entries{group="g0",member="n0",follower="n1"} 11',
    ):
        assert lines.count(line) == 1, line
    assert not [line for line in lines if "lag" in line and 'follower="n2"' in line], "nothing is known of it"


def test_without_members_it_is_a_page_too() -> None:
    assert all(line.startswith("# ") for line in metrics_text([]).splitlines())
