"""What clients of a group did and saw, in the form that tests/interop/go/porcupine checks."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from tests.interop.harness import toolchain

MODULE: Final = toolchain.ROOM / "go" / "porcupine"


@dataclass
class Operation:
    """One call of a client. ``end`` is 0 while nothing is known of its end."""

    client: int
    kind: str
    call: int
    index: int = -1
    value: str | None = None
    found: bool = False
    end: int = 0

    def line(self) -> str:
        fields = asdict(self)
        fields["return"] = fields.pop("end")
        return json.dumps(fields)


class History:
    """The operations of all clients of one run."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []

    def append(self, client: int, value: str) -> Operation:
        """An append begins; see ``appended`` and ``not_done``. What gets neither is unknown."""
        operation = Operation(client, "append", time.monotonic_ns(), value=value)
        self.operations.append(operation)
        return operation

    def appended(self, operation: Operation, index: int) -> None:
        operation.index = index
        operation.end = time.monotonic_ns()

    def not_done(self, operation: Operation) -> None:
        self.operations.remove(operation)

    def got(self, client: int, call_ns: int, index: int, value: str | None, found: bool) -> None:
        operation = Operation(client, "get", call_ns, index, value, found, time.monotonic_ns())
        self.operations.append(operation)

    def lines(self, log: list[str | None]) -> list[str]:
        """With ``log``, read when all was over, it is known of each unknown append whether it was done."""
        places = {value: index for index, value in enumerate(log) if value is not None}
        assert len(places) == sum(value is not None for value in log), "an entry is in the log twice"
        kept = []
        for operation in self.operations:
            if operation.kind == "append" and operation.end == 0:
                index = places.get(operation.value or "")
                if index is None:
                    continue
                operation.index = index
            kept.append(operation)
        return [json.dumps({"log": log}), *(operation.line() for operation in kept)]


class Porcupine:
    """The checker, built by Go in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._binary = folder / "porcupine"
        go = toolchain.find("go", "to build the checker of histories")
        done = subprocess.run(
            [go, "build", "-o", str(self._binary), "."], cwd=MODULE, capture_output=True, text=True
        )
        if done.returncode != 0:
            raise toolchain.ToolchainError(f"the checker cannot be built:\n{done.stderr}")

    def check(self, lines: list[str], picture: Path) -> str:
        """``Ok``, ``Illegal`` (and ``picture`` shows why, as HTML) or ``Unknown``."""
        done = subprocess.run(
            [str(self._binary), str(picture)], input="\n".join(lines), capture_output=True, text=True
        )
        if done.returncode not in (0, 1):
            raise RuntimeError(f"the checker failed: {done.stderr}")
        return done.stdout.strip()
