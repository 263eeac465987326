import zlib

import pytest
from librt.strings import BytesWriter

from ledgermq.message.compression import CompressionError
from ledgermq.message.model import Message, MessageExt, decode_messages
from ledgermq.message.record import RecordError, write_record

HOST = b"\x0a\x01\x02\x03\x00\x00\x2a\x9f"
HOST6 = bytes.fromhex("20010db8000000000000000000000001") + b"\x00\x00\x2a\x9f"


def record(
    body: bytes = b"body", properties: bytes = b"", sys_flag: int = 0, host: bytes = HOST, offset: int = 5
) -> bytes:
    out = BytesWriter()
    write_record(out, b"topic", 3, 7, offset, 9, sys_flag, 11, host, 13, host, 2, 0, body, properties)
    return out.getvalue()


def test_a_message_becomes_properties() -> None:
    message = Message(
        "topic",
        b"body",
        tags="a",
        keys=["k1", "k2"],
        properties={"name": "value"},
        sharding_key="s",
        delay_level=3,
    )
    assert message.wire_properties() == {
        "name": "value",
        "TAGS": "a",
        "KEYS": "k1 k2",
        "__SHARDINGKEY": "s",
        "DELAY": "3",
    }
    assert Message("topic", b"body").wire_properties() == {}
    assert Message("topic", b"body", keys="one").wire_properties() == {"KEYS": "one"}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"body": "text"}, "must be bytes, not str"),
        ({"keys": ["a b"]}, "has a space"),
        ({"keys": [7]}, "message key must be text, not int"),
        ({"tags": 7}, "message tags must be text, not int"),
        ({"properties": {"a": 7}}, "message property a must be text, not int"),
        ({"keys": [""]}, "key is empty"),
        ({"tags": ""}, "tags is empty"),
        ({"tags": "a\x01"}, "separate properties"),
        ({"sharding_key": "a\x02"}, "separate properties"),
        ({"properties": {"a\x02": "b"}}, "separate properties"),
        ({"properties": {"a": "b\x01"}}, "separate properties"),
        ({"properties": {"a": ""}}, "property a is empty"),
        ({"properties": {"KEYS": "k"}}, "use the message's field keys"),
        ({"properties": {"TAGS": "k"}}, "use the message's field tags"),
        ({"delay_level": -1}, "delay level -1"),
        ({"flag": 2**31}, "flag 2147483648"),
    ],
)
def test_what_cannot_be_sent_cannot_be_made(fields: dict[str, object], reason: str) -> None:
    with pytest.raises((TypeError, ValueError), match=reason):
        Message(**({"topic": "topic", "body": b"x"} | fields))  # type: ignore[arg-type]  # wrong on purpose


def test_a_record_becomes_a_message() -> None:
    (message,) = decode_messages(
        record(properties=b"UNIQ_KEY\x01id\x02TAGS\x01t\x02KEYS\x01a b\x02"), "broker"
    )
    assert message == MessageExt(
        topic="topic",
        raw_body=b"body",
        properties={"UNIQ_KEY": "id", "TAGS": "t", "KEYS": "a b"},
        flag=9,
        sys_flag=0,
        broker_name="broker",
        queue_id=3,
        queue_offset=7,
        log_offset=5,
        born_timestamp_ms=11,
        born_host="10.1.2.3:10911",
        store_timestamp_ms=13,
        store_host="10.1.2.3:10911",
        reconsume_times=2,
        prepared_transaction_offset=0,
        body_crc=zlib.crc32(b"body") & 0x7FFFFFFF,
        store_bytes=len(record(properties=b"UNIQ_KEY\x01id\x02TAGS\x01t\x02KEYS\x01a b\x02")),
        offset_message_id="0A01020300002A9F0000000000000005",
    )
    assert message.message_id == "id"
    assert message.tags == "t"
    assert message.keys == ["a", "b"]
    assert message.sharding_key is None


def test_a_message_of_a_strange_producer_has_its_place_as_id() -> None:
    (message,) = decode_messages(record(host=HOST6), "broker")
    assert message.message_id == "20010DB800000000000000000000000100002A9F0000000000000005"
    assert message.store_host == "[2001:db8::1]:10911"
    assert message.tags is None
    assert message.keys == []


def test_records_follow_each_other() -> None:
    data = record(b"1", offset=0) + record(b"2", offset=100) + record(b"", offset=200)
    assert [message.body for message in decode_messages(data, "b")] == [b"1", b"2", b""]
    assert decode_messages(b"", "b") == []
    for size in range(1, len(data)):
        if size not in (len(record(b"1")), 2 * len(record(b"1"))):
            with pytest.raises(RecordError):
                decode_messages(data[:size], "b")


def test_a_body_is_decompressed_when_asked_for() -> None:
    packed = zlib.compress(b"hello" * 100)
    (message,) = decode_messages(record(packed, sys_flag=0x301), "b")
    assert message.raw_body == packed
    assert message.body == b"hello" * 100
    assert message.body == b"hello" * 100


def test_a_damaged_body_fails_whoever_wants_it() -> None:
    (message,) = decode_messages(record(b"not compressed", sys_flag=0x301), "b")
    for _ in range(2):
        with pytest.raises(CompressionError):
            _ = message.body
    assert message.raw_body == b"not compressed"
