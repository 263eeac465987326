"""Child programs: each in its own process group, its output in a file, gone when the test session is.

Rules of the file:
- A program is never waited for by sleeping: `wait_for_line` and `eventually` look until a deadline.
- A program that a test forgot, or that an interrupted session left, is killed with its whole group at exit.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_running: list[Program] = []


class Program:
    """One started program; stdout and stderr go to `log_path`."""

    def __init__(
        self, name: str, argv: Sequence[str], *, log_path: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.log_path = log_path
        log_path.parent.mkdir(parents=True, exist_ok=True)
        with log_path.open("ab") as log:
            self._log_start = log.tell()  # a restarted program appends; its lines are those after this
            self._process = subprocess.Popen(
                dies_with_us(argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                cwd=log_path.parent,
                start_new_session=True,
            )
        _running.append(self)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def output(self) -> str:
        with self.log_path.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def wait_for_line(self, pattern: str, timeout_s: float = 60) -> re.Match[str]:
        """The first match of `pattern` in the output; RuntimeError if the program ends before that."""

        def look() -> re.Match[str] | None:
            ended = not self.alive  # asked before reading: what it wrote before it ended must be seen
            match = re.search(pattern, self.output(), re.MULTILINE)
            if match is None and ended:
                raise RuntimeError(
                    f"{self.name} ended with {self._process.returncode} before {pattern!r}:\n{self.output()}"
                )
            return match

        return eventually(look, timeout_s, what=f"{pattern!r} from {self.name}, see {self.log_path}")

    def stop(self, timeout_s: float = 30) -> int:
        """SIGTERM, as an operator would; RuntimeError if it is not gone in time. Returns the exit code."""
        if self.alive:
            self._process.terminate()
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.kill()
                raise RuntimeError(
                    f"{self.name} was still running {timeout_s} s after SIGTERM:\n{self.output()}"
                ) from None
        self._forget()
        return self._process.returncode

    def kill(self) -> None:
        """kill -9 of the program and everything it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._forget()

    def _forget(self) -> None:
        if self in _running:
            _running.remove(self)


def dies_with_us(argv: Sequence[str]) -> list[str]:
    """The same command, killed by the kernel when this process ends in a way that runs no clean-up."""
    setpriv = shutil.which(
        "setpriv"
    )  # of util-linux; where it is missing, only kill -9 of us leaves programs
    return [setpriv, "--pdeathsig", "KILL", "--", *argv] if setpriv else list(argv)


@atexit.register
def kill_all() -> None:
    for program in list(_running):
        program.kill()


def eventually(look: Callable[[], T | None], timeout_s: float = 20, *, what: str = "the condition") -> T:
    """Calls `look` until it returns something true, and returns that; TimeoutError after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_s} s, last seen {found!r}")
        time.sleep(0.05)


def accepts_connections(address: str) -> bool:
    host, port = address.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True
