"""Where log lines go, and their form: one line per event, whatever the event's text contains.

Rooms log to ``logging.getLogger("ledgermq.<room>")`` and know nothing of this file; an entry point calls
`start_logging` once. Without it the standard library shows warnings on stderr, which is what a program that
uses the client expects.

A line is ``2026-01-31 12:00:00.123 WARNING remoting: text``. A traceback follows its event on the same line,
with its line ends written as ``\\n``: one event stays one line for grep, and no peer can forge a line.
"""

import logging
import logging.handlers
import sys
import time
from contextlib import suppress
from pathlib import Path

# A file of this size is turned over, and so many old ones are kept: at most 110 MB of logs in a store.
FILE_BYTES_MAX = 10 * 1024 * 1024
OLD_FILES_MAX = 10


class LogFile(logging.handlers.RotatingFileHandler):
    """A log in a file. A line that cannot be written there goes to stderr: the log shares its disk with the
    store, and when that is full, the lines that say so must be seen, without a traceback for each."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Called by logging while the error is being handled."""
        if isinstance(sys.exception(), OSError):
            sys.stderr.write(f"{self.format(record)}\n")
        else:
            super().handleError(record)


class LineFormatter(logging.Formatter):
    """Writes a record as one line, local time, logger name without the leading ``ledgermq.``."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of ``record``, without a line end."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        room = record.name.removeprefix("ledgermq.")
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}: {self.formatException(record.exc_info)}"
        if not text.isprintable():
            text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
        return f"{stamp}.{int(record.msecs):03d} {record.levelname} {room}: {text}"


def start_logging(file: Path | None = None, level: int = logging.INFO) -> None:
    """Send the log of ``ledgermq`` to ``file``, or to stderr without one. Replaces what was set before.

    Directories above ``file`` are made. Raises OSError when the file cannot be opened.
    """
    handler: logging.Handler
    if file is None:
        handler = logging.StreamHandler()
    else:
        file.parent.mkdir(parents=True, exist_ok=True)
        handler = LogFile(file, maxBytes=FILE_BYTES_MAX, backupCount=OLD_FILES_MAX, encoding="utf-8")
    handler.setFormatter(LineFormatter())
    stop_logging()
    logger = logging.getLogger("ledgermq")
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False


def stop_logging() -> None:
    """Close what `start_logging` opened."""
    logger = logging.getLogger("ledgermq")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        with suppress(OSError):  # its last lines could not be written
            handler.close()
    logger.propagate = True
