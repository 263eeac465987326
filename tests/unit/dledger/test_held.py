"""Acknowledgements wait for their bytes."""

from ledgermq.dledger.held import Held
from ledgermq.dledger.messages import SendAfterPersist, TakeLeadershipReply

WORD = TakeLeadershipReply(1, 200)


def test_a_message_leaves_when_its_entry_is_durable():
    held = Held()
    held.hold(SendAfterPersist("n1", WORD, 5))
    held.hold(SendAfterPersist("n2", WORD, 7))
    assert held.release(4) == []
    assert [send.to for send in held.release(5)] == ["n1"]
    assert [send.to for send in held.release(9)] == ["n2"]


def test_a_later_message_never_passes_an_earlier_one():
    held = Held()
    held.hold(SendAfterPersist("n1", WORD, 5))
    held.hold(SendAfterPersist("n1", WORD, 3))
    assert held.release(4) == []
    assert len(held.release(5)) == 2


def test_what_is_dropped_is_never_said():
    held = Held()
    held.hold(SendAfterPersist("n1", WORD, 5))
    held.drop()
    assert held.release(9) == []
