"""Who may pull what, and what a pull is told: decisions without a store."""

from __future__ import annotations

from typing import Any, cast

import pytest

from ledgermq.broker.clients import Client, ClientRegistry
from ledgermq.broker.groups import GroupTable
from ledgermq.broker.heartbeat import ConsumerData, SubscriptionData
from ledgermq.broker.pull import Pull, PullAccess, code_of, tag_codes
from ledgermq.broker.stats import BrokerStats
from ledgermq.broker.topics import TopicTable
from ledgermq.message.hashing import java_hash
from ledgermq.remoting.broker_headers import PullMessage
from ledgermq.remoting.codes import RequestCode, ResponseCode
from ledgermq.remoting.command import Command, PeerError
from ledgermq.remoting.connection import Connection
from ledgermq.remoting.topic_config import TopicConfig
from ledgermq.runtime.config import BrokerConfig
from ledgermq.store.reading import GetStatus

CONNECTION = cast(Connection, None)
NOT_FOUND, AGAIN, MOVED = (
    ResponseCode.PULL_NOT_FOUND,
    ResponseCode.PULL_RETRY_IMMEDIATELY,
    ResponseCode.PULL_OFFSET_MOVED,
)
CODES = {
    GetStatus.FOUND: (0, 0),
    GetStatus.NO_MATCHED_MESSAGE: (AGAIN, AGAIN),
    GetStatus.MESSAGE_WAS_REMOVING: (AGAIN, AGAIN),
    GetStatus.OFFSET_FOUND_NULL: (NOT_FOUND, NOT_FOUND),
    GetStatus.OFFSET_OVERFLOW_BADLY: (MOVED, MOVED),
    GetStatus.OFFSET_OVERFLOW_ONE: (NOT_FOUND, NOT_FOUND),
    GetStatus.OFFSET_TOO_SMALL: (MOVED, MOVED),
    GetStatus.NO_MATCHED_LOGIC_QUEUE: (NOT_FOUND, MOVED),
    GetStatus.NO_MESSAGE_IN_QUEUE: (NOT_FOUND, MOVED),
    GetStatus.OFFSET_RESET: (MOVED, MOVED),
    GetStatus.COLD: (AGAIN, AGAIN),
}
"""For a pull from the first message, and for one from anywhere else."""


@pytest.mark.parametrize("status", list(GetStatus))
def test_every_status_has_java_s_code(status: GetStatus) -> None:
    assert (code_of(status, 0), code_of(status, 5)) == CODES[status]
    assert code_of(status, -5) == code_of(status, 5)


@pytest.mark.parametrize("expression", ["*", " * ", "", "  "])
def test_all_tags(expression: str) -> None:
    assert tag_codes(expression) is None


@pytest.mark.parametrize(
    ("expression", "tags"),
    [
        ("a", "a"),
        (" a ", "a"),
        ("a||b", "a b"),
        (" a || b || ", "a b"),
        ("||a", "a"),
        ("a|b", "a|b"),
        ("a && b", None),
        ("ü || 😀", "ü 😀"),
    ],
)
def test_tags_of_an_expression(expression: str, tags: str | None) -> None:
    names = [expression] if tags is None else tags.split(" ")
    assert tag_codes(expression) == frozenset(int(java_hash(name.encode())) for name in names)


@pytest.mark.parametrize("expression", ["||", " || ", "||||"])
def test_an_expression_without_a_tag_is_refused(expression: str) -> None:
    with pytest.raises(PeerError) as error:
        tag_codes(expression)
    assert error.value.code == ResponseCode.SUBSCRIPTION_PARSE_FAILED


class Desk:
    """PullAccess over tables with the topic T of two queues and the group g."""

    def __init__(self, **fields: Any) -> None:
        self.config = BrokerConfig(broker_name="b", **fields)
        self.topics = TopicTable(self.config, 0)
        self.groups = GroupTable(self.config, 0)
        self.clients: ClientRegistry[Connection] = ClientRegistry(self.config)
        stats = BrokerStats("c", 0, 0)
        self.access = PullAccess(self.config, self.topics, self.groups, self.clients, stats)
        self.topics.update(TopicConfig(topic_name="T", read_queue_nums=2, write_queue_nums=1), 0)
        self.groups.find_or_create("g", 0)

    def beat(self, expression: str, model: str = "CLUSTERING", **fields: Any) -> None:
        wanted = SubscriptionData(topic="T", sub_string=expression, **fields)
        data = ConsumerData(group_name="g", message_model=model, subscription_data_set=[wanted])
        self.clients.register_consumer(CONNECTION, Client("one", "1", 0, 513), data, 0, notify=False)

    def pull(self, **fields: Any) -> Pull:
        wanted: dict[str, Any] = {
            "consumer_group": "g",
            "topic": "T",
            "queue_id": 0,
            "queue_offset": 3,
            "max_msg_nums": 32,
            "sys_flag": 4,
            "commit_offset": 0,
            "suspend_timeout_millis": 0,
            "subscription": "a",
            "sub_version": 1,
        }
        header = PullMessage(**wanted | fields)
        return self.access.check(Command(RequestCode.PULL_MESSAGE), CONNECTION, header, 0)

    def refusal(self, **fields: Any) -> tuple[int, str]:
        with pytest.raises(PeerError) as error:
            self.pull(**fields)
        return error.value.code, error.value.remark


def test_a_pull_that_states_its_subscription_needs_no_heartbeat() -> None:
    desk = Desk()
    pull = desk.pull(queue_id=1)
    assert (pull.offset, pull.topic.topic_name, pull.group.group_name) == (3, "T", "g")
    assert pull.tags == frozenset((97,))
    assert desk.pull(subscription=None).tags is None
    assert desk.clients.subscription("g", "T") is not None, "it is remembered, to be shown"


def test_a_pull_counts_for_its_group() -> None:
    desk = Desk()
    assert desk.pull().traffic is desk.pull(queue_id=1).traffic
    assert desk.pull(consumer_group="h").traffic is not desk.pull().traffic


def test_a_group_is_created_by_its_pull_if_groups_are() -> None:
    desk = Desk()
    desk.pull(consumer_group="new")
    assert desk.groups.find("new") is not None
    strict = Desk(auto_create_subscription_group=False)
    strict.groups.configs.pop("new", None)
    code, remark = strict.refusal(consumer_group="new")
    assert code == ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST
    assert "create it with updateSubGroup" in remark


def test_what_comes_first_is_refused_first() -> None:
    """The broker, the group, the topic, the queue, the subscription: as in Java."""
    desk = Desk(broker_permission=2)
    wrong: dict[str, Any] = {
        "consumer_group": "a b",
        "topic": "Unknown",
        "queue_id": 9,
        "expression_type": "SQL92",
    }
    mended = {"consumer_group": "g", "topic": "T", "queue_id": 1, "expression_type": "TAG"}
    assert desk.refusal(**wrong)[0] == ResponseCode.NO_PERMISSION
    desk.config.broker_permission = 4
    codes = []
    for name in mended:
        codes.append(desk.refusal(**wrong)[0])
        wrong[name] = mended[name]
    assert codes == [
        ResponseCode.INVALID_PARAMETER,
        ResponseCode.TOPIC_NOT_EXIST,
        ResponseCode.INVALID_PARAMETER,
        ResponseCode.SYSTEM_ERROR,
    ]
    desk.pull(**wrong)


@pytest.mark.parametrize("queue_id", [-1, 2, 2**31 - 1])
def test_only_queues_that_are_read_can_be_pulled(queue_id: int) -> None:
    code, remark = Desk().refusal(queue_id=queue_id)
    assert code == ResponseCode.INVALID_PARAMETER
    assert remark == f"queueId={queue_id} of topic 'T' is not in 0..1"


@pytest.mark.parametrize("perm", [0, 1, 2, 3])
def test_a_topic_without_read_permission_is_not_read(perm: int) -> None:
    desk = Desk()
    desk.topics.get("T").perm = perm
    assert desk.refusal() == (ResponseCode.NO_PERMISSION, f"topic 'T' is not readable: perm={perm}")


def test_no_permit_comes_back_when_a_change_is_taken_back() -> None:
    """As a leader's is that was not committed; the next leader's change then has its number again."""
    desk = Desk()
    seen = {desk.access.version()}
    committed = desk.topics.data_version.copy()
    desk.topics.update(TopicConfig(topic_name="U"), 5)
    version = desk.access.version()
    assert version not in seen
    seen.add(version)
    taken = desk.topics.data_version.copy()
    desk.topics.replay("U", None, committed)
    desk.topics.replay("T", TopicConfig(topic_name="T", perm=2), taken)
    assert desk.access.version() not in seen


class TestHeartbeats:
    def test_a_group_unheard_of(self) -> None:
        code, remark = Desk().refusal(sys_flag=0)
        assert code == ResponseCode.SUBSCRIPTION_NOT_EXIST
        assert "a heartbeat must come before" in remark

    def test_the_codes_of_the_heartbeat_count(self) -> None:
        desk = Desk()
        desk.beat("a || b", code_set=[1, -2])
        assert desk.pull(sys_flag=0, sub_version=0).tags == frozenset((1, -2))

    def test_codes_are_computed_where_none_were_sent(self) -> None:
        desk = Desk()
        desk.beat("a || b")
        assert desk.pull(sys_flag=0, sub_version=0).tags == frozenset((97, 98))

    @pytest.mark.parametrize("expression", ["*", ""])
    def test_all_tags(self, expression: str) -> None:
        desk = Desk()
        desk.beat(expression, code_set=[1])
        assert desk.pull(sys_flag=0, sub_version=0).tags is None

    def test_a_newer_subscription_waits_for_its_heartbeat(self) -> None:
        desk = Desk()
        desk.beat("*", sub_version=7)
        desk.pull(sys_flag=0, sub_version=7)
        assert desk.refusal(sys_flag=0, sub_version=8)[0] == ResponseCode.SUBSCRIPTION_NOT_LATEST

    def test_a_topic_that_the_group_does_not_subscribe_to(self) -> None:
        desk = Desk()
        desk.beat("*")
        desk.topics.update(TopicConfig(topic_name="Other"), 0)
        code, remark = desk.refusal(sys_flag=0, topic="Other")
        assert code == ResponseCode.SUBSCRIPTION_NOT_EXIST
        assert "do all its consumers agree" in remark

    def test_broadcasting_may_be_forbidden(self) -> None:
        desk = Desk()
        desk.beat("*", "BROADCASTING")
        desk.pull(sys_flag=0, sub_version=0)
        desk.groups.configs["g"].consume_broadcast_enable = False
        assert desk.refusal(sys_flag=0)[0] == ResponseCode.NO_PERMISSION
        desk.pull()  # Who states its subscription is not asked, as in Java.

    def test_a_forbidden_topic(self) -> None:
        desk = Desk()
        desk.beat("*")
        desk.groups.set_may_read("g", "T", False, 0)
        code, remark = desk.refusal(sys_flag=0)
        assert code == ResponseCode.NO_PERMISSION
        assert remark == "group 'g' is forbidden to read 'T'"

    def test_other_expressions_are_not_served(self) -> None:
        desk = Desk()
        desk.beat("a > 1", expression_type="SQL92")
        code, remark = desk.refusal(sys_flag=0, sub_version=0)
        assert code == ResponseCode.SYSTEM_ERROR
        assert "expressionType='SQL92'" in remark
