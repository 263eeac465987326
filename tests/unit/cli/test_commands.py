"""What ``--help`` shows: every value has a name, every command a line that fits."""

from collections.abc import Iterator
from typing import Any

import typer
from typer.testing import CliRunner

from ledgermq.cli.commands import app

LINE_MAX = 64
"""What a terminal of 80 columns leaves beside the longest name."""


def commands(command: Any, *names: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    for child, one in getattr(command, "commands", {}).items():
        yield (*names, child), one
        yield from commands(one, *names, child)


ALL = dict(commands(typer.main.get_command(app)))


def test_values_are_called_by_their_meaning() -> None:
    """Not by their Python types, which stand in angle brackets; so do the values of a choice."""
    assert ("cluster", "status") in ALL
    for names in ALL:
        lines = CliRunner().invoke(app, [*names, "--help"]).output.splitlines()
        assert [
            line for line in lines if "--" in line and "<" in line.split("  ")[1] and "|" not in line
        ] == []


def test_what_a_command_does_fits_a_line() -> None:
    assert [names for names, one in ALL.items() if one.get_short_help_str(LINE_MAX).endswith("...")] == []
