import pytest

from ledgermq.client.errors import IllegalNameError
from ledgermq.client.names import check_group, check_topic


def test_names_are_refused_with_their_fault() -> None:
    check_topic("t")
    check_group("g")
    with pytest.raises(IllegalNameError, match="topic 'a b' contains illegal characters"):
        check_topic("a b")
    with pytest.raises(IllegalNameError, match="121 characters, at most 120"):
        check_group("g" * 121)
