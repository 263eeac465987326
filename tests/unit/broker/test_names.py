import pytest

from ledgermq.broker.names import check_group, check_topic
from ledgermq.remoting.codes import ResponseCode
from ledgermq.remoting.command import PeerError


def test_names_are_refused_with_their_fault() -> None:
    check_topic("t")
    check_group("g")
    for check, name, said in (
        (check_topic, "a/b", "topic 'a/b' contains illegal characters"),
        (check_group, "g" * 121, "at most 120"),
    ):
        with pytest.raises(PeerError, match=said) as refused:
            check(name)
        assert refused.value.code == ResponseCode.INVALID_PARAMETER
