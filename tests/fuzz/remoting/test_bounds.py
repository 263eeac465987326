"""What a peer sends costs time and memory in proportion to its bytes, however it is made."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress

import pytest
from tests.unit.remoting.frames import BINARY, JAVA, decode, frame, receive

from ledgermq.remoting.command import Command, FrameError
from ledgermq.remoting.connection import Connection
from ledgermq.remoting.json_body import JsonError, parse_json
from ledgermq.runtime.limits import DIALECT_BYTES_MAX, FRAME_BYTES_MAX

MIB = 1 << 20


def cost(action: Callable[[], object]) -> tuple[float, int]:
    """CPU seconds, and bytes of memory at the highest."""
    begin = time.process_time()
    action()
    seconds = time.process_time() - begin
    tracemalloc.start()
    action()
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return seconds, peak_bytes


def parse(data: bytes) -> None:
    with suppress(JsonError):
        parse_json(data)


SHAPES: dict[str, Callable[[int], bytes]] = {
    "text": lambda n: b'{0:"' + b"x" * n + b'"}',
    "escapes": lambda n: b'{0:"' + b"\\n" * (n // 2) + b'"}',
    "unclosed text": lambda n: b'{0:"' + b"x" * n,
    "unclosed escapes": lambda n: b'{0:"' + b'\\"' * (n // 2),
    "digits": lambda n: b"{0:" + b"1" * n + b"}",
    "word": lambda n: b"{0:" + b"a" * n + b"}",
    "spaces": lambda n: b"{0:1" + b" " * n,
    "brackets": lambda n: b"{0:" + b"[" * n,
    "braces": lambda n: b"{" * n,
    "quotes": lambda n: b"{0:" + b'"' * n,
    "arrays": lambda n: b"{0:[" + b"[]," * (n // 3) + b"]}",
    "one key again": lambda n: b"{" + b"0:1," * (n // 4) + b"}",
}


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_the_dialect(shape: str) -> None:
    size = MIB // 4
    small, _ = cost(lambda: parse(SHAPES[shape](size // 16)))
    seconds, peak_bytes = cost(lambda: parse(SHAPES[shape](size)))
    assert seconds < max(40 * small, 0.2), "16 times the bytes, more than 40 times the time"
    assert peak_bytes < 40 * size


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_more_is_refused_at_once(shape: str) -> None:
    data = SHAPES[shape](DIALECT_BYTES_MAX + 9)
    seconds, _ = cost(lambda: parse(data))
    assert seconds < 0.5


HEADERS: dict[str, tuple[int, bytes]] = {
    "JSON nesting": (0, b'{"code":1,"x":' + b"[" * MIB),
    "JSON nested field": (0, b'{"code":1,"extFields":{"x":' + b"[" * MIB),
    "JSON number": (0, b'{"code":' + b"1" * MIB + b"}"),
    "JSON fraction": (0, b'{"code":1,"x":0.' + b"1" * MIB + b"}"),
    "JSON exponent": (0, b'{"code":1,"x":1e' + b"1" * MIB + b"}"),
    "JSON fields": (0, b'{"code":1,"extFields":{' + b'"a":1,' * (MIB // 8) + b'"b":1}}'),
    "JSON text": (0, b'{"code":1,"extFields":{"a":"' + b"x" * MIB + b'"}}'),
    "binary fields": (
        BINARY,
        b"\x00\x01\x00\x02\x01"
        + bytes(12)
        + (7 * MIB).to_bytes(4, "big")
        + b"\x00\x01a\x00\x00\x00\x00" * MIB,
    ),
    "binary text": (
        BINARY,
        b"\x00\x01\x00\x02\x01" + bytes(8) + (MIB).to_bytes(4, "big") + b"x" * MIB + bytes(4),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("shape", HEADERS)
def test_large_headers(shape: str) -> None:
    encoding, header = HEADERS[shape]

    def decode_it() -> None:
        with suppress(FrameError):
            decode(frame(header, encoding=encoding))

    seconds, peak_bytes = cost(decode_it)
    assert seconds < 0.5
    assert peak_bytes < 8 * len(header)


@pytest.mark.slow
@pytest.mark.parametrize("piece_bytes", [64, 1500, 65536])
def test_a_frame_of_the_largest_size_in_pieces(piece_bytes: int) -> None:
    head = JAVA["send binary"][4:-4]
    body = bytes(FRAME_BYTES_MAX - 4 - len(head))
    data = (len(head) + len(body)).to_bytes(4, "big") + head + body
    assert len(data) == FRAME_BYTES_MAX
    pieces = [data[at : at + piece_bytes] for at in range(0, len(data), piece_bytes)]
    received: list[int] = []

    def keep(command: Command, connection: Connection) -> None:
        received.append(len(command.body))

    seconds, peak_bytes = cost(lambda: receive(pieces, {310: keep}))
    assert received == [len(body)] * 2
    assert seconds < 3, "each piece must cost its own bytes only"
    assert peak_bytes < 4 * FRAME_BYTES_MAX


@pytest.mark.slow
def test_a_frame_byte_by_byte_is_held_in_its_own_size() -> None:
    size = MIB // 4
    data = frame(b"x" * size)
    pieces = [bytes([byte]) for byte in data[:-1]]
    _, peak_bytes = cost(lambda: receive(pieces, {}))
    assert peak_bytes < 2 * size


@pytest.mark.slow
def test_many_small_frames_at_once() -> None:
    data = JAVA["one-way binary"] * (MIB // len(JAVA["one-way binary"]))
    count = 0

    def keep(command: Command, connection: Connection) -> None:
        nonlocal count
        count += 1

    seconds, peak_bytes = cost(lambda: receive([data[:-1], data[-1:]], {34: keep}))
    assert count == 2 * (len(data) // len(JAVA["one-way binary"]))
    assert seconds < 2
    assert peak_bytes < 4 * len(data)
