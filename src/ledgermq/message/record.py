"""The commit-log record: the form in which a message lies on disk, travels to replicas and reaches consumers.

All numbers are big endian (Java: ``MessageExtEncoder``, ``MessageDecoder``).

===  ====================  =========  =============================================================
at   field                 bytes      note
===  ====================  =========  =============================================================
0    size                  4          of the whole record
4    magic                 4          v1 0xDAA320A7; v2 0xDAA320AB when the topic is over 127 bytes
8    body CRC              4          CRC-32 of the body, masked to 31 bits
12   queue id              4
16   flag                  4          the client's own flag
20   queue offset          8          0 for prepared and rolled-back transaction messages
28   log offset            8          where the record begins in the log: a record proves its place
36   system flag           4          compression, transaction state, IPv6 bits
40   born timestamp        8          ms, the producer's clock
48   born host             8 or 20    IP, int32 port
..   store timestamp       8          ms, the broker's clock
..   store host            8 or 20    IP, int32 port
..   reconsume times       4
..   prepared offset       8          log offset of the half message that this one commits
..   body                  4 + n      int32 length
..   topic                 1|2 + n    length in 1 byte (v1) or 2 (v2)
..   properties            2 + n      int16 length, text of message/properties.py
===  ====================  =========  =============================================================

Where a file has no room for the next record, a *blank* ends it: int32 size of the rest of the file, int32
magic 0xCBD43194. A record plus 8 bytes must fit, so there is always room for the blank.

Rules of this file: it is compiled; encoding takes only values that were checked before (sizes, 32-bit
ranges); decoding takes any bytes and raises RecordError, nothing else.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

from librt.strings import (
    BytesWriter,
    read_i16_be,
    read_i32_be,
    read_i64_be,
    write_i16_be,
    write_i32_be,
    write_i64_be,
)
from mypy_extensions import i16, i32, i64, u8

MAGIC_V1: Final[i64] = -626843481
MAGIC_V2: Final[i64] = -626843477
MAGIC_BLANK: Final[i64] = -875286124

BLANK_BYTES: Final[i64] = 8
"""Room that must stay free behind a record, so that the file can be closed by a blank."""
RECORD_BYTES_MIN: Final[i64] = 91
"""A v1 record with IPv4 hosts, without body, topic and properties."""
TOPIC_V1_BYTES_MAX: Final[i64] = 127
PROPERTIES_BYTES_MAX: Final[i64] = 32767
"""A record keeps the length of the properties in a signed int16."""

FLAG_COMPRESSED: Final[i64] = 0x1
FLAG_TRANSACTION: Final[i64] = 0xC
"""Mask of the transaction state, one of the four next."""
TRANSACTION_NONE: Final[i64] = 0x0
TRANSACTION_PREPARED: Final[i64] = 0x4
TRANSACTION_COMMIT: Final[i64] = 0x8
TRANSACTION_ROLLBACK: Final[i64] = 0xC
FLAG_BORN_HOST_V6: Final[i64] = 0x10
FLAG_STORE_HOST_V6: Final[i64] = 0x20


_COMPILED: Final = not __file__.endswith(".py")

# For the interpreter, which packs in three calls what the compiled code writes field by field.
_FIXED_1: Final = struct.Struct(">iiiiiqq")
_FIXED_2: Final = struct.Struct(">iq")
_FIXED_3: Final = struct.Struct(">iqi")


class RecordError(ValueError):
    """The bytes are not a record."""


class Record:
    """One decoded record. Topic, properties and hosts are left as bytes: few readers need all of them."""

    def __init__(self) -> None:
        self.size: i64 = 0
        self.magic: i64 = 0
        self.body_crc: i64 = 0
        self.queue_id: i64 = 0
        self.flag: i64 = 0
        self.queue_offset: i64 = 0
        self.log_offset: i64 = 0
        self.sys_flag: i64 = 0
        self.born_ms: i64 = 0
        self.born_host: bytes = b""
        self.store_ms: i64 = 0
        self.store_host: bytes = b""
        self.reconsume_times: i64 = 0
        self.prepared_offset: i64 = 0
        self.body: bytes = b""
        self.topic: bytes = b""
        self.properties: bytes = b""


def enters_queue(sys_flag: i64) -> bool:
    """Whether a record with this system flag gets a queue offset: half and rolled-back messages do not."""
    state: i64 = sys_flag & FLAG_TRANSACTION
    return state != TRANSACTION_PREPARED and state != TRANSACTION_ROLLBACK


def record_bytes(topic: bytes, born_host: bytes, store_host: bytes, body: bytes, properties: bytes) -> i64:
    """The size of the record that :func:`write_record` makes of these."""
    topic_bytes: i64 = len(topic)
    hosts: i64 = len(born_host) + len(store_host)
    size: i64 = RECORD_BYTES_MIN - 16 + hosts + len(body) + topic_bytes + len(properties)
    return size + 1 if topic_bytes > TOPIC_V1_BYTES_MAX else size


def write_record(
    out: BytesWriter,
    topic: bytes,
    queue_id: i64,
    queue_offset: i64,
    log_offset: i64,
    flag: i64,
    sys_flag: i64,
    born_ms: i64,
    born_host: bytes,
    store_ms: i64,
    store_host: bytes,
    reconsume_times: i64,
    prepared_offset: i64,
    body: bytes,
    properties: bytes,
) -> i64:
    """Append one record to ``out`` and return its size.

    Hosts are 8 bytes (IPv4, port) or 20 (IPv6, port); the IPv6 bits of the system flag are set to agree.
    """
    size: i64 = record_bytes(topic, born_host, store_host, body, properties)
    if not _COMPILED:
        topic_bytes: i64 = len(topic)
        magic = MAGIC_V2 if topic_bytes > TOPIC_V1_BYTES_MAX else MAGIC_V1
        fixed = _FIXED_1.pack(size, magic, body_crc(body), queue_id, flag, queue_offset, log_offset)
        born = _FIXED_2.pack(with_host_bits(sys_flag, born_host, store_host), born_ms) + born_host
        stored = int(store_ms).to_bytes(8, "big", signed=True) + store_host
        head = fixed + born + stored + _FIXED_3.pack(reconsume_times, prepared_offset, len(body))
        topic_head = int(topic_bytes).to_bytes(2 if topic_bytes > TOPIC_V1_BYTES_MAX else 1, "big")
        out.write(head + body + topic_head + topic + len(properties).to_bytes(2, "big") + properties)
        return size
    _write_head(out, size, topic, queue_id, queue_offset, log_offset, flag, body)
    _write_middle(out, sys_flag, born_ms, born_host, store_ms, store_host, reconsume_times, prepared_offset)
    write_i32_be(out, i32(len(body)))
    out.write(body)
    _write_topic(out, topic)
    write_i16_be(out, i16(len(properties)))
    out.write(properties)
    return size


def with_host_bits(sys_flag: i64, born_host: bytes, store_host: bytes) -> i64:
    """The system flag with the bits that tell IPv6 hosts."""
    sys_flag = sys_flag & ~(FLAG_BORN_HOST_V6 | FLAG_STORE_HOST_V6)
    if len(born_host) == 20:
        sys_flag |= FLAG_BORN_HOST_V6
    if len(store_host) == 20:
        sys_flag |= FLAG_STORE_HOST_V6
    return sys_flag


def _write_head(
    out: BytesWriter,
    size: i64,
    topic: bytes,
    queue_id: i64,
    queue_offset: i64,
    log_offset: i64,
    flag: i64,
    body: bytes,
) -> None:
    """The fields up to the log offset."""
    if not _COMPILED:
        magic = MAGIC_V2 if len(topic) > TOPIC_V1_BYTES_MAX else MAGIC_V1
        out.write(_FIXED_1.pack(size, magic, body_crc(body), queue_id, flag, queue_offset, log_offset))
        return
    write_i32_be(out, i32(size))
    write_i32_be(out, i32(MAGIC_V2) if len(topic) > TOPIC_V1_BYTES_MAX else i32(MAGIC_V1))
    write_i32_be(out, i32(body_crc(body)))
    write_i32_be(out, i32(queue_id))
    write_i32_be(out, i32(flag))
    write_i64_be(out, queue_offset)
    write_i64_be(out, log_offset)


def _write_middle(
    out: BytesWriter,
    sys_flag: i64,
    born_ms: i64,
    born_host: bytes,
    store_ms: i64,
    store_host: bytes,
    reconsume_times: i64,
    prepared_offset: i64,
) -> None:
    """The fields from the system flag to the prepared offset."""
    write_i32_be(out, i32(with_host_bits(sys_flag, born_host, store_host)))
    write_i64_be(out, born_ms)
    out.write(born_host)
    write_i64_be(out, store_ms)
    out.write(store_host)
    write_i32_be(out, i32(reconsume_times))
    write_i64_be(out, prepared_offset)


def _write_topic(out: BytesWriter, topic: bytes) -> None:
    if len(topic) > TOPIC_V1_BYTES_MAX:
        write_i16_be(out, i16(len(topic)))
    else:
        out.append(u8(len(topic)))
    out.write(topic)


class BatchPattern:
    """What the records of one batch share, encoded once. None of them is part of a transaction."""

    def __init__(
        self,
        topic: bytes,
        queue_id: i64,
        sys_flag: i64,
        born_ms: i64,
        born_host: bytes,
        store_ms: i64,
        store_host: bytes,
        reconsume_times: i64,
    ) -> None:
        self.fixed_bytes: i64 = record_bytes(topic, born_host, store_host, b"", b"")
        """The size of such a record without body and properties."""
        self._topic: bytes = topic
        self._queue_id: i64 = queue_id
        part = BytesWriter()
        _write_middle(part, sys_flag, born_ms, born_host, store_ms, store_host, reconsume_times, 0)
        self._middle: bytes = part.getvalue()
        part.truncate(0)
        _write_topic(part, topic)
        self._topic_field: bytes = part.getvalue()

    def write(
        self, out: BytesWriter, queue_offset: i64, log_offset: i64, flag: i64, body: bytes, properties: bytes
    ) -> i64:
        """Append one record to ``out`` and return its size."""
        size: i64 = self.fixed_bytes + len(body) + len(properties)
        _write_head(out, size, self._topic, self._queue_id, queue_offset, log_offset, flag, body)
        out.write(self._middle)
        write_i32_be(out, i32(len(body)))
        out.write(body)
        out.write(self._topic_field)
        write_i16_be(out, i16(len(properties)))
        out.write(properties)
        return size


def write_blank(out: BytesWriter, size: i64) -> None:
    """Append the 8 bytes that close a file in which ``size`` bytes, these 8 included, are left."""
    write_i32_be(out, i32(size))
    write_i32_be(out, i32(MAGIC_BLANK))


def body_crc(body: bytes) -> i64:
    """CRC-32 as RocketMQ stores it: without the sign bit (Java: ``UtilAll.crc32``)."""
    crc: i64 = zlib.crc32(body)
    return crc & 0x7FFFFFFF


def decode_record(data: bytes, at: i64 = 0, check_crc: bool = False) -> Record:
    """The record that begins at ``data[at]``; what follows it is not looked at.

    Raises RecordError naming the field that does not fit.
    """
    end: i64 = len(data)
    if at < 0 or end - at < RECORD_BYTES_MIN:
        raise RecordError(f"record at {at}: {end - at} bytes left, a record has at least {RECORD_BYTES_MIN}")
    record = Record()
    size: i64 = i64(read_i32_be(data, at))
    magic: i64 = i64(read_i32_be(data, at + 4))
    if magic != MAGIC_V1 and magic != MAGIC_V2:
        raise RecordError(f"record at {at}: magic {magic & 0xFFFFFFFF:#010x} is neither v1 nor v2")
    if size < RECORD_BYTES_MIN or size > end - at:
        raise RecordError(f"record at {at}: size {size} is outside {RECORD_BYTES_MIN} to {end - at}")
    end = at + size
    record.size = size
    record.magic = magic
    record.body_crc = i64(read_i32_be(data, at + 8))
    record.queue_id = i64(read_i32_be(data, at + 12))
    record.flag = i64(read_i32_be(data, at + 16))
    record.queue_offset = read_i64_be(data, at + 20)
    record.log_offset = read_i64_be(data, at + 28)
    sys_flag: i64 = i64(read_i32_be(data, at + 36))
    record.sys_flag = sys_flag
    record.born_ms = read_i64_be(data, at + 40)
    i: i64 = at + 48
    host_bytes: i64 = 20 if sys_flag & FLAG_BORN_HOST_V6 else 8
    record.born_host = data[i : i + host_bytes]
    i += host_bytes
    host_bytes = 20 if sys_flag & FLAG_STORE_HOST_V6 else 8
    # The fixed fields still to come, with the body length and the shortest topic and properties lengths.
    if end - i < 8 + host_bytes + 4 + 8 + 4 + 1 + 2:
        raise RecordError(f"record at {at}: size {size} is too small for its hosts")
    record.store_ms = read_i64_be(data, i)
    i += 8
    record.store_host = data[i : i + host_bytes]
    i += host_bytes
    record.reconsume_times = i64(read_i32_be(data, i))
    record.prepared_offset = read_i64_be(data, i + 4)
    length: i64 = i64(read_i32_be(data, i + 12))
    i += 16
    topic_length_bytes: i64 = 2 if magic == MAGIC_V2 else 1
    if length < 0 or length > end - i - topic_length_bytes - 2:
        raise RecordError(f"record at {at}: body length {length} does not fit its size {size}")
    record.body = data[i : i + length]
    i += length
    if topic_length_bytes == 2:
        length = i64(read_i16_be(data, i))
    else:
        length = i64(data[i])
    i += topic_length_bytes
    if length < 0 or length > end - i - 2:
        raise RecordError(f"record at {at}: topic length {length} does not fit its size {size}")
    record.topic = data[i : i + length]
    i += length
    length = i64(read_i16_be(data, i))
    i += 2
    if length < 0 or i + length != end:
        raise RecordError(f"record at {at}: properties length {length} does not fit its size {size}")
    record.properties = data[i:end]
    if check_crc and record.body_crc != body_crc(record.body) and len(record.body) > 0:
        raise RecordError(f"record at {at}: body CRC {record.body_crc} differs from {body_crc(record.body)}")
    return record
