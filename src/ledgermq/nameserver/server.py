"""The name server as a process runs it: handlers on a listening port, and one timer.

The driver of :mod:`ledgermq.nameserver.routes`: it gives the table the time and the connections that close,
and carries out what follows: connections to close, brokers to tell.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Final, cast

from ledgermq.nameserver.broker_handlers import BrokerHandlers
from ledgermq.nameserver.kv_config import KvConfig
from ledgermq.nameserver.operator_handlers import OperatorHandlers
from ledgermq.nameserver.registration import Departed, MinIdNotice
from ledgermq.nameserver.route_handlers import RouteHandlers
from ledgermq.nameserver.routes import RouteTable
from ledgermq.remoting.client import RemotingClient
from ledgermq.remoting.codes import RequestCode
from ledgermq.remoting.connection import Connection, Handler, RemotingError
from ledgermq.remoting.headers import oneway
from ledgermq.remoting.nameserver_headers import MinBrokerIdChange
from ledgermq.remoting.server import Server
from ledgermq.runtime.clock import monotonic_ms
from ledgermq.runtime.config import NameServerSettings
from ledgermq.runtime.state_file import load_state_file

log: Final = logging.getLogger("ledgermq.nameserver")


class NameServer:
    """One name server. Several know nothing of each other: brokers register with each."""

    def __init__(self, settings: NameServerSettings) -> None:
        self._settings = settings
        self.routes = RouteTable()
        self.kv = KvConfig()
        self._client = RemotingClient()
        self._notices: set[asyncio.Task[None]] = set()
        self._scan_timer: asyncio.TimerHandle | None = None
        self._server: Server | None = None

    async def start(self) -> int:
        """Reads the key-value configuration, listens, and returns the port.

        Raises OSError when the port cannot be had or the file cannot be read, ValueError when it is damaged.
        """
        load_state_file(Path(self._settings.nameserver.kv_config_path), self.kv.load)
        server = Server(
            self._handlers(),
            on_close=self._connection_closed,
            idle_seconds_max=self._settings.remoting.server_channel_max_idle_time_seconds,
        )
        port = await server.start(self._settings.remoting.bind_address, self._settings.nameserver.listen_port)
        self._server = server
        self._arm_scan()
        return port

    def _handlers(self) -> dict[int, Handler]:
        config = self._settings.nameserver
        return {
            **BrokerHandlers(config, self.routes, self.kv, monotonic_ms, self._tell).table(),
            **RouteHandlers(config, self.routes, self.kv, monotonic_ms).table(),
            **OperatorHandlers(self._settings, self.kv).table(),
        }

    async def stop(self) -> None:
        """Stops listening and closes every connection."""
        if self._scan_timer is not None:
            self._scan_timer.cancel()
        if self._server is not None:
            await self._server.stop()
        for task in self._notices:
            task.cancel()
        await self._client.close()

    # ---- who is gone ----

    def _arm_scan(self) -> None:
        seconds = self._settings.nameserver.scan_not_active_broker_interval / 1000
        self._scan_timer = asyncio.get_running_loop().call_later(seconds, self._scan)

    def _scan(self) -> None:
        self._arm_scan()
        departed = self.routes.expire(monotonic_ms())
        self._carry_out(departed, "was silent for too long")
        for connection in departed.connections:
            cast(Connection, connection).close()

    def _connection_closed(self, connection: Connection) -> None:
        self._carry_out(self.routes.connection_closed(connection), "closed its connection")

    def _carry_out(self, departed: Departed, why: str) -> None:
        for name, address in departed.brokers:
            log.warning("broker %s at %s is gone: it %s", name, address, why)
        self._tell(departed.notices)

    # ---- who hears of it ----

    def _tell(self, notices: list[MinIdNotice]) -> None:
        if not self._settings.nameserver.notify_min_broker_id_changed:
            return
        for notice in notices:
            task = asyncio.get_running_loop().create_task(self._notify(notice))
            self._notices.add(task)
            task.add_done_callback(self._notices.discard)

    async def _notify(self, notice: MinIdNotice) -> None:
        header = MinBrokerIdChange(
            min_broker_id=notice.min_broker_id,
            min_broker_addr=notice.min_address,
            offline_broker_addr=notice.offline_address,
            ha_broker_addr=notice.ha_address,
        )
        for address in notice.addresses:
            try:
                await self._client.oneway(address, oneway(RequestCode.NOTIFY_MIN_BROKER_ID_CHANGE, header))
            except RemotingError as error:
                log.warning("broker at %s was not told of its new smallest broker id: %s", address, error)
