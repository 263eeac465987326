"""Snapshots on disk: Java's layout, whole or not there, damaged ones passed over."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import BinaryIO
from unittest.mock import Mock

import pytest

from ledgermq.dledger.log_reader import LogReader
from ledgermq.dledger.memory_ledger import MemoryLedger
from ledgermq.dledger.replication import Replication
from ledgermq.dledger.snapshot_transfer import SnapshotSender
from ledgermq.dledger.snapshots import RECEIVING, SnapshotDirectory, load
from ledgermq.store.disk import Disk


@pytest.fixture
def directory(tmp_path: Path) -> SnapshotDirectory:
    found = SnapshotDirectory(str(tmp_path / "snapshot"), 2, Disk())
    found.prepare()
    return found


def save(directory: SnapshotDirectory, index: int, data: bytes = b"state") -> None:
    def write(file: BinaryIO) -> None:
        file.write(data)

    directory.save(write, index, 3, 4800)


def read(directory: SnapshotDirectory, at_least: int = -1) -> tuple[int, bytes] | None:
    opened = directory.newest(at_least)
    if opened is None:
        return None
    found: list[bytes] = []
    load(opened, lambda file: found.append(file.read()))
    opened.close()
    return opened.meta.last_included_index, found[0]


def test_a_snapshot_is_kept_in_javas_layout(directory: SnapshotDirectory, tmp_path: Path) -> None:
    save(directory, 99, b"state" * 1_000_000)
    folder = tmp_path / "snapshot" / "snapshot_99"
    assert sorted(path.name for path in folder.iterdir()) == ["data", "snapshot_meta"]
    meta = json.loads((folder / "snapshot_meta").read_text())
    assert (meta["lastIncludedIndex"], meta["lastIncludedTerm"]) == (99, 3)
    assert read(directory) == (99, b"state" * 1_000_000)


def test_the_newest_are_kept(directory: SnapshotDirectory) -> None:
    for index in (9, 10, 100, 11):
        save(directory, index)
    assert directory.indexes() == [11, 100]
    assert read(directory, 100) == (100, b"state")
    assert read(directory, 101) is None


def test_one_of_javas_has_no_crc_and_is_read(directory: SnapshotDirectory, tmp_path: Path) -> None:
    folder = tmp_path / "snapshot" / "snapshot_7"
    folder.mkdir()
    (folder / "data").write_bytes(b"java's")
    (folder / "snapshot_meta").write_text('{"lastIncludedIndex":7,"lastIncludedTerm":2}')
    assert read(directory) == (7, b"java's")


@pytest.mark.parametrize("damage", ["flip", "cut", "longer", "no data", "no meta", "bad meta", "other index"])
def test_a_damaged_one_is_passed_over(directory: SnapshotDirectory, tmp_path: Path, damage: str) -> None:
    save(directory, 10, b"old")
    save(directory, 20, b"newer")
    folder = tmp_path / "snapshot" / "snapshot_20"
    data, meta = folder / "data", folder / "snapshot_meta"
    match damage:
        case "flip":
            data.write_bytes(b"newes")
        case "cut":
            data.write_bytes(b"new")
        case "longer":
            data.write_bytes(b"newer!")
        case "no data":
            data.unlink()
        case "no meta":
            meta.unlink()
        case "bad meta":
            meta.write_bytes(b"\x00{")
        case "other index":
            meta.write_text(meta.read_text().replace("20", "21"))
    assert read(directory) == (10, b"old")


def test_what_a_crash_left_half_written_is_cleared(directory: SnapshotDirectory, tmp_path: Path) -> None:
    save(directory, 10)
    directory.begin().write(b"half")
    directory.begin(RECEIVING).write(b"half")
    directory.prepare()
    assert [path.name for path in (tmp_path / "snapshot").iterdir()] == ["snapshot_10"]


def test_saving_and_receiving_do_not_meet(directory: SnapshotDirectory) -> None:
    saving, receiving = directory.begin(), directory.begin(RECEIVING)
    saving.write(b"saved")
    receiving.write(b"recei")
    receiving.write(b"ved")
    directory.finish(receiving, 30, 4, 96, RECEIVING)
    directory.finish(saving, 20, 3, 48)
    assert directory.indexes() == [20, 30]
    assert read(directory) == (30, b"received")


def test_a_writer_that_fails_leaves_the_old_ones(directory: SnapshotDirectory) -> None:
    save(directory, 10)

    def fail(file: BinaryIO) -> None:
        file.write(b"some")
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        directory.save(fail, 20, 3, 0)
    assert directory.indexes() == [10]
    save(directory, 30)
    assert directory.indexes() == [10, 30]


def test_an_open_one_can_be_read_on_after_it_was_removed(directory: SnapshotDirectory) -> None:
    save(directory, 10, b"first")
    opened = directory.newest()
    assert opened is not None
    save(directory, 20)
    save(directory, 30)
    assert directory.indexes() == [20, 30]
    assert opened.read(100, 0) == b"first"
    opened.close()


def test_a_snapshot_is_sent_with_where_its_last_entry_ends(directory: SnapshotDirectory) -> None:
    """The leader's next entry may be replaced by one that lies elsewhere."""
    ledger = MemoryLedger(8192)
    ledger.append_bodies(0, 3, [b"x" * 4752, b"y" * 4000])
    assert ledger.read(1, 1, 1).first_pos == 8192
    save(directory, 0)

    worker = Mock()
    reader = LogReader(ledger, worker)
    replication = Replication({}, ledger, reader, worker, directory, 9999, Mock(), Mock())
    opened = directory.newest()
    assert opened is not None
    assert (opened.meta.last_included_index, replication._next_pos(opened)) == (0, 4800)
    opened.close()


def test_a_snapshot_is_closed_whenever_its_sending_is_given_up() -> None:
    """Also when that comes before the first step."""

    async def scenario() -> None:
        opened = Mock()
        sender = SnapshotSender(1, Mock(), Mock())
        sender.start(opened, Mock(), 0)
        sender.cancel()
        await asyncio.sleep(0)  # the task ends
        await asyncio.sleep(0)  # who listens for that is called
        opened.close.assert_called_once_with()

    asyncio.run(scenario())
