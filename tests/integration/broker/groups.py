"""Brokers that are the members of one DLedger group, in this process, on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.integration.broker.asking import Asked, settings_for
from tests.ports import free_port

from ledgermq.broker.broker import Broker

SECONDS_MAX = 40


async def until(condition: Callable[[], Any]) -> None:
    """Gives the loop turns until ``condition()`` holds."""
    async with asyncio.timeout(SECONDS_MAX):
        while not condition():  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0.005)


class BrokerGroup:
    """Members n0, n1, n2; each keeps its data in a folder of its name."""

    def __init__(self, folder: Path, size: int = 3, **store: Any) -> None:
        self.folder = folder
        self.ids = [f"n{number}" for number in range(size)]
        self.running: dict[str, Asked] = {}
        self._store = {
            "enable_dleger_commit_log": True,
            "dleger_peers": ";".join(f"{member}-127.0.0.1:{free_port()}" for member in self.ids),
            "flush_disk_type": "SYNC_FLUSH",
            **store,
        }

    async def start(self, *members: str) -> None:
        for member in members or self.ids:
            store = self._store | {"dleger_self_id": member}
            broker = Broker(settings_for(self.folder / member, store))
            await broker.start()
            self.running[member] = Asked(broker)

    async def stop(self, *members: str) -> None:
        for member in members or list(self.running):
            asked = self.running.pop(member)
            await asked.client.close()
            await asked.broker.stop()

    async def master(self) -> Asked:
        """The one that takes messages, as soon as there is one."""
        await until(lambda: any(asked.broker.is_master for asked in self.running.values()))
        return next(asked for asked in self.running.values() if asked.broker.is_master)

    def name_of(self, asked: Asked) -> str:
        return next(member for member, one in self.running.items() if one is asked)

    async def settled(self) -> Asked:
        """The master, as soon as all who run have applied the same."""
        master = await self.master()

        def equal() -> bool:
            ends = [asked.broker.store.max_log_offset for asked in self.running.values()]
            return len(set(ends)) == 1 and master.broker.is_master

        await until(equal)
        return master


@asynccontextmanager
async def group_of(folder: Path, size: int = 3, **store: Any) -> AsyncIterator[BrokerGroup]:
    group = BrokerGroup(folder, size, **store)
    try:
        await group.start()
        yield group
    finally:
        await group.stop()
