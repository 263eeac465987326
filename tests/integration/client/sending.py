"""Scenarios of sending."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any

import pytest
from tests.integration.client.world import World, eventually

from ledgermq.client import (
    AdminClient,
    BrokerError,
    Compression,
    IllegalMessageError,
    IllegalNameError,
    Message,
    MessageQueue,
    Producer,
    SendStatus,
    TopicNotFoundError,
)


async def messages_are_stored_as_they_were_sent(world: World) -> None:
    topic = await world.new_topic(2)
    message = Message(
        topic,
        "body é漢字".encode(),
        tags="tag",
        keys=["key1", "key2"],
        properties={"ключ": "値=;"},
        flag=-7,
    )
    async with Producer(world.unique("group"), world.name_servers) as producer:
        receipt = await producer.send(message)
    assert receipt.status is SendStatus.OK
    (stored,) = await world.read_all(topic, 1)
    assert stored.body == message.body
    assert stored.tags == "tag"
    assert stored.keys == ["key1", "key2"]
    assert stored.properties["ключ"] == "値=;"
    assert stored.flag == -7
    assert stored.message_id == receipt.message_id
    assert stored.offset_message_id == receipt.offset_message_ids[0]
    assert MessageQueue(stored.topic, stored.broker_name, stored.queue_id) == receipt.queue
    assert stored.queue_offset == receipt.queue_offset
    assert stored.reconsume_times == 0


async def sends_go_round_the_queues(world: World) -> None:
    topic = await world.new_topic(4)
    receipts = await world.send(topic, *(b"%d" % number for number in range(8)))
    assert sorted(receipt.queue.queue_id for receipt in receipts) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert len({receipt.message_id for receipt in receipts}) == 8


async def many_sends_at_once_are_all_stored(world: World) -> None:
    topic = await world.new_topic(4)
    async with Producer(world.unique("group"), world.name_servers) as producer:
        sends = (producer.send(Message(topic, b"%d" % number)) for number in range(500))
        receipts = await asyncio.gather(*sends)
    places = {(receipt.queue, receipt.queue_offset) for receipt in receipts}
    assert len(places) == 500
    stored = await world.read_all(topic, 500)
    assert {message.body for message in stored} == {b"%d" % number for number in range(500)}


async def large_bodies_travel_compressed(world: World) -> None:
    topic = await world.new_topic(1)
    body = b"abcdefgh" * 2000 + os.urandom(100)
    for compression in (*Compression, None):
        async with Producer(world.unique("group"), world.name_servers, compression=compression) as producer:
            await producer.send(Message(topic, body))
            await producer.send(Message(topic, b"s" * 4095))
    stored = await world.read_all(topic, 8)
    large, small = stored[::2], stored[1::2]
    assert [message.sys_flag & 0x701 for message in large] == [0x101, 0x201, 0x301, 0]
    assert all(len(message.raw_body) < 1000 for message in large[:3])
    assert all(message.body == body for message in large)
    assert all(message.sys_flag & 1 == 0 and message.body == b"s" * 4095 for message in small)


async def a_batch_is_stored_in_one_queue_in_order(world: World) -> None:
    topic = await world.new_topic(4)
    messages = [Message(topic, b"%d" % number, tags=f"t{number}", keys=["k"]) for number in range(20)]
    async with Producer(world.unique("group"), world.name_servers) as producer:
        receipt = await producer.send_batch(messages)
    assert len(set(receipt.message_ids)) == 20
    assert len(receipt.offset_message_ids) == 20
    stored = await world.read_all(topic, 20)
    assert [message.body for message in stored] == [b"%d" % number for number in range(20)]
    assert [message.tags for message in stored] == [f"t{number}" for number in range(20)]
    assert [message.message_id for message in stored] == list(receipt.message_ids)
    assert [message.offset_message_id for message in stored] == list(receipt.offset_message_ids)
    assert [message.queue_offset for message in stored] == list(range(20))
    assert {message.queue_id for message in stored} == {receipt.queue.queue_id}


async def a_oneway_message_arrives(world: World) -> None:
    topic = await world.new_topic(1)
    async with Producer(world.unique("group"), world.name_servers) as producer:
        await producer.send_oneway(Message(topic, b"oneway"))
    (stored,) = await world.read_all(topic, 1)
    assert stored.body == b"oneway"


async def a_sharding_key_always_leads_to_the_same_queue(world: World) -> None:
    topic = await world.new_topic(4)
    used: dict[str, set[MessageQueue]] = {}
    async with Producer(world.unique("group"), world.name_servers) as producer:
        for number in range(40):
            key = f"order-{number % 10}"
            receipt = await producer.send(Message(topic, b"x", sharding_key=key))
            used.setdefault(key, set()).add(receipt.queue)
    assert all(len(queues) == 1 for queues in used.values())
    assert len(set.union(*used.values())) > 1
    stored = await world.read_all(topic, 40)
    assert {message.sharding_key for message in stored} == set(used)


async def a_queue_may_be_chosen(world: World) -> None:
    topic = await world.new_topic(4)

    def last(queues: Sequence[MessageQueue], message: Message) -> MessageQueue:
        return queues[-1]

    none: Any = lambda queues, message: None  # noqa: E731 - wrong on purpose, so it has no type

    async with Producer(world.unique("group"), world.name_servers) as producer:
        queues = await producer.queues(topic)
        assert [queue.queue_id for queue in queues] == [0, 1, 2, 3]
        assert (await producer.send(Message(topic, b"x"), queue=queues[2])).queue == queues[2]
        assert (await producer.send(Message(topic, b"x"), queue=last)).queue == queues[3]
        with pytest.raises(IllegalMessageError, match="is not of the message's topic"):
            await producer.send(Message("other", b"x"), queue=queues[0])
        with pytest.raises(TypeError, match="picks a queue returned None"):
            await producer.send(Message(topic, b"x"), queue=none)


async def a_topic_is_created_by_the_first_send(world: World) -> None:
    topic = world.unique("auto")
    receipts = await world.send(topic, *(b"%d" % number for number in range(8)))
    assert {receipt.queue.queue_id for receipt in receipts} == {0, 1, 2, 3}

    async def found() -> bool:
        async with AdminClient(world.name_servers) as admin:
            return topic in await admin.topics()

    await eventually(found)


async def what_a_broker_would_refuse_is_not_sent(world: World) -> None:
    async with Producer(world.unique("group"), world.name_servers, body_bytes_max=100) as producer:
        with pytest.raises(IllegalNameError, match="illegal characters"):
            await producer.send(Message("bad topic!", b"x"))
        with pytest.raises(IllegalMessageError, match="empty body"):
            await producer.send(Message("topic", b""))
        with pytest.raises(IllegalMessageError, match="101 bytes, at most 100"):
            await producer.send(Message("topic", b"x" * 101))
        with pytest.raises(IllegalMessageError, match="written by the broker alone"):
            await producer.send(Message("SCHEDULE_TOPIC_XXXX", b"x"))
        with pytest.raises(IllegalMessageError, match="send it in parts"):
            await producer.send_batch([Message("topic", b"x" * 90)] * 2)


async def a_refusal_carries_the_brokers_code_and_remark(world: World) -> None:
    topic = await world.new_topic(1)
    async with Producer(world.unique("group"), world.name_servers, body_bytes_max=8 << 20) as producer:
        with pytest.raises(BrokerError) as caught:
            await producer.send(Message(topic, os.urandom(5 << 20)))
    assert caught.value.code == 13  # MESSAGE_ILLEGAL
    assert caught.value.remark
    assert "SEND_MESSAGE_V2" in str(caught.value)


async def a_topic_without_writable_queue_is_refused(world: World) -> None:
    topic = world.unique("readonly")
    async with AdminClient(world.name_servers) as admin:
        await admin.create_topic(topic, queue_count=1, perm=4)
        await world.wait_for_route(admin, topic)
    async with Producer(world.unique("group"), world.name_servers) as producer:
        with pytest.raises(TopicNotFoundError, match="no queue that can be written"):
            await producer.send(Message(topic, b"x"))


SCENARIOS = [
    messages_are_stored_as_they_were_sent,
    sends_go_round_the_queues,
    many_sends_at_once_are_all_stored,
    large_bodies_travel_compressed,
    a_batch_is_stored_in_one_queue_in_order,
    a_oneway_message_arrives,
    a_sharding_key_always_leads_to_the_same_queue,
    a_queue_may_be_chosen,
    a_topic_is_created_by_the_first_send,
    what_a_broker_would_refuse_is_not_sent,
    a_refusal_carries_the_brokers_code_and_remark,
    a_topic_without_writable_queue_is_refused,
]
