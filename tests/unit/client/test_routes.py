import pytest

from ledgermq.client.errors import ClientError
from ledgermq.client.queues import MessageQueue
from ledgermq.client.routes import (
    broker_address,
    limit_queues,
    publish_queues,
    subscribe_queues,
)
from ledgermq.remoting.route_data import BrokerData, QueueData, QueueMapping, TopicRouteData


def route(**fields: object) -> TopicRouteData:
    return TopicRouteData(
        broker_datas=[
            BrokerData(broker_name="b", broker_addrs={0: "b:1", 2: "b:3"}),
            BrokerData(broker_name="a", broker_addrs={0: "a:1"}),
            BrokerData(broker_name="slave-only", broker_addrs={1: "s:1"}),
        ],
        queue_datas=[
            QueueData(broker_name="b", perm=6, read_queue_nums=1, write_queue_nums=2),
            QueueData(broker_name="a", perm=4, read_queue_nums=2, write_queue_nums=2),
            QueueData(broker_name="slave-only", perm=6, read_queue_nums=1, write_queue_nums=1),
        ],
        **fields,  # type: ignore[arg-type]  # the two fields that tests vary
    )


def test_a_producer_writes_where_it_may_and_where_a_master_is() -> None:
    assert publish_queues("t", route()) == [MessageQueue("t", "b", 0), MessageQueue("t", "b", 1)]


def test_a_consumer_reads_where_it_may_from_slaves_too() -> None:
    names = [(queue.broker_name, queue.queue_id) for queue in subscribe_queues("t", route())]
    assert names == [("a", 0), ("a", 1), ("b", 0), ("slave-only", 0)]


def test_an_ordered_topic_has_a_fixed_layout() -> None:
    queues = publish_queues("t", route(order_topic_conf="x:2;y:1;"))
    assert [(queue.broker_name, queue.queue_id) for queue in queues] == [("x", 0), ("x", 1), ("y", 0)]
    with pytest.raises(ClientError, match="is not broker:queues"):
        publish_queues("t", route(order_topic_conf="x"))


def test_a_topic_to_be_created_has_few_queues() -> None:
    limited = limit_queues(route(), 1)
    assert [queue.queue_id for queue in publish_queues("new", limited)] == [0]


def test_static_topics_are_refused() -> None:
    mapping = {"b": QueueMapping(bname="b", topic="t")}
    for queues in (publish_queues, subscribe_queues):
        with pytest.raises(ClientError, match="static topic"):
            queues("t", route(topic_queue_mapping_by_broker=mapping))


def test_addresses() -> None:
    assert broker_address(route(), "b") == "b:1"
    assert broker_address(route(), "b", 2) == "b:3"
    assert broker_address(route(), "b", 1) is None
    assert broker_address(route(), "b", 1, or_any=True) == "b:1"
    assert broker_address(route(), "slave-only") is None
    assert broker_address(route(), "slave-only", or_any=True) == "s:1"
    assert broker_address(route(), "unknown", or_any=True) is None
