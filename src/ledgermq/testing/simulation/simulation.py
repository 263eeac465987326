"""One run: a group, its clients, its trouble, and what must hold; the same for the same seed, to the byte.

A run has two parts. While the trouble lasts, safety is checked at every step (checks.py). Then all trouble
ends, and the group must elect a leader, commit what is proposed, and agree everywhere, within
``CALM_SECONDS_MAX``.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from random import Random
from typing import Final, TypeVarTuple

import msgspec

from ledgermq.dledger.codes import Role
from ledgermq.dledger.core import CoreConfig
from ledgermq.dledger.messages import Message
from ledgermq.dledger.native_messages import decode_native, encode_native
from ledgermq.testing.simulation.broker_machine import DATA_FILE_BYTES, BrokerMachine, SimMessage
from ledgermq.testing.simulation.broker_metadata import MetadataChecks
from ledgermq.testing.simulation.checks import Checks, Violation
from ledgermq.testing.simulation.deliveries import SCHEDULE_TOPIC
from ledgermq.testing.simulation.events import EventQueue
from ledgermq.testing.simulation.faults import Faults, draw_broker_faults, draw_faults
from ledgermq.testing.simulation.file_storage import DATA_DIRECTORY, FileStorage
from ledgermq.testing.simulation.leading import Leading
from ledgermq.testing.simulation.machine import ChecksumMachine
from ledgermq.testing.simulation.member import SimMember, Surroundings
from ledgermq.testing.simulation.model_ledger import Fuse, ModelLedger
from ledgermq.testing.simulation.network import Network
from ledgermq.testing.simulation.node import SimNode
from ledgermq.testing.simulation.queue_checks import QueueChecks
from ledgermq.testing.simulation.weather import Weather

Ts = TypeVarTuple("Ts")

log: Final = logging.getLogger("ledgermq.testing")

CALM_SECONDS_MAX: Final = 12
"""Messages of the time of trouble may still come in for four of them."""
JAVA_CALM_SECONDS_MAX: Final = 60
"""Java's followers wait six seconds for a leader, and its candidates for three more for each other."""
_LOOK_US: Final = 50_000
_ASK_US: Final = 1_000_000
_JAVA_ASK_US: Final = 4_000_000
"""A Java leader tells of a commit with the next entry, or when none came for a second."""
_TOPICS: Final = (b"Orders", b"Orders", b"Orders", b"Bills", b"Bills", b"Bills", SCHEDULE_TOPIC)
_KINDS: Final = ("topic", "group", "consumer", "consumer", "consumer")
_DELETIONS: Final = 0.1
_BODY_SIZES: Final = (0, 0, 20, 150, 600, 2000)
_ALL: Final = 1 << 60
_SIZES: Final = (1, 2, 3, 3, 3, 4, 5, 5, 5, 6, 7)

Trace = Callable[[int, str, str], None]
"""Called with the time in microseconds, who, and what."""


class Outcome(msgspec.Struct, frozen=True):
    """What became of a run. ``violation`` is None when every rule held."""

    seed: int
    members: int
    faults: Faults
    violation: str | None
    events: int
    messages: int
    committed: int
    acknowledged: int
    reads: int
    terms: int
    calm_ms: int
    """From the end of the trouble to the agreement of all."""
    digest: str
    """Of all that happened: equal for equal runs."""


class Simulation:
    def __init__(self, seed: int, faults: Faults | None = None, trace: Trace | None = None) -> None:
        self.seed = seed
        self.random = random = Random(seed)
        self.events = events = EventQueue()
        self.faults = faults = draw_faults(random) if faults is None else faults
        size = random.choice(_SIZES)
        self.members = members = tuple(f"n{number}" for number in range(size))
        self.seconds = random.choice((2, 4, 8))
        self._trace = trace
        self.checks = Checks(self._holders, size // 2 + 1)
        self.queue_checks = QueueChecks(find_keys=not faults.full_disks)
        self.metadata_checks = MetadataChecks()
        self.network = Network(events, random, faults, members, self._deliver)
        java = tuple(member for member in members if faults.java and random.random() < 0.5)
        config = CoreConfig(
            proposal_timeout_ms=random.choice((300, 2500)),
            pushes_in_flight_max=random.choice((1, 4, 64)),
            proposals_max=random.choice((5, 10_000)),
            push_timeout_ms=random.choice((200, 1000)),
            pre_vote=random.random() < 0.8,
            check_quorum=random.random() < 0.8,
            preferred_leaders=(random.choice(members),) if random.random() < 0.2 else (),
        )
        world = Surroundings(
            events,
            random,
            faults,
            self.network,
            self.checks,
            self.queue_checks,
            config,
            members,
            java,
            None if trace is None else self._says,
        )
        self.nodes: list[SimNode] = []
        indexed = faults.broker and random.random() < 0.7
        opens_with_record = faults.broker and random.random() < 0.7
        for member in members:
            self.nodes.append(self._make_node(member, world, indexed, opens_with_record))
        self._by_id = {node.id: node for node in self.nodes}
        say = None if trace is None else self._weather_says
        self._weather = Weather(events, random, faults, self.network, self.nodes, self._other_holders, say)
        self._proposed = 0
        self._administered = 0
        self._rate_us = random.choice((5_000, 20_000, 60_000))
        self._clients_stop_us = self.seconds * 1_000_000
        for node in self.nodes:
            events.after(random.randrange(200_000), node.start)
        for _ in range(2):
            events.after(random.randrange(500_000), self._client_acts)

    def _make_node(self, member: str, world: Surroundings, indexed: bool, opens_with_record: bool) -> SimNode:
        random, fuse = self.random, Fuse()
        if not self.faults.broker:
            storage = FileStorage(random, fuse) if self.faults.files else ModelLedger(random, fuse)
            return SimNode(member, world, storage, ChecksumMachine(), fuse)
        files = FileStorage(random, fuse, DATA_FILE_BYTES)
        machine = BrokerMachine(
            member,
            files.disk,
            DATA_DIRECTORY,
            random,
            self.checks,
            self.queue_checks,
            self.metadata_checks,
            lambda: self.events.now_us,
            lambda delay_us, action: node.later(delay_us, action),
            indexed,
            opens_with_record,
        )
        node = SimNode(member, world, files, machine, fuse)
        return node

    # ---- what the parts ask each other ----

    def _says(self, who: str, what: str) -> None:
        if self._trace is not None:
            self._trace(self.events.now_us, who, what)

    def _weather_says(self, what: str) -> None:
        self._says("--", what)

    def _deliver(self, sender: str, receiver: str, message: Message) -> None:
        if self.faults.files:
            _, sender, message = decode_native(encode_native("g0", sender, message))
        self._by_id[receiver].tell(SimMember.receive, sender, message)

    def _holders(self, index: int, term: int) -> int:
        written = self.faults.page_cache
        return sum(node.storage.holds(index, term, written) for node in self.nodes)

    def _other_holders(self, index: int, term: int, but: SimNode) -> int:
        return sum(node.storage.holds(index, term) for node in self.nodes if node is not but)

    # ---- clients ----

    def _client_acts(self) -> None:
        if self.events.now_us >= self._clients_stop_us:
            return
        random = self.random
        node = random.choice(self.nodes)
        if random.random() < 0.8:
            leaders = self._leaders()
            node = random.choice(leaders) if leaders else node
        if self.faults.broker and random.random() < 0.2:
            self._administered += 1
            kind = "Bills" if random.random() < _DELETIONS else random.choice(_KINDS)
            self._broker_takes(node, Leading.administer, kind, self._administered)
        elif random.random() < 0.3:
            node.tell(SimMember.read, self.checks.seen_index)
        else:
            self._propose(node, random.choice((1, 1, 1, 2, 5)))
        self.events.after(random.randrange(2 * self._rate_us), self._client_acts)

    def _propose(self, node: SimNode, count: int) -> None:
        if self.faults.broker:
            self._send(node, count)
            return
        bodies = [b"%d" % number for number in range(self._proposed, self._proposed + count)]
        if self.faults.files:
            bodies = [body + b" " * self.random.choice((0, 0, 20, 600)) for body in bodies]
        self._proposed += count
        node.tell(SimMember.propose, bodies)

    def _send(self, node: SimNode, count: int) -> None:
        random = self.random
        messages = [
            SimMessage(random.choice(_TOPICS), random.randrange(2), number, random.choice(_BODY_SIZES))
            for number in range(self._proposed, self._proposed + count)
        ]
        batch = count > 1 and random.random() < 0.5
        if batch:
            messages = [message._replace(topic=messages[0].topic, queue_id=0) for message in messages]
        self._proposed += count
        self._broker_takes(node, Leading.gather, messages, batch)

    def _broker_takes(self, node: SimNode, request: Callable[[Leading, *Ts], None], *args: *Ts) -> None:
        """A broker's client asks for this."""
        if node.member is not None and node.member.leading is not None:
            node.take(request, node.member.leading, *args)

    # ---- the run ----

    def run(self) -> Outcome:
        violation: str | None = None
        calm_ms = -1
        try:
            self.events.run_until(self.seconds * 1_000_000)
            self._weather.clear()
            if self._trace is not None:
                self._weather_says("the trouble is over")
            calm_ms = self._come_to_rest()
        except Violation as broken:
            violation = str(broken)
        except Exception as error:  # whatever it is, this seed has found it
            log.exception("an error in the run, or in what checks it")
            violation = f"{type(error).__name__}: {error}"
        return self._outcome(violation, calm_ms)

    def _leaders(self) -> list[SimNode]:
        return [node for node in self.nodes if node.core is not None and node.core.role is Role.LEADER]

    def _come_to_rest(self) -> int:
        """Wait until a new proposal has been applied everywhere; how long that took."""
        begin_us = self.events.now_us
        ask_us = _JAVA_ASK_US if self.faults.java else _ASK_US
        asked_us = -ask_us
        calm_seconds_max = JAVA_CALM_SECONDS_MAX if self.faults.java else CALM_SECONDS_MAX
        while self.events.now_us < begin_us + calm_seconds_max * 1_000_000:
            self.events.run_until(self.events.now_us + _LOOK_US)
            leaders = self._leaders()
            if self._agreed(leaders):
                rest_us = self.events.now_us
                self.events.run_until(rest_us + 500_000)
                if self._agreed(self._leaders()):
                    self._check_end()
                    return (rest_us - begin_us) // 1000
            elif leaders and self.events.now_us - asked_us >= ask_us:
                asked_us = self.events.now_us
                self._propose(self.random.choice(leaders), 1)
                leaders[-1].tell(SimMember.read, self.checks.seen_index)
        states = ", ".join(_describe(node) for node in self.nodes)
        raise Violation("the group comes to rest", f"after {calm_seconds_max} calm seconds: {states}")

    def _agreed(self, leaders: list[SimNode]) -> bool:
        """One leader, an entry of its own term acknowledged, everything applied everywhere."""
        if len(leaders) != 1 or not self.checks.committed:
            return False
        leader = leaders[0]
        assert leader.core is not None
        last_index = leader.core.last_index
        term, body = self.checks.committed[-1]
        return (
            len(self.checks.committed) == last_index + 1
            and term == leader.core.term
            and body in self.checks.acknowledged
            and all(node.core is not None and node.state == leader.state for node in self.nodes)
        )

    def _check_end(self) -> None:
        for body, index in self.checks.acknowledged.items():
            if self.checks.committed[index][1] != body:
                raise Violation("acknowledged stays", f"{body!r} is not at {index} in the end")
        brokers = [node.machine for node in self.nodes if isinstance(node.machine, BrokerMachine)]
        for broker in brokers:
            broker.check(_ALL)
            if broker.metadata.tables() != brokers[0].metadata.tables():
                raise Violation("replicas agree", broker.metadata.difference(brokers[0].metadata))

    def _outcome(self, violation: str | None, calm_ms: int) -> Outcome:
        checks = self.checks
        told = (
            checks.committed,
            checks.reads_served,
            self.network.sent,
            self.events.happened,
            self.random.getstate(),
        )
        return Outcome(
            seed=self.seed,
            members=len(self.nodes),
            faults=self.faults,
            violation=violation,
            events=self.events.happened,
            messages=self.network.sent,
            committed=len(checks.committed),
            acknowledged=len(checks.acknowledged),
            reads=checks.reads_served,
            terms=max((node.core.term for node in self.nodes if node.core is not None), default=0),
            calm_ms=calm_ms,
            digest=hashlib.sha256(repr(told).encode()).hexdigest()[:16],
        )


def _describe(node: SimNode) -> str:
    core = node.core
    if core is None:
        return f"{node.id} dead"
    return (
        f"{node.id} {core.role.name} of term {core.term}, log to {core.last_index}, committed"
        f" {core.commit_index}, leader {core.leader_id}"
    )


def simulate(seed: int, faults: Faults | None = None, trace: Trace | None = None) -> Outcome:
    """One whole run."""
    return Simulation(seed, faults, trace).run()


def simulate_brokers(seed: int, trace: Trace | None = None) -> Outcome:
    """The same of a group of brokers."""
    return simulate(seed, draw_broker_faults(Random(seed)), trace)
