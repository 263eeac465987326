"""Our own note of the consume queues, ``queueRecords.json``: how many units of each were made durable.

It tells recovery of a queue that is missing or short, which nothing else would: a queue without files is
otherwise the same as a topic never written to. Java neither reads nor writes it.

Rules of this file: pure. Text that is no such note decodes to None.
"""

from __future__ import annotations

from typing import Final

import msgspec

FILE_NAME: Final = "queueRecords.json"


class QueueRecords(msgspec.Struct, rename="camel"):
    """``topics[topic][queue id as text]`` is a queue offset: units below it are durable."""

    topics: dict[str, dict[str, int]]
    index_offset: int
    """Log offset of the last record indexed durably, -1 for none."""
    deleted_before: dict[str, int] = {}
    """See :attr:`QueueTable.deleted_before`."""


def encode_records(records: QueueRecords) -> bytes:
    return msgspec.json.encode(records)


def decode_records(data: bytes | None) -> QueueRecords | None:
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=QueueRecords)
    except msgspec.MsgspecError:
        return None
