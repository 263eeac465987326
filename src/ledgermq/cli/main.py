"""Entry point of the command ``ledgermq``."""

from __future__ import annotations

import sys

from ledgermq.runtime.build import version_line


def main() -> None:
    """Run the command line; exits with its status.

    ``--version`` is answered before anything else is imported: scripts ask it often.
    """
    if sys.argv[1:] == ["--version"]:
        print(version_line())
        return
    from ledgermq.cli.commands import app  # slow to import

    app(prog_name="ledgermq")
