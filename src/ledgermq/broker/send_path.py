"""The hot path of sending: a frame in, a record appended, a reply prepared, in one compiled call.

Taken here are the sends that need no thought: the topic is known and writable, the queue exists, the message
is plain. Everything else (the first message of a topic, retry topics, errors) returns False and takes the
general way of :mod:`ledgermq.broker.send`, which ends in :meth:`SendPath.append` too, so there is one place
that writes a record and its reply.

A reply carries what Java's does: msgId (hex of the store host and the log offset; ids joined by commas for a
batch), queueId, queueOffset, transactionId (the unique key of the message or of the batch), MSG_REGION and
TRACE_ON. A message gets the last two as properties too, and CLUSTER; those of a batch stay as they are.

Rules of this file: it is compiled; nothing here creates a topic or explains an error. A topic whose
configuration has changed is forgotten here, with its queues: it may come back as another one.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from librt.strings import BytesWriter, read_i64_be, write_i16_be, write_i32_be, write_i64_be
from mypy_extensions import i32, i64, u8

from ledgermq.broker.commits import Commits, Outbox
from ledgermq.broker.send_frame import SEND_BATCH_MESSAGE, SendFrame
from ledgermq.broker.traffic import Traffic
from ledgermq.message.properties import PropertyScan, encode_properties
from ledgermq.message.record import PROPERTIES_BYTES_MAX
from ledgermq.remoting.codes import FLAG_ONEWAY, VERSION_5_5_0
from ledgermq.remoting.connection import Connection, FastPath
from ledgermq.store.commit_log import CommitLog
from ledgermq.store.consume_queue import ConsumeQueue
from ledgermq.store.errors import StoreError

_COMPILED: Final = not __file__.endswith(".py")

REFUSED_SYS_FLAGS: Final[i64] = 0x8C
"""Transaction states, and a batch stored as one message: they go the general way, which refuses them."""
HEX: Final = b"0123456789ABCDEF"


_JSON_HEAD: Final = struct.Struct(">ii")
_BINARY_HEAD: Final = struct.Struct(">iihbhiiii")


class SendTopic:
    """One topic as the hot path knows it: its queues, and the counter of what was sent to it."""

    def __init__(self, name: bytes, traffic: Traffic) -> None:
        self.name: bytes = name
        self.queues: list[ConsumeQueue] = []
        self.traffic: Traffic = traffic


class SendPath(FastPath):
    """Appends sent messages; frames that are no sends are offered to ``following``.

    ``known`` are all topics that were written to since the start, ``topics`` those of them that clients may
    send to without a further check.
    """

    def __init__(
        self,
        commit_log: CommitLog,
        commits: Commits,
        *,
        cluster: str,
        region: str,
        trace_on: bool,
        body_bytes_max: int,
        queue_of: Callable[[bytes, int], ConsumeQueue],
        traffic_of: Callable[[bytes], Traffic],
        now_ms: Callable[[], int],
        following: FastPath | None = None,
    ) -> None:
        self.topics: dict[bytes, SendTopic] = {}
        self.known: dict[bytes, SendTopic] = {}
        self.refusing: bool = False
        """The store takes no messages: the general way says why."""
        self._log: CommitLog = commit_log
        self._commits: Commits = commits
        self._queue_of: Callable[[bytes, int], ConsumeQueue] = queue_of
        self._traffic_of: Callable[[bytes], Traffic] = traffic_of
        self._now_ms: Callable[[], int] = now_ms
        self._following: FastPath = following or FastPath()
        self._store_host_hex: bytes = commit_log.store_host.hex().upper().encode()
        self._frame: SendFrame = SendFrame()
        self._scan: PropertyScan = PropertyScan()
        self.body_bytes_max: i64 = 0
        self.added_properties: dict[str, str] = {"CLUSTER": cluster}
        """What each message gets, in place of what its sender may have said."""
        self._added: bytes = b""
        self._binary_tail: bytes = b""
        self._json_tail: bytes = b""
        self.configure(region, trace_on, body_bytes_max)

    def configure(self, region: str, trace_on: bool, body_bytes_max: int) -> None:
        """Take over settings, those of permissions included: each topic's next message takes the general
        way."""
        self.topics.clear()
        self.body_bytes_max = body_bytes_max
        self.added_properties["MSG_REGION"] = region
        self.added_properties["TRACE_ON"] = "true" if trace_on else "false"
        self._added = encode_properties(self.added_properties)
        self._binary_tail = b""
        tail = BytesWriter()
        for name in ("MSG_REGION", "TRACE_ON"):
            value = self.added_properties[name].encode()
            self._binary_tail += _binary_field(name.encode(), value)
            tail.write(b'","' + name.encode() + b'":"')
            _write_json_text(tail, value)
        self._json_tail = tail.getvalue() + b'"}'

    def take(self, connection: Connection, frame: bytes, at: i64, end: i64) -> bool:
        send = self._frame
        if not send.read(frame, at, end):
            return self._following.take(connection, frame, at, end)
        topic = self.topics.get(send.topic)
        outbox = connection.attachment
        if topic is None or not isinstance(outbox, Outbox) or send.sys_flag & REFUSED_SYS_FLAGS != 0:
            return False
        if send.queue_id < 0 or send.queue_id >= len(topic.queues):
            return False
        body_bytes: i64 = end - send.body_at
        if body_bytes == 0 or body_bytes > self.body_bytes_max or self.refusing or self._commits.overloaded:
            return False
        body = frame[send.body_at : end]
        try:
            if send.batch or send.code == SEND_BATCH_MESSAGE:
                self.append_batch(outbox, topic, send, body)
                return True
            return self.append(outbox, topic, send, body)
        except StoreError:
            return False

    def topic(self, name: bytes, queue_count: int) -> SendTopic:
        """The topic to append to, with at least ``queue_count`` queues."""
        topic = self.known.get(name)
        if topic is None:
            topic = SendTopic(name, self._traffic_of(name))
            self.known[name] = topic
        while len(topic.queues) < queue_count:
            topic.queues.append(self._queue_of(name, len(topic.queues)))
        return topic

    def forget(self, name: bytes) -> None:
        """The topic has changed or is gone: its next message takes the general way."""
        self.topics.pop(name, None)
        self.known.pop(name, None)

    def append(self, outbox: Outbox, topic: SendTopic, send: SendFrame, body: bytes) -> bool:
        """Append one plain message and prepare its reply; False, with nothing done, when its properties need
        the general way."""
        scan = self._scan
        scan.scan(send.properties)
        if scan.unique_end == 0 or scan.reserved or scan.delay_end != 0 or scan.transaction_end != 0:
            return False
        if scan.timer_end != 0 or scan.inner_end != 0:
            return False
        properties = send.properties
        if i64(properties[len(properties) - 1]) == 2:
            properties = properties + self._added
        else:
            properties = properties + b"\x02" + self._added
        if len(properties) > PROPERTIES_BYTES_MAX:
            return False
        self.append_as(outbox, topic, send.queue_id, send, body, properties, scan)
        return True

    def append_as(
        self,
        outbox: Outbox,
        topic: SendTopic,
        queue_id: i64,
        send: SendFrame,
        body: bytes,
        properties: bytes,
        scan: PropertyScan,
    ) -> None:
        """Append one message to a queue of ``topic`` and prepare its reply, which names the queue that the
        sender asked for (a retry lies elsewhere meanwhile); ``scan`` has read ``properties``."""
        queue_offset: i64 = topic.queues[queue_id].next_offset
        log_offset: i64 = self.put(topic, queue_id, send, outbox.born_host, body, properties, scan)
        topic.traffic.add(1, self._log.end - log_offset)
        if send.flag & FLAG_ONEWAY != 0:
            self._commits.appended()
            return
        out = self._commits.writer(outbox, not waits_not(scan, properties))
        ids = BytesWriter()
        self._write_id(ids, log_offset)
        unique_key = properties[scan.unique_at : scan.unique_end]
        self._write_reply(out, send, ids.getvalue(), queue_offset, unique_key)

    def put(
        self,
        topic: SendTopic,
        queue_id: i64,
        send: SendFrame,
        born_host: bytes,
        body: bytes,
        properties: bytes,
        scan: PropertyScan,
    ) -> i64:
        """Append one record; ``scan`` has read ``properties``. Returns the log offset. Raises StoreError.

        Nothing is written yet: the caller asks ``commits`` for it.
        """
        return self._log.append(
            topic.queues[queue_id],
            send.message_flag,
            send.sys_flag,
            send.born_timestamp,
            born_host,
            self._now_ms(),
            send.reconsume_times,
            0,
            body,
            properties,
            scan,
        )

    def append_batch(self, outbox: Outbox, topic: SendTopic, send: SendFrame, units: bytes) -> None:
        """Append the messages of a batch and prepare the one reply. Raises StoreError, with nothing done,
        when the body is no batch."""
        queue = topic.queues[send.queue_id]
        queue_offset: i64 = queue.next_offset
        log_offsets = self._log.append_batch(
            queue,
            send.sys_flag,
            send.born_timestamp,
            outbox.born_host,
            self._now_ms(),
            send.reconsume_times,
            units,
        )
        topic.traffic.add(len(log_offsets) // 8, self._log.end - read_i64_be(log_offsets, 0))
        if send.flag & FLAG_ONEWAY != 0:
            self._commits.appended()
            return
        ids = BytesWriter()
        at: i64 = 0
        while at < len(log_offsets):
            if at > 0:
                ids.append(44)
            self._write_id(ids, read_i64_be(log_offsets, at))
            at += 8
        scan = self._scan
        scan.scan(send.properties)
        unique_key = send.properties[scan.unique_at : scan.unique_end] if scan.unique_end != 0 else b""
        out = self._commits.writer(outbox, not waits_not(scan, send.properties))
        self._write_reply(out, send, ids.getvalue(), queue_offset, unique_key)

    def _write_id(self, out: BytesWriter, log_offset: i64) -> None:
        """The offset message id (Java: ``MessageDecoder.createMessageId``)."""
        out.write(self._store_host_hex)
        if not _COMPILED:
            out.write(b"%016X" % log_offset)
            return
        write_i64_be(out, hex_digits(log_offset >> 32))
        write_i64_be(out, hex_digits(log_offset & 0xFFFFFFFF))

    def _write_reply(
        self, out: BytesWriter, send: SendFrame, ids: bytes, queue_offset: i64, unique_key: bytes
    ) -> None:
        if not _COMPILED:
            out.write(self._reply_interpreted(send, ids, queue_offset, unique_key))
        elif send.binary:
            self._write_binary_reply(out, send, ids, queue_offset, unique_key)
        else:
            self._write_json_reply(out, send, ids, queue_offset, unique_key)

    def _reply_interpreted(self, send: SendFrame, ids: bytes, queue_offset: int, unique_key: bytes) -> bytes:
        """The same reply for the interpreter, where one formatting is cheaper than many small writes."""
        key = unique_key
        if not send.binary:
            if not key.isalnum():
                text = BytesWriter()
                _write_json_text(text, key)
                key = text.getvalue()
            key = b'","transactionId":"%b' % key if key else b""
            header = (
                b'{"code":0,"extFields":{"msgId":"%b","queueId":"%d","queueOffset":"%d%b%b,"flag":1,'
                b'"language":"JAVA","opaque":%d,"serializeTypeCurrentRPC":"JSON","version":513}'
            ) % (ids, send.queue_id, queue_offset, key, self._json_tail, send.opaque)
            return _JSON_HEAD.pack(4 + len(header), len(header)) + header
        queue_text = b"%d" % send.queue_id
        offset_text = b"%d" % queue_offset
        parts = [
            b"\x00\x05msgId%b%b" % (len(ids).to_bytes(4, "big"), ids),
            b"\x00\x07queueId%b%b" % (len(queue_text).to_bytes(4, "big"), queue_text),
            b"\x00\x0bqueueOffset%b%b" % (len(offset_text).to_bytes(4, "big"), offset_text),
            b"\x00\x0dtransactionId%b%b" % (len(key).to_bytes(4, "big"), key) if key else b"",
            self._binary_tail,
        ]
        fields = b"".join(parts)
        size = 21 + len(fields)
        head = _BINARY_HEAD.pack(
            4 + size, size | 0x1000000, 0, 0, VERSION_5_5_0, send.opaque, 1, 0, len(fields)
        )
        return head + fields

    def _write_binary_reply(
        self, out: BytesWriter, send: SendFrame, ids: bytes, queue_offset: i64, unique_key: bytes
    ) -> None:
        queue_text = str(send.queue_id).encode()
        offset_text = str(queue_offset).encode()
        # Each field: int16 length, name, int32 length, value; the names below have 23 characters together.
        fields: i64 = 3 * 6 + 23 + len(ids) + len(queue_text) + len(offset_text) + len(self._binary_tail)
        if len(unique_key) > 0:
            fields += 6 + 13 + len(unique_key)
        header: i64 = 21 + fields
        write_i32_be(out, i32(4 + header))
        write_i32_be(out, i32(header | 0x1000000))
        write_i16_be(out, 0)
        out.append(0)
        write_i16_be(out, VERSION_5_5_0)
        write_i32_be(out, i32(send.opaque))
        write_i32_be(out, 1)
        write_i32_be(out, 0)
        write_i32_be(out, i32(fields))
        out.write(b"\x00\x05msgId")
        write_i32_be(out, i32(len(ids)))
        out.write(ids)
        out.write(b"\x00\x07queueId")
        write_i32_be(out, i32(len(queue_text)))
        out.write(queue_text)
        out.write(b"\x00\x0bqueueOffset")
        write_i32_be(out, i32(len(offset_text)))
        out.write(offset_text)
        if len(unique_key) > 0:
            out.write(b"\x00\x0dtransactionId")
            write_i32_be(out, i32(len(unique_key)))
            out.write(unique_key)
        out.write(self._binary_tail)

    def _write_json_reply(
        self, out: BytesWriter, send: SendFrame, ids: bytes, queue_offset: i64, unique_key: bytes
    ) -> None:
        text = BytesWriter()
        text.write(b'{"code":0,"extFields":{"msgId":"')
        text.write(ids)
        text.write(b'","queueId":"')
        text.write(str(send.queue_id).encode())
        text.write(b'","queueOffset":"')
        text.write(str(queue_offset).encode())
        if len(unique_key) > 0:
            text.write(b'","transactionId":"')
            _write_json_text(text, unique_key)
        text.write(self._json_tail)
        text.write(b',"flag":1,"language":"JAVA","opaque":')
        text.write(str(send.opaque).encode())
        text.write(b',"serializeTypeCurrentRPC":"JSON","version":513}')
        header = text.getvalue()
        write_i32_be(out, i32(4 + len(header)))
        write_i32_be(out, i32(len(header)))
        out.write(header)


def hex_digits(number: i64) -> i64:
    """The eight digits of a number of 32 bits, as the ASCII text that the result's bytes are.

    All at once: each half, then each byte, then each half byte is moved into a place twice as wide, and what
    is above 9 (it carries into the next half byte when 6 is added) becomes a letter.
    """
    spread: i64 = ((number & 0xFFFF0000) << 16) | (number & 0xFFFF)
    spread = ((spread & 0x0000FF000000FF00) << 8) | (spread & 0x000000FF000000FF)
    spread = ((spread & 0x00F000F000F000F0) << 4) | (spread & 0x000F000F000F000F)
    letters: i64 = ((spread + 0x0606060606060606) >> 4) & 0x0101010101010101
    return spread + 0x3030303030303030 + letters * 7


def waits_not(scan: PropertyScan, properties: bytes) -> bool:
    """The sender said WAIT=false: it does not wait for the flush."""
    return scan.wait_end != 0 and properties[scan.wait_at : scan.wait_end] == b"false"


def _binary_field(name: bytes, value: bytes) -> bytes:
    return len(name).to_bytes(2, "big") + name + len(value).to_bytes(4, "big") + value


def _write_json_text(out: BytesWriter, text: bytes) -> None:
    """UTF-8 as the inside of a JSON string."""
    at: i64 = 0
    end: i64 = len(text)
    while at < end:
        mark: i64 = i64(text[at])
        if mark == 34 or mark == 92:
            out.append(92)
            out.append(u8(mark))
        elif mark < 32:
            out.write(b"\\u00")
            out.append(HEX[mark >> 4])
            out.append(HEX[mark & 15])
        else:
            out.append(u8(mark))
        at += 1
