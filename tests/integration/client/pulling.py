"""Scenarios of pull consumers."""

from __future__ import annotations

import asyncio
import time
from itertools import chain

import pytest
from tests.integration.client.world import World, take, until

from ledgermq.client import ClientError, ClosedError, ConsumeFrom, PullConsumer


def consumer(world: World, group: str, *, auto_commit: bool = True) -> PullConsumer:
    return PullConsumer(group, world.name_servers, consume_from=ConsumeFrom.FIRST, auto_commit=auto_commit)


async def assigned_queues_are_read_in_order(world: World) -> None:
    topic = await world.new_topic(2)
    bodies = await world.fill(topic, 50)
    async with consumer(world, world.unique("group")) as reader:
        queues = await reader.queues(topic)
        reader.assign(queues)
        assert reader.assignment() == queues
        messages = await take(reader, 100)
        assert await reader.poll(100) == []
    for queue in queues:
        mine = [message for message in messages if message.queue_id == queue.queue_id]
        assert [message.body for message in mine] == bodies[queue]
        assert [message.queue_offset for message in mine] == list(range(50))


async def what_was_handed_out_is_committed_when_more_is_asked_for(world: World) -> None:
    topic = await world.new_topic(1)
    await world.send(topic, b"0", b"1", b"2", b"3")
    group = world.unique("group")

    async def application() -> None:
        async with consumer(world, group) as first:
            first.assign(await first.queues(topic))
            async for message in first:
                if message.body == b"2":
                    raise RuntimeError("the application fails at the third message")

    with pytest.raises(RuntimeError, match="at the third message"):
        await application()
    async with consumer(world, group) as second:
        (queue,) = await second.queues(topic)
        assert await second.committed(queue) == 2
        second.assign([queue])
        assert [message.body for message in await take(second, 2)] == [b"2", b"3"]
    async with consumer(world, group) as third:
        # The block above ended in peace, so what it had was done.
        assert await third.committed(queue) == 4


async def commit_is_the_applications_without_auto_commit(world: World) -> None:
    topic = await world.new_topic(1)
    await world.send(topic, b"0", b"1")
    group = world.unique("group")
    async with consumer(world, group, auto_commit=False) as reader:
        (queue,) = await reader.queues(topic)
        reader.assign([queue])
        assert reader.position(queue) is None
        await take(reader, 1)
        await take(reader, 1)
        assert reader.position(queue) == 2
        assert await reader.committed(queue) in (None, 0)
        await reader.commit()
        assert await reader.committed(queue) == 2


async def seek_goes_back_and_forth(world: World) -> None:
    topic = await world.new_topic(1)
    await world.send(topic, *(b"%d" % number for number in range(10)))
    async with consumer(world, world.unique("group")) as reader:
        (queue,) = await reader.queues(topic)
        with pytest.raises(ClientError, match="not assigned"):
            await reader.seek(queue, 1)
        reader.assign([queue])
        assert await reader.begin_offset(queue) == 0
        assert await reader.end_offset(queue) == 10
        await take(reader, 5)
        await reader.seek(queue, 8)
        assert [message.body for message in await take(reader, 2)] == [b"8", b"9"]
        await reader.seek_to_begin(queue)
        assert [message.body for message in await take(reader, 10)] == [b"%d" % i for i in range(10)]
        await reader.seek_to_end(queue)
        await world.send(topic, b"new")
        assert [message.body for message in await take(reader, 1)] == [b"new"]
        with pytest.raises(ClientError, match=r"offset 12 is not in 0\.\.11"):
            await reader.seek(queue, 12)


async def offsets_are_found_by_time(world: World) -> None:
    topic = await world.new_topic(1)
    await world.send(topic, b"0", b"1")
    await asyncio.sleep(0.05)
    between_ms = time.time_ns() // 1_000_000
    await asyncio.sleep(0.05)
    await world.send(topic, b"2")
    async with consumer(world, world.unique("group")) as reader:
        (queue,) = await reader.queues(topic)
        assert await reader.offsets_for_time([queue], between_ms) == {queue: 2}
        assert await reader.offsets_for_time([queue], 0) == {queue: 0}


async def a_paused_queue_hands_nothing_out(world: World) -> None:
    topic = await world.new_topic(2)
    await world.fill(topic, 3)
    async with consumer(world, world.unique("group")) as reader:
        queues = await reader.queues(topic)
        reader.assign(queues)
        reader.pause([queues[0]])
        assert {message.queue_id for message in await take(reader, 3)} == {1}
        assert await reader.poll(100) == []
        reader.resume([queues[0]])
        assert {message.queue_id for message in await take(reader, 3)} == {0}


async def tags_select_messages(world: World) -> None:
    topic = await world.new_topic(1)
    await world.send(topic, b"no", tags="c")
    # "Aa" and "BB" have the same Java hash, by which the broker selects: only the client can tell them apart.
    await world.send(topic, b"yes", tags="Aa")
    await world.send(topic, b"no", tags="BB")
    await world.send(topic, b"no")
    await world.send(topic, b"yes", tags="b")
    async with consumer(world, world.unique("group")) as reader:
        (queue,) = await reader.queues(topic)
        reader.assign([queue], "Aa || b")
        assert [message.body for message in await take(reader, 2)] == [b"yes", b"yes"]
        assert await reader.poll(100) == []
        assert reader.position(queue) == 5


async def subscribers_share_the_queues(world: World) -> None:
    topic = await world.new_topic(4)
    group = world.unique("group")
    async with consumer(world, group) as first:
        first.subscribe(topic)
        await until(lambda: len(first.assignment()) == 4)
        async with consumer(world, group) as second:
            second.subscribe(topic)
            await until(lambda: len(first.assignment()) == len(second.assignment()) == 2)
            assert not set(first.assignment()) & set(second.assignment())
            bodies = await world.fill(topic, 5)
            messages = await take(first, 10) + await take(second, 10)
        await until(lambda: len(first.assignment()) == 4)
        assert sorted(message.body for message in messages) == sorted(chain(*bodies.values()))
        assert await first.poll(200) == []


async def a_closed_consumer_ends_the_iteration(world: World) -> None:
    topic = await world.new_topic(1)
    reader = consumer(world, world.unique("group"))
    with pytest.raises(ClosedError):
        await reader.poll()
    async with reader:
        reader.subscribe(topic)
        with pytest.raises(ClientError, match="either subscribes or is assigned"):
            reader.assign(await reader.queues(topic))
        waiting = asyncio.ensure_future(anext(aiter(reader), None))
        await asyncio.sleep(0)
    assert await waiting is None


SCENARIOS = [
    assigned_queues_are_read_in_order,
    what_was_handed_out_is_committed_when_more_is_asked_for,
    commit_is_the_applications_without_auto_commit,
    seek_goes_back_and_forth,
    offsets_are_found_by_time,
    a_paused_queue_hands_nothing_out,
    tags_select_messages,
    subscribers_share_the_queues,
    a_closed_consumer_ends_the_iteration,
]
