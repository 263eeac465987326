"""The pytest plugin: the fixture ``rocketmq``. Loaded in every pytest run, so it imports nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from ledgermq.testing.broker_thread import BrokerThread


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "rocketmq(settings): settings of the broker of the fixture `rocketmq`, by RocketMQ's names"
    )


@pytest.fixture
def rocketmq(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BrokerThread]:
    """A fresh RocketMQ broker with its name server on free ports.

    ``rocketmq.name_server`` is the address for clients in any language. The broker runs on a thread of its
    own, so that it serves synchronous and asynchronous tests alike.
    ``@pytest.mark.rocketmq({"flushDiskType": "SYNC_FLUSH"})`` changes its settings.
    """
    from ledgermq.testing.broker_thread import BrokerThread

    marker = request.node.get_closest_marker("rocketmq")
    settings = dict(*marker.args, **marker.kwargs) if marker else None
    with BrokerThread(tmp_path / "rocketmq", settings) as broker:
        yield broker
