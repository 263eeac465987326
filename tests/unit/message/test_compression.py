import zlib

import pytest

from ledgermq.message.compression import COMPRESSED, Compression, CompressionError, compress, decompress

BODY = b"0123456789" * 30
# What the compressors of Java's rocketmq-common 5.5.0 make of BODY.
JAVAS = {
    Compression.LZ4: "04224d1860707315000000af303132333435363738390a00ff0b50353637383900000000",
    Compression.ZSTD: "28b52ffd00588c0000503031323334353637383901001f550b12010000",
    Compression.ZLIB: "785e3330343236313533b7b03418651160010024e43d87",
}
ALL = list(Compression)


@pytest.mark.parametrize("kind", ALL)
def test_javas_bodies_are_read(kind: Compression) -> None:
    assert decompress(bytes.fromhex(JAVAS[kind]), kind.sys_flag) == BODY


@pytest.mark.parametrize("kind", ALL)
def test_what_is_compressed_is_read(kind: Compression) -> None:
    packed = compress(BODY, kind)
    assert len(packed) < len(BODY)
    assert decompress(packed, kind.sys_flag) == BODY
    assert decompress(packed, kind.sys_flag, len(BODY)) == BODY


def test_flags_are_javas() -> None:
    assert [kind.sys_flag for kind in (Compression.LZ4, Compression.ZSTD, Compression.ZLIB)] == [
        0x101,
        0x201,
        0x301,
    ]


def test_no_type_is_zlib_as_old_clients_wrote_it() -> None:
    assert decompress(zlib.compress(BODY), COMPRESSED) == BODY


def test_a_body_that_is_not_compressed_is_left_alone() -> None:
    assert decompress(b"plain", 0x300) == b"plain"
    assert decompress(b"", 0x301) == b""


@pytest.mark.parametrize("kind", ALL)
def test_a_body_that_ends_too_early_is_refused(kind: Compression) -> None:
    packed = compress(BODY * 50, kind)
    for size in range(1, len(packed)):
        with pytest.raises(CompressionError):
            decompress(packed[:size], kind.sys_flag)


@pytest.mark.parametrize("kind", ALL)
def test_inflation_is_limited(kind: Compression) -> None:
    bomb = compress(bytes(5_000_000), kind)
    assert len(bomb) < 100_000
    with pytest.raises(CompressionError, match="inflates to more than 1000000"):
        decompress(bomb, kind.sys_flag, 1_000_000)


@pytest.mark.parametrize("kind", [Compression.LZ4, Compression.ZSTD])
def test_frames_that_follow_each_other_are_one_body(kind: Compression) -> None:
    packed = compress(BODY, kind) + compress(b"more", kind)
    assert decompress(packed, kind.sys_flag) == BODY + b"more"


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(CompressionError, match="type 5 is none of"):
        decompress(BODY, 0x501)
