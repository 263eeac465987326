"""``ledgermq send`` and ``ledgermq consume``: a first look, and a tool for scripts."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import Iterable, Sequence
from typing import Final

from ledgermq.cli.console import EXIT_FAILED, fail, one_line, run_client
from ledgermq.client import ConsumeFrom, Message, MessageExt, Producer, PullConsumer, SendReceipt

GROUP: Final = "ledgermq_cli"
"""Group of the producer, and of a consumer that is asked for no group: it commits nothing."""
POLL_MS: Final = 1000
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
    try:
        shape = Message(
            topic, b"", tags=tag, keys=keys, properties=_properties(properties), sharding_key=sharding_key
        )
    except ValueError as error:
        fail(EXIT_FAILED, error)
    bodies = (line.rstrip("\r\n") for line in sys.stdin) if body == "-" else (body for _ in range(count))
    run_client(_send(name_servers, shape, bodies, print_json))


def _properties(assignments: Sequence[str]) -> dict[str, str]:
    """``NAME=VALUE`` texts as a table. Raises ValueError."""
    table = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ValueError(f"--property {text}: expected is NAME=VALUE")
        table[name] = value
    return table


async def _send(name_servers: str, shape: Message, bodies: Iterable[str], print_json: bool) -> None:
    async with Producer(GROUP, name_servers) as producer:
        for body in bodies:
            shape.body = body.encode(errors="surrogateescape")
            receipt = await producer.send(shape)
            print(_receipt_json(receipt) if print_json else _receipt_line(receipt), flush=True)


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


def consume(
    name_servers: str,
    topic: str,
    *,
    group: str | None,
    expression: str,
    from_first: bool,
    count: int | None,
    timeout_seconds: float | None,
    print_json: bool,
) -> None:
    """Print messages as they come.

    With ``group`` its members share the messages and its progress is kept; ``from_first`` then says where a
    new group begins (where RocketMQ lets it: at the first message of a young topic in any case). Without,
    every queue is read, from its first message or from its end, and nothing is kept.
    """
    consumer = PullConsumer(
        group or GROUP,
        name_servers,
        consume_from=ConsumeFrom.FIRST if from_first else ConsumeFrom.LAST,
        auto_commit=group is not None,
    )
    wanted = _Wanted(count, timeout_seconds)
    work = _consume(
        consumer,
        topic,
        expression,
        wanted,
        as_member=group is not None,
        from_first=from_first,
        print_json=print_json,
    )
    run_client(work)
    if count is not None and wanted.is_late:
        fail(EXIT_FAILED, f"{wanted.got} of {count} messages came within {timeout_seconds:g} s")


class _Wanted:
    """How many messages are wanted, within what time."""

    def __init__(self, count: int | None, seconds: float | None) -> None:
        self.count = count
        self.seconds = seconds
        self.got = 0
        self.is_late = False

    @property
    def missing(self) -> int:
        """How many more may be asked for at once."""
        return POLL_COUNT_MAX if self.count is None else self.count - self.got


async def _consume(
    consumer: PullConsumer,
    topic: str,
    expression: str,
    wanted: _Wanted,
    *,
    as_member: bool,
    from_first: bool,
    print_json: bool,
) -> None:
    async with consumer:
        # Also when the group shares the queues: a topic that does not exist is an error, not a silence.
        queues = await consumer.queues(topic)
        if as_member:
            consumer.subscribe(topic, expression)
        else:
            consumer.assign(queues, expression)
            for queue in queues:
                await (consumer.seek_to_begin(queue) if from_first else consumer.seek_to_end(queue))
        try:
            async with asyncio.timeout(wanted.seconds):
                while wanted.missing > 0:
                    for message in await consumer.poll(POLL_MS, min(wanted.missing, POLL_COUNT_MAX)):
                        print(_message_json(message) if print_json else _message_line(message), flush=True)
                        wanted.got += 1
        except TimeoutError:
            wanted.is_late = True
        except asyncio.CancelledError:
            # A signal: what was printed is done, so the block ends as after any other message.
            return


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
