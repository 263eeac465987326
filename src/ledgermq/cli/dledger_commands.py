"""The commands of ``ledgermq dledger`` and their flags. What they do is imported when it is asked for."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ledgermq.cli.options import PrintJson

app = typer.Typer(help="DLedger groups: serve a member, append, get, look, hand over.", no_args_is_help=True)

Group = Annotated[str, typer.Option("--group", metavar="GROUP", help="Name of the group.")]
Peers = Annotated[
    str,
    typer.Option(
        "--peers", metavar="ID-HOST:PORT;…", envvar="LEDGERMQ_DLEDGER_PEERS", help="All members of the group."
    ),
]
TimeoutSeconds = Annotated[
    float, typer.Option("--timeout", min=0.0, metavar="SECONDS", help="Give up after this time.")
]

DEFAULT_GROUP = "default"
DEFAULT_PEERS = "n0-localhost:20911"


class Flush(StrEnum):
    """When an entry counts as held by a member."""

    quorum_fsync = "quorum-fsync"
    page_cache = "page-cache"


@app.command()
def server(
    group: Group = DEFAULT_GROUP,
    self_id: Annotated[
        str, typer.Option("--id", metavar="ID", help="Which of the members this one is.")
    ] = "n0",
    peers: Peers = DEFAULT_PEERS,
    store: Annotated[
        Path, typer.Option("--store", metavar="DIR", help="Directory of the files, in dledger-ID below it.")
    ] = Path("ledgermq-data"),
    memory: Annotated[
        bool, typer.Option("--memory", help="Keep nothing on disk: for tests and caches only.")
    ] = False,
    flush: Annotated[
        Flush,
        typer.Option(
            "--flush", help="An entry counts as held once its fsync covers it, or once it is written."
        ),
    ] = Flush.quorum_fsync,
    host: Annotated[
        str | None,
        typer.Option("--host", metavar="HOST", help="Address to listen on (that of this member in --peers)."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any setting, by DLedger's name. Several allowed."),
    ] = None,
    log: Annotated[
        str | None, typer.Option("--log", metavar="FILE", help="Log file, instead of stderr.")
    ] = None,
    print_json: PrintJson = False,
) -> None:
    """One member of a group."""
    from ledgermq.cli import dledger

    flags = {
        "group": group,
        "selfId": self_id,
        "peers": peers,
        "storeBaseDir": str(store),
        "storeType": "MEMORY" if memory else "FILE",
        "flushPolicy": flush.value,
    }
    if host is not None:
        flags["bindAddress"] = host
    dledger.run_server(flags, settings or [], log, print_json=print_json)


@app.command()
def append(
    body: Annotated[
        str, typer.Argument(metavar="BODY", help="Text of the entry; -: each line of standard input.")
    ],
    group: Group = DEFAULT_GROUP,
    peers: Peers = DEFAULT_PEERS,
    count: Annotated[int, typer.Option("--count", metavar="N", min=1, help="Append it so many times.")] = 1,
    timeout_seconds: TimeoutSeconds = 10.0,
    print_json: PrintJson = False,
) -> None:
    """Append an entry, and print where it is once it is committed."""
    from ledgermq.cli import dledger

    dledger.append(dledger.Target(group, peers, timeout_seconds), body, count=count, print_json=print_json)


@app.command()
def get(
    index: Annotated[int, typer.Argument(metavar="INDEX", min=0, help="The entry, counted from 0.")],
    group: Group = DEFAULT_GROUP,
    peers: Peers = DEFAULT_PEERS,
    count: Annotated[int, typer.Option("--count", metavar="N", min=1, help="Entries from there on.")] = 1,
    timeout_seconds: TimeoutSeconds = 10.0,
    print_json: PrintJson = False,
) -> None:
    """Print an entry."""
    from ledgermq.cli import dledger

    dledger.get(dledger.Target(group, peers, timeout_seconds), index, count=count, print_json=print_json)


@app.command()
def metadata(
    group: Group = DEFAULT_GROUP,
    peers: Peers = DEFAULT_PEERS,
    timeout_seconds: TimeoutSeconds = 10.0,
    print_json: PrintJson = False,
) -> None:
    """Who is in the group and who leads it, as each member says."""
    from ledgermq.cli import dledger

    dledger.metadata(dledger.Target(group, peers, timeout_seconds), print_json=print_json)


@app.command()
def transfer(
    member: Annotated[str, typer.Argument(metavar="MEMBER", help="Who is to lead.")],
    group: Group = DEFAULT_GROUP,
    peers: Peers = DEFAULT_PEERS,
    timeout_seconds: TimeoutSeconds = 10.0,
) -> None:
    """Make a member the leader."""
    from ledgermq.cli import dledger

    dledger.transfer(dledger.Target(group, peers, timeout_seconds), member)


@app.command()
def bench(
    group: Group = DEFAULT_GROUP,
    peers: Peers = DEFAULT_PEERS,
    in_flight: Annotated[
        int, typer.Option("--in-flight", metavar="N", min=1, max=60_000, help="Appends at once.")
    ] = 64,
    body_bytes: Annotated[int, typer.Option("--bytes", metavar="N", min=0, help="Of each body.")] = 128,
    seconds: Annotated[
        float, typer.Option("--seconds", metavar="SECONDS", min=0.1, help="How long it is measured.")
    ] = 5.0,
    warm_up_seconds: Annotated[
        float, typer.Option("--warm-up", metavar="SECONDS", min=0.0, help="How long it runs before that.")
    ] = 1.0,
    print_json: PrintJson = False,
) -> None:
    """Append as fast as the group takes it, and print how fast."""
    from ledgermq.cli import dledger

    load = dledger.Load(in_flight, body_bytes, seconds, warm_up_seconds)
    dledger.bench(dledger.Target(group, peers, 10.0), load, print_json=print_json)
