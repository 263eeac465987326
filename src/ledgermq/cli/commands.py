"""The commands and their flags. What they do is imported when it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ledgermq.runtime.build import version_line

app = typer.Typer(
    help="A message queue that speaks Apache RocketMQ's protocols and keeps its files.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Config = Annotated[Path | None, typer.Option("-c", "--config", help="broker.conf or TOML.")]
Host = Annotated[str, typer.Option("--host", help="Address to listen on.")]
Store = Annotated[Path | None, typer.Option("--store", help="Directory of all data.")]
NameServers = Annotated[
    str, typer.Option("-n", "--name-servers", help="Name servers, HOST:PORT, several by ';'.")
]
PrintJson = Annotated[
    bool, typer.Option("--print-json", help="Print the addresses as one JSON line instead.")
]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(version_line())
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Version and build.")
    ] = False,
) -> None:
    """Options before the command."""


@app.command()
def serve(
    store: Annotated[Path, typer.Option("--store", help="Directory of all data.")] = Path("ledgermq-data"),
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Name server's port; 0: free ports for all.")] = 9876,
    broker_port: Annotated[
        int | None,
        typer.Option("--broker-port", help="Broker's port (10911); its fast port is two below."),
    ] = None,
    config: Config = None,
    print_json: PrintJson = False,
) -> None:
    """Every role in one process: a name server and a broker."""
    from ledgermq.cli.roles import run_all

    run_all(store, host, port, broker_port, config, print_json)


@app.command()
def nameserver(
    config: Annotated[Path | None, typer.Option("-c", "--config", help="namesrv.conf or TOML.")] = None,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port (9876); 0: a free one.")] = None,
    store: Store = None,
    print_json: PrintJson = False,
) -> None:
    """A name server alone."""
    from ledgermq.cli.roles import run_name_server

    run_name_server(config, host, port, store, print_json)


@app.command()
def broker(
    config: Config = None,
    name_servers: NameServers = "",
    store: Store = None,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port (10911); 0: a free one.")] = None,
    print_json: PrintJson = False,
) -> None:
    """A broker alone, which registers with its name servers."""
    from ledgermq.cli.roles import run_broker

    run_broker(config, name_servers, store, host, port, print_json)
