"""A broker that cannot go on ends its process."""

import asyncio
from pathlib import Path

import pytest

from ledgermq.broker.broker import Broker
from ledgermq.cli.console import EXIT_BROKER_STOPPED
from ledgermq.cli.roles import Roles, _serve
from ledgermq.runtime.config import BrokerConfig, BrokerSettings, StoreConfig


def test_a_broker_that_cannot_go_on_ends_the_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scenario() -> None:
        settings = BrokerSettings(
            broker=BrokerConfig(listen_port=0),
            store=StoreConfig(
                store_path_root_dir=str(tmp_path), mapped_file_size_commit_log=8 << 20, max_hash_slot_num=1000
            ),
        )
        broker = Broker(settings)
        serving = asyncio.create_task(_serve(Roles(broker=broker, store=tmp_path), True, None))
        while not capsys.readouterr().out:  # noqa: ASYNC110 - printing sets no event
            await asyncio.sleep(0.001)
        broker.failed.set()
        assert await serving == EXIT_BROKER_STOPPED
        assert not (tmp_path / "abort").exists()

    asyncio.run(asyncio.wait_for(scenario(), 20))
