"""Three replicas of one log and what their group has agreed upon, without messages and time.

The rules of the group are those of Raft, done by hand: a leader's log holds at least what those of a majority
do; committed is what a majority has durably and what its leader of that term has counted.
"""

from __future__ import annotations

import random

from tests.crash.store.sim_disk import SimDisk
from tests.unit.store.replicas import FILE_BYTES, Replica
from tests.unit.store.stores import BEGIN_MS

from ledgermq.dledger.entries import split_bodies
from ledgermq.message.record import RecordError, decode_record, enters_queue

Place = tuple[bytes, int]
Unit = tuple[int, int]
"""Log offset and size."""


class Member(Replica):
    """``durable_index``: its entries up to there survive a power cut."""

    def __init__(self, disk: SimDisk, first_pos: int = 0) -> None:
        self.durable_index = -1
        super().__init__(disk, first_pos)

    def open(self) -> None:
        super().open()
        self.durable_index = self.ledger.last_index
        self.term = -1

    def flush(self) -> None:
        self.durable_index = self.ledger.flush()[0]

    def truncate(self, last_index: int) -> None:
        self.durable_index = min(self.durable_index, last_index)
        self.ledger.truncate(last_index)


class Group:
    """``committed`` is the last committed index, ``model`` what queues hold when all of it is applied."""

    def __init__(self, seed: int, size: int = 3, first_pos: int = 0) -> None:
        self.rng = random.Random(seed)
        self.first_pos = first_pos
        self.members = [Member(SimDisk(seed * 10 + n), first_pos) for n in range(size)]
        self.leader: Member | None = None
        self.term = 0
        self.committed = -1
        self.bodies: list[bytes] = []
        """Of the committed entries."""
        self.units: list[tuple[int, Place, Unit]] = []
        """(index, queue, unit) of the committed messages that enter a queue."""
        self.sent = 0
        self.minutes = 0

    # ---- what happens ----

    def elect(self, candidate: Member) -> bool:
        """It leads if its log is no shorter than those of a majority."""

        def length(member: Member) -> tuple[int, int]:
            return member.ledger.last_term, member.ledger.last_index

        behind = sum(length(member) <= length(candidate) for member in self.members)
        if behind <= len(self.members) // 2:
            return False
        if self.leader is not None:
            self.leader.log.follow()
        self.term += 1
        self.leader = candidate
        candidate.begin_term(self.term)
        return True

    def look(self) -> None:
        """A leader takes messages once everything that it has is applied."""
        leader = self.leader
        if leader is None or leader.log.leading or leader.ledger.last_term != self.term:
            return
        if leader.applied_index == leader.ledger.last_index:
            leader.log.lead(leader.ledger.end_pos)

    def send(self, topic: bytes, queue_id: int, size: int, sys_flag: int = 0) -> None:
        if self.leader is None or not self.leader.log.leading:
            return
        self.sent += 1
        properties = b"UNIQ_KEY\x01K%d\x02TAGS\x01T%d\x02" % (self.sent, self.sent % 3)
        body = b"%d:" % self.sent + b"x" * size
        # Time goes on: what a checkpoint says of full index files it says by their time.
        self.leader.put(topic, queue_id, body, properties, sys_flag, BEGIN_MS + self.sent)

    def propose(self) -> None:
        if self.leader is not None:
            self.leader.propose()

    def push(self, member: Member, count: int = 1 << 20) -> None:
        """The leader makes a member's log a part of its own, and perhaps longer."""
        leader = self.leader
        if leader is None or member is leader:
            return
        index = min(member.ledger.last_index, leader.ledger.last_index)
        while index >= 0 and leader.ledger.term_at(index) != member.ledger.term_at(index):
            index -= 1
        if index < member.ledger.last_index:
            assert index >= member.applied_index, "what is applied is committed"
            member.truncate(index)
        last = min(leader.ledger.last_index, index + count)
        while member.ledger.last_index < last:
            member.ledger.append(leader.ledger.read(member.ledger.last_index + 1, 1500, last))

    def commit(self) -> None:
        """Count what a majority has durably, of this term."""
        leader = self.leader
        if leader is None:
            return
        matches: list[int] = []
        for member in self.members:
            index = min(member.durable_index, leader.ledger.last_index)
            while index >= 0 and leader.ledger.term_at(index) != member.ledger.term_at(index):
                index -= 1
            matches.append(index)
        index = sorted(matches)[(len(matches) - 1) // 2]
        if index > self.committed and leader.ledger.term_at(index) == self.term:
            for known in range(self.committed + 1, index + 1):
                self._agree(leader, known)
            self.committed = index

    def _agree(self, leader: Member, index: int) -> None:
        entries = leader.ledger.read(index, 1, index)
        body = split_bodies(entries.payload)[0]
        self.bodies.append(body)
        try:
            record = decode_record(body)
        except RecordError:
            return
        assert record.log_offset == entries.first_pos + 48
        if enters_queue(record.sys_flag):
            place = record.topic, record.queue_id
            assert record.queue_offset == sum(known == place for _, known, _ in self.units), "no gap"
            self.units.append((index, place, (record.log_offset, record.size)))

    def apply(self, member: Member, count: int = 1 << 20) -> None:
        """A member hears of what is committed."""
        leader = self.leader
        if leader is None:
            return
        index = min(self.committed, member.ledger.last_index, member.applied_index + count)
        if index > member.applied_index and member.ledger.term_at(index) == leader.ledger.term_at(index):
            member.apply(index, max_bytes=self.rng.choice((1, 500, 5000)))
        if member is leader:
            self.look()

    def good_day(self) -> None:
        """Everything goes everywhere."""
        self.propose()
        for member in self.members:
            self.push(member)
            member.flush()
        self.commit()
        for member in self.members:
            self.apply(member)

    def upkeep(self, member: Member) -> None:
        self.minutes += 1
        for job in member.store.upkeep(BEGIN_MS + self.minutes * 61_000):
            job()

    def note(self, member: Member) -> None:
        """As the ledger's chores do now and then."""
        member.ledger.save_checkpoint(min(member.applied_index, self.committed))

    def ends(self, member: Member) -> None:
        """Its process or machine has ended."""
        if member is self.leader:
            self.leader = None

    def back(self, member: Member) -> None:
        """It has come back with its files."""
        assert member.applied_index <= self.committed, "queues speak of committed entries only"
        self.check(member)

    # ---- what must hold ----

    def check(self, member: Member) -> None:
        expected: dict[Place, list[Unit]] = {}
        for index, place, unit in self.units:
            if index <= member.applied_index:
                expected.setdefault(place, []).append(unit)
        found: dict[Place, list[Unit]] = {}
        for queue in member.store.queues.all():
            assert queue.min_offset == 0 or queue.max_offset == queue.min_offset
            assert queue.max_offset == queue.written_offset <= queue.next_offset
            units = b"".join(queue.units(n, 1) for n in range(int(queue.max_offset)))
            if units:
                found[queue.topic, int(queue.queue_id)] = [
                    (
                        int.from_bytes(units[at : at + 8], "big"),
                        int.from_bytes(units[at + 8 : at + 12], "big"),
                    )
                    for at in range(0, len(units), 20)
                ]
        assert found == expected

    def check_messages(self, member: Member) -> None:
        """Each message can be read at its place, and found by its key."""
        for index, (topic, queue_id), (log_offset, _) in self.units:
            record = member.store.read_at(log_offset)
            assert record is not None
            assert (record.topic, record.queue_id) == (topic, queue_id)
            assert self.bodies[index].find(record.body) > 0
            key = record.properties.split(b"\x02")[0].split(b"\x01")[1]
            assert log_offset in member.store.query_keys(topic, key, 64, 0, 1 << 60)

    def heal(self) -> None:
        """Everybody is well: a leader, and everything everywhere."""
        for member in self.members:
            member.flush()
        assert any(self.elect(member) for member in self.members)
        for _ in range(2):
            for member in self.members:
                self.push(member)
                member.flush()
            self.commit()
        for member in self.members:
            self.apply(member)
            assert member.applied_index == self.committed == member.ledger.last_index
            self.check(member)
            self.check_messages(member)


def act(group: Group, rng: random.Random, member: Member) -> None:
    """One step; ``member`` is whom it concerns, but for what only the leader does."""
    choice = rng.random()
    if choice < 0.42:
        for _ in range(rng.randint(1, 5)):
            group.send(
                rng.choice((b"Orders", b"Bills")),
                rng.randrange(3),
                rng.choice((0, 20, 150, 700, FILE_BYTES // 2)),
                rng.choice((0, 0, 0, 0, 4, 8)),
            )
        group.propose()
    elif choice < 0.55:
        group.push(member, rng.choice((1, 3, 100)))
    elif choice < 0.67:
        member.flush()
    elif choice < 0.75:
        group.commit()
    elif choice < 0.87:
        group.apply(member, rng.choice((1, 4, 100)))
    elif choice < 0.93:
        group.upkeep(member)
    elif choice < 0.95:
        group.note(member)
    else:
        group.elect(member)
