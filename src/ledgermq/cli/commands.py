"""The commands and their flags. What they do is imported when it is asked for."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ledgermq.cli.cluster_commands import app as cluster_app
from ledgermq.cli.dledger_commands import app as dledger_app
from ledgermq.cli.options import DEFAULT_NAME_SERVER, NameServers, PrintJson, Settings
from ledgermq.runtime.build import version_line

app = typer.Typer(
    help="A message queue that speaks Apache RocketMQ's protocols and keeps its files.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
topic_app = typer.Typer(help="Topics: list, create, look at, delete.", no_args_is_help=True)
app.add_typer(topic_app, name="topic")
app.add_typer(dledger_app, name="dledger")
app.add_typer(cluster_app, name="cluster")

Host = Annotated[str | None, typer.Option("--host", metavar="HOST", help="Address to listen on (127.0.0.1).")]
Log = Annotated[
    str | None, typer.Option("--log", metavar="FILE", help="Log file (STORE/logs/ledgermq.log); - is stderr.")
]
BrokerConfigs = Annotated[
    list[Path] | None,
    typer.Option(
        "-c",
        "--config",
        metavar="FILE",
        help="broker.conf or TOML. Several: a broker for each, in one process.",
    ),
]
MetricsPort = Annotated[
    int | None,
    typer.Option(
        "--metrics-port",
        metavar="PORT",
        min=0,
        max=65535,
        help="Serve metrics of DLedger groups to Prometheus here (nowhere); 0: a free port.",
    ),
]
TopicName = Annotated[str, typer.Argument(metavar="TOPIC")]


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


# ---- servers ------------------------------------------------------------------------------------------


@app.command()
def serve(
    store: Annotated[
        Path | None, typer.Option("--store", metavar="DIR", help="Directory of all data (./ledgermq-data).")
    ] = None,
    host: Host = None,
    port: Annotated[
        int | None,
        typer.Option("--port", metavar="PORT", help="Name server's port (9876); 0: free ports for all."),
    ] = None,
    broker_port: Annotated[
        int | None,
        typer.Option(
            "--broker-port", metavar="PORT", help="Broker's port (10911); its fast port is two below."
        ),
    ] = None,
    configs: BrokerConfigs = None,
    settings: Settings = None,
    log: Log = None,
    metrics_port: MetricsPort = None,
    print_json: PrintJson = False,
) -> None:
    """Every role in one process: a name server and a broker."""
    from ledgermq.cli.roles import Output, run_all

    output = Output(print_json, log, metrics_port)
    run_all(configs or [], settings or [], store, host, port, broker_port, output)


@app.command()
def nameserver(
    config: Annotated[
        Path | None, typer.Option("-c", "--config", metavar="FILE", help="namesrv.conf or TOML.")
    ] = None,
    host: Host = None,
    port: Annotated[
        int | None, typer.Option("--port", metavar="PORT", help="Port (9876); 0: a free one.")
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option("--store", metavar="DIR", help="Directory of its files (./ledgermq-data/namesrv)."),
    ] = None,
    settings: Settings = None,
    log: Annotated[
        str | None, typer.Option("--log", metavar="FILE", help="Log file, instead of stderr.")
    ] = None,
    print_json: PrintJson = False,
) -> None:
    """A name server alone."""
    from ledgermq.cli.roles import Output, run_name_server

    run_name_server(config, settings or [], store, host, port, Output(print_json, log))


@app.command()
def broker(
    configs: BrokerConfigs = None,
    name_servers: Annotated[
        str | None,
        typer.Option("-n", "--name-servers", metavar="HOST:PORT;…", help="Name servers to register with."),
    ] = None,
    store: Annotated[
        Path | None, typer.Option("--store", metavar="DIR", help="Directory of all data (./ledgermq-data).")
    ] = None,
    host: Host = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port", metavar="PORT", help="Port (10911), the fast port is two below; 0: free ones."
        ),
    ] = None,
    settings: Settings = None,
    log: Log = None,
    metrics_port: MetricsPort = None,
    print_json: PrintJson = False,
    while_stdin: Annotated[
        bool, typer.Option("--while-stdin", help="Stop when standard input ends: with who started it.")
    ] = False,
) -> None:
    """A broker alone, or several in one process."""
    from ledgermq.cli.roles import Output, run_brokers

    output = Output(print_json, log, metrics_port, while_stdin)
    run_brokers(configs or [], settings or [], name_servers, store, host, port, output)


# ---- messages -----------------------------------------------------------------------------------------


@app.command()
def send(
    topic: TopicName,
    body: Annotated[
        str, typer.Argument(metavar="BODY", help="Text of the message; -: each line of standard input.")
    ],
    name_servers: NameServers = DEFAULT_NAME_SERVER,
    tag: Annotated[
        str | None, typer.Option("--tag", metavar="TAG", help="Tag, by which consumers select.")
    ] = None,
    key: Annotated[
        list[str] | None, typer.Option("--key", metavar="KEY", help="Key to find it by. Several allowed.")
    ] = None,
    properties: Annotated[
        list[str] | None, typer.Option("--property", metavar="NAME=VALUE", help="Several allowed.")
    ] = None,
    sharding_key: Annotated[
        str | None,
        typer.Option("--sharding-key", metavar="KEY", help="Same key, same queue: keeps their order."),
    ] = None,
    count: Annotated[int, typer.Option("--count", metavar="N", min=1, help="Send it so many times.")] = 1,
    print_json: PrintJson = False,
) -> None:
    """Send a message and print where it is stored."""
    from ledgermq.cli import messages

    messages.send(
        name_servers,
        topic,
        body,
        count=count,
        tag=tag,
        keys=key or [],
        properties=properties or [],
        sharding_key=sharding_key,
        print_json=print_json,
    )


@app.command()
def consume(
    topic: TopicName,
    name_servers: NameServers = DEFAULT_NAME_SERVER,
    group: Annotated[
        str | None,
        typer.Option(
            "--group", metavar="GROUP", help="Share the messages with this group and keep its progress."
        ),
    ] = None,
    tags: Annotated[str, typer.Option("--tags", metavar="TAGS", help="Tags wanted: 'a || b'.")] = "*",
    from_first: Annotated[
        bool, typer.Option("--from-first", help="Begin with the oldest message; a group: when it is new.")
    ] = False,
    count: Annotated[
        int | None, typer.Option("--count", metavar="N", min=1, help="End after so many messages.")
    ] = None,
    timeout_seconds: Annotated[
        float | None, typer.Option("--timeout", min=0.0, metavar="SECONDS", help="End after this time.")
    ] = None,
    print_json: PrintJson = False,
) -> None:
    """Print messages as they come, until Ctrl-C."""
    from ledgermq.cli import messages

    wanted = messages.Wanted(topic, tags, group, from_first, count, timeout_seconds, print_json)
    messages.consume(name_servers, wanted)


# ---- topics -------------------------------------------------------------------------------------------


class Perm(StrEnum):
    """What clients may do with a topic."""

    rw = "rw"
    r = "r"
    w = "w"


@topic_app.command("list")
def list_topics(
    name_servers: NameServers = DEFAULT_NAME_SERVER,
    with_internal: Annotated[
        bool, typer.Option("--all", help="Also those that brokers make for themselves.")
    ] = False,
    print_json: PrintJson = False,
) -> None:
    """Names of all topics."""
    from ledgermq.cli import topics

    topics.list_topics(name_servers, with_internal=with_internal, print_json=print_json)


@topic_app.command("create")
def create_topic(
    topic: TopicName,
    name_servers: NameServers = DEFAULT_NAME_SERVER,
    queue_count: Annotated[
        int, typer.Option("--queues", metavar="N", min=1, help="Queues on each broker.")
    ] = 8,
    perm: Annotated[Perm, typer.Option("--perm", help="Readable, writable, both.")] = Perm.rw,
    ordered: Annotated[bool, typer.Option("--ordered", help="Meant for ordered consumption.")] = False,
    print_json: PrintJson = False,
) -> None:
    """Create a topic on every broker, or change it."""
    from ledgermq.cli import topics

    topics.create_topic(
        name_servers,
        topic,
        queue_count=queue_count,
        perm=perm.value,
        ordered=ordered,
        print_json=print_json,
    )


@topic_app.command("route")
def show_route(
    topic: TopicName, name_servers: NameServers = DEFAULT_NAME_SERVER, print_json: PrintJson = False
) -> None:
    """Which brokers carry a topic."""
    from ledgermq.cli import topics

    topics.show_route(name_servers, topic, print_json=print_json)


@topic_app.command("status")
def show_status(
    topic: TopicName, name_servers: NameServers = DEFAULT_NAME_SERVER, print_json: PrintJson = False
) -> None:
    """What each queue of a topic holds."""
    from ledgermq.cli import topics

    topics.show_status(name_servers, topic, print_json=print_json)


@topic_app.command("delete")
def delete_topic(
    topic: TopicName, name_servers: NameServers = DEFAULT_NAME_SERVER, print_json: PrintJson = False
) -> None:
    """Delete a topic and its messages from every broker."""
    from ledgermq.cli import topics

    topics.delete_topic(name_servers, topic, print_json=print_json)
