"""What happens in a cluster that somebody watches: who leads, since when, and how long nobody did.

Rules of this file: pure; the name server's view and the time come in, events go out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class LeaderChanged:
    """``leader`` None: the group has none, as far as the name server knows."""

    group: str
    leader: str | None
    before: str | None
    """Who led last; None: nobody has led yet."""
    gap_ms: int | None
    """How long nobody led; None while nobody does, and at the very first."""

    def text(self) -> str:
        if self.leader is None:
            return f"{self.group}: {self.before} leads no more"
        if self.before is None:
            return f"{self.group}: {self.leader} leads"
        if self.before == self.leader:
            return f"{self.group}: {self.leader} leads again, {self.gap_ms} ms later"
        if not self.gap_ms:
            return f"{self.group}: {self.leader} leads instead of {self.before}"
        return f"{self.group}: {self.leader} leads, {self.gap_ms} ms after {self.before} was gone"


class LeaderWatch:
    """Compares what is seen with what was seen before."""

    def __init__(self) -> None:
        self._leaders: dict[str, str] = {}
        """Who led last, of each group."""
        self._lost_ms: dict[str, int] = {}
        """Since when nobody leads."""

    def see(self, leaders: Mapping[str, str | None], now_ms: int) -> list[LeaderChanged]:
        """What has changed now that ``leaders`` lead, group by group."""
        changes = []
        for group, leader in leaders.items():
            before = self._leaders.get(group)
            if leader is None:
                if before is not None and group not in self._lost_ms:
                    self._lost_ms[group] = now_ms
                    changes.append(LeaderChanged(group, None, before, None))
                continue
            lost_ms = self._lost_ms.pop(group, None)
            if leader != before or lost_ms is not None:
                self._leaders[group] = leader
                gap_ms = None if before is None else 0 if lost_ms is None else now_ms - lost_ms
                changes.append(LeaderChanged(group, leader, before, gap_ms))
        return changes
