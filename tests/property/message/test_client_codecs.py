"""Batches, ids and compressed bodies: what is encoded is decoded, and other bytes are refused in one way."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st
from librt.strings import BytesWriter

from ledgermq.message.batch import BatchError, BatchUnit, decode_batch, encode_batch
from ledgermq.message.compression import COMPRESSED, Compression, CompressionError, compress, decompress
from ledgermq.message.ids import MessageIdError, UniqueKeys, offset_message_id, parse_offset_message_id
from ledgermq.message.model import Message, decode_messages
from ledgermq.message.properties import decode_properties, encode_properties
from ledgermq.message.record import RecordError, write_record

INT32 = st.integers(-(2**31), 2**31 - 1)
UNITS = st.lists(st.builds(BatchUnit, INT32, st.binary(max_size=50), st.binary(max_size=50)), max_size=5)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x01\x02"), min_size=1, max_size=20)


@given(UNITS)
def test_batches_are_read_back(units: list[BatchUnit]) -> None:
    assert decode_batch(encode_batch(units)) == units


@given(UNITS, st.data())
def test_a_damaged_batch_is_refused_or_read(units: list[BatchUnit], data: st.DataObject) -> None:
    encoded = bytearray(encode_batch([*units, BatchUnit(0, b"x", b"")]))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BatchError):
        decode_batch(bytes(encoded))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_batch_or_not(data: bytes) -> None:
    try:
        units = decode_batch(data)
    except BatchError:
        return
    # Magic and CRC are the broker's to fill, so they are not kept.
    assert len(encode_batch(units)) == len(data)


@given(st.binary(max_size=5000), st.sampled_from(Compression))
def test_bodies_are_read_back(body: bytes, kind: Compression) -> None:
    assert decompress(compress(body, kind), kind.sys_flag, len(body)) == body


@given(st.binary(max_size=300), st.integers(0, 2**31 - 1))
def test_any_bytes_inflate_or_not_but_never_beyond_the_limit(body: bytes, sys_flag: int) -> None:
    try:
        inflated = decompress(body, sys_flag | COMPRESSED, 1000)
    except CompressionError:
        return
    assert len(inflated) <= 1000


@given(st.binary(min_size=50, max_size=2000), st.sampled_from(Compression), st.data())
def test_a_damaged_body_inflates_or_not(body: bytes, kind: Compression, data: st.DataObject) -> None:
    packed = bytearray(compress(body, kind))
    at = data.draw(st.integers(0, len(packed) - 1))
    packed[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(CompressionError):
        assert len(decompress(bytes(packed), kind.sys_flag, 4000)) <= 4000


@given(st.ip_addresses(), st.integers(0, 2**31 - 1), st.integers(0, 2**63 - 1))
def test_offset_message_ids_are_read_back(ip: object, port: int, offset: int) -> None:
    packed: bytes = ip.packed  # type: ignore[attr-defined]  # hypothesis gives IPv4 and IPv6 addresses
    assert parse_offset_message_id(offset_message_id(packed, port, offset)) == (str(ip), port, offset)


@given(st.text(max_size=60))
def test_any_text_is_an_id_or_not(text: str) -> None:
    with contextlib.suppress(MessageIdError):
        parse_offset_message_id(text)


@given(st.lists(st.integers(1_700_000_000_000, 1_800_000_000_000), min_size=2, max_size=20))
def test_unique_keys_differ_whatever_the_clock_does(times_ms: list[int]) -> None:
    keys = UniqueKeys("10.0.0.1", 1, 2)
    made = [keys.next(now_ms) for now_ms in times_ms]
    assert len(set(made)) == len(made)
    assert {len(key) for key in made} == {32}


@given(
    st.builds(
        Message,
        st.just("topic"),
        st.binary(min_size=1, max_size=50),
        tags=st.none() | TEXT,
        keys=st.lists(TEXT.filter(lambda key: len(key.split(" ")) == 1), max_size=3),
        properties=st.dictionaries(TEXT.map("p".__add__), TEXT, max_size=4),
        sharding_key=st.none() | TEXT,
        flag=INT32,
    )
)
def test_a_message_is_received_as_it_was_sent(message: Message) -> None:
    properties = encode_properties(message.wire_properties())
    assert decode_properties(properties) == message.wire_properties()
    out = BytesWriter()
    host = bytes(8)
    write_record(out, b"topic", 0, 0, 0, message.flag, 0, 1, host, 2, host, 0, 0, message.body, properties)
    (received,) = decode_messages(out.getvalue(), "broker")
    assert (received.topic, received.body, received.flag) == ("topic", message.body, message.flag)
    assert received.tags == message.tags
    assert received.keys == list(message.keys)
    assert received.sharding_key == message.sharding_key


@given(st.binary(max_size=300))
def test_any_bytes_are_messages_or_not(data: bytes) -> None:
    with contextlib.suppress(RecordError):
        decode_messages(data, "broker")
