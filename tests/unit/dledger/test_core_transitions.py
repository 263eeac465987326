"""Roles change as the table says, and only so."""

import random

import pytest

from ledgermq.dledger.codes import DLedgerCode, Role
from ledgermq.dledger.core import TRANSITIONS, Cause, Core, CoreConfig, Refused


def new_core(
    role: Role = Role.CANDIDATE,
    *,
    members: tuple[str, ...] = ("n0", "n1", "n2"),
    self_id: str = "n0",
    term: int = 0,
    vote: str = "",
    last_index: int = -1,
    log_term: int = 0,
    commit_index: int = -1,
) -> Core:
    core = Core(
        self_id,
        members,
        CoreConfig(),
        random.Random(1),
        now_ms=0,
        term=term,
        vote=vote,
        first_index=0,
        last_index=last_index,
        runs=[(0, log_term)] if last_index >= 0 else [],
        commit_index=commit_index,
    )
    core.role = role
    return core


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("cause", Cause)
def test_every_pair_of_role_and_cause_is_decided(role, cause):
    core = new_core(role)
    following = TRANSITIONS.get((role, cause))
    for wanted in Role:
        if wanted is following:
            core._become(wanted, cause, None)
            assert core.role is wanted
            core = new_core(role)
        else:
            with pytest.raises(AssertionError, match="does not become"):
                core._become(wanted, cause, None)


def test_a_member_that_is_not_in_the_group_is_refused():
    with pytest.raises(ValueError, match="'n9' is not one of the members n0, n1"):
        new_core(self_id="n9", members=("n0", "n1"))


def test_who_does_not_lead_refuses_and_names_the_leader():
    with pytest.raises(Refused) as refused:
        new_core().propose(0, 1)
    assert refused.value.code == DLedgerCode.NOT_LEADER


def test_a_lost_vote_is_not_given_again():
    """The log is of a later term than the file: whom this member voted for in it is not known any more."""
    core = new_core(term=2, vote="n1", last_index=0, log_term=5)
    assert (core.term, core.vote) == (5, "n0")


def test_only_committed_entries_leave_the_log():
    core = new_core(term=1, last_index=9, log_term=1, commit_index=4)
    core.log_starts_at(5)
    assert core.first_index == 5
    with pytest.raises(ValueError, match="entry 6 is not committed"):
        core.log_starts_at(7)
