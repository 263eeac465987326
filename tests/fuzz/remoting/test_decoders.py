"""Whatever the bytes are, a decoder gives a value or raises the error of its protocol, and nothing else."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property.remoting.pulls import pull_frames
from tests.property.remoting.sends import damaged, send_frames
from tests.unit.remoting.frames import JAVA, decode, fields, frame

from ledgermq.broker.pull_frame import PullFrame
from ledgermq.broker.send_frame import SendFrame
from ledgermq.remoting.broker_headers import decode_send_header
from ledgermq.remoting.codes import ResponseCode
from ledgermq.remoting.command import Command, FrameError, PeerError, decode_command, encode_command
from ledgermq.remoting.headers import decode_body, decode_header
from ledgermq.remoting.json_body import JsonError, decode_json, encode_json, parse_json
from ledgermq.remoting.register_body import decode_register_body
from ledgermq.remoting.requests import REQUESTS
from ledgermq.remoting.route_data import (
    BrokerMemberGroupBody,
    ClusterInfo,
    KvTable,
    TopicConfigs,
    TopicList,
    TopicRouteData,
)

TOKENS = st.sampled_from(
    [
        *(
            b"{",
            b"}",
            b"[",
            b"]",
            b":",
            b",",
            b'"',
            b"'",
            b"\\",
            b"//",
            b" ",
            b"\n",
            b"\x00",
            b"\xff",
            b"\xc3\xbc",
        ),
        *(b"\\u0001", b"\\ud83d", b"\\ude00", b"true", b"null", b"NaN", b"undefined"),
        *(b"0", b"-1", b"1.5", b"1e999", b"9" * 50, b"12L"),
        *(b'"code"', b'"extFields"', b'"opaque"', b'"a"', b'""', b'{"a":1}', b"{0:1}", b"[[", b"{{"),
    ]
)
JSON_LIKE = st.lists(TOKENS, max_size=30).map(b"".join)
BYTES = st.one_of(st.binary(max_size=80), JSON_LIKE)
BODIES: list[type] = [BrokerMemberGroupBody, ClusterInfo, KvTable, TopicConfigs, TopicList, TopicRouteData]


@given(BYTES)
@settings(max_examples=1000)
def test_parse_json(data: bytes) -> None:
    with suppress(JsonError):
        value = parse_json(data)
        assert parse_json(encode_json(value)) == value or b"1e999" in data


@given(BYTES, st.sampled_from([dict[int, int], dict[str, str], list[float], int, str, bool, *BODIES]))
@settings(max_examples=500)
def test_decode_json(data: bytes, kind: Any) -> None:
    with suppress(JsonError):
        value = decode_json(kind, data)
        assert msgspec.convert(msgspec.to_builtins(value), kind, str_keys=True) == value


@given(BYTES, st.sampled_from([0, 1, 1, 2, 255]), st.binary(max_size=4))
@settings(max_examples=1000)
def test_decode_command(header: bytes, encoding: int, body: bytes) -> None:
    with suppress(FrameError):
        command = decode(frame(header, body, encoding=encoding))
        assert command.body == body
        assert fields(decode(encode_command(command)))["ext"] == command.ext


@given(
    st.one_of(damaged(st.sampled_from(list(JAVA.values()))), damaged(send_frames()), damaged(pull_frames())),
    st.sampled_from([b"", b"\xff\xff\xff\xff"]),
)
@settings(max_examples=1000)
def test_damaged_frames(data: bytes, around: bytes) -> None:
    at, end = len(around), len(around) + len(data)
    SendFrame().read(around + data + around, at, end)
    PullFrame().read(around + data + around, at, end)
    try:
        command = decode_command(around + data + around, at, end)
    except FrameError:
        return
    check_header_decoders(command)


def check_header_decoders(command: Command) -> None:
    for kind in {kind for _, kind in REQUESTS.values()}:
        check_refusal(decode_header, kind, command)
    check_refusal(decode_send_header, command)
    check_refusal(decode_body, dict[int, list[str]], command)


def check_refusal(decoder: Any, *arguments: Any) -> None:
    refusal = PeerError(ResponseCode.INVALID_PARAMETER, "none")
    try:
        decoder(*arguments)
    except PeerError as error:
        refusal = error
    assert refusal.code == ResponseCode.INVALID_PARAMETER
    assert 0 < len(refusal.remark) < 500
    assert refusal.remark.isprintable()


@given(BYTES)
@settings(max_examples=500)
def test_readers_of_frames_never_raise(data: bytes) -> None:
    for encoding in (0, 1):
        framed = frame(data, encoding=encoding)
        SendFrame().read(framed, 0, len(framed))
        PullFrame().read(framed, 0, len(framed))


NAMES = sorted({f.encode_name for _, kind in REQUESTS.values() for f in msgspec.structs.fields(kind)})
TEXTS = st.one_of(
    st.text(max_size=10), st.sampled_from(["0", "-1", "1e999", "nan", "9" * 400, "true", "null", "١"])
)


@given(
    st.dictionaries(st.one_of(st.sampled_from(NAMES), st.sampled_from("abcdefghijklmn")), TEXTS, max_size=12)
)
def test_every_header_of_the_table(ext: dict[str, str]) -> None:
    command = Command(310)
    command.ext = ext
    check_header_decoders(command)


@given(BYTES, st.booleans())
@settings(max_examples=300)
def test_register_body(data: bytes, compressed: bool) -> None:
    check_register(data, compressed)


def check_register(data: bytes, compressed: bool) -> None:
    with suppress(PeerError):
        decode_register_body(data, compressed=compressed)
