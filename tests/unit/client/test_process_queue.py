from tests.unit.client.messages import received

from ledgermq.client.process_queue import ProcessQueue


def queue_of(
    *offsets: int, count_max: int = 100, bytes_max: int = 10**6, span_max: int = 2000
) -> ProcessQueue:
    queue = ProcessQueue(count_max, bytes_max, span_max)
    queue.put(received(offset) for offset in offsets)
    return queue


def test_the_commit_offset_is_the_first_message_that_is_not_done() -> None:
    queue = queue_of(10, 11, 12, 13)
    assert queue.remove([received(11), received(12)]) == 10
    assert queue.remove([received(10)]) == 13
    assert queue.remove([received(13)]) == 14


def test_the_commit_offset_passes_what_was_filtered_out_only_when_all_is_done() -> None:
    queue = queue_of(10, 20)
    assert queue.remove([received(10)]) == 20
    assert queue.remove([received(20)]) == 21


def test_nothing_put_nothing_to_commit() -> None:
    assert queue_of().remove([received(5)]) == -1


def test_removing_twice_counts_once() -> None:
    queue = queue_of(1, 2)
    queue.remove([received(1)])
    queue.remove([received(1)])
    assert queue.count == 1
    assert queue.cached_bytes == received(2).store_bytes


def test_peek_leaves_messages_where_they_are() -> None:
    queue = queue_of(1, 2, 3)
    assert [message.queue_offset for message in queue.peek(2)] == [1, 2]
    assert [message.queue_offset for message in queue.peek(2)] == [1, 2]
    queue.remove([received(1)])
    assert [message.queue_offset for message in queue.peek(5)] == [2, 3]
    assert queue_of().peek(1) == []


def test_pulling_waits_for_count_bytes_or_span() -> None:
    assert not queue_of(1, 2, count_max=3).is_full()
    assert queue_of(1, 2, 3, count_max=3).is_full()
    size = received(1).store_bytes
    assert not queue_of(1, 2, bytes_max=2 * size + 1).is_full()
    assert queue_of(1, 2, bytes_max=2 * size).is_full()
    assert not queue_of(1, 11, span_max=10).is_full()
    spread = queue_of(1, 5, 12, span_max=10)
    assert spread.is_full()
    spread.remove([received(5)])
    assert spread.is_full()
    spread.remove([received(1)])
    assert not spread.is_full()


def test_the_range_is_of_what_is_pending() -> None:
    queue = queue_of(4, 7, 9)
    assert queue.offset_range() == (4, 9)
    assert queue.offset_span() == 5
    queue.remove([received(4)])
    assert queue.offset_range() == (7, 9)
    queue.remove([received(7), received(9)])
    assert queue.offset_range() == (0, 0)
    assert (queue.count, queue.cached_bytes) == (0, 0)
