"""Which brokers to spare: one that failed or answered slowly is not chosen for a while.

Pure: the caller says what time it is. Durations are those of Java's ``MQFaultStrategy``.
"""

from __future__ import annotations

from typing import Final

_SPARED_MS: Final = ((15000, 30000), (5000, 10000), (3000, 6000), (1800, 5000), (550, 2000))
"""(answered after at least, is spared for), longest first."""
_FAILED_MS: Final = 10000
"""A failed request counts as an answer after this time."""


class BrokerHealth:
    """What one producer knows of the brokers that it has sent to."""

    def __init__(self) -> None:
        self._spared_until_ms: dict[str, int] = {}

    def record(self, broker_name: str, elapsed_ms: int, now_ms: int, *, failed: bool = False) -> None:
        """A request to ``broker_name`` took ``elapsed_ms``, or failed."""
        if failed:
            elapsed_ms = max(elapsed_ms, _FAILED_MS)
        for slow_ms, spared_ms in _SPARED_MS:
            if elapsed_ms >= slow_ms:
                self._spared_until_ms[broker_name] = now_ms + spared_ms
                return
        self._spared_until_ms.pop(broker_name, None)

    def is_available(self, broker_name: str, now_ms: int) -> bool:
        """Whether to choose ``broker_name`` while there is another."""
        return now_ms >= self._spared_until_ms.get(broker_name, 0)
