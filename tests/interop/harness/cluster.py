"""Name servers and brokers, ours and Java's, behind the same few words: a test need not know which it has.

A server is started on free loopback ports with its data under a folder of the test, stopped with SIGTERM or
killed with SIGKILL, and can be started again on the same folder, by the other maker if the test says so.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tests.interop.harness import toolchain
from tests.interop.harness.programs import Program, accepts_connections, eventually
from tests.ports import free_port

from ledgermq.testing.local_broker import ANY_DISK

Maker = Literal["java", "ledgermq"]

CLUSTER_NAME = "DefaultCluster"
BROKER_NAME = "broker-a"

# Small files, so that a test rolls over some and none of a gigabyte is ever allocated; no client of a busy
# machine may be turned away because its request waited.
BROKER_CONFIG = {
    "brokerClusterName": CLUSTER_NAME,
    "brokerName": BROKER_NAME,
    "brokerId": "0",
    "brokerIP1": "127.0.0.1",
    "brokerIP2": "127.0.0.1",
    "bindAddress": "127.0.0.1",
    "brokerRole": "ASYNC_MASTER",
    "flushDiskType": "ASYNC_FLUSH",
    "mappedFileSizeCommitLog": str(16 * 1024 * 1024),
    "deleteWhen": "04",
    "fileReservedTime": "48",
    "waitTimeMillsInSendQueue": "10000",
    "waitTimeMillsInAdminBrokerQueue": "20000",
    **ANY_DISK,
}


@dataclass
class JavaPrograms:
    """How the stock Java programs are run: on a small heap, with everything they write under `home`."""

    class_path: str
    home: Path

    def argv(
        self, main: str, *arguments: str, heap_mb: int = 256, properties: tuple[str, ...] = ()
    ) -> list[str]:
        return [
            toolchain.java(),
            "-Xms64m",
            f"-Xmx{heap_mb}m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-XX:-UsePerfData",
            "-XX:MaxDirectMemorySize=512m",
            "--add-exports=java.base/sun.nio.ch=ALL-UNNAMED",  # as Java's own start scripts: it unmaps files
            f"-Duser.home={self.home}",
            f"-Drocketmq.home.dir={self.home}",
            f"-Djava.io.tmpdir={self.home}",
            "-Dfile.encoding=UTF-8",
            *(f"-D{name}" for name in properties),
            "-cp",
            self.class_path,
            main,
            *arguments,
        ]


@dataclass
class NameServer:
    """A name server of either maker; its KV config and configuration file live in `folder`."""

    maker: Maker
    folder: Path
    java: JavaPrograms
    port: int = field(default_factory=free_port)
    program: Program | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "namesrv.conf"
        config.write_text(
            f"listenPort={self.port}\nbindAddress=127.0.0.1\nkvConfigPath={self.folder}/kvConfig.json\n"
        )
        if self.maker == "java":
            argv = self.java.argv("org.apache.rocketmq.namesrv.NamesrvStartup", "-c", str(config))
        else:
            argv = ledgermq("nameserver", "-c", str(config))
        self.program = Program(f"{self.maker} name server", argv, log_path=self.folder / f"{self.maker}.out")
        wait_until_listening(self.program, self.address)

    def stop(self) -> None:
        if self.program is not None:
            stop_program(self.maker, self.program)
            self.program = None

    def kill(self) -> None:
        if self.program is not None:
            self.program.kill()
            self.program = None


@dataclass
class Broker:
    """A master broker of either maker on the store `folder`/store, registered at `namesrv`."""

    maker: Maker
    folder: Path
    java: JavaPrograms
    namesrv: str
    config: dict[str, str] = field(default_factory=dict)
    # The fast listener is at port - 2 and the replication listener at port + 1.
    port: int = field(default_factory=lambda: free_port(neighbours=(-2, 1)))
    program: Program | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def name(self) -> str:
        return self.config.get("brokerName", BROKER_NAME)

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def start(self, maker: Maker | None = None) -> None:
        """Starts on whatever the store holds; `maker` changes who serves it from now on."""
        self.launch(maker)
        self.wait()

    def launch(self, maker: Maker | None = None) -> None:
        """`start` without waiting."""
        self.maker = maker or self.maker
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "broker.conf"
        settings = {
            **BROKER_CONFIG,
            "namesrvAddr": self.namesrv,
            "listenPort": str(self.port),
            "haListenPort": str(self.port + 1),
            "storePathRootDir": str(self.store),
            "storePathCommitLog": str(self.store / "commitlog"),
            **self.config,
        }
        config.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        if self.maker == "java":
            argv = self.java.argv("org.apache.rocketmq.broker.BrokerStartup", "-c", str(config), heap_mb=512)
        else:
            argv = ledgermq("broker", "-c", str(config), "-n", self.namesrv)
        self.program = Program(f"{self.maker} broker", argv, log_path=self.folder / f"{self.maker}.out")

    def wait(self) -> None:
        """Until it listens."""
        assert self.program is not None
        wait_until_listening(self.program, self.address)

    def stop(self) -> None:
        """A clean stop: what was written is flushed, the checkpoint says so and the abort file is gone."""
        if self.program is not None:
            stop_program(self.maker, self.program)
            self.program = None

    def kill(self) -> None:
        """kill -9: the store is left as a crash leaves it."""
        if self.program is not None:
            self.program.kill()
            self.program = None


@dataclass
class Cluster:
    """A running name server with one broker."""

    name_server: NameServer
    broker: Broker

    @property
    def namesrv(self) -> str:
        return self.name_server.address

    def queue(self, topic: str, queue_id: int) -> dict[str, object]:
        return {"topic": topic, "broker": self.broker.name, "queueId": queue_id}

    def stop(self) -> None:
        self.broker.stop()
        self.name_server.stop()

    def kill(self) -> None:
        self.broker.kill()
        self.name_server.kill()


def start_cluster(
    folder: Path,
    java: JavaPrograms,
    *,
    broker: Maker,
    name_server: Maker | None = None,
    config: dict[str, str] | None = None,
) -> Cluster:
    """`name_server` is of the broker's maker unless said otherwise."""
    names = NameServer(name_server or broker, folder / "namesrv", java)
    names.start()
    cluster = Cluster(names, Broker(broker, folder / "broker", java, names.address, config or {}))
    try:
        cluster.broker.start()
    except BaseException:
        names.kill()
        raise
    return cluster


def ledgermq(*arguments: str) -> list[str]:
    """The command line of our own program, run by the interpreter that runs the tests."""
    return [sys.executable, "-m", "ledgermq.cli", *arguments]


def stop_program(maker: Maker, program: Program) -> None:
    code = program.stop()
    if maker == "ledgermq" and code != 0:
        raise RuntimeError(f"{program.name} ended with {code}:\n{program.output()}")


def tracebacks(folder: Path) -> list[str]:
    """What our programs logged under `folder` that no program should: the lines around each traceback."""
    found = []
    for log in sorted([*folder.rglob("ledgermq.out"), *folder.rglob("ledgermq.log")]):
        lines = log.read_text(errors="replace").splitlines()
        for i, line in enumerate(lines):
            if line.startswith("Traceback "):
                found.append("\n".join([f"{log}:{i + 1}", *lines[max(0, i - 1) : i + 40]]))
    return found


def wait_until_listening(program: Program, address: str) -> None:
    def look() -> bool:
        if not program.alive:
            raise RuntimeError(f"{program.name} ended instead of listening at {address}:\n{program.output()}")
        return accepts_connections(address)

    try:
        eventually(look, 60, what=f"{program.name} listening at {address}, see {program.log_path}")
    except BaseException:
        program.kill()
        raise
