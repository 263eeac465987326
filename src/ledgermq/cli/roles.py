"""The serving commands: settings from files, environment and flags; the roles in one loop; a clean end.

A role's parts are imported when it is asked for: a name server needs neither broker nor store.

A process may run several brokers, each from its own file: members of the groups that share one machine.
They start together or not at all, since a mistake in one file should be seen at the start. Later each stands
alone: one that cannot go on is stopped, and the others serve on.

What goes wrong before the roles serve is one line on stderr and an exit status of console.py. SIGTERM and
SIGINT end the roles cleanly, with status 0, or 3 when a broker had stopped by itself; a second signal ends
the process at once.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from ledgermq import __version__
from ledgermq.cli.console import (
    EXIT_BROKER_STOPPED,
    EXIT_FAILED,
    EXIT_SETTINGS,
    calm_collector,
    fail,
    one_line,
    run,
    when_signalled,
)
from ledgermq.runtime.build import is_compiled, version_line
from ledgermq.runtime.config import BrokerSettings, NameServerSettings
from ledgermq.runtime.config_sources import (
    Assignment,
    ConfigError,
    Notice,
    load,
    read_environment,
    read_file,
)
from ledgermq.runtime.logging import start_logging
from ledgermq.store.errors import StoreError

if TYPE_CHECKING:
    from ledgermq.broker.broker import Broker
    from ledgermq.cli.metrics import MetricsServer
    from ledgermq.nameserver.server import NameServer

log: Final = logging.getLogger("ledgermq.cli")

S = TypeVar("S", BrokerSettings, NameServerSettings)

Role: TypeAlias = "Broker | NameServer | MetricsServer"

_BLOCK: Final = (("broker", "broker"), ("fast port", "fast_port"), ("store", "store"))
"""What the block says of a broker that is alone, and the name of the fact."""


@dataclass
class Output:
    """Where the start-up block and the log go. ``log`` None is the role's own place, ``-`` is stderr."""

    print_json: bool
    log: str | None
    metrics_port: int | None = None
    """Where Prometheus finds metrics; None: nowhere."""
    while_stdin: bool = False
    """End as with SIGTERM when standard input ends: whoever started this process is gone."""

    def log_path(self, store: Path | None) -> Path | None:
        """The file to log to, None for stderr."""
        if self.log is not None:
            return None if self.log == "-" else Path(self.log)
        return None if store is None else store / "logs" / "ledgermq.log"


@dataclass
class Roles:
    """What is to run in this process, and what came of it."""

    name_server: NameServer | None = None
    name_server_host: str = ""
    name_server_flag: str = "--port"
    brokers: list[Broker] = field(default_factory=list)
    broker_flag: str = "--port"
    store: Path | None = None
    """That of the first broker; the log of the process is below it."""
    notices: list[Notice] = field(default_factory=list)
    name_server_address: str = ""
    """``host:port``, as clients can reach it from here."""
    metrics_url: str = ""


class CannotStartError(Exception):
    """A role did not start; the text says which, why, and what helps."""


def run_all(
    configs: Sequence[Path],
    settings: Sequence[str],
    store: Path | None,
    host: str | None,
    port: int | None,
    broker_port: int | None,
    output: Output,
) -> None:
    """``ledgermq serve``. The configuration files and ``settings`` are the brokers'."""
    from ledgermq.nameserver.server import NameServer

    roles = Roles(broker_flag="--broker-port")
    if port == 0 and broker_port is None and len(configs) < 2:
        broker_port = 0
    flags = _flags(("storePathRootDir", "--store", store), ("bindAddress", "--host", host))
    flags += _flags(("listenPort", "--broker-port", broker_port))
    _add_brokers(roles, configs, settings, flags)
    first = roles.brokers[0].settings
    names = Path(first.store.store_path_root_dir) / "namesrv"
    places = _flags(
        ("kvConfigPath", "--store", names / "kvConfig.json"),
        ("configStorePath", "--store", names / "namesrv.properties"),
    )
    flags = _flags(("listenPort", "--port", port))
    of_name_server = _settings(NameServerSettings, None, places, flags, roles)
    of_name_server.remoting = first.remoting
    roles.name_server_host = of_name_server.remoting.bind_address
    roles.name_server = NameServer(of_name_server)
    _run(roles, output)


def run_name_server(
    config: Path | None,
    settings: Sequence[str],
    store: Path | None,
    host: str | None,
    port: int | None,
    output: Output,
) -> None:
    """``ledgermq nameserver``."""
    from ledgermq.nameserver.server import NameServer

    roles = Roles()
    places = []
    if config is not None and config.suffix != ".toml":
        # As in Java: what updateNamesrvConfig changes goes into the file that was given.
        places = _flags(("configStorePath", "--config", config))
    flags = _flags(("bindAddress", "--host", host), ("listenPort", "--port", port))
    if store is not None:
        flags += _flags(("kvConfigPath", "--store", store / "kvConfig.json"))
        if not places:
            flags += _flags(("configStorePath", "--store", store / "namesrv.properties"))
    loaded = _settings(NameServerSettings, config, places, _set_flags(settings) + flags, roles)
    roles.name_server_host = loaded.remoting.bind_address
    roles.name_server = NameServer(loaded)
    _run(roles, output)


def run_brokers(
    configs: Sequence[Path],
    settings: Sequence[str],
    name_servers: str | None,
    store: Path | None,
    host: str | None,
    port: int | None,
    output: Output,
) -> None:
    """``ledgermq broker``: one for each file of ``configs``, or one without a file."""
    roles = Roles()
    flags = _flags(
        ("namesrvAddr", "--name-servers", name_servers),
        ("storePathRootDir", "--store", store),
        ("bindAddress", "--host", host),
        ("listenPort", "--port", port),
    )
    _add_brokers(roles, configs, settings, flags)
    _run(roles, output)


def _add_brokers(
    roles: Roles, configs: Sequence[Path], settings: Sequence[str], flags: list[Assignment]
) -> None:
    from ledgermq.broker.broker import Broker

    files: Sequence[Path | None] = configs or [None]
    for config in files:
        loaded = _settings(BrokerSettings, config, [], _set_flags(settings) + flags, roles)
        roles.brokers.append(Broker(loaded, config))
    if len(configs) > 1:
        _check_apart(configs, [broker.settings for broker in roles.brokers])
    roles.store = Path(roles.brokers[0].settings.store.store_path_root_dir)


def _check_apart(configs: Sequence[Path], settings: Sequence[BrokerSettings]) -> None:
    """Brokers of one process need stores and ports of their own.

    The lock of a store keeps other processes off, not this one.
    """
    takers: dict[str, Path] = {}
    for config, one in zip(configs, settings, strict=True):
        store, port = one.store.store_path_root_dir, one.broker.listen_port
        wanted = {f"storePathRootDir={os.path.realpath(store)}": f"storePathRootDir={store}"}
        if port:
            wanted[f"listenPort={port}"] = f"listenPort={port}"
        for key, text in wanted.items():
            other = takers.setdefault(key, config)
            if other is not config:
                fail(EXIT_SETTINGS, f"{other} and {config} both have {text}: each broker needs its own")


# ---- settings ----


def _flags(*flags: tuple[str, str, object]) -> list[Assignment]:
    """``(key, flag, value)`` of the flags that were given."""
    return [Assignment(key, str(value), flag) for key, flag, value in flags if value is not None]


def _set_flags(texts: Sequence[str]) -> list[Assignment]:
    """The values of ``--set``."""
    parts = [text.partition("=") for text in texts]
    for key, equals, _ in parts:
        if not key or not equals:
            fail(EXIT_SETTINGS, f"--set {key}: expected is KEY=VALUE")
    return [Assignment(key.strip(), value, "--set") for key, _, value in parts]


def _settings(
    kind: type[S], config: Path | None, places: list[Assignment], flags: list[Assignment], roles: Roles
) -> S:
    """Settings of ``places``, file, environment and flags, the later before the earlier."""
    try:
        assignments = places + ([] if config is None else read_file(config))
        from_environment, notices = read_environment(kind, os.environ)
        settings, more = load(kind, assignments + from_environment + flags)
    except ConfigError as error:
        fail(EXIT_SETTINGS, error)
    roles.notices += [notice for notice in notices + more if notice not in roles.notices]
    return settings


# ---- running ----


def _run(roles: Roles, output: Output) -> None:
    if not __debug__:
        fail(EXIT_FAILED, "Python runs with -O, which removes the checks that protect the data: leave it out")
    log_path = output.log_path(roles.store)
    try:
        start_logging(log_path)
    except OSError as error:
        fail(EXIT_FAILED, f"cannot write the log: {one_line(error)}")
    for notice in roles.notices:
        log.log(notice.level, "%s", notice.text)
        if log_path is not None and notice.level >= logging.WARNING:
            # A setting that has no effect has to be seen by whoever makes it.
            print(f"ledgermq: warning: {one_line(notice.text)}", file=sys.stderr, flush=True)
    try:
        status = run(_serve(roles, output, log_path))
    except CannotStartError as error:
        fail(EXIT_FAILED, error)
    if status == EXIT_BROKER_STOPPED:
        who = "a broker" if len(roles.brokers) > 1 else "the broker"
        fail(status, f"{who} could not go on and has stopped; the log says why ({log_path or 'above'})")


async def _serve(roles: Roles, output: Output, log_path: Path | None) -> int:
    """Run the roles until a signal or the end of the last broker; the exit status."""
    stopping = when_signalled()
    running: dict[Role, None] = {}
    try:
        await _start(roles, running)
        if output.metrics_port is not None:
            await _start_metrics(roles, running, output.metrics_port)
        calm_collector()
        if output.print_json:
            _print_facts(roles, log_path)
        else:
            _print_block(roles, log_path)
        if output.while_stdin:
            asyncio.get_running_loop().add_reader(0, _read_stdin, stopping)
        return await _watch(roles.brokers, running, stopping)
    finally:
        # The brokers before their name server: they unregister there.
        await asyncio.gather(*(_stop(role) for role in running if role is not roles.name_server))
        if roles.name_server is not None and roles.name_server in running:
            await _stop(roles.name_server)


def _read_stdin(stopping: asyncio.Event) -> None:
    if not os.read(0, 4096):
        asyncio.get_running_loop().remove_reader(0)
        stopping.set()


async def _watch(brokers: Sequence[Broker], running: dict[Role, None], stopping: asyncio.Event) -> int:
    """Until a signal; a broker that fails is stopped, the last one ends the process."""
    loop = asyncio.get_running_loop()
    signalled = loop.create_task(stopping.wait())
    failures = {loop.create_task(broker.failed.wait()): broker for broker in brokers}
    waits = {signalled, *failures}
    while not signalled.done() and len(waits) > (1 if brokers else 0):
        done, waits = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for broker in (failures[task] for task in done if task in failures):
            if len(brokers) > 1:
                name = broker.settings.broker.broker_name
                print(
                    f"ledgermq: broker {name} could not go on; the log says why", file=sys.stderr, flush=True
                )
            del running[broker]
            await _stop(broker)
    for wait in waits:
        wait.cancel()
    return EXIT_BROKER_STOPPED if any(broker.failed.is_set() for broker in brokers) else 0


async def _stop(role: Role) -> None:
    try:
        await role.stop()
    except (OSError, StoreError) as error:
        log.error("while stopping: %s", error)
        print(f"ledgermq: while stopping: {one_line(error)}", file=sys.stderr)


async def _start(roles: Roles, running: dict[Role, None]) -> None:
    """Start the roles; those that run are added to ``running``. Raises CannotStartError."""
    if roles.name_server is not None:
        try:
            port = await roles.name_server.start()
        except (OSError, ValueError) as error:
            raise _cannot_start("name server", error, roles.name_server_flag) from None
        running[roles.name_server] = None
        roles.name_server_address = _reachable(roles.name_server_host, port)

    async def start(broker: Broker) -> None:
        if roles.name_server is not None:
            broker.settings.broker.namesrv_addr = roles.name_server_address
        await broker.start()
        running[broker] = None

    # Together: each waits for its name servers.
    ends = await asyncio.gather(*map(start, roles.brokers), return_exceptions=True)
    for broker, end in zip(roles.brokers, ends, strict=True):
        if isinstance(end, (OSError, StoreError, ValueError)):
            name = f" {broker.settings.broker.broker_name}" if len(roles.brokers) > 1 else ""
            # What it does not get when it has its own ports is its member's, which its peers must know.
            flag = None if broker.fast_port else roles.broker_flag
            raise _cannot_start(f"broker{name}", end, flag) from None
        if isinstance(end, BaseException):
            raise end


async def _start_metrics(roles: Roles, running: dict[Role, None], port: int) -> None:
    """Raises CannotStartError."""
    from ledgermq.broker.replication_facts import replication_facts
    from ledgermq.cli.metrics import MetricsServer, metrics_text

    def page() -> str:
        nodes = [broker.node for broker in roles.brokers if broker.node is not None]
        return metrics_text([replication_facts(node) for node in nodes])

    server = MetricsServer(page)
    host = roles.brokers[0].settings.remoting.bind_address
    try:
        port = await server.start(host, port)
    except OSError as error:
        raise _cannot_start("metrics endpoint", error, "--metrics-port") from None
    running[server] = None
    roles.metrics_url = f"http://{_reachable(host, port)}/metrics"


def _reachable(host: str, port: int) -> str:
    """Where a server that listens on ``host`` is reached from this machine."""
    host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _cannot_start(role: str, error: Exception, port_flag: str | None) -> CannotStartError:
    another = (
        f"choose another with {port_flag} (0: a free one)" if port_flag else "change dLegerPeers everywhere"
    )
    hints = {
        errno.EADDRINUSE: f"stop who uses the port, or {another}",
        errno.EADDRNOTAVAIL: "--host must be an address of this machine",
    }
    hint = hints.get(error.errno or 0) if isinstance(error, OSError) else None
    text = f"the {role} cannot start: {one_line(error)}"
    return CannotStartError(f"{text}; {hint}" if hint else text)


# ---- telling where it is ----


def _print_facts(roles: Roles, log_path: Path | None) -> None:
    facts: dict[str, object] = {"version": __version__, "compiled": is_compiled(), "pid": os.getpid()}
    if roles.name_server is not None:
        facts["name_server"] = roles.name_server_address
    brokers = [_facts(broker) for broker in roles.brokers]
    if len(brokers) > 1:
        facts["brokers"] = brokers
    elif brokers:
        del brokers[0]["name"]
        facts |= brokers[0]
    if roles.metrics_url:
        facts["metrics"] = roles.metrics_url
    if log_path is not None:
        facts["log"] = str(log_path.absolute())
    print(json.dumps(facts), flush=True)


def _facts(broker: Broker) -> dict[str, str]:
    return {
        "name": broker.settings.broker.broker_name,
        "broker": broker.address,
        "fast_port": _fast_address(broker),
        "store": os.path.abspath(broker.settings.store.store_path_root_dir),
    }


def _fast_address(broker: Broker) -> str:
    return f"{broker.address.rpartition(':')[0]}:{broker.fast_port}"


def _print_block(roles: Roles, log_path: Path | None) -> None:
    lines = [version_line()]
    if roles.name_server is not None:
        lines.append(_line("name server", roles.name_server_address))
    for broker in roles.brokers:
        facts = _facts(broker)
        if len(roles.brokers) > 1:
            lines.append(_line("broker", f"{facts['broker']} {facts['name']}, store {facts['store']}"))
        else:
            lines += [_line(role, facts[key]) for role, key in _BLOCK]
    if roles.metrics_url:
        lines.append(_line("metrics", roles.metrics_url))
    if log_path is not None:
        lines.append(_line("log", str(log_path.absolute())))
    lines.append(_next_thing(roles))
    print("\n".join(lines), flush=True)


def _line(role: str, text: str) -> str:
    return f"  {role:<13} {text}"


def _next_thing(roles: Roles) -> str:
    name_server = roles.name_server_address
    if not roles.brokers:
        return f"Next: ledgermq broker -n {name_server}"
    name_servers = name_server or roles.brokers[0].settings.broker.namesrv_addr
    if not name_servers:
        return "No client can find this broker yet: start it with -n HOST:PORT, its name server."
    if not any(broker.is_registered for broker in roles.brokers):
        return f"No client can find this broker: {name_servers} does not answer. It goes on trying."
    quoted = f"'{name_servers}'" if ";" in name_servers else name_servers
    return f"Try:  ledgermq send hello 'first message' -n {quoted}"
