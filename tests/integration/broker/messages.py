"""Messages as raw requests: sent with each code and header encoding, pulled, decoded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.integration.broker.asking import GROUP, TOPIC, Asked

from ledgermq.message.properties import decode_properties, encode_properties
from ledgermq.message.record import Record, decode_record
from ledgermq.remoting.broker_headers import SEND_V2_LETTERS
from ledgermq.remoting.codes import FLAG_ONEWAY, RequestCode, ResponseCode
from ledgermq.remoting.command import Command

BORN_MS = 1_700_000_000_000
SUSPEND = 2
SUBSCRIPTION = 4
COMMIT = 1

PLAIN: Mapping[str, str] = {"UNIQ_KEY": "K1", "TAGS": "a"}
ADDED = {"CLUSTER": "DefaultCluster", "MSG_REGION": "DefaultRegion", "TRACE_ON": "true"}
"""Properties that the broker gives each message."""


def request_of(code: int, ext: Mapping[str, Any], body: bytes = b"", *, binary: bool = False) -> Command:
    """A request with the header fields ``ext``; those that are None are left out."""
    command = Command(code)
    command.binary = binary
    command.ext = {name: str(value) for name, value in ext.items() if value is not None}
    command.body = body
    return command


def send_request(
    topic: str = TOPIC,
    body: bytes = b"hello",
    *,
    code: int = RequestCode.SEND_MESSAGE_V2,
    binary: bool = False,
    oneway: bool = False,
    properties: Mapping[str, str] | None = PLAIN,
    **fields: Any,
) -> Command:
    """One message; ``fields`` by their long wire names, None leaves one out."""
    wanted: dict[str, Any] = {
        "producerGroup": "ProdA",
        "topic": topic,
        "defaultTopic": "TBW102",
        "defaultTopicQueueNums": 4,
        "queueId": 0,
        "sysFlag": 0,
        "bornTimestamp": BORN_MS,
        "flag": 0,
        "properties": None if properties is None else encode_properties(properties).decode(),
        "reconsumeTimes": 0,
        "unitMode": "false",
        "batch": "true" if code == RequestCode.SEND_BATCH_MESSAGE else "false",
    }
    wanted |= fields
    if code != RequestCode.SEND_MESSAGE:
        letters = {name: letter for letter, name in SEND_V2_LETTERS.items()}
        wanted = {letters[name]: value for name, value in wanted.items()}
    command = request_of(code, wanted, body, binary=binary)
    if oneway:
        command.flag |= FLAG_ONEWAY
    return command


async def send(asked: Asked, topic: str = TOPIC, body: bytes = b"hello", **options: Any) -> Command:
    """The answer to one message."""
    return await asked.client.invoke(asked.broker.address, send_request(topic, body, **options), 10_000)


async def sent(asked: Asked, topic: str = TOPIC, body: bytes = b"hello", **options: Any) -> dict[str, str]:
    """The answer's fields to one message that is taken."""
    answer = await send(asked, topic, body, **options)
    assert answer.code == ResponseCode.SUCCESS, (answer.code, answer.remark)
    return answer.ext


async def refused(
    asked: Asked, topic: str = TOPIC, body: bytes = b"hello", **options: Any
) -> tuple[int, str]:
    """Code and remark to one message that is not taken."""
    answer = await send(asked, topic, body, **options)
    assert answer.code != ResponseCode.SUCCESS, answer.ext
    return answer.code, answer.remark or ""


def pull_request(topic: str = TOPIC, queue_id: int = 0, offset: int = 0, **fields: Any) -> Command:
    """A pull that carries its subscription and does not wait, unless ``fields`` say otherwise."""
    code = fields.pop("code", RequestCode.PULL_MESSAGE)
    wanted: dict[str, Any] = {
        "consumerGroup": GROUP,
        "topic": topic,
        "queueId": queue_id,
        "queueOffset": offset,
        "maxMsgNums": 32,
        "sysFlag": SUBSCRIPTION,
        "commitOffset": 0,
        "suspendTimeoutMillis": 0,
        "subscription": "*",
        "subVersion": 0,
    }
    return request_of(code, wanted | fields)


async def pull(
    asked: Asked, topic: str = TOPIC, queue_id: int = 0, offset: int = 0, **fields: Any
) -> Command:
    request = pull_request(topic, queue_id, offset, **fields)
    return await asked.client.invoke(asked.broker.address, request, 10_000)


async def pulled(asked: Asked, topic: str = TOPIC, queue_id: int = 0, offset: int = 0) -> list[Record]:
    """The messages from ``offset`` on, none when there are none."""
    return records(await pull(asked, topic, queue_id, offset))


async def bodies(asked: Asked, topic: str = TOPIC, queue_id: int = 0) -> list[bytes]:
    return [record.body for record in await pulled(asked, topic, queue_id)]


def records(answer: Command) -> list[Record]:
    found: list[Record] = []
    at = 0
    while at < len(answer.body):
        record = decode_record(answer.body, at, True)
        found.append(record)
        at += record.size
    return found


def properties_of(record: Record) -> dict[str, str]:
    return decode_properties(record.properties)


def unit(body: bytes, properties: bytes = b"", flag: int = 0, **lengths: int) -> bytes:
    """One message of a batch; ``lengths`` replaces size, body or properties length by another number."""
    size = lengths.get("size", 22 + len(body) + len(properties))
    body_bytes = lengths.get("body_bytes", len(body))
    properties_bytes = lengths.get("properties_bytes", len(properties))
    head = size.to_bytes(4, "big", signed=True) + bytes(8) + flag.to_bytes(4, "big")
    return (
        head
        + body_bytes.to_bytes(4, "big", signed=True)
        + body
        + properties_bytes.to_bytes(2, "big", signed=True)
        + properties
    )
