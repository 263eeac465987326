"""Finds java, mvn and go, and builds the Java driver and the Go client once per session.

A missing tool is an error and never a skip: `make interop` that proves nothing must not be green.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOM = Path(__file__).resolve().parent.parent
JAVA_PROJECT = ROOM / "java"
GO_MODULE = ROOM / "go"


class ToolchainError(Exception):
    """A program that the interop tests need is not there, or it failed."""


def find(tool: str, purpose: str) -> str:
    path = shutil.which(tool)
    if path is None:
        raise ToolchainError(
            f"{tool} is not on PATH; the interop tests need it {purpose} (see tests/interop/README.md)"
        )
    return path


def java() -> str:
    return find("java", "to run the stock Java programs (JDK 17)")


def build_java() -> str:
    """The class path of the driver and the stock RocketMQ programs."""
    mvn = find("mvn", "to resolve the stock Java programs")
    _run([mvn, "-q", "-B", "compile"], JAVA_PROJECT)
    jars = (JAVA_PROJECT / "target" / "classpath.txt").read_text().strip()
    return f"{JAVA_PROJECT / 'target' / 'classes'}{os.pathsep}{jars}"


def build_go(binary: Path) -> None:
    go = find("go", "to build the official Go client")
    _run([go, "build", "-o", str(binary), "."], GO_MODULE, {"CGO_ENABLED": "0"})


def _run(argv: Sequence[str], directory: Path, env: Mapping[str, str] | None = None) -> None:
    # Two sessions in one checkout would write the same target folder.
    with (directory / ".build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(
            list(argv),
            cwd=directory,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    if done.returncode != 0:
        raise ToolchainError(f"{' '.join(argv)} in {directory} ended with {done.returncode}:\n{done.stdout}")
