"""``ledgermq send`` and ``ledgermq consume``: a first look, and a tool for scripts."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from ledgermq.cli.console import EXIT_FAILED, bodies, fail, one_line, run_client, when_signalled
from ledgermq.client import ConsumeFrom, Message, MessageExt, Producer, PullConsumer, SendReceipt

GROUP: Final = "ledgermq_cli"
"""Group of the producer, and of a consumer that is asked for no group: it commits nothing."""
POLL_MS: Final = 200
"""So long may it take until a signal is heeded."""
POLL_COUNT_MAX: Final = 100


def send(
    name_servers: str,
    topic: str,
    body: str,
    *,
    count: int,
    tag: str | None,
    keys: Sequence[str],
    properties: Sequence[str],
    sharding_key: str | None,
    print_json: bool,
) -> None:
    """Send ``body`` ``count`` times, or each line of standard input when it is ``-``."""

    async def work() -> None:
        shape = Message(
            topic, b"", tags=tag, keys=keys, properties=_properties(properties), sharding_key=sharding_key
        )
        async with Producer(GROUP, name_servers) as producer:
            async for shape.body in bodies(body, count):
                receipt = await producer.send(shape)
                print(_receipt_json(receipt) if print_json else _receipt_line(receipt), flush=True)

    run_client(work())


def _properties(assignments: Sequence[str]) -> dict[str, str]:
    """``NAME=VALUE`` texts as a table. Raises ValueError."""
    table = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ValueError(f"--property {text}: expected is NAME=VALUE")
        table[name] = value
    return table


def _receipt_line(receipt: SendReceipt) -> str:
    queue = receipt.queue
    place = f"{queue.topic} queue {queue.queue_id} of {queue.broker_name} at offset {receipt.queue_offset}"
    status = "" if receipt.status == 0 else f" ({receipt.status.name})"
    return f"sent to {place}, id {receipt.message_id}{status}"


def _receipt_json(receipt: SendReceipt) -> str:
    facts = {
        "topic": receipt.queue.topic,
        "broker": receipt.queue.broker_name,
        "queue": receipt.queue.queue_id,
        "offset": receipt.queue_offset,
        "message_id": receipt.message_id,
        "offset_message_id": receipt.offset_message_ids[0],
        "status": receipt.status.name,
    }
    return json.dumps(facts)


@dataclass(frozen=True)
class Wanted:
    """What ``ledgermq consume`` is asked for. Without ``group`` nothing is kept; without ``count`` and
    ``timeout_seconds`` it goes on until a signal."""

    topic: str
    expression: str
    group: str | None
    from_first: bool
    count: int | None
    timeout_seconds: float | None
    print_json: bool


def consume(name_servers: str, wanted: Wanted) -> None:
    """Print messages as they come.

    The members of a group share the messages and its progress is kept; ``from_first`` says where a new group
    begins (as in RocketMQ, one begins at the first message of a young topic in any case). Without a group
    every queue is read, from its first message or from its end.
    """
    got = run_client(_consume(name_servers, wanted))
    if wanted.count is not None and wanted.timeout_seconds is not None and got < wanted.count:
        fail(EXIT_FAILED, f"{got} of {wanted.count} messages came within {wanted.timeout_seconds:g} s")


async def _consume(name_servers: str, wanted: Wanted) -> int:
    """How many messages were printed."""
    signalled = when_signalled()
    got = 0
    consumer = PullConsumer(
        wanted.group or GROUP,
        name_servers,
        consume_from=ConsumeFrom.FIRST if wanted.from_first else ConsumeFrom.LAST,
        auto_commit=wanted.group is not None,
    )
    async with consumer:
        await _choose_queues(consumer, wanted)
        with suppress(TimeoutError):
            async with asyncio.timeout(wanted.timeout_seconds):
                while not signalled.is_set() and got != wanted.count:
                    left = POLL_COUNT_MAX if wanted.count is None else wanted.count - got
                    for message in await consumer.poll(POLL_MS, min(left, POLL_COUNT_MAX)):
                        print(
                            _message_json(message) if wanted.print_json else _message_line(message),
                            flush=True,
                        )
                        got += 1
    return got


async def _choose_queues(consumer: PullConsumer, wanted: Wanted) -> None:
    # Asked for a group too: a topic that does not exist is an error, not a silence.
    queues = await consumer.queues(wanted.topic)
    if wanted.group is not None:
        consumer.subscribe(wanted.topic, wanted.expression)
        return
    consumer.assign(queues, wanted.expression)
    for queue in queues:
        await (consumer.seek_to_begin(queue) if wanted.from_first else consumer.seek_to_end(queue))


def _message_line(message: MessageExt) -> str:
    parts = [f"{message.topic} queue {message.queue_id} offset {message.queue_offset}"]
    if message.tags:
        parts.append(f"tag {message.tags}")
    if message.keys:
        parts.append(f"keys {' '.join(message.keys)}")
    if message.reconsume_times:
        parts.append(f"retry {message.reconsume_times}")
    return one_line(f"{', '.join(parts)}: {message.body.decode(errors='backslashreplace')}")


def _message_json(message: MessageExt) -> str:
    facts: dict[str, object] = {
        "topic": message.topic,
        "broker": message.broker_name,
        "queue": message.queue_id,
        "offset": message.queue_offset,
        "message_id": message.message_id,
        "tags": message.tags,
        "keys": message.keys,
        "properties": message.properties,
        "born_ms": message.born_timestamp_ms,
        "stored_ms": message.store_timestamp_ms,
        "reconsume_times": message.reconsume_times,
    }
    try:
        facts["body"] = message.body.decode()
    except UnicodeDecodeError:
        facts["body_base64"] = base64.b64encode(message.body).decode()
    return json.dumps(facts)
