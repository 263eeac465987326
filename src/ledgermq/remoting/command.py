"""One command on the wire, request or response, and its two header encodings (Java: ``RemotingCommand``).

A frame, all integers big endian:

======  =====================================================================
bytes   meaning
======  =====================================================================
4       length of everything after these four bytes
4       header word: high 8 bits encoding (0 JSON, 1 binary), low 24 bits header length
n       header
rest    body
======  =====================================================================

The binary header: int16 code, byte language, int16 version, int32 opaque, int32 flag, int32 + remark,
int32 length of the extension fields, then for each field int16 + name, int32 + value, all UTF-8
(Java: ``RocketMQSerializable``). The JSON header is an object with the keys of :class:`JsonHeader`.

Rules of this file: it is compiled; every decoder returns a command or raises :class:`FrameError`, whatever
the bytes are; a command is answered in the encoding that it came in.
"""

from __future__ import annotations

from typing import Final

import msgspec
from librt.strings import BytesWriter, read_i16_be, read_i32_be, write_i16_be, write_i32_be
from mypy_extensions import i16, i32, i64, u8

from ledgermq.remoting.codes import (
    FLAG_ONEWAY,
    FLAG_RESPONSE,
    LANGUAGE_JAVA,
    LANGUAGE_NAMES,
    LANGUAGE_OTHER,
    SERIALIZE_BINARY,
    SERIALIZE_JSON,
    VERSION_5_5_0,
)
from ledgermq.remoting.json_body import JsonError, JsonHeader, parse_json
from ledgermq.runtime.limits import HEADER_FIELDS_MAX, LENIENT_HEADER_BYTES_MAX


class FrameError(Exception):
    """The byte stream is not RocketMQ's: the connection cannot be used further."""


class PeerError(Exception):
    """The peer asked for something that cannot be done; it is answered with ``code`` and ``remark``."""

    def __init__(self, code: int, remark: str) -> None:
        super().__init__(code, remark)
        self.code = code
        self.remark = remark

    def __str__(self) -> str:
        return f"[{self.code}] {self.remark}"


class Command:
    """A request or a response.

    ``ext`` are the header's extension fields, still text; ``binary`` says which header encoding it came in
    or goes out in; ``opaque`` pairs a response with its request.
    """

    def __init__(self, code: int) -> None:
        self.code: int = code
        self.ext: dict[str, str] = {}
        self.body: bytes = b""
        self.remark: str | None = None
        self.flag: int = 0
        self.opaque: int = 0
        self.language: int = LANGUAGE_JAVA
        self.version: int = VERSION_5_5_0
        self.binary: bool = False

    @property
    def is_response(self) -> bool:
        return self.flag & FLAG_RESPONSE != 0

    @property
    def is_oneway(self) -> bool:
        return self.flag & FLAG_ONEWAY != 0

    def __repr__(self) -> str:
        kind = "response" if self.is_response else "request"
        return (
            f"<{kind} code={self.code} opaque={self.opaque} remark={self.remark!r} "
            f"ext={self.ext!r} body_bytes={len(self.body)}>"
        )


_INT16_MAX: Final = 0x7FFF

_json_header_decoder: Final = msgspec.json.Decoder(JsonHeader)
_json_encoder: Final = msgspec.json.Encoder()

BINARY_HEADER_BYTES_MIN: Final = 21


def decode_command(frame: bytes, at: i64, end: i64) -> Command:
    """The command in ``frame[at:end]``, which is one whole frame from its length word on.

    Raises FrameError when the header is not what its encoding says.
    """
    word: i64 = i64(read_i32_be(frame, at + 4))
    encoding: i64 = (word >> 24) & 0xFF
    header_end: i64 = at + 8 + (word & 0xFFFFFF)
    if header_end > end:
        raise FrameError(f"header of {word & 0xFFFFFF} bytes in a frame of {end - at - 4}")
    if encoding == SERIALIZE_BINARY:
        command = _decode_binary_header(frame, at + 8, header_end)
    elif encoding == SERIALIZE_JSON:
        command = _decode_json_header(frame[at + 8 : header_end])
    else:
        raise FrameError(f"header encoding {encoding} is neither 0 (JSON) nor 1 (ROCKETMQ)")
    if header_end < end:
        command.body = frame[header_end:end]
    return command


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise FrameError(f"header text {data[:40]!r} is not UTF-8") from None


def _decode_binary_header(frame: bytes, at: i64, end: i64) -> Command:
    if end - at < BINARY_HEADER_BYTES_MIN:
        raise FrameError(f"binary header of {end - at} bytes, {BINARY_HEADER_BYTES_MIN} is the least")
    command = Command(int(read_i16_be(frame, at)))
    command.binary = True
    command.language = int(frame[at + 2])
    command.version = int(read_i16_be(frame, at + 3))
    command.opaque = int(read_i32_be(frame, at + 5))
    command.flag = int(read_i32_be(frame, at + 9))
    length: i64 = i64(read_i32_be(frame, at + 13))
    at += 17
    if length < 0 or at + length + 4 > end:
        raise FrameError(f"remark of {length} bytes does not fit its header")
    if length > 0:
        command.remark = _text(frame[at : at + length])
        at += length
    length = i64(read_i32_be(frame, at))
    at += 4
    if length < 0 or at + length > end:
        raise FrameError(f"extension fields of {length} bytes do not fit their header")
    _decode_fields(frame, at, at + length, command.ext)
    return command


def _decode_fields(frame: bytes, at: i64, end: i64, ext: dict[str, str]) -> None:
    count: i64 = 0
    while at < end:
        count += 1
        if count > HEADER_FIELDS_MAX:
            raise FrameError(f"more than {HEADER_FIELDS_MAX} extension fields")
        if at + 6 > end:
            raise FrameError("extension fields end inside a field")
        length: i64 = i64(read_i16_be(frame, at))
        at += 2
        if length < 0 or at + length + 4 > end:
            raise FrameError(f"field name of {length} bytes does not fit its header")
        name = _text(frame[at : at + length])
        at += length
        length = i64(read_i32_be(frame, at))
        at += 4
        if length < 0 or at + length > end:
            raise FrameError(f"value of {length} bytes of field {name!r} does not fit its header")
        ext[name] = _text(frame[at : at + length])
        at += length


def _decode_json_header(header: bytes) -> Command:
    try:
        fields = _json_header_decoder.decode(header)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        fields = _decode_lenient_header(header)
    command = Command(fields.code)
    command.opaque = fields.opaque
    command.flag = fields.flag
    command.version = fields.version
    command.remark = fields.remark
    language = fields.language
    if isinstance(language, int):
        command.language = language if 0 <= language < len(LANGUAGE_NAMES) else LANGUAGE_OTHER
    elif language in LANGUAGE_NAMES:
        command.language = LANGUAGE_NAMES.index(language)
    else:
        command.language = LANGUAGE_OTHER
    if fields.extFields:
        if len(fields.extFields) > HEADER_FIELDS_MAX:
            raise FrameError(f"more than {HEADER_FIELDS_MAX} extension fields")
        for name, value in fields.extFields.items():
            if value is not None:
                command.ext[name] = value
    return command


def _decode_lenient_header(header: bytes) -> JsonHeader:
    """Clients of other languages write numbers or booleans where Java writes text."""
    if len(header) > LENIENT_HEADER_BYTES_MAX:
        raise FrameError(f"JSON header of {len(header)} bytes is not as Java writes it")
    try:
        fields = parse_json(header)
        if isinstance(fields, dict) and isinstance(fields.get("extFields"), dict):
            ext = fields["extFields"]
            fields["extFields"] = {str(name): _field_text(value) for name, value in ext.items()}
        return msgspec.convert(fields, JsonHeader, strict=False)
    except (JsonError, msgspec.MsgspecError, RecursionError) as error:
        raise FrameError(f"JSON header cannot be read: {error}") from None


def _field_text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    return _json_encoder.encode(value).decode()


def encode_head(command: Command, body_bytes: int) -> bytes:
    """Frame length, header word and header of ``command`` whose body of ``body_bytes`` bytes follows."""
    binary = command.binary and -0x8000 <= command.code <= _INT16_MAX
    header = _encode_binary_header(command) if binary else _encode_json_header(command)
    head = BytesWriter()
    write_i32_be(head, i32(4 + len(header) + body_bytes))
    word: i64 = len(header)
    if binary:
        word |= SERIALIZE_BINARY << 24
    write_i32_be(head, i32(word))
    head.write(header)
    return head.getvalue()


def encode_command(command: Command) -> bytes:
    """The whole frame of ``command``.

    A code beyond 16 bits cannot stand in a binary header, so such a command goes out as JSON.
    """
    return encode_head(command, len(command.body)) + command.body


def _encode_binary_header(command: Command) -> bytes:
    out = BytesWriter()
    write_i16_be(out, i16(command.code))
    out.append(u8(command.language))
    write_i16_be(out, i16(command.version))
    write_i32_be(out, i32(command.opaque))
    write_i32_be(out, i32(command.flag))
    remark = b"" if command.remark is None else command.remark.encode()
    write_i32_be(out, i32(len(remark)))
    out.write(remark)
    fields = BytesWriter()
    for name, value in command.ext.items():
        name_bytes = name.encode()
        value_bytes = value.encode()
        write_i16_be(fields, i16(len(name_bytes)))
        fields.write(name_bytes)
        write_i32_be(fields, i32(len(value_bytes)))
        fields.write(value_bytes)
    field_bytes = fields.getvalue()
    write_i32_be(out, i32(len(field_bytes)))
    out.write(field_bytes)
    return out.getvalue()


def _encode_json_header(command: Command) -> bytes:
    header: dict[str, object] = {"code": command.code}
    if command.ext:
        header["extFields"] = command.ext
    header["flag"] = command.flag
    language = command.language if command.language < len(LANGUAGE_NAMES) else LANGUAGE_OTHER
    header["language"] = LANGUAGE_NAMES[language]
    header["opaque"] = command.opaque
    if command.remark is not None:
        header["remark"] = command.remark
    header["serializeTypeCurrentRPC"] = "JSON"
    header["version"] = command.version
    return _json_encoder.encode(header)
