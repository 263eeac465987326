"""The checkpoint file: Java's six numbers, and ours behind them."""

from __future__ import annotations

import struct

import pytest

from ledgermq.store.checkpoint import Checkpoint, boot_hash, decode_checkpoint, encode_checkpoint

FULL = Checkpoint(1, 2, 3, 4, 5, 66, True, 7, 8, 9, 10, java_recovers_from=6)


def test_round_trip():
    data = encode_checkpoint(FULL)
    assert len(data) == 4096
    assert decode_checkpoint(data) == FULL
    assert struct.unpack_from(">6q", data) == (1, 2, 3, 4, 5, 6), "where Java reads them"


@pytest.mark.parametrize("data", [None, b"", b"x" * 47, bytes(4096)])
def test_what_is_no_checkpoint_promises_nothing(data: bytes | None):
    assert decode_checkpoint(data) == Checkpoint()


def test_java_s_own_file_is_not_ours():
    data = bytearray(4096)
    struct.pack_into(">6q", data, 0, 11, 12, 13, 14, 15, 16)
    found = decode_checkpoint(bytes(data))
    assert found == Checkpoint(11, 12, 13, 14, 15, 16)
    assert not found.ours


def test_ours_is_out_of_date_when_java_has_dispatched_since():
    data = bytearray(encode_checkpoint(FULL))
    struct.pack_into(">q", data, 40, 60)
    assert decode_checkpoint(bytes(data)) == Checkpoint(1, 2, 3, 4, 5, 60)


def test_any_damage_to_ours_is_noticed():
    for at in range(64, 120):
        data = bytearray(encode_checkpoint(FULL))
        data[at] ^= 0x10
        assert not decode_checkpoint(bytes(data)).ours, at


def test_boot_hash():
    assert boot_hash("") == 0
    assert boot_hash("a") not in (0, boot_hash("b"))
