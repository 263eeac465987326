"""What ``ledgermq dledger`` prints, and its benchmark's arithmetic."""

from __future__ import annotations

import json

import pytest

from ledgermq.cli.dledger import Measured, _appended_json, _entry_json, _entry_line
from ledgermq.dledger.client import Appended
from ledgermq.dledger.requests import Entry


def test_percentiles() -> None:
    measured = Measured(2.0, [i / 1000 for i in range(100, 0, -1)], {})
    assert measured.per_second == 50
    assert [measured.percentile_ms(percent) for percent in (1, 50, 99, 99.9, 100)] == pytest.approx(
        [1, 50, 99, 100, 100]
    )
    assert Measured(2.0, [0.007], {}).percentile_ms(50) == pytest.approx(7)
    assert Measured(2.0, [], {}).percentile_ms(50) == 0


def test_entries() -> None:
    text = Entry(index=3, term=2, pos=96, body="grün\n".encode())
    assert _entry_line(text) == "3 of term 2: grün\\n"
    assert json.loads(_entry_json(text)) == {"index": 3, "term": 2, "pos": 96, "body": "grün\n"}
    binary = Entry(index=3, term=2, pos=96, body=b"\xff")
    assert _entry_line(binary) == "3 of term 2: \\xff"
    assert json.loads(_entry_json(binary))["body_base64"] == "/w=="


def test_appended() -> None:
    facts = {"index": 3, "pos": 96, "term": 2, "leader_id": "n0"}
    assert json.loads(_appended_json(Appended(3, 96, 2, "n0"))) == facts
