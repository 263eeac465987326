"""One line for what went wrong; tables for people and for scripts."""

import errno
import json

import pytest

from ledgermq.cli.console import fail, one_line, print_table


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("plain ü", "plain ü"),
        ("two\nlines\x1b[31m", "two\\nlines\\x1b[31m"),
        (ValueError("bad\tvalue"), "bad\\tvalue"),
        (OSError(errno.EADDRINUSE, "cannot listen on h:1: in use"), "cannot listen on h:1: in use"),
        (PermissionError(errno.EACCES, "Permission denied", "/data"), "/data: Permission denied"),
        (OSError("no number"), "no number"),
    ],
)
def test_one_line(what: object, line: str) -> None:
    assert one_line(what) == line


def test_fail(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        fail(2, "no such\nthing")
    assert caught.value.code == 2
    assert capsys.readouterr() == ("", "ledgermq: no such\\nthing\n")


HEADS = ("broker", "min_offset", "last")


def test_table_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(HEADS, [("a", 5, None), ("longer name", 12345678901, "now")], as_json=False)
    assert capsys.readouterr().out == (
        "broker        min offset  last\na                      5  -\nlonger name  12345678901  now\n"
    )
    print_table(HEADS, [], as_json=False)
    assert capsys.readouterr().out == "broker  min offset  last\n"


def test_table_for_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(HEADS, [("a", 5, None)], as_json=True)
    assert json.loads(capsys.readouterr().out) == [{"broker": "a", "min_offset": 5, "last": None}]
    print_table(HEADS, [], as_json=True)
    assert json.loads(capsys.readouterr().out) == []
