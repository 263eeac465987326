"""Reads the frames of SEND_MESSAGE_V2 and SEND_BATCH_MESSAGE in one pass, without a decoded header.

Both header encodings give the same :class:`SendFrame`, whose texts are still bytes. What it says is held
against the general decoder by tests/property/remoting/test_send_frame.py.

Interpreted, a loop over bytes costs more than it saves, so the interpreter has readers of its own here: JSON
by msgspec, the binary header field by field.

Rules of this file: it is compiled; no index leaves the frame, whatever the bytes are; both ways of reading
accept the same values.
"""

from __future__ import annotations

from typing import Final

from librt.strings import read_i16_be, read_i32_be
from mypy_extensions import i64

from ledgermq.broker.send_json import read_send_json
from ledgermq.remoting.request_frame import BAD, INT_DIGITS_MAX, RequestFrame, is_int32, matches, parse_int

COMPILED: Final = not __file__.endswith(".py")

SEND_MESSAGE_V2: Final[i64] = 310
SEND_BATCH_MESSAGE: Final[i64] = 320


def parse_text(text: bytes) -> i64:
    """What :func:`parse_int` gives, for the interpreter."""
    digits = text[1:] if text.startswith(b"-") else text
    return int(text) if digits.isdigit() and len(digits) <= INT_DIGITS_MAX else BAD


class SendFrame(RequestFrame):
    """The fields of one send request. Field names are those of SendMessageRequestHeader."""

    def __init__(self) -> None:
        super().__init__()
        self.topic: bytes = b""
        self.properties: bytes = b""
        self.queue_id: i64 = BAD
        self.sys_flag: i64 = BAD
        self.born_timestamp: i64 = BAD
        self.message_flag: i64 = BAD
        self.reconsume_times: i64 = 0
        self.batch: bool = False
        self._has_group: bool = False
        self._is_clear: bool = True

    def read(self, frame: bytes, at: i64, end: i64) -> bool:
        """Fill the fields from the frame in ``frame[at:end]``; False when it must go the general way."""
        self.topic = b""
        self.properties = b""
        self.queue_id = BAD
        self.sys_flag = BAD
        self.born_timestamp = BAD
        self.message_flag = BAD
        self.reconsume_times = 0
        self.batch = False
        self._has_group = False
        self._is_clear = True
        if COMPILED:
            if not self.read_header(frame, at, end):
                return False
        elif not self._read_interpreted(frame, at, end):
            return False
        return (
            self._is_clear
            and self._has_group
            and len(self.topic) > 0
            and self.queue_id != BAD
            and self.born_timestamp != BAD
            and is_int32(self.sys_flag)
            and is_int32(self.message_flag)
            and is_int32(self.reconsume_times)
            and self.reconsume_times >= 0
            and is_utf8(self.properties)
        )

    def wants(self, code: i64) -> bool:
        return code == SEND_MESSAGE_V2 or code == SEND_BATCH_MESSAGE  # "in" is slower compiled

    def field(self, names: bytes, name_at: i64, name_bytes: i64, values: bytes, at: i64, end: i64) -> None:
        """One field of the one-letter header (Java: SendMessageRequestHeaderV2)."""
        if name_bytes != 1:
            return
        letter: i64 = i64(names[name_at])
        if letter == 97:  # a
            self._has_group = True
        elif letter == 98:  # b
            self.topic = values[at:end]
        elif letter == 101:  # e
            self.queue_id = parse_int(values, at, end)
        elif letter == 102:  # f
            self.sys_flag = parse_int(values, at, end)
        elif letter == 103:  # g
            self.born_timestamp = parse_int(values, at, end)
        elif letter == 104:  # h
            self.message_flag = parse_int(values, at, end)
        elif letter == 105:  # i
            self.properties = values[at:end]
        elif letter == 106:  # j
            self.reconsume_times = parse_int(values, at, end)
        elif letter == 109:  # m
            self.batch = matches(values, at, end, b"true")
            if not self.batch and not matches(values, at, end, b"false"):
                self._is_clear = False

    def _read_interpreted(self, frame: bytes, at: int, end: int) -> bool:
        word: int = read_i32_be(frame, at + 4)
        header_end = at + 8 + (word & 0xFFFFFF)
        if header_end > end:
            return False
        self.body_at = header_end
        kind = (word >> 24) & 0xFF
        self.binary = kind == 1
        if kind == 1:
            return self._read_binary_interpreted(frame, at + 8, header_end)
        return kind == 0 and self._read_json_interpreted(frame[at + 8 : header_end])

    def _read_binary_interpreted(self, frame: bytes, at: int, end: int) -> bool:
        if end - at < 21:
            return False
        code: int = read_i16_be(frame, at)
        if code != SEND_MESSAGE_V2 and code != SEND_BATCH_MESSAGE:
            return False
        fields_end: int = at + 21 + read_i32_be(frame, at + 17)
        if read_i32_be(frame, at + 13) != 0 or fields_end != end:
            return False
        self.code = code
        self.version = int(read_i16_be(frame, at + 3))
        self.opaque = int(read_i32_be(frame, at + 5))
        self.flag = int(read_i32_be(frame, at + 9))
        found: dict[int, bytes] = {}
        at += 21
        while at + 7 <= end:
            # One-letter names only: int16 1, the letter, int32 length. Anything else goes the general way.
            length: int = read_i32_be(frame, at + 3)
            if frame[at + 1] != 1 or frame[at] != 0 or length < 0:
                return False
            found[frame[at + 2]] = frame[at + 7 : at + 7 + length]
            at += 7 + length
        if at != end:
            return False
        self.topic = found.get(98, b"")
        self.queue_id = parse_text(found.get(101, b""))
        self.sys_flag = parse_text(found.get(102, b""))
        self.born_timestamp = parse_text(found.get(103, b""))
        self.message_flag = parse_text(found.get(104, b""))
        self.properties = found.get(105, b"")
        self.reconsume_times = parse_text(found.get(106, b"0"))
        batch = found.get(109, b"false")
        self.batch = batch == b"true"
        self._has_group = 97 in found
        return self.batch or batch == b"false"

    def _read_json_interpreted(self, header: bytes) -> bool:
        send = read_send_json(header)
        if send is None or (send.code != SEND_MESSAGE_V2 and send.code != SEND_BATCH_MESSAGE):
            return False
        if not is_int32(send.opaque) or not is_int32(send.flag) or not is_int32(send.version):
            return False
        fields = send.extFields
        if fields is None or fields.b is None or fields.e is None or fields.f is None:
            return False
        if fields.g is None or fields.h is None:
            return False
        self.code = send.code
        self.opaque = send.opaque
        self.flag = send.flag
        self.version = send.version
        self.topic = fields.b.encode()
        self.queue_id = parse_text(fields.e.encode())
        self.sys_flag = parse_text(fields.f.encode())
        self.born_timestamp = parse_text(fields.g.encode())
        self.message_flag = parse_text(fields.h.encode())
        self.properties = fields.i.encode()
        self.reconsume_times = parse_text(fields.j.encode())
        self.batch = fields.m == "true"
        self._has_group = fields.a is not None
        return self.batch or fields.m == "false"


def is_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
