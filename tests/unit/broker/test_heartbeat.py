import pytest

from ledgermq.broker.heartbeat import HeartbeatData, SubscriptionData
from ledgermq.remoting.json_body import JsonError, decode_json, encode_json

JAVA = b"""{"clientID":"192.0.2.2@live","consumerDataSet":[{"consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET",
"consumeType":"CONSUME_PASSIVELY","groupName":"GroupA","messageModel":"CLUSTERING","subscriptionDataSet":[
{"classFilterMode":false,"codeSet":[],"expressionType":"TAG","subString":"*","subVersion":1795232901420,
"tagsSet":[],"topic":"TopicA"}],"unitMode":false}],"heartbeatFingerprint":-12,"producerDataSet":[
{"groupName":"ProdA"}],"withoutSub":false}"""


def test_javas():
    beat = decode_json(HeartbeatData, JAVA)
    assert beat.client_id == "192.0.2.2@live"
    assert beat.heartbeat_fingerprint == -12
    assert [producer.group_name for producer in beat.producers] == ["ProdA"]
    (consumer,) = beat.consumers
    assert consumer.consume_from_where == "CONSUME_FROM_FIRST_OFFSET"
    assert consumer.subscriptions == [
        SubscriptionData(topic="TopicA", sub_string="*", sub_version=1795232901420)
    ]


def test_other_languages_write_ordinals_and_leave_sets_out():
    beat = decode_json(
        HeartbeatData,
        b'{"clientID":"c","consumerDataSet":[{"consumeFromWhere":4,"consumeType":1,"groupName":"g",'
        b'"messageModel":0,"subscriptionDataSet":[{"topic":"T","subString":"a","subVersion":"12",'
        b'"tagsSet":null,"codeSet":null,"expressionType":null}]}],"producerDataSet":null}',
    )
    (consumer,) = beat.consumers
    assert consumer.consume_from_where == "CONSUME_FROM_FIRST_OFFSET"
    assert consumer.consume_type == "CONSUME_PASSIVELY"
    assert consumer.message_model == "BROADCASTING"
    (subscription,) = consumer.subscriptions
    assert subscription.sub_version == 12
    assert subscription.by_tag
    assert (subscription.tags_set, subscription.code_set) == ([], [])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"{}", "clientID"),
        (b"[]", "object"),
        (b"", "no value"),
        (b'{"clientID":"c","consumerDataSet":[{}]}', "groupName"),
        (b'{"clientID":"c","consumerDataSet":[{"groupName":"g","messageModel":"X"}]}', "messageModel='X'"),
        (b'{"clientID":"c","consumerDataSet":[{"groupName":"g","consumeType":9}]}', "consumeType=9"),
    ],
)
def test_what_is_wrong_is_named(text, said):
    with pytest.raises(JsonError, match=said):
        decode_json(HeartbeatData, text)


def test_a_subscription_is_shown_as_java_shows_it():
    subscription = SubscriptionData(topic="TopicA", sub_string="*", sub_version=1795232901420)
    assert encode_json(subscription) == (
        b'{"classFilterMode":false,"codeSet":[],"expressionType":"TAG","subString":"*",'
        b'"subVersion":1795232901420,"tagsSet":[],"topic":"TopicA"}'
    )
