"""Locks that ordered consumers hold on queues (Java: ``RebalanceLockManager``).

A consumer of ordered messages pulls a queue only while it holds the queue's lock; it renews the lock every
20 s. A lock not renewed for LOCK_MS is anyone's: its holder has died or is too slow to be trusted.

Rules of this file: pure; time comes in, of a clock that nobody sets. Only queues that exist can be locked
(the handler sees to it), so the table is bounded by groups times queues; groups without a live lock are
forgotten by :meth:`QueueLocks.expire`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ledgermq.broker.queue_key import QueueKey

LOCK_MS: Final = 60_000


class QueueLocks:
    """Who holds which queue of which group."""

    def __init__(self) -> None:
        self._holders: dict[str, dict[QueueKey, tuple[str, int]]] = {}
        """Group -> queue -> (client id, time of the last renewal)."""

    def lock(self, group: str, queues: Iterable[QueueKey], client_id: str, now_ms: int) -> list[QueueKey]:
        """Lock or renew ``queues`` for the client; the ones it holds now, in the order given."""
        holders = self._holders.setdefault(group, {})
        locked: list[QueueKey] = []
        for queue in queues:
            holder = holders.get(queue)
            if holder is not None and holder[0] != client_id and now_ms - holder[1] <= LOCK_MS:
                continue
            holders[queue] = (client_id, now_ms)
            locked.append(queue)
        if not holders:
            del self._holders[group]
        return locked

    def unlock(self, group: str, queues: Iterable[QueueKey], client_id: str) -> None:
        """Give up the locks that the client holds; others' are left alone."""
        holders = self._holders.get(group)
        if holders is None:
            return
        for queue in queues:
            holder = holders.get(queue)
            if holder is not None and holder[0] == client_id:
                del holders[queue]
        if not holders:
            del self._holders[group]

    def holder(self, group: str, queue: QueueKey, now_ms: int) -> str | None:
        """The client that holds the queue; None when the lock is free or has expired."""
        holder = self._holders.get(group, {}).get(queue)
        if holder is None or now_ms - holder[1] > LOCK_MS:
            return None
        return holder[0]

    def holds_any(self, group: str, now_ms: int) -> bool:
        """Whether a consumer of the group holds a live lock, as consumers of ordered messages do."""
        return any(now_ms - at <= LOCK_MS for _, at in self._holders.get(group, {}).values())

    def expire(self, now_ms: int) -> None:
        """Forget the locks that nobody renews."""
        for group, holders in list(self._holders.items()):
            for queue in [queue for queue, (_, at) in holders.items() if now_ms - at > LOCK_MS]:
                del holders[queue]
            if not holders:
                del self._holders[group]
