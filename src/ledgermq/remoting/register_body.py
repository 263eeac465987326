"""The body of REGISTER_BROKER, plain JSON or compressed (Java: ``RegisterBrokerBody``).

The compressed form is a zlib stream of these parts, each but the counts led by its int32 length in bytes:

=========================  ============================================================================
part                       content
=========================  ============================================================================
data version               JSON
int32                      number of topics
each topic                 ``name readQueueNums writeQueueNums perm topicFilterType {attributes as JSON}``
filter servers             JSON array of text
int32                      number of static-topic mappings (brokers before 5.0.0 end here)
each mapping               JSON
=========================  ============================================================================

It carries neither ``topicSysFlag`` nor ``order``: a topic that needs them has to be registered as plain JSON.

Rules of this file: whatever the bytes are, :func:`decode_register_body` returns a body or raises PeerError;
it never inflates more than INFLATED_BYTES_MAX.
"""

from __future__ import annotations

import struct
import zlib
from contextlib import suppress
from typing import Final, TypeVar

import msgspec

from ledgermq.remoting.codes import ResponseCode
from ledgermq.remoting.command import PeerError
from ledgermq.remoting.json_body import JsonError, decode_json, encode_json
from ledgermq.remoting.route_data import QueueMapping, RegisterBrokerBody, TopicConfigs
from ledgermq.remoting.topic_config import DataVersion, TopicConfig
from ledgermq.runtime.limits import INFLATED_BYTES_MAX, REGISTERED_TOPICS_MAX

T = TypeVar("T")

_JSON_START: Final = b"{ \t\r\n"
_INT32: Final = struct.Struct(">i")


def body_crc32(body: bytes) -> int:
    """The checksum in the request's ``bodyCrc32``; without its sign bit, as Java computes it."""
    return zlib.crc32(body) & 0x7FFFFFFF


def encode_register_body(body: RegisterBrokerBody, *, compressed: bool) -> bytes:
    """``body`` as it goes on the wire."""
    if not compressed:
        return encode_json(body)
    configs = body.topic_config_serialize_wrapper
    parts = [_part(encode_json(configs.data_version)), _INT32.pack(len(configs.topic_config_table))]
    parts += [_part(_topic_line(topic)) for topic in configs.topic_config_table.values()]
    parts.append(_part(encode_json(body.filter_server_list or [])))
    parts.append(_INT32.pack(len(configs.topic_queue_mapping_info_map)))
    parts += [_part(encode_json(mapping)) for mapping in configs.topic_queue_mapping_info_map.values()]
    return zlib.compress(b"".join(parts), 9)


def _part(data: bytes) -> bytes:
    return _INT32.pack(len(data)) + data


def _topic_line(topic: TopicConfig) -> bytes:
    attributes = encode_json(topic.attributes).decode()
    numbers = f"{topic.read_queue_nums} {topic.write_queue_nums} {topic.perm}"
    return f"{topic.topic_name} {numbers} {topic.topic_filter_type} {attributes}".encode()


def decode_register_body(data: bytes, *, compressed: bool) -> RegisterBrokerBody:
    """The body in ``data``; an empty one registers a broker without topics.

    Raises PeerError INVALID_PARAMETER. A Java 5.5.0 broker with ``compressedRegister=true`` compresses the
    body but says ``compressed=false``, so a body that cannot be JSON is taken for a compressed one.
    """
    try:
        if compressed or (data and data[0] not in _JSON_START):
            return _decode_compressed(data)
        return decode_json(RegisterBrokerBody, data) if data else RegisterBrokerBody()
    except JsonError as error:
        remark = f"REGISTER_BROKER: body of {len(data)} bytes is not as expected: {error}"
        raise PeerError(ResponseCode.INVALID_PARAMETER, remark) from None


def _decode_compressed(data: bytes) -> RegisterBrokerBody:
    parts = _Parts(_inflate(data))
    version = parts.json("dataVersion", DataVersion)
    topics: dict[str, TopicConfig] = {}
    topic_count = parts.count("topic")
    if topic_count > REGISTERED_TOPICS_MAX:
        raise JsonError(f"{topic_count} topics, {REGISTERED_TOPICS_MAX} is the limit")
    for _ in range(topic_count):
        topic = _decode_topic_line(parts.bytes("topic"))
        topics[topic.topic_name] = topic
    filter_servers = parts.json("filterServerList", list[str])
    mappings: dict[str, QueueMapping] = {}
    if not parts.at_end:
        for _ in range(parts.count("mapping")):
            mapping = parts.json("mapping", QueueMapping)
            mappings[mapping.topic] = mapping
    return RegisterBrokerBody(
        filter_server_list=filter_servers,
        topic_config_serialize_wrapper=TopicConfigs(
            data_version=version, topic_config_table=topics, topic_queue_mapping_info_map=mappings
        ),
    )


def _inflate(data: bytes) -> bytes:
    inflater = zlib.decompressobj()
    try:
        inflated = inflater.decompress(data, INFLATED_BYTES_MAX)
    except zlib.error as error:
        raise JsonError(f"neither JSON nor a zlib stream: {error}") from None
    if not inflater.eof:
        # Either the stream is cut off, or it goes on past what was allowed.
        if len(inflated) == INFLATED_BYTES_MAX:
            raise JsonError(f"inflates to more than {INFLATED_BYTES_MAX} bytes")
        raise JsonError("zlib stream is cut off")
    return inflated


class _Parts:
    """Reads the parts one after the other; every method raises JsonError when the next one is not there."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def at_end(self) -> bool:
        return self._at >= len(self._data)

    def count(self, what: str) -> int:
        if len(self._data) - self._at < 4:
            raise JsonError(f"ends before the length of {what}")
        (value,) = _INT32.unpack_from(self._data, self._at)
        self._at += 4
        left = len(self._data) - self._at
        # Anything counted takes at least one byte, so one check serves counts and lengths.
        if not 0 <= value <= left:
            raise JsonError(f"length {value} of {what}, {left} bytes are left")
        return int(value)

    def bytes(self, what: str) -> bytes:
        length = self.count(what)
        self._at += length
        return self._data[self._at - length : self._at]

    def json(self, what: str, kind: type[T]) -> T:
        try:
            return decode_json(kind, self.bytes(what))
        except JsonError as error:
            raise JsonError(f"{what}: {error}") from None


def _decode_topic_line(line: bytes) -> TopicConfig:
    try:
        fields = line.decode().split(" ", 5)
    except UnicodeDecodeError:
        raise JsonError(f"topic {line[:80]!r} is not UTF-8") from None
    names = ("topicName", "readQueueNums", "writeQueueNums", "perm", "topicFilterType")
    if len(fields) < len(names):
        raise JsonError(f"topic {line[:80]!r} has {len(fields)} fields, {len(names)} are the least")
    try:
        topic = msgspec.convert(dict(zip(names, fields, strict=False)), TopicConfig, strict=False)
    except msgspec.ValidationError as error:
        raise JsonError(f"topic {line[:80]!r}: {error}") from None
    if len(fields) > len(names) and fields[-1] != "{}":
        with suppress(JsonError):  # As in Java: a topic counts without attributes that cannot be read.
            topic.attributes = decode_json(dict[str, str], fields[5].encode())
    return topic
