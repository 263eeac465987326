"""Connections that end before they began."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from pathlib import Path

import pytest
import uvloop
from tests.integration.broker.asking import asking


def test_a_peer_that_has_gone_when_it_is_accepted_leaves_nothing_behind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As the health checks of load balancers do. The loop that is used then knows no address of the peer."""

    async def test() -> None:
        async with asking(tmp_path) as broker:
            host, _, port = broker.broker.address.rpartition(":")
            for _ in range(3):  # while the loop does not run
                peer = socket.create_connection((host, int(port)))
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                peer.close()
            await broker.create_topic()
            while len(broker.broker._server.connections) > 1:  # noqa: ASYNC110 - no event tells it
                await asyncio.sleep(0.001)

    with caplog.at_level(logging.ERROR):
        uvloop.run(asyncio.wait_for(test(), 10))
    assert caplog.text == ""
