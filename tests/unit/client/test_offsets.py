from ledgermq.client.offsets import OffsetTable
from ledgermq.client.queues import MessageQueue

A, B = MessageQueue("t", "a", 0), MessageQueue("u", "a", 0)


def test_offsets_advance_and_are_set() -> None:
    table = OffsetTable()
    assert table.get(A) is None
    table.advance(A, 5)
    table.advance(A, 3)
    assert table.get(A) == 5
    table.set(A, 3)
    assert table.get(A) == 3
    table.advance(B, 0)
    assert table.snapshot() == {A: 3, B: 0}
    assert table.snapshot("u") == {B: 0}
    table.forget(A)
    table.forget(A)
    assert table.snapshot() == {B: 0}


def test_nothing_done_is_no_offset() -> None:
    table = OffsetTable()
    table.advance(A, -1)
    assert table.get(A) is None
