"""The store, put together: the directory, its files, and the calls that are not on the hot path.

Hot callers use the parts themselves: ``store.log`` to append and commit (store/commit_log.py),
``store.reader`` to pull (store/reading.py), a queue object from :meth:`MessageStore.queue`."""

from __future__ import annotations

from typing import Final

from ledgermq.message.delay_levels import DelayLevels
from ledgermq.message.hashing import hash_more
from ledgermq.message.record import Record
from ledgermq.runtime.config import StoreConfig
from ledgermq.store.commit_log import CommitLog
from ledgermq.store.consume_queue import ConsumeQueue
from ledgermq.store.disk import Disk
from ledgermq.store.errors import StoreError
from ledgermq.store.key_index import KeyIndex
from ledgermq.store.log_files import LogFiles
from ledgermq.store.queue_files import QueueFiles
from ledgermq.store.queue_table import QueueTable
from ledgermq.store.reading import MessageReader, ReadLimits

INDEX_TAG_TYPE: Final = "T"


class MessageStore:
    """A store directory. :meth:`open` before anything else, :meth:`close` after everything."""

    def __init__(self, config: StoreConfig, store_host: bytes, disk: Disk | None = None) -> None:
        """``store_host``: the broker's address as records carry it, 8 or 20 bytes."""
        self.config = config
        self.disk = disk or Disk()
        self.root = config.store_path_root_dir
        log_directory = config.store_path_commit_log or f"{self.root}/commitlog"
        self.index: KeyIndex | None = None
        if config.message_index_enable:
            self.index = KeyIndex(
                self.disk, f"{self.root}/index", config.max_hash_slot_num, config.max_index_num
            )
        log_files = LogFiles(self.disk, log_directory, config.mapped_file_size_commit_log)
        self.log = CommitLog(self.disk, log_files, self.index, store_host)
        self.log.confirm_by_flush = config.flush_disk_type == "SYNC_FLUSH"
        queue_files = QueueFiles(
            self.disk, f"{self.root}/consumequeue", config.mapped_file_size_consume_queue
        )
        self.queues = QueueTable(queue_files, DelayLevels(config.message_delay_level).delays_ms)
        limits = ReadLimits(
            config.max_transfer_bytes_on_message_in_memory,
            config.max_transfer_count_on_message_in_memory,
            config.max_transfer_bytes_on_message_in_disk,
            config.max_transfer_count_on_message_in_disk,
        )
        self.reader = MessageReader(self.log, limits)
        self.get = self.reader.get
        self.record_at = self.reader.record_at
        self.offset_by_time = self.reader.offset_by_time

    def open(self) -> None:
        """Recover what the directory holds and make it ready to be written."""
        self.disk.make_directories(self.log.files.directory)
        self.disk.make_directories(self.queues.files.directory)
        if self.disk.list_directory(self.log.files.directory):
            raise StoreError("recovery of an existing store is not written yet")
        self.log.reserve_first()

    def close(self) -> None:
        """Write and flush everything."""
        while self.log.write_tails(1000):
            pass
        self.log.flush()
        self.queues.files.close()
        if self.index is not None:
            self.index.close()
        self.log.files.close()

    # ---- queues and messages ---------------------------------------------------------------------------

    def queue(self, topic: bytes, queue_id: int) -> ConsumeQueue:
        """The queue, created if there is none."""
        return self.queues.queue(topic, queue_id)

    def find_queue(self, topic: bytes, queue_id: int) -> ConsumeQueue | None:
        return self.queues.find(topic, queue_id)

    def read_at(self, log_offset: int) -> Record | None:
        """The message whose record begins at ``log_offset``, or None. Raises OSError."""
        return self.reader.decode_at(log_offset)

    def query_keys(
        self, topic: bytes, key: bytes, count_max: int, begin_ms: int, end_ms: int, tag: bool = False
    ) -> list[int]:
        """Log offsets of messages of ``topic`` that may carry ``key``, newest first. Raises OSError.

        The index keeps hashes and seconds only: the caller compares the messages.
        """
        if self.index is None:
            return []
        prefix = topic + b"#"
        topic_hash = hash_more(0, prefix, 0, len(prefix))
        return self.index.find(topic_hash, key, count_max, begin_ms, end_ms, tag)

    @property
    def min_log_offset(self) -> int:
        """Where the log begins."""
        segments = self.log.files.segments
        return segments[0].base if segments else self.log.written

    @property
    def max_log_offset(self) -> int:
        """Where the log ends, for readers."""
        return self.log.confirmed

    @property
    def refusal(self) -> str | None:
        """Why no message is taken at present, or None."""
        return self.log.failure or self.log.tail_failure or None
