"""``python -m ledgermq.testing.simulation --seeds 0:10000``, or one seed with its whole story."""

from __future__ import annotations

import argparse
import sys
import time
from multiprocessing import Pool

import msgspec

from ledgermq.testing.simulation.simulation import Outcome, simulate, simulate_brokers


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m ledgermq.testing.simulation",
        description="Run DLedger groups under faults, each run made by its seed, and check every step.",
    )
    parser.add_argument(
        "--seeds", default="0:1000", metavar="FIRST:END", help="seeds from FIRST up to END - 1"
    )
    parser.add_argument("--seed", type=int, help="this one only")
    parser.add_argument("--trace", action="store_true", help="with --seed: print everything that happens")
    parser.add_argument("--processes", type=int, default=1, help="run so many seeds at once")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first seed that fails")
    parser.add_argument("--brokers", action="store_true", help="the members are brokers with their stores")
    options = parser.parse_args(arguments)
    if options.seed is not None:
        return _one(options.seed, options.brokers, options.trace)
    first, _, end = options.seeds.partition(":")
    return _many(range(int(first), int(end)), options.brokers, options.processes, options.keep_going)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _print_event(now_us: int, who: str, what: str) -> None:
    sys.stdout.write(f"{now_us / 1e6:10.6f} {who:3s} {what}\n")


def _one(seed: int, brokers: bool, trace: bool) -> int:
    run = simulate_brokers if brokers else simulate
    outcome = run(seed, trace=_print_event if trace else None)
    faults = {name: value for name, value in msgspec.structs.asdict(outcome.faults).items() if value}
    _say(f"seed {seed}: {outcome.members} members, faults {faults}")
    _say(
        f"{outcome.events} events, {outcome.messages} messages, {outcome.terms} terms, {outcome.committed}"
        f" entries committed, {outcome.acknowledged} acknowledged, {outcome.reads} reads, at rest after"
        f" {outcome.calm_ms} ms, digest {outcome.digest}"
    )
    return _verdict(outcome)


def _verdict(outcome: Outcome) -> int:
    if outcome.violation is None:
        return 0
    _say(f"seed {outcome.seed} FAILED: {outcome.violation}")
    brokers = "--brokers " if outcome.faults.broker else ""
    _say(f"  see: python -m ledgermq.testing.simulation {brokers}--seed {outcome.seed} --trace")
    return 1


def _many(seeds: range, brokers: bool, processes: int, keep_going: bool) -> int:
    begin = time.monotonic()
    done = failed = committed = 0
    with Pool(processes) as pool:
        for outcome in pool.imap(simulate_brokers if brokers else simulate, seeds, chunksize=8):
            done += 1
            committed += outcome.committed
            failed += _verdict(outcome)
            if failed and not keep_going:
                break
            if done % 500 == 0:
                _say(f"{done} seeds, {done / (time.monotonic() - begin):.1f} a second, {failed} failed")
    seconds = time.monotonic() - begin
    _say(f"{done} seeds in {seconds:.0f} s, {committed} entries committed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
