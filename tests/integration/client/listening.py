"""Scenarios of push consumers."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.integration.client.world import Sink, World, eventually, until

from ledgermq.client import (
    AdminClient,
    ConsumeFrom,
    Message,
    MessageExt,
    MessageModel,
    MessageQueue,
    Producer,
    PullConsumer,
    PushConsumer,
    RetryLater,
    TopicNotFoundError,
    allocate_by_circle,
)
from ledgermq.remoting.broker_headers import ConsumeDirectly, ConsumerRunningInfo, ConsumerStatus, ResetOffset
from ledgermq.remoting.client import RemotingClient
from ledgermq.remoting.codes import RequestCode
from ledgermq.remoting.command import Command
from ledgermq.remoting.headers import Header, request
from ledgermq.remoting.json_body import decode_object_map, parse_json


def consumer(world: World, group: str, **options: Any) -> PushConsumer:
    options.setdefault("consume_from", ConsumeFrom.FIRST)
    return PushConsumer(group, world.name_servers, **options)


def of_topic(consumer: PushConsumer, topic: str) -> list[MessageQueue]:
    return [queue for queue in consumer.assignment() if queue.topic == topic]


async def ask_broker(world: World, topic: str, code: int, header: Header) -> Command:
    """What an operator's tool asks the broker of ``topic``."""
    async with AdminClient(world.name_servers) as admin:
        address = (await admin.route(topic)).broker_datas[0].broker_addrs[0]
    client = RemotingClient()
    try:
        return await client.invoke(address, request(code, header), 10_000)
    finally:
        await client.close()


async def max_offsets(world: World, topic: str) -> int:
    """How many messages were ever put into ``topic``, 0 when it does not exist."""
    async with AdminClient(world.name_servers) as admin:
        try:
            return sum(offsets.max_offset for offsets in (await admin.topic_status(topic)).values())
        except TopicNotFoundError:
            return 0


async def every_message_comes_once(world: World) -> None:
    topic = await world.new_topic(4)
    bodies = await world.fill(topic, 100)
    sink = Sink()
    async with consumer(world, world.unique("group")) as one:
        one.subscribe(topic, "*", sink)
        await sink.wait(400)
        late = await world.fill(topic, 10)
        await sink.wait(440)
    expected = [body for part in (bodies, late) for queue in part.values() for body in queue]
    assert sorted(sink.bodies) == sorted(expected)


async def a_group_goes_on_where_it_stopped(world: World) -> None:
    topic = await world.new_topic(2)
    group = world.unique("group")
    await world.fill(topic, 20)
    first, second = Sink(), Sink()
    async with consumer(world, group) as one:
        one.subscribe(topic, "*", first)
        await first.wait(40)
    await world.send(topic, b"new 1", b"new 2")
    async with consumer(world, group) as one:
        one.subscribe(topic, "*", second)
        await second.wait(2)
    assert len(first.messages) == 40
    assert sorted(second.bodies) == [b"new 1", b"new 2"]


async def members_share_the_queues(world: World) -> None:
    topic = await world.new_topic(5)
    group = world.unique("group")
    sinks = [Sink(), Sink()]
    async with consumer(world, group) as first:
        first.subscribe(topic, "*", sinks[0])
        await until(lambda: len(of_topic(first, topic)) == 5)
        async with consumer(world, group) as second:
            second.subscribe(topic, "*", sinks[1])
            await until(lambda: {len(of_topic(one, topic)) for one in (first, second)} == {2, 3})
            bodies = await world.fill(topic, 10)
            await until(lambda: len(sinks[0].messages) + len(sinks[1].messages) == 50)
        await until(lambda: len(of_topic(first, topic)) == 5)
        await world.fill(topic, 1)
        await until(lambda: len(sinks[0].messages) + len(sinks[1].messages) == 55)
    assert len(sinks[1].messages) in (20, 30)
    queues_seen = [{message.queue_id for message in sink.messages[:20]} for sink in sinks]
    assert not queues_seen[0] & queues_seen[1]
    assert len(bodies) == 5


async def queues_are_shared_by_circle(world: World) -> None:
    topic = await world.new_topic(4)
    group = world.unique("group")
    sink = Sink()
    async with (
        consumer(world, group, allocate=allocate_by_circle) as first,
        consumer(world, group, allocate=allocate_by_circle) as second,
    ):
        first.subscribe(topic, "*", sink)
        second.subscribe(topic, "*", sink)
        await until(lambda: len(of_topic(first, topic)) == len(of_topic(second, topic)) == 2)
        shares = [[queue.queue_id for queue in of_topic(one, topic)] for one in (first, second)]
    assert sorted(shares) == [[0, 2], [1, 3]]


async def tags_select_messages(world: World) -> None:
    topic = await world.new_topic(1)
    for tag in ("Aa", "BB", "c", None, "d"):
        await world.send(topic, (tag or "none").encode(), tags=tag)
    sink = Sink()
    async with consumer(world, world.unique("group")) as one:
        # "Aa" and "BB" have the same Java hash: the broker sends both.
        one.subscribe(topic, "Aa || d", sink)
        await sink.wait(2)
        await world.send(topic, b"last", tags="d")
        await sink.wait(3)
    assert sink.bodies == [b"Aa", b"d", b"last"]


async def topics_come_and_go(world: World) -> None:
    topics = [await world.new_topic(1), await world.new_topic(1)]
    sinks = [Sink(), Sink()]
    async with consumer(world, world.unique("group")) as one:
        one.subscribe(topics[0], "*", sinks[0])
        await world.send(topics[0], b"0")
        await sinks[0].wait(1)
        one.subscribe(topics[1], "*", sinks[1])
        await world.send(topics[1], b"1")
        await sinks[1].wait(1)
        one.unsubscribe(topics[0])
        await until(lambda: not of_topic(one, topics[0]))
        await world.send(topics[0], b"unheard")
        await world.send(topics[1], b"2")
        await sinks[1].wait(2)
    assert sinks[0].bodies == [b"0"]


async def a_failed_message_comes_again(world: World) -> None:
    topic = await world.new_topic(1)
    sink = Sink()
    ended: list[str] = []

    async def listener(message: MessageExt) -> None:
        await sink(message)
        if message.body == b"bad" and message.reconsume_times == 0:
            raise RetryLater(delay_level=1)
        if message.body == b"worse" and message.reconsume_times == 0:
            raise ValueError("the listener has a bug")
        if message.body == b"slow" and message.reconsume_times == 0:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("cancelled")

    async with consumer(world, world.unique("group"), timeout_seconds=0.2) as one:
        one.subscribe(topic, "*", listener)
        (_, bad, _, _) = await world.send(topic, b"good", b"bad", b"worse", b"slow")
        await sink.wait(7)
    seen = [(message.body, message.reconsume_times, message.topic) for message in sink.messages]
    assert sorted(seen) == [
        (b"bad", 0, topic),
        (b"bad", 1, topic),
        (b"good", 0, topic),
        (b"slow", 0, topic),
        (b"slow", 1, topic),
        (b"worse", 0, topic),
        (b"worse", 1, topic),
    ]
    assert {message.message_id for message in sink.messages if message.body == b"bad"} == {bad.message_id}
    assert ended == ["cancelled"]


async def a_message_that_always_fails_becomes_a_dead_letter(world: World) -> None:
    topic = await world.new_topic(1)
    group = world.unique("group")
    attempts: list[int] = []

    async def listener(message: MessageExt) -> None:
        attempts.append(message.reconsume_times)
        raise RetryLater(delay_level=1)

    async def dead() -> bool:
        return await max_offsets(world, f"%DLQ%{group}") == 1

    async with consumer(world, group, reconsume_times_max=2) as one:
        one.subscribe(topic, "*", listener)
        await world.send(topic, b"hopeless")
        await eventually(dead)
    assert attempts == [0, 1, 2]


async def a_listener_may_give_up_at_once(world: World) -> None:
    topic = await world.new_topic(1)
    group = world.unique("group")
    sink = Sink()

    async def listener(message: MessageExt) -> None:
        await sink(message)
        raise RetryLater(delay_level=-1)

    async def dead() -> bool:
        return await max_offsets(world, f"%DLQ%{group}") == 1

    async with consumer(world, group) as one:
        one.subscribe(topic, "*", listener)
        await world.send(topic, b"hopeless")
        await eventually(dead)
    assert len(sink.messages) == 1


async def batches_are_consumed_together(world: World) -> None:
    topic = await world.new_topic(1)
    await world.fill(topic, 100)
    batches: list[list[bytes]] = []

    async def listener(messages: Sequence[MessageExt]) -> None:
        batches.append([message.body for message in messages])

    async with consumer(world, world.unique("group")) as one:
        one.subscribe_batch(topic, "*", listener, count_max=16)
        await until(lambda: sum(map(len, batches)) == 100)
    assert max(map(len, batches)) == 16
    assert sorted(body for batch in batches for body in batch) == sorted(b"0-%d" % n for n in range(100))


async def slow_listeners_hold_pulling_back(world: World) -> None:
    topic = await world.new_topic(1)
    await world.fill(topic, 200)
    sink = Sink()
    gate = asyncio.Event()

    async def listener(message: MessageExt) -> None:
        await gate.wait()
        await sink(message)

    options = {"cached_count_max": 40, "pull_count_max": 10, "concurrency_max": 4}
    async with consumer(world, world.unique("group"), **options) as one:
        one.subscribe(topic, "*", listener)
        await until(lambda: any(info.cached_msg_count for info in one.running_info().queues.values()))
        for _ in range(50):
            await asyncio.sleep(0.01)
            cached = [info.cached_msg_count for info in one.running_info().queues.values()]
            assert max(cached) <= 40 + 10
        gate.set()
        await sink.wait(200)
    assert len(set(sink.bodies)) == 200


async def pausing_holds_pulling_back(world: World) -> None:
    topic = await world.new_topic(1)
    sink = Sink()
    async with consumer(world, world.unique("group")) as one:
        one.subscribe(topic, "*", sink)
        await world.send(topic, b"0")
        await sink.wait(1)
        one.pause()
        # The pull that waits at the broker still brings one message; after it there is none.
        await world.send(topic, b"1")
        await sink.wait(2)
        await world.send(topic, b"2")
        await asyncio.sleep(0.3)
        assert sink.bodies == [b"0", b"1"]
        one.resume()
        await sink.wait(3)


async def a_new_group_begins_where_it_is_told(world: World) -> None:
    topic = await world.new_topic(1)
    (_, second) = await world.send(topic, b"0", b"1")
    async with AdminClient(world.name_servers) as admin:
        stored = await admin.message_by_id(topic, second.offset_message_ids[0])
    sink = Sink()
    options = {"consume_from": ConsumeFrom.TIME, "consume_from_ms": stored.store_timestamp_ms}
    # A broker says "begin at 0" to a new group while it still has the first message, so the group here is
    # not new: it has a committed offset, which counts more than where it is told to begin.
    group = world.unique("group")
    async with PullConsumer(group, world.name_servers, consume_from=ConsumeFrom.FIRST) as reader:
        (queue,) = await reader.queues(topic)
        reader.assign([queue])
        await reader.poll(count_max=1)
    async with consumer(world, group, **options) as one:
        one.subscribe(topic, "*", sink)
        await sink.wait(1)
        assert sink.bodies == [b"1"]


async def ordered_messages_keep_their_order(world: World) -> None:
    topic = await world.new_topic(3)
    bodies = await world.fill(topic, 60)
    seen: dict[int, list[bytes]] = defaultdict(list)
    at_work: dict[int, int] = defaultdict(int)
    failures: set[bytes] = set()
    rng = random.Random(1)

    async def listener(message: MessageExt) -> None:
        at_work[message.queue_id] += 1
        assert at_work[message.queue_id] == 1
        await asyncio.sleep(rng.random() * 0.002)
        at_work[message.queue_id] -= 1
        if message.body not in failures and rng.random() < 0.1:
            failures.add(message.body)
            raise RetryLater(suspend_ms=5)
        seen[message.queue_id].append(message.body)

    async with consumer(world, world.unique("group"), ordered=True) as one:
        one.subscribe(topic, "*", listener)
        await until(lambda: sum(map(len, seen.values())) == 180)
    assert failures
    assert {queue.queue_id: bodies[queue] for queue in bodies} == seen


async def an_ordered_queue_is_handed_over_in_order(world: World) -> None:
    topic = await world.new_topic(4)
    group = world.unique("group")
    seen: dict[int, list[bytes]] = defaultdict(list)
    at_work: dict[int, int] = defaultdict(int)

    async def listener(message: MessageExt) -> None:
        at_work[message.queue_id] += 1
        assert at_work[message.queue_id] == 1
        await asyncio.sleep(0.005)
        at_work[message.queue_id] -= 1
        seen[message.queue_id].append(message.body)

    sent = await world.fill(topic, 30)
    async with consumer(world, group, ordered=True) as first:
        first.subscribe(topic, "*", listener)
        await until(lambda: sum(map(len, seen.values())) > 20)
        async with consumer(world, group, ordered=True) as second:
            second.subscribe(topic, "*", listener)
            await until(lambda: len(of_topic(first, topic)) == len(of_topic(second, topic)) == 2)
            for queue, bodies in (await world.fill(topic, 30)).items():
                sent[queue] = sent[queue] + bodies
            await until(lambda: sum(map(len, seen.values())) > 150)
        await until(lambda: sum(map(len, seen.values())) >= 240)
    # Handed over in peace, under the lock, nothing comes twice.
    assert {queue.queue_id: sent[queue] for queue in sent} == seen


async def an_ordered_message_that_always_fails_becomes_a_dead_letter(world: World) -> None:
    topic = await world.new_topic(1)
    group = world.unique("group")
    seen: list[bytes] = []

    async def listener(message: MessageExt) -> None:
        seen.append(message.body)
        if message.body == b"bad":
            raise RetryLater()

    async def dead() -> bool:
        return await max_offsets(world, f"%DLQ%{group}") == 1

    async with consumer(world, group, ordered=True, reconsume_times_max=2, suspend_ms=20) as one:
        one.subscribe(topic, "*", listener)
        await world.send(topic, b"bad", b"good")
        await until(lambda: b"good" in seen)
        await eventually(dead)
    assert seen == [b"bad", b"bad", b"bad", b"good"]


async def broadcast_messages_come_to_all(world: World) -> None:
    topic = await world.new_topic(2)
    group = world.unique("group")
    sinks = [Sink(), Sink()]
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name / "offsets.json" for name in ("a", "b")]
        options = {"model": MessageModel.BROADCASTING}
        async with (
            consumer(world, group, offsets_path=paths[0], instance_name="a", **options) as first,
            consumer(world, group, offsets_path=paths[1], instance_name="b", **options) as second,
        ):
            first.subscribe(topic, "*", sinks[0])
            second.subscribe(topic, "*", sinks[1])
            await until(lambda: len(first.assignment()) == len(second.assignment()) == 2)
            await world.fill(topic, 10)
            await sinks[0].wait(20)
            await sinks[1].wait(20)
        again = Sink()
        async with consumer(world, group, offsets_path=paths[0], instance_name="a", **options) as first:
            first.subscribe(topic, "*", again)
            await world.send(topic, b"new")
            await again.wait(1)
    assert sorted(sinks[0].bodies) == sorted(sinks[1].bodies)
    assert again.bodies == [b"new"]


async def an_operator_resets_offsets(world: World) -> None:
    topic = await world.new_topic(2)
    group = world.unique("group")
    sink = Sink()
    await world.fill(topic, 5)
    async with consumer(world, group) as one:
        one.subscribe(topic, "*", sink)
        await sink.wait(10)
        await one.commit()
        header = ResetOffset(group=group, topic=topic, timestamp=0, is_force=True)
        answer = await ask_broker(world, topic, RequestCode.INVOKE_BROKER_TO_RESET_OFFSET, header)
        assert answer.code == 0, answer
        await sink.wait(20)
    assert sorted(sink.bodies[:10]) == sorted(sink.bodies[10:])


async def an_operator_asks_how_a_consumer_is_doing(world: World) -> None:
    topic = await world.new_topic(2)
    group = world.unique("group")
    sink = Sink()
    await world.fill(topic, 5)
    async with consumer(world, group) as one:
        one.subscribe(topic, "*", sink)
        await sink.wait(10)
        status = await ask_broker(
            world,
            topic,
            RequestCode.INVOKE_BROKER_TO_GET_CONSUMER_STATUS,
            ConsumerStatus(topic=topic, group=group),
        )
        assert status.code == 0, status
        tables = parse_json(status.body)
        assert isinstance(tables, dict)
        (table,) = tables["consumerTable"].values()
        assert set(decode_object_map(table, MessageQueue, int).values()) == {5}
        header = ConsumerRunningInfo(consumer_group=group, client_id=one.client_id, jstack_enable=True)
        answer = await ask_broker(world, topic, RequestCode.GET_CONSUMER_RUNNING_INFO, header)
        assert answer.code == 0, answer
        info = parse_json(answer.body)
        assert isinstance(info, dict)
        assert info["properties"]["PROP_CONSUME_TYPE"] == "CONSUME_PASSIVELY"
        queues = decode_object_map(info["mqTable"], MessageQueue, dict)
        assert {queue for queue in queues if queue.topic == topic} == set(of_topic(one, topic))
        assert info["statusTable"][topic]["consumeOKTPS"] > 0
        assert "_consume_work" in info["jstack"]


async def an_operator_has_a_message_consumed(world: World) -> None:
    topic = await world.new_topic(1)
    group = world.unique("group")
    sink = Sink()
    (receipt,) = await world.send(topic, b"try me")
    async with consumer(world, group) as one:
        one.subscribe(topic, "*", sink)
        await sink.wait(1)
        header = ConsumeDirectly(
            consumer_group=group,
            client_id=one.client_id,
            msg_id=receipt.offset_message_ids[0],
            broker_name=receipt.queue.broker_name,
            topic=topic,
        )
        answer = await ask_broker(world, topic, RequestCode.CONSUME_MESSAGE_DIRECTLY, header)
        assert answer.code == 0, answer
        result = parse_json(answer.body)
        assert isinstance(result, dict)
        assert result["consumeResult"] == "CR_SUCCESS"
    assert sink.bodies == [b"try me", b"try me"]


async def compressed_messages_arrive_readable(world: World) -> None:
    topic = await world.new_topic(1)
    body = b"0123456789" * 1000
    sink = Sink()
    async with consumer(world, world.unique("group")) as one:
        one.subscribe(topic, "*", sink)
        async with Producer(world.unique("group"), world.name_servers) as producer:
            await producer.send(Message(topic, body))
        await sink.wait(1)
    assert sink.bodies == [body]


SCENARIOS = [
    every_message_comes_once,
    a_group_goes_on_where_it_stopped,
    members_share_the_queues,
    queues_are_shared_by_circle,
    tags_select_messages,
    topics_come_and_go,
    a_failed_message_comes_again,
    a_message_that_always_fails_becomes_a_dead_letter,
    a_listener_may_give_up_at_once,
    batches_are_consumed_together,
    slow_listeners_hold_pulling_back,
    pausing_holds_pulling_back,
    a_new_group_begins_where_it_is_told,
    ordered_messages_keep_their_order,
    an_ordered_queue_is_handed_over_in_order,
    an_ordered_message_that_always_fails_becomes_a_dead_letter,
    broadcast_messages_come_to_all,
    an_operator_resets_offsets,
    an_operator_asks_how_a_consumer_is_doing,
    an_operator_has_a_message_consumed,
    compressed_messages_arrive_readable,
]
