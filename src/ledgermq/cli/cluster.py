"""``ledgermq cluster``: a whole cluster on one machine, for trying out.

The name server is in this process, and every node is a process of its own, so that it can be killed. A node
ends when its standard input does: it cannot outlive this process, however that ends. It is in a session of
its own: Ctrl-C in the terminal reaches this process alone, which then ends the nodes first.

A node that ends is reported and not started again: whoever killed it wants to see what follows.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shlex
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from ledgermq import __version__
from ledgermq.cli.cluster_events import LeaderChanged, LeaderWatch
from ledgermq.cli.cluster_layout import HOST, Layout, LayoutError, choose, conf_paths, environment, save
from ledgermq.cli.console import EXIT_FAILED, fail, one_line, run, when_signalled
from ledgermq.nameserver.server import NameServer
from ledgermq.remoting.route_data import MASTER_ID
from ledgermq.runtime.build import is_compiled, version_line
from ledgermq.runtime.clock import monotonic_ms
from ledgermq.runtime.config import NameServerSettings
from ledgermq.runtime.logging import start_logging

log: Final = logging.getLogger("ledgermq.cli")

START_SECONDS_MAX: Final = 60
LEADERS_SECONDS_MAX: Final = 10
PREFERRED_SECONDS_MAX: Final = 3
STOP_SECONDS_MAX: Final = 10
LOOK_SECONDS: Final = 0.01
"""Between two looks at who is registered as master: what the gaps that are printed are exact to."""


class ClusterError(Exception):
    """The cluster did not start, or is gone."""


@dataclass
class Node:
    """One process."""

    name: str
    process: asyncio.subprocess.Process
    arguments: list[str]
    """Of ``ledgermq``, to start it again."""

    @property
    def end(self) -> str:
        """How it ended."""
        status = self.process.returncode
        if status is not None and status < 0:
            return f"was ended by {signal.Signals(-status).name}"
        return f"ended with status {status}"


class Cluster:
    """The name server and the nodes. ``print_json``: facts and events as lines of JSON."""

    def __init__(self, layout: Layout, folder: Path, settings: Sequence[str], *, print_json: bool) -> None:
        self._layout = layout
        self._folder = folder
        self._settings = settings
        self._print_json = print_json
        self._nodes: list[Node] = []
        self._watch = LeaderWatch()
        self._leaders: dict[str, str] = {}

    async def run(self) -> None:
        """Until a signal. Raises ClusterError, when no node runs any more too; OSError, TimeoutError."""
        stopping = when_signalled()
        settings = NameServerSettings()
        settings.remoting.bind_address = HOST
        settings.nameserver.listen_port = self._layout.port
        settings.nameserver.kv_config_path = str(self._folder / "namesrv" / "kvConfig.json")
        settings.nameserver.config_store_path = str(self._folder / "namesrv" / "namesrv.properties")
        self._name_server = NameServer(settings)
        await self._name_server.start()
        signalled = asyncio.create_task(stopping.wait())
        serving = asyncio.create_task(self._serve())
        try:
            await asyncio.wait({signalled, serving}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                await serving
        finally:
            for task in (signalled, serving):
                task.cancel()
            await asyncio.gather(signalled, serving, return_exceptions=True)
            await self._stop()

    async def _serve(self) -> None:
        """Start the nodes and watch them. Raises ClusterError when none is left."""
        async with asyncio.timeout(START_SECONDS_MAX):
            for name in self._layout.node_names:
                self._nodes.append(await self._spawn(name))
            for node in self._nodes:
                await self._started(node)
        await self._wait_for_leaders(LEADERS_SECONDS_MAX, lambda: len(self._leaders) == self._layout.groups)
        # Whoever is elected first hands over within a second.
        preferred = self._layout.preferred
        await self._wait_for_leaders(PREFERRED_SECONDS_MAX, lambda: self._leaders == preferred)
        self._print_start()
        watching = asyncio.create_task(self._watch_leaders())
        try:
            await asyncio.gather(*map(self._report_end, self._nodes))
        finally:
            watching.cancel()
        raise ClusterError("no node runs any more")

    # ---- processes ----

    async def _spawn(self, name: str) -> Node:
        arguments = ["broker"]
        for conf in conf_paths(self._layout, self._folder, name):
            arguments += ["-c", str(conf)]
        arguments += ["--log", str(self._folder / name / "broker.log")]
        for setting in self._settings:
            arguments += ["--set", setting]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "ledgermq.cli",
            *arguments,
            "--while-stdin",
            "--print-json",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment(),
            start_new_session=True,
        )
        return Node(name, process, arguments)

    async def _started(self, node: Node) -> None:
        """Wait for its line of facts. What is wrong stands on our stderr already."""
        assert node.process.stdout is not None
        if not await node.process.stdout.readline():
            await node.process.wait()
            raise ClusterError(f"node {node.name} did not start: it {node.end}")

    async def _report_end(self, node: Node) -> None:
        await node.process.wait()
        again = f"ledgermq {shlex.join(node.arguments)}"
        pid = node.process.pid
        facts = {"event": "node_ended", "node": node.name, "pid": pid, "how": node.end}
        self._tell(facts, f"node {node.name} (pid {pid}) {node.end}; to start it: {again}")

    async def _stop(self) -> None:
        """End the nodes, then the name server, where they unregister."""
        living = [node.process for node in self._nodes if node.process.returncode is None]
        for process in living:
            assert process.stdin is not None
            process.stdin.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS_MAX):
                await asyncio.gather(*(process.wait() for process in living))
        for process in living:
            if process.returncode is None:
                log.error("the node with pid %d did not stop in %d s", process.pid, STOP_SECONDS_MAX)
                process.kill()
                await process.wait()
        await self._name_server.stop()

    # ---- who leads ----

    async def _watch_leaders(self) -> None:
        while True:
            for change in self._look():
                facts = {
                    "event": "leader_changed",
                    "group": change.group,
                    "leader": change.leader,
                    "before": change.before,
                    "gap_ms": change.gap_ms,
                }
                self._tell(facts, change.text())
            await asyncio.sleep(LOOK_SECONDS)

    async def _wait_for_leaders(self, seconds_max: float, condition: Callable[[], bool]) -> None:
        """Until ``condition`` holds, but no longer."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds_max):
                while not condition():
                    await asyncio.sleep(LOOK_SECONDS)
                    self._look()

    def _look(self) -> list[LeaderChanged]:
        brokers = self._name_server.routes.cluster_info().broker_addr_table
        leaders = {}
        for group in self._layout.group_names:
            address = brokers[group].broker_addrs.get(MASTER_ID) if group in brokers else None
            leaders[group] = None if address is None else self._layout.node_at(address)
        self._leaders = {group: node for group, node in leaders.items() if node is not None}
        return self._watch.see(leaders, monotonic_ms())

    # ---- telling ----

    def _tell(self, facts: Mapping[str, object], text: str) -> None:
        now = datetime.now()
        if self._print_json:
            print(json.dumps({"time_ms": int(now.timestamp() * 1000), **facts}), flush=True)
        else:
            print(f"{now.strftime('%H:%M:%S.%f')[:-3]}  {text}", flush=True)

    def _print_start(self) -> None:
        if self._print_json:
            self._print_facts()
            return
        layout = self._layout
        width = 4 * layout.groups + 2
        lines = [
            version_line(),
            f"  name server {layout.name_server}, data {self._folder}",
            "",
            f"  {'node':<6}{'pid':<9}{'leads':<{width}}brokers",
        ]
        for number, node in enumerate(self._nodes):
            leads = " ".join(group for group, leader in self._leaders.items() if leader == node.name)
            brokers = "  ".join(
                f"{name} {layout.broker_address(number, group)}"
                for group, name in enumerate(layout.group_names)
            )
            lines.append(f"  {node.name:<6}{node.process.pid:<9}{leads or '-':<{width}}{brokers}")
        missing = [group for group in layout.group_names if group not in self._leaders]
        if missing:
            lines.append(f"  without a leader until now: {' '.join(missing)}")
        option = f"-n {layout.name_server}"
        lines += [
            "",
            f"Topic:   ledgermq topic create hello {option}    (on all groups)",
            f"Send:    ledgermq send hello 'first message' {option}",
            f"Consume: ledgermq consume hello --from-first {option}",
            f"Look:    ledgermq cluster status {option}",
            f"Kill:    kill -9 {self._nodes[0].process.pid}    (and see here who takes over)",
            "Stop:    Ctrl-C",
        ]
        print("\n".join(lines), flush=True)

    def _print_facts(self) -> None:
        layout = self._layout
        nodes = [
            {
                "node": node.name,
                "pid": node.process.pid,
                "leads": [group for group, leader in self._leaders.items() if leader == node.name],
                "log": str(self._folder / node.name / "broker.log"),
                "brokers": {
                    name: layout.broker_address(number, group)
                    for group, name in enumerate(layout.group_names)
                },
                "start_again": ["ledgermq", *node.arguments],
            }
            for number, node in enumerate(self._nodes)
        ]
        facts = {
            "version": __version__,
            "compiled": is_compiled(),
            "pid": os.getpid(),
            "name_server": layout.name_server,
            "store": str(self._folder),
            "nodes": nodes,
        }
        print(json.dumps(facts), flush=True)


def start(
    store: Path,
    nodes: int | None,
    groups: int | None,
    port: int | None,
    settings: Sequence[str],
    *,
    print_json: bool,
) -> None:
    """``ledgermq cluster``, until a signal."""
    folder = store.absolute()
    try:
        layout = choose(folder, nodes, groups, port)
        save(layout, folder)
        start_logging(folder / "cluster.log")
    except (LayoutError, OSError) as error:
        fail(EXIT_FAILED, error)
    try:
        run(Cluster(layout, folder, settings, print_json=print_json).run())
    except TimeoutError:
        fail(EXIT_FAILED, f"the nodes did not start within {START_SECONDS_MAX} s; see {folder}/n*/broker.log")
    except ClusterError as error:
        fail(EXIT_FAILED, error)
    except BrokenPipeError:
        raise  # who read our output has seen enough
    except (OSError, ValueError) as error:
        fail(EXIT_FAILED, f"the cluster cannot start: {one_line(error)}")
