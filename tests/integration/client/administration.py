"""Scenarios of the administration calls."""

from __future__ import annotations

import pytest
from tests.integration.client.world import World, eventually

from ledgermq.client import (
    AdminClient,
    BrokerError,
    BrokerNotFoundError,
    Message,
    MessageIdError,
    Producer,
    TopicNotFoundError,
    UnreachableError,
)


async def topics_are_created_listed_and_deleted(world: World) -> None:
    topic = world.unique("admin")
    async with AdminClient(world.name_servers) as admin:
        with pytest.raises(TopicNotFoundError, match=topic):
            await admin.route(topic)
        (address,) = await admin.create_topic(topic, queue_count=3)
        await world.wait_for_route(admin, topic)
        route = await admin.route(topic)
        assert [data.write_queue_nums for data in route.queue_datas] == [3]
        assert [data.broker_addrs[0] for data in route.broker_datas] == [address]
        cluster = await admin.cluster()
        assert [data.broker_addrs[0] for data in cluster.broker_addr_table.values()] == [address]
        info = await admin.broker_info(address)
        assert int(info["bootTimestamp"]) > 1_600_000_000_000
        (name,) = cluster.cluster_addr_table
        with pytest.raises(BrokerNotFoundError, match=f"known clusters: {name}"):
            await admin.create_topic(topic, cluster="elsewhere")
        await admin.delete_topic(topic, cluster=name)

        async def gone() -> bool:
            return topic not in await admin.topics()

        await eventually(gone)


async def status_tells_what_each_queue_holds(world: World) -> None:
    topic = await world.new_topic(2)
    await world.fill(topic, 3)
    async with AdminClient(world.name_servers) as admin:
        status = await admin.topic_status(topic)
    assert [queue.queue_id for queue in status] == [0, 1]
    assert [(offsets.min_offset, offsets.max_offset) for offsets in status.values()] == [(0, 3), (0, 3)]
    assert all(offsets.last_update_timestamp > 1_600_000_000_000 for offsets in status.values())


async def messages_are_found_by_id_and_by_key(world: World) -> None:
    topic = await world.new_topic(2)
    async with AdminClient(world.name_servers) as admin:
        async with Producer(world.unique("group"), world.name_servers) as producer:
            receipts = [
                await producer.send(Message(topic, b"%d" % number, keys=[f"key{number % 2}", "all"]))
                for number in range(6)
            ]
        found = await admin.message_by_id(topic, receipts[3].offset_message_ids[0])
        assert found.body == b"3"
        assert found.message_id == receipts[3].message_id

        async def indexed() -> bool:
            return len(await admin.messages_by_key(topic, "all")) == 6

        await eventually(indexed)
        assert [one.body for one in await admin.messages_by_key(topic, "key1")] == [b"1", b"3", b"5"]
        assert await admin.messages_by_key(topic, "key") == []
        late_ms = found.store_timestamp_ms + 3_600_000
        assert await admin.messages_by_key(topic, "all", begin_ms=late_ms) == []
        (by_unique_key,) = await admin.messages_by_unique_key(topic, receipts[4].message_id)
        assert by_unique_key.body == b"4"
        with pytest.raises(MessageIdError, match="32 or 56"):
            await admin.message_by_id(topic, "not an id")
        nowhere = receipts[0].offset_message_ids[0][:16] + f"{2**40:016X}"
        with pytest.raises(BrokerError):
            await admin.message_by_id(topic, nowhere)


async def another_name_server_is_asked_when_one_is_down(world: World) -> None:
    dead = "127.0.0.1:1"
    for _ in range(5):
        async with AdminClient([dead, world.name_servers]) as admin:
            assert await admin.topics()
    with pytest.raises(
        UnreachableError, match=r"no name server can be reached: cannot connect to 127\.0\.0\.1:1"
    ):
        await AdminClient(dead).start()


SCENARIOS = [
    topics_are_created_listed_and_deleted,
    status_tells_what_each_queue_holds,
    messages_are_found_by_id_and_by_key,
    another_name_server_is_asked_when_one_is_down,
]
