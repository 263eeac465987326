"""Reads of one turn share a token; each is answered once."""

from __future__ import annotations

from ledgermq.dledger.read_requests import ReadRequests


def test_reads_of_a_turn_share_a_token() -> None:
    reads, codes = ReadRequests(), list[int]()
    reads.add(codes.append)
    reads.add(codes.append)
    first = reads.ask()
    assert not reads.has_new
    reads.add(codes.append)
    second = reads.ask()
    assert len(reads.take(first)) == 2
    assert reads.take(first) == []
    assert reads.count == 1
    assert len(reads.take(second)) == 1
    assert reads.count == 0


def test_all_can_be_taken() -> None:
    reads, codes = ReadRequests(), list[int]()
    for _ in range(3):
        reads.add(codes.append)
    reads.ask()
    reads.add(codes.append)
    assert reads.count == 4
    assert len(reads.take_all()) == 4
    assert (reads.count, reads.has_new) == (0, False)
