"""Records that are on disk only: a page fault on the loop would hold up everybody."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor

from ledgermq.store.reading import MessageReader


async def warm_record(reader: MessageReader, executor: Executor, log_offset: int) -> None:
    """Return when the record at ``log_offset`` can be read without waiting for the device: a worker reads
    what is not in memory. Raises OSError."""
    cold = int(reader.cold_at(log_offset))
    while cold >= 0:
        await asyncio.get_running_loop().run_in_executor(executor, reader.warm, cold)
        cold = int(reader.cold_at(log_offset))
