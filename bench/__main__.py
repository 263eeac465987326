"""`python -m bench`: ledgermq and the Java broker in turn, A B A B, and their ratios.

Every run is a fresh broker on an empty store; a case runs once per side before any side runs it again. The
output names versions, JVM options, warm-up, the load of the machine, and the spread of the rounds.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from bench import report
from bench.brokers import JAVA, Java, Side, exit_on_sigterm
from bench.cases import CASES, TINY, Bench, Settings
from bench.clients import ROOT, Clients, PythonClients, StockClients, build_java
from bench.wire import WireError


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--side",
        action="append",
        type=_side,
        metavar="java|NAME=PYTHON",
        help="a broker to measure; repeat it. NAME=PYTHON is ledgermq run by that interpreter; a name that "
        "begins with 'interpreted' has that build's targets (default: java, and both builds that are there)",
    )
    parser.add_argument(
        "--case", action="append", choices=CASES, help="a case to run; repeat it (default: all)"
    )
    parser.add_argument(
        "--clients", choices=("java", "python"), default="java", help="what loads the brokers"
    )
    parser.add_argument(
        "--tiny", action="store_true", help="seconds instead of an hour; the figures mean nothing"
    )
    for field in dataclasses.fields(Settings):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), metavar="N")
    parser.add_argument("--work", type=Path, help="where the stores are (default: a temporary folder)")
    parser.add_argument(
        "--results", type=Path, default=ROOT / "bench" / "results.jsonl", help="JSON lines are added here"
    )
    parser.add_argument("--markdown", type=Path, help="write the table as Markdown to this file")
    return parser.parse_args(argv)


def _side(text: str) -> Side:
    if text == JAVA:
        return Side(JAVA)
    name, equals, python = text.partition("=")
    if not equals or not python:
        raise argparse.ArgumentTypeError(f"{text!r} is neither 'java' nor NAME=PYTHON")
    # Not resolved: a virtual environment's interpreter is a link, and its own path finds the packages.
    return Side(name, os.path.abspath(python))


def default_sides() -> list[Side]:
    """Java's broker and the builds that `make compile` and `make venv` left in the checkout."""
    builds = {"compiled": ROOT / ".venv-compiled", "interpreted": ROOT / ".venv"}
    ours = [Side(name, str(venv / "bin" / "python")) for name, venv in builds.items() if venv.exists()]
    return [Side(JAVA), *(ours or [Side("ledgermq")])]


def settings_of(options: argparse.Namespace) -> Settings:
    chosen = {field.name: getattr(options, field.name) for field in dataclasses.fields(Settings)}
    return dataclasses.replace(
        TINY if options.tiny else Settings(),
        **{name: value for name, value in chosen.items() if value is not None},
    )


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    settings = settings_of(options)
    sides = options.side or default_sides()
    work = Path(tempfile.mkdtemp(prefix="ledgermq-bench-", dir=options.work))
    try:
        return _measure(options, settings, sides, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _measure(options: argparse.Namespace, settings: Settings, sides: list[Side], work: Path) -> int:
    needs_java = options.clients == "java" or any(side.is_java for side in sides)
    java: Java | None = build_java(work) if needs_java else None
    clients: Clients = (
        StockClients(java) if options.clients == "java" and java is not None else PythonClients()
    )
    versions = {side.name: side.version() for side in sides}
    print(f"machine: {report.machine()}, load average {os.getloadavg()[0]:.2f}")
    print(
        f"clients: {clients.name}; each run {settings.warmup_s:g} s of warm-up, then {settings.window_s:g} s"
    )
    for name, version in versions.items():
        print(f"{name}: {version}")

    runs: list[report.Run] = []
    failures = 0
    commit = report.commit(ROOT)
    for case in options.case or CASES:
        description, measure = CASES[case]
        print(f"\n{case}: {description}", flush=True)
        for number in range(1, settings.rounds + 1):
            for side in sides:
                load = os.getloadavg()[0]
                begin = time.monotonic()
                try:
                    figures = measure(Bench(side, clients, settings, work, java))
                except (RuntimeError, OSError, WireError) as error:
                    failures += 1
                    print(f"  {side.name} round {number} FAILED: {error}", file=sys.stderr, flush=True)
                    continue
                run = report.Run(case, side, number, figures)
                runs.append(run)
                shown = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
                elapsed_s = time.monotonic() - begin
                print(
                    f"  {side.name:12} round {number}  {shown}  [load {load:.1f}, {elapsed_s:.0f} s]",
                    flush=True,
                )
                with options.results.open("a") as results:
                    line = report.json_line(
                        run,
                        version=versions[side.name],
                        clients=clients.name,
                        settings=dataclasses.asdict(settings),
                        commit=commit,
                    )
                    results.write(line + "\n")

    rows = report.Summary(runs).rows()
    print("\nmedian (min-max) of the rounds; ratios of medians\n")
    print(report.text_table(rows))
    if options.markdown:
        options.markdown.write_text(report.markdown_table(rows) + "\n")
    return 1 if failures else 0


if __name__ == "__main__":
    exit_on_sigterm()
    sys.exit(main())
