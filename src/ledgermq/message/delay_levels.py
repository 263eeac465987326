"""Delay levels: the fixed delays by which RocketMQ delays messages (Java: ``messageDelayLevel``).

A delayed message lies in queue (level - 1) of the topic SCHEDULE_TOPIC_XXXX, and its unit there carries the
time of delivery where other units carry the tag code.
"""

from __future__ import annotations

from typing import Final

SCHEDULE_TOPIC: Final = b"SCHEDULE_TOPIC_XXXX"

_UNIT_MS: Final = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


class DelayLevels:
    """``messageDelayLevel``: the delay of level 1, 2, … in ms. Raises ValueError."""

    def __init__(self, text: str) -> None:
        self.delays_ms: list[int] = []
        for word in text.split():
            if word[-1] not in _UNIT_MS or not word[:-1].isdigit():
                raise ValueError(f"messageDelayLevel: {word!r} is not a number with s, m, h or d behind it")
            self.delays_ms.append(int(word[:-1]) * _UNIT_MS[word[-1]])
        if not self.delays_ms:
            raise ValueError("messageDelayLevel is empty")

    def clamp(self, level: int) -> int:
        """``level`` as it can be served: 1 to the highest."""
        return max(1, min(level, len(self.delays_ms)))

    def due_time(self, level: int, store_ms: int) -> int:
        return store_ms + self.delays_ms[self.clamp(level) - 1]
