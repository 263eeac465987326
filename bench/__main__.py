"""`python -m bench`: ledgermq and the Java broker in turn, A B A B, and their ratios.

Every run is a fresh broker on an empty store; a case runs once per side before any side runs it again. The
output names versions, JVM options, warm-up, the load of the machine, and the spread of the rounds.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path

from bench import report
from bench.brokers import JAVA, Side, exit_on_sigterm
from bench.cases import CASES, TINY, Bench, Settings
from bench.clients import ROOT
from bench.rounds import Measured, Rounds, add_clients, clients_of, parser_of, settings_of


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = parser_of("python -m bench", __doc__, CASES, Settings)
    parser.add_argument(
        "--side",
        action="append",
        type=_side,
        metavar="java|NAME=PYTHON",
        help="a broker to measure; repeat it. NAME=PYTHON is ledgermq run by that interpreter; a name that "
        "begins with 'interpreted' has that build's targets (default: java, and both builds that are there)",
    )
    add_clients(parser)
    parser.add_argument("--work", type=Path, help="where the stores are (default: a temporary folder)")
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


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    settings = settings_of(options, Settings(), TINY)
    sides = options.side or default_sides()
    work = Path(tempfile.mkdtemp(prefix="ledgermq-bench-", dir=options.work))
    try:
        return _measure(options, settings, sides, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _measure(options: argparse.Namespace, settings: Settings, sides: list[Side], work: Path) -> int:
    clients, java = clients_of(options, any(side.is_java for side in sides), work)
    versions = {side.name: side.version() for side in sides}
    print(f"machine: {report.machine()}, load average {os.getloadavg()[0]:.2f}")
    print(
        f"clients: {clients.name}; each run {settings.warmup_s:g} s of warm-up, then {settings.window_s:g} s"
    )
    for name, version in versions.items():
        print(f"{name}: {version}")
    rounds = Rounds(options.results, clients.name, settings)
    for case in options.case or CASES:
        description, measure = CASES[case]
        measured = [
            Measured(side, versions[side.name], partial(measure, Bench(side, clients, settings, work, java)))
            for side in sides
        ]
        rounds.case(case, description, settings.rounds, measured)
    return rounds.finish(report.FIGURES, options.markdown)


if __name__ == "__main__":
    exit_on_sigterm()
    sys.exit(main())
