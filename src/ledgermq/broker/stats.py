"""Traffic by topic and group over the last minute, hour and day (Java: ``BrokerStatsManager``).

The hot paths bump a :class:`Traffic` and nothing else. A timer calls :meth:`BrokerStats.sample` every
10 s, which notes the values: every 10 s for the minute, every 10 min for the hour, every hour for the day.
A window's sum is the last value noted less the first, its tps that sum over the time between.

Rules of this file: pure; time comes in. A counter that stands still costs a comparison each sample and two
noted values for each window, so ten thousand idle topics cost nothing to speak of.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from itertools import chain
from typing import Final

import msgspec

from ledgermq.broker.traffic import Traffic
from ledgermq.runtime.limits import STATS_KEYS_MAX

SAMPLE_MS: Final = 10_000

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000
HOUR_STEP_MS: Final = 600_000
DAY_STEP_MS: Final = HOUR_MS

TOPIC_PUT_NUMS: Final = "TOPIC_PUT_NUMS"
TOPIC_PUT_SIZE: Final = "TOPIC_PUT_SIZE"
GROUP_GET_NUMS: Final = "GROUP_GET_NUMS"
GROUP_GET_SIZE: Final = "GROUP_GET_SIZE"
SEND_BACK_NUMS: Final = "SNDBCK_PUT_NUMS"
BROKER_PUT_NUMS: Final = "BROKER_PUT_NUMS"
BROKER_GET_NUMS: Final = "BROKER_GET_NUMS"

_ROW: Final = 4
"""Values of one note: time, messages, size, requests."""
_MESSAGES: Final = 1
_SIZE: Final = 2
_REQUESTS: Final = 3

RATE_SPANS_MS: Final = (10_000, 60_000, 600_000)


class WindowStats(msgspec.Struct):
    """One window of one counter: what was counted, per second, and on average per request."""

    avgpt: float = 0.0
    sum: int = 0
    tps: float = 0.0


class CounterStats(msgspec.Struct, rename="camel"):
    """VIEW_BROKER_STATS_DATA's answer (Java: ``BrokerStatsData``)."""

    stats_day: WindowStats
    stats_hour: WindowStats
    stats_minute: WindowStats


class Rates(msgspec.Struct):
    """What the broker does per second, each over the last 10 s, 60 s and 600 s."""

    puts: tuple[float, ...]
    """Messages sent to it."""
    gets: tuple[float, ...]
    """Messages pulled from it."""
    found: tuple[float, ...]
    """Pulls that found messages."""
    missed: tuple[float, ...]
    """Pulls that found none."""


class _Window:
    """Values noted over one span. A run of equal values is kept as its two ends."""

    __slots__ = ("_noted", "_span_ms")

    def __init__(self, span_ms: int, first_ms: int) -> None:
        self._span_ms = span_ms
        self._noted = array("q", (first_ms, 0, 0, 0))

    def note(self, now_ms: int, traffic: Traffic) -> None:
        noted = self._noted
        row = (now_ms, traffic.messages, traffic.size, traffic.requests)
        unchanged = noted[-3] == row[1] and noted[-1] == row[3]
        if unchanged and len(noted) > _ROW and noted[-3 - _ROW] == row[1] and noted[-1 - _ROW] == row[3]:
            noted[-_ROW] = now_ms
        else:
            noted.extend(row)
        while len(noted) > 2 * _ROW and noted[_ROW] <= now_ms - self._span_ms:
            del noted[:_ROW]

    def stats(self, column: int) -> WindowStats:
        noted = self._noted
        total = noted[column - _ROW] - noted[column]
        requests = noted[-1] - noted[_ROW - 1]
        ended_ms = noted[-_ROW]
        elapsed_ms = ended_ms - max(noted[0], ended_ms - self._span_ms)
        return WindowStats(
            avgpt=total / requests if requests else 0.0,
            sum=total,
            tps=total * 1000 / elapsed_ms if elapsed_ms > 0 else 0.0,
        )

    def rate(self, column: int, span_ms: int) -> float:
        """Per second over the last ``span_ms``, or since the first value noted."""
        noted = self._noted
        ended_ms = noted[-_ROW]
        at = len(noted) - _ROW
        while at > 0 and noted[at] > ended_ms - span_ms:
            at -= _ROW
        elapsed_ms = ended_ms - max(noted[at], ended_ms - span_ms)
        return (noted[column - _ROW] - noted[at + column]) * 1000 / elapsed_ms if elapsed_ms > 0 else 0.0


class _Series:
    """The three windows of one counter."""

    __slots__ = ("day", "hour", "minute", "traffic")

    def __init__(self, traffic: Traffic, now_ms: int) -> None:
        self.traffic = traffic
        self.minute = _Window(MINUTE_MS, now_ms)
        self.hour = _Window(HOUR_MS, now_ms)
        self.day = _Window(DAY_MS, now_ms)

    def view(self, column: int) -> CounterStats:
        return CounterStats(self.day.stats(column), self.hour.stats(column), self.minute.stats(column))


class BrokerStats:
    """All counters of one broker."""

    def __init__(self, cluster: str, now_ms: int, day: int) -> None:
        self._day = day
        self.started_ms = now_ms
        self.missed_pulls = Traffic()
        """Pulls that found nothing; ``requests`` counts them."""
        self.put_total_mornings = (0, 0)
        """Messages put until yesterday's and until today's midnight, without system topics."""
        self.get_total_mornings = (0, 0)
        self._cluster = cluster
        self._now_ms = now_ms
        self._puts: dict[str, _Series] = {}
        self._gets: dict[str, _Series] = {}
        self._send_backs: dict[str, _Series] = {}
        self._other = Traffic()
        self._gone_puts = Traffic()
        self._gone_gets = Traffic()
        """What deleted topics and groups have counted, so that totals never fall."""
        self._all_puts = _Series(Traffic(), now_ms)
        self._all_gets = _Series(Traffic(), now_ms)
        self._recent = {
            traffic: _Window(RATE_SPANS_MS[-1], now_ms)
            for traffic in (self._all_puts.traffic, self._all_gets.traffic, self.missed_pulls)
        }
        self._hour_step = 0
        self._day_step = 0

    # ---- counters for the hot paths ----

    def puts(self, topic: str, *, system: bool) -> Traffic:
        """The counter of messages sent to ``topic``; keep it and bump it."""
        return self._counter(self._puts, topic, system)

    def gets(self, group: str, topic: str, *, system: bool) -> Traffic:
        """The counter of messages that ``group`` has pulled of ``topic``."""
        return self._counter(self._gets, f"{topic}@{group}", system)

    def send_backs(self, group: str, topic: str) -> Traffic:
        """The counter of messages that ``group`` has sent back of ``topic``."""
        return self._counter(self._send_backs, f"{topic}@{group}", False)

    def _counter(self, table: dict[str, _Series], key: str, system: bool) -> Traffic:
        found = table.get(key)
        if found is None:
            if len(self._puts) + len(self._gets) + len(self._send_backs) >= STATS_KEYS_MAX:
                return self._other
            found = table[key] = _Series(Traffic(system=system), self._now_ms)
        return found.traffic

    def drop_topic(self, topic: str) -> None:
        """The topic is deleted."""
        self._retire(self._puts, [topic] if topic in self._puts else [], self._gone_puts)
        prefix = topic + "@"
        self._retire(self._gets, [key for key in self._gets if key.startswith(prefix)], self._gone_gets)
        self._retire(self._send_backs, [key for key in self._send_backs if key.startswith(prefix)], Traffic())

    def drop_group(self, group: str) -> None:
        """The group is deleted."""
        suffix = "@" + group
        self._retire(self._gets, [key for key in self._gets if key.endswith(suffix)], self._gone_gets)
        self._retire(self._send_backs, [key for key in self._send_backs if key.endswith(suffix)], Traffic())

    @staticmethod
    def _retire(table: dict[str, _Series], keys: list[str], gone: Traffic) -> None:
        for key in keys:
            traffic = table.pop(key).traffic
            if not traffic.system:
                gone.messages += traffic.messages
                gone.size += traffic.size
                gone.requests += traffic.requests

    # ---- sampling ----

    def sample(self, now_ms: int, day: int) -> None:
        """Note every counter; called every SAMPLE_MS. ``day`` is the number of the local date: when it
        changes, the daily totals begin anew."""
        self._now_ms = now_ms
        if day != self._day:
            self._day = day
            self.put_total_mornings = (self.put_total_mornings[1], self.put_total())
            self.get_total_mornings = (self.get_total_mornings[1], self.get_total())
        self._sum_up()
        for series in self._every():
            series.minute.note(now_ms, series.traffic)
        for traffic, window in self._recent.items():
            window.note(now_ms, traffic)
        elapsed_ms = now_ms - self.started_ms
        if elapsed_ms // HOUR_STEP_MS != self._hour_step:
            self._hour_step = elapsed_ms // HOUR_STEP_MS
            for series in self._every():
                series.hour.note(now_ms, series.traffic)
        if elapsed_ms // DAY_STEP_MS != self._day_step:
            self._day_step = elapsed_ms // DAY_STEP_MS
            for series in self._every():
                series.day.note(now_ms, series.traffic)

    def _every(self) -> Iterator[_Series]:
        tables = (self._puts.values(), self._gets.values(), self._send_backs.values())
        return chain(*tables, (self._all_puts, self._all_gets))

    def _sum_up(self) -> None:
        for all_of, table, gone in (
            (self._all_puts.traffic, self._puts, self._gone_puts),
            (self._all_gets.traffic, self._gets, self._gone_gets),
        ):
            all_of.messages, all_of.size, all_of.requests = gone.messages, gone.size, gone.requests
            for series in table.values():
                all_of.messages += series.traffic.messages
                all_of.size += series.traffic.size
                all_of.requests += series.traffic.requests

    # ---- what is shown ----

    def view(self, name: str, key: str) -> CounterStats | None:
        """The windows of a counter by Java's name and key; None when there is no such counter."""
        if name in (BROKER_PUT_NUMS, BROKER_GET_NUMS):
            if key != self._cluster:
                return None
            return (self._all_puts if name == BROKER_PUT_NUMS else self._all_gets).view(_MESSAGES)
        tables = {
            TOPIC_PUT_NUMS: (self._puts, _MESSAGES),
            TOPIC_PUT_SIZE: (self._puts, _SIZE),
            GROUP_GET_NUMS: (self._gets, _MESSAGES),
            GROUP_GET_SIZE: (self._gets, _SIZE),
            SEND_BACK_NUMS: (self._send_backs, _MESSAGES),
        }
        if name not in tables:
            return None
        table, column = tables[name]
        found = table.get(key)
        return None if found is None else found.view(column)

    def put_tps(self, topic: str) -> float:
        """Messages per second sent to the topic in the last minute."""
        found = self._puts.get(topic)
        return 0.0 if found is None else found.minute.stats(_MESSAGES).tps

    def get_tps(self, group: str, topic: str) -> float:
        """Messages per second that the group has pulled of the topic in the last minute."""
        found = self._gets.get(f"{topic}@{group}")
        return 0.0 if found is None else found.minute.stats(_MESSAGES).tps

    def rates(self) -> Rates:
        def of(traffic: Traffic, column: int) -> tuple[float, ...]:
            return tuple(self._recent[traffic].rate(column, span_ms) for span_ms in RATE_SPANS_MS)

        gets = self._all_gets.traffic
        return Rates(
            puts=of(self._all_puts.traffic, _MESSAGES),
            gets=of(gets, _MESSAGES),
            found=of(gets, _REQUESTS),
            missed=of(self.missed_pulls, _REQUESTS),
        )

    def all_puts(self) -> Traffic:
        """Everything put since the start, as of the last sample."""
        return self._all_puts.traffic

    def put_total(self) -> int:
        """Messages put since the start, without system topics."""
        return self._gone_puts.messages + self._without_system(self._puts)

    def get_total(self) -> int:
        """Messages pulled since the start, without system topics."""
        return self._gone_gets.messages + self._without_system(self._gets)

    @staticmethod
    def _without_system(table: dict[str, _Series]) -> int:
        return sum(series.traffic.messages for series in table.values() if not series.traffic.system)
