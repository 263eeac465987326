import pytest

from ledgermq.broker.locks import LOCK_MS, QueueLocks
from ledgermq.broker.queue_key import QueueKey

Q0 = QueueKey("b", 0, "T")
Q1 = QueueKey("b", 1, "T")


@pytest.fixture
def locks() -> QueueLocks:
    locks = QueueLocks()
    assert locks.lock("g", [Q0, Q1], "one", 1000) == [Q0, Q1]
    return locks


def test_a_held_queue_is_not_given_to_another(locks):
    assert locks.lock("g", [Q0], "two", 1000) == []
    assert locks.holder("g", Q0, 1000) == "one"


def test_groups_do_not_meet(locks):
    assert locks.lock("other", [Q0], "two", 1000) == [Q0]


def test_a_lock_lasts_from_its_latest_renewal(locks):
    assert locks.lock("g", [Q0], "one", 1000 + LOCK_MS) == [Q0]
    assert locks.lock("g", [Q0, Q1], "two", 1001 + LOCK_MS) == [Q1]
    assert locks.lock("g", [Q0], "two", 1000 + 2 * LOCK_MS) == []
    assert locks.lock("g", [Q0], "two", 1001 + 2 * LOCK_MS) == [Q0]


def test_only_the_holder_unlocks(locks):
    locks.unlock("g", [Q0], "two")
    assert locks.holder("g", Q0, 1000) == "one"
    locks.unlock("g", [Q0], "one")
    assert locks.holder("g", Q0, 1000) is None
    assert locks.lock("g", [Q0, Q1], "two", 1000) == [Q0]
    locks.unlock("unknown", [Q0], "one")


def test_expired_locks_are_forgotten(locks):
    assert locks.holds_any("g", 1000 + LOCK_MS)
    assert not locks.holds_any("g", 1001 + LOCK_MS)
    assert not locks.holds_any("other", 0)
    assert locks.holder("g", Q0, 1001 + LOCK_MS) is None
    locks.lock("g", [Q1], "one", 2000)
    locks.expire(1001 + LOCK_MS)
    assert locks.holder("g", Q1, 2000) == "one"
    locks.expire(2001 + LOCK_MS)
    assert not locks.holds_any("g", 0)


def test_nothing_locked_leaves_nothing_behind():
    locks = QueueLocks()
    assert locks.lock("g", [], "one", 0) == []
    locks.expire(0)
    assert not locks.holds_any("g", 0)
