"""Our note of the consume queues."""

from __future__ import annotations

import pytest

from ledgermq.store.queue_records import QueueRecords, decode_records, encode_records


def test_round_trip():
    records = QueueRecords({"T": {"0": 5, "11": 6}}, 77, {"old": 100})
    assert decode_records(encode_records(records)) == records


def test_what_older_versions_wrote_is_read():
    assert decode_records(b'{"topics":{},"indexOffset":-1}') == QueueRecords({}, -1)


@pytest.mark.parametrize(
    "data", [None, b"", b"{", b"[]", b'{"topics":{"T":{"0":"x"}},"indexOffset":0}', b"\xff"]
)
def test_what_is_no_note_is_none(data: bytes | None):
    assert decode_records(data) is None
