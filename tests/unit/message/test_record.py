"""The commit-log record, byte by byte."""

from __future__ import annotations

import pytest
from librt.strings import BytesWriter

from ledgermq.message.record import (
    MAGIC_V1,
    MAGIC_V2,
    BatchPattern,
    RecordError,
    body_crc,
    decode_record,
    enters_queue,
    record_bytes,
    write_blank,
    write_record,
)

HOST4 = b"\x7f\x00\x00\x01\x00\x00\x2a\x9f"
HOST6 = bytes(15) + b"\x01\x00\x00\x2a\x9f"


def encode(
    topic=b"T", born_host=HOST4, store_host=HOST4, body=b"hello", properties=b"TAGS\x01a\x02", sys_flag=0
):
    out = BytesWriter()
    size = write_record(
        out, topic, 3, 17, 4242, 9, sys_flag, 1111, born_host, 2222, store_host, 2, 77, body, properties
    )
    data = out.getvalue()
    assert size == len(data) == record_bytes(topic, born_host, store_host, body, properties)
    return data


def test_the_bytes_are_those_of_rocketmq():
    assert encode().hex(" ", 4) == (
        "00000068 daa320a7 3610a686 00000003 00000009 00000000 00000011 00000000 00001092 00000000 "
        "00000000 00000457 7f000001 00002a9f 00000000 000008ae 7f000001 00002a9f 00000002 00000000 "
        "0000004d 00000005 68656c6c 6f015400 07544147 53016102"
    )


@pytest.mark.parametrize("born_host", [HOST4, HOST6], ids=["v4", "v6"])
@pytest.mark.parametrize("store_host", [HOST4, HOST6], ids=["v4", "v6"])
@pytest.mark.parametrize("topic", [b"T", b"t" * 127, b"t" * 128])
def test_a_record_of_a_batch_is_like_any_other(born_host: bytes, store_host: bytes, topic: bytes):
    pattern = BatchPattern(topic, 3, 0x131, 1111, born_host, 2222, store_host, 2)
    for body, properties in ((b"", b""), (b"hello", b"TAGS\x01a\x02"), (b"x" * 5000, b"p" * 32767)):
        single, of_batch = BytesWriter(), BytesWriter()
        size = write_record(
            single, topic, 3, 17, 2**40, -9, 0x131, 1111, born_host, 2222, store_host, 2, 0, body, properties
        )
        assert pattern.write(of_batch, 17, 2**40, -9, body, properties) == size
        assert of_batch.getvalue() == single.getvalue()


@pytest.mark.parametrize("born_host", [HOST4, HOST6], ids=["v4", "v6"])
@pytest.mark.parametrize("store_host", [HOST4, HOST6], ids=["v4", "v6"])
@pytest.mark.parametrize("topic", [b"T", b"t" * 127, b"t" * 128, b"t" * 255])
@pytest.mark.parametrize("body", [b"", b"x", b"x" * 5000])
def test_what_is_written_is_read(born_host: bytes, store_host: bytes, topic: bytes, body: bytes):
    data = encode(topic, born_host, store_host, body, sys_flag=0x138)
    record = decode_record(data, 0, check_crc=True)
    assert (record.size, record.queue_id, record.flag) == (len(data), 3, 9)
    assert (record.queue_offset, record.log_offset, record.prepared_offset) == (17, 4242, 77)
    assert (record.born_ms, record.store_ms, record.reconsume_times) == (1111, 2222, 2)
    assert (record.born_host, record.store_host) == (born_host, store_host)
    assert (record.topic, record.body, record.properties) == (topic, body, b"TAGS\x01a\x02")
    assert record.magic == (MAGIC_V2 if len(topic) > 127 else MAGIC_V1)
    v6 = (0x10 if len(born_host) == 20 else 0) | (0x20 if len(store_host) == 20 else 0)
    assert record.sys_flag == 0x108 | v6, "the IPv6 bits say what the hosts are, whatever was asked for"


def test_a_record_is_read_in_the_middle_of_others():
    data = encode()
    assert decode_record(b"xy" + data + data, 2).log_offset == 4242


def test_every_truncation_and_every_changed_length_is_refused():
    data = encode()
    for end in range(len(data)):
        with pytest.raises(RecordError):
            decode_record(data[:end])
    for at in (0, 1, 2, 3, 4, 7, 84, 85, 86, 87, 93):
        with pytest.raises(RecordError):
            decode_record(data[:at] + bytes([data[at] ^ 0x41]) + data[at + 1 :], 0, check_crc=True)


def test_a_changed_body_is_refused_when_asked():
    data = bytearray(encode())
    data[90] ^= 1
    decode_record(bytes(data))
    with pytest.raises(RecordError, match="CRC"):
        decode_record(bytes(data), 0, check_crc=True)


def test_crc_has_no_sign_bit():
    assert all(0 <= body_crc(bytes([n])) < 1 << 31 for n in range(256))


@pytest.mark.parametrize(("sys_flag", "enters"), [(0, True), (4, False), (8, True), (12, False), (1, True)])
def test_half_and_rolled_back_messages_enter_no_queue(sys_flag: int, enters: bool):
    assert enters_queue(sys_flag) is enters


def test_blank():
    out = BytesWriter()
    write_blank(out, 1000)
    assert out.getvalue() == bytes.fromhex("000003e8 cbd43194")
