import pytest

from ledgermq.client.name_servers import parse_addresses


def test_addresses() -> None:
    assert parse_addresses("127.0.0.1:9876") == ["127.0.0.1:9876"]
    assert parse_addresses(" a:1 ; b:2;") == ["a:1", "b:2"]
    assert parse_addresses(["a", "b:2"]) == ["a:9876", "b:2"]
    assert parse_addresses("[::1]:9876") == ["[::1]:9876"]


@pytest.mark.parametrize("text", ["", ";", "a:", "a:x", "a:99999", ":1"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="address"):
        parse_addresses(text)
