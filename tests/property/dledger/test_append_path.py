"""The one-pass reader of an append's header against the general decoder: it may leave any frame to it, but
what it says it has read is what the general decoder reads."""

from __future__ import annotations

import struct

from hypothesis import event, given, settings
from hypothesis import strategies as st
from tests.property.remoting.sends import INT32, damaged, json_header

from ledgermq.dledger.append_path import AppendFrame
from ledgermq.remoting.command import FrameError, decode_command

BODY = b'{"group":"g","remoteId":"n0","body":"eA=="}'
JAVA = (
    b'{"code":50001,"flag":0,"language":"JAVA","opaque":7,"serializeTypeCurrentRPC":"JSON","version":0}',
    b'{"code":50001,"extFields":{},"flag":0,"language":"JAVA","opaque":         7,"version":513}',
)


def framed(header: bytes) -> bytes:
    return struct.pack(">ii", 4 + len(header) + len(BODY), len(header)) + header + BODY


@st.composite
def append_frames(draw: st.DrawFn) -> bytes:
    header = draw(json_header(50001, draw(INT32), draw(st.sampled_from([0, 1, 2])), {}))
    spaces = draw(st.sampled_from([b"", b" ", b"    "]))
    return framed(header.replace(b'"opaque":', b'"opaque":' + spaces, 1))


def check(frame: bytes) -> bool:
    """True when the header is read."""
    data = b"before" + frame + b"behind"
    at, end = 6, 6 + len(frame)
    header = AppendFrame()
    if not header.read_header(data, at, end):
        return False
    assert header.code == 50001
    try:
        command = decode_command(data, at, end)
    except FrameError:
        event("the general decoder refuses")
        return True
    assert (header.code, header.opaque, header.flag) == (command.code, command.opaque, command.flag)
    assert data[header.body_at : end] == command.body
    return True


def test_clients_appends_are_read() -> None:
    for header in JAVA:
        assert check(framed(header))
        assert not check(framed(header.replace(b"50001", b"50002")))


@given(append_frames())
@settings(max_examples=400)
def test_what_is_read_is_what_the_general_decoder_reads(frame: bytes) -> None:
    event("read" if check(frame) else "left")


@given(damaged(append_frames()))
@settings(max_examples=400)
def test_damaged_frames(frame: bytes) -> None:
    check(frame)
