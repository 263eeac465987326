"""Any sequence of sends, pushes, commits, elections and deaths: all replicas hold the same."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.crash.store.groups import Group

QUEUES = st.sampled_from([(b"A", 0), (b"A", 1), (b"B", 0)])
MEMBERS = st.sampled_from([0, 1, 2])
COUNTS = st.sampled_from([1, 3, 1000])


class ReplicasMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.group = Group(1)
        self.group.elect(self.group.members[0])
        self.good_day()

    @rule(
        queue=QUEUES,
        size=st.sampled_from([0, 1, 100, 1500, 3500]),
        sys_flag=st.sampled_from([0, 0, 0, 4, 8]),
        count=st.integers(1, 3),
    )
    def send(self, queue: tuple[bytes, int], size: int, sys_flag: int, count: int) -> None:
        for _ in range(count):
            self.group.send(*queue, size, sys_flag)

    @rule()
    def propose(self) -> None:
        self.group.propose()

    @rule(member=MEMBERS, count=COUNTS)
    def push(self, member: int, count: int) -> None:
        self.group.push(self.group.members[member], count)

    @rule(member=MEMBERS)
    def flush(self, member: int) -> None:
        self.group.members[member].flush()

    @rule()
    def good_day(self) -> None:
        self.group.good_day()

    @rule(member=MEMBERS, count=COUNTS)
    def apply(self, member: int, count: int) -> None:
        self.group.commit()
        self.group.apply(self.group.members[member], count)

    @rule(member=MEMBERS, by_all=st.booleans())
    def elect(self, member: int, by_all: bool) -> None:
        if self.group.elect(self.group.members[member]) and by_all:
            self.good_day()

    @rule(member=MEMBERS)
    def upkeep(self, member: int) -> None:
        self.group.upkeep(self.group.members[member])

    @rule(member=MEMBERS)
    def note(self, member: int) -> None:
        self.group.note(self.group.members[member])

    @rule(number=MEMBERS, how=st.sampled_from(["stop", "kill", "power"]))
    def end(self, number: int, how: str) -> None:
        member = self.group.members[number]
        self.group.ends(member)
        if how == "stop":
            member.restart()
        elif how == "kill":
            member.kill()
        else:
            member.cut_power()
        self.group.back(member)

    @invariant()
    def queues_hold_what_is_applied(self) -> None:
        for member in self.group.members:
            self.group.check(member)

    def teardown(self) -> None:
        self.group.heal()


ReplicasMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestReplicas = ReplicasMachine.TestCase
