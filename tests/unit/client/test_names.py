import pytest

from ledgermq.client.errors import IllegalNameError
from ledgermq.client.names import check_group, check_topic, retry_topic


@pytest.mark.parametrize("name", ["a", "%RETRY%group", "a|b-c_d", "x" * 127, "%DLQ%" + "x" * 250])
def test_allowed_topics(name: str) -> None:
    check_topic(name)


@pytest.mark.parametrize("name", ["", "a b", "a.b", "é", "x" * 128, "%RETRY%" + "x" * 249, "a/b", "a\n"])
def test_other_topics_are_refused(name: str) -> None:
    with pytest.raises(IllegalNameError, match="topic name"):
        check_topic(name)


def test_groups_are_shorter() -> None:
    check_group("g" * 120)
    with pytest.raises(IllegalNameError, match="121 characters, at most 120"):
        check_group("g" * 121)
    check_topic(retry_topic("g" * 120))
