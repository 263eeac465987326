"""What the driver tells its core, and when."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any, cast

from ledgermq.dledger.core import Core
from ledgermq.dledger.driver import Driver
from ledgermq.dledger.memory_ledger import MemoryLedger
from ledgermq.dledger.messages import SaveState
from ledgermq.dledger.settings import DLedgerSettings
from ledgermq.dledger.workers import Worker


class HandWorker:
    """Does its jobs when the test says so."""

    def __init__(self) -> None:
        self.jobs: list[tuple[Callable[[], Any], Callable[[Any], None]]] = []

    def run(self, work: Callable[[], Any], then: Callable[[Any], None], failed: object = None) -> None:
        self.jobs.append((work, then))

    def do_one(self) -> None:
        work, then = self.jobs.pop(0)
        then(work())


def test_a_flush_that_ends_while_the_log_is_being_changed_is_heard_afterwards_anew():
    async def play() -> None:
        ledger, worker = MemoryLedger(), HandWorker()
        settings = DLedgerSettings(peers="n0-h:1;n1-h:2;n2-h:3")

        def make_core(saved: tuple[int, str]) -> Core:
            return Core(
                "n0",
                ("n0", "n1", "n2"),
                settings.core_config(),
                random.Random(1),
                now_ms=0,
                term=saved[0],
                vote=saved[1],
                first_index=0,
                last_index=-1,
                runs=[],
            )

        driver = Driver(
            settings,
            ledger,
            cast(Worker, worker),
            lambda: 0,
            make_core,
            at_end=lambda core, now_ms: False,
            send=lambda to, message: None,
            forget=lambda: None,
            anew=lambda code: None,
            failed=lambda error: None,
        )
        driver.start((1, ""))
        assert driver.core is not None
        heard: list[tuple[int, int]] = []
        driver.core.persisted = lambda index, term: heard.append((index, term))  # type: ignore[method-assign]
        ledger.append_bodies(0, 1, [b"entry"])
        driver.carry[SaveState](SaveState(2, "n1"))
        driver._flushed(0, 1)
        assert heard == []
        worker.do_one()  # term and vote are saved
        assert set(heard) == {(0, 1)}
        driver.stop()

    asyncio.run(play())
