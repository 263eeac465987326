"""The rules of the route table, one test each; its invariants are checked after every test."""

from collections.abc import Iterator
from typing import Any

import pytest

from ledgermq.nameserver.registration import Departed, MinIdNotice, Registered, Registration, RouteLimits
from ledgermq.nameserver.routes import LIVE_TIMEOUT_MS, RouteTable, filter_zone
from ledgermq.remoting.codes import ResponseCode
from ledgermq.remoting.command import PeerError
from ledgermq.remoting.route_data import BrokerData, QueueData, QueueMapping
from ledgermq.remoting.topic_config import DataVersion, TopicConfig

MASTER = "10.0.0.1:10911"
SLAVE = "10.0.0.2:10911"
OTHER = "10.0.0.3:10911"
NOW_MS = 1_000_000


def topics(*names: str, **fields: Any) -> dict[str, TopicConfig]:
    return {
        name: TopicConfig(topic_name=name, read_queue_nums=4, write_queue_nums=4, **fields) for name in names
    }


def told(**fields: Any) -> Registration:
    """A master with the topics A and B, unless ``fields`` say otherwise."""
    base: dict[str, Any] = {
        "cluster": "C",
        "broker_name": "a",
        "address": MASTER,
        "broker_id": 0,
        "ha_address": "10.0.0.1:10912",
        "data_version": DataVersion(counter=1, timestamp=1),
        "topics": topics("A", "B"),
    }
    return Registration(**(base | fields))


def slave(**fields: Any) -> Registration:
    return told(**({"address": SLAVE, "broker_id": 1, "ha_address": "10.0.0.2:10912"} | fields))


class Routes:
    """A table at a clock that stands still, with short names for what the tests do."""

    def __init__(self, limits: RouteLimits | None = None) -> None:
        self.table = RouteTable(limits)

    def register(self, registration: Registration, connection: object = None, **flags: bool) -> Registered:
        return self.table.register(registration, connection, NOW_MS, **flags)

    def refuse(self, registration: Registration) -> PeerError:
        before = self.table.cluster_info(), self.table.all_topics()
        with pytest.raises(PeerError) as caught:
            self.register(registration)
        assert (self.table.cluster_info(), self.table.all_topics()) == before
        return caught.value

    def addresses(self, topic: str, *, acting: bool = False) -> dict[str, dict[int, str]] | None:
        route = self.table.route(topic, acting_master=acting)
        return None if route is None else {b.broker_name: b.broker_addrs for b in route.broker_datas}

    def perm(self, topic: str, broker_name: str = "a") -> int:
        route = self.table.route(topic)
        assert route is not None
        return next(data.perm for data in route.queue_datas if data.broker_name == broker_name)


@pytest.fixture
def routes() -> Iterator[Routes]:
    made = Routes()
    yield made
    made.table.check_invariants()


# ---- registering ----


def test_a_route_names_brokers_and_queues(routes: Routes) -> None:
    assert routes.register(told()) == Registered()
    route = routes.table.route("A")
    assert route is not None
    assert route.broker_datas == [BrokerData(broker_name="a", cluster="C", broker_addrs={0: MASTER})]
    assert route.queue_datas == [QueueData(broker_name="a", perm=6, read_queue_nums=4, write_queue_nums=4)]
    assert route.filter_server_table == {}
    assert route.topic_queue_mapping_by_broker is None
    assert routes.table.route("nope") is None


def test_a_slave_learns_its_master(routes: Routes) -> None:
    routes.register(told())
    assert routes.register(slave()) == Registered(master_address=MASTER, ha_address="10.0.0.1:10912")
    assert routes.addresses("A") == {"a": {0: MASTER, 1: SLAVE}}


def test_addresses_are_sorted_by_id_and_brokers_by_name(routes: Routes) -> None:
    routes.register(told(broker_name="z", address=OTHER))
    routes.register(slave())
    routes.register(told())
    assert str(routes.addresses("A")) == str({"a": {0: MASTER, 1: SLAVE}, "z": {0: OTHER}})


def test_a_slave_brings_no_topics(routes: Routes) -> None:
    routes.register(slave(acting_master=None))
    assert routes.table.route("A") is None
    routes.register(told(topics=topics("A", "B")))
    routes.register(slave(acting_master=True, topics=topics("C", "D")))
    assert routes.table.all_topics().topic_list == ["A", "B"]


def test_a_changed_topic_replaces_the_old_one(routes: Routes) -> None:
    routes.register(told())
    routes.register(told(topics=topics("A", "B", perm=4), data_version=DataVersion(counter=2)))
    assert routes.perm("A") == 4


def test_an_unchanged_version_changes_no_topic(routes: Routes) -> None:
    routes.register(told())
    routes.register(told(topics=topics("A", "B", perm=4)))
    assert routes.perm("A") == 6


def test_an_unchanged_version_restores_a_topic_deleted_here(routes: Routes) -> None:
    routes.register(told())
    routes.table.delete_topic("A")
    routes.register(told())
    assert routes.addresses("A") == {"a": {0: MASTER}}


def test_an_increment_keeps_the_other_topics(routes: Routes) -> None:
    routes.register(told())
    routes.register(told(topics=topics("N"), data_version=DataVersion(counter=2)))
    assert routes.table.all_topics().topic_list == ["A", "B", "N"]


def test_missing_topics_leave_when_that_is_switched_on(routes: Routes) -> None:
    routes.register(told())
    routes.register(told(broker_name="z", address=OTHER, topics=topics("A", "Z")))
    routes.register(told(topics=topics("B", "N")), delete_missing_topics=True)
    assert routes.addresses("A") == {"z": {0: OTHER}}
    assert routes.table.all_topics().topic_list == ["A", "B", "Z", "N"]


def test_static_topics_are_not_deleted_by_what_is_missing(routes: Routes) -> None:
    routes.register(told())
    mapping = QueueMapping(bname="a", topic="B")
    routes.register(told(topics=topics("B", "N"), mappings={"B": mapping}), delete_missing_topics=True)
    assert routes.addresses("A") == {"a": {0: MASTER}}


def test_an_increment_of_an_unknown_broker_is_refused(routes: Routes) -> None:
    error = routes.refuse(told(topics=topics("N")))
    assert error.code == ResponseCode.SYSTEM_ERROR
    assert error.remark.startswith("register broker failed: brokerName=a brokerId=0")
    routes.register(told())
    routes.refuse(slave(topics=topics("N")))


def test_no_topics_at_all_are_accepted(routes: Routes) -> None:
    routes.register(told(topics={}))
    assert routes.table.all_topics().topic_list == []
    assert routes.table.system_topics().topic_list == ["C", "a"]


def test_static_mappings_are_part_of_the_route_and_leave_with_it(routes: Routes) -> None:
    mapping = QueueMapping(bname="a", topic="A", total_queues=2, curr_id_map={0: 0})
    lost = QueueMapping(bname="a", topic="not-a-topic")
    routes.register(told(mappings={"A": mapping, "not-a-topic": lost}))
    route = routes.table.route("A")
    assert route is not None
    assert route.topic_queue_mapping_by_broker == {"a": mapping}
    routes.table.delete_topic("A")
    routes.register(told())
    route = routes.table.route("A")
    assert route is not None
    assert route.topic_queue_mapping_by_broker is None
    routes.register(told(mappings={"A": mapping}))
    route = routes.table.route("A")
    assert route is not None
    assert route.topic_queue_mapping_by_broker == {"a": mapping}


def test_filter_servers_follow_their_broker(routes: Routes) -> None:
    routes.register(told(filter_servers=["f:1"]))
    routes.register(told())
    route = routes.table.route("A")
    assert route is not None
    assert route.filter_server_table == {MASTER: ["f:1"]}
    routes.register(told(filter_servers=[]))
    route = routes.table.route("A")
    assert route is not None
    assert route.filter_server_table == {}


# ---- two claims to one place ----


def test_a_slave_that_became_master_has_one_address(routes: Routes) -> None:
    routes.register(slave())
    routes.register(told(address=SLAVE))
    assert routes.addresses("A") == {"a": {0: SLAVE}}


def test_the_larger_state_version_keeps_the_id(routes: Routes) -> None:
    routes.register(told(data_version=DataVersion(state_version=2)))
    answer = routes.register(told(address=OTHER, data_version=DataVersion(state_version=1)))
    assert answer.ignored == (f"brokerName=a brokerId=0 is at {MASTER} with stateVersion 2; {OTHER} has 1")
    assert routes.addresses("A") == {"a": {0: MASTER}}
    assert routes.table.data_version("a", OTHER) is None


def test_a_stale_claim_takes_the_claimant_out(routes: Routes) -> None:
    routes.register(told(data_version=DataVersion(state_version=2)))
    routes.register(slave(data_version=DataVersion(state_version=1)))
    assert routes.register(told(address=SLAVE, data_version=DataVersion(state_version=1))).ignored is not None
    assert routes.addresses("A") == {"a": {0: MASTER}}


def test_an_equal_state_version_takes_the_id_over(routes: Routes) -> None:
    routes.register(told(), connection="first")
    routes.register(told(address=OTHER), connection="second")
    assert routes.addresses("A") == {"a": {0: OTHER}}
    assert routes.table.connection_closed("first").brokers == [("a", MASTER)]
    assert routes.addresses("A") == {"a": {0: OTHER}}


def test_who_lost_its_place_leaves_with_the_name(routes: Routes) -> None:
    routes.register(told())
    routes.register(told(address=OTHER))
    routes.table.unregister("a", OTHER)
    assert routes.table.data_version("a", MASTER) is None


def test_a_name_may_move_to_another_cluster(routes: Routes) -> None:
    routes.register(told())
    routes.register(told(cluster="D"))
    assert routes.table.cluster_info().cluster_addr_table == {"C": ["a"], "D": ["a"]}
    routes.table.unregister("a", MASTER)
    assert routes.table.cluster_info().cluster_addr_table == {}


# ---- leaving ----


def test_unregistering_takes_everything_along(routes: Routes) -> None:
    routes.register(told())
    assert routes.table.unregister("a", MASTER) == Departed([("a", MASTER)], [], [])
    assert routes.table.route("A") is None
    assert routes.table.all_topics().topic_list == []
    assert routes.table.cluster_info().broker_addr_table == {}


def test_unregistering_the_unknown_does_nothing(routes: Routes) -> None:
    routes.register(told())
    assert routes.table.unregister("a", OTHER).brokers == []
    assert routes.table.unregister("z", MASTER).brokers == []
    assert routes.addresses("A") == {"a": {0: MASTER}}


def test_a_master_leaves_its_slave_behind(routes: Routes) -> None:
    routes.register(told())
    routes.register(slave())
    routes.table.unregister("a", MASTER)
    assert routes.addresses("A") == {"a": {1: SLAVE}}
    assert routes.perm("A") == 6


def test_a_closed_connection_takes_all_its_brokers(routes: Routes) -> None:
    container = object()
    routes.register(told(), container)
    routes.register(told(broker_name="z", address=OTHER), container)
    routes.register(told(broker_name="q", address="10.0.0.9:1"), object())
    assert routes.table.connection_closed(container).brokers == [("a", MASTER), ("z", OTHER)]
    assert routes.addresses("A") == {"q": {0: "10.0.0.9:1"}}


def test_an_old_connection_takes_nothing(routes: Routes) -> None:
    routes.register(told(), "old")
    routes.register(told(), "new")
    assert routes.table.connection_closed("old").brokers == []
    assert routes.addresses("A") == {"a": {0: MASTER}}


def test_silence_expires(routes: Routes) -> None:
    routes.register(told(), "one")
    routes.register(told(broker_name="z", address=OTHER, timeout_ms=1000), "two")
    assert routes.table.expire(NOW_MS + 1000).brokers == []
    assert routes.table.expire(NOW_MS + 1001) == Departed([("z", OTHER)], ["two"], [])
    assert routes.table.expire(NOW_MS + LIVE_TIMEOUT_MS).brokers == []
    assert routes.table.expire(NOW_MS + LIVE_TIMEOUT_MS + 1).brokers == [("a", MASTER)]
    assert routes.table.route("A") is None


def test_a_sign_of_life_postpones_the_expiry(routes: Routes) -> None:
    routes.register(told())
    routes.table.touch("a", MASTER, NOW_MS + LIVE_TIMEOUT_MS)
    routes.table.touch("a", OTHER, NOW_MS)
    assert routes.table.expire(NOW_MS + LIVE_TIMEOUT_MS + 1).brokers == []
    assert routes.table.expire(NOW_MS + 2 * LIVE_TIMEOUT_MS + 1).brokers == [("a", MASTER)]


def test_the_version_last_registered(routes: Routes) -> None:
    routes.register(told())
    assert routes.table.data_version("a", MASTER) == DataVersion(counter=1, timestamp=1)
    assert routes.table.data_version("a", OTHER) is None


# ---- a slave that acts for its master ----


def test_without_a_master_the_topics_become_read_only(routes: Routes) -> None:
    routes.register(told(acting_master=True))
    routes.register(slave(acting_master=True))
    routes.table.unregister("a", MASTER)
    assert routes.perm("A") == 4
    assert routes.addresses("A") == {"a": {1: SLAVE}}
    assert routes.addresses("A", acting=True) == {"a": {0: SLAVE}}


def test_the_smallest_slave_registers_read_only_topics(routes: Routes) -> None:
    routes.register(slave(acting_master=True))
    assert routes.perm("A") == 4
    routes.register(told(acting_master=True))
    assert routes.perm("A") == 6
    assert routes.addresses("A", acting=True) == {"a": {0: MASTER, 1: SLAVE}}


def test_a_smallest_slave_that_may_not_act_keeps_the_permission(routes: Routes) -> None:
    routes.register(slave(acting_master=False))
    assert routes.perm("A") == 6
    assert routes.addresses("A", acting=True) == {"a": {1: SLAVE}}


def test_the_member_topic_shows_the_truth(routes: Routes) -> None:
    member = "rmq_sys_SYNC_BROKER_MEMBER_a"
    routes.register(slave(acting_master=True, topics=topics(member, "A")))
    assert routes.addresses(member, acting=True) == {"a": {1: SLAVE}}


def test_notice_when_a_smaller_id_comes(routes: Routes) -> None:
    routes.register(slave())
    notice = routes.register(told()).notice
    assert notice == MinIdNotice(0, MASTER, None, "10.0.0.1:10912", [SLAVE])
    assert routes.register(told()).notice is None
    assert routes.register(slave()).notice is None


def test_notice_when_the_smallest_id_leaves(routes: Routes) -> None:
    routes.register(told(acting_master=True))
    routes.register(slave(acting_master=True))
    routes.register(slave(acting_master=True, broker_id=2, address=OTHER))
    assert routes.table.unregister("a", OTHER).notices == []
    assert routes.table.unregister("a", MASTER).notices == [MinIdNotice(1, SLAVE, MASTER, None, [SLAVE])]


def test_no_notice_where_nobody_may_act(routes: Routes) -> None:
    routes.register(told())
    routes.register(slave())
    assert routes.table.unregister("a", MASTER).notices == []


# ---- topics ----


def test_deleting_a_topic_of_one_cluster(routes: Routes) -> None:
    routes.register(told())
    routes.register(told(cluster="D", broker_name="z", address=OTHER))
    routes.table.delete_topic("A", "nope")
    assert routes.addresses("A") == {"a": {0: MASTER}, "z": {0: OTHER}}
    routes.table.delete_topic("A", "D")
    assert routes.addresses("A") == {"a": {0: MASTER}}
    routes.table.delete_topic("A")
    assert routes.addresses("A") is None
    routes.table.delete_topic("A")


def test_a_single_topic_of_a_registered_broker(routes: Routes) -> None:
    routes.register(told())
    routes.table.register_topic("N", [QueueData(broker_name="a", perm=4)])
    assert routes.perm("N") == 4
    with pytest.raises(PeerError, match="brokerName='z' is not registered here"):
        routes.table.register_topic("M", [QueueData(broker_name="a"), QueueData(broker_name="z")])
    assert routes.table.route("M") is None


def test_write_permission(routes: Routes) -> None:
    routes.register(told(topics=topics("A", "B", perm=7)))
    assert routes.table.set_write_permission("a", allowed=False) == 2
    assert routes.perm("A") == 5
    routes.register(told(topics=topics("A", "B", perm=7)))
    assert routes.perm("A") == 5
    assert routes.table.set_write_permission("a", allowed=True) == 2
    assert routes.perm("A") == 6
    assert routes.table.set_write_permission("nope", allowed=True) == 0


# ---- lists ----


def test_lists(routes: Routes) -> None:
    routes.register(told())
    routes.register(told(cluster="D", broker_name="z", address=OTHER, topics=topics("A", "Z")))
    table = routes.table
    assert table.all_topics().topic_list == ["A", "B", "Z"]
    assert table.topics_of_cluster("D").topic_list == ["A", "Z"]
    assert table.topics_of_cluster("nope").topic_list == []
    assert table.system_topics().topic_list == ["C", "D", "a", "z"]
    assert table.system_topics().broker_addr == MASTER
    info = table.cluster_info()
    assert info.cluster_addr_table == {"C": ["a"], "D": ["z"]}
    assert info.broker_addr_table["z"] == BrokerData(broker_name="z", cluster="D", broker_addrs={0: OTHER})
    assert table.member_group("C", "a").broker_addrs == {0: MASTER}
    assert table.member_group("C", "nope").broker_addrs == {}


def test_unit_lists(routes: Routes) -> None:
    flags = {"none": 0, "unit": 1, "sub": 2, "both": 3}
    configs = {n: TopicConfig(topic_name=n, topic_sys_flag=flag) for n, flag in flags.items()}
    routes.register(told(topics=configs))
    assert routes.table.unit_topics(unit=True).topic_list == ["unit", "both"]
    assert routes.table.unit_topics(unit_sub=True).topic_list == ["sub", "both"]
    assert routes.table.unit_topics(unit=False, unit_sub=True).topic_list == ["sub"]


def test_what_is_answered_is_not_the_table_itself(routes: Routes) -> None:
    routes.register(told())
    info = routes.table.cluster_info()
    info.broker_addr_table["a"].broker_addrs.clear()
    assert routes.addresses("A") == {"a": {0: MASTER}}


# ---- zones ----


def test_a_zone_hides_the_masters_of_others(routes: Routes) -> None:
    routes.register(told(zone="here", filter_servers=["f:1"]))
    routes.register(told(zone="there", broker_name="z", address=OTHER, filter_servers=["f:2"]))
    routes.register(told(zone="there", broker_name="y", address="10.0.0.8:1", topics=topics("A", "B")))
    routes.register(slave(zone="there", broker_name="y", address="10.0.0.9:1"))
    routes.table.unregister("y", "10.0.0.8:1")
    route = routes.table.route("A")
    assert route is not None
    here = filter_zone(route, "HERE")
    assert [broker.broker_name for broker in here.broker_datas] == ["a", "y"]
    assert [data.broker_name for data in here.queue_datas] == ["a", "y"]
    assert here.filter_server_table == {MASTER: ["f:1"]}


# ---- limits ----


@pytest.mark.parametrize(
    ("fields", "remark"),
    [
        ({"broker_name": ""}, "brokerName='' has 0 characters, allowed are 1..512"),
        ({"address": "x" * 513}, "brokerAddr='xxxx"),
        ({"cluster": ""}, "clusterName="),
        ({"cluster": "a\nb"}, "clusterName='a\\nb' contains characters that cannot be printed"),
        ({"broker_id": -1}, "brokerId=-1, 0 is the least"),
        ({"timeout_ms": 0}, "heartbeatTimeoutMillis=0, 1 is the least"),
        ({"topics": topics("A", "")}, "topic='' has 0 characters"),
        (
            {"topics": topics("A") | {"B": TopicConfig(topic_name="Q")}},
            "topicName='Q' stands under the key 'B'",
        ),
    ],
)
def test_bad_fields(routes: Routes, fields: dict[str, Any], remark: str) -> None:
    error = routes.refuse(told(**fields))
    assert error.code == ResponseCode.INVALID_PARAMETER
    assert remark in error.remark


def test_limits() -> None:
    routes = Routes(RouteLimits(brokers=2, topics_per_broker=3, queue_datas=4))
    routes.register(told())
    assert "3 is the limit" in routes.refuse(told(topics=topics("A", "B", "C", "D"))).remark
    routes.register(told(broker_name="z", address=OTHER))
    assert "2 brokers" in routes.refuse(slave()).remark
    assert "4 topics of brokers are known, 1 more" in routes.refuse(told(topics=topics("A", "B", "C"))).remark
    with pytest.raises(PeerError, match="exceed the limit of 4"):
        routes.table.register_topic("N", [QueueData(broker_name="a")])
    routes.register(told())
    routes.table.check_invariants()
