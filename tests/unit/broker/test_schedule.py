"""Which delay level a message asks for, and what it carries while it waits."""

from __future__ import annotations

from typing import cast

import pytest

from ledgermq.broker.schedule import as_scheduled, delay_level
from ledgermq.broker.send_path import SendPath, SendTopic
from ledgermq.broker.traffic import Traffic
from ledgermq.message.delay_levels import DelayLevels
from ledgermq.remoting.codes import ResponseCode
from ledgermq.remoting.command import PeerError


@pytest.mark.parametrize(
    ("text", "level"), [(None, 0), ("0", 0), ("3", 3), ("-1", -1), ("007", 7), ("999999999", 999_999_999)]
)
def test_the_level_of_a_message(text: str | None, level: int) -> None:
    assert delay_level({} if text is None else {"DELAY": text}) == level


@pytest.mark.parametrize("text", ["x", "", " 3", "3 ", "1.0", "+1", "²", "٣", "1" * 10, "--1"])
def test_what_is_no_level_is_refused(text: str) -> None:
    with pytest.raises(PeerError, match="is no delay level") as error:
        delay_level({"DELAY": text})
    assert error.value.code == ResponseCode.MESSAGE_ILLEGAL


class Topics:
    """Of a SendPath, what is needed here."""

    def topic(self, name: bytes, queue_count: int) -> SendTopic:
        assert (name, queue_count) == (b"SCHEDULE_TOPIC_XXXX", 3)
        return SendTopic(name, Traffic())


@pytest.mark.parametrize(("asked", "level"), [(1, 1), (3, 3), (4, 3), (99, 3), (0, 1), (-5, 1)])
def test_a_waiting_message_remembers_its_topic_and_queue(asked: int, level: int) -> None:
    properties = {
        "k": "v",
        "DELAY": "9",
        "TIMER_DELAY_SEC": "1",
        "TIMER_DELAY_MS": "2",
        "TIMER_DELIVER_MS": "3",
    }
    path = cast(SendPath, Topics())
    _, queue_id = as_scheduled(properties, "%RETRY%g", 5, asked, DelayLevels("1s 2s 3s"), path)
    assert queue_id == level - 1
    assert properties == {"k": "v", "DELAY": str(level), "REAL_TOPIC": "%RETRY%g", "REAL_QID": "5"}
