import logging
import re
from pathlib import Path

import pytest

from ledgermq.runtime.logging import start_logging, stop_logging


@pytest.fixture
def log_file(tmp_path):
    path = tmp_path / "logs" / "ledgermq.log"
    start_logging(path)
    yield path
    stop_logging()


def test_an_event_is_one_line(log_file):
    log = logging.getLogger("ledgermq.remoting")
    log.warning("frame of %d bytes from %s", 7, "a\nb\x1b[0m \u00e9")
    log.debug("not this")
    (line,) = log_file.read_text("utf-8").splitlines()
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} WARNING remoting: "
        r"frame of 7 bytes from a\\nb\\x1b\[0m \u00e9",
        line,
    )


def test_a_traceback_stays_on_the_line_of_its_event(log_file):
    try:
        raise ValueError("odd")
    except ValueError:
        logging.getLogger("ledgermq.store").exception("cannot")
    (line,) = log_file.read_text("utf-8").splitlines()
    assert " ERROR store: cannot: Traceback" in line
    assert line.endswith("ValueError: odd")


def test_without_a_file_the_log_goes_to_stderr(capsys):
    start_logging()
    logging.getLogger("ledgermq").info("up")
    stop_logging()
    assert capsys.readouterr().err.endswith(" INFO ledgermq: up\n")


def test_starting_again_replaces(log_file, tmp_path):
    start_logging(tmp_path / "other.log")
    logging.getLogger("ledgermq").info("there")
    assert log_file.read_text("utf-8") == ""
    assert (tmp_path / "other.log").read_text("utf-8").endswith("there\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's file that is always full")
def test_what_the_file_does_not_take_goes_to_stderr(capsys):
    start_logging(Path("/dev/full"))
    logging.getLogger("ledgermq.store").error("the disk is full")
    logging.getLogger("ledgermq.store").error("still")
    stop_logging()
    lines = capsys.readouterr().err.splitlines()
    assert [line[24:] for line in lines] == ["ERROR store: the disk is full", "ERROR store: still"]
