"""What stands in the stores of a group's members, which must be equal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
from tests.interop.harness.driver import Driver
from tests.interop.harness.quorum import FILE_BYTES, Member

INDEX_FILE_BYTES = 5 * 1024 * 1024 * 32
"""Java's brokers leave it at DLedger's default."""
UNIT_BYTES = 20


class EntryDigest(msgspec.Struct, frozen=True, array_like=True):
    """An entry as Java's file store reads it; ``body`` is its SHA-1 in hex."""

    index: int
    term: int
    pos: int
    size: int
    body: str


def entries(driver: Driver, member: Member) -> list[EntryDigest]:
    """Every entry of a member that does not run, after the recovery of Java's store."""
    rows = driver.call(
        "dledger.digests",
        directory=str(member.store),
        id=member.id,
        dataFileBytes=FILE_BYTES,
        indexFileBytes=INDEX_FILE_BYTES,
    )
    return msgspec.convert(rows, list[EntryDigest])


def queue_units(member: Member) -> dict[str, bytes]:
    """By topic/queue, the units of every consume queue up to the first empty one."""
    root = member.store / "consumequeue"
    return {
        str(folder.relative_to(root)): _units(folder) for folder in sorted(root.glob("*/*")) if _units(folder)
    }


def _units(folder: Path) -> bytes:
    units = bytearray()
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        for at in range(0, len(data), UNIT_BYTES):
            unit = data[at : at + UNIT_BYTES]
            if unit[8:12] == bytes(4):
                return bytes(units)
            units += unit
    return bytes(units)


def check_equal_stores(driver: Driver, members: Sequence[Member], least: dict[str, int]) -> None:
    """Logs and consume queues agree as far as the shortest, which has what ``least`` says.

    ``least`` is topic/queue to a count of messages. A member that stopped earlier may lack the last entries.
    """
    logs = {member.id: entries(driver, member) for member in members}
    shortest = min(len(log) for log in logs.values())
    [reference, *others] = logs.values()
    for log in others:
        assert log[:shortest] == reference[:shortest]
    queues = {member.id: queue_units(member) for member in members}
    for name, count in least.items():
        for id, units in queues.items():
            assert len(units.get(name, b"")) >= count * UNIT_BYTES, (id, name)
    for name in set().union(*queues.values()):
        texts = sorted((units.get(name, b"") for units in queues.values()), key=len)
        for text in texts[1:]:
            assert text.startswith(texts[0]), name
