"""Whatever the bytes of a registration are, they are a body or a PeerError."""

import struct
import zlib

from hypothesis import given
from hypothesis import strategies as st

from ledgermq.remoting.codes import ResponseCode
from ledgermq.remoting.command import PeerError
from ledgermq.remoting.register_body import decode_register_body, encode_register_body
from ledgermq.remoting.route_data import QueueMapping, RegisterBrokerBody, TopicConfigs
from ledgermq.remoting.topic_config import DataVersion, TopicConfig

numbers = st.integers(-(2**31), 2**31 - 1)
names = st.text(st.characters(codec="utf-8", exclude_characters=" "), min_size=1, max_size=20)


def topic(name: str, perm: int, queues: int) -> TopicConfig:
    return TopicConfig(topic_name=name, perm=perm, read_queue_nums=queues, write_queue_nums=queues)


topics = st.builds(topic, names, numbers, st.integers(0, 65536))
mappings = st.builds(
    QueueMapping,
    bname=names,
    topic=names,
    epoch=numbers,
    curr_id_map=st.dictionaries(st.integers(0, 9), st.integers(0, 9)),
)
versions = st.builds(DataVersion, counter=numbers, timestamp=numbers, state_version=numbers)
bodies = st.builds(
    lambda version, ts, ms, servers: RegisterBrokerBody(
        filter_server_list=servers,
        topic_config_serialize_wrapper=TopicConfigs(
            data_version=version,
            topic_config_table={t.topic_name: t for t in ts},
            topic_queue_mapping_info_map={m.topic: m for m in ms},
        ),
    ),
    versions,
    st.lists(topics, max_size=4),
    st.lists(mappings, max_size=3),
    st.lists(names, max_size=2),
)


def decodes_or_refuses(data: bytes, *, compressed: bool) -> None:
    refusal = None
    try:
        decode_register_body(data, compressed=compressed)
    except PeerError as error:
        refusal = error
    assert refusal is None or refusal.code == ResponseCode.INVALID_PARAMETER


@given(bodies, st.booleans())
def test_a_body_survives_the_wire(body: RegisterBrokerBody, compressed: bool) -> None:
    assert (
        decode_register_body(encode_register_body(body, compressed=compressed), compressed=compressed) == body
    )


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes(data: bytes, compressed: bool) -> None:
    decodes_or_refuses(data, compressed=compressed)


parts = st.one_of(
    st.binary(max_size=20),
    st.integers(-1, 70).map(lambda n: struct.pack(">i", n)),
    st.sampled_from(
        [b"{}", b"[]", b'{"counter":1}', b"t 1 1 6 SINGLE_TAG {}", b'{"bname":"a","topic":"t"}']
    ).map(lambda part: struct.pack(">i", len(part)) + part),
)


@given(st.lists(parts, max_size=8))
def test_any_parts_inside_a_stream(inflated: list[bytes]) -> None:
    decodes_or_refuses(zlib.compress(b"".join(inflated)), compressed=True)


@given(bodies, st.booleans(), st.data())
def test_a_damaged_body(body: RegisterBrokerBody, compressed: bool, data: st.DataObject) -> None:
    whole = encode_register_body(body, compressed=compressed)
    at = data.draw(st.integers(0, len(whole) - 1))
    decodes_or_refuses(whole[:at], compressed=compressed)
    flipped = bytes([whole[at] ^ data.draw(st.integers(1, 255))])
    decodes_or_refuses(whole[:at] + flipped + whole[at + 1 :], compressed=compressed)
    decodes_or_refuses(whole + data.draw(st.binary(min_size=1, max_size=9)), compressed=compressed)
