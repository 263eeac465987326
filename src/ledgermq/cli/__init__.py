"""The command `ledgermq`."""

from ledgermq.cli.main import main

__all__ = ["main"]
