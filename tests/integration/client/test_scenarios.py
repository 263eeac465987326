"""The client's scenarios against a name server and a broker of ours, in this process."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.integration.client import administration, listening, pulling, sending
from tests.integration.client.world import World

from ledgermq.broker.broker import Broker
from ledgermq.nameserver import NameServer
from ledgermq.runtime.config import (
    BrokerConfig,
    BrokerSettings,
    NameServerConfig,
    NameServerSettings,
    RemotingConfig,
    StoreConfig,
)

Scenario = Callable[[World], Coroutine[Any, Any, None]]

# More than a quarter of a second: they wait for delay levels, rebalances, or many messages.
SLOW = {
    "a_failed_message_comes_again",
    "a_message_that_always_fails_becomes_a_dead_letter",
    "a_refusal_carries_the_brokers_code_and_remark",
    "an_ordered_queue_is_handed_over_in_order",
    "every_message_comes_once",
    "many_sends_at_once_are_all_stored",
    "members_share_the_queues",
    "ordered_messages_keep_their_order",
    "pausing_holds_pulling_back",
    "slow_listeners_hold_pulling_back",
    "subscribers_share_the_queues",
}


@asynccontextmanager
async def world_of_ours(folder: Path) -> AsyncIterator[World]:
    remoting = RemotingConfig(bind_address="127.0.0.1")
    names = NameServer(
        NameServerSettings(
            nameserver=NameServerConfig(listen_port=0, kv_config_path=str(folder / "kv.json")),
            remoting=remoting,
        )
    )
    name_server = f"127.0.0.1:{await names.start()}"
    broker = Broker(
        BrokerSettings(
            broker=BrokerConfig(
                listen_port=0,
                broker_ip1="127.0.0.1",
                namesrv_addr=name_server,
                auto_create_topic_enable=True,
            ),
            store=StoreConfig(
                store_path_root_dir=str(folder / "store"), mapped_file_size_commit_log=64 * 1024 * 1024
            ),
            remoting=remoting,
        )
    )
    await broker.start()
    try:
        yield World(name_server)
    finally:
        await broker.stop()
        await names.stop()


def _cases() -> list[Any]:
    scenarios: list[Scenario] = [
        *sending.SCENARIOS,
        *listening.SCENARIOS,
        *pulling.SCENARIOS,
        *administration.SCENARIOS,
    ]
    return [
        pytest.param(one, id=one.__name__, marks=[pytest.mark.slow] if one.__name__ in SLOW else [])
        for one in scenarios
    ]


@pytest.mark.parametrize("scenario", _cases())
def test_scenario(scenario: Scenario, tmp_path: Path) -> None:
    async def test() -> None:
        async with world_of_ours(tmp_path) as world:
            await scenario(world)

    asyncio.run(asyncio.wait_for(test(), 60))
