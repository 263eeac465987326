"""What only slaves ask: GET_ALL_DELAY_OFFSET, GET_ALL_MESSAGE_REQUEST_MODE.

A Java broker that follows us in a DLedger group asks for these, topics, groups and consumer offsets every few
seconds (Java: ``SlaveSynchronize``). Without our delay offsets it would deliver all waiting messages of its
store again when it becomes master.
"""

from __future__ import annotations

import msgspec

from ledgermq.broker.schedule import Scheduler
from ledgermq.remoting.codes import RequestCode
from ledgermq.remoting.command import Command
from ledgermq.remoting.connection import Connection, Handler
from ledgermq.remoting.headers import json_response


class MessageRequestModes(msgspec.Struct, rename="camel"):
    """GET_ALL_MESSAGE_REQUEST_MODE's answer (Java: ``MessageRequestModeSerializeWrapper``): topic -> group ->
    how it gets its messages. Empty: every group pulls."""

    message_request_mode_map: dict[str, dict[str, object]] = {}


class SlaveHandlers:
    """Handlers of requests of slaves."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def table(self) -> dict[int, Handler]:
        return {
            RequestCode.GET_ALL_DELAY_OFFSET: self.get_delay_offsets,
            RequestCode.GET_ALL_MESSAGE_REQUEST_MODE: self.get_request_modes,
        }

    def get_delay_offsets(self, command: Command, connection: Connection) -> Command:
        return json_response(self._scheduler.to_file())

    def get_request_modes(self, command: Command, connection: Connection) -> Command:
        return json_response(MessageRequestModes())
