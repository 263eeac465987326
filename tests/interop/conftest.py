"""Fixtures of the interop tests, and when they run.

LEDGERMQ_INTEROP=1        runs them (`make interop` sets it); without it the folder is not collected, because
                          they need a JDK, Maven, Go and a package registry
LEDGERMQ_INTEROP_TARGET   comma separated makers of the name server and broker under test: ledgermq (default)
                          or java, which proves the scenarios themselves against the real programs
LEDGERMQ_INTEROP_GROUP=1  has the master of a group of three brokers serve the scenarios for one broker
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.interop.harness import toolchain
from tests.interop.harness.cluster import Cluster, JavaPrograms, Maker, start_cluster, tracebacks
from tests.interop.harness.driver import Driver, Queue
from tests.interop.harness.go_client import GoClient
from tests.interop.harness.mqadmin import Mqadmin
from tests.interop.harness.quorum import new_quorum

if os.environ.get("LEDGERMQ_INTEROP") != "1":
    collect_ignore_glob = ["test_*.py"]

GROUP = os.environ.get("LEDGERMQ_INTEROP_GROUP") == "1"
TARGETS = os.environ.get("LEDGERMQ_INTEROP_TARGET", "ledgermq").split(",")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.interop)
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def java(tmp_path_factory: pytest.TempPathFactory) -> JavaPrograms:
    return JavaPrograms(toolchain.build_java(), tmp_path_factory.mktemp("java-home"))


@pytest.fixture(scope="session", params=TARGETS)
def target(request: pytest.FixtureRequest) -> Maker:
    """Who made the name server and the broker under test."""
    assert request.param in ("java", "ledgermq"), f"LEDGERMQ_INTEROP_TARGET: {request.param!r}"
    maker: Maker = request.param
    return maker


@pytest.fixture(scope="session")
def cluster(
    target: Maker, java: JavaPrograms, json_driver: Driver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """One name server and one broker for the whole session; a test brings its own topics and groups."""
    folder = tmp_path_factory.mktemp(f"{target}-cluster")
    if GROUP:
        quorum = new_quorum(folder, java, json_driver, [target] * 3, name_server=target)
        try:
            quorum.start()
            yield Cluster(quorum.name_server, quorum.wait_for_master().broker)
        finally:
            quorum.close()
        assert not tracebacks(folder)
        return
    cluster = start_cluster(folder, java, broker=target)
    json_driver.wait_for_broker(cluster.namesrv, cluster.broker.name)
    yield cluster
    json_driver.forget(cluster.namesrv)
    if target == "java":
        cluster.kill()  # its clean stop takes a quarter of a minute and proves nothing here
    else:
        cluster.stop()
    assert not tracebacks(folder)


@pytest.fixture(scope="session")
def json_driver(java: JavaPrograms) -> Iterator[Driver]:
    driver = Driver(java, "JSON", java.home / "driver-json.err")
    yield driver
    driver.close()


@pytest.fixture(scope="session")
def binary_driver(java: JavaPrograms) -> Iterator[Driver]:
    driver = Driver(java, "ROCKETMQ", java.home / "driver-binary.err")
    yield driver
    driver.close()


@pytest.fixture
def driver(json_driver: Driver) -> Driver:
    """The stock Java client with its default header encoding."""
    return json_driver


@pytest.fixture(params=["JSON", "ROCKETMQ"])
def either_driver(request: pytest.FixtureRequest) -> Driver:
    """The stock Java client, once with each header encoding."""
    name = "json_driver" if request.param == "JSON" else "binary_driver"
    driver: Driver = request.getfixturevalue(name)
    return driver


@pytest.fixture
def mqadmin(driver: Driver, cluster: Cluster) -> Mqadmin:
    return Mqadmin(driver, cluster.namesrv)


@pytest.fixture(scope="session")
def go_binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    binary = tmp_path_factory.mktemp("go") / "interop"
    toolchain.build_go(binary)
    return binary


@pytest.fixture
def go_client(go_binary: Path, tmp_path: Path) -> GoClient:
    return GoClient(go_binary, tmp_path)


_names = itertools.count(1)


@pytest.fixture
def unique(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Makes a topic or group name that no other test of the session has."""
    return lambda name: f"{name}-{next(_names)}"


TopicMaker = Callable[..., list[Queue]]


@pytest.fixture
def new_topic(driver: Driver, cluster: Cluster, unique: Callable[[str], str]) -> TopicMaker:
    """new_topic(queue_count=4): the queues of a fresh topic that the name server already has a route for."""

    def create(queue_count: int = 4, name: str = "topic") -> list[Queue]:
        return driver.new_topic(cluster, unique(name), queue_count)

    return create
