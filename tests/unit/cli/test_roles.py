"""What the serving commands derive from their flags."""

from pathlib import Path

import pytest

from ledgermq.cli.roles import Output, _reachable


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1:1"),
        ("broker.example", "broker.example:1"),
        ("0.0.0.0", "127.0.0.1:1"),
        ("::", "[::1]:1"),
        ("::1", "[::1]:1"),
    ],
)
def test_where_a_server_is_reached(host: str, address: str) -> None:
    assert _reachable(host, 1) == address


@pytest.mark.parametrize(
    ("flag", "store", "path"),
    [
        (None, Path("s"), Path("s/logs/ledgermq.log")),
        (None, None, None),
        ("-", Path("s"), None),
        ("x.log", Path("s"), Path("x.log")),
        ("x.log", None, Path("x.log")),
    ],
)
def test_where_the_log_goes(flag: str | None, store: Path | None, path: Path | None) -> None:
    assert Output(print_json=False, log=flag).log_path(store) == path
