"""The serving commands: settings from files, environment and flags; the roles in one loop; a clean end.

A role's parts are imported when it is asked for: a name server needs neither broker nor store.

What goes wrong before the roles serve is one line on stderr and an exit status of console.py. SIGTERM and
SIGINT end the roles cleanly, with status 0; a second signal ends the process at once.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from ledgermq import __version__
from ledgermq.cli.console import (
    EXIT_BROKER_STOPPED,
    EXIT_FAILED,
    EXIT_SETTINGS,
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
    from ledgermq.nameserver.server import NameServer

log: Final = logging.getLogger("ledgermq.cli")

S = TypeVar("S", BrokerSettings, NameServerSettings)


@dataclass
class Output:
    """Where the start-up block and the log go. ``log`` None is the role's own place, ``-`` is stderr."""

    print_json: bool
    log: str | None

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
    broker: Broker | None = None
    broker_flag: str = "--port"
    store: Path | None = None
    notices: list[Notice] = field(default_factory=list)
    addresses: dict[str, str] = field(default_factory=dict)
    """Role to ``host:port``, as clients can reach it from here."""


class CannotStartError(Exception):
    """A role did not start; the text says which, why, and what helps."""


def run_all(
    config: Path | None,
    settings: Sequence[str],
    store: Path | None,
    host: str | None,
    port: int | None,
    broker_port: int | None,
    output: Output,
) -> None:
    """``ledgermq serve``. The configuration file and ``settings`` are the broker's."""
    from ledgermq.broker.broker import Broker
    from ledgermq.nameserver.server import NameServer

    roles = Roles(broker_flag="--broker-port")
    if port == 0 and broker_port is None:
        broker_port = 0
    flags = _flags(("storePathRootDir", "--store", store), ("bindAddress", "--host", host))
    flags += _flags(("listenPort", "--broker-port", broker_port))
    of_broker = _settings(BrokerSettings, config, [], _set_flags(settings) + flags, roles)
    roles.store = Path(of_broker.store.store_path_root_dir)
    places = _flags(
        ("kvConfigPath", "--store", roles.store / "namesrv" / "kvConfig.json"),
        ("configStorePath", "--store", roles.store / "namesrv" / "namesrv.properties"),
    )
    flags = _flags(("listenPort", "--port", port))
    of_name_server = _settings(NameServerSettings, None, places, flags, roles)
    of_name_server.remoting = of_broker.remoting
    roles.name_server_host = of_name_server.remoting.bind_address
    roles.name_server = NameServer(of_name_server)
    roles.broker = Broker(of_broker, config)
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


def run_broker(
    config: Path | None,
    settings: Sequence[str],
    name_servers: str | None,
    store: Path | None,
    host: str | None,
    port: int | None,
    output: Output,
) -> None:
    """``ledgermq broker``."""
    from ledgermq.broker.broker import Broker

    roles = Roles()
    flags = _flags(
        ("namesrvAddr", "--name-servers", name_servers),
        ("storePathRootDir", "--store", store),
        ("bindAddress", "--host", host),
        ("listenPort", "--port", port),
    )
    loaded = _settings(BrokerSettings, config, [], _set_flags(settings) + flags, roles)
    roles.broker = Broker(loaded, config)
    roles.store = Path(loaded.store.store_path_root_dir)
    _run(roles, output)


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
    try:
        status = run(_serve(roles, output.print_json, log_path))
    except CannotStartError as error:
        fail(EXIT_FAILED, error)
    if status == EXIT_BROKER_STOPPED:
        fail(status, f"the broker could not go on and has stopped; the log says why ({log_path or 'above'})")


async def _serve(roles: Roles, print_json: bool, log_path: Path | None) -> int:
    """Run the roles until a signal or the broker's end; the exit status."""
    stopping = when_signalled()
    loop = asyncio.get_running_loop()
    stops: list[Callable[[], Awaitable[None]]] = []
    try:
        await _start(roles, stops)
        if print_json:
            _print_facts(roles, log_path)
        else:
            _print_block(roles, log_path)
        waits = [loop.create_task(stopping.wait())]
        if roles.broker is not None:
            waits.append(loop.create_task(roles.broker.failed.wait()))
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        return EXIT_BROKER_STOPPED if roles.broker is not None and roles.broker.failed.is_set() else 0
    finally:
        # The broker before its name server: it unregisters there.
        for stop in reversed(stops):
            await _stop(stop)


async def _stop(stop: Callable[[], Awaitable[None]]) -> None:
    try:
        await stop()
    except (OSError, StoreError) as error:
        log.error("while stopping: %s", error)
        print(f"ledgermq: while stopping: {one_line(error)}", file=sys.stderr)


async def _start(roles: Roles, stops: list[Callable[[], Awaitable[None]]]) -> None:
    """Start the roles; how to stop those that run goes to ``stops``. Raises CannotStartError."""
    if roles.name_server is not None:
        try:
            port = await roles.name_server.start()
        except (OSError, ValueError) as error:
            raise _cannot_start("name server", error, roles.name_server_flag) from None
        stops.append(roles.name_server.stop)
        roles.addresses["name server"] = _reachable(roles.name_server_host, port)
    broker = roles.broker
    if broker is None:
        return
    if roles.name_server is not None:
        broker.settings.broker.namesrv_addr = roles.addresses["name server"]
    try:
        await broker.start()
    except (OSError, StoreError, ValueError) as error:
        raise _cannot_start("broker", error, roles.broker_flag) from None
    stops.append(broker.stop)
    roles.addresses["broker"] = broker.address
    roles.addresses["fast port"] = f"{broker.address.rpartition(':')[0]}:{broker.fast_port}"


def _reachable(host: str, port: int) -> str:
    """Where a server that listens on ``host`` is reached from this machine."""
    host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _cannot_start(role: str, error: Exception, port_flag: str) -> CannotStartError:
    hints = {
        errno.EADDRINUSE: f"stop who uses the port, or choose another with {port_flag} (0: a free one)",
        errno.EADDRNOTAVAIL: "--host must be an address of this machine",
    }
    hint = hints.get(error.errno or 0) if isinstance(error, OSError) else None
    text = f"the {role} cannot start: {one_line(error)}"
    return CannotStartError(f"{text}; {hint}" if hint else text)


# ---- telling where it is ----


def _print_facts(roles: Roles, log_path: Path | None) -> None:
    facts: dict[str, object] = {"version": __version__, "compiled": is_compiled(), "pid": os.getpid()}
    facts |= {role.replace(" ", "_"): address for role, address in roles.addresses.items()}
    if roles.store is not None:
        facts["store"] = str(roles.store.absolute())
    if log_path is not None:
        facts["log"] = str(log_path.absolute())
    print(json.dumps(facts), flush=True)


def _print_block(roles: Roles, log_path: Path | None) -> None:
    lines = [version_line()]
    lines += [f"  {role:<13} {address}" for role, address in roles.addresses.items()]
    if roles.store is not None:
        lines.append(f"  {'store':<13} {roles.store.absolute()}")
    if log_path is not None:
        lines.append(f"  {'log':<13} {log_path.absolute()}")
    lines.append(_next_thing(roles))
    print("\n".join(lines), flush=True)


def _next_thing(roles: Roles) -> str:
    name_server = roles.addresses.get("name server")
    if roles.broker is None:
        return f"Next: ledgermq broker -n {name_server}"
    name_servers = name_server or roles.broker.settings.broker.namesrv_addr
    if not name_servers:
        return "No client can find this broker yet: start it with -n HOST:PORT, its name server."
    quoted = f"'{name_servers}'" if ";" in name_servers else name_servers
    return f"Try:  ledgermq send hello 'first message' -n {quoted}"
