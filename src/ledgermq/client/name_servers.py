"""The name servers, any of which answers, and the routes they told us."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from ledgermq.client.connections import Connections
from ledgermq.client.errors import (
    BrokerError,
    BrokerNotFoundError,
    ClientError,
    RequestTimeoutError,
    TopicNotFoundError,
    UnreachableError,
)
from ledgermq.client.queues import MessageQueue
from ledgermq.client.routes import broker_address
from ledgermq.message.names import AUTO_CREATE_TOPIC
from ledgermq.remoting.client import split_address
from ledgermq.remoting.codes import RequestCode, ResponseCode
from ledgermq.remoting.command import Command
from ledgermq.remoting.headers import request
from ledgermq.remoting.json_body import JsonError, decode_json
from ledgermq.remoting.nameserver_headers import GetRouteInfo
from ledgermq.remoting.route_data import MASTER_ID, TopicRouteData

A = TypeVar("A")

log: Final = logging.getLogger("ledgermq.client")

TIMEOUT_MS: Final = 3000
DEFAULT_PORT: Final = 9876


def parse_addresses(addresses: str | Sequence[str]) -> list[str]:
    """``host:port;host:port`` or a list of such; the port may be left out. Raises ValueError."""
    parts = addresses.split(";") if isinstance(addresses, str) else addresses
    found: list[str] = []
    for part in parts:
        address = part.strip()
        if not address:
            continue
        if ":" not in address:
            address = f"{address}:{DEFAULT_PORT}"
        split_address(address)
        found.append(address)
    if not found:
        raise ValueError(f"name server addresses {addresses!r} name none; expected is host:port;host:port")
    return found


class NameServers:
    """Asks one name server until it fails, then the next."""

    def __init__(self, connections: Connections, addresses: Sequence[str], first: int) -> None:
        """``first`` is the index to begin with, random so that clients spread."""
        self._connections = connections
        self.addresses = tuple(addresses)
        self._current = first % len(self.addresses)

    async def ask(self, make_command: Callable[[], Command]) -> Command:
        """The answer of the first name server that answers at all.

        Raises BrokerError when it refuses, UnreachableError when none answers.
        """
        return await self._first(
            lambda address: self._connections.ask(address, make_command(), TIMEOUT_MS), "answers"
        )

    async def local_ip(self) -> str:
        """The address of this machine that name servers see. Raises UnreachableError."""
        return await self._first(self._connections.local_ip, "can be reached")

    async def _first(self, ask: Callable[[str], Awaitable[A]], what: str) -> A:
        """What the first name server says that does not fail."""
        failures: list[str] = []
        first, count = self._current, len(self.addresses)
        # Each goes round by its own count: many ask at a time, and together they must not pass one by.
        for number in range(first, first + count):
            try:
                answer = await ask(self.addresses[number % count])
            except (UnreachableError, RequestTimeoutError) as error:
                failures.append(str(error))
            else:
                self._current = number % count
                return answer
        raise UnreachableError(f"no name server {what}: {'; '.join(failures)}")

    async def fetch_route(self, topic: str) -> TopicRouteData:
        """Where ``topic`` is. Raises TopicNotFoundError, UnreachableError."""
        header = GetRouteInfo(topic=topic, accept_standard_json_only=True)
        try:
            answer = await self.ask(lambda: request(RequestCode.GET_ROUTEINFO_BY_TOPIC, header))
            route = decode_json(TopicRouteData, answer.body)
        except BrokerError as error:
            if error.code == ResponseCode.TOPIC_NOT_EXIST:
                raise TopicNotFoundError(
                    f"topic {topic} has no route: no broker registered with {error.address} carries it"
                ) from None
            raise
        except JsonError as error:
            raise ClientError(f"route of topic {topic} cannot be read: {error}") from None
        route.broker_datas = [broker for broker in route.broker_datas if broker.broker_addrs]
        return route


class RouteCache:
    """The routes of the topics in use, refreshed by whoever owns this every 30 s or when a broker fails."""

    def __init__(self, name_servers: NameServers) -> None:
        self._name_servers = name_servers
        self._routes: dict[str, TopicRouteData] = {}
        self._fetching: dict[str, asyncio.Task[TopicRouteData]] = {}
        self.on_change: Callable[[str], None] = lambda topic: None
        """Called with a topic whose route has changed."""

    async def get(self, topic: str) -> TopicRouteData:
        """The route of ``topic``, fetched when it is not known. Raises as NameServers.fetch_route."""
        known = self._routes.get(topic)
        return known if known is not None else await self.refresh(topic)

    async def refresh(self, topic: str) -> TopicRouteData:
        """Fetch the route of ``topic``; one request serves all who ask at the same time."""
        task = self._fetching.get(topic)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._name_servers.fetch_route(topic))
            self._fetching[topic] = task
            task.add_done_callback(lambda done: self._fetched(topic, done))
        return await asyncio.shield(task)

    def _fetched(self, topic: str, task: asyncio.Task[TopicRouteData]) -> None:
        self._fetching.pop(topic, None)
        if task.cancelled() or task.exception() is not None:
            # An old route is kept even when the name server has none: it may only just have started.
            return
        old, new = self._routes.get(topic), task.result()
        self._routes[topic] = new
        if old is not None and old != new:
            log.info("route of topic %s changed", topic)
            self.on_change(topic)

    async def doubt(self, topic: str) -> None:
        """A broker of ``topic`` failed: another one may lead its group by now. What is known stays when the
        name servers cannot be asked."""
        try:
            await self.refresh(topic)
        except ClientError as error:
            log.debug("route of topic %s not refreshed: %s", topic, error)

    async def refresh_all(self) -> None:
        """Refresh every topic in use; a topic that cannot be asked about keeps its route."""
        for topic in list(self._routes):
            try:
                await self.refresh(topic)
            except ClientError as error:
                log.warning("route of topic %s not refreshed: %s", topic, error)

    async def address(self, queue: MessageQueue, broker_id: int = MASTER_ID, *, or_any: bool = False) -> str:
        """The address of the broker of ``queue``. Raises BrokerNotFoundError when no route names it."""
        route = await self.get(queue.topic)
        found = broker_address(route, queue.broker_name, broker_id, or_any=or_any)
        if found is None:
            route = await self.refresh(queue.topic)
            found = broker_address(route, queue.broker_name, broker_id, or_any=or_any)
        if found is None:
            role = "member" if or_any else "master" if broker_id == MASTER_ID else f"member {broker_id}"
            raise BrokerNotFoundError(f"no {role} of broker {queue.broker_name} is known, needed for {queue}")
        return found

    def addresses(self, *, masters_only: bool) -> list[str]:
        """The brokers of all known routes, sorted."""
        found = {
            address
            for topic, route in self._routes.items()
            if topic != AUTO_CREATE_TOPIC
            for broker in route.broker_datas
            for broker_id, address in broker.broker_addrs.items()
            if broker_id == MASTER_ID or not masters_only
        }
        return sorted(found)
