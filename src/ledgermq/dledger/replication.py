"""What the core wants sent to the other members, carried out: over links, with entries from the ledger.

Entries that are not in memory are read on a worker. Meanwhile the core asks for nothing else for this
follower, unless it starts over with it: then what was read is thrown away.

Rules of this file: it is compiled; nothing is decided here, and nothing waited for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final

from ledgermq.dledger.codes import DLedgerCode, PushKind
from ledgermq.dledger.driver import Event
from ledgermq.dledger.ledger import Ledger, LedgerError
from ledgermq.dledger.log_reader import LogReader
from ledgermq.dledger.messages import (
    Entries,
    InstallSnapshotReply,
    Message,
    Push,
    SendEntries,
    SendSnapshot,
)
from ledgermq.dledger.peer_link import PeerLink
from ledgermq.dledger.snapshot_transfer import SnapshotSender
from ledgermq.dledger.snapshots import EmptySnapshot, OpenSnapshot, SnapshotDirectory
from ledgermq.dledger.workers import Worker

log: Final = logging.getLogger("ledgermq.dledger")


class Replication:
    """Sends for one member. ``tell`` lets the core hear of what ends later, ``failed`` the node of a log that
    cannot be read."""

    def __init__(
        self,
        links: Mapping[str, PeerLink],
        ledger: Ledger,
        reader: LogReader,
        worker: Worker,
        snapshots: SnapshotDirectory | None,
        push_bytes_max: int,
        tell: Callable[[Event], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._links = links
        self._ledger = ledger
        self._reader = reader
        self._worker = worker
        self._snapshots = snapshots
        self._push_bytes_max = push_bytes_max
        self._tell = tell
        self._failed = failed
        self._asked: dict[str, int] = {}
        """How many pushes the core has asked for: a read that is not for the last one comes too late."""
        self._push: Push | None = None
        self._senders: dict[str, SnapshotSender] = {}

    def send(self, to: str, message: Message) -> None:
        link = self._links[to]
        if isinstance(message, Push):
            self._asked[to] = self._asked.get(to, 0) + 1
            if link.java and message.kind in (PushKind.COMPARE, PushKind.TRUNCATE):
                self._send_with_entry(link, message)
                return
        link.send(message)

    def _send_with_entry(self, link: PeerLink, push: Push) -> None:
        """Java compares whole entries. Before the log's begin, it is to begin with its first one."""
        index = max(push.prev_index, self._ledger.first_index)
        entry = self._reader.recent(index, 1, index)
        if entry is not None:
            link.send(push, entry)
        else:
            self._reader.fetch(index, 1, index, lambda read: link.send(push, read), self._unreadable)

    # ---- entries ----

    def send_entries(self, effect: SendEntries, last_index: int) -> int | None:
        """Send as many entries as one push takes; returns the index of the last one. None: they are on disk,
        and the core will be told when they have left."""
        to = effect.to
        asked = self._asked[to] = self._asked.get(to, 0) + 1
        entries = self._reader.recent(effect.first_index, self._push_bytes_max, last_index)
        if entries is not None:
            self._send_push(effect, entries)
            return entries.last_index

        def read(entries: Entries) -> None:
            if self._asked[to] == asked:
                self._send_push(effect, entries)
                self._tell(lambda core, _: core.pushed(to, entries.last_index))

        self._reader.fetch(effect.first_index, self._push_bytes_max, last_index, read, self._unreadable)
        return None

    def _send_push(self, effect: SendEntries, entries: Entries) -> None:
        push = self._push
        if push is None or push.entries is not entries or push.commit_index != effect.commit_index:
            push = Push(
                PushKind.APPEND,
                effect.term,
                effect.first_index - 1,
                effect.prev_term,
                effect.commit_index,
                entries,
            )
            self._push = push  # the same object for the next follower is encoded once
        self._links[effect.to].send(push)

    def _unreadable(self, error: BaseException) -> None:
        if isinstance(error, LedgerError) and error.code != DLedgerCode.DISK_ERROR:
            log.info("entries to push are gone meanwhile: %s", error)
        else:
            self._failed(error)

    def forget(self) -> None:
        """The term is over, or the log was cut: what is being read or sent does not count any more."""
        self._push = None
        for to in self._asked:
            self._asked[to] += 1
        for sender in self._senders.values():
            sender.cancel()
        self._senders.clear()

    # ---- snapshots ----

    def send_snapshot(self, effect: SendSnapshot, base_term: int) -> None:
        """Send the newest snapshot that reaches the log's begin."""
        to = effect.to
        running = self._senders.pop(to, None)
        if running is not None:
            running.cancel()
        sender = SnapshotSender(effect.term, self._links[to].send, lambda it, ok: self._sent(to, it, ok))
        self._senders[to] = sender
        first_index = self._ledger.first_index
        log.info("member %s needs a snapshot: the log begins with entry %d", to, first_index)

        def find() -> tuple[OpenSnapshot | EmptySnapshot | None, int]:
            if self._snapshots is None:
                found: OpenSnapshot | EmptySnapshot | None = EmptySnapshot(first_index - 1, base_term)
            else:
                found = self._snapshots.newest(first_index - 1)
            return found, -1 if found is None else self._next_pos(found)

        def found(result: tuple[OpenSnapshot | EmptySnapshot | None, int]) -> None:
            opened, next_pos = result
            if opened is None or self._senders.get(to) is not sender:
                if opened is not None:
                    opened.close()
                self._sent(to, sender, False)
                return
            sender.start(opened, self._worker, next_pos)

        self._worker.run(find, found, lambda error: self._sent(to, sender, False))

    def _next_pos(self, opened: OpenSnapshot | EmptySnapshot) -> int:
        """Where the entry after the snapshot can start. On the worker."""
        if opened.meta.next_pos >= 0:
            return opened.meta.next_pos
        index = opened.meta.last_included_index + 1
        if index <= self._ledger.last_index:
            return self._ledger.read(index, 1, index).first_pos
        return self._ledger.end_pos

    def snapshot_replied(self, sender: str, reply: InstallSnapshotReply) -> None:
        if sender in self._senders:
            self._senders[sender].replied(reply)

    def _sent(self, to: str, sender: SnapshotSender, ok: bool) -> None:
        if self._senders.get(to) is sender:
            del self._senders[to]
            log.log(
                logging.INFO if ok else logging.WARNING,
                "the snapshot for %s %s",
                to,
                "is installed" if ok else "could not be installed",
            )
            self._tell(lambda core, now_ms: core.snapshot_sent(now_ms, to, ok))
