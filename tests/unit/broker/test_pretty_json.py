import json
from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ledgermq.broker.groups import GroupFile
from ledgermq.broker.offsets import OffsetFile
from ledgermq.broker.pretty_json import pretty_file, pretty_item, pretty_map, pretty_value
from ledgermq.broker.topics import TopicFile
from ledgermq.remoting.json_body import decode_json, parse_json

JAVA_OFFSETS = b"""{
\t"dataVersion":{
\t\t"counter":0,
\t\t"stateVersion":0,
\t\t"timestamp":1795232749727
\t},
\t"groupTopicMap":{
\t\t"GroupA":[
\t\t\t"TopicB",
\t\t\t"TopicA"
\t\t]
\t},
\t"offsetTable":{
\t\t"TopicB@GroupA":{
\t\t\t1:9
\t\t},
\t\t"TopicA@GroupA":{
\t\t\t0:5,
\t\t\t3:7
\t\t}
\t},
\t"pullOffsetTable":{}
}"""
"""consumerOffset.json as a Java 5.5.0 broker wrote it."""

JAVA_TOPICS = b"""{
\t"dataVersion":{
\t\t"counter":3,
\t\t"stateVersion":0,
\t\t"timestamp":1795232849969
\t},
\t"topicConfigTable":{
\t\t"TopicB":{
\t\t\t"attributes":{
\t\t\t\t"message.type":"DELAY",
\t\t\t\t"cleanup.policy":"COMPACTION"
\t\t\t},
\t\t\t"order":false,
\t\t\t"perm":6,
\t\t\t"readQueueNums":2,
\t\t\t"topicFilterType":"SINGLE_TAG",
\t\t\t"topicName":"TopicB",
\t\t\t"topicSysFlag":0,
\t\t\t"writeQueueNums":2
\t\t},
\t\t"TopicA":{
\t\t\t"attributes":{},
\t\t\t"order":true,
\t\t\t"perm":6,
\t\t\t"readQueueNums":4,
\t\t\t"topicFilterType":"SINGLE_TAG",
\t\t\t"topicName":"TopicA",
\t\t\t"topicSysFlag":0,
\t\t\t"writeQueueNums":4
\t\t}
\t}
}"""

JAVA_GROUPS = b"""{
\t"dataVersion":{
\t\t"counter":2,
\t\t"stateVersion":0,
\t\t"timestamp":1795232850211
\t},
\t"forbiddenTable":{
\t\t"GroupA":{
\t\t\t"TopicA":4
\t\t}
\t},
\t"subscriptionGroupTable":{
\t\t"GroupA":{
\t\t\t"attributes":{
\t\t\t\t"priority.factor":"50"
\t\t\t},
\t\t\t"brokerId":0,
\t\t\t"consumeBroadcastEnable":true,
\t\t\t"consumeEnable":true,
\t\t\t"consumeFromMinEnable":true,
\t\t\t"consumeMessageOrderly":false,
\t\t\t"consumeTimeoutMinute":15,
\t\t\t"groupName":"GroupA",
\t\t\t"groupRetryPolicy":{
\t\t\t\t"exponentialRetryPolicy":{
\t\t\t\t\t"initial":1000,
\t\t\t\t\t"max":7200000,
\t\t\t\t\t"multiplier":2
\t\t\t\t},
\t\t\t\t"type":"EXPONENTIAL"
\t\t\t},
\t\t\t"groupSysFlag":0,
\t\t\t"notifyConsumerIdsChangedEnable":true,
\t\t\t"retryMaxTimes":16,
\t\t\t"retryQueueNums":2,
\t\t\t"subscriptionDataSet":[
\t\t\t\t{
\t\t\t\t\t"expression":"*",
\t\t\t\t\t"expressionType":"TAG",
\t\t\t\t\t"topic":"T",
\t\t\t\t\t"version":1
\t\t\t\t}
\t\t\t],
\t\t\t"whichBrokerWhenConsumeSlowly":1
\t\t}
\t}
}"""


def encoded(content: dict[str, Any]) -> bytes:
    """The same text made in two ways."""
    whole = pretty_file({name: pretty_value(value) for name, value in content.items()})
    fields = {}
    for name, value in content.items():
        if isinstance(value, dict):
            fields[name] = pretty_map([pretty_item(key, item) for key, item in value.items()])
        else:
            fields[name] = pretty_value(value)
    assert pretty_file(fields) == whole
    return whole


def test_files_of_the_java_broker_come_out_as_they_went_in():
    for kind, text in ((OffsetFile, JAVA_OFFSETS), (TopicFile, JAVA_TOPICS), (GroupFile, JAVA_GROUPS)):
        assert encoded(msgspec.to_builtins(decode_json(kind, text))) == text


def test_small_values():
    assert encoded({}) == b"{}"
    assert encoded({"a": [], "b": {}}) == b'{\n\t"a":[],\n\t"b":{}\n}'
    assert (
        encoded({"a": [True, None, 1.5, 'x"\n']})
        == b'{\n\t"a":[\n\t\ttrue,\n\t\tnull,\n\t\t1.5,\n\t\t"x\\"\\n"\n\t]\n}'
    )


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)


scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text()


@given(st.dictionaries(st.text(), st.recursive(scalars, nested, max_leaves=20), max_size=4))
def test_it_is_json_of_the_same_value(content):
    assert json.loads(encoded(content)) == content


@given(st.dictionaries(st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**63 - 1)))
def test_integer_keys_are_read_back(table):
    read: Callable[[bytes], object] = parse_json
    assert read(encoded({"table": table})) == {"table": {str(key): value for key, value in table.items()}}
