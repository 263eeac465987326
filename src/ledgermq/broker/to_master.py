"""Requests that a slave passes on to its master: clients learn of a new master with their next route only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ledgermq.remoting.client import RemotingClient
from ledgermq.remoting.codes import ResponseCode
from ledgermq.remoting.command import Command, PeerError
from ledgermq.remoting.connection import RemotingError

PASSED_ON: Final = "passedOn"
"""A header field: by another slave. While nobody leads, two may take each other for the master."""


class ToMaster:
    """``address`` is this broker's own, ``master`` tells the master's, empty while nobody knows it."""

    def __init__(self, client: RemotingClient, address: str, master: Callable[[], str]) -> None:
        self._client = client
        self._address = address
        self._master = master

    async def pass_on(self, command: Command) -> Command | None:
        """The master's answer. Raises PeerError SERVICE_NOT_AVAILABLE when there is none."""
        master = self._master()
        if not master or master == self._address:
            remark = "this broker is a slave, and no master is known"
            raise PeerError(ResponseCode.SERVICE_NOT_AVAILABLE, remark)
        if PASSED_ON in command.ext:
            remark = "this broker is a slave, though another one takes it for the master"
            raise PeerError(ResponseCode.SERVICE_NOT_AVAILABLE, remark)
        passed = Command(command.code)
        passed.ext = {**command.ext, PASSED_ON: "true"}
        passed.body = command.body
        passed.version = command.version
        try:
            if command.is_oneway:
                await self._client.oneway(master, passed)
                return None
            return await self._client.invoke(master, passed)
        except RemotingError as error:
            raise PeerError(ResponseCode.SERVICE_NOT_AVAILABLE, f"the master {master}: {error}") from None
