"""Whatever brokers say in whatever order, the route table keeps its invariants and answers what it heard."""

from contextlib import suppress

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ledgermq.nameserver.registration import Registration, RouteLimits
from ledgermq.nameserver.routes import RouteTable
from ledgermq.remoting.command import PeerError
from ledgermq.remoting.route_data import QueueData, QueueMapping
from ledgermq.remoting.topic_config import DataVersion, TopicConfig

clusters = st.sampled_from(["C", "D"])
broker_names = st.sampled_from(["a", "b", "c"])
addresses = st.sampled_from(["h:1", "h:2", "h:3", "h:4"])
topic_names = st.sampled_from(["A", "B", "T", "rmq_sys_SYNC_BROKER_MEMBER_a"])
connections = st.sampled_from(["x", "y", "z"])
topic_sets = st.sets(topic_names).map(lambda names: {n: TopicConfig(topic_name=n) for n in sorted(names)})


class RouteMachine(RuleBasedStateMachine):
    """Few names, so that claims collide."""

    @initialize()
    def begin(self) -> None:
        self.table = RouteTable(RouteLimits(brokers=8, topics_per_broker=3, queue_datas=9))
        self.now_ms = 0

    @rule(
        cluster=clusters,
        name=broker_names,
        address=addresses,
        broker_id=st.integers(0, 2),
        acting=st.sampled_from([None, False, True]),
        state_version=st.integers(0, 2),
        topics=topic_sets,
        mapped=st.sets(topic_names, max_size=1),
        connection=connections,
        delete_missing=st.booleans(),
    )
    def register(
        self,
        cluster: str,
        name: str,
        address: str,
        broker_id: int,
        acting: bool | None,
        state_version: int,
        topics: dict[str, TopicConfig],
        mapped: set[str],
        connection: str,
        delete_missing: bool,
    ) -> None:
        told = Registration(
            cluster=cluster,
            broker_name=name,
            address=address,
            broker_id=broker_id,
            acting_master=acting,
            data_version=DataVersion(state_version=state_version),
            topics=topics,
            mappings={topic: QueueMapping(bname=name, topic=topic) for topic in mapped},
        )
        try:
            done = self.table.register(told, connection, self.now_ms, delete_missing_topics=delete_missing)
        except PeerError:
            return
        addresses_now = self.table.member_group(cluster, name).broker_addrs
        if done.ignored is None:
            assert addresses_now[broker_id] == address
        else:
            assert address not in addresses_now.values()

    @rule(name=broker_names, address=addresses)
    def unregister(self, name: str, address: str) -> None:
        self.table.unregister(name, address)
        assert address not in self.table.member_group("C", name).broker_addrs.values()

    @rule(connection=connections)
    def close(self, connection: str) -> None:
        self.table.connection_closed(connection)

    @rule(passed_ms=st.integers(0, 130_000))
    def expire(self, passed_ms: int) -> None:
        self.now_ms += passed_ms
        self.table.expire(self.now_ms)

    @rule(name=broker_names, address=addresses)
    def touch(self, name: str, address: str) -> None:
        self.table.touch(name, address, self.now_ms)

    @rule(topic=topic_names, cluster=st.none() | clusters)
    def delete_topic(self, topic: str, cluster: str | None) -> None:
        self.table.delete_topic(topic, cluster)

    @rule(topic=topic_names, name=broker_names)
    def register_topic(self, topic: str, name: str) -> None:
        with suppress(PeerError):
            self.table.register_topic(topic, [QueueData(broker_name=name)])

    @rule(name=broker_names, allowed=st.booleans())
    def set_permission(self, name: str, allowed: bool) -> None:
        self.table.set_write_permission(name, allowed=allowed)

    @invariant()
    def holds(self) -> None:
        self.table.check_invariants()
        for topic in self.table.all_topics().topic_list:
            for acting in (False, True):
                route = self.table.route(topic, acting_master=acting)
                assert route is not None
                names = [data.broker_name for data in route.queue_datas]
                assert [broker.broker_name for broker in route.broker_datas] == names
                assert all(broker.broker_addrs for broker in route.broker_datas)


TestRoutes = pytest.mark.slow(RouteMachine.TestCase)
TestRoutes.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
