"""DLedger groups of both makers: members that are started, stopped, killed and may change makers, clients,
and what stands in a member's directory.

All members of a group have files of one size, small ones, so that a test fills several.
"""

from __future__ import annotations

import asyncio
import struct
import threading
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from tests.interop.harness.cluster import (
    JavaPrograms,
    Maker,
    ledgermq,
    stop_program,
    wait_until_listening,
)
from tests.interop.harness.driver import Driver
from tests.interop.harness.programs import Program, eventually
from tests.ports import free_port

from ledgermq.dledger.client import Appended, DLedgerClient, GroupMetadata
from ledgermq.dledger.errors import DLedgerError, RefusedError, UncertainError
from ledgermq.dledger.requests import Entry

T = TypeVar("T")

DATA_FILE_BYTES = 256 * 1024
INDEX_FILE_BYTES = 32 * 1024
_HEAD = struct.Struct(">iiqqqiiii")


@dataclass
class Member:
    """One member; its files are in `folder`/dledger-ID, whoever made it."""

    maker: Maker
    group: str
    id: str
    port: int
    peers: str
    folder: Path
    java: JavaPrograms
    settings: dict[str, str] = field(default_factory=dict)
    program: Program | None = None

    def start(self, maker: Maker | None = None) -> None:
        """Starts on whatever the directory holds; `maker` changes who serves it from now on."""
        self.maker = maker or self.maker
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.maker == "java":
            settings = {
                "group": self.group,
                "selfId": self.id,
                "peers": self.peers,
                "storeBaseDir": str(self.folder),
                "mappedFileSizeForEntryData": str(DATA_FILE_BYTES),
                "mappedFileSizeForEntryIndex": str(INDEX_FILE_BYTES),
                "diskSpaceRatioToForceClean": "1",
                **self.settings,
            }
            argv = self.java.argv(
                "ledgermq.interop.DLedgerNode",
                *(f"{name}={value}" for name, value in settings.items()),
            )
        else:
            argv = ledgermq(
                "dledger", "server", "--group", self.group, "--id", self.id, "--peers", self.peers
            )
            argv += ["--store", str(self.folder)]
            argv += ["--set", f"mappedFileSizeForEntryData={DATA_FILE_BYTES}"]
            argv += ["--set", f"mappedFileSizeForEntryIndex={INDEX_FILE_BYTES}"]
            argv += ["--set", "diskSpaceRatioToForceClean=1"]
        log_path = self.folder / f"{self.maker}.out"
        self.program = Program(f"{self.maker} member {self.id}", argv, log_path=log_path)

    def wait(self) -> None:
        """Until it listens."""
        assert self.program is not None
        wait_until_listening(self.program, f"127.0.0.1:{self.port}")

    def stop(self) -> None:
        if self.program is not None:
            stop_program(self.maker, self.program)
            self.program = None

    def kill(self) -> None:
        """kill -9."""
        if self.program is not None:
            self.program.kill()
            self.program = None

    # ---- its directory ----

    def last_index_on_disk(self) -> int:
        """The highest index in its data files; it may run. Cut entries may still be seen."""
        last = -1
        for path in sorted((self.folder / f"dledger-{self.id}" / "data").glob("*")):
            data = path.read_bytes()
            at = 0
            while at + _HEAD.size <= len(data):
                magic, size, index, *_ = _HEAD.unpack_from(data, at)
                if magic != 1 or size < _HEAD.size:
                    break
                last = max(last, index)
                at += size
        return last

    def entries_as_java_reads(self, driver: Driver) -> list[Entry]:
        """Every entry that Java's file store finds; the member must not run."""
        answer = driver.call(
            "dledger.read",
            directory=str(self.folder),
            id=self.id,
            dataFileBytes=DATA_FILE_BYTES,
            indexFileBytes=INDEX_FILE_BYTES,
        )
        return msgspec.convert(answer["entries"], list[Entry])


@dataclass
class Group:
    """The members of a group, in one folder."""

    name: str
    members: list[Member]

    @property
    def peers(self) -> str:
        return self.members[0].peers

    def member(self, id: str) -> Member:
        return next(member for member in self.members if member.id == id)

    def start(self) -> None:
        for member in self.members:
            member.start()
        for member in self.members:
            member.wait()

    def stop(self) -> None:
        for member in self.members:
            member.stop()

    def kill(self) -> None:
        for member in self.members:
            member.kill()


def new_group(
    folder: Path, java: JavaPrograms, makers: Sequence[Maker], settings: dict[str, str] | None = None
) -> Group:
    """Members n0, n1, … by these makers; `settings` are further ones of the Java members."""
    ports: list[int] = []
    while len(ports) < len(makers):
        port = free_port()
        if port not in ports:
            ports.append(port)
    peers = ";".join(f"n{i}-127.0.0.1:{port}" for i, port in enumerate(ports))
    members = [
        Member(maker, "g0", f"n{i}", ports[i], peers, folder / f"n{i}", java, settings or {})
        for i, maker in enumerate(makers)
    ]
    return Group("g0", members)


class Client:
    """Our client for tests that are no coroutines: its loop runs on a thread."""

    def __init__(self, group: Group, timeout_s: float = 30) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._client = DLedgerClient(group.name, group.peers, timeout_ms=int(timeout_s * 1000))
        self.acknowledged: dict[int, bytes] = {}
        """Index to body, of what `keep_appending` appended."""
        self.uncertain: list[bytes] = []
        self._writing: asyncio.Task[None] | None = None
        self._stopping = False

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(120)

    def append(self, body: bytes) -> Appended:
        return self._do(self._client.append(body))

    def append_batch(self, bodies: Sequence[bytes]) -> list[int]:
        return self._do(self._client.append_batch(bodies))

    def get(self, index: int) -> Entry:
        return self._do(self._client.get(index))

    def transfer(self, to: str) -> None:
        """Until `to` leads: on a busy machine it may not win its first election."""

        def look() -> bool:
            try:
                self._do(self._client.transfer(to))
            except RefusedError:
                return self.leader() == to
            return True

        eventually(look, 60, what=f"{to} to lead")

    def metadata(self) -> GroupMetadata:
        return self._do(self._client.metadata())

    def leader(self) -> str:
        """The member whom all that answer name."""

        def look() -> str | None:
            try:
                answers = self.metadata().members
            except DLedgerError:
                return None
            named = {answer.leader_id for answer in answers if answer.error is None}
            return named.pop() if len(named) == 1 else None

        return eventually(look, 60, what="a leader that all name")

    # ---- appending in the background ----

    def keep_appending(self, in_flight: int = 4) -> None:
        """Append numbered bodies until `stop_appending`."""

        async def start() -> None:
            self._writing = asyncio.get_running_loop().create_task(self._append_all(in_flight))

        self._do(start())

    async def _append_all(self, in_flight: int) -> None:
        await asyncio.gather(*(self._append_some(lane) for lane in range(in_flight)))

    async def _append_some(self, lane: int) -> None:
        number = 0
        while not self._stopping:
            body = f"{lane}.{number} ".encode() * (1 + number % 40)
            number += 1
            try:
                appended = await self._client.append(body)
            except UncertainError:
                self.uncertain.append(body)
            else:
                assert appended.index not in self.acknowledged, appended
                self.acknowledged[appended.index] = body
            await asyncio.sleep(0.002)  # so that a slow machine's log stays readable

    def wait_for_appends(self, count: int = 20) -> None:
        """Until `count` more have been acknowledged."""
        wanted = len(self.acknowledged) + count

        def look() -> bool:
            writing = self._writing
            if writing is not None and writing.done():
                writing.result()
            return len(self.acknowledged) >= wanted

        eventually(look, 60, what=f"{count} appends")

    def stop_appending(self) -> None:
        """Each append that is under way ends first."""

        async def stop() -> None:
            assert self._writing is not None
            self._stopping = True
            await self._writing

        self._do(stop())

    def close(self) -> None:
        if self._writing is not None and not self._writing.done():
            self._writing.cancel()  # the test failed before it stopped them
            self._do(asyncio.wait([self._writing]))
        self._do(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class JavaClient:
    """The stock client; codes are DLedger's, 200 is success."""

    def __init__(self, driver: Driver, group: Group) -> None:
        self._driver = driver
        self._where = {"group": group.name, "peers": group.peers}

    def append(self, bodies: Sequence[bytes]) -> list[dict[str, Any]]:
        texts = [msgspec.json.decode(msgspec.json.encode(body)) for body in bodies]
        answers: list[dict[str, Any]] = self._driver.call("dledger.append", **self._where, bodies=texts)
        return answers

    def get(self, index: int) -> tuple[int, list[Entry]]:
        answer = self._driver.call("dledger.get", **self._where, index=index)
        return answer["code"], msgspec.convert(answer["entries"], list[Entry])

    def transfer(self, current: str, to: str, term: int) -> dict[str, Any]:
        fields = {"from": current, "to": to, "term": term}
        answer: dict[str, Any] = self._driver.call("dledger.transfer", **self._where, **fields)
        return answer

    def close(self) -> None:
        self._driver.call("dledger.close", **self._where)
