"""Operators ask and steer the broker: UPDATE_BROKER_CONFIG, GET_BROKER_CONFIG, GET_BROKER_RUNTIME_INFO,
VIEW_BROKER_STATS_DATA, GET_SYSTEM_TOPIC_LIST_FROM_BROKER, CLEAN_EXPIRED_CONSUMEQUEUE,
DELETE_EXPIRED_COMMITLOG, CLEAN_UNUSED_TOPIC."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ledgermq.broker.runtime_info import runtime_info
from ledgermq.broker.stats import BrokerStats
from ledgermq.broker.store_jobs import StoreJobs
from ledgermq.broker.topics import TopicTable
from ledgermq.message import names
from ledgermq.remoting.broker_headers import ConfigVersionReply, ViewBrokerStats
from ledgermq.remoting.codes import RequestCode, ResponseCode
from ledgermq.remoting.command import Command, PeerError
from ledgermq.remoting.connection import Connection, Handler
from ledgermq.remoting.headers import decode_header, json_response, response
from ledgermq.remoting.json_body import encode_json
from ledgermq.remoting.route_data import KvTable, TopicList
from ledgermq.remoting.topic_config import DataVersion
from ledgermq.runtime.config import BrokerSettings
from ledgermq.runtime.config_keys import texts_of
from ledgermq.runtime.config_sources import ConfigError, ForbiddenKeyError, update_as_asked
from ledgermq.runtime.properties_text import edit_properties, render_properties
from ledgermq.runtime.state_file import write_state_file
from ledgermq.store.message_store import MessageStore

log: Final = logging.getLogger("ledgermq.broker")


class AdminHandlers:
    """Handlers of operators' requests.

    ``config_path`` is the operator's broker.conf, None when the broker was started without one. Then, or with
    a TOML file, which has no editor here, a change lasts until the broker stops. ``changed`` has
    everybody who keeps a copy of settings take them over. ``replication`` is what is to be said of the broker
    as a member of a group.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        config_path: Path | None,
        topics: TopicTable,
        stats: BrokerStats,
        store: MessageStore,
        jobs: StoreJobs,
        changed: Callable[[], None],
        replication: Callable[[], dict[str, str]],
        now_ms: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._config_path = config_path
        self._topics = topics
        self._stats = stats
        self._store = store
        self._jobs = jobs
        self._changed = changed
        self._replication = replication
        self._now_ms = now_ms
        self._version = DataVersion(timestamp=now_ms())
        self._writing = asyncio.Lock()

    def table(self) -> dict[int, Handler]:
        return {
            RequestCode.UPDATE_BROKER_CONFIG: self.update_config,
            RequestCode.GET_BROKER_CONFIG: self.get_config,
            RequestCode.GET_BROKER_RUNTIME_INFO: self.get_runtime_info,
            RequestCode.VIEW_BROKER_STATS_DATA: self.view_stats,
            RequestCode.GET_SYSTEM_TOPIC_LIST_FROM_BROKER: self.list_system_topics,
            RequestCode.CLEAN_EXPIRED_CONSUMEQUEUE: self.clean_queues,
            RequestCode.DELETE_EXPIRED_COMMITLOG: self.delete_expired,
            RequestCode.CLEAN_UNUSED_TOPIC: self.clean_topics,
        }

    # ---- settings ----

    async def update_config(self, command: Command, connection: Connection) -> Command:
        try:
            changes = update_as_asked(self._settings, command.body, connection.remote)
        except ForbiddenKeyError as error:
            raise PeerError(ResponseCode.NO_PERMISSION, str(error)) from None
        except ConfigError as error:
            raise PeerError(ResponseCode.INVALID_PARAMETER, str(error)) from None
        if not changes:
            return response()
        self._version.advance(self._now_ms())
        if any(change.key == "brokerPermission" for change in changes):
            self._topics.advance_version(self._now_ms())
        self._changed()
        if self._config_path is None or self._config_path.suffix == ".toml":
            log.warning("the change holds until the broker stops: there is no broker.conf to write it to")
        else:
            edited = self._edit_file(self._config_path, {key: new for key, _, new in changes})
            await self._jobs.see_through(edited)
        return response()

    async def _edit_file(self, path: Path, changes: dict[str, str]) -> None:
        """The operator's file keeps its comments and order. Raises PeerError when it cannot be written."""

        def edit() -> None:
            try:
                text = path.read_text("utf-8")
            except FileNotFoundError:
                text = ""
            write_state_file(path, edit_properties(text, changes).encode())

        async with self._writing:
            try:
                await asyncio.get_running_loop().run_in_executor(None, edit)
            except (OSError, UnicodeDecodeError) as error:
                remark = f"the change is in force but not on disk, {path} cannot be written: {error}"
                log.error("%s", remark)
                raise PeerError(ResponseCode.SYSTEM_ERROR, remark) from None

    def get_config(self, command: Command, connection: Connection) -> Command:
        version = ConfigVersionReply(encode_json(self._version).decode())
        return response(header=version, body=render_properties(texts_of(self._settings)).encode())

    # ---- numbers ----

    def get_runtime_info(self, command: Command, connection: Connection) -> Command:
        info = runtime_info(self._stats, self._store, self._now_ms())
        return json_response(KvTable(info | self._replication()))

    def view_stats(self, command: Command, connection: Connection) -> Command:
        header = decode_header(ViewBrokerStats, command)
        found = self._stats.view(header.stats_name, header.stats_key)
        if found is None:
            remark = f"there is no counter {header.stats_name[:80]!r} of {header.stats_key[:400]!r}"
            raise PeerError(ResponseCode.SYSTEM_ERROR, remark)
        return json_response(found)

    def list_system_topics(self, command: Command, connection: Connection) -> Command:
        return json_response(TopicList(topic_list=self._topics.system_names()))

    # ---- files ----

    def clean_queues(self, command: Command, connection: Connection) -> Command:
        """Nothing is left to do: queue files go together with the log files that they name."""
        return response()

    def delete_expired(self, command: Command, connection: Connection) -> Command:
        """Delete expired log files now, whatever ``deleteWhen`` says; the store does it in the background."""
        self._store.retention.delete_now()
        return response()

    async def clean_topics(self, command: Command, connection: Connection) -> Command:
        """Delete the queues of topics that do not exist any more."""
        unused = [topic for topic in self._store.queues.topics if self._is_unused(topic.decode())]
        for topic in unused:
            log.info("queues of the unknown topic %r deleted by %s", topic, connection.remote)
        # All at once: what is made while a job runs is in use again.
        await self._jobs.run(self._store.delete_topics(unused))
        return response()

    def _is_unused(self, topic: str) -> bool:
        """Queues of system topics and light queues (of a Java broker) stay, as in Java."""
        if self._topics.find(topic) is not None or self._topics.is_system(topic):
            return False
        return not topic.startswith(names.LIGHT_QUEUE_PREFIX)
