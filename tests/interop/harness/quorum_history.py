"""What clients of a group of brokers saw, and what must then be so of its log.

Pure: the checks take what was seen and what was read, and return what is wrong, one line each; no line is the
proof wanted. A log is the messages of each queue as pulls from the master give them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import msgspec

Log = Mapping[int, Sequence[tuple[int, str]]]
"""By queue id: queue offset and body, in the order they were read."""

STANDSTILL_MS = 200
SHOWN = 5
"""Of one kind of fault: the first ones say what is wrong."""


class Acknowledged(msgspec.Struct, frozen=True, array_like=True):
    """A send that ended with a SendResult, after ``tries`` requests of the client."""

    body: str
    status: str
    broker: str
    queue_id: int
    offset: int
    tries: int
    at_ms: int


class Failed(msgspec.Struct, frozen=True, array_like=True):
    """A send that ended with an exception: each of its tries may have been carried out or not."""

    body: str
    tries: int
    message: str
    at_ms: int


class Committed(msgspec.Struct, frozen=True, array_like=True):
    """A consumer offset that a master took; asked to at ``at_ms``, as a frozen one may take its time."""

    broker: str
    queue_id: int
    offset: int
    at_ms: int


class Delivered(msgspec.Struct, frozen=True, array_like=True):
    """A message as a push consumer's listener got it."""

    broker: str
    queue_id: int
    offset: int
    body: str


class Seen(msgspec.Struct):
    """The answer of the driver's ``load.take``."""

    acknowledged: list[Acknowledged] = []
    failed: list[Failed] = []
    committed: list[Committed] = []
    delivered: list[Delivered] = []


@dataclass
class History:
    """All that was seen of one load."""

    acknowledged: list[Acknowledged] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)
    committed: list[Committed] = field(default_factory=list)
    delivered: list[Delivered] = field(default_factory=list)

    def add(self, seen: Seen) -> None:
        self.acknowledged += seen.acknowledged
        self.failed += seen.failed
        self.committed += seen.committed
        self.delivered += seen.delivered


@dataclass
class Figures:
    """What no rule forbids, counted."""

    acknowledged: int = 0
    failed: int = 0
    uncertain_but_there: int = 0
    """Failed sends whose message is in the log all the same."""
    twice: int = 0
    """Copies that a client's own repetition made."""
    redelivered: int = 0
    """Messages that the consumer got again."""


def figures(history: History, log: Log) -> Figures:
    bodies = Counter(body for messages in log.values() for _, body in messages)
    deliveries = Counter((seen.queue_id, seen.offset) for seen in history.delivered)
    return Figures(
        acknowledged=len(history.acknowledged),
        failed=len(history.failed),
        uncertain_but_there=sum(bodies[send.body] > 0 for send in history.failed),
        twice=sum(count - 1 for count in bodies.values()),
        redelivered=sum(count - 1 for count in deliveries.values()),
    )


def violations(history: History, log: Log) -> list[str]:
    """What is wrong with the log of a group after all that was seen."""
    found = [
        check_offsets(log),
        check_acknowledged(history.acknowledged, log),
        check_copies(history, log),
        check_order(history.acknowledged),
        check_delivered(history.delivered, log),
    ]
    return [line for lines in found for line in lines]


def check_offsets(log: Log) -> list[str]:
    """Each queue counts from 0 without a gap, a step back or a repetition."""
    wrong = []
    for queue_id, messages in log.items():
        for place, (offset, body) in enumerate(messages):
            if offset != place:
                wrong.append(f"queue {queue_id}: offset {offset} ({body}) stands at place {place}")
                break
    return wrong


def check_acknowledged(sends: Iterable[Acknowledged], log: Log) -> list[str]:
    """Every SEND_OK is at its offset, and no two have one offset."""
    there = {(queue_id, offset): body for queue_id, messages in log.items() for offset, body in messages}
    wrong = []
    promised: dict[tuple[int, int], str] = {}
    for send in sends:
        if send.status != "SEND_OK":
            continue
        place = send.queue_id, send.offset
        if place in promised:
            wrong.append(f"{name(place)} was promised to {promised[place]} and to {send.body}")
        promised[place] = send.body
        if place not in there:
            wrong.append(f"{name(place)} is not there: {send.body}, acknowledged at {send.at_ms}, is lost")
        elif there[place] != send.body:
            wrong.append(f"{name(place)} is {there[place]} and was acknowledged as {send.body}")
    return shown(wrong)


def check_copies(history: History, log: Log) -> list[str]:
    """No body is there more often than a client sent it, and none that nobody sent."""
    tries = Counter({send.body: send.tries for send in history.acknowledged})
    tries.update({send.body: send.tries for send in history.failed})
    copies = Counter(body for messages in log.values() for _, body in messages)
    return shown(
        [
            f"{body} is there {count} times and was sent {tries[body]} times"
            for body, count in copies.items()
            if count > tries[body]
        ]
    )


def check_order(sends: Iterable[Acknowledged]) -> list[str]:
    """What one thread sent later stands later in each queue. Bodies: ``load.thread.number....``."""
    last: dict[tuple[str, int], Acknowledged] = {}
    wrong = []
    for send in sends:
        lane, _, number = send.body.rstrip(".").rpartition(".")
        before = last.get((lane, send.queue_id))
        last[lane, send.queue_id] = send
        if before is None:
            continue
        number_before = before.body.rstrip(".").rpartition(".")[2]
        if (int(number) > int(number_before)) != (send.offset > before.offset):
            wrong.append(f"{before.body} at {before.offset}, then {send.body} at {send.offset}")
    return shown(wrong)


def check_delivered(deliveries: Iterable[Delivered], log: Log) -> list[str]:
    """The consumer got every message of the log, and nothing that is not in it: nothing uncommitted."""
    there = {(queue_id, offset): body for queue_id, messages in log.items() for offset, body in messages}
    wrong = []
    got = set()
    for seen in deliveries:
        place = seen.queue_id, seen.offset
        got.add(place)
        if there.get(place) != seen.body:
            wrong.append(f"{name(place)} was delivered as {seen.body} and is {there.get(place)}")
    missing = [
        f"{name(place)} was never delivered: {body}" for place, body in there.items() if place not in got
    ]
    return shown(wrong) + shown(missing)


def check_progress(commits: Iterable[Committed], found: Mapping[int, int], limit_ms: int) -> list[str]:
    """What a new master has forgotten of a group's progress was made within ``limit_ms`` of the last of it.

    ``found`` is each queue's offset at the new master before anybody told it another one, -1 for none. While
    there was no master there was no progress: what separates two commits counts up to STANDSTILL_MS.
    """
    commits = sorted(commits, key=lambda commit: commit.at_ms)
    wrong = []
    for queue_id, offset in found.items():
        lost = [
            i for i, commit in enumerate(commits) if commit.queue_id == queue_id and commit.offset > offset
        ]
        times = [commit.at_ms for commit in commits[min(lost) :]] if lost else []
        span_ms = sum(min(then - now, STANDSTILL_MS) for now, then in pairwise(times))
        if span_ms > limit_ms:
            wrong.append(f"queue {queue_id}: progress fell to {offset}, and loses {span_ms} ms of it")
    return wrong


def name(place: tuple[int, int]) -> str:
    return f"queue {place[0]} offset {place[1]}"


def shown(wrong: list[str]) -> list[str]:
    return wrong if len(wrong) <= SHOWN else [*wrong[:SHOWN], f"... and {len(wrong) - SHOWN} like this"]
