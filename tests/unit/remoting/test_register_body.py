"""The two forms of a registration, against each other and against bytes made by hand."""

import struct
import zlib

import pytest

from ledgermq.remoting import register_body
from ledgermq.remoting.codes import ResponseCode
from ledgermq.remoting.command import PeerError
from ledgermq.remoting.register_body import body_crc32, decode_register_body, encode_register_body
from ledgermq.remoting.route_data import QueueMapping, RegisterBrokerBody, TopicConfigs
from ledgermq.remoting.topic_config import DataVersion, TopicConfig


def part(data: bytes) -> bytes:
    return struct.pack(">i", len(data)) + data


def a_body() -> RegisterBrokerBody:
    topics = {
        "orders": TopicConfig(topic_name="orders", read_queue_nums=4, write_queue_nums=8, perm=4),
        "payments": TopicConfig(topic_name="payments", attributes={"message.type": "FIFO"}),
    }
    mapping = QueueMapping(bname="a", topic="orders", total_queues=2, epoch=5, curr_id_map={0: 0, 1: 1})
    return RegisterBrokerBody(
        filter_server_list=["127.0.0.1:1"],
        topic_config_serialize_wrapper=TopicConfigs(
            data_version=DataVersion(counter=3, timestamp=1000),
            topic_config_table=topics,
            topic_queue_mapping_info_map={"orders": mapping},
        ),
    )


def refused(data: bytes, *, compressed: bool) -> str:
    with pytest.raises(PeerError) as caught:
        decode_register_body(data, compressed=compressed)
    assert caught.value.code == ResponseCode.INVALID_PARAMETER
    return caught.value.remark


@pytest.mark.parametrize("compressed", [False, True])
def test_what_is_encoded_is_decoded(compressed: bool) -> None:
    data = encode_register_body(a_body(), compressed=compressed)
    assert decode_register_body(data, compressed=compressed) == a_body()


def test_compressed_layout_is_javas() -> None:
    inflated = zlib.decompress(encode_register_body(a_body(), compressed=True))
    assert inflated == (
        part(b'{"counter":3,"stateVersion":0,"timestamp":1000}')
        + struct.pack(">i", 2)
        + part(b"orders 4 8 4 SINGLE_TAG {}")
        + part(b'payments 16 16 6 SINGLE_TAG {"message.type":"FIFO"}')
        + part(b'["127.0.0.1:1"]')
        + struct.pack(">i", 1)
        + part(
            b'{"bname":"a","currIdMap":{"0":0,"1":1},"dirty":false,"epoch":5,"scope":"__global__",'
            b'"topic":"orders","totalQueues":2}'
        )
    )


def test_checksum_has_no_sign() -> None:
    assert body_crc32(b"") == 0
    assert body_crc32(b"a") == 0x68B7BE43  # zlib.crc32 is 0xE8B7BE43


def test_fastjson_with_unquoted_keys() -> None:
    data = b"""{"filterServerList":[],"topicConfigSerializeWrapper":{
        "dataVersion":{"counter":1,"timestamp":2},
        "mappingDataVersion":{"counter":0},"topicConfigTable":{"t":{"topicName":"t","order":false}},
        "topicQueueMappingInfoMap":{"t":{"bname":"b","topic":"t","currIdMap":{0:7}}}}}"""
    wrapper = decode_register_body(data, compressed=False).topic_config_serialize_wrapper
    assert wrapper.data_version == DataVersion(counter=1, timestamp=2)
    assert wrapper.topic_queue_mapping_info_map["t"].curr_id_map == {0: 7}


def test_no_body_registers_no_topics() -> None:
    body = decode_register_body(b"", compressed=False)
    assert body.topic_config_serialize_wrapper == TopicConfigs()
    assert body.filter_server_list is None


def test_compressed_body_that_says_it_is_not() -> None:
    assert decode_register_body(encode_register_body(a_body(), compressed=True), compressed=False) == a_body()


def test_broker_before_5_0_0_ends_after_the_filter_servers() -> None:
    one_topic = struct.pack(">i", 1) + part(b"t 1 2 6 SINGLE_TAG")
    data = zlib.compress(part(b'{"counter":1}') + one_topic + part(b"[]"))
    wrapper = decode_register_body(data, compressed=True).topic_config_serialize_wrapper
    topic = TopicConfig(topic_name="t", read_queue_nums=1, write_queue_nums=2)
    assert wrapper.topic_config_table == {"t": topic}
    assert wrapper.topic_queue_mapping_info_map == {}


def test_attributes_that_cannot_be_read_are_dropped() -> None:
    line = b'gone 1 1 6 MULTI_TAG {"a":'
    data = zlib.compress(part(b"{}") + struct.pack(">i", 1) + part(line) + part(b"[]"))
    table = decode_register_body(data, compressed=True).topic_config_serialize_wrapper.topic_config_table
    assert table["gone"].attributes == {}


@pytest.mark.parametrize(
    ("inflated", "remark"),
    [
        (b"", "ends before the length of dataVersion"),
        (b"\0\0\0", "ends before the length of dataVersion"),
        (struct.pack(">i", -1), "length -1 of dataVersion"),
        (struct.pack(">i", 9), "length 9 of dataVersion, 0 bytes are left"),
        (part(b"{}") + struct.pack(">i", 2**31 - 1), "length 2147483647 of topic"),
        (part(b"nonsense!"), "dataVersion"),
        (part(b"{}") + struct.pack(">i", 1) + part(b"t 1 2"), "has 3 fields"),
        (part(b"{}") + struct.pack(">i", 1) + part(b"t x 2 6 SINGLE_TAG"), "readQueueNums"),
        (part(b"{}") + struct.pack(">i", 1) + part(b"t 1 2 6 NO_TAG"), "topicFilterType"),
        (part(b"{}") + struct.pack(">i", 1) + part(b"\xff 1 2 6 SINGLE_TAG"), "not UTF-8"),
        (part(b"{}") + struct.pack(">i", 0) + part(b"{}"), "filterServerList"),
    ],
)
def test_damaged_compressed_bodies(inflated: bytes, remark: str) -> None:
    assert remark in refused(zlib.compress(inflated), compressed=True)


def test_not_a_stream() -> None:
    assert "neither JSON nor a zlib stream" in refused(b"xxxx", compressed=False)
    assert "cut off" in refused(zlib.compress(b"\0" * 100)[:-6], compressed=True)
    assert "cut off" in refused(b"", compressed=True)


def test_not_json() -> None:
    assert "REGISTER_BROKER: body of 9 bytes" in refused(b"{nonsense", compressed=False)
    assert "topicConfigTable" in refused(
        b'{"topicConfigSerializeWrapper":{"topicConfigTable":{"t":{"topicName":"t","readQueueNums":-1}}}}',
        compressed=False,
    )


def test_too_many_topics_are_not_even_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(register_body, "REGISTERED_TOPICS_MAX", 1)
    assert "2 topics, 1 is the limit" in refused(
        encode_register_body(a_body(), compressed=True), compressed=True
    )


def test_a_bomb_is_not_inflated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(register_body, "INFLATED_BYTES_MAX", 1000)
    assert "more than 1000 bytes" in refused(zlib.compress(b"\0" * 100_000), compressed=True)
