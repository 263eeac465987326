"""Compressed message bodies: zlib, LZ4 frames and zstd, told apart by bits of the message's system flag.

==================  ===================================================================
system flag bits    meaning
==================  ===================================================================
0                   the body is compressed
8 to 10             with what: 1 LZ4 (frame format), 2 zstd, 3 zlib; 0 is zlib too, as
                    clients before 4.9.4 wrote it
==================  ===================================================================

Source: Java's ``MessageSysFlag``, ``CompressionType`` and the three ``*Compressor`` classes.

Rules of this file: whatever the bytes are, :func:`decompress` returns the body or raises CompressionError,
and never makes more than ``bytes_max`` of memory out of them. The LZ4 and zstd libraries are imported when
first used, so that a command that meets no compressed message does not wait for them.
"""

from __future__ import annotations

import enum
import zlib
from typing import Final

from ledgermq.runtime.limits import INFLATED_BYTES_MAX

COMPRESSED: Final = 0x1
"""System flag bit: the body is compressed."""
_TYPE_SHIFT: Final = 8
_TYPE_MASK: Final = 0x7


_ZSTD_PIECE_BYTES: Final = 512
"""The library cannot limit what it returns, only what it is fed: four bytes can stand for 128 KiB, so a
piece overshoots the limit by 16 MiB at most."""

_LEVEL_DEFAULT: Final = 5
"""Java's ``rocketmq.message.compressLevel``."""


class CompressionError(ValueError):
    """The body cannot be decompressed."""


class Compression(enum.IntEnum):
    """How a body is compressed; the value is the one in the system flag."""

    LZ4 = 1
    ZSTD = 2
    ZLIB = 3

    @property
    def sys_flag(self) -> int:
        """The system flag of a message whose body is compressed this way."""
        return COMPRESSED | self.value << _TYPE_SHIFT


def compress(body: bytes, compression: Compression, level: int = _LEVEL_DEFAULT) -> bytes:
    """``body`` compressed as Java's consumers read it; LZ4 has no level there, so none here."""
    if compression is Compression.ZLIB:
        return zlib.compress(body, level)
    if compression is Compression.LZ4:
        from lz4 import frame  # type: ignore[import-untyped]  # the library ships no types

        packed: bytes = frame.compress(body)
        return packed
    import zstandard

    return zstandard.ZstdCompressor(level=level).compress(body)


def decompress(body: bytes, sys_flag: int, bytes_max: int = INFLATED_BYTES_MAX) -> bytes:
    """The body that ``body`` holds compressed in the way that ``sys_flag`` says.

    An empty body, and one whose flag does not say that it is compressed, is returned as it is.
    Raises CompressionError.
    """
    if not sys_flag & COMPRESSED or not body:
        return body
    kind = sys_flag >> _TYPE_SHIFT & _TYPE_MASK
    if kind in (0, Compression.ZLIB):
        inflated = _inflate_zlib(body, bytes_max)
    elif kind == Compression.LZ4:
        inflated = _inflate_lz4(body, bytes_max)
    elif kind == Compression.ZSTD:
        inflated = _inflate_zstd(body, bytes_max)
    else:
        raise CompressionError(f"compression type {kind} is none of 0, 3 (zlib), 1 (LZ4), 2 (zstd)")
    if len(inflated) > bytes_max:
        raise CompressionError(f"body of {len(body)} bytes inflates to more than {bytes_max}")
    return inflated


def _inflate_zlib(body: bytes, bytes_max: int) -> bytes:
    stream = zlib.decompressobj()
    try:
        inflated = stream.decompress(body, bytes_max + 1)
    except zlib.error as error:
        raise CompressionError(f"body of {len(body)} bytes is not zlib: {error}") from None
    if not stream.eof and len(inflated) <= bytes_max:
        raise CompressionError(f"zlib body of {len(body)} bytes ends in the middle")
    return inflated


def _inflate_lz4(body: bytes, bytes_max: int) -> bytes:
    from lz4 import frame

    inflated = b""
    rest: bytes | None = body
    while rest:
        # Java's writer may close one frame and begin another; its reader takes them all.
        stream = frame.LZ4FrameDecompressor()
        try:
            inflated += stream.decompress(rest, bytes_max + 1 - len(inflated))
        except RuntimeError as error:
            raise CompressionError(f"body of {len(body)} bytes is not LZ4 frames: {error}") from None
        if len(inflated) > bytes_max:
            break
        if not stream.eof:
            raise CompressionError(f"LZ4 body of {len(body)} bytes ends in the middle")
        rest = stream.unused_data
    return inflated


def _inflate_zstd(body: bytes, bytes_max: int) -> bytes:
    import zstandard

    inflated = bytearray()
    at = 0
    while at < len(body):
        stream = zstandard.ZstdDecompressor().decompressobj()
        while not stream.eof and at < len(body):
            piece = body[at : at + _ZSTD_PIECE_BYTES]
            at += len(piece)
            try:
                inflated += stream.decompress(piece)
            except zstandard.ZstdError as error:
                raise CompressionError(f"body of {len(body)} bytes is not zstd: {error}") from None
            if len(inflated) > bytes_max:
                return bytes(inflated)
        if not stream.eof:
            raise CompressionError(f"zstd body of {len(body)} bytes ends in the middle")
        at -= len(stream.unused_data)
    return bytes(inflated)
