"""What is deleted when."""

from __future__ import annotations

import pytest
from tests.unit.store.stores import config

from ledgermq.store.retention import HOUR_MS, LogFile, Retention

NOW = 1_000 * HOUR_MS


def files(*ages_hours: float) -> list[LogFile]:
    return [LogFile(n * 4096, int(NOW - age * HOUR_MS)) for n, age in enumerate(ages_hours)]


def chosen(retention: Retention, ages: tuple[float, ...], used: float = 0.1, hour: int = 12) -> int:
    log = files(*ages)
    found = retention.files_to_delete(log, used, NOW, hour)
    assert found == log[: len(found)], "oldest first, none left out"
    return len(found)


AGES = (100, 90, 80, 73, 71, 1)


@pytest.mark.parametrize(
    ("hour", "used", "count"),
    [(4, 0.1, 4), (5, 0.1, 0), (12, 0.76, 4), (12, 0.74, 0), (12, 0.86, 5), (4, 0.99, 5)],
)
def test_expired_at_its_hour_or_when_space_is_short_and_any_when_it_is_urgent(
    hour: int, used: float, count: int
):
    assert chosen(Retention(config()), AGES, used, hour) == count


def test_hours_are_a_list():
    retention = Retention(config(delete_when="03;15"))
    assert [hour for hour in range(24) if chosen(retention, AGES, hour=hour)] == [3, 15]


def test_the_last_file_is_never_deleted():
    retention = Retention(config())
    assert chosen(retention, (1000,), 0.99, 4) == 0
    assert chosen(retention, (), 0.99, 4) == 0
    assert chosen(retention, (1000, 1000), 0.99, 4) == 1


def test_not_more_than_a_batch_at_a_time():
    assert chosen(Retention(config(delete_file_batch_max=3)), (100,) * 9, hour=4) == 3


def test_urgency_is_an_option():
    assert chosen(Retention(config(clean_file_forcibly_enable=False)), AGES, 0.99) == 4


def test_a_young_file_keeps_the_older_ones_behind_it():
    assert chosen(Retention(config()), (100, 1, 100, 100), hour=4) == 1


def test_an_operator_asks():
    retention = Retention(config())
    retention.delete_now()
    assert [chosen(retention, AGES) for _ in range(22)] == [4] * 20 + [0] * 2


def test_a_full_disk_refuses_and_accepts_again():
    retention = Retention(config())
    retention.observe_disk(0.895)
    assert retention.disk_full == ""
    retention.observe_disk(0.905)
    assert "90.5" in retention.disk_full
    assert "diskSpaceWarningLevelRatio" in retention.disk_full
    retention.observe_disk(0.85)
    assert retention.disk_full == ""
