"""Frames for the tests of remoting, and the one way to decode an example.

The frames in JAVA were encoded by Java's RemotingCommand of 5.5.0.
"""

from __future__ import annotations

import asyncio

from ledgermq.remoting.command import Command, decode_command
from ledgermq.remoting.connection import Connection, FastPath, Handler

JSON = 0
BINARY = 1

JAVA = {
    "pull JSON": (
        b"\x00\x00\x01\x3a\x00\x00\x01\x36"
        b'{"code":11,"extFields":{"queueId":"3","maxMsgNums":"32","sysFlag":"6","suspendTimeoutMillis":"15000",'
        b'"commitOffset":"0","topic":"t","queueOffset":"1099511627776","subscription":"a || \xc3\xbc",'
        b'"subVersion":"1","consumerGroup":"g"},"flag":0,"language":"JAVA","opaque":7,'
        b'"serializeTypeCurrentRPC":"JSON","version":513}'
    ),
    "send JSON": (
        b"\x00\x00\x01\x3b\x00\x00\x01\x33"
        b'{"code":310,"extFields":{"a":"pg","b":"topic","c":"TBW102","d":"4","e":"2","f":"0",'
        b'"g":"1700000000123","h":"5","i":"TAGS\\u0001a\\u0002KEYS\\u0001\\"k\\\\\\u0002UNIQ_KEY\\u0001\xc3\xbc'
        b'\\n\\u0002","j":"0","k":"false","m":"false","n":"b"},"flag":0,"language":"JAVA","opaque":-1,'
        b'"serializeTypeCurrentRPC":"JSON","version":513}body'
    ),
    "response JSON": (
        b"\x00\x00\x00\x7b\x00\x00\x00\x77"
        b'{"code":17,"flag":1,"language":"JAVA","opaque":9,"remark":"no \\"\xc3\xbc\\"\\n",'
        b'"serializeTypeCurrentRPC":"JSON","version":513}'
    ),
    "one-way JSON": (
        b"\x00\x00\x00\x68\x00\x00\x00\x61"
        b'{"code":34,"flag":2,"language":"JAVA","opaque":10,"serializeTypeCurrentRPC":"JSON","version":513}'
        b"\x01\x02\x03"
    ),
    "pull binary": bytes.fromhex(
        "000000e1010000dd000b000201000000070000000000000000000000c800077175657565496400000001330"
        "00a6d61784d73674e756d730000000233320007737973466c616700000001360014737573"
        "70656e6454696d656f75744d696c6c6973000000053135303030000c636f6d6d69744f6666736574"
        "00000001300005746f7069630000000174000b71756575654f66667365740000000d31303939353131363237373736"
        "000c737562736372697074696f6e0000000761207c7c20c3bc000a73756256657273696f6e0000000131"
        "000d636f6e73756d657247726f75700000000167"
    ),
    "send binary": bytes.fromhex(
        "000000bf010000b70136000201ffffffff0000000000000000000000a20001610000000270670001620000"
        "0005746f706963000163000000065442573130320001640000000134000165000000013200016600000001"
        "300001670000000d3137303030303030303031323300016800000001350001690000001d54414753016102"
        "4b45595301226b5c02554e49515f4b455901c3bc0a0200016a000000013000016b0000000566616c736500"
        "016d0000000566616c736500016e0000000162626f6479"
    ),
    "response binary": bytes.fromhex(
        "000000210100001d00110002010000000900000001000000086e6f2022c3bc220a00000000"
    ),
    "one-way binary": bytes.fromhex("0000001c0100001500220002010000000a000000020000000000000000010203"),
}


def frame(header: bytes, body: bytes = b"", *, encoding: int = JSON) -> bytes:
    """A frame around a header that may be anything."""
    word = len(header) | encoding << 24
    return (4 + len(header) + len(body)).to_bytes(4, "big") + word.to_bytes(4, "big") + header + body


def decode(data: bytes) -> Command:
    """The command in ``data``, which is one frame."""
    return decode_command(data, 0, len(data))


class Wire:
    """A transport that goes nowhere and keeps what was written."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.is_closing = False

    def get_extra_info(self, name: str) -> object:
        return {"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)}.get(name)

    def write(self, data: bytes) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        self.is_closing = True

    abort = close


def _ignore(connection: Connection) -> None:
    return None


def receive(pieces: list[bytes], handlers: dict[int, Handler]) -> Wire:
    """What a connection writes that receives ``pieces`` one after the other."""

    async def run() -> Wire:
        wire = Wire()
        connection = Connection(handlers, FastPath(), _ignore, _ignore, 0)
        connection.connection_made(wire)
        for piece in pieces:
            if not wire.is_closing:
                connection.data_received(piece)
        return wire

    return asyncio.run(run())


def fields(command: Command) -> dict[str, object]:
    """All there is to a command, to compare."""
    names = ("code", "ext", "body", "remark", "flag", "opaque", "language", "version", "binary")
    return {name: getattr(command, name) for name in names}


def decode_every_way(data: bytes) -> Command:
    """The command in the frame ``data``: the same when it stands alone or among other bytes, comes byte by
    byte, or comes together with the frame behind it."""
    alone = decode(data)
    inside = decode_command(b"\xff" * 3 + data + b"\xff" * 9, 3, 3 + len(data))
    assert fields(inside) == fields(alone)
    if alone.is_response:
        return alone  # A connection takes only responses that it waits for.
    ways = {
        "whole": [data],
        "byte by byte": [bytes([byte]) for byte in data],
        "with the next": [data + data],
        "the next cut off": [data + data[:9], data[9:]],
        "halves": [data[: len(data) // 2], data[len(data) // 2 :]],
    }
    for way, pieces in ways.items():
        commands: list[Command] = []

        def keep(command: Command, connection: Connection, to: list[Command] = commands) -> None:
            to.append(command)

        receive(pieces, {alone.code: keep})
        assert len(commands) == sum(map(len, pieces)) // len(data), way
        assert all(fields(command) == fields(alone) for command in commands), way
    return alone
