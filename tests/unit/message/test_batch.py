import pytest

from ledgermq.message.batch import BatchError, BatchUnit, decode_batch, encode_batch

# Made by Java's MessageDecoder.encodeMessage: flag 7, body "body", tag "a".
JAVAS = bytes.fromhex("0000002100000000000000000000000700000004626f6479000754414753016102")
UNIT = BatchUnit(7, b"body", b"TAGS\x01a\x02")


def test_a_unit_is_javas() -> None:
    assert encode_batch([UNIT]) == JAVAS
    assert decode_batch(JAVAS) == [UNIT]


def test_units_follow_each_other() -> None:
    units = [UNIT, BatchUnit(-1, b"", b""), BatchUnit(0, b"x" * 1000, b"")]
    assert decode_batch(encode_batch(units)) == units
    assert decode_batch(b"") == []


def test_every_cut_and_every_tail_is_noticed() -> None:
    for size in range(1, len(JAVAS)):
        with pytest.raises(BatchError, match="unit 0"):
            decode_batch(JAVAS[:size])
    with pytest.raises(BatchError, match="unit 1: 3 bytes are left, a unit has at least 22"):
        decode_batch(JAVAS + b"abc")


@pytest.mark.parametrize(
    ("at", "value", "reason"),
    [
        (0, 0, "length 0 is not in 22..33"),
        (0, -1, "length -1 is not in"),
        (0, 34, "length 34 is not in"),
        (0, 32, "properties length 7, 6 bytes are left"),
        (16, -1, "body length -1 in a unit"),
        (16, 12, "body length 12 in a unit"),
        (16, 3, "properties length"),
    ],
)
def test_lengths_must_agree(at: int, value: int, reason: str) -> None:
    broken = JAVAS[:at] + value.to_bytes(4, "big", signed=True) + JAVAS[at + 4 :]
    with pytest.raises(BatchError, match=reason):
        decode_batch(broken)


def test_properties_have_a_limit() -> None:
    with pytest.raises(BatchError, match="32768 bytes, at most 32767"):
        encode_batch([BatchUnit(0, b"", bytes(32768))])
