"""Reads the frames of SEND_MESSAGE_V2 and SEND_BATCH_MESSAGE in one pass, without a decoded header.

Both header encodings give the same :class:`SendFrame`, whose texts are still bytes. A frame that is not as
the usual clients write it (another request, an escape that needs thought, a field missing) is left to the
general decoder, which explains what is wrong: so this reader may refuse whatever it likes but never misread.

Rules of this file: it is compiled; no index leaves the frame, whatever the bytes are.
"""

from __future__ import annotations

from typing import Final

from librt.strings import BytesWriter, read_i16_be, read_i32_be
from mypy_extensions import i64, u8

SEND_MESSAGE_V2: Final[i64] = 310
SEND_BATCH_MESSAGE: Final[i64] = 320

QUOTE: Final[i64] = 34
BACKSLASH: Final[i64] = 92
SLASH: Final[i64] = 47
COLON: Final[i64] = 58
COMMA: Final[i64] = 44
OPEN: Final[i64] = 123
CLOSE: Final[i64] = 125
MINUS: Final[i64] = 45
ZERO: Final[i64] = 48
NINE: Final[i64] = 57
LETTER_A: Final[i64] = 97
LETTER_N: Final[i64] = 110
LETTER_U: Final[i64] = 117
INT_DIGITS_MAX: Final[i64] = 18
BAD: Final[i64] = -(1 << 62)
"""What :func:`parse_int` gives for what is no integer of at most 18 digits."""


def parse_int(text: bytes, at: i64, end: i64) -> i64:
    """The decimal integer in ``text[at:end]``, or BAD."""
    negative = False
    if at < end and i64(text[at]) == MINUS:
        negative = True
        at += 1
    if at >= end or end - at > INT_DIGITS_MAX:
        return BAD
    value: i64 = 0
    while at < end:
        digit: i64 = i64(text[at]) - ZERO
        if digit < 0 or digit > 9:
            return BAD
        value = value * 10 + digit
        at += 1
    return -value if negative else value


def fits_32_bits(value: i64) -> bool:
    """Whether a record can keep ``value``; BAD does not fit."""
    return -0x80000000 <= value <= 0x7FFFFFFF


class SendFrame:
    """The fields of one send request. Field names are those of SendMessageRequestHeader."""

    def __init__(self) -> None:
        self.code: i64 = 0
        self.opaque: i64 = 0
        self.flag: i64 = 0
        self.version: i64 = 0
        self.binary: bool = False
        self.topic: bytes = b""
        self.properties: bytes = b""
        self.queue_id: i64 = BAD
        self.queue_id_text: bytes = b""
        self.sys_flag: i64 = BAD
        self.born_timestamp: i64 = BAD
        self.message_flag: i64 = BAD
        self.reconsume_times: i64 = 0
        self.batch: bool = False
        self.body_at: i64 = 0

    def read(self, frame: bytes, at: i64, end: i64) -> bool:
        """Fill the fields from the frame in ``frame[at:end]``; False when it must go the general way."""
        word: i64 = i64(read_i32_be(frame, at + 4))
        header_end: i64 = at + 8 + (word & 0xFFFFFF)
        if header_end > end:
            return False
        self.topic = b""
        self.properties = b""
        self.queue_id = BAD
        self.sys_flag = BAD
        self.born_timestamp = BAD
        self.message_flag = BAD
        self.reconsume_times = 0
        self.batch = False
        self.body_at = header_end
        kind: i64 = (word >> 24) & 0xFF
        if kind == 1:
            self.binary = True
            if not self._read_binary(frame, at + 8, header_end):
                return False
        elif kind == 0:
            self.binary = False
            if not self._read_json(frame, at + 8, header_end):
                return False
        else:
            return False
        return (
            len(self.topic) > 0
            and fits_32_bits(self.queue_id)
            and fits_32_bits(self.sys_flag)
            and fits_32_bits(self.message_flag)
            and fits_32_bits(self.reconsume_times)
            and self.reconsume_times >= 0
            and self.born_timestamp != BAD
        )

    def _read_binary(self, frame: bytes, at: i64, end: i64) -> bool:
        if end - at < 21:
            return False
        code: i64 = i64(read_i16_be(frame, at))
        if code != SEND_MESSAGE_V2 and code != SEND_BATCH_MESSAGE:
            return False
        self.code = code
        self.version = i64(read_i16_be(frame, at + 3))
        self.opaque = i64(read_i32_be(frame, at + 5))
        self.flag = i64(read_i32_be(frame, at + 9))
        length: i64 = i64(read_i32_be(frame, at + 13))
        if length != 0 or at + 21 + i64(read_i32_be(frame, at + 17)) != end:
            return False
        at += 21
        while at + 6 < end:
            name_bytes: i64 = i64(read_i16_be(frame, at))
            name: i64 = i64(frame[at + 2])
            at += 2 + name_bytes
            if name_bytes < 1 or at + 4 > end:
                return False
            length = i64(read_i32_be(frame, at))
            at += 4
            if length < 0 or at + length > end:
                return False
            if name_bytes == 1:
                self._field(name, frame, at, at + length)
            at += length
        return at == end

    def _field(self, letter: i64, frame: bytes, at: i64, end: i64) -> None:
        """One field of the one-letter header (Java: SendMessageRequestHeaderV2)."""
        if letter == 98:  # b
            self.topic = frame[at:end]
        elif letter == 101:  # e
            self.queue_id = parse_int(frame, at, end)
            self.queue_id_text = frame[at:end]
        elif letter == 102:  # f
            self.sys_flag = parse_int(frame, at, end)
        elif letter == 103:  # g
            self.born_timestamp = parse_int(frame, at, end)
        elif letter == 104:  # h
            self.message_flag = parse_int(frame, at, end)
        elif letter == 105:  # i
            self.properties = frame[at:end]
        elif letter == 106:  # j
            self.reconsume_times = parse_int(frame, at, end)
        elif letter == 109:  # m
            self.batch = end - at == 4 and i64(frame[at]) == 116

    # ---- JSON --------------------------------------------------------------------------------------

    def _read_json(self, frame: bytes, at: i64, end: i64) -> bool:
        """The header as Java's and Go's clients write it: no spaces, text values in extFields."""
        if i64(frame[at]) != OPEN:
            return False
        self.code = 0
        self.opaque = 0
        self.flag = 0
        self.version = 0
        fields_at: i64 = 0
        at += 1
        while at < end:
            if i64(frame[at]) != QUOTE:
                return False
            name_at: i64 = at + 1
            at = find_quote(frame, name_at, end)
            if at + 2 >= end or i64(frame[at + 1]) != COLON:
                return False
            name_bytes: i64 = at - name_at
            name: i64 = i64(frame[name_at])
            at += 2
            mark: i64 = i64(frame[at])
            if mark == OPEN:
                if name_bytes != 9:  # extFields
                    return False
                fields_at = at
                at = self._read_json_fields(frame, at + 1, end)
                if at < 0:
                    return False
            elif mark == QUOTE:
                at = find_quote(frame, at + 1, end) + 1
            else:
                value_at: i64 = at
                while at < end and i64(frame[at]) != COMMA and i64(frame[at]) != CLOSE:
                    at += 1
                if name_bytes == 4:
                    value: i64 = parse_int(frame, value_at, at)
                    if name == 99:  # code
                        if value != SEND_MESSAGE_V2 and value != SEND_BATCH_MESSAGE:
                            return False
                        self.code = value
                    elif name == 102:  # flag
                        self.flag = value
                elif name_bytes == 6 and name == 111:  # opaque
                    self.opaque = parse_int(frame, value_at, at)
                elif name_bytes == 7:  # version
                    self.version = parse_int(frame, value_at, at)
            if at >= end:
                return False
            mark = i64(frame[at])
            at += 1
            if mark == CLOSE:
                break
            if mark != COMMA:
                return False
        return at == end and fields_at > 0 and self.code != 0 and self.opaque != BAD and self.flag != BAD

    def _read_json_fields(self, frame: bytes, at: i64, end: i64) -> i64:
        """The object of one-letter fields that begins behind ``at``; the index behind it, or -1."""
        while at < end:
            mark: i64 = i64(frame[at])
            if mark == CLOSE:
                return at + 1
            if mark == COMMA:
                at += 1
                continue
            if mark != QUOTE:
                return -1
            name_at: i64 = at + 1
            at = find_quote(frame, name_at, end)
            if at + 3 >= end or i64(frame[at + 1]) != COLON or i64(frame[at + 2]) != QUOTE:
                return -1
            name_bytes: i64 = at - name_at
            name: i64 = i64(frame[name_at])
            at += 3
            close: i64 = at
            while close < end and i64(frame[close]) != QUOTE and i64(frame[close]) != BACKSLASH:
                close += 1
            if close >= end:
                return -1
            if i64(frame[close]) == BACKSLASH:
                if name_bytes != 1:
                    return -1
                close = self._read_escaped(name, frame, at, end)
                if close < 0:
                    return -1
            elif name_bytes == 1:
                self._field(name, frame, at, close)
            at = close + 1
        return -1

    def _read_escaped(self, name: i64, frame: bytes, at: i64, end: i64) -> i64:
        """A text with escapes, as properties are (their separators are \\u0001 and \\u0002)."""
        out = BytesWriter()
        while at < end:
            start: i64 = at
            while at < end and i64(frame[at]) != BACKSLASH and i64(frame[at]) != QUOTE:
                at += 1
            if at > start:
                out.write(frame[start:at])
            if at + 1 >= end:
                return -1
            if i64(frame[at]) == QUOTE:
                text = out.getvalue()
                self._field(name, text, 0, len(text))
                return at
            mark: i64 = i64(frame[at + 1])
            if mark == LETTER_U:
                if at + 6 > end:
                    return -1
                code: i64 = hex_value(frame, at + 2)
                if code < 0 or code > 127:
                    return -1
                out.append(u8(code))
                at += 6
            elif mark == QUOTE or mark == BACKSLASH or mark == SLASH:  # noqa: SIM109 - faster compiled
                out.append(u8(mark))
                at += 2
            elif mark == LETTER_N:
                out.append(10)
                at += 2
            else:
                return -1
        return -1


def find_quote(text: bytes, at: i64, end: i64) -> i64:
    """The index of the next quotation mark, or ``end``."""
    while at < end and i64(text[at]) != QUOTE:
        at += 1
    return at


def hex_value(text: bytes, at: i64) -> i64:
    """Four hexadecimal digits as a number, or -1."""
    value: i64 = 0
    end: i64 = at + 4
    while at < end:
        digit: i64 = i64(text[at])
        if ZERO <= digit <= NINE:
            digit -= ZERO
        elif LETTER_A <= digit <= 102:
            digit -= 87
        elif 65 <= digit <= 70:
            digit -= 55
        else:
            return -1
        value = value * 16 + digit
        at += 1
    return value
