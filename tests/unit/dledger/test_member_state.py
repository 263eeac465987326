"""``currterm`` and ``checkpoint``: ours, Java's, lost and damaged ones."""

from __future__ import annotations

import pytest

from ledgermq.dledger.codes import DLedgerCode
from ledgermq.dledger.ledger import LedgerError
from ledgermq.dledger.member_state import (
    UNKNOWN_VOTE,
    Checkpoint,
    FlushedEntry,
    decode_checkpoint,
    decode_state,
    encode_checkpoint,
    encode_state,
    load_state,
)
from ledgermq.testing.simulation.disk import SimDisk

PATH = "/group/dledger-n0/currterm"


def disk_with(**files: bytes) -> SimDisk:
    disk = SimDisk(0)
    for suffix, data in files.items():
        disk.replace_file(PATH + {"main": "", "tmp": ".tmp", "bak": ".bak"}[suffix], data)
    return disk


def test_state_round_trip_in_java_text():
    assert encode_state(7, "n1") == b"currTerm=7\nvoteLeader=n1\n"
    assert decode_state(encode_state(7, "n1")) == (7, "n1")
    assert decode_state(encode_state(8, "")) == (8, "")
    assert decode_state(b"voteLeader=\ncurrTerm=12\n") == (12, "")


@pytest.mark.parametrize("data", [b"", b"currTerm=7\n", b"currTerm=x\nvoteLeader=\n", b"\0" * 20, None])
def test_what_is_no_state(data: bytes | None):
    assert decode_state(data) is None


def test_a_new_member_has_term_0():
    assert load_state(SimDisk(0), PATH, -1) == (0, "")


def test_java_died_while_replacing_the_file():
    disk = disk_with(bak=encode_state(3, "n0"), tmp=encode_state(4, ""))
    assert load_state(disk, PATH, 3) == (4, "")
    disk = disk_with(bak=encode_state(3, "n0"), tmp=b"currTe")
    assert load_state(disk, PATH, 3) == (3, "n0")


@pytest.mark.parametrize("data", [None, b"", b"currTerm=\n"])
def test_a_lost_vote_is_not_made_up(data: bytes | None):
    disk = SimDisk(0) if data is None else disk_with(main=data, bak=encode_state(1, "n0"))
    with pytest.raises(LedgerError, match="vote is lost") as caught:
        load_state(disk, PATH, 3)
    assert caught.value.code == DLedgerCode.DISK_ERROR


def test_a_term_below_the_logs_leaves_the_vote_unknown():
    assert load_state(disk_with(main=encode_state(3, "n0")), PATH, 5) == (5, UNKNOWN_VOTE)


def test_checkpoint_round_trip():
    checkpoint = Checkpoint(5, FlushedEntry(9, 2, 4096))
    assert decode_checkpoint(encode_checkpoint(checkpoint, 9)) == checkpoint
    assert decode_checkpoint(encode_checkpoint(Checkpoint(), -1)) == Checkpoint()


def test_javas_checkpoint_promises_nothing():
    assert decode_checkpoint(b"committedIndex=5\nendIndex=9\n") == Checkpoint(5, FlushedEntry())


@pytest.mark.parametrize("data", [None, b"", b"\xff\xfe", b"committedIndex=\nflushedIndex=3\n"])
def test_what_is_no_checkpoint_promises_nothing(data: bytes | None):
    assert decode_checkpoint(data) == Checkpoint()
