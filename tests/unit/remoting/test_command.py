"""Frames: what Java encodes, what other clients write, and what is no frame."""

import json
import struct

import pytest
from tests.unit.remoting.frames import BINARY, JAVA, JSON, decode, decode_every_way, fields, frame

from ledgermq.remoting.codes import FLAG_RESPONSE, LANGUAGE_OTHER, LANGUAGE_PYTHON
from ledgermq.remoting.command import Command, FrameError, PeerError, encode_command, encode_head
from ledgermq.runtime.limits import HEADER_FIELDS_MAX, LENIENT_HEADER_BYTES_MAX

PULL = {
    "consumerGroup": "g",
    "topic": "t",
    "queueId": "3",
    "queueOffset": "1099511627776",
    "maxMsgNums": "32",
    "sysFlag": "6",
    "commitOffset": "0",
    "suspendTimeoutMillis": "15000",
    "subscription": "a || ü",
    "subVersion": "1",
}
SEND = {
    "a": "pg",
    "b": "topic",
    "c": "TBW102",
    "d": "4",
    "e": "2",
    "f": "0",
    "g": "1700000000123",
    "h": "5",
    "i": 'TAGS\x01a\x02KEYS\x01"k\\\x02UNIQ_KEY\x01ü\n\x02',
    "j": "0",
    "k": "false",
    "m": "false",
    "n": "b",
}


@pytest.mark.parametrize("encoding", ["JSON", "binary"])
class TestJavasFrames:
    def test_request(self, encoding: str) -> None:
        command = decode_every_way(JAVA[f"pull {encoding}"])
        assert (command.code, command.opaque, command.version, command.language) == (11, 7, 513, 0)
        assert (command.ext, command.body, command.remark) == (PULL, b"", None)
        assert not command.is_response
        assert not command.is_oneway
        assert command.binary == (encoding == "binary")

    def test_request_with_body(self, encoding: str) -> None:
        command = decode_every_way(JAVA[f"send {encoding}"])
        assert (command.code, command.opaque, command.ext, command.body) == (310, -1, SEND, b"body")

    def test_response(self, encoding: str) -> None:
        command = decode_every_way(JAVA[f"response {encoding}"])
        assert (command.code, command.opaque, command.remark) == (17, 9, 'no "ü"\n')
        assert command.is_response

    def test_oneway(self, encoding: str) -> None:
        command = decode_every_way(JAVA[f"one-way {encoding}"])
        assert (command.code, command.body, command.ext) == (34, b"\x01\x02\x03", {})
        assert command.is_oneway

    @pytest.mark.parametrize("name", ["pull", "send", "response", "one-way"])
    def test_we_write_the_same(self, encoding: str, name: str) -> None:
        frame = JAVA[f"{name} {encoding}"]
        written = encode_command(decode(frame))
        if encoding == "JSON":
            # The order of the keys is ours.
            assert json.loads(_header(written)) == json.loads(_header(frame))
            assert len(written) == len(frame)
        else:
            assert written == frame


def _header(frame: bytes) -> bytes:
    return frame[8 : 8 + int.from_bytes(frame[5:8], "big")]


def test_json_bytes_we_write() -> None:
    command = Command(0)
    command.flag = FLAG_RESPONSE
    command.opaque = 5
    command.ext = {"queueId": "1", "text": '"\x01ü'}
    command.remark = "x"
    header = (
        '{"code":0,"extFields":{"queueId":"1","text":"\\"\\u0001ü"},"flag":1,"language":"JAVA","opaque":5,'
        '"remark":"x","serializeTypeCurrentRPC":"JSON","version":513}'
    )
    assert encode_command(command) == frame(header.encode())


def test_head_counts_the_body_that_follows() -> None:
    command = Command(1)
    command.body = b"abc"
    assert encode_head(command, 3) + b"abc" == encode_command(command)


def test_code_beyond_16_bits_goes_as_json() -> None:
    for code, is_binary in [(0x7FFF, True), (-0x8000, True), (0x8000, False), (200050, False)]:
        command = Command(code)
        command.binary = True
        decoded = decode_every_way(encode_command(command))
        assert (decoded.code, decoded.binary) == (code, is_binary)


def test_languages() -> None:
    def language_of(text: bytes) -> int:
        return decode_every_way(frame(b'{"code":1,"language":' + text + b"}")).language

    assert language_of(b'"PYTHON"') == LANGUAGE_PYTHON
    assert language_of(b"3") == LANGUAGE_PYTHON
    for unknown in (b'"COBOL"', b"14", b"-1", b"99999999999999999999"):
        assert language_of(unknown) == LANGUAGE_OTHER


def test_unknown_language_byte_can_be_answered_as_json() -> None:
    command = decode(JAVA["pull binary"][:10] + b"\xff" + JAVA["pull binary"][11:])
    assert command.language == 255
    command.binary = False
    assert decode(encode_command(command)).language == LANGUAGE_OTHER


def test_what_other_clients_write() -> None:
    command = decode_every_way(
        frame(
            b'{ "code" : "11", opaque: 3, "flag":0 , "version": 1, "extra": {"a":[1]},'
            b' "extFields": {"queueId": 3, "order": true, "none": null, "off": false, "n": 1.5,'
            b' "o": {"a":1}} }'
        )
    )
    assert (command.code, command.opaque, command.language) == (11, 3, 0)
    assert command.ext == {"queueId": "3", "order": "true", "off": "false", "n": "1.5", "o": '{"a":1}'}


def test_fields_that_are_null_are_left_out() -> None:
    assert decode_every_way(frame(b'{"code":1,"extFields":{"a":null,"b":""}}')).ext == {"b": ""}
    assert decode_every_way(frame(b'{"code":1,"extFields":null,"remark":null}')).ext == {}


def test_binary_field_forms() -> None:
    fields = b"\x00\x00\x00\x00\x00\x00" + b"\x00\x01a\x00\x00\x00\x00" + b"\x00\x01a\x00\x00\x00\x01b"
    command = decode_every_way(frame(_binary(fields=fields), encoding=BINARY))
    assert command.ext == {"": "", "a": "b"}


def _binary(
    *, code: int = 1, remark: bytes = b"", remark_bytes: int | None = None, fields: bytes = b"",
    field_bytes: int | None = None,
) -> bytes:  # fmt: skip
    return (
        struct.pack(">hBhii", code, 0, 513, 1, 0)
        + struct.pack(">i", len(remark) if remark_bytes is None else remark_bytes)
        + remark
        + struct.pack(">i", len(fields) if field_bytes is None else field_bytes)
        + fields
    )


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (b"", "binary header of 0 bytes, 21 is the least"),
        (_binary()[:20], "binary header of 20 bytes"),
        (_binary(remark_bytes=-1), "remark of -1 bytes"),
        (_binary(remark_bytes=1), "remark of 1 bytes"),
        (_binary(remark_bytes=2**31 - 1), "remark of 2147483647 bytes"),
        (_binary(remark=b"\xff"), "is not UTF-8"),
        (_binary(field_bytes=-1), "extension fields of -1 bytes"),
        (_binary(field_bytes=1), "extension fields of 1 bytes"),
        (_binary(fields=b"\x00"), "end inside a field"),
        (_binary(fields=b"\xff\xff\x00\x00\x00\x00"), "field name of -1 bytes"),
        (_binary(fields=b"\x00\x01\x00\x00\x00\x00"), "field name of 1 bytes"),
        (_binary(fields=b"\x00\x01\xff\x00\x00\x00\x00"), "is not UTF-8"),
        (_binary(fields=b"\x00\x01a\xff\xff\xff\xff"), "value of -1 bytes of field 'a'"),
        (_binary(fields=b"\x00\x01a\x00\x00\x00\x01"), "value of 1 bytes of field 'a'"),
        (_binary(fields=b"\x00\x01a\x00\x00\x00\x01\xff"), "is not UTF-8"),
    ],
)
def test_no_binary_header(header: bytes, why: str) -> None:
    with pytest.raises(FrameError, match=why):
        decode(frame(header, encoding=BINARY))


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"[]",
        b"null",
        b'"text"',
        b"{}",
        b'{"code":',
        b'{"code":1}x',
        b'{"code":"eleven"}',
        b'{"code":1.5}',
        b'{"code":[1]}',
        b'{"code":2147483648}',
        b'{"code":1,"opaque":-2147483649}',
        b'{"code":1,"flag":1e30}',
        b'{"code":1,"version":99999999999999999999999}',
        b'{"code":1,"remark":1}',
        b'{"code":1,"extFields":[]}',
        b'{"code":1,"extFields":"a"}',
        b'{"code":1,"remark":"\xff"}',
        b'{"code":1,"remark":"\\ud800"}',
        b'{"code":' + b"1" * 5000 + b"}",
        b'{"code":1,"x":' + b"[" * 100_000,
        b'{"code":1,"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"code":1,"extFields":{"x":' + b'{"a":' * 100_000,
        b'{"code":1, x:"' + b"x" * LENIENT_HEADER_BYTES_MAX + b'"}',
    ],
    ids=lambda header: header[:30],
)
def test_no_json_header(header: bytes) -> None:
    with pytest.raises(FrameError, match="JSON header"):
        decode(frame(header, encoding=JSON))


def test_deep_but_bearable_nesting_in_a_field() -> None:
    for depth in (1, 63, 200, 400, 600, 800, 900, 950, 990, 1000, 1100):
        header = b'{"code":1,"extFields":{"x":' + b"[" * depth + b"]" * depth + b"}}"
        try:
            command = decode(frame(header))
        except FrameError:
            assert depth > 63
        else:
            assert command.ext == {"x": "[" * depth + "]" * depth}


def test_more_fields_than_anybody_needs() -> None:
    for count, is_read in [(HEADER_FIELDS_MAX, True), (HEADER_FIELDS_MAX + 1, False)]:
        names = [f"{number:05}" for number in range(count)]
        json_header = b'{"code":1,"extFields":{' + ",".join(f'"{name}":""' for name in names).encode() + b"}}"
        fields = b"".join(b"\0\5" + name.encode() + b"\0\0\0\0" for name in names)
        for data in (frame(json_header), frame(_binary(fields=fields), encoding=BINARY)):
            if is_read:
                assert len(decode(data).ext) == count
            else:
                with pytest.raises(FrameError, match=f"more than {HEADER_FIELDS_MAX} extension fields"):
                    decode(data)


def test_header_longer_than_its_frame() -> None:
    with pytest.raises(FrameError, match="header of 5 bytes in a frame of 4"):
        decode(b"\x00\x00\x00\x04\x00\x00\x00\x05")


@pytest.mark.parametrize("encoding", [2, 0x7F, 0xFF])
def test_unknown_encoding(encoding: int) -> None:
    with pytest.raises(FrameError, match=f"header encoding {encoding} is neither"):
        decode(frame(b"{}", encoding=encoding))


def test_texts_for_people() -> None:
    assert str(PeerError(17, "no topic")) == "[17] no topic"
    assert repr(Command(11)).startswith("<request code=11 opaque=0 ")
    command = Command(11)
    command.flag = FLAG_RESPONSE
    assert repr(command).startswith("<response code=11 ")
    assert fields(command)["flag"] == 1
