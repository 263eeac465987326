"""Entry point of the command ``ledgermq``."""

from __future__ import annotations

import os
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

    try:
        sys.exit(app(prog_name="ledgermq", standalone_mode=False))
    except BrokenPipeError:
        # Who read our output has seen enough; the interpreter would complain when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        # What is wrong with the flags; typer moves the class of these errors from version to version.
        if not hasattr(error, "format_message"):
            raise
        text = str(error.format_message())
        # Without arguments the text is the help.
        print(text if "\n" in text else f"ledgermq: {text}", file=sys.stderr)
        sys.exit(2)
