"""``ledgermq dledger``: a member of a group in this process, and what clients ask of a group."""

from __future__ import annotations

import array
import asyncio
import base64
import difflib
import json
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from ledgermq import __version__
from ledgermq.cli.console import (
    EXIT_BROKER_STOPPED,
    EXIT_FAILED,
    EXIT_SETTINGS,
    bodies,
    calm_collector,
    fail,
    one_line,
    print_table,
    run,
    run_client,
    when_signalled,
)
from ledgermq.dledger.client import Appended, DLedgerClient
from ledgermq.dledger.errors import DLedgerError
from ledgermq.dledger.requests import Entry
from ledgermq.dledger.settings import DLedgerSettings, SettingsError
from ledgermq.runtime.build import is_compiled, version_line

T = TypeVar("T")

PERCENTILES: Final = (50.0, 95.0, 99.0, 99.9)


# ---- a member ----


def run_server(
    flags: dict[str, str], assignments: Sequence[str], log: str | None, *, print_json: bool
) -> None:
    """``ledgermq dledger server``: until a signal, or until the member cannot go on (status 3)."""
    from ledgermq.runtime.logging import start_logging

    if not __debug__:
        fail(EXIT_FAILED, "Python runs with -O, which removes the checks that protect the data: leave it out")
    keys = DLedgerSettings.__struct_encode_fields__
    values = dict(flags)
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals or key not in keys:
            nearest = difflib.get_close_matches(key, keys, 1)
            fail(
                EXIT_SETTINGS, f"--set {key}: no such setting" + (f"; {nearest[0]} is one" if nearest else "")
            )
        values[key] = value
    try:
        settings = msgspec.convert(values, DLedgerSettings, strict=False)
        settings.check()
        settings.members()
    except msgspec.ValidationError as error:
        text, _, at = str(error).partition(" - at `$.")
        key = at.rstrip("`")
        fail(EXIT_SETTINGS, f"{key}={values[key]}: {text}")
    except SettingsError as error:
        fail(EXIT_SETTINGS, error)
    try:
        start_logging(None if log in (None, "-") else Path(str(log)))
    except OSError as error:
        fail(EXIT_FAILED, f"cannot write the log: {one_line(error)}")
    status = run(_serve(settings, print_json))
    if status == EXIT_BROKER_STOPPED:
        fail(status, f"member {settings.self_id} could not go on and has stopped; the log says why")


async def _serve(settings: DLedgerSettings, print_json: bool) -> int:
    """Serve until a signal or the member's end; the exit status."""
    from ledgermq.dledger.ledger import LedgerError
    from ledgermq.dledger.server import DLedgerServer
    from ledgermq.dledger.snapshots import SnapshotError

    stopping = when_signalled()
    server = DLedgerServer(settings)
    try:
        await server.start()
    except (OSError, LedgerError, SnapshotError) as error:
        fail(EXIT_FAILED, f"member {settings.self_id} cannot start: {one_line(error)}")
    try:
        calm_collector()
        _print_server(settings, print_json)
        loop = asyncio.get_running_loop()
        waits = [loop.create_task(stopping.wait()), loop.create_task(server.failed.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        return EXIT_BROKER_STOPPED if server.failed.is_set() else 0
    finally:
        await server.stop()


def _print_server(settings: DLedgerSettings, print_json: bool) -> None:
    address = settings.members()[settings.self_id]
    if print_json:
        facts = {
            "version": __version__,
            "compiled": is_compiled(),
            "pid": os.getpid(),
            "group": settings.group,
            "member": settings.self_id,
            "address": address,
            "store": os.path.abspath(settings.directory),
        }
        print(json.dumps(facts), flush=True)
        return
    lines = [
        version_line(),
        f"  member        {settings.self_id} of {settings.group}",
        f"  address       {address}",
    ]
    if settings.store_type == "FILE":
        lines.append(f"  store         {os.path.abspath(settings.directory)}")
    lines.append(f"Try:  ledgermq dledger append hello --group {settings.group} --peers '{settings.peers}'")
    print("\n".join(lines), flush=True)


# ---- clients ----


@dataclass(frozen=True)
class Target:
    """Which group, and how long one request may take."""

    group: str
    peers: str
    timeout_seconds: float

    def run(self, work: Callable[[DLedgerClient], Awaitable[T]]) -> T:
        """``work`` with a client; an error ends the command with one line."""

        async def with_client() -> T:
            timeout_ms = int(self.timeout_seconds * 1000)
            async with DLedgerClient(self.group, self.peers, timeout_ms=timeout_ms) as client:
                return await work(client)

        try:
            return run_client(with_client())
        except DLedgerError as error:
            fail(EXIT_FAILED, error)


def append(target: Target, body: str, *, count: int, print_json: bool) -> None:
    """Append ``body`` ``count`` times, or each line of standard input when it is ``-``."""

    async def work(client: DLedgerClient) -> None:
        async for one in bodies(body, count):
            appended = await client.append(one)
            print(_appended_json(appended) if print_json else _appended_line(appended), flush=True)

    target.run(work)


def _appended_line(appended: Appended) -> str:
    return f"appended at {appended.index}, in term {appended.term} by {appended.leader_id}"


def _appended_json(appended: Appended) -> str:
    return json.dumps(msgspec.structs.asdict(appended))


def get(target: Target, index: int, *, count: int, print_json: bool) -> None:
    """Print ``count`` entries from ``index`` on."""

    async def work(client: DLedgerClient) -> None:
        for at in range(index, index + count):
            entry = await client.get(at)
            print(_entry_json(entry) if print_json else _entry_line(entry), flush=True)

    target.run(work)


def _entry_line(entry: Entry) -> str:
    return one_line(f"{entry.index} of term {entry.term}: {entry.body.decode(errors='backslashreplace')}")


def _entry_json(entry: Entry) -> str:
    facts: dict[str, object] = {"index": entry.index, "term": entry.term, "pos": entry.pos}
    try:
        facts["body"] = entry.body.decode()
    except UnicodeDecodeError:
        facts["body_base64"] = base64.b64encode(entry.body).decode()
    return json.dumps(facts)


def metadata(target: Target, *, print_json: bool) -> None:
    """One line for each member."""
    found = target.run(lambda client: client.metadata())
    heads = ("member", "address", "says_leader", "term", "error")
    rows = [
        (
            answer.member,
            answer.address,
            answer.leader_id,
            None if answer.term < 0 else answer.term,
            answer.error if answer.error is None else one_line(answer.error),
        )
        for answer in found.members
    ]
    if print_json:
        members = [dict(zip(heads, row, strict=True)) for row in rows]
        facts = {"group": found.group, "leader": found.leader_id, "term": found.term, "members": members}
        print(json.dumps(facts))
        return
    print(f"group {found.group}, leader {found.leader_id or '-'}")
    print_table(heads, rows, as_json=False)


def transfer(target: Target, member: str) -> None:
    """Make ``member`` the leader."""
    target.run(lambda client: client.transfer(member))
    print(f"{member} leads the group {target.group}")


# ---- the benchmark ----


@dataclass(frozen=True)
class Load:
    """What the benchmark does."""

    in_flight: int
    body_bytes: int
    seconds: float
    warm_up_seconds: float


@dataclass
class Measured:
    """What came of it; times in seconds."""

    seconds: float
    latencies: Sequence[float]
    errors: dict[str, int]

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds

    def percentile_ms(self, percent: float) -> float:
        """The nearest-rank percentile; 0 when nothing was measured."""
        if not self.latencies:
            return 0.0
        ordered = sorted(self.latencies)
        rank = max(0, -(-len(ordered) * percent // 100) - 1)
        return ordered[min(int(rank), len(ordered) - 1)] * 1000


def bench(target: Target, load: Load, *, print_json: bool) -> None:
    """Append with ``load`` and print what was measured."""
    measured = target.run(lambda client: measure(client, load))
    percentiles = {f"p{percent:g}": round(measured.percentile_ms(percent), 3) for percent in PERCENTILES}
    slowest = round(max(measured.latencies, default=0.0) * 1000, 3)
    if print_json:
        facts: dict[str, object] = {
            "in_flight": load.in_flight,
            "body_bytes": load.body_bytes,
            "seconds": round(measured.seconds, 3),
            "appends": len(measured.latencies),
            "appends_per_second": round(measured.per_second, 1),
            "latency_ms": {**percentiles, "max": slowest},
            "errors": measured.errors,
        }
        print(json.dumps(facts))
    else:
        spread = ", ".join(f"{name} {value:g}" for name, value in percentiles.items())
        print(f"{measured.per_second:.0f} appends/s of {load.body_bytes} B with {load.in_flight} in flight")
        print(f"latency in ms: {spread}, max {slowest:g}")
        for text, count in sorted(measured.errors.items()):
            print(f"{count} failed: {one_line(text)}")
    if not measured.latencies:
        fail(EXIT_FAILED, "nothing was appended")


async def measure(client: DLedgerClient, load: Load) -> Measured:
    """Keep ``in_flight`` appends going; those that ended in the measured time count."""
    body = os.urandom(load.body_bytes)
    clock = time.perf_counter
    await client.leader()
    start = clock() + load.warm_up_seconds
    end = start + load.seconds
    latencies = array.array("d")
    errors: dict[str, int] = {}

    async def keep_appending() -> None:
        began = clock()
        while began < end:
            try:
                await client.append(body)
            except DLedgerError as error:
                name = type(error).__name__
                errors[name] = errors.get(name, 0) + 1
            ended = clock()
            if start <= ended <= end:
                latencies.append(ended - began)
            began = ended

    await asyncio.gather(*(keep_appending() for _ in range(load.in_flight)))
    return Measured(load.seconds, latencies, errors)
