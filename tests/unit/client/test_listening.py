from collections.abc import Sequence

from tests.unit.client.messages import received

from ledgermq.client.listening import Subscription, Subscriptions
from ledgermq.client.subscription import parse_expression
from ledgermq.message.model import MessageExt


async def listener(messages: Sequence[MessageExt]) -> None:
    return None


def subscription(topic: str, expression: str = "*", count: int = 1) -> Subscription:
    return Subscription(parse_expression(topic, expression, 1), listener, count)


def test_a_group_that_shares_has_its_retry_topic() -> None:
    table = Subscriptions("g", has_retry_topic=True)
    assert table.topics() == []
    table.add(subscription("t", "a", count=9))
    assert table.topics() == ["t", "%RETRY%g"]
    assert table.data("t").tags_set == ["a"]
    assert table.data("%RETRY%g").tags_set == []
    assert [data.topic for data in table.all_data()] == ["t", "%RETRY%g"]
    # Messages of the retry topic are of different topics, so they cannot be one batch.
    assert (table.batch_count_max("t"), table.batch_count_max("%RETRY%g")) == (9, 1)
    table.remove("t")
    assert table.topics() == []


def test_broadcasting_has_no_retry_topic() -> None:
    table = Subscriptions("g", has_retry_topic=False)
    table.add(subscription("t"))
    assert table.topics() == ["t"]


def test_subscribing_again_changes_the_expression() -> None:
    table = Subscriptions("g", has_retry_topic=False)
    table.add(subscription("t", "a"))
    table.add(subscription("t", "b"))
    assert table.data("t").tags_set == ["b"]
    found = table.find("t")
    assert found is not None
    assert table.find("u") is None


def test_a_retried_message_gets_its_topic_back() -> None:
    table = Subscriptions("g", has_retry_topic=True)
    retried = received(1, topic="%RETRY%g", properties={"RETRY_TOPIC": "t"})
    table.restore_topic(retried)
    assert retried.topic == "t"
    strange = received(1, topic="u", properties={"RETRY_TOPIC": "t"})
    table.restore_topic(strange)
    assert strange.topic == "u"
