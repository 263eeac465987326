"""Pulls that repeat an allowed one take the hot path: it answers as the general way does, byte for byte, and
only while nothing has changed that forbids them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.broker.asking import GROUP, TOPIC, Asked, asking, run
from tests.integration.broker.messages import COMMIT, SUBSCRIPTION, SUSPEND, pull_request, sent

from ledgermq.broker import pull_path
from ledgermq.broker.clients import Client
from ledgermq.broker.heartbeat import ConsumerData, SubscriptionData
from ledgermq.remoting.codes import FLAG_ONEWAY, RequestCode, ResponseCode
from ledgermq.remoting.command import Command, decode_command, encode_command
from ledgermq.remoting.connection import Connection

CODES = (RequestCode.PULL_MESSAGE, RequestCode.LITE_PULL_MESSAGE)
FOUND, NOT_FOUND = ResponseCode.SUCCESS, ResponseCode.PULL_NOT_FOUND


@pytest.fixture(autouse=True)
def _hot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Interpreted, the hot path is left aside because it is slower; here it is to be tried."""
    monkeypatch.setattr(pull_path, "_COMPILED", True)


class Wire:
    """A connection whose answers are looked at as bytes. ``general`` counts what took the general way."""

    def __init__(self, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked = asked
        self.general = 0
        self._reader = reader
        self._writer = writer
        handlers = asked.broker._server._handlers
        for code in CODES:
            handlers[code] = self._count(handlers[code])

    def _count(self, handler: Any) -> Any:
        def counting(command: Command, connection: Connection) -> Any:
            self.general += 1
            return handler(command, connection)

        return counting

    async def answer(self, *requests: Command) -> bytes:
        """The frames that answer ``requests``."""
        self._writer.write(b"".join(encode_command(request) for request in requests))
        frames = b""
        for _ in requests:
            head = await self._reader.readexactly(4)
            frames += head + await self._reader.readexactly(int.from_bytes(head, "big"))
        return frames

    async def both(self, request: Command) -> tuple[bytes, bytes]:
        """The answer of the general way and the one that follows it, which is to be hot."""
        self.asked.broker._pull_path.forget()
        self.general = 0
        slow = await self.answer(request)
        assert self.general == 1
        return slow, await self.answer(request)

    async def code_of(self, request: Command) -> int:
        frame = await self.answer(request)
        return decode_command(frame, 0, len(frame)).code

    def close(self) -> None:
        self._writer.close()


def on_wire(folder: Path, test: Callable[[Wire], Awaitable[None]], **fields: Any) -> None:
    """Run ``test`` on a broker with messages 0 to 4, tagged a, b, a, b, a, in queue 0 of the topic."""

    async def main() -> None:
        async with asking(folder, **fields) as asked:
            for n in range(5):
                await sent(asked, TOPIC, b"%d" % n, properties={"UNIQ_KEY": f"K{n}", "TAGS": "ab"[n % 2]})
            host, _, port = asked.broker.address.rpartition(":")
            wire = Wire(asked, *await asyncio.open_connection(host, int(port)))
            try:
                await test(wire)
            finally:
                wire.close()

    run(main())


def request(binary: bool = False, opaque: int = 7, flag: int = 0, **fields: Any) -> Command:
    offset, queue_id = fields.pop("offset", 0), fields.pop("queue_id", 0)
    command = pull_request(TOPIC, queue_id, offset, **fields)
    command.binary = binary
    command.opaque = opaque
    command.flag |= flag
    return command


def beat(asked: Asked, expression: str = "*", version: int = 1) -> None:
    wanted = SubscriptionData(topic=TOPIC, sub_string=expression, sub_version=version)
    data = ConsumerData(group_name=GROUP, message_model="CLUSTERING", subscription_data_set=[wanted])
    channel = next(iter(asked.broker._server.connections))
    asked.broker.clients.register_consumer(channel, Client("one", "1", 0, 513), data, 0, notify=False)


def variants() -> Iterator[dict[str, Any]]:
    for code in CODES:
        yield {"code": code}
    yield {"subscription": None}
    yield {"subscription": ""}
    yield {"subscription": "a"}
    yield {"subscription": "b||a", "expressionType": "TAG"}
    yield {"offset": 3, "maxMsgNums": 1}
    yield {"maxMsgNums": 0}
    yield {"maxMsgNums": -1}
    yield {"maxMsgNums": 2**31 - 1, "maxMsgBytes": 2**31 - 1}
    yield {"maxMsgBytes": 1}
    yield {"maxMsgBytes": -1}
    yield {"sysFlag": SUBSCRIPTION | COMMIT | SUSPEND, "commitOffset": 2, "suspendTimeoutMillis": 15_000}
    yield {"sysFlag": COMMIT, "commitOffset": 2, "subVersion": 1, "subscription": "ignored"}
    yield {"sysFlag": 0, "subVersion": 0, "expressionType": "SQL92"}


@pytest.mark.parametrize("binary", [False, True], ids=["json", "binary"])
@pytest.mark.parametrize("fields", list(variants()), ids=str)
def test_both_ways_answer_the_same_bytes(tmp_path: Path, binary: bool, fields: dict[str, Any]) -> None:
    async def test(wire: Wire) -> None:
        beat(wire.asked)
        slow, fast = await wire.both(request(binary, opaque=-3, **fields))
        assert wire.general == 1
        assert fast == slow
        assert decode_command(fast, 0, len(fast)).code == FOUND

    on_wire(tmp_path, test)


def test_several_pulls_come_and_go_together(tmp_path: Path) -> None:
    async def test(wire: Wire) -> None:
        await wire.both(request())
        several = [request(bool(n % 2), opaque=n, offset=n % 5) for n in range(20)]
        together = await wire.answer(*several)
        assert wire.general == 1
        assert together == b"".join([await wire.answer(one) for one in several])

    on_wire(tmp_path, test)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"offset": 5}, NOT_FOUND),
        ({"offset": 6}, ResponseCode.PULL_OFFSET_MOVED),
        ({"offset": -1}, ResponseCode.PULL_OFFSET_MOVED),
        ({"subscription": "c"}, ResponseCode.PULL_RETRY_IMMEDIATELY),
        ({"queue_id": 1}, NOT_FOUND),
        ({"queue_id": 99}, ResponseCode.INVALID_PARAMETER),
        ({"expressionType": "SQL92"}, ResponseCode.SYSTEM_ERROR),
        ({"requestSource": "x"}, ResponseCode.INVALID_PARAMETER),
        ({"consumerGroup": "another"}, FOUND),
        ({"subVersion": 2}, FOUND),
        ({"sysFlag": 0, "subVersion": 2}, ResponseCode.SUBSCRIPTION_NOT_LATEST),
    ],
)
def test_what_was_not_allowed_or_finds_nothing_goes_the_general_way(
    tmp_path: Path, fields: dict[str, Any], code: int
) -> None:
    async def test(wire: Wire) -> None:
        beat(wire.asked)
        await wire.both(request())
        await wire.both(request(sysFlag=0, subVersion=1))
        wire.general = 0
        assert await wire.code_of(request(**fields)) == code
        assert wire.general == 1

    on_wire(tmp_path, test)


def test_one_way_pulls_get_no_answer(tmp_path: Path) -> None:
    async def test(wire: Wire) -> None:
        await wire.both(request())
        wire._writer.write(encode_command(request(flag=FLAG_ONEWAY)))
        frame = await wire.answer(request(opaque=9))
        assert decode_command(frame, 0, len(frame)).opaque == 9

    on_wire(tmp_path, test)


def test_it_notes_what_the_general_way_notes(tmp_path: Path) -> None:
    async def test(wire: Wire) -> None:
        broker = wire.asked.broker
        fields: dict[str, Any] = {"sysFlag": SUBSCRIPTION | COMMIT, "maxMsgNums": 2}
        await wire.both(request(commitOffset=1, **fields))
        wire.asked.broker.clients._compensated.clear()
        assert await wire.code_of(request(commitOffset=2, offset=2, **fields)) == FOUND
        assert wire.general == 1
        assert broker.offsets.consumed(GROUP, TOPIC, 0) == 2
        assert broker.offsets.pulled(GROUP, TOPIC, 0) == 4
        assert broker.stats.gets(GROUP, TOPIC, system=False).messages == 6
        assert broker.clients.subscription(GROUP, TOPIC) is not None
        assert await wire.code_of(request(commitOffset=-1, **fields)) == FOUND
        assert await wire.code_of(request(commitOffset=3, sysFlag=SUBSCRIPTION)) == FOUND
        assert wire.general == 1
        assert broker.offsets.consumed(GROUP, TOPIC, 0) == 2, "only with the flag, and not a negative one"

    on_wire(tmp_path, test)


async def change_topic(asked: Asked) -> None:
    await asked.create_topic(TOPIC, perm=2)


async def delete_topic(asked: Asked) -> None:
    await asked.ask(RequestCode.DELETE_TOPIC_IN_BROKER, topic=TOPIC)


async def make_topic_anew(asked: Asked) -> None:
    await delete_topic(asked)
    await asked.create_topic(TOPIC)


async def shut_group(asked: Asked) -> None:
    body = {"groupName": GROUP, "consumeEnable": False}
    await asked.ask(RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, body=body)


async def forbid_topic(asked: Asked) -> None:
    asked.broker.groups.set_may_read(GROUP, TOPIC, False, 0)


async def close_broker(asked: Asked) -> None:
    await asked.ask(RequestCode.UPDATE_BROKER_CONFIG, body=b"brokerPermission=2")


async def reset_offset(asked: Asked) -> None:
    asked.broker.offsets.reset(GROUP, TOPIC, 0, 3, 0)


async def subscribe_to_less(asked: Asked) -> None:
    beat(asked, "c", 2)


async def leave(asked: Asked) -> None:
    for channel in list(asked.broker._server.connections):
        asked.broker.clients.unregister_consumer(GROUP, channel, notify=False)


@pytest.mark.parametrize(
    ("change", "code", "stated_code"),
    [
        (change_topic, ResponseCode.NO_PERMISSION, ResponseCode.NO_PERMISSION),
        (delete_topic, ResponseCode.TOPIC_NOT_EXIST, ResponseCode.TOPIC_NOT_EXIST),
        (make_topic_anew, NOT_FOUND, NOT_FOUND),
        (shut_group, ResponseCode.NO_PERMISSION, ResponseCode.NO_PERMISSION),
        (forbid_topic, ResponseCode.NO_PERMISSION, FOUND),
        (close_broker, ResponseCode.NO_PERMISSION, ResponseCode.NO_PERMISSION),
        (reset_offset, ResponseCode.PULL_OFFSET_MOVED, ResponseCode.PULL_OFFSET_MOVED),
        (subscribe_to_less, ResponseCode.PULL_RETRY_IMMEDIATELY, FOUND),
        (leave, ResponseCode.SUBSCRIPTION_NOT_EXIST, FOUND),
    ],
)
@pytest.mark.parametrize("stated", [False, True])
def test_a_change_is_heeded_by_the_next_pull(
    tmp_path: Path, change: Callable[[Asked], Awaitable[None]], code: int, stated: bool, stated_code: int
) -> None:
    async def test(wire: Wire) -> None:
        beat(wire.asked)
        wanted = request(sysFlag=SUBSCRIPTION if stated else 0, subVersion=1)
        slow, fast = await wire.both(wanted)
        assert slow == fast
        assert wire.general == 1
        await change(wire.asked)
        assert await wire.code_of(wanted) == (stated_code if stated else code)
        assert wire.general == 2

    on_wire(tmp_path, test)


def test_another_subscriber_s_heartbeat_changes_nothing(tmp_path: Path) -> None:
    async def test(wire: Wire) -> None:
        beat(wire.asked)
        await wire.both(request(sysFlag=0, subVersion=1))
        beat(wire.asked)
        assert await wire.code_of(request(sysFlag=0, subVersion=1)) == FOUND
        assert wire.general == 1

    on_wire(tmp_path, test)
