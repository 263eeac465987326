"""Keys and values: what is kept, what is refused, the file."""

from collections.abc import Iterator

import pytest

from ledgermq.nameserver.kv_config import KvConfig, KvLimits
from ledgermq.remoting.codes import ResponseCode
from ledgermq.remoting.command import PeerError
from ledgermq.remoting.json_body import JsonError


@pytest.fixture
def kv() -> Iterator[KvConfig]:
    made = KvConfig()
    yield made
    made.check_invariants()


def test_put_get_delete(kv: KvConfig) -> None:
    assert kv.get("n", "k") is None
    assert kv.namespace("n") is None
    kv.put("n", "k", "v")
    kv.put("n", "k", "w")
    assert kv.get("n", "k") == "w"
    assert kv.get("n", "other") is None
    assert kv.namespace("n") == {"k": "w"}
    assert kv.delete("n", "k")
    assert not kv.delete("n", "k")
    assert not kv.delete("m", "k")


def test_an_emptied_namespace_stays(kv: KvConfig) -> None:
    kv.put("n", "k", "")
    kv.delete("n", "k")
    assert kv.namespace("n") == {}


def test_the_file_is_javas(kv: KvConfig) -> None:
    kv.put("ORDER_TOPIC_CONFIG", "A", "broker-a:4")
    kv.put("n", "k", "v")
    kv.delete("n", "k")
    assert kv.to_file() == b'{"configTable":{"ORDER_TOPIC_CONFIG":{"A":"broker-a:4"},"n":{}}}'
    other = KvConfig()
    other.load(kv.to_file())
    assert other.namespace("ORDER_TOPIC_CONFIG") == {"A": "broker-a:4"}
    other.check_invariants()


def test_a_damaged_file(kv: KvConfig) -> None:
    kv.put("n", "k", "v")
    with pytest.raises(JsonError):
        kv.load(b'{"configTable":{"n":7}}')
    assert kv.get("n", "k") == "v"


def refused(kv: KvConfig, namespace: str, key: str, value: str) -> PeerError:
    before = kv.to_file()
    with pytest.raises(PeerError) as caught:
        kv.put(namespace, key, value)
    assert kv.to_file() == before
    kv.check_invariants()
    return caught.value


def test_limits_of_one_entry(kv: KvConfig) -> None:
    for put in (
        ("n" * 1025, "k", "v"),
        ("n", "k" * 1025, "v"),
        ("n", "k", "v" * 65537),
        ("n", "k", "é" * 32769),
    ):
        assert refused(kv, *put).code == ResponseCode.INVALID_PARAMETER
    assert "value='vvvv" in refused(kv, "n", "k", "v" * 65537).remark


def test_limits_of_the_table() -> None:
    kv = KvConfig(KvLimits(entries=3, total_bytes=10))
    kv.put("n", "k", "v")
    kv.put("n", "l", "v")
    assert "the limit is 3" in refused(kv, "n", "m", "v").remark
    assert refused(kv, "m", "k", "v").code == ResponseCode.SYSTEM_ERROR
    kv.put("n", "k", "123456")
    assert "10 bytes are kept, with these 11, the limit is 10" in refused(kv, "n", "l", "12").remark
    kv.put("n", "k", "1")
    kv.put("n", "l", "123456")
