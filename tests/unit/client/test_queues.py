import pytest

from ledgermq.client.queues import MessageQueue
from ledgermq.remoting.json_body import (
    JsonError,
    decode_object_map,
    encode_json,
    encode_object_map,
    parse_json,
)

A0, A1, B0 = MessageQueue("t", "a", 0), MessageQueue("t", "a", 1), MessageQueue("t", "b", 0)


def test_queues_sort_by_topic_broker_and_number() -> None:
    other = MessageQueue("s", "z", 9)
    assert sorted([B0, A1, A0, other]) == [other, A0, A1, B0]
    assert str(A1) == "t@a#1"


def test_maps_are_written_as_fastjson_writes_them() -> None:
    body = encode_json({"table": encode_object_map([(A0, 1), (B0, 2)])})
    assert body == (
        b'{"table":{{"topic":"t","brokerName":"a","queueId":0}:1,{"topic":"t","brokerName":"b","queueId":0}:2}}'
    )
    assert encode_json({"table": encode_object_map([])}) == b'{"table":{}}'


def test_javas_maps_are_read() -> None:
    java = (
        b'{"offsetTable":{{"brokerName":"a","queueId":1,"topic":"t"}:"7",'
        b'{"brokerName":"b","queueId":0,"topic":"t"}:8}}'
    )
    body = parse_json(java)
    assert isinstance(body, dict)
    assert decode_object_map(body["offsetTable"], MessageQueue, int) == {A1: 7, B0: 8}


@pytest.mark.parametrize("table", [None, [], {"x": 1}, {'{"topic":"t"}': 1}, {'{"a"': 1}])
def test_other_values_are_refused(table: object) -> None:
    with pytest.raises(JsonError):
        decode_object_map(table, MessageQueue, int)
