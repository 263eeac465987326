"""Appends to and reads of a group whose members are killed, frozen and cut off: the history is linearizable.

Three processes of ours and four clients; every half second something is done to the members. The history is
checked by porcupine. LEDGERMQ_LINEARIZABILITY_RUNS says how many runs there are (2). Each draws its faults
from a seed, which is in its name; what they meet differs from run to run all the same.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from tests.interop.harness.cluster import ledgermq, tracebacks
from tests.interop.harness.cuttable import Cuttable
from tests.interop.harness.history import History, Operation, Porcupine
from tests.interop.harness.programs import Program
from tests.ports import free_port

from ledgermq.dledger.client import DLedgerClient
from ledgermq.dledger.errors import DLedgerError, NoLeaderError, NotFoundError, RefusedError, UncertainError

RUNS = int(os.environ.get("LEDGERMQ_LINEARIZABILITY_RUNS", "2"))
IDS = ("n0", "n1", "n2")
CLIENTS = 4
FAULTS = 10
GROUP = "history"


@pytest.fixture(scope="module")
def porcupine(tmp_path_factory: pytest.TempPathFactory) -> Porcupine:
    return Porcupine(tmp_path_factory.mktemp("porcupine"))


class Group:
    """Three members, each of which reaches the others through proxies."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {member: free_port() for member in IDS}
        self.peers = self._peers(lambda member: self.ports[member])
        self.links: dict[tuple[str, str], Cuttable] = {}
        self.programs: dict[str, Program] = {}

    def _peers(self, port_of) -> str:
        return ";".join(f"{member}-127.0.0.1:{port_of(member)}" for member in IDS)

    async def start_links(self) -> None:
        for member in IDS:
            for other in IDS:
                if other != member:
                    link = self.links[member, other] = Cuttable(self.ports[other])
                    await link.start()

    def start(self, member: str) -> None:
        def port_of(other: str) -> int:
            return self.ports[member] if other == member else self.links[member, other].port

        argv = ledgermq("dledger", "server", "--group", GROUP, "--id", member)
        argv += ["--peers", self._peers(port_of), "--store", str(self.folder)]
        argv += ["--set", "mappedFileSizeForEntryData=262144", "--set", "mappedFileSizeForEntryIndex=32768"]
        path = self.folder / member / "ledgermq.out"
        self.programs[member] = Program(f"member {member}", argv, log_path=path)

    def signal(self, member: str, number: int) -> None:
        os.kill(self.programs[member].pid, number)

    def kill(self, member: str) -> None:
        self.programs[member].kill()

    async def stop(self) -> None:
        for program in self.programs.values():
            if program.alive:
                program.kill()
        for link in self.links.values():
            await link.stop()


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Group]:
    group = Group(folder)
    try:
        await group.start_links()
        for member in IDS:
            group.start(member)
        yield group
    finally:
        await group.stop()


async def use(
    history: History, number: int, group: Group, chance: random.Random, over: asyncio.Event
) -> None:
    """One client: appends values of its own, and reads old entries and those that may be there or not yet."""
    async with DLedgerClient(GROUP, group.peers, timeout_ms=1500, attempt_timeout_ms=700) as client:
        count = 0
        while not over.is_set():
            if chance.random() < 0.5:
                count += 1
                await append(history, client, number, f"{number}-{count}")
            else:
                known = max((operation.index for operation in history.operations[-50:]), default=0)
                known = max(known, 0)
                index = (
                    known + chance.randrange(0, 3) if chance.random() < 0.7 else chance.randrange(known + 1)
                )
                await get(history, client, number, index)
            await asyncio.sleep(chance.random() * 0.004)


async def append(history: History, client: DLedgerClient, number: int, value: str) -> None:
    operation: Operation = history.append(number, value)
    try:
        history.appended(operation, (await client.append(value.encode())).index)
    except UncertainError:
        pass
    except (NoLeaderError, RefusedError):
        history.not_done(operation)


async def get(history: History, client: DLedgerClient, number: int, index: int) -> None:
    call_ns = time.monotonic_ns()
    try:
        body = (await client.get(index)).body
    except NotFoundError:
        history.got(number, call_ns, index, None, False)
    except DLedgerError:
        pass  # a read that was not answered says nothing
    else:
        history.got(number, call_ns, index, body.decode() or None, True)


async def disturb(group: Group, chance: random.Random) -> list[str]:
    """One fault after the other, each undone before the next; what was done."""
    done = []
    client = DLedgerClient(GROUP, group.peers, timeout_ms=500)
    for _ in range(FAULTS):
        await asyncio.sleep(0.2 + chance.random() * 0.5)
        member = chance.choice(IDS)
        if chance.random() < 0.6:  # most of all the leader
            with suppress(NoLeaderError):
                member = await client.leader()
        fault = chance.choice(["kill", "freeze", "isolate", "deaf", "mute", "reject"])
        done.append(f"{fault} {member}")
        seconds = 0.2 + chance.random() * 1.2
        out = [link for (sender, _), link in group.links.items() if sender == member]
        into = [link for (_, receiver), link in group.links.items() if receiver == member]
        match fault:
            case "kill":
                group.kill(member)
                await asyncio.sleep(seconds)
                group.start(member)
            case "freeze":
                group.signal(member, signal.SIGSTOP)
                await asyncio.sleep(seconds)
                group.signal(member, signal.SIGCONT)
            case _:
                cut = {"deaf": into, "mute": out}.get(fault, out + into)
                for link in cut:
                    link.reject() if fault == "reject" else link.hold()
                await asyncio.sleep(seconds)
                for link in cut:
                    link.heal()
    await client.close()
    return done


async def whole_log(group: Group) -> list[str | None]:
    """Every entry, read when nothing disturbs any more; None for those of no client."""
    async with DLedgerClient(GROUP, group.peers, timeout_ms=20_000) as client:
        end = (await client.append(b"the end", repeat_uncertain=True)).index
        entries = await asyncio.gather(*(client.get(index) for index in range(end + 1)))
    bodies = [entry.body.decode() for entry in entries]
    return [None if body in ("", "the end") else body for body in bodies]


@pytest.mark.parametrize("seed", range(RUNS))
def test_a_disturbed_groups_history_is_linearizable(porcupine: Porcupine, tmp_path: Path, seed: int) -> None:
    async def scenario() -> tuple[History, list[str | None], list[str]]:
        chance = random.Random(seed)
        history = History()
        over = asyncio.Event()
        async with running(tmp_path) as group:
            async with DLedgerClient(GROUP, group.peers, timeout_ms=20_000) as client:
                await client.append(b"")  # the group is there
            clients = [
                asyncio.create_task(use(history, number, group, random.Random(chance.random()), over))
                for number in range(CLIENTS)
            ]
            done = await disturb(group, chance)
            over.set()
            await asyncio.gather(*clients)
            return history, await whole_log(group), done

    history, log, done = asyncio.run(scenario())
    appended = [one for one in history.operations if one.kind == "append" and one.end]
    assert len(appended) > 200, f"only {len(appended)} appends came through {done}"
    lines = history.lines(log)
    (tmp_path / "history.jsonl").write_text("\n".join(lines))
    picture = tmp_path / "history.html"
    assert porcupine.check(lines, picture) == "Ok", f"after {done}, see {picture}"
    assert not tracebacks(tmp_path)


@pytest.mark.parametrize("lie", ["lost", "stale", "twisted"])
def test_the_checker_finds_what_is_wrong(porcupine: Porcupine, tmp_path: Path, lie: str) -> None:
    log: list[str | None] = [None, *(f"0-{number}" for number in range(100))]
    history = History()
    for index, value in enumerate(log):
        if value is not None:
            history.appended(history.append(0, value), index)
            history.got(1, history.operations[-1].end + 1, index, value, True)
    assert porcupine.check(history.lines(log), tmp_path / "right.html") == "Ok"
    match lie:
        case "lost":  # an acknowledged entry is not in the log
            log[50] = None
        case "stale":  # a read does not see what was acknowledged before
            history.got(1, history.operations[99].end + 1, 50, None, False)
        case "twisted":  # the first of two appends stands behind the second
            log[50], log[51] = log[51], log[50]
            history.operations[98].index, history.operations[100].index = 51, 50
            del history.operations[101], history.operations[99]
    assert porcupine.check(history.lines(log), tmp_path / "wrong.html") == "Illegal"
