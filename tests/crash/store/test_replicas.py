"""The power fails, or the process dies, at every operation of one replica; with what the group has committed
it must become what the others are.
"""

from __future__ import annotations

import random

import pytest
from tests.crash.store.groups import Group, Member, act
from tests.crash.store.sim_disk import PowerCut

STEPS = 50


def revive(group: Group, member: Member, rng: random.Random, power: bool) -> None:
    """Open after a crash, perhaps crash again while recovering."""
    group.ends(member)
    for _ in range(2):
        if power:
            member.disk.power_cut()
        else:
            member.disk.kill()
        if rng.random() < 0.3:
            member.disk.cut_at = rng.randint(1, 30)
        try:
            member.open()
        except PowerCut:
            continue
        member.disk.cut_at = -1
        group.back(member)
        return
    member.disk.power_cut() if power else member.disk.kill()
    member.open()
    group.back(member)


def step(group: Group, rng: random.Random) -> None:
    act(group, rng, rng.choice(group.members))
    if group.leader is None:
        any(group.elect(candidate) for candidate in rng.sample(group.members, 3))
    if rng.random() < (0.2 if group.leader is not None and group.leader.log.leading else 0.6):
        group.good_day()


def run_script(seed: int, cut_at: int, power: bool) -> int:
    """A script in which the first member ends at its disk's operation ``cut_at``, and comes back; returns how
    many operations it did."""
    group = Group(seed)
    rng = random.Random(seed)
    victim = group.members[0]
    victim.disk.operations = 0
    victim.disk.cut_at = cut_at
    for _ in range(STEPS):
        try:
            step(group, rng)
        except PowerCut:
            revive(group, victim, rng, power)
    operations = victim.disk.operations
    victim.disk.cut_at = -1
    group.heal()
    assert group.units
    return operations


@pytest.mark.slow
@pytest.mark.parametrize("power", [True, False], ids=["power", "kill"])
@pytest.mark.parametrize("seed", range(2))
def test_one_replica_ends_at_every_operation(seed: int, power: bool):
    for cut_at in range(1 + seed, run_script(seed, -1, power) + 1, 3):
        run_script(seed, cut_at, power)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_many_ends_of_all_replicas(seed: int):
    group = Group(seed)
    rng = random.Random(seed)
    for member in group.members:
        member.disk.cut_at = member.disk.operations + rng.randint(1, 200)
    for _ in range(200):
        try:
            step(group, rng)
        except PowerCut:
            dead = next(one for one in group.members if one.disk.dead)
            # At most one machine fails at a time, so that what is committed stays.
            revive(group, dead, rng, rng.random() < 0.5)
            dead.disk.cut_at = dead.disk.operations + rng.randint(1, 200)
        for one in group.members:
            group.check(one)
    for member in group.members:
        member.disk.cut_at = -1
    group.heal()
