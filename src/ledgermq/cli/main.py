"""Entry point of the command `ledgermq`."""

import sys

from ledgermq.runtime.build import version_line


def main() -> None:
    """Run the command line; exits with its status."""
    if sys.argv[1:] == ["--version"]:
        print(version_line())
        return
    sys.exit("ledgermq: only --version is understood yet")
