"""Replicas of one log in memory: a ledger and a store over it, as a broker in a group has them."""

from __future__ import annotations

from tests.crash.store.sim_disk import SimDisk
from tests.unit.store.stores import BEGIN_MS, HOST, config

from ledgermq.broker.committed_log import committed_log
from ledgermq.dledger.file_ledger import FileLedger
from ledgermq.dledger.messages import Entries
from ledgermq.message.properties import PropertyScan
from ledgermq.store.consume_queue import ConsumeQueue
from ledgermq.store.entry_log import EntryLog
from ledgermq.store.replicated_store import ReplicatedStore

DIRECTORY = "/store/dledger-n0"
FILE_BYTES = 4096
QueueFacts = tuple[list[int], bytes]
"""Minimum and maximum offset; the units that readers see."""


class Replica:
    """``term`` is that in which it leads. Entries come by :meth:`propose` or :meth:`copy`."""

    def __init__(self, disk: SimDisk | None = None, first_pos: int = 0, **settings: object) -> None:
        self.disk = disk or SimDisk(0)
        self._settings = settings
        self._first_pos = first_pos
        self.open()

    def open(self) -> None:
        self.ledger = FileLedger(self.disk, DIRECTORY, FILE_BYTES, 64 * 32, recent_bytes=2048)
        if self._first_pos and self.ledger.last_index < 0 and self.ledger.end_pos == 0:
            self.ledger.reset(-1, -1, self._first_pos)
        self.store = ReplicatedStore(
            config(**self._settings),
            HOST,
            f"{DIRECTORY}/data",
            committed_log(self.ledger, FILE_BYTES),
            self.disk,
        )
        self.report = self.store.open()
        self.applied_index = self.store.applied_index

    @property
    def log(self) -> EntryLog:
        return self.store.entries

    def close(self) -> None:
        self.store.close()
        self.ledger.flush()
        self.ledger.save_checkpoint(self.applied_index)
        self.ledger.close()

    def restart(self) -> None:
        """A clean stop and a start."""
        self.close()
        self.disk.kill()
        self.open()

    def kill(self) -> None:
        self.disk.kill()
        self.open()

    def cut_power(self) -> None:
        self.disk.power_cut()
        self.open()

    # ---- leading ----

    def lead(self, term: int) -> None:
        """Begin a term and, without more ado, have everything applied."""
        self.begin_term(term)
        self.apply()
        self.log.lead(self.ledger.end_pos)

    def begin_term(self, term: int) -> None:
        self.term = term
        self.ledger.append_bodies(self.ledger.last_index + 1, term, [b""])

    def put(
        self,
        topic: bytes = b"T",
        queue_id: int = 0,
        body: bytes = b"body",
        properties: bytes = b"",
        sys_flag: int = 0,
        store_ms: int = BEGIN_MS,
    ) -> int:
        scan = PropertyScan()
        scan.scan(properties)
        queue = self.store.queue(topic, queue_id)
        return int(
            self.log.append(queue, 0, sys_flag, store_ms, HOST, store_ms, 0, 0, body, properties, scan)
        )

    def propose(self) -> list[int]:
        """Write what was gathered; the positions of the entries."""
        bodies = self.log.take_bodies()
        return self.ledger.append_bodies(self.ledger.last_index + 1, self.term, bodies) if bodies else []

    # ---- following ----

    def copy(self, leader: Replica, last_index: int | None = None, max_bytes: int = 1 << 20) -> None:
        """Take over what the leader has, from the first entry that differs."""
        last_index = leader.ledger.last_index if last_index is None else last_index
        index = self.ledger.last_index
        while index >= 0 and leader.ledger.term_at(index) != self.ledger.term_at(index):
            index -= 1
        self.ledger.truncate(index)
        while self.ledger.last_index < last_index:
            self.ledger.append(leader.ledger.read(self.ledger.last_index + 1, max_bytes, last_index))

    def apply(self, last_index: int | None = None, max_bytes: int = 1 << 20) -> list[ConsumeQueue]:
        """These are committed."""
        last_index = self.ledger.last_index if last_index is None else last_index
        grown: list[ConsumeQueue] = []
        while self.applied_index < last_index:
            entries: Entries = self.ledger.read(self.applied_index + 1, max_bytes, last_index)
            grown += self.log.apply(entries.payload, entries.first_pos)
            self.applied_index = entries.last_index
        return grown

    # ---- what is there ----

    def queues(self) -> dict[tuple[bytes, int], QueueFacts]:
        return {
            (queue.topic, int(queue.queue_id)): (
                [int(queue.min_offset), int(queue.max_offset)],
                b"".join(
                    queue.units(offset, 1) for offset in range(int(queue.min_offset), int(queue.max_offset))
                ),
            )
            for queue in self.store.queues.all()
            if queue.max_offset > 0
        }

    def entry_places(self) -> list[int]:
        """Where each entry of the ledger lies."""
        ledger = self.ledger
        return [
            ledger.read(index, 1, index).first_pos
            for index in range(ledger.first_index, ledger.last_index + 1)
        ]
