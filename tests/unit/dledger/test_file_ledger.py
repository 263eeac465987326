"""The ledger in files: what lies there, restarts, and damage. Crashes: tests/crash/ledger."""

from __future__ import annotations

import pytest
from tests.unit.dledger.ledgers import (
    DIRECTORY,
    FILE_BYTES,
    data_path,
    entries,
    index_path,
    opened,
)

from ledgermq.dledger.codes import DLedgerCode
from ledgermq.dledger.entries import FILLER, FILLER_FILE, EntryHead, IndexUnit
from ledgermq.dledger.file_ledger import FileLedger
from ledgermq.dledger.ledger import LedgerError
from ledgermq.dledger.messages import NO_TERM
from ledgermq.testing.simulation.disk import SimDisk


def filled(count: int = 20, size: int = 500) -> tuple[SimDisk, FileLedger]:
    """Entries of one size, each of them flushed; two terms."""
    disk = SimDisk(0)
    ledger = opened(disk)
    ledger.save_state(2, "n0")
    for index in range(count):
        ledger.append_bodies(index, 1 + index * 2 // count, [b"%d:" % index + b"x" * size])
    ledger.flush()
    return disk, ledger


def flip(disk: SimDisk, path: str, at: int) -> None:
    disk.names[path].seen[at] ^= 0x10


def refused(disk: SimDisk) -> str:
    with pytest.raises(LedgerError) as caught:
        opened(disk)
    assert caught.value.code == DLedgerCode.DISK_ERROR
    assert DIRECTORY in str(caught.value)
    return str(caught.value)


def test_the_files_are_javas():
    disk, ledger = filled()
    ledger.save_checkpoint(12)
    ledger.close()
    data = [name for name in disk.names if "/data/" in name]
    assert data == [data_path(base) for base in range(0, len(data) * FILE_BYTES, FILE_BYTES)]
    assert all(disk.path_bytes(name) == FILE_BYTES for name in data)
    head = EntryHead(bytes(disk.names[data_path(FILE_BYTES)].seen[:48]), 0)
    assert head.pos == FILE_BYTES
    unit = IndexUnit(bytes(disk.names[index_path(0)].seen), 32 * int(head.index))
    assert (unit.pos, unit.size, unit.index, unit.term) == (head.pos, head.size, head.index, head.term)
    first = bytes(disk.names[data_path(0)].seen)
    rest = FILE_BYTES - 7 * 550
    assert first[-rest : 8 - rest] == b"\xff\xff\xff\xff" + rest.to_bytes(4, "big")
    assert b"committedIndex=12\n" in bytes(disk.names[f"{DIRECTORY}/checkpoint"].seen)
    assert bytes(disk.names[f"{DIRECTORY}/currterm"].seen) == b"currTerm=2\nvoteLeader=n0\n"


def test_a_restart_finds_everything():
    disk, before = filled()
    before.save_checkpoint(12)
    before.close()
    ledger = opened(disk)
    assert (ledger.last_index, ledger.last_term, ledger.end_pos) == (19, 2, before.end_pos)
    assert ledger.runs() == before.runs() == [(0, 1), (10, 2)]
    assert (ledger.committed_index, ledger.load_state(), ledger.dirty) == (12, (2, "n0"), False)
    assert [ledger.body(index)[:3] for index in (0, 7, 19)] == [b"0:x", b"7:x", b"19:"]
    assert not ledger.in_memory(19)
    ledger.append_bodies(20, 2, [b"on"])
    assert ledger.in_memory(20)


@pytest.mark.parametrize("next_pos", [3 * FILE_BYTES + 480, 3 * FILE_BYTES])
def test_a_reset_log_is_found_again_empty_or_not(next_pos: int):
    disk, ledger = filled()
    ledger.save_state(7, "")
    ledger.reset(99, 7, next_pos)
    ledger.close()
    for appended in range(2):
        ledger = opened(disk)
        assert (ledger.first_index, ledger.last_index, ledger.base_term) == (100, 99 + appended, 7)
        assert ledger.end_pos == next_pos + appended * 49
        if not appended:
            ledger.append_bodies(100, 7, [b"n"])
            ledger.flush()
            ledger.close()
    assert ledger.body(100) == b"n"
    first = min(name for name in disk.names if "/data/" in name)
    head = EntryHead(bytes(disk.names[first].seen[:48]), 0)
    assert (head.index, head.term) == (99, 7)
    assert head.channel == (FILLER if next_pos % FILE_BYTES else FILLER_FILE)


def test_an_unfinished_reset_is_finished():
    disk, _ = filled()
    disk.replace_file(f"{DIRECTORY}/reset", b"lastIndex=99\nlastTerm=2\nnextPos=12768\n")
    disk.kill()
    ledger = opened(disk)
    assert (ledger.first_index, ledger.last_term, ledger.end_pos) == (100, 2, 12768)
    assert not disk.exists(f"{DIRECTORY}/reset")


def test_a_torn_tail_is_cut_for_good():
    disk, ledger = filled()
    ledger.append_bodies(20, 2, [b"new", b"newer", b"newest"])
    flip(disk, data_path(2 * FILE_BYTES), ledger.end_pos % FILE_BYTES - 60)  # In the second of the three.
    disk.kill()
    ledger = opened(disk)
    assert ledger.last_index == 20
    seen = disk.names[data_path(2 * FILE_BYTES)].seen
    assert not any(seen[ledger.end_pos % FILE_BYTES :])


def test_damage_before_a_later_file_is_refused():
    disk, _ = filled()
    flip(disk, data_path(FILE_BYTES), 600)
    disk.kill()
    assert "another CRC" in refused(disk)


def test_damage_of_what_the_checkpoint_covers_is_refused():
    disk, ledger = filled()
    ledger.save_checkpoint(19)
    flip(disk, data_path(2 * FILE_BYTES), ledger.end_pos % FILE_BYTES - 20)
    disk.kill()
    assert "had been promised" in refused(disk)


def test_lost_files_are_refused():
    disk, ledger = filled()
    ledger.save_checkpoint(19)
    ledger.close()
    removed = disk.names[data_path(FILE_BYTES)]
    disk.unlink(data_path(FILE_BYTES))
    assert "is missing" in refused(disk)
    disk.names[data_path(FILE_BYTES)] = removed
    for path in [name for name in disk.names if "/data/" in name]:
        disk.unlink(path)
    assert "has no files" in refused(disk)


def test_another_file_size_is_refused():
    disk, ledger = filled()
    ledger.close()
    with pytest.raises(LedgerError, match="mappedFileSizeForEntryData"):
        FileLedger(disk, DIRECTORY, 2 * FILE_BYTES, 2048)


def test_a_half_made_file_is_removed():
    disk, ledger = filled()
    ledger.close()
    disk.unlink(data_path(3 * FILE_BYTES)) if disk.exists(data_path(3 * FILE_BYTES)) else None
    disk.open(data_path(3 * FILE_BYTES), True)
    assert opened(disk).last_index == 19


@pytest.mark.parametrize("how", ["removed", "damaged", "short", "zeros", "other-size"])
@pytest.mark.parametrize("noted", [True, False])
def test_the_index_is_made_again(how: str, noted: bool):
    disk, ledger = filled(100, 30)
    if noted:
        ledger.save_checkpoint(99)
    ledger.close()
    seen = disk.names[index_path(0)].seen
    if how == "removed":
        disk.unlink(index_path(0))
    elif how == "damaged":
        seen[5] ^= 1
    elif how == "short":
        del seen[100:]
    elif how == "zeros":
        seen[:] = bytes(len(seen))
    ledger = FileLedger(disk, DIRECTORY, FILE_BYTES, 512) if how == "other-size" else opened(disk)
    assert ledger.runs() == [(0, 1), (50, 2)]
    assert [ledger.body(index)[:3] for index in range(0, 100, 9)] == [
        (b"%d:xxx" % index)[:3] for index in range(0, 100, 9)
    ]


def test_a_damaged_entry_is_an_error_when_it_is_read():
    disk, ledger = filled()
    ledger.save_checkpoint(19)
    ledger.close()
    ledger = opened(disk)
    flip(disk, data_path(0), 550 + 100)
    assert ledger.read(0, 1 << 20).last_index == 0
    with pytest.raises(LedgerError, match="entry 1 is damaged") as caught:
        ledger.read(1, 1000)
    assert caught.value.code == DLedgerCode.DISK_ERROR
    flip(disk, index_path(0), 32 * 3 + 20)
    with pytest.raises(LedgerError, match=r"index of .* is damaged at entry 3"):
        ledger.body(3)


def test_a_directory_is_used_by_one():
    disk, _ = filled()
    disk.lock = lambda fd: 4711  # type: ignore[method-assign]  # it fails as the test says
    assert "pid 4711" in refused(disk)


def test_a_cut_log_begins_elsewhere_only_with_a_filler():
    disk, ledger = filled()
    first = ledger.delete_before(15)
    assert first > 0
    pos = ledger.read(first, 1).first_pos
    ledger.truncate(first - 1)
    ledger.close()
    ledger = opened(disk)
    assert (ledger.first_index, ledger.last_index, ledger.end_pos) == (first, first - 1, pos)
    ledger.append(entries(first, 2, pos, b"again"))
    assert ledger.body(first) == b"again"


def test_a_log_that_is_cut_to_nothing_keeps_the_term_that_it_is_told():
    """After a restart it has forgotten the term of what retention has removed."""
    disk, ledger = filled()
    first = ledger.delete_before(15)
    ledger.close()
    ledger = opened(disk)
    assert ledger.base_term == NO_TERM
    ledger.truncate(first - 1, 1)
    assert ledger.last_term == 1
    ledger.close()
    ledger = opened(disk)
    assert (ledger.last_index, ledger.last_term) == (first - 1, 1)


def test_a_ledger_without_entries_has_nothing_for_retention():
    _, ledger = filled(0)
    assert ledger.data_files() == []


def test_retention_sees_data_files():
    _, ledger = filled()
    assert [file.last_index for file in ledger.data_files()] == [6, 13, 19]
    assert ledger.used_ratio == 0.1


def test_the_next_file_is_made_ahead():
    disk, ledger = filled(6, 500)
    assert disk.exists(data_path(FILE_BYTES))
    disk.fail_writes = True
    ledger_end = ledger.end_pos
    with pytest.raises(OSError, match="no space"):
        ledger.append_bodies(6, 2, [b"x"])
    assert ledger.end_pos == ledger_end
