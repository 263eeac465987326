"""Our name server beside Java's: the same conversation, the same answers; each with the other's broker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests.interop.harness.cluster import Broker, JavaPrograms
from tests.interop.harness.cluster import NameServer as NameServerProgram

from ledgermq.broker.registration import Registrar
from ledgermq.broker.topics import TopicTable
from ledgermq.nameserver import NameServer
from ledgermq.remoting.client import RemotingClient
from ledgermq.remoting.codes import ResponseCode
from ledgermq.remoting.command import Command
from ledgermq.remoting.headers import request
from ledgermq.remoting.json_body import decode_json, parse_json
from ledgermq.remoting.nameserver_headers import GetRouteInfo
from ledgermq.remoting.register_body import body_crc32, encode_register_body
from ledgermq.remoting.route_data import (
    QueueMapping,
    RegisterBrokerBody,
    TopicConfigs,
    TopicRouteData,
)
from ledgermq.remoting.topic_config import DataVersion, TopicConfig
from ledgermq.runtime.config import BrokerConfig, NameServerConfig, NameServerSettings

T = TypeVar("T")

MEMBER_TOPIC = "rmq_sys_SYNC_BROKER_MEMBER_m"


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 120))


async def until(look: Callable[[], Awaitable[T | None]]) -> T:
    """What ``look`` returns once it is true; the run's time-out ends it otherwise."""
    while True:
        found = await look()
        if found:
            return found
        await asyncio.sleep(0.05)


async def until_not(look: Callable[[], Awaitable[object]]) -> None:
    while True:
        if not await look():
            return
        await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def java_name_server(
    java: JavaPrograms, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NameServerProgram]:
    server = NameServerProgram("java", tmp_path_factory.mktemp("java-namesrv"), java)
    server.start()
    yield server
    server.kill()


@asynccontextmanager
async def our_name_server(folder: Path) -> AsyncIterator[str]:
    config = NameServerConfig(
        listen_port=0,
        kv_config_path=str(folder / "kvConfig.json"),
        config_store_path=str(folder / "namesrv.properties"),
    )
    server = NameServer(NameServerSettings(nameserver=config))
    port = await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop()


def register(
    *topics: str,
    name: str = "m",
    address: str = "h:1",
    broker_id: int = 0,
    counter: int = 1,
    state_version: int = 0,
    compressed: bool = False,
    filter_servers: list[str] | None = None,
    mapped: str | None = None,
    acting: bool = False,
    **ext: str,
) -> Command:
    mapping = QueueMapping(bname=name, topic=mapped or "", total_queues=2, epoch=5, curr_id_map={0: 0, 1: 1})
    body = RegisterBrokerBody(
        filter_server_list=filter_servers or [],
        topic_config_serialize_wrapper=TopicConfigs(
            data_version=DataVersion(counter=counter, state_version=state_version, timestamp=1),
            topic_config_table={t: TopicConfig(topic_name=t, perm=7) for t in topics},
            topic_queue_mapping_info_map={mapped: mapping} if mapped else {},
        ),
    )
    command = request(103, body=encode_register_body(body, compressed=compressed))
    command.ext = {
        "brokerName": name,
        "brokerAddr": address,
        "brokerId": str(broker_id),
        "clusterName": "C1",
        "haServerAddr": f"ha-{address}",
        "compressed": str(compressed).lower(),
        "bodyCrc32": str(body_crc32(command.body)),
        **ext,
    }
    if acting:
        command.ext["enableActingMaster"] = "true"
    return command


def unregister(address: str, broker_id: int) -> Command:
    return ask(104, brokerName="m", brokerAddr=address, clusterName="C1", brokerId=str(broker_id))


def ask(code: int, body: bytes = b"", version: int = 513, **ext: str) -> Command:
    command = request(code, body=body)
    command.ext = ext
    command.version = version
    return command


ALL = ("A", "B", MEMBER_TOPIC)


def conversation() -> list[tuple[str, Command]]:
    """Commands in their order; after each that changes something the routes are asked for."""
    changes = [
        ("a master comes", register(*ALL)),
        ("a slave comes", register(*ALL, address="h:2", broker_id=1)),
        ("the same again", register(*ALL)),
        ("one topic of an unknown broker", register("A", name="one")),
        ("a wrong checksum", register(*ALL, counter=2, bodyCrc32="7")),
        (
            "no JSON",
            ask(103, b"{", brokerName="x", brokerAddr="h:9", brokerId="0", clusterName="C1", haServerAddr=""),
        ),
        ("an increment", register("N", counter=2, filter_servers=["f:1"])),
        ("compressed", register(*ALL, counter=3, compressed=True, mapped="B")),
        ("the operator takes the write permission", ask(205, brokerName="m")),
        ("and the same again", register(*ALL, counter=3)),
        ("the operator gives it", ask(327, brokerName="m")),
        ("of nobody", ask(205, brokerName="nobody")),
        ("a topic deleted in another cluster", ask(216, topic="A", clusterName="C2")),
        ("a topic deleted", ask(216, topic="A", clusterName="C1")),
        ("and brought back", register(*ALL, counter=3, mapped="B")),
        (
            "a single topic",
            ask(217, b'{"queueDatas":[{"brokerName":"m","perm":6,"readQueueNums":2}]}', topic="S"),
        ),
        ("acting masters", ask(318, b"supportActingMaster=true\n")),
        ("a master that may be acted for", register(*ALL, counter=4, acting=True)),
        ("its slave", register(*ALL, address="h:2", broker_id=1, counter=4, acting=True)),
        ("another slave", register(*ALL, address="h:3", broker_id=2, counter=4, acting=True)),
        ("the master leaves", unregister("h:1", 0)),
        ("the slave says more", register(*ALL, "M", address="h:2", broker_id=1, counter=5, acting=True)),
        ("the slave leaves", unregister("h:2", 1)),
        ("the master is back", register(*ALL, counter=6, acting=True)),
        ("the master as an old broker", register(*ALL, counter=7)),
        ("the master leaves again", unregister("h:1", 0)),
        ("a slave became master", register(*ALL, address="h:3", counter=8, state_version=3, acting=True)),
        ("the old master comes late", register(*ALL, counter=9, state_version=2, acting=True)),
        ("a newer master", register(*ALL, counter=9, state_version=4, acting=True)),
        ("missing topics leave", ask(318, b"deleteTopicWithBrokerRegistration=true\n")),
        ("fewer topics", register("B", "X", counter=10, state_version=4)),
        ("missing topics stay", ask(318, b"deleteTopicWithBrokerRegistration=false\n")),
        ("a broker of a zone", register("A", "B", name="za", address="z:1", __ZONE_NAME="za")),
        ("one of another", register("A", "B", name="zb", address="z:2", __ZONE_NAME="zb")),
        ("order configuration", ask(100, namespace="ORDER_TOPIC_CONFIG", key="A", value="za:4")),
        ("told to clients", ask(318, b"orderMessageEnable=true\n")),
        ("told to brokers", register("A", "B", name="za", address="z:1", __ZONE_NAME="za")),
        ("a silent one", register("A", "B", name="q", address="q:1", heartbeatTimeoutMillis="60000")),
        ("unknown leaves", unregister("h:77", 0)),
    ]
    questions = [
        ("all topics", ask(206)),
        ("system topics", ask(304)),
        ("of a cluster", ask(224, cluster="C1")),
        ("unit", ask(311)),
        ("unit sub", ask(312)),
        ("unit sub and not unit", ask(313)),
        ("cluster info", ask(106)),
        ("members", ask(901, clusterName="C1", brokerName="m")),
        ("no members", ask(901, clusterName="C1", brokerName="nobody")),
        ("zone", ask(105, topic="A", __ZONE_NAME="ZA", __ZONE_MODE="true")),
        ("no zone", ask(105, topic="A", __ZONE_NAME="ZA", __ZONE_MODE="no")),
        ("empty zone", ask(105, topic="A", __ZONE_NAME="zc", __ZONE_MODE="true")),
        ("heartbeat", ask(904, clusterName="C1", brokerAddr="h:1", brokerName="m")),
        ("same version", query(10, 4)),
        ("other version", query(11, 4)),
        ("unknown broker", ask(322, b"{}", brokerName="m", brokerAddr="h:9", clusterName="C1", brokerId="0")),
        ("a key", ask(101, namespace="ORDER_TOPIC_CONFIG", key="A")),
        ("no key", ask(101, namespace="ORDER_TOPIC_CONFIG", key="B")),
        ("no namespace", ask(219, namespace="none")),
        ("keys", ask(219, namespace="ORDER_TOPIC_CONFIG")),
        ("delete", ask(102, namespace="ORDER_TOPIC_CONFIG", key="A")),
        ("no keys", ask(219, namespace="ORDER_TOPIC_CONFIG")),
        ("lists off", ask(318, b"enableTopicList=false\nenableAllTopicList=false\n")),
        ("all topics off", ask(206)),
        ("of a cluster off", ask(224, cluster="C1")),
        ("forbidden", ask(318, b"kvConfigPath=/elsewhere\n")),
        ("unknown code", ask(9999)),
    ]
    told = []
    for label, command in changes:
        told.append((label, command))
        told += [(f"{label}: {topic}", ask(105, topic=topic)) for topic in (*ALL, "N", "S", "X")]
        told.append((f"{label}: A for an old client", ask(105, topic="A", version=400)))
    return told + questions


def query(counter: int, state_version: int) -> Command:
    version = json.dumps({"counter": counter, "stateVersion": state_version, "timestamp": 1}).encode()
    return ask(322, version, brokerName="m", brokerAddr="h:1", clusterName="C1", brokerId="0")


def canonical(value: object) -> object:
    """JSON without the order of lists, which Java's hash tables make up."""
    if isinstance(value, dict):
        return {key: canonical(item) for key, item in sorted(value.items())}
    if isinstance(value, list):
        return sorted((canonical(item) for item in value), key=json.dumps)
    return value


async def answers(address: str) -> list[tuple[str, int, dict[str, str], object]]:
    client = RemotingClient()
    found = []
    for label, command in conversation():
        answer = await client.invoke(address, command, 10_000)
        if label.endswith(("leaves", "again")):
            await asyncio.sleep(0.5)  # Java answers before its unregistration thread has done it
        found.append((label, answer.code, answer.ext, canonical(parse_json(answer.body or b"null"))))
    await client.close()
    return found


ONLY_JAVA = {
    "system topics": "which broker it names",
    "cluster info": "a name whose only registration was refused stays there for ever",
    "no JSON": "the code: Java calls it an error of its own",
}


def test_the_same_conversation(java_name_server: NameServerProgram, tmp_path: Path) -> None:
    async def test() -> None:
        async with our_name_server(tmp_path) as address:
            ours = await answers(address)
        theirs = await answers(java_name_server.address)
        for mine, java in zip(ours, theirs, strict=True):
            if mine[0] not in ONLY_JAVA:
                assert mine == java

    run(test())


def test_a_java_broker_killed_leaves_our_routes(java: JavaPrograms, tmp_path: Path) -> None:
    async def test() -> None:
        async with our_name_server(tmp_path / "namesrv") as address:
            broker = Broker("java", tmp_path / "broker", java, address)
            await asyncio.get_running_loop().run_in_executor(None, broker.start)
            client = RemotingClient()

            async def route() -> TopicRouteData | None:
                answer = await client.invoke(address, request(105, GetRouteInfo("TBW102")))
                found = answer.code == ResponseCode.SUCCESS
                return decode_json(TopicRouteData, answer.body) if found else None

            known = await until(route)
            assert known.broker_datas[0].broker_addrs == {0: broker.address}
            broker.kill()
            await until_not(route)
            await client.close()

    run(test())


@pytest.mark.parametrize("compressed", [False, True])
def test_our_registrar_at_a_java_name_server(java_name_server: NameServerProgram, compressed: bool) -> None:
    async def test() -> None:
        address = java_name_server.address
        client = RemotingClient()

        async def route(topic: str) -> bytes:
            return (await client.invoke(address, request(105, GetRouteInfo(topic)))).body

        config = BrokerConfig(broker_name="ours", namesrv_addr=address, compressed_register=compressed)
        topics = TopicTable(config, 1)
        registrar = Registrar(config, topics, RemotingClient(), "127.0.0.1:10911", "127.0.0.1:10912")
        await registrar.start(wait_ms=10_000)
        assert b'"brokerAddrs":{"0":"127.0.0.1:10911"}' in await route("TBW102")
        topics.update(TopicConfig(topic_name="N"), 2)
        await until(lambda: route("N"))
        await registrar.stop()
        await until_not(lambda: route("N"))
        await client.close()

    run(test())
