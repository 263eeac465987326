"""Either broker with its name server, started the way it is run in production.

The Java broker gets the JVM options of its own runbroker.sh; only the heap is sized for the machine: 2 GiB
instead of 8, and half of it for new objects as in the script. Both brokers get the same broker.conf; what it
does not name is each one's default.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.interop.harness.programs import Program, accepts_connections, eventually
from tests.ports import free_port

from bench import wire

JAVA_HEAP = ("-Xms2g", "-Xmx2g", "-Xmn1g")
JAVA_BROKER_OPTIONS = (
    "-server",
    *JAVA_HEAP,
    "-XX:+UseG1GC",
    "-XX:G1HeapRegionSize=16m",
    "-XX:G1ReservePercent=25",
    "-XX:InitiatingHeapOccupancyPercent=30",
    "-XX:SoftRefLRUPolicyMSPerMB=0",
    "-XX:-OmitStackTraceInFastThrow",
    "-XX:+AlwaysPreTouch",
    "-XX:MaxDirectMemorySize=15g",
    "-XX:-UseLargePages",
)

JAVA = "java"


@dataclass(frozen=True)
class Side:
    """One of the brokers that are compared: the Java one, or ledgermq run by the interpreter `python`."""

    name: str
    python: str = sys.executable

    @property
    def is_java(self) -> bool:
        return self.name == JAVA

    def version(self) -> str:
        if self.is_java:
            return "Apache RocketMQ 5.5.0, JVM " + " ".join(JAVA_BROKER_OPTIONS)
        argv = [self.python, "-m", "ledgermq.cli", "--version"]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


@dataclass
class Java:
    """Where the Java programs are and what they write beside their data."""

    class_path: str
    home: Path

    def argv(self, main: str, *arguments: str, options: tuple[str, ...] = ()) -> list[str]:
        return [
            "java",
            *options,
            f"-Duser.home={self.home}",
            f"-Drocketmq.home.dir={self.home}",
            f"-Djava.io.tmpdir={self.home}",
            "-cp",
            self.class_path,
            main,
            *arguments,
        ]


@dataclass
class Cluster:
    """A name server and a broker of one side on free loopback ports, their data under `folder`."""

    side: Side
    folder: Path
    java: Java | None
    config: Mapping[str, str] = field(default_factory=dict)
    namesrv: str = ""
    broker: Program | None = None
    _name_server: Program | None = None
    _port: int = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def broker_pid(self) -> int:
        assert self.broker is not None
        return self.broker.pid

    def start_name_server(self) -> None:
        self._name_server, self.namesrv = start_name_server(self.side, self.folder, self.java)

    def start_broker(self) -> None:
        """Returns as soon as the process is created; see `wait_until_listening` and `first_send`."""
        if not self._port:
            self._port = free_port(neighbours=(-2, 1))
        config = self.folder / "broker.conf"
        config.write_text("".join(f"{key}={value}\n" for key, value in self._settings().items()))
        argv = broker_argv(self.side, self.java, config, JAVA_BROKER_OPTIONS)
        self.broker = Program(f"{self.side.name} broker", argv, log_path=self.folder / "broker.out")

    def wait_until_listening(self) -> None:
        assert self.broker is not None
        wait_until_listening(self.broker, self.address)

    def first_send(self, topic: str, timeout_s: float) -> wire.Answer:
        """Asks until a send to `topic`, queue 0, is accepted; the topic is created by the send."""
        assert self.broker is not None
        deadline = time.monotonic() + timeout_s
        fields = wire.send_fields(
            "bench_producer", topic, 0, properties=wire.property_text({"KEYS": "first"})
        )
        refused = "no connection"
        while time.monotonic() < deadline and self.broker.alive:
            try:
                with wire.Peer(self.address) as peer:
                    while (answer := peer.call(wire.SEND_MESSAGE_V2, fields, b"first")).code != wire.SUCCESS:
                        refused = answer.remark
                        time.sleep(0.001)
                    return answer
            except (OSError, wire.WireError) as error:
                refused = str(error)
                time.sleep(0.001)
        raise RuntimeError(
            f"{self.broker.name} accepted no send ({refused}):\n{self.broker.output()[-4000:]}"
        )

    def kill_broker(self) -> None:
        if self.broker is not None:
            self.broker.kill()
            self.broker = None

    def close(self) -> None:
        """Ends everything at once and deletes the data."""
        self.kill_broker()
        if self._name_server is not None:
            self._name_server.kill()
            self._name_server = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def new_topic(self, topic: str, queue_count: int) -> None:
        """Creates the topic at the broker and waits for its route at the name server."""
        with wire.Peer(self.address) as broker, wire.Peer(self.namesrv) as names:
            wire.create_topic(broker, topic, queue_count)
            eventually(
                lambda: names.call(wire.GET_ROUTEINFO_BY_TOPIC, {"topic": topic}).code == wire.SUCCESS,
                60,
                what=f"a route to {topic}",
            )

    def _settings(self) -> dict[str, str]:
        return {
            "brokerClusterName": "DefaultCluster",
            "brokerName": "broker-a",
            "brokerId": "0",
            "brokerIP1": "127.0.0.1",
            "bindAddress": "127.0.0.1",
            "listenPort": str(self._port),
            "haListenPort": str(self._port + 1),
            "namesrvAddr": self.namesrv,
            "brokerRole": "ASYNC_MASTER",
            "flushDiskType": "ASYNC_FLUSH",
            "storePathRootDir": str(self.store),
            "storePathCommitLog": str(self.store / "commitlog"),
            **self.config,
        }


def start_name_server(side: Side, folder: Path, java: Java | None) -> tuple[Program, str]:
    """A name server of the side on a free loopback port, listening; the program and its address."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "namesrv.conf"
    config.write_text(f"listenPort={port}\nbindAddress=127.0.0.1\nkvConfigPath={folder}/kvConfig.json\n")
    if side.is_java:
        assert java is not None, "the Java side needs the Java programs"
        main = "org.apache.rocketmq.namesrv.NamesrvStartup"
        argv = java.argv(main, "-c", str(config), options=("-Xmx256m",))
    else:
        argv = [side.python, "-m", "ledgermq.cli", "nameserver", "-c", str(config)]
    program = Program(f"{side.name} name server", argv, log_path=folder / "namesrv.out")
    address = f"127.0.0.1:{port}"
    wait_until_listening(program, address)
    return program, address


def broker_argv(
    side: Side, java: Java | None, config: Path, jvm_options: tuple[str, ...], *more: Path
) -> list[str]:
    """The command of a broker of the side with the settings `config`; a process of ours can have `more`."""
    if side.is_java:
        assert not more, "a Java process has one broker"
        assert java is not None, "the Java side needs the Java programs"
        main = "org.apache.rocketmq.broker.BrokerStartup"
        return java.argv(main, "-c", str(config), options=jvm_options)
    argv = [side.python, "-m", "ledgermq.cli", "broker"]
    for path in (config, *more):
        argv += ["-c", str(path)]
    return argv


def wait_until_listening(program: Program, address: str) -> None:
    def look() -> bool:
        if not program.alive:
            raise RuntimeError(f"{program.name} ended:\n{program.output()[-4000:]}")
        return accepts_connections(address)

    eventually(look, 120, what=f"{program.name} listening at {address}, see {program.log_path}")


def exit_on_sigterm() -> None:
    """Makes a SIGTERM end this process by way of everything that ends the programs it has started."""

    def leave(*_: object) -> None:
        sys.exit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, leave)


@contextmanager
def running(
    side: Side, work: Path, java: Java | None, config: Mapping[str, str] | None = None, *, broker: bool = True
) -> Iterator[Cluster]:
    """A fresh cluster, its broker (unless told otherwise) listening; gone with its data afterwards."""
    work.mkdir(parents=True, exist_ok=True)
    cluster = Cluster(side, Path(tempfile.mkdtemp(prefix=f"{side.name}-", dir=work)), java, config or {})
    try:
        cluster.start_name_server()
        if broker:
            cluster.start_broker()
            cluster.wait_until_listening()
        yield cluster
    finally:
        cluster.close()
