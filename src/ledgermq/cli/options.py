"""Flags that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

DEFAULT_NAME_SERVER = "127.0.0.1:9876"

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any setting, by RocketMQ's name. Several allowed."),
]
PrintJson = Annotated[bool, typer.Option("--print-json", help="Print JSON, for scripts.")]
NameServers = Annotated[
    str,
    typer.Option(
        "-n",
        "--name-servers",
        metavar="HOST:PORT;…",
        envvar="NAMESRV_ADDR",
        help="Name servers.",
    ),
]
