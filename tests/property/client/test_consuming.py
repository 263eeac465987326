"""What consumers may commit, against naive models of the same; the shares of a group."""

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.client.messages import received

from ledgermq.client.allocation import Allocation, allocate_averagely, allocate_by_circle
from ledgermq.client.prefetch import Prefetch
from ledgermq.client.process_queue import ProcessQueue
from ledgermq.client.queues import MessageQueue

OFFSETS = st.lists(st.integers(0, 60), unique=True, max_size=20).map(sorted)


@given(OFFSETS, st.data())
def test_nothing_is_committed_that_is_not_done(offsets: list[int], data: st.DataObject) -> None:
    queue = ProcessQueue(10**6, 10**9, 10**6)
    waiting = list(offsets)
    pending: list[int] = []
    committed = -1
    while waiting or pending:
        if waiting and (not pending or data.draw(st.booleans(), label="put")):
            count = data.draw(st.integers(1, len(waiting)), label="count")
            queue.put([received(offset) for offset in waiting[:count]])
            pending += waiting[:count]
            del waiting[:count]
        else:
            done = data.draw(st.sets(st.sampled_from(pending), min_size=1), label="done")
            pending = [offset for offset in pending if offset not in done]
            offset = queue.remove([received(offset) for offset in sorted(done)])
            assert offset > committed or offset == committed
            committed = offset
            put = [offset for offset in offsets if offset not in waiting]
            assert offset == (pending[0] if pending else put[-1] + 1)
        assert queue.count == len(pending)
        assert queue.cached_bytes == sum(received(offset).store_bytes for offset in pending)
        assert [message.queue_offset for message in queue.peek(3)] == pending[:3]
        assert queue.offset_span() == (put_max(offsets, waiting) - pending[0] if pending else 0)


def put_max(offsets: list[int], waiting: list[int]) -> int:
    return max(offset for offset in offsets if offset not in waiting)


@given(OFFSETS, st.data())
def test_a_pull_consumer_hands_out_everything_once_and_commits_what_is_done(
    offsets: list[int], data: st.DataObject
) -> None:
    ahead = Prefetch(0, 10**6, 10**9)
    waiting = list(offsets)
    taken: list[int] = []
    acknowledged = 0
    for _ in range(40):
        step = data.draw(st.sampled_from(["put", "skip", "take", "acknowledge"]))
        if step == "put" and waiting:
            count = data.draw(st.integers(1, len(waiting)))
            ahead.put([received(offset) for offset in waiting[:count]])
            del waiting[:count]
        elif step == "skip" and (waiting or not offsets):
            # Up to the next message there is nothing that is wanted.
            ahead.skip(waiting[0] if waiting else 99)
        elif step == "take":
            taken += [message.queue_offset for message in ahead.take(data.draw(st.integers(1, 5)))]
        elif step == "acknowledge":
            ahead.acknowledge()
            acknowledged = len(taken)
        assert ahead.done <= ahead.position
        not_done = offsets[acknowledged:]
        assert not not_done or ahead.done <= not_done[0]
        assert all(offset < ahead.position for offset in taken)
        not_taken = offsets[len(taken) :]
        assert not not_taken or ahead.position <= not_taken[0]
    assert taken == offsets[: len(taken)]


@given(st.integers(0, 64), st.integers(1, 20), st.sampled_from([allocate_averagely, allocate_by_circle]))
def test_members_agree_without_asking_each_other(
    queue_count: int, client_count: int, allocate: Allocation
) -> None:
    queues = [MessageQueue("t", f"broker-{number % 3}", number) for number in range(queue_count)]
    clients = [f"10.0.0.{number}@x" for number in range(client_count)]
    shares = [allocate(client, queues, clients) for client in clients]
    assert sorted(queue for share in shares for queue in share) == sorted(queues)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
