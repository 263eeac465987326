"""Retention of a ledger's data files."""

from __future__ import annotations

from ledgermq.dledger.ledger_retention import DELETE_HOUR, HOUR_MS, DataFile, Retention

NOW = 1_700_000_000_000
OLD = NOW - 72 * HOUR_MS
FILES = [DataFile(99, OLD), DataFile(199, OLD), DataFile(299, NOW), DataFile(399, NOW)]
FAR = 1 << 60


def kept_from(used_ratio: float, hour: int, keep_from: int = FAR, files: list[DataFile] = FILES) -> int:
    return Retention().delete_before(files, used_ratio, NOW, hour, keep_from)


def test_expired_files_go_at_the_hour():
    assert kept_from(0.1, DELETE_HOUR) == 200
    assert kept_from(0.1, DELETE_HOUR + 1) == 0


def test_expired_files_go_when_the_disk_fills():
    assert kept_from(0.71, 12) == 200


def test_any_file_but_the_last_goes_when_the_disk_is_nearly_full():
    assert kept_from(0.86, 12) == 300


def test_what_is_needed_stays_whatever_the_disk():
    assert kept_from(0.99, DELETE_HOUR, keep_from=150) == 100
    assert kept_from(0.99, DELETE_HOUR, keep_from=99) == 0
    assert kept_from(0.99, DELETE_HOUR, keep_from=0) == 0


def test_the_oldest_files_go_first_and_none_is_left_out():
    assert kept_from(0.1, DELETE_HOUR, files=[DataFile(9, NOW), *FILES]) == 0


def test_ten_files_at_a_time():
    files = [DataFile(n * 10 + 9, OLD) for n in range(30)]
    assert kept_from(0.1, DELETE_HOUR, files=files) == 100


def test_less_than_an_hour_counts_as_one():
    files = [DataFile(9, NOW - HOUR_MS + 1), DataFile(19, NOW)]
    assert Retention(reserved_hours=0).delete_before(files, 0.1, NOW, DELETE_HOUR, FAR) == 0
