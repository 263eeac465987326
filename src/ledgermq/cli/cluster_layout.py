"""A cluster for trying out, on one machine: its nodes, groups, ports and files.

Every node is a process that holds one member of each group, so the leaders spread over the nodes: group
``g1`` prefers node ``n1``. The ports follow each other::

    port      name server
    port + 1  fast port   \\
    port + 2  DLedger      member n0 of g0, then n0 of g1, … n1 of g0, …
    port + 3  broker      /

Below the cluster's directory::

    cluster.json      nodes, groups, port: a later start takes them from here
    namesrv/          the name server's files
    cluster.log       the name server's log
    n0/g0.conf        what member n0 of group g0 is started with; made once, then the user's to edit
    n0/g0/            its store
    n0/broker.log     the node's log

Rules of this file: what is decided here is the same at each start; nothing is started here.
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from ledgermq.runtime.limits import DLEDGER_MEMBERS_MAX
from ledgermq.runtime.state_file import load_state_file, write_state_file

HOST: Final = "127.0.0.1"
PORTS_OF_MEMBER: Final = 3
GROUPS_MAX: Final = 64
DEFAULT_NODES: Final = 3
DEFAULT_PORT: Final = 9876
FREE_PORTS: Final = range(10_000, 30_000)
"""Where free ports are looked for: below those that systems give to outgoing connections, so that they are
still free at the next start."""
TRIES: Final = 200
FILES: Final = {
    "mappedFileSizeCommitLog": 64 << 20,
    "maxHashSlotNum": 100_000,
    "maxIndexNum": 400_000,
}
"""Smaller than RocketMQ's: all nodes share one disk."""


class LayoutError(Exception):
    """No cluster can be as it was asked for; the text says what is wrong, and what helps."""


class Layout(msgspec.Struct, frozen=True):
    """What ``cluster.json`` says; all else follows from it."""

    nodes: Annotated[int, Meta(ge=1, le=DLEDGER_MEMBERS_MAX)]
    groups: Annotated[int, Meta(ge=1, le=GROUPS_MAX)]
    port: Annotated[int, Meta(ge=1, le=65535)]

    @property
    def name_server(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def node_names(self) -> list[str]:
        return [f"n{number}" for number in range(self.nodes)]

    @property
    def group_names(self) -> list[str]:
        return [f"g{number}" for number in range(self.groups)]

    @property
    def preferred(self) -> dict[str, str]:
        """Which node each group prefers as its leader: they are spread."""
        return {group: f"n{number % self.nodes}" for number, group in enumerate(self.group_names)}

    @property
    def last_port(self) -> int:
        return self.port + self.nodes * self.groups * PORTS_OF_MEMBER

    def fast_port(self, node: int, group: int) -> int:
        """The first of the member's ports; DLedger's and the broker's follow."""
        return self.port + 1 + (node * self.groups + group) * PORTS_OF_MEMBER

    def dledger_address(self, node: int, group: int) -> str:
        return f"{HOST}:{self.fast_port(node, group) + 1}"

    def broker_address(self, node: int, group: int) -> str:
        return f"{HOST}:{self.fast_port(node, group) + 2}"

    def peers(self, group: int) -> str:
        """``dLegerPeers`` of all members of ``group``."""
        return ";".join(f"n{node}-{self.dledger_address(node, group)}" for node in range(self.nodes))

    def node_at(self, address: str) -> str | None:
        """The name of the node with the broker at ``address``."""
        for node in range(self.nodes):
            for group in range(self.groups):
                if self.broker_address(node, group) == address:
                    return f"n{node}"
        return None

    def conf_text(self, node: int, group: int, folder: Path) -> str:
        """The configuration of one member, in RocketMQ's keys; its store is in ``folder``."""
        values: dict[str, object] = {
            "brokerName": f"g{group}",
            "namesrvAddr": self.name_server,
            "brokerIP1": HOST,
            "bindAddress": HOST,
            "listenPort": self.fast_port(node, group) + 2,
            "storePathRootDir": folder / f"g{group}",
            "enableDLegerCommitLog": "true",
            "dLegerGroup": f"g{group}",
            "dLegerPeers": self.peers(group),
            "dLegerSelfId": f"n{node}",
            "preferredLeaderId": self.preferred[f"g{group}"],
            **FILES,
        }
        return "".join(f"{key}={value}\n" for key, value in values.items())


def choose(folder: Path, nodes: int | None, groups: int | None, port: int | None) -> Layout:
    """The layout of the cluster in ``folder``, or a new one; None where the user did not choose.

    ``groups`` of a new one is as many as there are nodes; ``port`` 0 looks for free ports. Raises LayoutError
    when the cluster that is there differs from what is asked for, or when a port is taken; OSError.
    """
    path = folder / "cluster.json"
    try:
        layout = load_state_file(path, msgspec.json.Decoder(Layout).decode)
    except ValueError as error:
        raise LayoutError(str(error)) from None
    if layout is None:
        nodes = nodes or DEFAULT_NODES
        layout = _new(nodes, groups or nodes, DEFAULT_PORT if port is None else port)
    else:
        asked = {"nodes": nodes, "groups": groups, "port": port or None}
        for name, value in asked.items():
            there = getattr(layout, name)
            if value not in (None, there):
                raise LayoutError(
                    f"the cluster in {folder} has {name}={there}: leave out --{name} {value}, "
                    "or choose another directory with --store"
                )
    _check_free(layout)
    return layout


def save(layout: Layout, folder: Path) -> None:
    """Write ``cluster.json``, and the configuration files that are not there. Raises OSError."""
    folder = folder.absolute()
    for node, name in enumerate(layout.node_names):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for group, conf in enumerate(conf_paths(layout, folder, name)):
            if not conf.exists():
                conf.write_text(layout.conf_text(node, group, folder / name))
    write_state_file(folder / "cluster.json", msgspec.json.encode(layout) + b"\n")


def conf_paths(layout: Layout, folder: Path, node: str) -> list[Path]:
    """What a node's process is started with."""
    return [folder / node / f"{group}.conf" for group in layout.group_names]


def _new(nodes: int, groups: int, port: int) -> Layout:
    if port:
        layout = Layout(nodes, groups, port)
        if layout.last_port > 65535:
            raise LayoutError(
                f"--port {port}: the ports up to {layout.last_port} are needed, 65535 is the last"
            )
        return layout
    for port in _candidates(nodes * groups * PORTS_OF_MEMBER):
        layout = Layout(nodes, groups, port)
        if _taken(layout) is None:
            return layout
    raise LayoutError(f"no free ports were found in {TRIES} tries: choose the first with --port")


def _candidates(following: int) -> Iterator[int]:
    for _ in range(TRIES):
        yield random.randrange(FREE_PORTS.start, FREE_PORTS.stop - following)


def _check_free(layout: Layout) -> None:
    taken = _taken(layout)
    if taken is not None:
        raise LayoutError(
            f"port {taken} is in use, and the cluster needs {layout.port} to {layout.last_port}: stop who "
            "uses it (another cluster?), or start one elsewhere with --store DIR --port 0"
        )


def _taken(layout: Layout) -> int | None:
    """The first port that somebody listens on."""
    with ExitStack() as held:
        for port in range(layout.port, layout.last_port + 1):
            one = held.enter_context(socket.socket())
            # As servers do: connections that have ended must not keep a port from being listened on.
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                one.bind((HOST, port))
            except OSError:
                return port
    return None


def environment() -> dict[str, str]:
    """For the nodes' processes: without settings, which would be the same for all members."""
    return {
        name: text
        for name, text in os.environ.items()
        if name != "NAMESRV_ADDR" and not name.startswith("LEDGERMQ_")
    }
