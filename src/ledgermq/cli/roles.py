"""The serving commands: settings from files, environment and flags; the roles in one loop; a clean end.

What goes wrong before the roles serve is one line on stderr and exit status 1, or 2 for settings that cannot
be accepted. SIGTERM and SIGINT end the roles cleanly, with status 0; a second signal ends the process at
once. A broker that cannot go on (an fsync failed) ends with status 3.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn, TypeVar

from ledgermq.broker.broker import Broker
from ledgermq.nameserver.server import NameServer
from ledgermq.runtime.build import version_line
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

log: Final = logging.getLogger("ledgermq.cli")

S = TypeVar("S", BrokerSettings, NameServerSettings)

EXIT_CANNOT_START: Final = 1
EXIT_SETTINGS: Final = 2
EXIT_BROKER_FAILED: Final = 3


@dataclass
class Roles:
    """What is to run in this process, and what became of it."""

    name_server: NameServer | None = None
    name_server_host: str = ""
    broker: Broker | None = None
    notices: list[Notice] = field(default_factory=list)
    addresses: dict[str, str] = field(default_factory=dict)


def run_all(
    store: Path, host: str, port: int, broker_port: int | None, config: Path | None, print_json: bool
) -> None:
    """``ledgermq serve``."""
    ns_flags = {
        "listenPort": str(port),
        "bindAddress": host,
        "kvConfigPath": str(store / "namesrv" / "kvConfig.json"),
        "configStorePath": str(store / "namesrv" / "namesrv.properties"),
    }
    if broker_port is None:
        broker_port = 0 if port == 0 else 10911
    flags = {"listenPort": str(broker_port), "bindAddress": host, "storePathRootDir": str(store)}
    roles = Roles(name_server_host=host)
    ns_settings = _settings(NameServerSettings, None, ns_flags, roles)
    settings = _settings(BrokerSettings, config, flags, roles)
    roles.name_server = NameServer(ns_settings)
    roles.broker = Broker(settings, config)
    _run(roles, print_json, store)


def run_name_server(
    config: Path | None, host: str | None, port: int | None, store: Path | None, print_json: bool
) -> None:
    """``ledgermq nameserver``."""
    flags = _given(bindAddress=host, listenPort=port)
    if store is not None:
        flags["kvConfigPath"] = str(store / "kvConfig.json")
        flags["configStorePath"] = str(store / "namesrv.properties")
    if config is not None and config.suffix != ".toml":
        # As in Java: what updateNamesrvConfig changes goes into the file that was given.
        flags["configStorePath"] = str(config)
    roles = Roles()
    settings = _settings(NameServerSettings, config, flags, roles)
    roles.name_server_host = settings.remoting.bind_address
    roles.name_server = NameServer(settings)
    _run(roles, print_json, None)


def run_broker(
    config: Path | None,
    name_servers: str,
    store: Path | None,
    host: str | None,
    port: int | None,
    print_json: bool,
) -> None:
    """``ledgermq broker``."""
    flags = _given(
        namesrvAddr=name_servers or None, storePathRootDir=store, bindAddress=host, listenPort=port
    )
    roles = Roles()
    settings = _settings(BrokerSettings, config, flags, roles)
    roles.broker = Broker(settings, config)
    _run(roles, print_json, Path(settings.store.store_path_root_dir))


def _given(**flags: object) -> dict[str, str]:
    """The flags that were given, under their configuration keys."""
    return {key: str(value) for key, value in flags.items() if value is not None}


def _settings(kind: type[S], config: Path | None, flags: dict[str, str], roles: Roles) -> S:
    """Settings of file, environment and flags, the later before the earlier."""
    try:
        assignments = [] if config is None else read_file(config)
        from_environment, notices = read_environment(kind, os.environ)
        assignments += from_environment
        assignments += [Assignment(key, value, "command line") for key, value in flags.items()]
        settings, more = load(kind, assignments)
    except ConfigError as error:
        _fail(EXIT_SETTINGS, error)
    roles.notices += notices + more
    return settings


def _run(roles: Roles, print_json: bool, store: Path | None) -> None:
    if not __debug__:
        _fail(EXIT_CANNOT_START, "runs with -O, which removes its safety checks: start it without")
    # With the block on stdout and a store to log into, the terminal stays readable.
    start_logging(None if store is None or print_json else store / "logs" / "ledgermq.log")
    for notice in roles.notices:
        log.log(notice.level, "%s", notice.text)
    try:
        import uvloop

        status = uvloop.run(_serve(roles, print_json, store))
    except ImportError:
        status = asyncio.run(_serve(roles, print_json, store))
    sys.exit(status)


async def _serve(roles: Roles, print_json: bool, store: Path | None) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _signalled, stopping)
    stops: list[Callable[[], Awaitable[None]]] = []
    try:
        await _start(roles, stops)
    except (OSError, StoreError, ValueError) as error:
        await _stop(stops)
        _fail(EXIT_CANNOT_START, error)
    _announce(roles, print_json, store)
    waits = [loop.create_task(stopping.wait())]
    if roles.broker is not None:
        waits.append(loop.create_task(roles.broker.failed.wait()))
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    failed = roles.broker is not None and roles.broker.failed.is_set()
    await _stop(stops)
    return EXIT_BROKER_FAILED if failed else 0


def _signalled(stopping: asyncio.Event) -> None:
    if stopping.is_set():
        os._exit(EXIT_CANNOT_START)
    stopping.set()


async def _start(roles: Roles, stops: list[Callable[[], Awaitable[None]]]) -> None:
    if roles.name_server is not None:
        port = await roles.name_server.start()
        stops.append(roles.name_server.stop)
        roles.addresses["name server"] = f"{roles.name_server_host}:{port}"
    if roles.broker is not None:
        broker = roles.broker
        if roles.name_server is not None:
            broker.settings.broker.namesrv_addr = roles.addresses["name server"]
        await broker.start()
        stops.append(broker.stop)
        roles.addresses["broker"] = broker.address
        roles.addresses["broker, fast"] = f"{broker.address.rpartition(':')[0]}:{broker.fast_port}"


async def _stop(stops: list[Callable[[], Awaitable[None]]]) -> None:
    """The broker before its name server: it unregisters there."""
    for stop in reversed(stops):
        try:
            await stop()
        except (OSError, StoreError) as error:
            log.error("%s", error)
            print(f"ledgermq: {error}", file=sys.stderr)


def _announce(roles: Roles, print_json: bool, store: Path | None) -> None:
    if print_json:
        facts = {name.replace(", ", "_").replace(" ", "_"): at for name, at in roles.addresses.items()}
        print(json.dumps({**facts, "pid": os.getpid()}), flush=True)
        return
    lines = [version_line()]
    lines += [f"  {name:<13} {address}" for name, address in roles.addresses.items()]
    if store is not None:
        lines.append(f"  {'store':<13} {store}")
        lines.append(f"  {'log':<13} {store / 'logs' / 'ledgermq.log'}")
    name_server = roles.addresses.get("name server")
    if name_server is None and roles.broker is not None:
        name_server = roles.broker.settings.broker.namesrv_addr.split(";")[0]
    if name_server and roles.broker is not None:
        lines.append(f"Try: ledgermq send hello 'first message' -n {name_server}")
    elif name_server:
        lines.append(f"Next: ledgermq broker -n {name_server}")
    else:
        lines.append("This broker has no name server: start it with -n HOST:PORT for clients to find it.")
    print("\n".join(lines), flush=True)


def _fail(status: int, text: object) -> NoReturn:
    print(f"ledgermq: {text}", file=sys.stderr)
    sys.exit(status)
