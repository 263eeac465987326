"""The fixture ``rocketmq``."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from ledgermq.client import BrokerError, Message, Producer
from ledgermq.testing import BrokerThread


@pytest.mark.parametrize("time", ["first", "second"])
def test_every_test_gets_a_fresh_broker(rocketmq: BrokerThread, time: str) -> None:
    assert rocketmq.messages("orders") == []
    rocketmq.send(Message("orders", b"#1"))
    assert [message.body for message in rocketmq.messages("orders")] == [b"#1"]


def test_asynchronous_code_can_use_it(rocketmq: BrokerThread) -> None:
    async def service() -> None:
        async with Producer("service", rocketmq.name_server) as producer:
            await producer.send(Message("orders", b"#1", keys=["1"]))

    asyncio.run(service())
    (message,) = rocketmq.messages("orders")
    assert message.keys == ["1"]


@pytest.mark.rocketmq({"maxMessageSize": "10"})
def test_settings(rocketmq: BrokerThread) -> None:
    with pytest.raises(BrokerError, match="maxMessageSize=10 is the limit"):
        rocketmq.send(Message("orders", b"x" * 11))


@pytest.mark.rocketmq(maxMessageSize="10")
def test_settings_by_keyword(rocketmq: BrokerThread) -> None:
    with pytest.raises(BrokerError, match="maxMessageSize=10 is the limit"):
        rocketmq.send(Message("orders", b"x" * 11))


@pytest.mark.rocketmq
def test_a_mark_without_settings(rocketmq: BrokerThread) -> None:
    assert rocketmq.messages("orders") == []


@pytest.mark.slow
def test_it_is_there_without_being_asked_for(tmp_path: Path) -> None:
    """In a project that has ledgermq installed and nothing configured; and pytest pays for no broker that no
    test uses."""
    (tmp_path / "test_theirs.py").write_text(
        "import sys\n"
        "def test_unused():\n"
        "    assert not [m for m in sys.modules if m.startswith(('ledgermq.broker', 'uvloop', 'msgspec'))]\n"
        "def test_used(rocketmq):\n"
        "    assert rocketmq.name_server\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "--strict-markers", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert "2 passed" in done.stdout, done.stdout + done.stderr
