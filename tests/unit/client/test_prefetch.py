from tests.unit.client.messages import received

from ledgermq.client.prefetch import Prefetch


def prefetch(*offsets: int, begin: int = 0, count_max: int = 100, bytes_max: int = 10**6) -> Prefetch:
    made = Prefetch(begin, count_max, bytes_max)
    made.put([received(offset) for offset in offsets])
    return made


def test_what_is_handed_out_is_done_when_acknowledged() -> None:
    ahead = prefetch(0, 1, 2)
    assert [message.queue_offset for message in ahead.take(2)] == [0, 1]
    assert (ahead.done, ahead.position) == (0, 2)
    ahead.acknowledge()
    assert (ahead.done, ahead.position) == (2, 2)
    ahead.take(5)
    assert (ahead.done, ahead.position, len(ahead)) == (2, 3, 0)
    assert ahead.take(5) == []


def test_the_position_passes_messages_that_are_not_wanted() -> None:
    ahead = prefetch(3, 9)
    ahead.take(1)
    assert ahead.position == 9
    ahead.take(1)
    assert ahead.position == 10


def test_skipping_never_passes_what_is_at_hand() -> None:
    ahead = prefetch(0)
    ahead.skip(50)
    assert ahead.position == 0
    ahead.take(1)
    assert (ahead.done, ahead.position) == (0, 50)
    ahead.skip(60)
    # What was handed out is not done yet, so what was skipped after it may not be committed.
    assert (ahead.done, ahead.position) == (0, 60)
    ahead.acknowledge()
    ahead.skip(70)
    assert (ahead.done, ahead.position) == (70, 70)


def test_pulling_waits_for_count_or_bytes() -> None:
    assert not prefetch(0, count_max=2).is_full()
    assert prefetch(0, 1, count_max=2).is_full()
    size = received(0).store_bytes
    ahead = prefetch(0, 1, bytes_max=2 * size)
    assert ahead.is_full()
    ahead.take(1)
    assert not ahead.is_full()
    assert ahead.cached_bytes == size
