"""``ledgermq topic``: what topics there are, where they lie, what they hold."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Final

from ledgermq.cli.console import print_table, run_client
from ledgermq.client import AdminClient
from ledgermq.message.names import DLQ_PREFIX, RETRY_PREFIX, SYSTEM_TOPIC_PREFIX, SYSTEM_TOPICS
from ledgermq.remoting.topic_config import PERM_READ, PERM_WRITE

PERMS: Final = {"rw": PERM_READ | PERM_WRITE, "r": PERM_READ, "w": PERM_WRITE}
_INTERNAL_PREFIXES: Final = (RETRY_PREFIX, DLQ_PREFIX, SYSTEM_TOPIC_PREFIX)


def list_topics(name_servers: str, *, with_internal: bool, print_json: bool) -> None:
    """The topics' names; those that brokers make for themselves only when asked for."""

    async def work() -> None:
        async with AdminClient(name_servers) as admin:
            topics = await admin.topics()
            cluster = await admin.cluster()
        own = {*SYSTEM_TOPICS, *cluster.broker_addr_table, *cluster.cluster_addr_table}
        own.update(f"{name}_REPLY_TOPIC" for name in cluster.cluster_addr_table)
        if not with_internal:
            topics = [name for name in topics if name not in own and not name.startswith(_INTERNAL_PREFIXES)]
        print(json.dumps(topics) if print_json else "\n".join(topics or ["no topics yet"]))

    run_client(work())


def create_topic(
    name_servers: str, topic: str, *, queue_count: int, perm: str, ordered: bool, print_json: bool
) -> None:
    """Create the topic on every master, or change it."""

    async def work() -> None:
        async with AdminClient(name_servers) as admin:
            addresses = await admin.create_topic(
                topic, queue_count=queue_count, perm=PERMS[perm], ordered=ordered
            )
        if print_json:
            print(json.dumps({"topic": topic, "brokers": addresses}))
        else:
            where = ("each of " if len(addresses) > 1 else "") + ", ".join(addresses)
            print(f"topic {topic} has {queue_count} queue{'' if queue_count == 1 else 's'} on {where}")

    run_client(work())


def show_route(name_servers: str, topic: str, *, print_json: bool) -> None:
    """Which brokers carry the topic, with how many queues."""

    async def work() -> None:
        async with AdminClient(name_servers) as admin:
            route = await admin.route(topic)
        addresses = {broker.broker_name: broker.broker_addrs for broker in route.broker_datas}
        rows = [
            (
                queues.broker_name,
                " ".join(at for _, at in sorted(addresses.get(queues.broker_name, {}).items())),
                queues.read_queue_nums,
                queues.write_queue_nums,
                _perm_text(queues.perm),
            )
            for queues in route.queue_datas
        ]
        print_table(("broker", "addresses", "read_queues", "write_queues", "perm"), rows, print_json)

    run_client(work())


def _perm_text(perm: int) -> str:
    return f"{'r' if perm & PERM_READ else '-'}{'w' if perm & PERM_WRITE else '-'}"


def show_status(name_servers: str, topic: str, *, print_json: bool) -> None:
    """What each queue of the topic holds."""

    async def work() -> None:
        async with AdminClient(name_servers) as admin:
            status = await admin.topic_status(topic)
        rows = [
            (
                queue.broker_name,
                queue.queue_id,
                offsets.min_offset,
                offsets.max_offset,
                _time_text(offsets.last_update_timestamp),
            )
            for queue, offsets in status.items()
        ]
        print_table(("broker", "queue", "min_offset", "max_offset", "last_stored"), rows, print_json)

    run_client(work())


def _time_text(time_ms: int) -> str | None:
    return datetime.fromtimestamp(time_ms / 1000).isoformat(" ", "milliseconds") if time_ms > 0 else None


def delete_topic(name_servers: str, topic: str, *, print_json: bool) -> None:
    """Delete the topic and its messages from every broker."""

    async def work() -> None:
        async with AdminClient(name_servers) as admin:
            await admin.route(topic)
            await admin.delete_topic(topic)
        print(json.dumps({"topic": topic}) if print_json else f"topic {topic} is deleted")

    run_client(work())
