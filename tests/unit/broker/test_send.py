"""Refusals of a message, and ids of stored ones."""

from __future__ import annotations

import pytest

from ledgermq.broker.send import check_properties, refusal_of
from ledgermq.broker.send_back import record_id
from ledgermq.broker.send_path import waits_not
from ledgermq.message.properties import PropertyScan
from ledgermq.message.record import Record
from ledgermq.remoting.codes import ResponseCode
from ledgermq.remoting.command import PeerError
from ledgermq.store.errors import StoreError, StoreWriteError


def test_a_store_that_cannot_write_asks_to_come_back_and_one_that_will_not_does_not() -> None:
    later = refusal_of(StoreWriteError("no room"))
    assert (later.code, later.remark) == (ResponseCode.SERVICE_NOT_AVAILABLE, "no room")
    never = refusal_of(StoreError("no batch"))
    assert (never.code, never.remark) == (ResponseCode.MESSAGE_ILLEGAL, "no batch")


def test_properties_have_the_room_that_a_record_has() -> None:
    check_properties(b"")
    check_properties(bytes(32767))
    with pytest.raises(PeerError, match="32768 bytes") as error:
        check_properties(bytes(32768))
    assert error.value.code == ResponseCode.MESSAGE_ILLEGAL


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        (b"WAIT\x01false\x02", True),
        (b"a\x01b\x02WAIT\x01false", True),
        (b"WAIT\x01true\x02", False),
        (b"WAIT\x01FALSE\x02", False),
        (b"WAIT\x01\x02", False),
        (b"", False),
    ],
)
def test_only_wait_false_says_that_nobody_waits(properties: bytes, expected: bool) -> None:
    scan = PropertyScan()
    scan.scan(properties)
    assert waits_not(scan, properties) is expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (bytes([127, 0, 0, 1]) + (10911).to_bytes(4, "big"), "7F00000100002A9F00000000000000FF"),
        (bytes(15) + b"\x01" + (1).to_bytes(4, "big"), "0" * 31 + "1" + "00000001" + "00000000000000FF"),
    ],
)
def test_the_id_of_a_record_names_its_host_and_place(host: bytes, expected: str) -> None:
    record = Record()
    record.store_host = host
    record.log_offset = 255
    assert record_id(record) == expected
