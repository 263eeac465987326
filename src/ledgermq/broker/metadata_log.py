"""The journal's records on their way to the replicated log and back, and its state in one file.

Records are messages of the system topic METADATA_TOPIC, so every replica has them in a queue of its own. The
file ``config/replicatedMetadata.json`` holds what the first ``offset`` of them state, and what a Java master
told besides; at the start it is loaded and the rest of the queue replayed. Java's files beside it
(``topics.json`` and so on) are written as ever, for a Java broker that goes on with the directory; after one
did, the journal begins with them.

Rules of this file: every record is given to the journal once and in the order of the log.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Final

import msgspec

from ledgermq.broker.commits import Commits
from ledgermq.broker.metadata_journal import MetadataJournal
from ledgermq.broker.metadata_records import MetadataError, TopicsRecord, encode_snapshot
from ledgermq.broker.persistence import ConfigFiles
from ledgermq.broker.store_jobs import StoreJobs
from ledgermq.message import names
from ledgermq.message.properties import PropertyScan
from ledgermq.remoting.codes import ResponseCode
from ledgermq.remoting.command import PeerError
from ledgermq.runtime.state_file import load_state_file, write_state_file
from ledgermq.store.errors import StoreError
from ledgermq.store.message_store import Job
from ledgermq.store.replicated_store import ReplicatedStore

log: Final = logging.getLogger("ledgermq.broker")

FILE_NAME: Final = "replicatedMetadata.json"


class MasterRecord(msgspec.Struct, tag="master", tag_field="kind"):
    """A record of its own kind: who takes messages from here on."""

    address: str


_MASTER: Final = b'{"kind":"master"'


class MetadataFile(msgspec.Struct, rename="camel"):
    """``replicatedMetadata.json``: the state after ``offset`` records."""

    offset: int
    state: msgspec.Raw
    master_address: str = ""
    """As the latest of these records names it."""


class GroupFiles(ConfigFiles):
    """Java's files of a member of a group. A change is safe when the group has it; the files follow."""

    commits: Commits

    async def save(self, name: str) -> None:
        """Return when all changes so far, but for progress, are committed. Raises PeerError when that is not
        known."""
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.commits.on_commit(lambda safe: None if done.done() else done.set_result(safe))
        if not await done:
            remark = "the group has not acknowledged the change, which may or may not come into force"
            raise PeerError(ResponseCode.SERVICE_NOT_AVAILABLE, remark)


class MetadataLog:
    """``host``: this broker's address as records carry it. ``on_deleted`` hears of a topic whose queues are
    gone, or are others now."""

    def __init__(
        self,
        store: ReplicatedStore,
        commits: Commits,
        executor: Executor,
        directory: Path,
        host: bytes,
        now_ms: Callable[[], int],
        on_deleted: Callable[[bytes], None],
    ) -> None:
        self._store = store
        self.on_deleted = on_deleted
        self._commits = commits
        self._executor = executor
        self._path = directory / FILE_NAME
        self._host = host
        self._now_ms = now_ms
        self._queue = store.queue(names.METADATA_TOPIC.encode(), 0)
        self._scan = PropertyScan()
        self._scan.scan(b"")
        self._offset = 0
        """Records given to the journal."""
        self._saved_offset = -1
        self._saved_adoptions = 0
        """What the file has of a Java master's tables, which no record states."""
        self._loaded_offset = -1
        """Of the file that was found, -1 without one."""
        self._saving: asyncio.Future[None] | None = None
        """The write under way."""
        self._deletions: deque[Job] = deque()
        """What the store still has to do for topics that were deleted; one that fails is tried again."""
        self._jobs: StoreJobs | None = None
        self.master_address = ""
        """Of the latest that the log names."""
        store.entries.watched = names.METADATA_TOPIC.encode()
        store.entries.on_watched = self._applied

    # ---- the start ----

    @staticmethod
    def saved(directory: Path) -> bool:
        """Whether there is a state file."""
        return (directory / FILE_NAME).exists()

    def recover(self, journal: MetadataJournal, jobs: StoreJobs, ours: bool) -> None:
        """Bring the journal to what is applied in the store. ``ours``: nobody else has written the store
        since. Blocks; raises ValueError when the state file cannot be read, StoreError, OSError."""
        self._journal = journal
        self._jobs = jobs
        end = int(self._queue.max_offset)
        self._offset = int(self._queue.min_offset) if ours else end
        if ours:
            file = self._load()
            if file is not None:
                journal.load(bytes(file.state))
                self.master_address = file.master_address
                self._saved_offset = self._loaded_offset = file.offset
                # After a power failure the file may know of more records than the log.
                self._offset = min(max(self._offset, file.offset), end)
        deleted: dict[bytes, int] = {}
        while self._offset < end:
            record = self._store.record_at(self._queue, self._offset)
            self._offset += 1
            if record is None:
                continue
            deleted |= dict.fromkeys(self._replay(record.body, record.log_offset), record.log_offset)
        # Before the state file says that all this is done.
        self._store.settle_deletions(deleted)
        if self._saved_offset < 0:
            # From now on a start begins here: Java's files may be behind what is replayed from now on.
            self.save()

    def remember(self, file: MetadataFile) -> None:
        """The group's newest snapshot, at the start: it may know what neither the file does, for there was no
        time to write it, nor the log any more. Raises MetadataError."""
        if file.offset > self._loaded_offset:
            self._journal.load(bytes(file.state))
            self.master_address = file.master_address
            for offset in range(max(file.offset, int(self._queue.min_offset)), int(self._queue.max_offset)):
                record = self._store.record_at(self._queue, offset)
                if record is not None:
                    self._replay(record.body, record.log_offset)
        # The queue may end before, and goes on behind that.
        self._offset = max(self._offset, file.offset)

    # ---- towards the log ----

    def lead(self, address: str) -> None:
        """This broker takes messages from here on: the others are to know where. Raises PeerError."""
        self.append(msgspec.json.encode(MasterRecord(address)))

    def append(self, body: bytes) -> None:
        """Append a record. Raises PeerError when this broker does not lead."""
        now_ms = self._now_ms()
        try:
            self._store.entries.append(
                self._queue, 0, 0, now_ms, self._host, now_ms, 0, 0, body, b"", self._scan
            )
        except StoreError as error:
            raise PeerError(ResponseCode.SERVICE_NOT_AVAILABLE, str(error)) from error
        self._commits.appended()

    def log_offsets(self) -> None:
        """Append the progress of consumers since the last call, a few times a second."""
        try:
            self._journal.log_offsets()
        except PeerError as error:
            log.info("progress of consumers is not logged now: %s", error.remark)

    # ---- from the log ----

    def _applied(self, log_offset: int, body: bytes) -> None:
        self._offset = int(self._queue.written_offset)
        removed = self._replay(body, log_offset)
        if removed and self._jobs is not None:
            self._deletions += self._store.topics_deleted(removed, log_offset)
            self.go_on_deleting()
            for topic in removed:
                self.on_deleted(topic)

    def go_on_deleting(self) -> None:
        """Have the store do what it still has to."""
        if self._jobs is not None:
            self._jobs.start([self._delete] * len(self._deletions))

    def _delete(self) -> None:
        """The next thing, on the store's worker."""
        if self._deletions:
            self._deletions[0]()
            self._deletions.popleft()

    @property
    def may_save(self) -> bool:
        """The store's part of what the file, or a snapshot, would say is durable: a start does not come to it
        again."""
        return not self._deletions

    def _replay(self, body: bytes, log_offset: int) -> list[bytes]:
        """Give a record to the journal; the topics that it deletes."""
        if body.startswith(_MASTER):
            try:
                self.master_address = msgspec.json.decode(body, type=MasterRecord).address
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                # A Java master lets anybody send to this topic: that must not stop every other member.
                log.error("metadata record at %d is passed over: %s", log_offset, error)
            return []
        try:
            record = self._journal.committed(body)
        except MetadataError as error:
            log.error("metadata record at %d is passed over: %s", log_offset, error)
            return []
        if record is None:
            log.warning("metadata record at %d is of a kind that only a newer version knows", log_offset)
            return []
        return [topic.encode() for topic in record.removed] if isinstance(record, TopicsRecord) else []

    # ---- snapshots ----

    def snapshot(self) -> Callable[[], MetadataFile]:
        """What the file is to hold now; it is encoded by whoever calls what is returned, on a worker."""
        offset, state, master = self._offset, self._journal.snapshot(), self.master_address
        return lambda: MetadataFile(offset, msgspec.Raw(encode_snapshot(state)), master)

    def install(self, file: MetadataFile, deletions: list[Job]) -> list[Job]:
        """A snapshot of the group replaces the state, and the store has done so but for ``deletions``;
        returns jobs that see to these. Raises MetadataError."""
        self._deletions += deletions
        self._journal.load(bytes(file.state))
        self.master_address = file.master_address
        self._offset = file.offset
        self._queue = self._store.queue(names.METADATA_TOPIC.encode(), 0)
        return [self._delete] * len(self._deletions)

    def save_soon(self) -> None:
        """Write the file on a worker if there is something new, or try again what it has to wait for."""
        if not self.may_save:
            self.go_on_deleting()
            return
        if self._saving is not None or self._is_saved:
            return
        loop = asyncio.get_running_loop()
        offset, adoptions = self._offset, self._journal.adoptions
        self._saving = loop.run_in_executor(self._executor, self._encode_and_write, self.snapshot())
        self._saving.add_done_callback(lambda done: self._written(offset, adoptions, done))

    @property
    def _is_saved(self) -> bool:
        return (self._offset, self._journal.adoptions) == (self._saved_offset, self._saved_adoptions)

    def _written(self, offset: int, adoptions: int, done: asyncio.Future[None]) -> None:
        self._saving = None
        error = None if done.cancelled() else done.exception()
        if error is None:
            self._saved_offset, self._saved_adoptions = offset, adoptions
        else:
            log.error("%s cannot be written, it will be tried again: %s", self._path, error)

    async def close(self) -> None:
        """Write the file a last time, when the store's jobs have ended. What cannot be written is logged: a
        start replays it."""
        if self._saving is not None:
            await asyncio.wait([self._saving])
        if self.may_save:
            self.save_soon()
        if self._saving is not None:
            await asyncio.wait([self._saving])

    def save(self) -> None:
        """Write the file. Blocks; raises OSError."""
        if not self._is_saved:
            self._encode_and_write(self.snapshot())
            self._saved_offset, self._saved_adoptions = self._offset, self._journal.adoptions

    def _load(self) -> MetadataFile | None:
        return load_state_file(self._path, lambda data: msgspec.json.decode(data, type=MetadataFile))

    def _encode_and_write(self, snapshot: Callable[[], MetadataFile]) -> None:
        self._write(msgspec.json.encode(snapshot()))

    def _write(self, data: bytes) -> None:
        write_state_file(self._path, data)
