"""``ledgermq cluster`` and its commands, and their flags. What they do is imported when it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ledgermq.cli.options import DEFAULT_NAME_SERVER, NameServers, PrintJson, Settings

app = typer.Typer(help="A cluster: start one on this machine, look at one, hand over.")

TimeoutSeconds = Annotated[
    float, typer.Option("--timeout", min=0.1, metavar="SECONDS", help="Wait so long for one broker.")
]
Json = Annotated[bool, typer.Option("--print-json", "--json", help="Print JSON, for scripts.")]

DEFAULT_STORE = Path("ledgermq-cluster")


@app.callback(invoke_without_command=True)
def cluster(
    context: typer.Context,
    nodes: Annotated[
        int | None,
        typer.Option(
            "--nodes", metavar="N", min=1, max=7, help="Processes (3), a member of each group in each."
        ),
    ] = None,
    groups: Annotated[
        int | None, typer.Option("--groups", metavar="N", min=1, max=64, help="Groups (as many as nodes).")
    ] = None,
    store: Annotated[
        Path,
        typer.Option("--store", metavar="DIR", help="Directory of all data; a second start goes on with it."),
    ] = DEFAULT_STORE,
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            metavar="PORT",
            min=0,
            max=65535,
            help="Name server's port (9876); all others follow it; 0: free ones.",
        ),
    ] = None,
    settings: Settings = None,
    print_json: PrintJson = False,
) -> None:
    """Start a cluster on this machine, to try it out: a name server and processes that hold broker groups.

    Prints where everything is, and then each change of leader.
    """
    if context.invoked_subcommand is not None:
        flags = (nodes, groups, port, settings or None, print_json or None)
        if store != DEFAULT_STORE or any(flag is not None for flag in flags):
            raise typer.BadParameter(f"flags of {context.invoked_subcommand} stand behind its name")
        return
    from ledgermq.cli import cluster as running

    running.start(store, nodes, groups, port, settings or [], print_json=print_json)


@app.command()
def status(
    name_servers: NameServers = DEFAULT_NAME_SERVER,
    timeout_seconds: TimeoutSeconds = 2.0,
    print_json: Json = False,
) -> None:
    """Who leads each group, and how far every member is.

    Status 1 when a group has no leader, or no broker is registered.
    """
    from ledgermq.cli import cluster_client

    cluster_client.status(name_servers, timeout_seconds, print_json=print_json)


@app.command()
def transfer(
    group: Annotated[str, typer.Argument(metavar="GROUP", help="Its brokerName.")],
    member: Annotated[str, typer.Argument(metavar="MEMBER", help="Who is to lead: n0, n1, …")],
    name_servers: NameServers = DEFAULT_NAME_SERVER,
    timeout_seconds: TimeoutSeconds = 10.0,
) -> None:
    """Make a member the leader of its group."""
    from ledgermq.cli import cluster_client

    cluster_client.transfer(name_servers, group, member, timeout_seconds)
