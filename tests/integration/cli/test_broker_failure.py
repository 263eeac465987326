"""A broker that cannot go on ends its process."""

import asyncio
import json
import os
import signal
import socket
from pathlib import Path

import pytest

from ledgermq.broker.broker import Broker
from ledgermq.cli.console import EXIT_BROKER_STOPPED
from ledgermq.cli.roles import CannotStartError, Output, Roles, _serve
from ledgermq.client import AdminClient, BrokerError
from ledgermq.runtime.config import BrokerConfig, BrokerSettings, StoreConfig

OUTPUT = Output(print_json=True, log=None)


def small_broker(folder: Path, name: str = "a", port: int = 0) -> Broker:
    settings = BrokerSettings(
        broker=BrokerConfig(listen_port=port, broker_name=name),
        store=StoreConfig(
            store_path_root_dir=str(folder), mapped_file_size_commit_log=8 << 20, max_hash_slot_num=1000
        ),
    )
    return Broker(settings)


def test_a_broker_that_cannot_go_on_ends_the_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scenario() -> None:
        broker = small_broker(tmp_path)
        serving = asyncio.create_task(_serve(Roles(brokers=[broker], store=tmp_path), OUTPUT, None))
        while not capsys.readouterr().out:  # noqa: ASYNC110 - printing sets no event
            await asyncio.sleep(0.001)
        broker.failed.set()
        assert await serving == EXIT_BROKER_STOPPED
        assert not (tmp_path / "abort").exists()

    asyncio.run(asyncio.wait_for(scenario(), 20))


@pytest.mark.parametrize("last", [False, True])
def test_of_several_brokers_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], last: bool
) -> None:
    async def scenario() -> None:
        brokers = [small_broker(tmp_path / name, name) for name in "ab"]
        serving = asyncio.create_task(_serve(Roles(brokers=brokers, store=tmp_path), OUTPUT, None))
        while not (out := capsys.readouterr().out):  # noqa: ASYNC110 - printing sets no event
            await asyncio.sleep(0.001)
        told = json.loads(out)["brokers"]
        assert [(facts["name"], facts["store"]) for facts in told] == [
            ("a", str(tmp_path / "a")),
            ("b", str(tmp_path / "b")),
        ]
        brokers[0].failed.set()
        while (tmp_path / "a" / "abort").exists():  # noqa: ASYNC110 - the end of a broker sets no event
            await asyncio.sleep(0.001)
        async with AdminClient(told[1]["broker"]) as admin:
            # It knows no routes; it answers.
            with pytest.raises(BrokerError):
                await admin.cluster()
        assert not serving.done()
        if last:
            brokers[1].failed.set()
        else:
            os.kill(os.getpid(), signal.SIGTERM)
        assert await serving == EXIT_BROKER_STOPPED
        assert not (tmp_path / "b" / "abort").exists()
        assert capsys.readouterr().err == "".join(
            f"ledgermq: broker {name} could not go on; the log says why\n" for name in ("ab" if last else "a")
        )

    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_one_that_cannot_start_starts_none(tmp_path: Path) -> None:
    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            brokers = [small_broker(tmp_path / "a", "a"), small_broker(tmp_path / "b", "b", port)]
            with pytest.raises(CannotStartError, match="the broker b cannot start: cannot listen on"):
                await _serve(Roles(brokers=brokers, store=tmp_path), OUTPUT, None)
        assert not (tmp_path / "a" / "abort").exists()

    asyncio.run(asyncio.wait_for(scenario(), 20))
