"""What the benchmarks have in common: their options, and cases measured one side after the other, A B A B."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from bench import report
from bench.brokers import Java, Side
from bench.cases import Figures
from bench.clients import ROOT, Clients, PythonClients, StockClients, build_java
from bench.wire import WireError

S = TypeVar("S")


def parser_of(
    program: str, doc: str | None, cases: Iterable[str], settings: type[Any]
) -> argparse.ArgumentParser:
    """Options to choose cases, change any of the settings and say where results go."""
    parser = argparse.ArgumentParser(prog=program, description=(doc or "").splitlines()[0])
    parser.add_argument("--case", action="append", choices=cases, help="repeat it (default: all)")
    parser.add_argument("--tiny", action="store_true", help="small numbers; the figures mean nothing")
    for setting in dataclasses.fields(settings):
        parser.add_argument(f"--{setting.name.replace('_', '-')}", type=type(setting.default), metavar="N")
    parser.add_argument(
        "--results", type=Path, default=ROOT / "bench" / "results.jsonl", help="JSON lines are added here"
    )
    parser.add_argument("--markdown", type=Path, help="write the table as Markdown to this file")
    return parser


def add_clients(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--clients", choices=("java", "python"), default="java", help="what loads the brokers"
    )


def clients_of(options: argparse.Namespace, with_java: bool, work: Path) -> tuple[Clients, Java | None]:
    """What loads the brokers, and the Java programs if a side or the load needs them."""
    java = build_java(work) if with_java or options.clients == "java" else None
    return (StockClients(java) if options.clients == "java" and java else PythonClients()), java


def settings_of(options: argparse.Namespace, usual: S, tiny: S) -> S:
    chosen = {name: getattr(options, name) for name in vars(usual)}
    given = {name: value for name, value in chosen.items() if value is not None}
    settings: S = dataclasses.replace(tiny if options.tiny else usual, **given)  # type: ignore[type-var]
    return settings


@dataclass
class Measured:
    """One side of a case: which version it is, and what measures it: the figures of a run, or of each of its
    windows."""

    side: Side
    version: str
    measure: Callable[[], Figures | list[Figures]]


@dataclass
class Rounds:
    """All runs of one call of a benchmark; each is also a line of the file ``results``."""

    results: Path
    clients: str
    settings: object
    runs: list[report.Run] = field(default_factory=list)
    failures: int = 0

    def case(self, name: str, description: str, count: int, sides: Sequence[Measured]) -> None:
        """Measure ``count`` rounds. A run that fails is said and left out."""
        print(f"\n{name}: {description}", flush=True)
        for number in range(1, count + 1):
            for one in sides:
                self._run(name, number, one)

    def _run(self, name: str, number: int, one: Measured) -> None:
        load, begin = os.getloadavg()[0], time.monotonic()
        try:
            found = one.measure()
        except (RuntimeError, OSError, WireError) as error:
            self.failures += 1
            print(f"  {one.side.name} round {number} FAILED: {error}", file=sys.stderr, flush=True)
            return
        elapsed_s = time.monotonic() - begin
        for figures in [found] if isinstance(found, dict) else found:
            run = report.Run(name, one.side, number, figures)
            self.runs.append(run)
            shown = "  ".join(f"{figure} {value:.4g}" for figure, value in figures.items())
            print(
                f"  {one.side.name:15} round {number}  {shown}  [load {load:.1f}, {elapsed_s:.0f} s]",
                flush=True,
            )
            with self.results.open("a") as results:
                line = report.json_line(
                    run,
                    version=one.version,
                    clients=self.clients,
                    settings=dict(vars(self.settings)),
                    commit=report.commit(ROOT),
                )
                results.write(line + "\n")

    def finish(self, figures: Sequence[report.Figure], markdown: Path | None) -> int:
        """Print the table; the program's exit status."""
        rows = report.Summary(self.runs, figures).rows()
        print("\nmedian (min-max); ratios of medians\n")
        print(report.text_table(rows))
        if markdown:
            markdown.write_text(report.markdown_table(rows) + "\n")
        return 1 if self.failures else 0
