"""What every producer and consumer has one of: connections, routes, heartbeats and background tasks."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final

import msgspec

from ledgermq.client.connections import Connections
from ledgermq.client.errors import ClientError, ClosedError
from ledgermq.client.name_servers import NameServers, RouteCache, parse_addresses
from ledgermq.client.subscription import SubscriptionData
from ledgermq.remoting.broker_headers import UnregisterClient
from ledgermq.remoting.codes import RequestCode
from ledgermq.remoting.connection import Handler
from ledgermq.remoting.headers import request
from ledgermq.remoting.json_body import encode_json

log: Final = logging.getLogger("ledgermq.client")

ROUTE_REFRESH_SECONDS: Final = 30
HEARTBEAT_SECONDS: Final = 30
UNREGISTER_TIMEOUT_MS: Final = 1000


class ProducerData(msgspec.Struct, rename="camel"):
    """A producer group as heartbeats carry it."""

    group_name: str


class ConsumerData(msgspec.Struct, rename="camel"):
    """A consumer group as heartbeats carry it (Java: ``ConsumerData``)."""

    group_name: str
    consume_type: str
    """CONSUME_PASSIVELY for push, CONSUME_ACTIVELY for pull."""
    message_model: str
    consume_from_where: str
    subscription_data_set: list[SubscriptionData]
    unit_mode: bool = False


class HeartbeatData(msgspec.Struct, rename="camel"):
    """Who we are (Java: ``HeartbeatData``)."""

    client_id: str = msgspec.field(name="clientID")
    producer_data_set: list[ProducerData]
    consumer_data_set: list[ConsumerData]
    heartbeat_fingerprint: int = 0
    without_sub: bool = False


class Session:
    """Opened by its owner before use and closed after; ``producer_group`` and ``consumer`` say what to
    announce in heartbeats."""

    def __init__(
        self,
        name_servers: str | Sequence[str],
        handlers: dict[int, Handler] | None = None,
        instance_name: str | None = None,
    ) -> None:
        """``instance_name`` makes the client id the same after a restart; brokers tell clients apart by it.

        Raises ValueError when ``name_servers`` is no address list.
        """
        addresses = parse_addresses(name_servers)
        self.connections = Connections(handlers or {})
        self.connections.greeting = self._heartbeat
        self.name_servers = NameServers(self.connections, addresses, secrets.randbelow(len(addresses)))
        self.routes = RouteCache(self.name_servers)
        self.client_id = ""
        self.local_ip = ""
        self.producer_group: str | None = None
        self.consumer: Callable[[], ConsumerData] | None = None
        self.is_open = False
        self._instance_name = instance_name or f"{os.getpid()}#{secrets.token_hex(4)}"
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Reach a name server and begin. Raises UnreachableError when none can be reached."""
        if self.is_open:
            raise ClientError("started already")
        try:
            self.local_ip = await self.name_servers.local_ip()
        except BaseException:  # being cancelled too: whoever starts us may have set a time limit
            await self.connections.close()
            raise
        self.client_id = f"{self.local_ip}@{self._instance_name}"
        self.is_open = True
        self.every(ROUTE_REFRESH_SECONDS, self.routes.refresh_all)
        self.every(HEARTBEAT_SECONDS, self.send_heartbeats)

    async def close(self) -> None:
        """Leave the groups, end the background tasks, close the connections."""
        if not self.is_open:
            return
        self.is_open = False
        # A listener may close its own consumer; it must not be cancelled while it does.
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._unregister()
        await self.connections.close()

    def check_open(self) -> None:
        """Raises ClosedError when the owner was not started or is closed."""
        if not self.is_open:
            raise ClosedError("not started, or closed already: use it inside `async with`")

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run ``work`` in the background until it ends or the session is closed."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def every(self, seconds: float, action: Callable[[], Awaitable[object]]) -> None:
        """Repeat ``action`` until the session is closed; what it raises of ours is logged."""
        self.spawn(self._repeat(seconds, action))

    async def _repeat(self, seconds: float, action: Callable[[], Awaitable[object]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await action()
            except ClientError as error:
                log.warning("background task will try again in %s s: %s", seconds, error)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("background task ended by a bug", exc_info=task.exception())

    async def send_heartbeats(self) -> None:
        """Tell every broker of our topics who we are: masters only, slaves too when we consume."""
        body = self._heartbeat()
        if body is None:
            return
        addresses = self.routes.addresses(masters_only=self.consumer is None)
        await asyncio.gather(*(self.connections.beat(address, body) for address in addresses))

    def _heartbeat(self) -> bytes | None:
        producers = [ProducerData(self.producer_group)] if self.producer_group else []
        consumers = [self.consumer()] if self.consumer else []
        if not producers and not consumers:
            return None
        return encode_json(HeartbeatData(self.client_id, producers, consumers))

    async def _unregister(self) -> None:
        addresses = sorted(self.connections.greeted)
        header = UnregisterClient(
            client_id=self.client_id,
            producer_group=self.producer_group,
            consumer_group=self.consumer().group_name if self.consumer else None,
        )

        async def leave(address: str) -> None:
            try:
                command = request(RequestCode.UNREGISTER_CLIENT, header)
                await self.connections.ask(address, command, UNREGISTER_TIMEOUT_MS)
            except ClientError as error:
                log.info("not unregistered: %s", error)

        await asyncio.gather(*(leave(address) for address in addresses))
