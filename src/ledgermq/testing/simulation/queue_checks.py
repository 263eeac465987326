"""What must hold of messages in queues, whoever leads.

==========================  ================================================================================
rule                        what is looked at
==========================  ================================================================================
queues have no gap          a committed message has the next offset of its queue, and lies where it says
a message is there once     no message is in the log twice
queues are the log          a replica's queues hold exactly the messages of the entries it has applied
only what is committed      what a replica finds applied when it starts was committed
places are foreseen         a leader's entries lie where their records say
messages can be read        each is found by queue offset, by log offset and by key
told places hold            an acknowledged message lies at the queue offset that its sender was told, those
                            of a batch one behind the other
what waited is delivered    what the offset of a delay level counts is in the log a second time before
a stop loses nothing        who was stopped cleanly starts with all that it had applied
==========================  ================================================================================

The queues that all must have follow from the committed log alone, so an acknowledged message, which is a
committed entry (checks.py), is at its queue offset on every replica that has applied it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Final

import msgspec

from ledgermq.dledger.messages import NO_INDEX
from ledgermq.message import names
from ledgermq.message.record import RecordError, decode_record, enters_queue
from ledgermq.store.consume_queue import ConsumeQueue
from ledgermq.store.reading import GetStatus
from ledgermq.store.replicated_store import ReplicatedStore
from ledgermq.testing.simulation.checks import Violation
from ledgermq.testing.simulation.deliveries import SCHEDULE_TOPIC

Place = tuple[bytes, int]

DELIVERED: Final = b"D"
"""What the keys of waiting messages begin with once they are delivered, perhaps more than once."""
_METADATA: Final = names.METADATA_TOPIC.encode()


class _Queue:
    """What a queue holds: in order, the index of the entry, its log offset and its key. It lives since its
    topic was deleted by entry ``since``; ``base`` is its first message's offset."""

    def __init__(self, since: int) -> None:
        self.since = since
        self.base = 0
        self.indexes: list[int] = []
        self.log_offsets: list[int] = []
        self.keys: list[bytes] = []

    @property
    def end(self) -> int:
        return self.base + len(self.indexes)

    def end_after(self, applied_index: int) -> int:
        count = bisect_right(self.indexes, applied_index)
        return self.base + count if count else 0


class QueueChecks:
    def __init__(self, find_keys: bool) -> None:
        """``find_keys``: a broker whose disk is full delivers messages without indexing them."""
        self._find_keys = find_keys
        self._queues: dict[Place, list[_Queue]] = {}
        """The lives of each queue."""
        self._applied: dict[str, int] = {}
        """What a member has ever applied."""
        self._keys: set[bytes] = set()
        self.messages = 0

    def committed(self, index: int, log_offset: int, body: bytes) -> None:
        """Entry ``index``, whose body lies at ``log_offset``, was committed as the next one."""
        try:
            record = decode_record(body, check_crc=True)
        except RecordError:
            return
        if not enters_queue(record.sys_flag):
            return
        lives = self._queues.setdefault((record.topic, record.queue_id), [_Queue(NO_INDEX)])
        queue = lives[-1]
        if not queue.indexes and any(record.queue_offset == life.end for life in lives):
            queue.base = record.queue_offset  # It got its offset before the deletion was committed.
        if record.log_offset != log_offset or record.queue_offset != queue.end:
            raise Violation(
                "queues have no gap",
                f"entry {index} at {log_offset} says that it is at {record.log_offset} and message"
                f" {record.queue_offset} of {record.topic!r}/{record.queue_id}, which has"
                f" {queue.end}",
            )
        key = _key(record.properties)
        if key and key in self._keys and not key.startswith(DELIVERED):
            raise Violation("a message is there once", f"{key!r} is in entry {index} again")
        self._keys.add(key)
        self.messages += 1
        queue.indexes.append(index)
        queue.log_offsets.append(log_offset)
        queue.keys.append(key)
        if record.topic == _METADATA:
            self._stated(index, record.body)

    def _stated(self, index: int, body: bytes) -> None:
        stated = msgspec.json.decode(body)
        if stated["kind"] == "delays":
            for level, offset in stated.get("items", {}).items():
                self._delivers(index, int(level), offset)
        for topic in stated.get("removed", ()) if stated["kind"] == "topics" else ():
            for (known, _), lives in self._queues.items():
                if known == topic.encode():
                    lives.append(_Queue(index))

    def _delivers(self, index: int, level: int, offset: int) -> None:
        waiting = self._queues.get((SCHEDULE_TOPIC, level - 1), [_Queue(NO_INDEX)])[-1].keys
        missing = [key for key in waiting[:offset] if DELIVERED + key[1:] not in self._keys]
        if missing or offset > len(waiting):
            raise Violation(
                "what waited is delivered",
                f"entry {index} says that {offset} of {len(waiting)} messages of delay level {level} are"
                f" delivered, but for {missing}",
            )

    def waits_no_more(self, node: str, level: int, offset: int, log_begin: int) -> None:
        """A leader goes on without a waiting message: its log must not have that any more."""
        waiting = self._queues[SCHEDULE_TOPIC, level - 1][-1]
        if waiting.log_offsets[offset] >= log_begin:
            raise Violation(
                "what waited is delivered", f"{node} does not find message {offset} of delay level {level}"
            )
        self._keys.add(DELIVERED + waiting.keys[offset][1:])

    def foreseen(self, node: str, foreseen_end: int, end: int) -> None:
        if foreseen_end != end:
            raise Violation(
                "places are foreseen", f"{node}'s log ends at {end}, its records say {foreseen_end}"
            )

    def recovered(self, node: str, index: int, committed: bool) -> None:
        if not committed:
            raise Violation("only what is committed", f"{node} starts with entry {index} applied")

    def stopped(self, node: str, stopped_index: int | None, index: int) -> None:
        """``node`` starts with entry ``index`` applied. It was stopped cleanly after ``stopped_index``; its
        index of keys may have known more to be committed."""
        if stopped_index is not None and index < stopped_index:
            raise Violation(
                "a stop loses nothing", f"{node} had applied {stopped_index} and starts with {index}"
            )

    def acknowledged(self, place: Place, first_offset: int, keys: list[bytes]) -> None:
        """A sender is told that its messages lie in a queue from ``first_offset`` on."""
        for life in self._queues.get(place, ()):
            at = first_offset - life.base
            if at >= 0 and life.keys[at : at + len(keys)] == keys:
                return
        raise Violation("told places hold", f"{keys} are not at {first_offset} of {place}")

    def _lives(self, node: str, applied_index: int) -> Iterator[tuple[Place, _Queue]]:
        """The queues as they must be after entry ``applied_index``. Left out are those that the member had
        deleted before it ended: they may be gone already, and will be in a moment."""
        known = self._applied[node] = max(applied_index, self._applied.get(node, NO_INDEX))
        for place, lives in self._queues.items():
            life = next(queue for queue in reversed(lives) if queue.since <= applied_index)
            if not any(applied_index < queue.since <= known for queue in lives):
                yield place, life

    def ends(self, node: str, store: ReplicatedStore, applied_index: int) -> None:
        """Every queue ends where it must, after each batch of entries."""
        for place, life in self._lives(node, applied_index):
            queue = store.find_queue(*place)
            end = 0 if queue is None else int(queue.max_offset)
            must = life.end_after(applied_index)
            if end != must or (queue is not None and queue.next_offset < queue.written_offset):
                raise Violation(
                    "queues are the log",
                    f"{node} has {end} messages in {place} after entry {applied_index}, it must have {must}",
                )

    def whole(
        self, node: str, store: ReplicatedStore, applied_index: int, log_begin: int, newest: int
    ) -> None:
        """What is in the log can be read: the ``newest`` messages of each queue are."""
        self.ends(node, store, applied_index)
        for place, life in self._lives(node, applied_index):
            queue = store.find_queue(*place)
            if queue is not None:
                self._read(node, store, queue, life, log_begin, int(queue.max_offset) - newest)

    def _read(
        self,
        node: str,
        store: ReplicatedStore,
        queue: ConsumeQueue,
        expected: _Queue,
        log_begin: int,
        first_offset: int,
    ) -> None:
        base = expected.base
        must = base + bisect_right(expected.log_offsets, log_begin)
        if queue.min_offset > must:
            raise Violation(
                "messages can be read",
                f"{node} begins {queue.topic!r}/{queue.queue_id} at {queue.min_offset}, the log has all"
                f" from {must}",
            )
        # A queue made again may begin with a hole: what was given out before the deletion was applied.
        offset = max(int(queue.min_offset), first_offset, base)
        while offset < queue.max_offset:
            result = store.get(queue, offset, 32, 1 << 20)
            at = 0
            while at < len(result.payload):
                record = decode_record(result.payload, at, check_crc=True)
                key = _key(record.properties)
                if record.queue_offset < offset or expected.keys[record.queue_offset - base] != key:
                    raise Violation(
                        "messages can be read",
                        f"{node} reads {key!r} at {record.queue_offset} of {queue.topic!r}/{queue.queue_id}",
                    )
                if record.queue_offset > offset:
                    break
                self._find(node, store, queue, record.log_offset, key)
                at += record.size
                offset += 1
            if result.status is not GetStatus.FOUND or at < len(result.payload):
                if expected.log_offsets[offset - base] >= log_begin:
                    raise Violation(
                        "messages can be read",
                        f"{node} does not read {offset} of {queue.topic!r}/{queue.queue_id}: {result.status}",
                    )
                offset = max(offset + 1, int(result.next_offset))

    def _find(
        self, node: str, store: ReplicatedStore, queue: ConsumeQueue, log_offset: int, key: bytes
    ) -> None:
        if store.index is None or not self._find_keys or not key:
            return
        if log_offset not in store.query_keys(queue.topic, key, 64, 0, 1 << 60):
            raise Violation("messages can be read", f"{node} does not find {key!r} at {log_offset}")


def _key(properties: bytes) -> bytes:
    """Empty for records of metadata."""
    return properties.partition(b"\x02")[0].partition(b"\x01")[2]
