"""Addresses as text."""

import pytest

from ledgermq.remoting.client import split_address


@pytest.mark.parametrize(
    ("address", "pair"),
    [
        ("127.0.0.1:9876", ("127.0.0.1", 9876)),
        ("broker.example:0", ("broker.example", 0)),
        ("[::1]:65535", ("::1", 65535)),
    ],
)
def test_split(address: str, pair: tuple[str, int]) -> None:
    assert split_address(address) == pair


@pytest.mark.parametrize("address", ["", "host", ":1", "host:", "host:65536", "host:-1", "host:1x", "host:²"])
def test_no_address(address: str) -> None:
    with pytest.raises(ValueError, match="is not host:port"):
        split_address(address)
