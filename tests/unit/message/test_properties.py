"""The text of properties, and what the broker finds in it without making a dictionary."""

from __future__ import annotations

import pytest

from ledgermq.message.hashing import java_hash
from ledgermq.message.properties import PropertyScan, decode_properties, encode_properties, find_property

SPANS = {
    "TAGS": "tags",
    "KEYS": "keys",
    "UNIQ_KEY": "unique",
    "WAIT": "wait",
    "DELAY": "delay",
    "TRAN_MSG": "transaction",
    "TIMER_DELIVER_MS": "timer",
    "INNER_NUM": "inner",
}


def spans(data: bytes) -> dict[str, bytes]:
    """Property name -> value, of those that the scan found."""
    scan = PropertyScan()
    scan.scan(data)
    found = {}
    for name, span in SPANS.items():
        end = getattr(scan, f"{span}_end")
        if end:
            found[name] = data[getattr(scan, f"{span}_at") : end]
    return found


def test_encoding_is_java_s():
    assert encode_properties({"KEYS": "a b", "TAGS": "t"}) == b"KEYS\x01a b\x02TAGS\x01t\x02"
    assert encode_properties({}) == b""


@pytest.mark.parametrize(
    ("data", "properties"),
    [
        (b"", {}),
        (b"a\x01b\x02", {"a": "b"}),
        (b"a\x01b", {"a": "b"}),
        (b"a\x01b\x02a\x01c\x02", {"a": "c"}),
        (b"a\x01b\x01c\x02", {"a": "b\x01c"}),
        (b"\x02\x02a\x01b\x02\x02", {"a": "b"}),
        (b"noseparator\x02a\x01b\x02", {"a": "b"}),
        (b"\x01novalue\x02a\x01\x02", {}),
        ("ключ\x01значение\x02".encode(), {"ключ": "значение"}),
    ],
)
def test_decoding_forgives_what_java_forgives(data: bytes, properties: dict[str, str]):
    assert decode_properties(data) == properties
    for name, value in properties.items():
        assert find_property(data, name.encode()) == value.encode()


def test_the_scan_finds_what_the_broker_acts_upon():
    properties = {name: f"value of {name}" for name in SPANS}
    assert spans(encode_properties({"x": "1", **properties, "y": "2"})) == {
        name: value.encode() for name, value in properties.items()
    }


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01\x02",
        b"TAGS",
        b"TAGS\x02",
        b"TAGS\x01\x02",
        b"\x01TAGS\x02",
        b"TAGSX\x01a\x02XTAGS\x01a\x02",
    ],
)
def test_the_scan_finds_nothing_where_nothing_is(data: bytes):
    assert spans(data) == {}


def test_the_last_of_equal_names_wins_and_a_scan_forgets_the_one_before():
    scan = PropertyScan()
    scan.scan(b"TAGS\x01a\x02TAGS\x01b\x02")
    assert scan.tags_code == java_hash(b"b")
    scan.scan(b"KEYS\x01k\x02")
    assert (scan.tags_end, scan.tags_code) == (0, 0)
