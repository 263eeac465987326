"""The trouble of a run, as it comes: partitions, deaths, pauses, disks, and what operators do at bad moments.

Each kind is a chain of events, every one drawing when the next comes. ``clear`` ends all of it for good.

Rules of this file: choices come from the run's random source alone, so that a seed is the whole story.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from ledgermq.dledger.codes import Role
from ledgermq.testing.simulation.events import EventQueue
from ledgermq.testing.simulation.faults import Faults
from ledgermq.testing.simulation.member import SimMember
from ledgermq.testing.simulation.network import Network
from ledgermq.testing.simulation.node import SimNode

Say = Callable[[str], None]


class Weather:
    def __init__(
        self,
        events: EventQueue,
        random: Random,
        faults: Faults,
        network: Network,
        nodes: Sequence[SimNode],
        holders: Callable[[int, int, SimNode], int],
        say: Say | None,
    ) -> None:
        """``holders`` counts the members but one that have entry (index, term) durably."""
        self._events = events
        self._random = random
        self._faults = faults
        self._network = network
        self._nodes = nodes
        self._holders = holders
        self._say = say
        self._over = False
        for node in nodes:
            node.on_death = self._died
        self._every(faults.partitions, self._partition)
        self._every(faults.pauses, self._pause)
        self._every(faults.kills, self._kill)
        self._every(faults.power_cuts, self._cut_power)
        self._every(faults.fsync_errors, self._break_disk)
        self._every(faults.full_disks, self._fill_disk)
        self._every(faults.snapshots, self._save_snapshot)
        self._every(faults.transfers, self._transfer)
        self._every(faults.stops, self._stop)

    def clear(self) -> None:
        """All trouble ends; what is down comes up."""
        self._over = True
        self._network.calm()
        for node in self._nodes:
            node.calm = True
            node.fuse.cut()
            node.storage.broken = node.storage.full = False
            if node.paused:
                node.resume()
            node.start()

    def _every(self, per_second: float, action: Callable[[], None]) -> None:
        if per_second:
            self._events.after(self._gap_us(per_second), self._again, per_second, action)

    def _again(self, per_second: float, action: Callable[[], None]) -> None:
        if not self._over:
            action()
            self._every(per_second, action)

    def _gap_us(self, per_second: float) -> int:
        return int(self._random.expovariate(per_second) * 1_000_000)

    def _between_us(self, low_ms: int, high_ms: int) -> int:
        return self._random.randrange(low_ms * 1000, high_ms * 1000)

    def _later(self, low_ms: int, high_ms: int, action: Callable[..., None], *args: object) -> None:
        self._events.after(self._between_us(low_ms, high_ms), self._unless_over, action, args)

    def _unless_over(self, action: Callable[..., None], args: tuple[object, ...]) -> None:
        if not self._over:
            action(*args)

    def _tell(self, text: str) -> None:
        if self._say is not None:
            self._say(text)

    # ---- the network ----

    def _partition(self) -> None:
        one_way = self._faults.one_way and self._random.random() < 0.5
        where = self._network.partition(one_way, self._victim().id)
        self._tell(f"partition{' (one way)' if one_way else ''}: {where}")
        if self._faults.flapping and self._random.random() < 0.5:
            self._later(20, 200, self._flap, 6)
        else:
            self._later(50, 2500, self._mend)

    def _flap(self, left: int) -> None:
        self._mend()
        if left:
            self._network.partition(self._faults.one_way, self._victim().id)
            self._later(20, 200, self._flap, left - 1)

    def _mend(self) -> None:
        self._network.mend()
        self._tell("all links work")

    # ---- the nodes ----

    def _leaders(self) -> list[SimNode]:
        return [node for node in self._nodes if node.core is not None and node.core.role is Role.LEADER]

    def _victim(self) -> SimNode:
        """Whom it meets, dead or alive."""
        if self._faults.hunts and self._random.random() < 0.6:
            leaders = self._leaders()
            if leaders:
                return self._random.choice(leaders)
        return self._random.choice(self._nodes)

    def _kill(self) -> None:
        self._end(self._victim(), power=False)

    def _cut_power(self) -> None:
        if self._random.random() < 0.1:  # The whole room goes dark.
            for node in self._nodes:
                if node.core is not None:
                    node.die(True)
        else:
            self._end(self._victim(), power=True)

    def _end(self, node: SimNode, power: bool) -> None:
        if node.core is None:
            return
        if self._faults.fuses and self._random.random() < 0.8:
            node.fuse.light(self._random.randrange(1, 40), power)
        else:
            node.die(power)

    def _died(self, node: SimNode, power: bool) -> None:
        if not power:
            # The kernel closes the connections of a dead process; of a dead machine nobody hears.
            for peer in self._nodes:
                if peer is not node and self._random.random() < 0.7:
                    self._later(0, 5, peer.tell, SimMember.disconnected, node.id)
        if self._faults.bit_flips and self._random.random() < 0.3:
            self._flip_bit(node)
        if self._over:
            self._events.after(self._between_us(10, 100), node.start)
        else:
            self._later(5, 1500, self._restart, node)

    def _restart(self, node: SimNode) -> None:
        node.storage.broken = False
        node.start()

    def _flip_bit(self, node: SimNode) -> None:
        """Damage an entry that a majority of the others can repair: they have all from it on durably."""
        ledger = node.storage.ledger
        majority = len(self._nodes) // 2 + 1
        index = ledger.last_index
        lowest = ledger.last_index + 1
        while index >= ledger.first_index and self._holders(index, ledger.term_at(index), node) >= majority:
            lowest = index
            index -= 1
        if lowest <= ledger.last_index:
            index = self._random.randrange(lowest, ledger.last_index + 1)
            self._tell(f"a bit flips in entry {index} of {node.id}")
            node.storage.damage(index)

    def _pause(self) -> None:
        node = self._victim()
        if node.core is not None and not node.paused:
            self._tell(f"{node.id} is paused")
            node.pause()
            self._later(20, 1500, self._resume, node)

    def _resume(self, node: SimNode) -> None:
        if node.paused:
            self._tell(f"{node.id} goes on")
            node.resume()

    # ---- the disks ----

    def _break_disk(self) -> None:
        node = self._victim()
        self._tell(f"{node.id}'s disk fails its next fsync")
        node.storage.broken = True

    def _fill_disk(self) -> None:
        node = self._victim()
        self._tell(f"{node.id}'s disk is full")
        node.storage.full = True
        self._later(50, 1500, self._make_room, node)

    def _make_room(self, node: SimNode) -> None:
        self._tell(f"{node.id}'s disk has room")
        node.storage.full = False

    # ---- the operators ----

    def _save_snapshot(self) -> None:
        self._random.choice(self._nodes).tell(SimMember.save_snapshot)

    def _transfer(self) -> None:
        leaders = self._leaders()
        if leaders:
            self._random.choice(leaders).tell(SimMember.transfer, self._random.choice(self._nodes).id)

    def _stop(self) -> None:
        node = self._victim()
        if self._random.random() < 0.5:
            node.tell(SimMember.transfer, self._random.choice(self._nodes).id)
        self._later(0, 300, self._stop_now, node)

    def _stop_now(self, node: SimNode) -> None:
        power = not self._faults.page_cache and self._random.random() < 0.3
        if node.member is not None and not node.paused:
            if self._faults.fuses and self._random.random() < 0.5:
                node.fuse.light(self._random.randrange(1, 40), power)
            node.stop(power)
