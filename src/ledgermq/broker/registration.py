"""Telling the name servers what this broker is and which topics it has (Java: ``BrokerOuterAPI``).

Each name server has a task of its own, so that one that does not answer delays no other. The task sends

* a *full* registration at the start, after every failure or lost connection, and every
  ``registerNameServerPeriod`` (with ``forceRegister=false`` only if a *query* says that it is needed);
* an *increment* as soon as topics changed; what changes while one request is under way goes into the next.

The answer to a registration carries the topics that the operator has declared ordered.

Rules of this file: :class:`LinkState` decides and is pure; whatever went wrong, the next thing sent is a full
registration, since a lost increment followed by a later one would hide a topic for ever.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final, Literal, NamedTuple

import msgspec

from ledgermq.broker.topics import TopicTable
from ledgermq.remoting import nameserver_headers as headers
from ledgermq.remoting.client import RemotingClient
from ledgermq.remoting.codes import RequestCode, ResponseCode
from ledgermq.remoting.command import Command, PeerError
from ledgermq.remoting.connection import Connection, RemotingError
from ledgermq.remoting.headers import decode_body, decode_header, request
from ledgermq.remoting.json_body import encode_json
from ledgermq.remoting.register_body import body_crc32, encode_register_body
from ledgermq.remoting.route_data import KvTable, RegisterBrokerBody, TopicConfigs
from ledgermq.remoting.topic_config import PERM_READ, PERM_WRITE, DataVersion, TopicConfig
from ledgermq.runtime.clock import now_ms
from ledgermq.runtime.config import BrokerConfig

log: Final = logging.getLogger("ledgermq.broker")

RETRY_SECONDS: Final = 5.0
"""After a failure. Java waits for the next period."""
LOST_PAUSE_SECONDS: Final = 1.0
"""The least time between a registration and one because its connection was lost."""
TOPICS_PER_REQUEST: Final = 30_000
"""Of a full registration; so many topics with the longest names fit a frame of 16 MiB."""
UNREGISTER_TIMEOUT_MS: Final = 500
"""A name server that does not answer must not hold up the stop; it will see the connection close."""

_READ_WRITE: Final = PERM_READ | PERM_WRITE


class Step(NamedTuple):
    """What to do for one name server: send something, or wait for ``seconds`` or an event."""

    kind: Literal["full", "query", "increment", "wait"]
    topics: tuple[str, ...] = ()
    seconds: float = 0.0


class LinkState:
    """What one name server has been told. Times are seconds of any steady clock."""

    def __init__(self, period_seconds: float, *, force: bool) -> None:
        self._period = period_seconds
        self._force = force
        # It may lack something, so the next registration is full, not before _retry_at.
        self._stale = True
        self._retry_at = 0.0
        self._full_at = 0.0
        self._sent_at = 0.0
        # In the order in which they changed, each once.
        self._changed: dict[str, None] = {}

    def decide(self, now: float) -> Step:
        """The next step; what it names counts as told until :meth:`failed` says otherwise."""
        if self._stale:
            return self._full() if now >= self._retry_at else Step("wait", seconds=self._retry_at - now)
        if now >= self._full_at:
            return self._full() if self._force else Step("query")
        if self._changed:
            topics = tuple(self._changed)
            self._changed = {}
            return Step("increment", topics)
        return Step("wait", seconds=self._full_at - now)

    def _full(self) -> Step:
        self._stale = False
        self._changed = {}
        return Step("full")

    def topic_changed(self, topic: str) -> None:
        self._changed[topic] = None

    def succeeded(self, step: Step, now: float) -> None:
        """The name server accepted what ``step`` sent, or answered the query that it lacks nothing."""
        self._sent_at = now
        if step.kind != "increment":
            self._full_at = now + self._period

    def outdated(self) -> None:
        """Everything is to be told again, at once."""
        self._stale = True
        self._retry_at = 0.0

    def failed(self, now: float) -> None:
        self._stale = True
        self._retry_at = now + RETRY_SECONDS

    def lost(self) -> None:
        """The connection ended: the name server has dropped us, or is gone and forgets all."""
        self._stale = True
        self._retry_at = self._sent_at + LOST_PAUSE_SECONDS


def registration_bodies(
    topics: Iterable[TopicConfig], version: DataVersion, broker_permission: int
) -> Iterator[RegisterBrokerBody]:
    """The topics in as many registrations as their number needs; a topic may do what the broker may."""
    table: dict[str, TopicConfig] = {}
    for topic in topics:
        if len(table) == TOPICS_PER_REQUEST:
            yield _body(table, version)
            table = {}
        if broker_permission & _READ_WRITE != _READ_WRITE:
            topic = msgspec.structs.replace(topic, perm=topic.perm & broker_permission)
        table[topic.topic_name] = topic
    yield _body(table, version)


def _body(table: dict[str, TopicConfig], version: DataVersion) -> RegisterBrokerBody:
    configs = TopicConfigs(data_version=version, topic_config_table=table)
    return RegisterBrokerBody(filter_server_list=[], topic_config_serialize_wrapper=configs)


class Registrar:
    """Keeps all name servers of ``namesrvAddr`` informed. Listens to the topic table by itself.

    ``address`` is what clients are told, ``ha_address`` what slaves are; ``client`` is the registrar's own.
    """

    def __init__(
        self, config: BrokerConfig, topics: TopicTable, client: RemotingClient, address: str, ha_address: str
    ) -> None:
        self._topics = topics
        self._client = client
        self._broker_id = config.broker_id
        broker = headers.BrokerIdentity(
            broker_name=config.broker_name,
            broker_addr=address,
            cluster_name=config.broker_cluster_name,
            broker_id=config.broker_id,
        )
        servers = dict.fromkeys(server for server in config.namesrv_addr.split(";") if server)
        self._links = [_Link(server, broker, ha_address, config, topics, client) for server in servers]
        topics.listeners.append(self._topic_changed)

    async def start(self, wait_ms: int) -> None:
        """Begins; returns when every name server was tried once, or after ``wait_ms``."""
        for link in self._links:
            link.start()
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_ms / 1000):
                for link in self._links:
                    await link.tried.wait()

    @property
    def is_registered(self) -> bool:
        """Whether clients can find this broker at one of the name servers at least."""
        return any(link.registered for link in self._links)

    async def stop(self) -> None:
        """Unregisters wherever there is a connection, and closes it."""
        self._topics.listeners.remove(self._topic_changed)
        await asyncio.gather(*(link.stop() for link in self._links))
        await self._client.close()

    def register_all(self) -> None:
        """What every topic may do has changed (``brokerPermission``)."""
        for link in self._links:
            link.state.outdated()
            link.wake.set()

    def set_broker_id(self, broker_id: int) -> bool:
        """This broker is the master (0) or a slave; a change, True, is told to the name servers at once."""
        if broker_id == self._broker_id:
            return False
        self._broker_id = broker_id
        for link in self._links:
            link.set_broker_id(broker_id)
        return True

    def _topic_changed(self, topic: str) -> None:
        for link in self._links:
            link.state.topic_changed(topic)
            link.wake.set()


class _RefusedError(Exception):
    """A name server answered with an error."""


class _Link:
    """The task that keeps one name server informed: carries out what its ``state`` decides."""

    def __init__(
        self,
        server: str,
        broker: headers.BrokerIdentity,
        ha_address: str,
        config: BrokerConfig,
        topics: TopicTable,
        client: RemotingClient,
    ) -> None:
        self._server = server
        self._broker = broker
        self._ha_address = ha_address
        self._config = config
        self._topics = topics
        self._client = client
        self.state = LinkState(config.register_name_server_period / 1000, force=config.force_register)
        self.wake = asyncio.Event()
        self.tried = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        # Over which we registered last; the name server drops us when it closes.
        self._connection: Connection | None = None
        # So that a name server that is away for hours is one line in the log.
        self._failing = False

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    def set_broker_id(self, broker_id: int) -> None:
        self._broker = msgspec.structs.replace(self._broker, broker_id=broker_id)
        self.state.outdated()
        self.wake.set()

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
        connection = self._connection
        if connection is None or connection.closed:
            return
        connection.close_listeners.remove(self._connection_lost)
        try:
            command = request(RequestCode.UNREGISTER_BROKER, self._broker)
            await connection.call(command, UNREGISTER_TIMEOUT_MS)
        except RemotingError as error:
            log.warning("name server %s did not answer that we leave: %s", self._server, error)

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            step = self.state.decide(clock())
            if step.kind == "wait":
                await self._wait(step.seconds)
                continue
            try:
                if await self._carry_out(step):
                    self.state.succeeded(step, clock())
                self._report(None)
            except (RemotingError, PeerError, _RefusedError) as error:
                self.state.failed(clock())
                self._report(error)
            except Exception as error:  # noqa: BLE001 - logged; the broker must not drop out of the routes
                self.state.failed(clock())
                self._report(error, exc_info=True)
            self.tried.set()

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.wake.wait()
        self.wake.clear()

    @property
    def registered(self) -> bool:
        """The last try succeeded."""
        return self.tried.is_set() and not self._failing

    def _report(self, error: Exception | None, exc_info: bool = False) -> None:
        if error is not None and not self._failing:
            text = "name server %s cannot be told of this broker, goes on trying: %s"
            log.warning(text, self._server, error, exc_info=exc_info)
        elif error is None and (self._failing or not self.tried.is_set()):
            log.info("registered with name server %s", self._server)
        self._failing = error is not None

    async def _carry_out(self, step: Step) -> bool:
        """True when the name server now has what it should; False when it turned out to need more."""
        if step.kind == "query":
            return not await self._query()
        if step.kind == "full":
            topics = list(self._topics.configs.values())
        else:
            # Deleted topics leave name servers by an operator's command, as in Java.
            topics = [topic for name in step.topics if (topic := self._topics.find(name)) is not None]
            if not topics:
                return True
        # Chunks of one registration are of one version, whatever changes between them.
        version = self._topics.data_version.copy()
        for body in registration_bodies(topics, version, self._config.broker_permission):
            await self._register(body)
        return True

    async def _query(self) -> bool:
        """Whether the name server lacks our table."""
        version = self._topics.data_version
        answer = await self._call(request(RequestCode.QUERY_DATA_VERSION, self._broker, encode_json(version)))
        if not decode_header(headers.DataVersionReply, answer).changed:
            return False
        self.state.outdated()
        return True

    async def _register(self, body: RegisterBrokerBody) -> None:
        compressed = self._config.compressed_register
        data = encode_register_body(body, compressed=compressed)
        header = headers.RegisterBroker(
            broker_name=self._broker.broker_name,
            broker_addr=self._broker.broker_addr,
            cluster_name=self._broker.cluster_name,
            broker_id=self._broker.broker_id,
            ha_server_addr=self._ha_address,
            enable_acting_master=False,
            compressed=compressed,
            body_crc32=body_crc32(data),
        )
        answer = await self._call(request(RequestCode.REGISTER_BROKER, header, data))
        if answer.body:
            self._topics.mark_ordered(list(decode_body(KvTable, answer).table), now_ms())

    async def _call(self, command: Command) -> Command:
        connection = await self._client.connection(self._server)
        if connection is not self._connection:
            self._connection = connection
            connection.close_listeners.append(self._connection_lost)
        answer = await connection.call(command, self._config.register_broker_timeout_mills)
        if answer.code != ResponseCode.SUCCESS:
            raise _RefusedError(f"it answered code {answer.code}: {answer.remark}")
        return answer

    def _connection_lost(self, connection: Connection) -> None:
        if connection is self._connection:
            self._connection = None
            self.state.lost()
            self.wake.set()
