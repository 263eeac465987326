"""Name servers and brokers of both makers in one cluster: who registers where must not matter to a client.

Two name servers (one Java's, one ours) and two brokers (one Java's, one ours), each broker registered at both
name servers, as a team would have them that replaces one machine at a time.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from tests.interop.conftest import TARGETS
from tests.interop.harness.cluster import Broker, Cluster, JavaPrograms, Maker, NameServer, tracebacks
from tests.interop.harness.driver import Driver, Queue, message
from tests.interop.harness.mqadmin import Mqadmin
from tests.interop.harness.programs import eventually

Unique = Callable[[str], str]

# Makers of (name server 0, name server 1, broker-a, broker-b).
MIXED: list[tuple[Maker, Maker, Maker, Maker]] = []
if "ledgermq" in TARGETS:
    MIXED += [("java", "ledgermq", "java", "ledgermq")]
if "java" in TARGETS:
    MIXED += [("java", "java", "java", "java")]

BROKER_NAMES = ("broker-a", "broker-b")


class Mixed:
    """Two name servers and two brokers."""

    def __init__(self, name_servers: list[NameServer], brokers: list[Broker], driver: Driver) -> None:
        self.name_servers = name_servers
        self.brokers = brokers
        self.driver = driver

    @property
    def namesrv(self) -> str:
        return ";".join(name_server.address for name_server in self.name_servers)

    def new_topic(self, topic: str) -> list[Queue]:
        """Two queues on each broker, with the routes known everywhere."""
        queues: list[Queue] = []
        for broker in self.brokers:
            queues += self.driver.new_topic(Cluster(self.name_servers[0], broker), topic, 2)
        self.wait_for_brokers_of(topic, BROKER_NAMES)
        return queues

    def wait_for_brokers_of(self, topic: str, names: Sequence[str], timeout_s: float = 40) -> None:
        """Until both name servers route the topic to exactly these brokers."""

        def look() -> bool:
            return all(sorted(self.brokers_of(topic, server)) == list(names) for server in self.name_servers)

        eventually(look, timeout_s, what=f"{topic} on {names}")

    def brokers_of(self, topic: str, name_server: NameServer) -> list[str]:
        route = self.driver.route(name_server.address, topic)
        return [data["brokerName"] for data in route["brokerDatas"]] if route else []


@pytest.fixture(scope="module", params=MIXED, ids="-".join)
def mixed(
    request: pytest.FixtureRequest,
    java: JavaPrograms,
    json_driver: Driver,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Mixed]:
    folder = tmp_path_factory.mktemp("mixed")
    makers = request.param
    name_servers = [NameServer(maker, folder / f"namesrv-{i}", java) for i, maker in enumerate(makers[:2])]
    addresses = ";".join(name_server.address for name_server in name_servers)
    brokers = [
        Broker(maker, folder / name, java, addresses, {"brokerName": name, "flushDiskType": "SYNC_FLUSH"})
        for maker, name in zip(makers[2:], BROKER_NAMES, strict=True)
    ]
    servers: list[NameServer | Broker] = [*name_servers, *brokers]
    try:
        for server in servers:
            server.start()
        for name_server in name_servers:
            for name in BROKER_NAMES:
                json_driver.wait_for_broker(name_server.address, name)
        yield Mixed(name_servers, brokers, json_driver)
    finally:
        for name_server in name_servers:
            json_driver.forget(name_server.address)
        for server in servers:
            server.kill()
    assert not tracebacks(folder)


def normal(value: Any) -> Any:
    """JSON data with its lists in one order: the makers walk their tables differently."""
    if isinstance(value, dict):
        return {key: normal(item) for key, item in value.items()}
    if isinstance(value, list):
        return sorted((normal(item) for item in value), key=lambda item: json.dumps(item, sort_keys=True))
    return value


def test_both_name_servers_list_both_brokers(mixed: Mixed) -> None:
    tables = []
    for name_server in mixed.name_servers:
        info = mixed.driver.call("admin.clusterInfo", namesrv=name_server.address)
        assert sorted(info["clusterAddrTable"]["DefaultCluster"]) == list(BROKER_NAMES)
        for broker in mixed.brokers:
            data = info["brokerAddrTable"][broker.name]
            assert data["cluster"] == "DefaultCluster"
            assert data["brokerAddrs"] == {"0": broker.address}
        tables.append(normal(info))
    assert tables[0] == tables[1]


def test_both_name_servers_give_the_same_routes(mixed: Mixed, unique: Unique) -> None:
    topic = unique("mixed-route")
    mixed.new_topic(topic)
    routes = [normal(mixed.driver.route(name_server.address, topic)) for name_server in mixed.name_servers]
    assert routes[0] == routes[1]
    topics = [set(Mqadmin(mixed.driver, ns.address).run("topicList").split()) for ns in mixed.name_servers]
    assert topic in topics[0] & topics[1]
    assert topics[0] == topics[1]


def test_clients_of_either_name_server_use_both_brokers(mixed: Mixed, unique: Unique) -> None:
    topic = unique("mixed-send")
    queues = mixed.new_topic(topic)
    for name_server in mixed.name_servers:
        with mixed.driver.producer(name_server.address, "mixed-p") as producer:
            results = producer.send(topic, [message(f"{name_server.maker} {i}") for i in range(16)])
        assert Counter(result.queue for result in results) == Counter(dict.fromkeys(queues, 4))
    for name_server in mixed.name_servers:
        with mixed.driver.push_consumer(name_server.address, unique("mixed-c"), {topic: "*"}) as consumer:
            received = consumer.poll(32)
        assert len({m.msg_id for m in received}) == len(received) == 32
        assert {m.broker for m in received} == set(BROKER_NAMES)


def test_consumers_share_queues_over_both_brokers(mixed: Mixed, unique: Unique) -> None:
    topic, group = unique("mixed-share"), unique("mixed-c")
    queues = set(mixed.new_topic(topic))
    with (
        mixed.driver.push_consumer(mixed.name_servers[0].address, group, {topic: "*"}) as first,
        mixed.driver.push_consumer(mixed.name_servers[1].address, group, {topic: "*"}) as second,
    ):

        def shared() -> bool:
            by_first = {queue for queue in first.queues() if queue.topic == topic}
            by_second = {queue for queue in second.queues() if queue.topic == topic}
            return len(by_first) == len(by_second) == 2 and by_first | by_second == queues

        eventually(shared, 40, what="two queues for each consumer")


def test_write_permission_and_topics_are_changed_at_either(mixed: Mixed, unique: Unique) -> None:
    topic = unique("mixed-perm")
    mixed.new_topic(topic)
    for name_server in mixed.name_servers:
        mqadmin = Mqadmin(mixed.driver, name_server.address)

        def perms(address: str = name_server.address) -> dict[str, int]:
            route = mixed.driver.route(address, topic)
            assert route is not None
            return {data["brokerName"]: data["perm"] for data in route["queueDatas"]}

        for name in BROKER_NAMES:
            mqadmin.run("wipeWritePerm", "-b", name)
            assert perms()[name] == 4
            mqadmin.run("addWritePerm", "-b", name)
            assert perms()[name] == 6
    mqadmin = Mqadmin(mixed.driver, mixed.namesrv)
    mqadmin.run("deleteTopic", "-c", "DefaultCluster", "-t", topic)
    mixed.wait_for_brokers_of(topic, [])


@pytest.mark.parametrize("broker_index", [0, 1], ids=BROKER_NAMES)
def test_a_broker_that_dies_is_gone_and_comes_back(mixed: Mixed, unique: Unique, broker_index: int) -> None:
    topic, broker = unique("mixed-dies"), mixed.brokers[broker_index]
    [survivor] = [other.name for other in mixed.brokers if other is not broker]
    mixed.new_topic(topic)
    broker.kill()
    # Its connections are closed: the name servers need not wait for a missing heartbeat.
    mixed.wait_for_brokers_of(topic, [survivor], timeout_s=15)
    broker.start()
    mixed.wait_for_brokers_of(topic, BROKER_NAMES)
    with mixed.driver.producer(mixed.namesrv, "mixed-p") as producer:
        results = producer.send(topic, [message("again") for _ in range(4)])
    assert {result.queue.broker for result in results} == set(BROKER_NAMES)


def test_a_broker_that_stops_unregisters(mixed: Mixed, unique: Unique) -> None:
    topic, broker = unique("mixed-stops"), mixed.brokers[1]
    mixed.new_topic(topic)
    broker.stop()
    try:
        for name_server in mixed.name_servers:
            assert mixed.brokers_of(topic, name_server) == ["broker-a"]
    finally:
        broker.start()
        for name_server in mixed.name_servers:
            mixed.driver.wait_for_broker(name_server.address, broker.name)
