"""mqadmin's own commands, run in the driver's JVM, and its printed tables read back.

mqadmin tells of an error by an exception (a JavaError here) or, in some commands, by printing it: `run` takes
a line that begins with an exception's name, and anything on standard error, for a failure of the command.
"""

from __future__ import annotations

import re

from tests.interop.harness.driver import Driver, JavaError

NO_CHANNEL = "connect to  failed"
"""The new client of a command got no channel: Java names the channel's address here, not the one it was to
connect to (a blank one it skips). On a machine that is busy enough one of its locks or its connect may take
longer than its three seconds; the command is run once more then."""


class MqadminError(Exception):
    """The command printed an error instead of ending with one."""


class Mqadmin:
    def __init__(self, driver: Driver, namesrv: str) -> None:
        self._driver = driver
        self._namesrv = namesrv

    def run(self, command: str, *words: str) -> str:
        """What `mqadmin command words...` prints."""
        try:
            answer = self._execute(command, words)
        except JavaError as error:
            if NO_CHANNEL not in str(error):
                raise
            answer = self._execute(command, words)
        if answer["err"].strip() or re.search(r"^(\w+\.)+\w*Exception\b", answer["out"], re.MULTILINE):
            raise MqadminError(f"mqadmin {command} {' '.join(words)}:\n{answer['out']}\n{answer['err']}")
        return answer["out"]

    def _execute(self, command: str, words: tuple[str, ...]) -> dict[str, str]:
        answer: dict[str, str] = self._driver.call("mqadmin", namesrv=self._namesrv, args=[command, *words])
        return answer

    def table(self, command: str, *words: str) -> list[dict[str, str]]:
        """The rows of the one table the command prints."""
        return read_table(self.run(command, *words))

    def settings(self, command: str, *words: str) -> dict[str, str]:
        """The `name : value` or `name = value` lines the command prints."""
        lines = re.findall(r"^(\S+)\s*[:=] +(.*?)\s*$", self.run(command, *words), re.MULTILINE)
        return dict(lines)


def read_table(printed: str) -> list[dict[str, str]]:
    """Rows under the first line that starts with '#', until an empty line, by the names in that line.

    A row's words belong to the names in their order, and the last name takes what is left.
    """
    rows: list[dict[str, str]] = []
    names: list[str] | None = None
    for line in printed.splitlines():
        if names is None:
            if line.startswith("#"):
                names = [name.strip() for name in line.split("#")[1:]]
        elif not line.strip():
            break
        else:
            rows.append(dict(zip(names, line.strip().split(None, len(names) - 1), strict=False)))
    if names is None:
        raise MqadminError(f"no table in:\n{printed}")
    return rows
