"""Which kinds of trouble a run has, and how much of each; drawn from its seed.

Each kind is in a run or not: a bug that needs two kinds without a third, which would hide it, is found as
well.
"""

from __future__ import annotations

from random import Random

import msgspec


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """Chances are per message or per second; times are in milliseconds."""

    # the network
    delay_ms_max: int = 3
    loss: float = 0.0
    duplication: float = 0.0
    reordering: bool = False
    """Each message takes its own time; else a link keeps the order, as a TCP connection does."""
    stragglers: float = 0.0
    """Messages that come seconds late, into another term."""
    partitions: float = 0.0
    one_way: bool = False
    flapping: bool = False
    # the nodes
    skew: bool = False
    """Clocks run up to a tenth too fast or too slow."""
    pauses: float = 0.0
    kills: float = 0.0
    """The process dies; what it wrote stays."""
    power_cuts: float = 0.0
    """The machine dies; what was not fsynced is lost or torn."""
    hunts: bool = False
    """Trouble looks for leaders."""
    young_deaths: float = 0.0
    """The chance of a new leader to die within its first steps."""
    fuses: bool = False
    """A death comes between two effects, or between a write and its fsync."""
    small_pushes: bool = False
    """Few entries are in a push, often one."""
    batching: bool = False
    """A node takes several messages in one turn."""
    # the disks
    slow_fsync_ms: int = 0
    fsync_errors: float = 0.0
    full_disks: float = 0.0
    bit_flips: bool = False
    files: bool = False
    """The ledger is the real one, on a simulated disk, and messages travel in their binary form."""
    java: bool = False
    """Some members are a model of DLedger 0.3.2 (java_core.py)."""
    broker: bool = False
    """The members have a broker's store, and clients send messages to queues (broker_machine.py)."""
    # what operators do
    snapshots: float = 0.0
    transfers: float = 0.0
    stops: float = 0.0
    """Brokers are stopped cleanly, some after they have handed over."""
    slow_applies: bool = False
    """Brokers are behind with what is committed."""
    page_cache: bool = False
    """Flush policy page-cache: entries count when they are written. Machines do not die in such a run."""
    remembered_commits: bool = False
    """The commit index is in the checkpoint that a node finds when it starts."""


def draw_faults(random: Random) -> Faults:
    """Each kind with one chance in two; one run in twenty has none."""
    if random.random() < 0.05:
        return Faults()

    def maybe(low: float, high: float) -> float:
        chosen, amount = random.random() < 0.5, random.uniform(low, high)
        return amount if chosen else 0.0

    def coin(chance: float = 0.5) -> bool:
        return random.random() < chance

    page_cache = coin(0.1)
    power_cuts = maybe(0.1, 2.5)
    faults = Faults(
        delay_ms_max=random.choice((1, 3, 10, 40, 120)),
        loss=maybe(0.0, 0.2),
        duplication=maybe(0.0, 0.2),
        reordering=coin(),
        stragglers=maybe(0.0, 0.02),
        partitions=maybe(0.3, 3.0),
        one_way=coin(),
        flapping=coin(0.3),
        skew=coin(),
        pauses=maybe(0.1, 0.6),
        kills=maybe(0.1, 2.5),
        power_cuts=0.0 if page_cache else power_cuts,
        hunts=coin(),
        young_deaths=random.choice((0.0, 0.0, 0.3, 0.6)),
        small_pushes=coin(),
        fuses=coin(),
        batching=coin(),
        slow_fsync_ms=random.choice((0, 1, 5, 30, 200)),
        fsync_errors=0.0 if page_cache else maybe(0.05, 0.3),
        full_disks=maybe(0.05, 0.3),
        bit_flips=coin(0.4) and not page_cache,
        files=coin(0.1),
        snapshots=maybe(0.3, 2.0),
        transfers=maybe(0.1, 1.0),
        page_cache=page_cache,
        remembered_commits=coin(),
    )
    return with_java(faults) if coin(0.06) else faults


def with_java(faults: Faults) -> Faults:
    """The same with members of Java's kind, without what these do not live with.

    Their messages are calls, which connections keep in order and never double; what they have written counts;
    and the model has neither snapshots nor transfers.
    """
    return msgspec.structs.replace(
        faults,
        java=True,
        page_cache=True,
        duplication=0.0,
        reordering=False,
        stragglers=0.0,
        power_cuts=0.0,
        fsync_errors=0.0,
        full_disks=0.0,
        bit_flips=False,
        files=False,
        snapshots=0.0,
        transfers=0.0,
    )


def with_broker(faults: Faults) -> Faults:
    """The same with members that are brokers: their stores need the real ledger."""
    return msgspec.structs.replace(faults, broker=True, files=True, java=False, bit_flips=False)


def draw_broker_faults(random: Random) -> Faults:
    """As :func:`draw_faults`, for brokers."""
    faults = with_broker(draw_faults(random))
    stops = random.uniform(0.1, 1.5) if random.random() < 0.5 else 0.0
    return msgspec.structs.replace(faults, stops=stops, slow_applies=random.random() < 0.5)
