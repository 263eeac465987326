import pytest

from ledgermq.client.allocation import Allocation, allocate_averagely, allocate_by_circle
from ledgermq.client.queues import MessageQueue


def queues(count: int) -> list[MessageQueue]:
    return [MessageQueue("topic", "broker", number) for number in range(count)]


def shares(allocate: Allocation, queue_count: int, client_count: int) -> list[list[int]]:
    clients = [f"client-{number}" for number in range(client_count)]
    return [
        [queue.queue_id for queue in allocate(client, queues(queue_count), clients)] for client in clients
    ]


@pytest.mark.parametrize(
    ("queue_count", "client_count", "expected"),
    [  # from Java's AllocateMessageQueueAveragely
        (4, 1, [[0, 1, 2, 3]]),
        (4, 2, [[0, 1], [2, 3]]),
        (5, 2, [[0, 1, 2], [3, 4]]),
        (7, 3, [[0, 1, 2], [3, 4], [5, 6]]),
        (2, 4, [[0], [1], [], []]),
        (0, 2, [[], []]),
    ],
)
def test_averagely(queue_count: int, client_count: int, expected: list[list[int]]) -> None:
    assert shares(allocate_averagely, queue_count, client_count) == expected


@pytest.mark.parametrize(
    ("queue_count", "client_count", "expected"),
    [
        (5, 2, [[0, 2, 4], [1, 3]]),
        (7, 3, [[0, 3, 6], [1, 4], [2, 5]]),
        (2, 4, [[0], [1], [], []]),
    ],
)
def test_by_circle(queue_count: int, client_count: int, expected: list[list[int]]) -> None:
    assert shares(allocate_by_circle, queue_count, client_count) == expected


@pytest.mark.parametrize("allocate", [allocate_averagely, allocate_by_circle])
def test_every_queue_has_one_reader(allocate: Allocation) -> None:
    for queue_count in range(20):
        for client_count in range(1, 12):
            parts = shares(allocate, queue_count, client_count)
            assert sorted(number for part in parts for number in part) == list(range(queue_count))
            assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("allocate", [allocate_averagely, allocate_by_circle])
def test_who_is_not_a_member_has_no_share(allocate: Allocation) -> None:
    assert allocate("stranger", queues(4), ["a", "b"]) == []
