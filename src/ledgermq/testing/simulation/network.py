"""Links between nodes: late, lossy, doubled, out of order, cut in one direction or both.

Rules of this file: every choice comes from the run's random source, in the order of the calls; sets are only
asked for membership, never walked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from ledgermq.dledger.messages import Message
from ledgermq.testing.simulation.events import EventQueue
from ledgermq.testing.simulation.faults import Faults

Deliver = Callable[[str, str, Message], None]
"""Called with sender, receiver and message."""

_LEAST_US = 50
_STRAGGLE_US_MAX = 4_000_000


class Network:
    """``send`` has ``deliver`` called later, once, twice or never."""

    def __init__(
        self, events: EventQueue, random: Random, faults: Faults, nodes: Sequence[str], deliver: Deliver
    ) -> None:
        self._events = events
        self._random = random
        self._nodes = list(nodes)
        self._deliver = deliver
        self._faults = faults
        self._cut: set[tuple[str, str]] = set()
        """(sender, receiver) of the links that carry nothing."""
        self._free_us: dict[tuple[str, str], int] = {}
        """When the last message sent so far over a link that keeps the order arrives."""
        self.sent = 0

    def send(self, sender: str, receiver: str, message: Message) -> None:
        self.sent += 1
        link = (sender, receiver)
        if link in self._cut:
            return
        faults, random = self._faults, self._random
        if faults.loss and random.random() < faults.loss:
            return
        self._carry(link, message)
        if faults.duplication and random.random() < faults.duplication:
            self._carry(link, message)

    def _carry(self, link: tuple[str, str], message: Message) -> None:
        faults, random = self._faults, self._random
        delay_us = _LEAST_US + int(random.random() * faults.delay_ms_max * 1000)
        if faults.stragglers and random.random() < faults.stragglers:
            delay_us += int(random.random() * _STRAGGLE_US_MAX)
        elif not faults.reordering:
            arrival_us = max(self._events.now_us + delay_us, self._free_us.get(link, 0) + 1)
            self._free_us[link] = arrival_us
            delay_us = arrival_us - self._events.now_us
        self._events.after(delay_us, self._arrive, link, message)

    def _arrive(self, link: tuple[str, str], message: Message) -> None:
        if link not in self._cut:  # What was on its way when the link was cut is lost too.
            self._deliver(link[0], link[1], message)

    # ---- partitions ----

    def mend(self) -> None:
        """All links work, and lose nothing any more."""
        self._cut.clear()

    def calm(self) -> None:
        """The end of all trouble."""
        self.mend()
        self._faults = Faults(delay_ms_max=min(3, self._faults.delay_ms_max))

    def partition(self, one_way: bool, victim: str) -> str:
        """Cut the links between two groups of nodes, or the victim's, or one link; says which."""
        random, nodes = self._random, self._nodes
        shape = random.randrange(3)
        if shape == 0 or len(nodes) < 3:
            inside = [victim]
        elif shape == 1:
            inside = [node for node in nodes if random.random() < 0.5]
        else:
            a, b = random.sample(nodes, 2)
            self._block(a, b, one_way)
            return f"{a} | {b}"
        for a in nodes:
            for b in nodes:
                if a in inside and b not in inside:
                    self._block(a, b, one_way)
        return f"{' '.join(inside)} | the rest"

    def _block(self, a: str, b: str, one_way: bool) -> None:
        self._cut.add((a, b))
        if not one_way:
            self._cut.add((b, a))
