"""Where a group's offsets are kept: with the brokers when its members share the queues, in a local file when
each of them reads all (Java: ``RemoteBrokerOffsetStore``, ``LocalFileOffsetStore``)."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

from ledgermq.client.errors import ClientError
from ledgermq.client.group_calls import GroupCalls
from ledgermq.client.queues import MessageQueue
from ledgermq.remoting.json_body import (
    JsonError,
    decode_object_map,
    encode_json,
    encode_object_map,
    parse_json,
)

log: Final = logging.getLogger("ledgermq.client")


class OffsetStore(Protocol):
    """Keeps the offsets of one group."""

    async def read(self, queue: MessageQueue) -> int | None:
        """Where to go on with ``queue``; None when nothing is kept. Raises ClientError when it cannot say."""

    async def write(self, offsets: Mapping[MessageQueue, int], *, wait: bool) -> None:
        """Keep ``offsets``; a failure is logged, for the next write comes. ``wait`` until they are kept."""


class BrokerOffsets:
    """Offsets kept by the brokers of the queues."""

    def __init__(self, calls: GroupCalls) -> None:
        self._calls = calls

    async def read(self, queue: MessageQueue) -> int | None:
        return await self._calls.committed_offset(queue)

    async def write(self, offsets: Mapping[MessageQueue, int], *, wait: bool) -> None:
        async def commit(queue: MessageQueue, offset: int) -> None:
            try:
                await self._calls.commit_offset(queue, offset, wait=wait)
            except ClientError as error:
                log.warning("offset %d of %s not committed: %s", offset, queue, error)

        await asyncio.gather(*(commit(queue, offset) for queue, offset in offsets.items()))


class FileOffsets:
    """Offsets kept in a file, in the form in which Java's clients keep them."""

    def __init__(self) -> None:
        self._path = Path()
        self._offsets: dict[MessageQueue, int] = {}
        self._lock = asyncio.Lock()

    async def open(self, path: Path) -> None:
        """Read the file at ``path``, if there is one. Raises ClientError when it is damaged."""
        self._path = path
        self._offsets = await asyncio.to_thread(self._load)

    async def read(self, queue: MessageQueue) -> int | None:
        return self._offsets.get(queue)

    async def write(self, offsets: Mapping[MessageQueue, int], *, wait: bool) -> None:
        async with self._lock:
            if all(self._offsets.get(queue) == offset for queue, offset in offsets.items()):
                return
            self._offsets.update(offsets)
            body = encode_json({"offsetTable": encode_object_map(sorted(self._offsets.items()))})
            try:
                await asyncio.to_thread(self._save, body)
            except OSError as error:
                log.warning("offsets not kept in %s: %s", self._path, error)

    def _load(self) -> dict[MessageQueue, int]:
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise ClientError(f"offsets cannot be read from {self._path}: {error}") from None
        try:
            body = parse_json(data)
            return decode_object_map(
                body.get("offsetTable") if isinstance(body, dict) else None, MessageQueue, int
            )
        except JsonError as error:
            raise ClientError(f"{self._path} holds no offsets: {error}; remove it to begin anew") from None

    def _save(self, body: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_suffix(".part")
        with part.open("wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        # Renamed over the old file: a crash leaves the old offsets or the new ones, never half a file.
        part.replace(self._path)
