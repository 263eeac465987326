"""What the driver tells its core, and when."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any, cast

from ledgermq.dledger.codes import PushKind
from ledgermq.dledger.core import Core
from ledgermq.dledger.driver import Driver
from ledgermq.dledger.memory_ledger import MemoryLedger
from ledgermq.dledger.messages import Push, SaveState
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


def ledger_with(body: bytes) -> MemoryLedger:
    ledger = MemoryLedger()
    ledger.append_bodies(0, 1, [body])
    return ledger


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
            opening_body=lambda end_pos: b"",
        )
        driver.start((1, ""))
        core = driver.core
        assert core is not None
        entries = ledger_with(b"entry").read(0, 100)
        core.receive(0, "n1", Push(PushKind.APPEND, 1, -1, -1, -1, entries))
        core.take()
        ledger.append(entries)
        driver.carry[SaveState](SaveState(2, "n1"))
        driver._flushed(0, 1)
        assert core.persisted_index == -1
        worker.do_one()  # term and vote are saved
        assert core.persisted_index == 0
        driver.stop()

    asyncio.run(play())
