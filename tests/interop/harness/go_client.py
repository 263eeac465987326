"""The official Go client: go/main.go, one process per command, its JSON lines as dictionaries."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any


class GoClient:
    def __init__(self, binary: Path, folder: Path) -> None:
        self._binary = binary
        self._folder = folder  # broadcast offsets and other files of the client go under here

    def run(self, command: str, *, timeout_s: float = 90, **flags: Any) -> list[dict[str, Any]]:
        """What `command` (produce, push, pull) printed; RuntimeError with its log when it failed."""
        words = [str(self._binary), command]
        words += [f"-{name}={_flag(value)}" for name, value in flags.items()]
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=timeout_s,
            cwd=self._folder,
            env={"HOME": str(self._folder)},
        )
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}:\n{done.stderr[-8000:]}")
        return [json.loads(line) for line in done.stdout.splitlines()]


def _flag(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
