"""Hashes, properties and records against naive models."""

from __future__ import annotations

import contextlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from librt.strings import BytesWriter

from ledgermq.message.hashing import hash_more, java_hash, signed32
from ledgermq.message.properties import PropertyScan, decode_properties, encode_properties, find_property
from ledgermq.message.record import RecordError, decode_record, record_bytes, write_record

INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
HOST = st.binary(min_size=8, max_size=8) | st.binary(min_size=20, max_size=20)
KNOWN_NAMES = ["TAGS", "KEYS", "UNIQ_KEY", "WAIT", "DELAY", "TRAN_MSG", "TIMER_DELAY_MS", "INNER_NUM"]
SPANS = ["tags", "keys", "unique", "wait", "delay", "transaction", "timer", "inner"]
NAME = st.sampled_from(KNOWN_NAMES) | st.text(max_size=12)
PROPERTY_BYTES = st.lists(
    st.sampled_from([b"\x01", b"\x02", b"a", b"TAGS", b"KEYS", b"UNIQ_KEY", b"\xff", b"TIMER_X"]), max_size=30
).map(b"".join)


def naive_hash(text: str) -> int:
    units = text.encode("utf-16-be")
    state = 0
    for at in range(0, len(units), 2):
        state = (31 * state + int.from_bytes(units[at : at + 2], "big")) % (1 << 32)
    return state - (1 << 32) if state >= 1 << 31 else state


@given(st.text(max_size=400))
def test_java_hash(text: str) -> None:
    assert java_hash(text.encode()) == naive_hash(text)


@given(st.binary(max_size=60), st.data())
def test_a_hash_continues_at_any_boundary_of_characters(data: bytes, draw: st.DataObject) -> None:
    text = data.decode("latin-1")
    cut = draw.draw(st.integers(0, len(text)))
    first, second = text[:cut].encode(), text[cut:].encode()
    state = hash_more(hash_more(0, first, 0, len(first)), second, 0, len(second))
    assert signed32(state) == naive_hash(text)


def naive_properties(data: bytes) -> dict[bytes, bytes]:
    """Java's loop, over bytes."""
    found: dict[bytes, bytes] = {}
    at = 0
    while at < len(data):
        end = data.find(b"\x02", at)
        end = len(data) if end < 0 else end
        if end - at >= 3:
            separator = data.find(b"\x01", at)
            if at < separator < end - 1:
                found[data[at:separator]] = data[separator + 1 : end]
        at = end + 1
    return found


@given(PROPERTY_BYTES | st.binary(max_size=60))
def test_reading_properties(data: bytes) -> None:
    expected = naive_properties(data)
    texts = {
        name.decode("utf-8", "replace"): value.decode("utf-8", "replace") for name, value in expected.items()
    }
    assert decode_properties(data) == texts
    for name, value in expected.items():
        assert find_property(data, name) == value
    scan = PropertyScan()
    scan.scan(data)
    for name_text, span in zip(KNOWN_NAMES, SPANS, strict=True):
        if span in ("timer", "inner"):
            continue
        end = getattr(scan, f"{span}_end")
        found = data[getattr(scan, f"{span}_at") : end] if end else None
        assert found == expected.get(name_text.encode())
    assert scan.tags_code == (java_hash(expected[b"TAGS"]) if b"TAGS" in expected else 0)


@given(st.dictionaries(NAME, st.text(max_size=20), max_size=6))
def test_properties_are_read_back(properties: dict[str, str]) -> None:
    encoded = encode_properties(properties)
    clean = {
        name: value
        for name, value in properties.items()
        if name and value and not set(name + value) & {"\x01", "\x02"}
    }
    if clean == properties:
        assert decode_properties(encoded) == properties


RECORD = st.tuples(
    st.binary(max_size=300), INT32, INT64, INT64, INT32, INT32, INT64, HOST, INT64, HOST, INT32, INT64
)


@given(RECORD, st.binary(max_size=300), st.binary(max_size=300))
def test_records_are_read_back(fields: tuple[Any, ...], body: bytes, properties: bytes) -> None:
    (
        topic,
        queue_id,
        queue_offset,
        log_offset,
        flag,
        sys_flag,
        born_ms,
        born,
        store_ms,
        host,
        times,
        prepared,
    ) = fields
    out = BytesWriter()
    size = write_record(out, *(*fields, body, properties))
    data = out.getvalue()
    assert size == len(data) == record_bytes(topic, born, host, body, properties)
    for record in (decode_record(data, 0, True), decode_record(b"x" + data + b"rest", 1, True)):
        assert (record.topic, record.body, record.properties) == (topic, body, properties)
        assert (record.queue_id, record.queue_offset, record.log_offset) == (
            queue_id,
            queue_offset,
            log_offset,
        )
        assert (record.flag, record.born_ms, record.store_ms) == (flag, born_ms, store_ms)
        assert (record.born_host, record.store_host) == (born, host)
        assert (record.reconsume_times, record.prepared_offset) == (times, prepared)
        assert record.sys_flag & ~0x30 == sys_flag & ~0x30


@given(st.binary(max_size=300), st.integers(-5, 305))
def test_any_bytes_are_a_record_or_not(data: bytes, at: int) -> None:
    with contextlib.suppress(RecordError):
        decode_record(data, at, check_crc=True)


@given(RECORD, st.binary(max_size=50), st.data())
def test_a_changed_record_is_refused_or_read(
    fields: tuple[Any, ...], body: bytes, draw: st.DataObject
) -> None:
    out = BytesWriter()
    write_record(out, *(*fields, body, b"a\x01b\x02"))
    data = bytearray(out.getvalue())
    at = draw.draw(st.integers(0, len(data) - 1))
    data[at] ^= draw.draw(st.integers(1, 255))
    with contextlib.suppress(RecordError):
        assert decode_record(bytes(data)).size <= len(data)
