"""Delay levels as ``messageDelayLevel`` states them."""

from __future__ import annotations

import pytest

from ledgermq.message.delay_levels import DelayLevels


def test_units_and_order() -> None:
    assert DelayLevels("1s 5m 2h 1d").delays_ms == [1000, 300_000, 7_200_000, 86_400_000]


@pytest.mark.parametrize(("asked", "served"), [(-3, 1), (0, 1), (2, 2), (3, 3), (19, 3)])
def test_a_level_is_served_as_the_nearest_there_is(asked: int, served: int) -> None:
    assert DelayLevels("1s 5s 10s").clamp(asked) == served


def test_due_time_counts_from_the_store_time() -> None:
    assert DelayLevels("1s 5s 10s").due_time(3, 1_000_000) == 1_010_000


@pytest.mark.parametrize("text", ["", "5", "s", "1s 5x", "-1s", "1.5s"])
def test_what_is_no_level_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="messageDelayLevel"):
        DelayLevels(text)
