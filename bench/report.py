"""What was measured, as a JSON line per run, a table for the terminal and one in Markdown.

Ratios are of medians, a ledgermq side over the Java side. A target is met when the ratio (or, where the
target is absolute, the median itself) is on the right side of it.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from bench.brokers import JAVA, Side
from bench.cases import Figures


@dataclass(frozen=True)
class Figure:
    """How a figure is shown, and what is wanted of it (`compiled`, `interpreted`: the builds' targets)."""

    case: str
    name: str
    label: str
    unit: str
    absolute: bool = False  # the target is for the figure itself, not for its ratio to Java's
    more_is_better: bool = False
    compiled: float | None = None
    interpreted: float | None = None


def _sending(
    case: str, label: str, cpu: float, rate: float | None, interpreted: float | None = None
) -> list[Figure]:
    return [
        Figure(
            case, "cpu_us", f"{label}: broker CPU per message", "us", compiled=cpu, interpreted=interpreted
        ),
        Figure(case, "messages_per_s", f"{label}: throughput", "/s", more_is_better=True, compiled=rate),
    ]


FIGURES = [
    *_sending("send1", "64 senders, 128 B", 0.25, 1.7, 0.8),
    *_sending("send1-json", "64 senders, 128 B, JSON headers", 0.25, 1.7, 0.8),
    *_sending("send1k", "64 senders, 1 KiB", 0.25, 1.7, 0.8),
    *_sending("batch", "batches of 32", 0.4, None),
    Figure("sync-flush", "cpu_us", "SYNC_FLUSH, 64 senders: broker CPU per message", "us"),
    Figure("sync-flush", "messages_per_s", "SYNC_FLUSH, 64 senders: throughput", "/s", more_is_better=True),
    Figure("latency", "p50_us", "one sender: median latency", "us", compiled=0.6),
    Figure("latency", "p95_us", "one sender: p95", "us"),
    Figure("latency", "p99_us", "one sender: p99", "us"),
    *_sending("drain", "draining two million", 0.4, None),
    Figure(
        "drain", "private_after_send_mib", "private memory after two million sends", "MiB", True, compiled=64
    ),
    Figure(
        "drain", "private_after_drain_mib", "private memory after draining them", "MiB", True, compiled=64
    ),
    Figure("startup", "first_send_s", "start to first accepted send", "s", True, compiled=0.5),
    Figure("recovery", "first_send_s", "recovery after kill -9 to first accepted send", "s"),
    Figure("recovery", "log_gib", "commit log recovered", "GiB"),
]


@dataclass(frozen=True)
class Run:
    case: str
    side: Side
    round: int
    figures: Figures


def machine() -> dict[str, object]:
    """What the figures depend on; no name of any host."""
    cpu = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    memory_kib = int(Path("/proc/meminfo").read_text().split()[1])
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gib": round(memory_kib / (1 << 20), 1),
        "kernel": platform.release(),
        **fresh_memory(),
    }


@cache
def fresh_memory() -> dict[str, float]:
    """CPU in us of an 8 KiB write to a file, where the page cache has no memory for it yet, and again.

    A hypervisor that takes back what its guest does not use makes the first one dear, and a log is made of
    nothing else.
    """
    block, count = os.urandom(8192), 65_536
    found: dict[str, float] = {}
    with tempfile.TemporaryFile() as file:
        for name in ("new_page_write_us", "same_page_write_us"):
            begin = time.process_time()
            for number in range(count):
                os.pwrite(file.fileno(), block, number * len(block))
            found[name] = round((time.process_time() - begin) / count * 1e6, 1)
    return found


def commit(root: Path) -> str:
    argv = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    done = subprocess.run(argv, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def json_line(run: Run, *, version: str, clients: str, settings: dict[str, object], commit: str) -> str:
    return json.dumps(
        {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": commit,
            "case": run.case,
            "side": run.side.name,
            "version": version,
            "clients": clients,
            "round": run.round,
            "figures": {name: round(value, 4) for name, value in run.figures.items()},
            "load1": round(os.getloadavg()[0], 2),
            "settings": settings,
            "machine": machine(),
        }
    )


class Summary:
    """Medians and spreads of the runs by case, figure and side."""

    def __init__(self, runs: list[Run], figures: Sequence[Figure] = FIGURES) -> None:
        self._figures = figures
        self._values: dict[tuple[str, str, str], list[float]] = defaultdict(list)
        self.sides = list(dict.fromkeys(run.side.name for run in runs))
        for run in runs:
            for name, value in run.figures.items():
                self._values[run.case, name, run.side.name].append(value)

    def median(self, figure: Figure, side: str) -> float | None:
        values = self._values.get((figure.case, figure.name, side))
        return statistics.median(values) if values else None

    def cell(self, figure: Figure, side: str) -> str:
        values = self._values.get((figure.case, figure.name, side))
        if not values:
            return "-"
        text = number(statistics.median(values))
        return text if len(values) == 1 else f"{text} ({number(min(values))}-{number(max(values))})"

    def ratio(self, figure: Figure, side: str) -> float | None:
        ours, java = self.median(figure, side), self.median(figure, JAVA)
        return ours / java if ours is not None and java else None

    def verdict(self, figure: Figure, side: str) -> str:
        """The target of a side and whether it is met; empty when there is none or it cannot be told."""
        target = figure.interpreted if side.startswith("interpreted") else figure.compiled
        value = self.median(figure, side) if figure.absolute else self.ratio(figure, side)
        if target is None or value is None or side == JAVA:
            return ""
        met = value >= target if figure.more_is_better else value <= target
        sign = "at least" if figure.more_is_better else "at most"
        return (
            f"{sign} {target:g}{' ' + figure.unit if figure.absolute else ''}: {'met' if met else 'MISSED'}"
        )

    def rows(self) -> list[list[str]]:
        """A heading and one row per figure that some side has."""
        others = [side for side in self.sides if side != JAVA]
        with_java = JAVA in self.sides
        heading = ["", *([JAVA] if with_java else [])]
        for side in others:
            heading += [side, *([f"{side} / java"] if with_java else []), "target"]
        rows = [heading]
        for figure in self._figures:
            if all(self.median(figure, side) is None for side in self.sides):
                continue
            row = [f"{figure.label} ({figure.unit})", *([self.cell(figure, JAVA)] if with_java else [])]
            for side in others:
                ratio = self.ratio(figure, side)
                row += [self.cell(figure, side), *([f"{ratio:.2f}" if ratio else "-"] if with_java else [])]
                row.append(self.verdict(figure, side))
            rows.append(row)
        return rows


def number(value: float) -> str:
    """Three digits, or the whole number when it is large."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def text_table(rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def markdown_table(rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "| --- " * len(rows[0]) + "|", *lines[1:]])
