"""Brokers on DLedger as processes: a name server and three machines, each with one broker of every group.

Either maker's brokers get the same broker.conf; what it does not name is each one's default. Java's JVM
options are those of its own runbroker.sh with a smaller heap, since three or nine of them share this machine,
and its brokers get the number of send threads that its own conf/dledger sets.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.interop.harness.programs import Program, eventually
from tests.ports import free_port

from bench import wire
from bench.brokers import JAVA_BROKER_OPTIONS, JAVA_HEAP, Java, broker_argv, start_name_server
from bench.dledger import DATA_FILE_BYTES, Kind

NODES = ("n0", "n1", "n2")
HEAP_OF_THREE = ("-Xms1g", "-Xmx1g", "-Xmn512m")
HEAP_OF_NINE = ("-Xms384m", "-Xmx384m", "-Xmn192m")
_PORTS_PER_BROKER = 6


def jvm_options(group_count: int) -> tuple[str, ...]:
    """Of each broker, where every machine has one of `group_count` groups."""
    heap = HEAP_OF_THREE if group_count == 1 else HEAP_OF_NINE
    rest = [option for option in JAVA_BROKER_OPTIONS if option not in JAVA_HEAP]
    return (*heap, *rest, "--add-exports=java.base/sun.nio.ch=ALL-UNNAMED")


@dataclass
class Member:
    """One broker: the member `node` of the group that is named as the broker."""

    group: str
    node: str
    folder: Path
    listen_port: int
    program: Program | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.listen_port}"

    @property
    def dledger_port(self) -> int:
        return self.listen_port + 2

    @property
    def alive(self) -> bool:
        return self.program is not None and self.program.alive


class QuorumCluster:
    """`groups` names the brokers; with several, the groups prefer to be led from one machine each."""

    def __init__(
        self, kind: Kind, folder: Path, java: Java | None, groups: Sequence[str] = ("broker-a",)
    ) -> None:
        self.kind = kind
        self.folder = folder
        self.namesrv = ""
        self.members: list[Member] = []
        self._java = java
        self._groups = tuple(groups)
        self._name_server: Program | None = None
        base = _free_ports(len(groups) * len(NODES) * _PORTS_PER_BROKER)
        for group in groups:
            for node in NODES:
                port = base + len(self.members) * _PORTS_PER_BROKER + 2
                self.members.append(Member(group, node, folder / f"{group}-{node}", port))

    # ---- life ----

    def start_name_server(self) -> None:
        self._name_server, self.namesrv = start_name_server(self.kind.side, self.folder, self._java)

    def start(self, node: str) -> None:
        """Creates the machine's processes and returns: one of ours has all brokers, each of Java's one."""
        hosted = [member for member in self.members if member.node == node]
        if self.kind.side.is_java:
            for member in hosted:
                self._start(member)
        else:
            self._start(*hosted)

    def _start(self, *hosted: Member) -> None:
        configs = []
        for member in hosted:
            member.folder.mkdir(parents=True, exist_ok=True)
            configs.append(member.folder / "broker.conf")
            text = "".join(f"{key}={value}\n" for key, value in self._settings(member).items())
            configs[-1].write_text(text)
        folder = hosted[0].folder
        java = self._java and dataclasses.replace(self._java, home=folder)  # its logs go there
        config, *more = configs
        argv = broker_argv(self.kind.side, java, config, jvm_options(len(self._groups)), *more)
        program = Program(f"{self.kind.name} {folder.name}", argv, log_path=folder / "broker.out")
        for member in hosted:
            member.program = program

    def kill(self, node: str) -> None:
        """kill -9 of everything on the machine, at once."""
        programs = [m.program for m in self.members if m.node == node and m.program is not None]
        for program in programs:
            with suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
        for program in programs:
            program.kill()

    def close(self) -> None:
        for node in NODES:
            self.kill(node)
        if self._name_server is not None:
            self._name_server.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _settings(self, member: Member) -> dict[str, str]:
        store = member.folder / "store"
        peers = {m.node: m.dledger_port for m in self.members if m.group == member.group}
        settings = {
            "brokerClusterName": "DefaultCluster",
            "brokerName": member.group,
            "brokerIP1": "127.0.0.1",
            "bindAddress": "127.0.0.1",
            "listenPort": str(member.listen_port),
            "haListenPort": str(member.listen_port + 1),
            "namesrvAddr": self.namesrv,
            "storePathRootDir": str(store),
            "storePathCommitLog": str(store / "commitlog"),
            "mappedFileSizeCommitLog": str(DATA_FILE_BYTES),
            "flushDiskType": "SYNC_FLUSH" if self.kind.fsync else "ASYNC_FLUSH",
            "enableDLegerCommitLog": "true",
            "dLegerGroup": member.group,
            "dLegerPeers": ";".join(f"{node}-127.0.0.1:{port}" for node, port in peers.items()),
            "dLegerSelfId": member.node,
        }
        if self.kind.side.is_java:
            settings["sendMessageThreadPoolNums"] = "16"
        if len(self._groups) > 1:
            settings["preferredLeaderId"] = self.preferred(member.group)
        return settings

    # ---- who leads ----

    def preferred(self, group: str) -> str:
        return NODES[self._groups.index(group) % len(NODES)]

    def registered(self) -> dict[str, dict[str, str]]:
        """What the name server knows: for each broker name, addresses by broker id."""
        with wire.Peer(self.namesrv) as names:
            body = names.ask(wire.GET_BROKER_CLUSTER_INFO, {}).body
        table = json.loads(wire.standard_json(body)).get("brokerAddrTable") or {}
        return {name: broker["brokerAddrs"] for name, broker in table.items()}

    def leader(self, group: str = "", timeout_s: float = 60) -> Member:
        """The living member that is registered as master of the group (the first one, unless told)."""
        group = group or self._groups[0]

        def look() -> Member | None:
            address = self.registered().get(group, {}).get("0")
            return next((m for m in self.members if m.address == address and m.alive), None)

        return eventually(look, timeout_s, what=f"a master of {group}, see {self.folder}")

    @property
    def address(self) -> str:
        return self.leader().address

    @property
    def broker_pid(self) -> int:
        return self.pids()[self.leader().node]

    def pids(self) -> dict[str, int]:
        """Of the first group's processes, by machine."""
        first = [member for member in self.members if member.group == self._groups[0]]
        return {member.node: member.program.pid for member in first if member.program is not None}

    # ---- readiness ----

    def new_topic(self, topic: str, queue_count: int, timeout_s: float) -> None:
        """Creates the topic in every group, once the leaders are settled, and waits until every member knows
        it: Java's slaves ask their master for topics every ten seconds, and drop what it does not have.
        """
        self.wait_for_leaders(timeout_s)
        for group in self._groups:
            known = partial(self._known_everywhere, group, topic, queue_count)
            eventually(known, timeout_s, what=f"{topic} in {group}, see {self.folder}")

    def _known_everywhere(self, group: str, topic: str, queue_count: int) -> bool:
        leader = self.leader(group)
        if not _knows(leader, topic):
            with suppress(OSError, wire.WireError), wire.Peer(leader.address) as peer:
                wire.create_topic(peer, topic, queue_count)
        return all(_knows(member, topic) for member in self.members if member.group == group)

    def settle(self, topic: str, queue_count: int, timeout_s: float) -> None:
        """Returns when every machine is up, every group has its master (the preferred one, with several
        groups), and every member has stored what its master had stored when it was asked.
        """
        self.wait_for_leaders(timeout_s)
        for group in self._groups:
            stored = _stored(self.leader(group, timeout_s), topic, queue_count)
            for member in self.members:
                if member.group == group:
                    caught_up = partial(_has, member, topic, queue_count, stored)
                    eventually(caught_up, timeout_s, what=f"{stored} messages at {member.folder}")

    def wait_for_leaders(self, timeout_s: float) -> None:
        """Returns when every machine is up and every group has its master, the preferred one of several."""
        eventually(self._all_registered, timeout_s, what=f"all brokers registered, see {self.folder}")
        if len(self._groups) > 1:
            for group in self._groups:
                preferred = partial(self._led_as_preferred, group)
                eventually(preferred, timeout_s, what=f"{group} led by {self.preferred(group)}")

    def _led_as_preferred(self, group: str) -> bool:
        return self.leader(group).node == self.preferred(group)

    def _all_registered(self) -> bool:
        for member in self.members:
            if not member.alive:
                output = member.program.output()[-4000:] if member.program else "never started"
                raise RuntimeError(f"{member.group} {member.node} ended:\n{output}")
        registered = self.registered()
        return all(
            {member.address for member in self.members if member.group == group}
            <= set(registered.get(group, {}).values())
            and "0" in registered[group]
            for group in self._groups
        )

    def first_send(self, topic: str, timeout_s: float) -> tuple[float, float]:
        """Asks the name server for the master and the master to accept a send to a new topic, until it does.

        Returns when (`time.monotonic()`) there was a master, and when the send was acknowledged.
        """
        deadline = time.monotonic() + timeout_s
        led_at = 0.0
        refused = "no master"
        fields = wire.send_fields("bench_producer", topic, 0)
        while time.monotonic() < deadline:
            address = self.registered().get(self._groups[0], {}).get("0")
            if address is None:
                time.sleep(0.002)
                continue
            led_at = led_at or time.monotonic()
            try:
                with wire.Peer(address) as peer:
                    answer = peer.call(wire.SEND_MESSAGE_V2, fields, b"first")
            except (OSError, wire.WireError) as error:
                refused = str(error)
            else:
                if answer.code == wire.SUCCESS:
                    return led_at, time.monotonic()
                refused = answer.remark
            time.sleep(0.002)
        outputs = [m.program.output()[-2000:] for m in self.members if m.program is not None]
        raise RuntimeError(f"no send was acknowledged within {timeout_s} s ({refused}):\n{outputs}")


@contextmanager
def running_quorum(
    kind: Kind, work: Path, java: Java | None, groups: Sequence[str] = ("broker-a",), *, started: bool = True
) -> Iterator[QuorumCluster]:
    """A fresh cluster with its name server, the brokers (unless told otherwise) started and all registered;
    gone with its data afterwards.
    """
    folder = work / f"quorum-{kind.name}-{time.monotonic_ns()}"
    folder.mkdir(parents=True)
    cluster = QuorumCluster(kind, folder, java, groups)
    try:
        cluster.start_name_server()
        if started:
            for node in NODES:
                cluster.start(node)
        yield cluster
    finally:
        cluster.close()


def _knows(member: Member, topic: str) -> bool:
    try:
        with wire.Peer(member.address, 5) as peer:
            return peer.call(wire.GET_TOPIC_CONFIG, {"topic": topic}).code == wire.SUCCESS
    except (OSError, wire.WireError):
        return False


def _has(member: Member, topic: str, queue_count: int, messages: int) -> bool:
    return _stored(member, topic, queue_count) >= messages


def _stored(member: Member, topic: str, queue_count: int) -> int:
    """How many messages of the topic the member has; -1 while it does not say."""
    try:
        with wire.Peer(member.address, 5) as peer:
            return wire.stored_count(peer, topic, queue_count)
    except (OSError, wire.WireError):
        return -1


def _free_ports(count: int) -> int:
    """The first of `count` ports in a row that are free now."""
    return free_port(neighbours=range(count))
