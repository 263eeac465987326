"""docs/protocols.md says what the servers do."""

import asyncio
from pathlib import Path

import pytest
from scripts import protocol_reference

from ledgermq.remoting.requests import REQUESTS

PAGE = Path(__file__).parents[2] / "docs" / "protocols.md"

pytestmark = pytest.mark.slow


def test_the_page_is_current() -> None:
    text = PAGE.read_text("utf-8")
    assert text == protocol_reference.page(text), "run `make docs`"


def test_the_table_of_requests_has_what_is_served_or_sent() -> None:
    of_name_server, of_broker = asyncio.run(protocol_reference.ask_both())
    assert {*of_name_server, *of_broker, *protocol_reference.SENT} == set(REQUESTS)
