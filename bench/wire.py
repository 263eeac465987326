"""RocketMQ's remoting frame, small and blocking: what harness and process tests speak to either broker.

Independent of src/ on purpose. A measuring client has to cost little and the same for both brokers, and a
test that checks the broker with the broker's own codec would agree with its mistakes.

Frame: int32 length of the rest, int32 (encoding << 24 | header length), header, body. The binary header
(encoding 1) is int16 code, int8 language, int16 version, int32 opaque, int32 flag, int32 remark length,
remark, int32 fields length, fields as {int16 name length, name, int32 value length, value}. Encoding 0 is a
JSON object.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

SUCCESS = 0
SYSTEM_BUSY = 2
PULL_MESSAGE = 11
QUERY_MESSAGE = 12
QUERY_CONSUMER_OFFSET = 14
UPDATE_CONSUMER_OFFSET = 15
UPDATE_AND_CREATE_TOPIC = 17
GET_MAX_OFFSET = 30
GET_MIN_OFFSET = 31
GET_ROUTEINFO_BY_TOPIC = 105
GET_BROKER_CLUSTER_INFO = 106
UPDATE_AND_CREATE_SUBSCRIPTIONGROUP = 200
SEND_MESSAGE_V2 = 310
SEND_BATCH_MESSAGE = 320
GET_TOPIC_CONFIG = 351

PULL_NOT_FOUND = 19
QUERY_NOT_FOUND = 22

JSON = "JSON"
BINARY = "ROCKETMQ"

_VERSION_5_5_0 = 513
_PYTHON = 3
_JSON_OPAQUE = b'"opaque":'
_JSON_OPAQUE_CHARS = 10  # of the largest int32; a smaller number has blanks before it


class WireError(Exception):
    """The broker refused a request, or closed the connection."""


@dataclass
class Answer:
    code: int
    opaque: int
    fields: dict[str, str]
    remark: str
    body: bytes


def request_frame(
    code: int,
    fields: Mapping[str, object],
    body: bytes = b"",
    opaque: int = 0,
    encoding: str = BINARY,
) -> bytes:
    texts = {name: _text(value) for name, value in fields.items()}
    header = _json_header(code, texts) if encoding == JSON else _binary_header(code, texts)
    word = (encoding == BINARY) << 24 | len(header)
    frame = bytearray(struct.pack(">ii", 4 + len(header) + len(body), word) + header + body)
    patch_opaque(frame, opaque_position(frame), opaque)
    return bytes(frame)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _json_header(code: int, fields: Mapping[str, str]) -> bytes:
    """In the order in which Java's fastjson writes it."""
    header = {
        "code": code,
        "extFields": fields,
        "flag": 0,
        "language": "PYTHON",
        "opaque": 10 ** (_JSON_OPAQUE_CHARS - 1),
        "serializeTypeCurrentRPC": "JSON",
        "version": _VERSION_5_5_0,
    }
    return json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()


def _binary_header(code: int, fields: Mapping[str, str]) -> bytes:
    encoded = b"".join(_field(name, text) for name, text in fields.items())
    head = struct.pack(">hbhii", code, _PYTHON, _VERSION_5_5_0, 0, 0)
    return head + struct.pack(">ii", 0, len(encoded)) + encoded


def opaque_position(frame: bytes | bytearray) -> int:
    """Where in a request frame its opaque stands."""
    if frame[4]:
        return 13
    # The last one: a field may have any text.
    return frame.rindex(_JSON_OPAQUE, 0, 8 + int.from_bytes(frame[5:8], "big")) + len(_JSON_OPAQUE)


def patch_opaque(frame: bytearray, position: int, opaque: int) -> None:
    """Makes another request of a frame of ours, without building it again."""
    if frame[4]:
        struct.pack_into(">i", frame, position, opaque)
    else:
        frame[position : position + _JSON_OPAQUE_CHARS] = b"%*d" % (_JSON_OPAQUE_CHARS, opaque)


def _field(name: str, value: str) -> bytes:
    key, text = name.encode(), value.encode()
    return struct.pack(">h", len(key)) + key + struct.pack(">i", len(text)) + text


def parse_answer(frame: bytes) -> Answer:
    """`frame` is whole, without its leading length."""
    (word,) = struct.unpack_from(">I", frame)
    header_bytes = word & 0xFFFFFF
    body = frame[4 + header_bytes :]
    if word >> 24 == 0:
        header = json.loads(frame[4 : 4 + header_bytes])
        fields = {name: str(value) for name, value in (header.get("extFields") or {}).items()}
        return Answer(header["code"], header["opaque"], fields, header.get("remark") or "", body)
    code, _language, _version, opaque, _flag, remark_bytes = struct.unpack_from(">hbhiii", frame, 4)
    at = 21 + remark_bytes
    remark = frame[21:at].decode(errors="replace")
    (fields_bytes,) = struct.unpack_from(">i", frame, at)
    return Answer(code, opaque, _parse_fields(frame[at + 4 : at + 4 + fields_bytes]), remark, body)


def _parse_fields(encoded: bytes) -> dict[str, str]:
    fields = {}
    at = 0
    while at < len(encoded):
        (name_bytes,) = struct.unpack_from(">h", encoded, at)
        name = encoded[at + 2 : at + 2 + name_bytes].decode()
        at += 2 + name_bytes
        (value_bytes,) = struct.unpack_from(">i", encoded, at)
        fields[name] = encoded[at + 4 : at + 4 + value_bytes].decode()
        at += 4 + value_bytes
    return fields


class FrameBuffer:
    """Cuts what a socket gave into frames, each without its leading length."""

    def __init__(self) -> None:
        self._pending = b""

    def feed(self, data: bytes) -> list[bytes]:
        data = self._pending + data
        frames = []
        at = 0
        while len(data) - at >= 4:
            end = at + 4 + int.from_bytes(data[at : at + 4], "big")
            if end > len(data):
                break
            frames.append(data[at + 4 : end])
            at = end
        self._pending = data[at:]
        return frames


class Peer:
    """A blocking connection, one request at a time."""

    def __init__(self, address: str, timeout_s: float = 30) -> None:
        host, port = address.rsplit(":", 1)
        self.address = address
        self._socket = socket.create_connection((host, int(port)), timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._frames = FrameBuffer()
        self._opaque = 0

    def call(self, code: int, fields: Mapping[str, object], body: bytes = b"") -> Answer:
        """The answer, whatever its code. WireError when the connection is lost."""
        self._opaque += 1
        self._socket.sendall(request_frame(code, fields, body, self._opaque))
        while True:
            data = self._socket.recv(1 << 20)
            if not data:
                raise WireError(f"{self.address} closed the connection during request {code}")
            for frame in self._frames.feed(data):
                answer = parse_answer(frame)
                if answer.opaque == self._opaque:
                    return answer

    def ask(self, code: int, fields: Mapping[str, object], body: bytes = b"") -> Answer:
        """The answer if it is SUCCESS, WireError with its remark otherwise."""
        answer = self.call(code, fields, body)
        if answer.code != SUCCESS:
            raise WireError(f"{self.address} answered request {code} with {answer.code}: {answer.remark}")
        return answer

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def send_fields(
    group: str, topic: str, queue_id: int, *, properties: str = "", batch: bool = False, born_ms: int = 0
) -> dict[str, object]:
    """The header of SEND_MESSAGE_V2 and SEND_BATCH_MESSAGE, named a to n as on the wire."""
    return {
        "a": group,
        "b": topic,
        "c": "TBW102",
        "d": 8,  # queues of a topic that is created by this send
        "e": queue_id,
        "f": 0,
        "g": born_ms,
        "h": 0,
        "i": properties,
        "j": 0,
        "k": False,
        "m": batch,
    }


def property_text(properties: Mapping[str, str]) -> str:
    return "".join(f"{name}\x01{value}\x02" for name, value in properties.items())


def batch_unit(body: bytes, properties: str) -> bytes:
    """One message of a batch's body."""
    encoded = properties.encode()
    size = 4 + 4 + 4 + 4 + 4 + len(body) + 2 + len(encoded)
    head = struct.pack(">iiiii", size, 0, zlib.crc32(body) & 0x7FFFFFFF, 0, len(body))
    return head + body + struct.pack(">h", len(encoded)) + encoded


def pull_fields(
    group: str, topic: str, queue_id: int, offset: int, *, max_count: int = 32, suspend_timeout_ms: int = 0
) -> dict[str, object]:
    """A pull of everything; finding nothing, it waits at the broker unless `suspend_timeout_ms` is 0."""
    return {
        "consumerGroup": group,
        "topic": topic,
        "queueId": queue_id,
        "queueOffset": offset,
        "maxMsgNums": max_count,
        "sysFlag": 4 | (2 if suspend_timeout_ms else 0),
        "commitOffset": 0,
        "suspendTimeoutMillis": suspend_timeout_ms,
        "subscription": "*",
        "subVersion": 0,
        "expressionType": "TAG",
    }


def create_topic(peer: Peer, topic: str, queue_count: int) -> None:
    peer.ask(
        UPDATE_AND_CREATE_TOPIC,
        {
            "topic": topic,
            "defaultTopic": "TBW102",
            "readQueueNums": queue_count,
            "writeQueueNums": queue_count,
            "perm": 6,
            "topicFilterType": "SINGLE_TAG",
            "topicSysFlag": 0,
            "order": False,
        },
    )


def create_group(peer: Peer, group: str) -> None:
    config = {
        "groupName": group,
        "consumeEnable": True,
        "retryQueueNums": 1,
        "retryMaxTimes": 16,
        "brokerId": 0,
    }
    peer.ask(UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, {}, json.dumps(config).encode())


def standard_json(body: bytes) -> bytes:
    """The same JSON with its integer keys quoted, which Java's name server may leave out."""
    return re.sub(rb'([{,])(-?\d+):"', rb'\1"\2":"', body)


def max_offset(peer: Peer, topic: str, queue_id: int) -> int:
    """The offset the queue's next message will have."""
    return int(peer.ask(GET_MAX_OFFSET, {"topic": topic, "queueId": queue_id}).fields["offset"])


def min_offset(peer: Peer, topic: str, queue_id: int) -> int:
    return int(peer.ask(GET_MIN_OFFSET, {"topic": topic, "queueId": queue_id}).fields["offset"])


def stored_count(peer: Peer, topic: str, queue_count: int) -> int:
    """How many messages were ever stored in a topic: the sum of its queues' max offsets."""
    return sum(max_offset(peer, topic, queue_id) for queue_id in range(queue_count))


def log_offset_of(message_id: str) -> int:
    """The commit-log offset in the offset message id of a send's answer: hex of address, port and offset."""
    return int(message_id.split(",")[0][-16:], 16)
