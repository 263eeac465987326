from ledgermq.broker.queue_key import QueueKey
from ledgermq.remoting.json_body import encode_json, encode_object_map, parse_json


def test_a_map_keyed_by_queues_is_written_as_java_writes_it():
    entries = [(QueueKey("broker-a", 3, "T"), 5), (QueueKey("broker-a", 1, "T"), 0)]
    body = encode_json({"offsetTable": encode_object_map(entries)})
    assert body == (
        b'{"offsetTable":{{"brokerName":"broker-a","queueId":3,"topic":"T"}:5,'
        b'{"brokerName":"broker-a","queueId":1,"topic":"T"}:0}}'
    )
    assert parse_json(body) == {
        "offsetTable": {
            '{"brokerName":"broker-a","queueId":3,"topic":"T"}': 5,
            '{"brokerName":"broker-a","queueId":1,"topic":"T"}': 0,
        }
    }


def test_an_empty_map():
    assert encode_json({"offsetTable": encode_object_map([])}) == b'{"offsetTable":{}}'
