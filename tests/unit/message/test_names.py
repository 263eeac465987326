import pytest

from ledgermq.message import names


@pytest.mark.parametrize("topic", ["a", "A-b_9|%", "%RETRY%" + "g" * 200, "t" * 127, "%DLQ%" + "x" * 250])
def test_topic_names_that_are_allowed(topic: str) -> None:
    assert names.topic_fault(topic) is None


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
def test_topic_names_that_are_not(topic: str, said: str) -> None:
    assert said in (names.topic_fault(topic) or "")


def test_a_group_is_shorter_than_a_topic() -> None:
    assert names.group_fault("g" * 120) is None
    for group, said in (("g" * 121, "121 characters, at most 120"), ("a b", "illegal"), (" ", "blank")):
        assert said in (names.group_fault(group) or "")
    assert names.topic_fault(names.retry_topic("g" * 120)) is None


def test_derived_names() -> None:
    assert names.retry_topic("g") == "%RETRY%g"
    assert names.dlq_topic("g") == "%DLQ%g"
    assert {*names.SYSTEM_TOPICS, names.METADATA_TOPIC} >= names.SEND_REFUSED_TOPICS
