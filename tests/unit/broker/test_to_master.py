"""What a slave passes on to the master."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from ledgermq.broker.to_master import ToMaster
from ledgermq.remoting.client import RemotingClient
from ledgermq.remoting.codes import RequestCode, ResponseCode
from ledgermq.remoting.command import Command, PeerError


class Wires:
    """Brokers that can be asked by their names; counts what is passed on."""

    def __init__(self) -> None:
        self.brokers: dict[str, ToMaster] = {}
        self.passed: list[Command] = []

    async def invoke(self, address: str, command: Command) -> Command:
        self.passed.append(command)
        broker = self.brokers.get(address)
        answer = None if broker is None else await broker.pass_on(command)
        return answer or Command(ResponseCode.SUCCESS)

    async def oneway(self, address: str, command: Command) -> None:
        await self.invoke(address, command)

    def slave(self, address: str, master: str) -> ToMaster:
        self.brokers[address] = ToMaster(cast(RemotingClient, self), address, lambda: master)
        return self.brokers[address]


def progress() -> Command:
    command = Command(RequestCode.UPDATE_CONSUMER_OFFSET)
    command.ext = {"topic": "T", "commitOffset": "3"}
    return command


def test_the_master_is_asked() -> None:
    wires = Wires()
    slave = wires.slave("a", master="m")
    command = progress()
    answer = asyncio.run(slave.pass_on(command))
    assert answer is not None
    assert answer.code == ResponseCode.SUCCESS
    assert wires.passed[0].ext.items() >= command.ext.items()


@pytest.mark.parametrize("master", ["", "a"])
def test_nobody_is_asked_when_no_master_is_known(master: str) -> None:
    wires = Wires()
    slave = wires.slave("a", master)
    with pytest.raises(PeerError, match="no master is known"):
        asyncio.run(slave.pass_on(progress()))
    assert wires.passed == []


def test_slaves_that_take_each_other_for_the_master_do_not_go_on_for_ever() -> None:
    wires = Wires()
    slave = wires.slave("a", master="b")
    wires.slave("b", master="a")
    with pytest.raises(PeerError, match="another one takes it for the master"):
        asyncio.run(slave.pass_on(progress()))
    assert len(wires.passed) == 1
