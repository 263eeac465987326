"""Reads a request's header in one pass over the frame, in either encoding, without decoding it first.

A reader of one kind of request derives from :class:`RequestFrame`: it says which codes it wants, and takes
each field as a span of bytes. A header that is not as the usual clients write it (an escape that needs
thought, a value that is no text) is left to the general decoder, which explains what is wrong: so such a
reader may refuse whatever it likes but never misread. Spaces may stand before a number, where a client that
sends the same frame again and again puts another opaque.

Rules of this file: it is compiled; no index leaves the frame, whatever the bytes are.
"""

from __future__ import annotations

from typing import Final

from librt.strings import BytesWriter, read_i16_be, read_i32_be
from mypy_extensions import i64, u8

SPACE: Final[i64] = 32
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
INT32_MIN: Final[i64] = -(1 << 31)
INT32_MAX: Final[i64] = (1 << 31) - 1

OTHER: Final[i64] = 0
CODE: Final[i64] = 1
FLAG: Final[i64] = 2
OPAQUE: Final[i64] = 3
VERSION: Final[i64] = 4
FIELDS: Final[i64] = 5
"""Keys of the JSON header that are read."""

BAD: Final[i64] = -(1 << 62)
"""What :func:`parse_int` gives for what is no integer of at most 18 digits."""


def parse_int(text: bytes, at: i64, end: i64) -> i64:
    """The decimal integer in ``text[at:end]``, or BAD. It is written as JSON writes it: no zero leads it."""
    negative = False
    if at < end and i64(text[at]) == MINUS:
        negative = True
        at += 1
    if at >= end or end - at > INT_DIGITS_MAX:
        return BAD
    if i64(text[at]) == ZERO and (negative or end - at > 1):
        return BAD
    value: i64 = 0
    while at < end:
        digit: i64 = i64(text[at]) - ZERO
        if digit < 0 or digit > 9:
            return BAD
        value = value * 10 + digit
        at += 1
    return -value if negative else value


class RequestFrame:
    """The header around the fields. ``body_at`` is where the body begins."""

    def __init__(self) -> None:
        self.code: i64 = 0
        self.opaque: i64 = 0
        self.flag: i64 = 0
        self.version: i64 = 0
        self.binary: bool = False
        self.body_at: i64 = 0

    def wants(self, code: i64) -> bool:
        """Whether requests with this code are read."""
        return False

    def field(self, names: bytes, name_at: i64, name_bytes: i64, values: bytes, at: i64, end: i64) -> None:
        """The next field: its name is the ``name_bytes`` bytes from ``names[name_at]`` on, its value
        ``values[at:end]``."""

    def read_header(self, frame: bytes, at: i64, end: i64) -> bool:
        """Read the header of the frame in ``frame[at:end]``; False when it must go the general way."""
        word: i64 = i64(read_i32_be(frame, at + 4))
        header_end: i64 = at + 8 + (word & 0xFFFFFF)
        if header_end > end:
            return False
        self.body_at = header_end
        kind: i64 = (word >> 24) & 0xFF
        if kind == 1:
            self.binary = True
            return self._read_binary(frame, at + 8, header_end)
        if kind == 0:
            self.binary = False
            return self._read_json(frame, at + 8, header_end)
        return False

    # ---- binary ------------------------------------------------------------------------------------

    def _read_binary(self, frame: bytes, at: i64, end: i64) -> bool:
        if end - at < 21:
            return False
        code: i64 = i64(read_i16_be(frame, at))
        if not self.wants(code):
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
            name_at: i64 = at + 2
            at = name_at + name_bytes
            if name_bytes < 1 or at + 4 > end:
                return False
            length = i64(read_i32_be(frame, at))
            at += 4
            if length < 0 or at + length > end:
                return False
            self.field(frame, name_at, name_bytes, frame, at, at + length)
            at += length
        return at == end

    # ---- JSON --------------------------------------------------------------------------------------

    def _read_json(self, frame: bytes, at: i64, end: i64) -> bool:
        """The header as Java's and Go's clients write it: no spaces, text values in extFields."""
        if at >= end or i64(frame[at]) != OPEN:
            return False
        self.code = 0
        self.opaque = 0
        self.flag = 0
        self.version = 0
        has_fields = False
        at += 1
        while at < end:
            if i64(frame[at]) != QUOTE:
                return False
            name_at: i64 = at + 1
            at = find_name_end(frame, name_at, end)
            if at + 2 >= end or i64(frame[at + 1]) != COLON:
                return False
            key: i64 = key_of(frame, name_at, at)
            at += 2
            mark: i64 = i64(frame[at])
            if key == FIELDS:
                if mark != OPEN or has_fields:
                    return False
                has_fields = True
                at = self._read_json_fields(frame, at + 1, end)
                if at < 0:
                    return False
            elif mark == QUOTE:
                if key != OTHER:
                    return False
                at = find_quote(frame, at + 1, end) + 1
            else:
                while mark == SPACE and at + 1 < end:
                    at += 1
                    mark = i64(frame[at])
                if mark == QUOTE:
                    return False
                value_at: i64 = at
                while at < end and i64(frame[at]) != COMMA and i64(frame[at]) != CLOSE:
                    at += 1
                if key != OTHER and not self._header_number(key, parse_int(frame, value_at, at)):
                    return False
            if at >= end:
                return False
            mark = i64(frame[at])
            at += 1
            if mark == CLOSE:
                break
            if mark != COMMA:
                return False
        return at == end and self.code != 0

    def _header_number(self, key: i64, value: i64) -> bool:
        if not is_int32(value):
            return False
        if key == CODE:
            if not self.wants(value):
                return False
            self.code = value
        elif key == FLAG:
            self.flag = value
        elif key == OPAQUE:
            self.opaque = value
        else:
            self.version = value
        return True

    def _read_json_fields(self, frame: bytes, at: i64, end: i64) -> i64:
        """The object of fields that begins behind ``at``; the index behind it, or -1."""
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
            at = find_name_end(frame, name_at, end)
            if at + 3 >= end or i64(frame[at + 1]) != COLON or i64(frame[at + 2]) != QUOTE:
                return -1
            name_bytes: i64 = at - name_at
            at += 3
            close: i64 = at
            while close < end and i64(frame[close]) != QUOTE and i64(frame[close]) != BACKSLASH:
                close += 1
            if close >= end:
                return -1
            if i64(frame[close]) == BACKSLASH:
                close = self._read_escaped(name_at, name_bytes, frame, at, end)
                if close < 0:
                    return -1
            else:
                self.field(frame, name_at, name_bytes, frame, at, close)
            at = close + 1
        return -1

    def _read_escaped(self, name_at: i64, name_bytes: i64, frame: bytes, at: i64, end: i64) -> i64:
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
                self.field(frame, name_at, name_bytes, text, 0, len(text))
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


def find_name_end(text: bytes, at: i64, end: i64) -> i64:
    """The index of the quotation mark that ends a name, or ``end``, also for a name with escapes."""
    while at < end and i64(text[at]) != QUOTE:
        if i64(text[at]) == BACKSLASH:
            return end
        at += 1
    return at


def key_of(text: bytes, at: i64, end: i64) -> i64:
    """Which key of the JSON header stands in ``text[at:end]``."""
    size: i64 = end - at
    if size == 4:
        if matches(text, at, end, b"code"):
            return CODE
        if matches(text, at, end, b"flag"):
            return FLAG
    elif size == 6:
        if matches(text, at, end, b"opaque"):
            return OPAQUE
    elif size == 7:
        if matches(text, at, end, b"version"):
            return VERSION
    elif size == 9 and matches(text, at, end, b"extFields"):
        return FIELDS
    return OTHER


def matches(text: bytes, at: i64, end: i64, word: bytes) -> bool:
    """Whether ``text[at:end]`` is ``word``."""
    size: i64 = len(word)
    if end - at != size:
        return False
    index: i64 = 0
    while index < size:
        if i64(text[at + index]) != i64(word[index]):
            return False
        index += 1
    return True


def is_int32(value: i64) -> bool:
    """Whether ``value`` fits 32 bits; BAD does not."""
    return INT32_MIN <= value <= INT32_MAX


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
