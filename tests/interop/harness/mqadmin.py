"""mqadmin's own commands, run in the driver's JVM, and its printed tables read back.

mqadmin tells of an error by an exception (a JavaError here) or, in some commands, by printing it: `run` treats a
stack trace or a "failed" in what was printed to the error stream as a failure of the command.
"""

from __future__ import annotations

import re

from tests.interop.harness.driver import Driver


class MqadminFailed(Exception):
    """The command printed an error instead of ending with one."""


class Mqadmin:
    def __init__(self, driver: Driver, namesrv: str) -> None:
        self._driver = driver
        self._namesrv = namesrv

    def run(self, command: str, *words: str) -> str:
        """What `mqadmin command words...` prints."""
        answer = self._driver.call("mqadmin", namesrv=self._namesrv, args=[command, *words])
        if answer["err"].strip() or "Exception" in answer["out"]:
            raise MqadminFailed(f"mqadmin {command} {' '.join(words)}:\n{answer['out']}\n{answer['err']}")
        out: str = answer["out"]
        return out

    def table(self, command: str, *words: str) -> list[dict[str, str]]:
        """The rows of the one table the command prints."""
        return read_table(self.run(command, *words))

    def settings(self, command: str, *words: str) -> dict[str, str]:
        """The `name : value` or `name = value` lines the command prints."""
        lines = re.findall(r"^(\S+)\s*[:=] +(.*?)\s*$", self.run(command, *words), re.MULTILINE)
        return dict(lines)


def read_table(printed: str) -> list[dict[str, str]]:
    """Rows under the first line that starts with '#', until an empty line, by the names in that line.

    Columns are separated by two spaces or more in the heading (names may hold single spaces) and by their order in
    a row, whose last column takes what is left.
    """
    rows: list[dict[str, str]] = []
    names: list[str] | None = None
    for line in printed.splitlines():
        if names is None:
            if line.startswith("#"):
                names = re.findall(r"#(\S+(?: \S+)*)", line)
        elif not line.strip():
            break
        else:
            rows.append(dict(zip(names, line.split(None, len(names) - 1), strict=False)))
    if names is None:
        raise MqadminFailed(f"no table in:\n{printed}")
    return rows
