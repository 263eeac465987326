"""What operators change and the name server keeps on disk (Java: ``DefaultRequestProcessor``): the key-value
configuration (100, 101, 102, 219) and its own settings (318, 319).

A change is answered when it is on disk. Files are written on a worker thread, one at a time, each with what
the table holds then: of two changes at once the later write contains both.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ledgermq.nameserver.kv_config import KvConfig
from ledgermq.remoting import nameserver_headers as headers
from ledgermq.remoting.codes import RequestCode, ResponseCode
from ledgermq.remoting.command import Command, PeerError
from ledgermq.remoting.connection import Connection, Handler
from ledgermq.remoting.headers import decode_header, json_response, response
from ledgermq.remoting.route_data import KvTable
from ledgermq.runtime.config import NameServerSettings
from ledgermq.runtime.config_keys import texts_of
from ledgermq.runtime.config_sources import ConfigError, ForbiddenKeyError, update_as_asked
from ledgermq.runtime.properties_text import edit_properties, render_properties
from ledgermq.runtime.state_file import write_state_file

log: Final = logging.getLogger("ledgermq.nameserver")


class OperatorHandlers:
    """Answers operators; ``kv`` is what was loaded from ``kvConfigPath``."""

    def __init__(self, settings: NameServerSettings, kv: KvConfig) -> None:
        self._settings = settings
        self._kv = kv
        self._kv_path = Path(settings.nameserver.kv_config_path)
        self._config_path = Path(settings.nameserver.config_store_path)
        self._writing = asyncio.Lock()

    def table(self) -> dict[int, Handler]:
        return {
            RequestCode.PUT_KV_CONFIG: self.put_kv,
            RequestCode.GET_KV_CONFIG: self.get_kv,
            RequestCode.DELETE_KV_CONFIG: self.delete_kv,
            RequestCode.GET_KVLIST_BY_NAMESPACE: self.get_kv_list,
            RequestCode.UPDATE_NAMESRV_CONFIG: self.update_config,
            RequestCode.GET_NAMESRV_CONFIG: self.get_config,
        }

    async def put_kv(self, request: Command, connection: Connection) -> Command:
        header = decode_header(headers.PutKvConfig, request)
        self._kv.put(header.namespace, header.key, header.value)
        log.info("key %s of %s set by %s", header.key, header.namespace, connection.remote)
        await self._save_kv()
        return response()

    async def delete_kv(self, request: Command, connection: Connection) -> Command:
        header = decode_header(headers.KvConfig, request)
        if self._kv.delete(header.namespace, header.key):
            log.info("key %s of %s deleted by %s", header.key, header.namespace, connection.remote)
        # Even if it was not there: an earlier attempt may have failed to reach the disk.
        await self._save_kv()
        return response()

    def get_kv(self, request: Command, connection: Connection) -> Command:
        header = decode_header(headers.KvConfig, request)
        value = self._kv.get(header.namespace, header.key)
        if value is None:
            remark = f"namespace {header.namespace[:80]!r} has no key {header.key[:80]!r}"
            raise PeerError(ResponseCode.QUERY_NOT_FOUND, remark)
        return response(header=headers.KvConfigReply(value))

    def get_kv_list(self, request: Command, connection: Connection) -> Command:
        header = decode_header(headers.KvNamespace, request)
        table = self._kv.namespace(header.namespace)
        if table is None:
            raise PeerError(ResponseCode.QUERY_NOT_FOUND, f"there is no namespace {header.namespace[:80]!r}")
        return json_response(KvTable(table))

    async def update_config(self, request: Command, connection: Connection) -> Command:
        try:
            changes = update_as_asked(self._settings, request.body, connection.remote)
        except ForbiddenKeyError as error:
            raise PeerError(ResponseCode.NO_PERMISSION, str(error)) from None
        except ConfigError as error:
            raise PeerError(ResponseCode.INVALID_PARAMETER, str(error)) from None
        if changes:
            wanted = {key: new for key, _, new in changes}
            await self._save(self._config_path, lambda: self._edited_config(wanted))
        return response()

    def _edited_config(self, changes: dict[str, str]) -> bytes:
        """The operator's file keeps its comments and order."""
        try:
            text = self._config_path.read_text("utf-8")
        except FileNotFoundError:
            text = ""
        return edit_properties(text, changes).encode()

    def get_config(self, request: Command, connection: Connection) -> Command:
        return response(body=render_properties(texts_of(self._settings)).encode())

    async def _save_kv(self) -> None:
        await self._save(self._kv_path, self._kv.to_file)

    async def _save(self, path: Path, content: Callable[[], bytes]) -> None:
        async with self._writing:
            try:
                await asyncio.get_running_loop().run_in_executor(None, write_state_file, path, content())
            except (OSError, UnicodeDecodeError) as error:
                remark = f"the change is in force but not on disk, {path} cannot be written: {error}"
                log.error("%s", remark)
                raise PeerError(ResponseCode.SYSTEM_ERROR, remark) from None
