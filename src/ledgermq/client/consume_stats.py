"""How fast a consumer consumes, as administration tools ask for it (Java: ``ConsumeStatus``). Pure."""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

WINDOW_MS: Final = 60_000
_SLOT_MS: Final = 1_000


class ConsumeStatus(msgspec.Struct, rename="camel"):
    """One topic in the last minute: averages in ms, rates per second; ``consume_failed_msgs`` is a count."""

    pull_rt: float = msgspec.field(name="pullRT", default=0.0)
    pull_tps: float = msgspec.field(name="pullTPS", default=0.0)
    consume_rt: float = msgspec.field(name="consumeRT", default=0.0)
    consume_ok_tps: float = msgspec.field(name="consumeOKTPS", default=0.0)
    consume_failed_tps: float = msgspec.field(name="consumeFailedTPS", default=0.0)
    consume_failed_msgs: int = 0


class _Slot(msgspec.Struct):
    begin_ms: int
    ok: int = 0
    failed: int = 0
    calls: int = 0
    elapsed_ms: int = 0


class ConsumeStats:
    """Counts of each topic, second by second, for one minute."""

    def __init__(self) -> None:
        self._slots: dict[str, deque[_Slot]] = {}

    def consumed(self, topic: str, count: int, elapsed_ms: int, now_ms: int, *, ok: bool) -> None:
        """A listener took ``elapsed_ms`` for ``count`` messages."""
        slots = self._slots.setdefault(topic, deque(maxlen=WINDOW_MS // _SLOT_MS + 1))
        begin_ms = now_ms - now_ms % _SLOT_MS
        if not slots or slots[-1].begin_ms != begin_ms:
            slots.append(_Slot(begin_ms))
        slot = slots[-1]
        slot.calls += 1
        slot.elapsed_ms += elapsed_ms
        if ok:
            slot.ok += count
        else:
            slot.failed += count

    def status(self, topic: str, now_ms: int) -> ConsumeStatus:
        """What was counted in the last minute. What is pulled is consumed, so both rates are one."""
        slots = [slot for slot in self._slots.get(topic, ()) if slot.begin_ms > now_ms - WINDOW_MS]
        ok, failed = sum(slot.ok for slot in slots), sum(slot.failed for slot in slots)
        calls, elapsed_ms = sum(slot.calls for slot in slots), sum(slot.elapsed_ms for slot in slots)
        seconds = WINDOW_MS / 1000
        return ConsumeStatus(
            pull_tps=(ok + failed) / seconds,
            consume_rt=elapsed_ms / calls if calls else 0.0,
            consume_ok_tps=ok / seconds,
            consume_failed_tps=failed / seconds,
            consume_failed_msgs=failed,
        )
