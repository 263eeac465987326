from collections.abc import Iterator

import pytest

from ledgermq.broker import clients as clients_module
from ledgermq.broker.clients import Client, ClientRegistry
from ledgermq.broker.heartbeat import ConsumerData, SubscriptionData
from ledgermq.remoting.command import PeerError
from ledgermq.runtime.config import BrokerConfig

EXPIRED_MS = BrokerConfig(broker_name="b").channel_expired_timeout
FORGOTTEN_MS = BrokerConfig(broker_name="b").subscription_expired_timeout


class Fixture(ClientRegistry[str]):
    """Connections are single letters, and so are the clients on them."""

    def beat(
        self,
        channel: str,
        group: str = "g",
        *topics: str,
        now_ms: int = 0,
        model: str = "CLUSTERING",
        version: int = 1,
        **options: bool,
    ) -> bool:
        wanted = [SubscriptionData(topic=topic, sub_string="*", sub_version=version) for topic in topics]
        data = ConsumerData(group_name=group, message_model=model, subscription_data_set=wanted)
        options.setdefault("notify", True)
        return self.register_consumer(channel, client(channel), data, now_ms, **options)


def client(channel: str) -> Client:
    return Client(f"client-{channel}", f"10.0.0.1:{ord(channel)}", 0, 513)


@pytest.fixture
def clients() -> Iterator[Fixture]:
    registry = Fixture(BrokerConfig(broker_name="b"))
    yield registry
    registry.check_invariants()


class TestNotifications:
    def test_a_new_member_is_announced_to_all(self, clients):
        assert clients.beat("A", "g", "T")
        assert clients.take_notifications() == [("g", ["A"])]
        assert clients.beat("B", "g", "T")
        assert clients.take_notifications() == [("g", ["A", "B"])]
        assert not clients.beat("A", "g", "T")
        assert clients.take_notifications() == []

    def test_changes_of_one_moment_are_announced_once(self, clients):
        for channel in "ABC":
            clients.beat(channel, "g", "T")
        clients.close("B")
        assert clients.take_notifications() == [("g", ["A", "C"])]

    def test_a_topic_that_comes_or_goes_is_announced(self, clients):
        clients.beat("A", "g", "T")
        clients.take_notifications()
        assert clients.beat("A", "g", "T", "U")
        assert clients.take_notifications() == [("g", ["A"])]
        assert clients.beat("A", "g", "U")
        assert clients.take_notifications() == [("g", ["A"])]

    def test_a_newer_subscription_of_the_same_topic_is_not(self, clients):
        clients.beat("A", "g", "T")
        clients.take_notifications()
        assert not clients.beat("A", "g", "T", version=2)
        assert clients.take_notifications() == []
        assert clients.subscription("g", "T").sub_version == 2
        clients.beat("A", "g", "T", version=1)
        assert clients.subscription("g", "T").sub_version == 2, "an older one does not replace it"

    def test_broadcasting_members_need_not_know_of_each_other(self, clients):
        clients.beat("A", "g", "T", model="BROADCASTING")
        clients.beat("B", "g", "T", model="BROADCASTING")
        assert clients.take_notifications() == []

    def test_a_group_can_be_kept_quiet(self, clients):
        clients.beat("A", "g", "T", notify=False)
        clients.unregister_consumer("g", "A", notify=False)
        assert clients.take_notifications() == []

    def test_nobody_is_left_to_notify(self, clients):
        clients.beat("A", "g", "T")
        clients.unregister_consumer("g", "A", notify=True)
        assert clients.take_notifications() == []


class TestLeaving:
    def test_by_saying_so(self, clients):
        clients.beat("A", "g", "T")
        clients.beat("B", "g", "T")
        clients.take_notifications()
        clients.unregister_consumer("g", "A", notify=True)
        assert clients.take_notifications() == [("g", ["B"])]
        clients.unregister_consumer("g", "A", notify=True)
        clients.unregister_consumer("unknown", "A", notify=True)
        assert clients.take_notifications() == []

    def test_by_closing_the_connection(self, clients):
        clients.beat("A", "g", "T")
        clients.beat("A", "h", "T")
        clients.beat("B", "h", "T")
        clients.register_producer("A", client("A"), "p", 0)
        clients.take_notifications()
        clients.close("A")
        assert clients.take_notifications() == [("h", ["B"])]
        assert list(clients.consumer_groups) == ["h"]
        assert clients.producer_groups == {}
        assert clients.groups_subscribing("T") == ["h"]
        clients.close("A")

    def test_by_silence(self, clients):
        clients.beat("A", "g", "T", now_ms=1000)
        clients.register_producer("C", client("C"), "p", 1500)
        clients.beat("B", "g", "T", now_ms=2000)
        clients.beat("A", "g", "T", now_ms=3000)
        clients.take_notifications()
        assert clients.expire(1500 + EXPIRED_MS) == []
        assert clients.expire(2001 + EXPIRED_MS) == ["C", "B"]
        assert clients.take_notifications() == [("g", ["A"])]
        assert clients.producer_groups == {}
        assert clients.expire(3001 + EXPIRED_MS) == ["A"]
        assert clients.consumer_groups == {}

    def test_a_connection_is_closed_once_for_all_its_groups(self, clients):
        clients.beat("A", "g", "T")
        clients.beat("A", "h", "T")
        assert clients.expire(1 + EXPIRED_MS) == ["A"]


class TestFingerprints:
    def test_another_clients_differs(self, clients):
        clients.beat("A", "g", "T")
        assert not clients.heard_fingerprint("g", 7, without_sub=False)
        assert not clients.heard_fingerprint("g", 7, without_sub=True)
        assert clients.heard_fingerprint("g", 8, without_sub=False)
        assert not clients.heard_fingerprint("g", 8, without_sub=False)

    def test_subscriptions_left_out_that_are_not_known_are_asked_for(self, clients):
        clients.beat("A", "g", without_sub=True)
        assert clients.heard_fingerprint("g", 7, without_sub=True)

    def test_a_heartbeat_without_subscriptions_keeps_them(self, clients):
        clients.beat("A", "g", "T")
        assert not clients.beat("A", "g", without_sub=True)
        assert clients.subscription("g", "T") is not None
        assert clients.subscription_count("g") == 1


def test_what_is_known_of_a_client(clients):
    clients.beat("A", "g", "T", model="BROADCASTING")
    member = clients.find_consumer("g", "client-A")
    assert member is not None
    assert (member.channel, member.client.language, member.client.version) == ("A", "JAVA", 513)
    assert clients.find_consumer("g", "client-B") is None
    assert clients.find_consumer("unknown", "client-A") is None
    assert clients.consumer_groups["g"].message_model == "BROADCASTING"
    assert Client("x", "", 99, 1).language == "OTHER"
    assert clients.subscription_count("unknown") == 0


def test_producers(clients):
    clients.register_producer("A", client("A"), "p", 0)
    clients.register_producer("A", client("A"), "p", 5)
    assert [member.seen_ms for member in clients.producer_groups["p"].values()] == [5]
    clients.unregister_producer("p", "A")
    clients.unregister_producer("p", "A")
    assert clients.producer_groups == {}
    assert clients.take_notifications() == []


def test_consumers_without_heartbeats_are_known_by_what_they_pull(clients):
    pulled = SubscriptionData(topic="T", sub_string="a")
    clients.compensate("g", "T", pulled, 1000)
    assert clients.subscription("g", "T") is pulled
    clients.beat("A", "g", "T")
    assert clients.subscription("g", "T").sub_string == "*", "a heartbeat counts more"
    clients.close("A")
    clients.expire(1000 + FORGOTTEN_MS)
    assert clients.subscription("g", "T") is pulled
    clients.expire(1001 + FORGOTTEN_MS)
    assert clients.subscription("g", "T") is None


class TestLimits:
    def test_registrations(self, clients, monkeypatch):
        monkeypatch.setattr(clients_module, "MEMBERS_MAX", 1)
        clients.beat("A", "g", "T")
        with pytest.raises(PeerError, match="its limit"):
            clients.beat("B", "g", "T")
        with pytest.raises(PeerError, match="its limit"):
            clients.beat("B", "new", "T")
        with pytest.raises(PeerError, match="its limit"):
            clients.register_producer("B", client("B"), "p", 0)
        assert not clients.beat("A", "g", "T"), "who is in stays in"

    def test_subscriptions_of_a_group(self, clients, monkeypatch):
        monkeypatch.setattr(clients_module, "SUBSCRIPTIONS_PER_GROUP_MAX", 1)
        with pytest.raises(PeerError, match="at most 1 are allowed"):
            clients.beat("A", "g", "T", "U")

    def test_compensated_subscriptions_make_room(self, clients, monkeypatch):
        monkeypatch.setattr(clients_module, "COMPENSATED_MAX", 1)
        clients.compensate("g", "T", SubscriptionData(topic="T"), 0)
        clients.compensate("g", "U", SubscriptionData(topic="U"), 0)
        assert clients.subscription("g", "T") is None
        assert clients.subscription("g", "U") is not None
