"""A broker on loopback and a client that asks it raw requests; shared by the tests of this folder."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from ledgermq.broker.broker import Broker
from ledgermq.message.properties import encode_properties
from ledgermq.remoting.broker_headers import SendMessage
from ledgermq.remoting.client import RemotingClient
from ledgermq.remoting.codes import RequestCode, ResponseCode
from ledgermq.remoting.command import Command
from ledgermq.remoting.connection import Connection
from ledgermq.remoting.headers import Header, request
from ledgermq.remoting.json_body import encode_json, parse_json
from ledgermq.runtime.config import BrokerConfig, BrokerSettings, RemotingConfig, StoreConfig
from ledgermq.store.disk import Disk

GROUP = "GroupA"
TOPIC = "TopicA"


def run(test: Coroutine[Any, Any, None], seconds: float = 20) -> None:
    asyncio.run(asyncio.wait_for(test, seconds))


class Asked:
    """A broker that is up. ``heard`` are the requests that it sent to the client."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.heard: asyncio.Queue[Command] = asyncio.Queue()
        handlers = dict.fromkeys(
            (RequestCode.NOTIFY_CONSUMER_IDS_CHANGED, RequestCode.RESET_CONSUMER_CLIENT_OFFSET), self._hear
        )
        self.handlers: dict[int, Any] = dict(handlers)
        self.client = RemotingClient(self.handlers)

    def _hear(self, command: Command, connection: Connection) -> None:
        self.heard.put_nowait(command)

    async def ask(self, code: int, header: Header | None = None, body: object = b"", **ext: Any) -> Command:
        """The answer to one request; ``ext`` are header fields by their wire names, ``body`` bytes or what
        is to be JSON."""
        data = body if isinstance(body, bytes) else encode_json(body)
        command = request(code, header, data)
        command.ext |= {name: str(value) for name, value in ext.items()}
        return await self.client.invoke(self.broker.address, command, 10_000)

    async def ask_json(self, code: int, header: Header | None = None, body: object = b"", **ext: Any) -> Any:
        """The JSON body of a successful answer."""
        answer = await self.ask(code, header, body, **ext)
        assert answer.code == ResponseCode.SUCCESS, answer
        return parse_json(answer.body)

    async def refused(self, code: int, body: object = b"", **ext: Any) -> tuple[int, str]:
        """Code and remark of an answer that is not SUCCESS."""
        answer = await self.ask(code, None, body, **ext)
        assert answer.code != ResponseCode.SUCCESS, answer
        return answer.code, answer.remark or ""

    async def create_topic(self, topic: str = TOPIC, queues: int = 2, **ext: Any) -> None:
        fields: dict[str, Any] = {
            "readQueueNums": queues,
            "writeQueueNums": queues,
            "perm": 6,
            "order": "false",
        }
        answer = await self.ask(RequestCode.UPDATE_AND_CREATE_TOPIC, topic=topic, **(fields | ext))
        assert answer.code == ResponseCode.SUCCESS, answer

    async def create_group(self, group: str = GROUP) -> None:
        body = {"groupName": group}
        answer = await self.ask(RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, body=body)
        assert answer.code == ResponseCode.SUCCESS, answer

    async def send(
        self, queue_id: int = 0, topic: str = TOPIC, body: bytes = b"hello", **properties: str
    ) -> None:
        header = SendMessage(
            producer_group="ProdA",
            topic=topic,
            queue_id=queue_id,
            sys_flag=0,
            born_timestamp=1,
            flag=0,
            properties=encode_properties(properties).decode(),
        )
        answer = await self.ask(RequestCode.SEND_MESSAGE, header, body)
        assert answer.code == ResponseCode.SUCCESS, answer

    async def commit(self, offset: int, queue_id: int = 0, group: str = GROUP, topic: str = TOPIC) -> Command:
        return await self.ask(
            RequestCode.UPDATE_CONSUMER_OFFSET,
            consumerGroup=group,
            topic=topic,
            queueId=queue_id,
            commitOffset=offset,
        )

    async def heart_beat(
        self, client_id: str = "one", *topics: str, group: str = GROUP, **fields: Any
    ) -> Command:
        subscriptions = [{"topic": topic, "subString": "*", "subVersion": 1} for topic in topics or (TOPIC,)]
        consumer = {
            "groupName": group,
            "consumeType": "CONSUME_PASSIVELY",
            "messageModel": "CLUSTERING",
            "consumeFromWhere": "CONSUME_FROM_LAST_OFFSET",
            "subscriptionDataSet": subscriptions,
        }
        body = {
            "clientID": client_id,
            "consumerDataSet": [consumer],
            "producerDataSet": [{"groupName": "ProdA"}],
        }
        return await self.ask(RequestCode.HEART_BEAT, body=body | fields)

    async def next_heard(self) -> Command:
        return await asyncio.wait_for(self.heard.get(), 5)


def settings_for(folder: Path, store: dict[str, Any] | None = None, **fields: Any) -> BrokerSettings:
    small: dict[str, Any] = {
        "store_path_root_dir": str(folder),
        "mapped_file_size_commit_log": 8 * 1024 * 1024,
        "max_hash_slot_num": 100,
        "max_index_num": 1000,
        "disk_space_clean_forcibly_ratio": 99,
        "disk_space_warning_level_ratio": 100,
    }
    return BrokerSettings(
        broker=BrokerConfig(broker_name="broker-a", listen_port=0, **fields),
        store=StoreConfig(**small | (store or {})),
        remoting=RemotingConfig(bind_address="127.0.0.1"),
    )


@asynccontextmanager
async def asking(
    folder: Path,
    config_path: Path | None = None,
    store: dict[str, Any] | None = None,
    disk: Disk | None = None,
    **fields: Any,
) -> AsyncIterator[Asked]:
    """A broker whose store is in ``folder``; ``fields`` are of its BrokerConfig, ``store`` of its
    StoreConfig."""
    broker = Broker(settings_for(folder, store, **fields), config_path, disk)
    await broker.start()
    asked = Asked(broker)
    try:
        yield asked
    finally:
        await asked.client.close()
        await broker.stop()


@asynccontextmanager
async def another_client(asked: Asked) -> AsyncIterator[Asked]:
    """One more client of the same broker, on a connection of its own."""
    other = Asked(asked.broker)
    try:
        yield other
    finally:
        await other.client.close()
