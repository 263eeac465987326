"""Who of a group reads which queue. Every member computes its own share from the same two sorted lists.

The members of a group may be written in different languages, so the results must equal those of Java's
``AllocateMessageQueueAveragely`` and ``AllocateMessageQueueAveragelyByCircle``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ledgermq.client.queues import MessageQueue

Allocation = Callable[[str, Sequence[MessageQueue], Sequence[str]], list[MessageQueue]]
"""``(own client id, all queues sorted, all client ids sorted) -> own queues``. An own id that is not among
all of them has no share: the broker has not seen our heartbeat yet."""


def allocate_averagely(
    client_id: str, queues: Sequence[MessageQueue], client_ids: Sequence[str]
) -> list[MessageQueue]:
    """Neighbouring queues: of 5 queues and 2 clients, the first has 0 1 2 and the second 3 4."""
    if client_id not in client_ids:
        return []
    index = client_ids.index(client_id)
    share, over = divmod(len(queues), len(client_ids))
    begin = index * share + min(index, over)
    return list(queues[begin : begin + share + (1 if index < over else 0)])


def allocate_by_circle(
    client_id: str, queues: Sequence[MessageQueue], client_ids: Sequence[str]
) -> list[MessageQueue]:
    """Dealt out like cards: of 5 queues and 2 clients, the first has 0 2 4 and the second 1 3."""
    if client_id not in client_ids:
        return []
    return list(queues[client_ids.index(client_id) :: len(client_ids)])
