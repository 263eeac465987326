import pytest

from ledgermq.broker import names
from ledgermq.remoting.codes import ResponseCode
from ledgermq.remoting.command import PeerError


@pytest.mark.parametrize("topic", ["a", "A-b_9|%", "%RETRY%" + "g" * 200, "t" * 127])
def test_topic_names_that_are_allowed(topic):
    assert names.topic_fault(topic) is None
    names.check_topic(topic)


@pytest.mark.parametrize(
    ("topic", "said"),
    [
        ("", "blank"),
        ("  ", "blank"),
        ("a/b", "illegal characters"),
        ("a.b", "illegal characters"),
        ("a\n", "illegal characters"),
        ("Ünicode", "illegal characters"),
        ("t" * 128, "at most 127"),
        ("%DLQ%" + "g" * 251, "at most 255"),
    ],
)
def test_topic_names_that_are_refused(topic, said):
    with pytest.raises(PeerError, match=said) as refused:
        names.check_topic(topic)
    assert refused.value.code == ResponseCode.INVALID_PARAMETER


def test_a_group_is_shorter_than_a_topic():
    names.check_group("g" * 120)
    with pytest.raises(PeerError, match="at most 120"):
        names.check_group("g" * 121)
    with pytest.raises(PeerError, match="illegal characters"):
        names.check_group("a b")
    with pytest.raises(PeerError, match="blank"):
        names.check_group(" ")


def test_derived_names():
    assert names.retry_topic("g") == "%RETRY%g"
    assert names.dlq_topic("g") == "%DLQ%g"
    assert set(names.SYSTEM_TOPICS) >= names.SEND_REFUSED_TOPICS
