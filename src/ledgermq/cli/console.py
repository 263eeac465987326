"""What all commands share: one loop, one line for what went wrong, an exit status, never a traceback.

Exit statuses: 0 done; 1 could not be done; 2 flags or settings that cannot be accepted; 3 a broker had to
stop by itself.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any, Final, NoReturn, TypeVar

import uvloop

T = TypeVar("T")

COLLECT_AFTER_OBJECTS: Final = 50_000
EXIT_FAILED: Final = 1
EXIT_SETTINGS: Final = 2
EXIT_BROKER_STOPPED: Final = 3


def fail(status: int, text: object) -> NoReturn:
    """End the command with one line on stderr."""
    print(f"ledgermq: {one_line(text)}", file=sys.stderr)
    sys.exit(status)


def one_line(text: object) -> str:
    """``text`` for a terminal: what is not printable, line ends too, is written as an escape."""
    if isinstance(text, OSError) and text.strerror:
        text = f"{text.filename}: {text.strerror}" if text.filename else text.strerror
    line = str(text)
    return line if line.isprintable() else "".join(map(_visible, line))


def _visible(char: str) -> str:
    return char if char.isprintable() else char.encode("unicode_escape").decode()


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` on uvloop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def run_client(work: Coroutine[Any, Any, T]) -> T:
    """Run a client's work; an error of the client ends the command with one line.

    Ctrl-C ends the command at once, unless ``work`` asks for :func:`when_signalled`.
    """
    from ledgermq.client import ClientError, UnreachableError

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        return run(work)
    except UnreachableError as error:
        fail(EXIT_FAILED, f"{error}; is it running? (-n HOST:PORT names another name server)")
    except (ClientError, ValueError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        fail(EXIT_FAILED, error)


async def bodies(text: str, count: int) -> AsyncIterator[bytes]:
    """What to send: ``text`` ``count`` times, or each line of standard input when it is ``-``.

    The loop runs on while a line is waited for: connections are kept, and the end of one is noticed.
    """
    if text != "-":
        for _ in range(count):
            yield text.encode(errors="surrogateescape")
        return
    while line := await asyncio.to_thread(sys.stdin.readline):
        yield line.rstrip("\r\n").encode(errors="surrogateescape")


def when_signalled() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set; a second signal ends the process at once."""
    signalled = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _signalled, signalled)
    return signalled


def _signalled(event: asyncio.Event) -> None:
    if event.is_set():
        os._exit(EXIT_FAILED)
    event.set()


def print_table(heads: Sequence[str], rows: Sequence[Sequence[object]], as_json: bool) -> None:
    """One line for each row under its heads, or a JSON array of objects on one line."""
    if as_json:
        print(json.dumps([dict(zip(heads, row, strict=True)) for row in rows]))
        return
    texts = [
        [head.replace("_", " ") for head in heads],
        *(["-" if value is None else str(value) for value in row] for row in rows),
    ]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    columns = list(zip(*rows, strict=True)) or [()] * len(heads)
    numbers = [any(isinstance(value, int) for value in column) for column in columns]
    for line in texts:
        cells = zip(line, widths, numbers, strict=True)
        print("  ".join(c.rjust(width) if right else c.ljust(width) for c, width, right in cells).rstrip())


def calm_collector() -> None:
    """To be called when a server is up. What is there now stays: the cycle collector need not go over it.
    What comes and goes with messages has no cycles, so it may look seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER_OBJECTS, 20, 100)
