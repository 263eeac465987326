import pytest

from ledgermq.broker import stats as stats_module
from ledgermq.broker.stats import SAMPLE_MS, BrokerStats, WindowStats

START_MS = 1_700_000_000_000


class Clock:
    """Samples on time, as the broker's timer does."""

    def __init__(self) -> None:
        self.now_ms = START_MS
        self.stats = BrokerStats("DefaultCluster", START_MS, 1)

    def run(self, seconds: int) -> None:
        for _ in range(seconds * 1000 // SAMPLE_MS):
            self.now_ms += SAMPLE_MS
            self.stats.sample(self.now_ms, 1)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stats(clock: Clock) -> BrokerStats:
    return clock.stats


def test_the_minute_window(clock, stats):
    traffic = stats.puts("T", system=False)
    for _ in range(20):
        traffic.add(1, 100)
    assert stats.put_tps("T") == 0.0
    clock.run(10)
    assert stats.view("TOPIC_PUT_NUMS", "T").stats_minute == WindowStats(avgpt=1.0, sum=20, tps=2.0)
    clock.run(30)
    # As the Java broker answered 40 s after the first sample of 20 messages.
    assert stats.view("TOPIC_PUT_NUMS", "T").stats_minute == WindowStats(avgpt=1.0, sum=20, tps=0.5)
    assert stats.put_tps("T") == 0.5
    assert stats.view("TOPIC_PUT_SIZE", "T").stats_minute == WindowStats(avgpt=100.0, sum=2000, tps=50.0)
    clock.run(30)
    assert stats.view("TOPIC_PUT_NUMS", "T").stats_minute == WindowStats()


def test_a_steady_stream(clock, stats):
    traffic = stats.gets("g", "T", system=False)
    for _ in range(30):
        traffic.add(50, 5000)
        clock.run(10)
    assert stats.view("GROUP_GET_NUMS", "T@g").stats_minute == WindowStats(avgpt=50.0, sum=300, tps=5.0)
    assert stats.view("GROUP_GET_SIZE", "T@g").stats_minute.sum == 30_000
    assert stats.get_tps("g", "T") == 5.0
    assert stats.get_tps("g", "U") == 0.0


def test_a_pause_does_not_blur_the_window(clock, stats):
    traffic = stats.puts("T", system=False)
    traffic.add(6, 6)
    clock.run(3600)
    traffic.add(60, 60)
    clock.run(10)
    assert stats.view("TOPIC_PUT_NUMS", "T").stats_minute == WindowStats(avgpt=60.0, sum=60, tps=1.0)


def test_hours_and_days(clock, stats):
    traffic = stats.puts("T", system=False)
    for _ in range(26 * 6):
        traffic.add(600, 600)
        clock.run(600)
    view = stats.view("TOPIC_PUT_NUMS", "T")
    assert view.stats_hour.sum == 3600
    assert view.stats_hour.tps == pytest.approx(1.0)
    assert view.stats_day.sum == 24 * 3600
    assert view.stats_day.tps == pytest.approx(1.0)


def test_unknown_counters(stats):
    stats.puts("T", system=False)
    assert stats.view("TOPIC_PUT_NUMS", "U") is None
    assert stats.view("NONSENSE", "T") is None
    assert stats.view("BROKER_PUT_NUMS", "OtherCluster") is None


def test_totals(clock, stats):
    stats.puts("T", system=False).add(3, 30)
    stats.puts("S", system=True).add(5, 50)
    stats.gets("g", "T", system=False).add(2, 20)
    stats.send_backs("g", "T").add(1, 10)
    clock.run(10)
    assert stats.put_total() == 3
    assert stats.get_total() == 2
    assert stats.view("BROKER_PUT_NUMS", "DefaultCluster").stats_minute.sum == 8
    assert stats.view("BROKER_GET_NUMS", "DefaultCluster").stats_minute.sum == 2
    assert stats.view("SNDBCK_PUT_NUMS", "T@g").stats_minute.sum == 1
    assert (stats.all_puts().messages, stats.all_puts().size) == (8, 80)


def test_totals_never_fall(clock, stats):
    stats.puts("T", system=False).add(3, 30)
    stats.gets("g", "T", system=False).add(2, 20)
    stats.gets("h", "T", system=False).add(1, 10)
    stats.send_backs("g", "T").add(1, 10)
    stats.drop_group("g")
    assert stats.view("GROUP_GET_NUMS", "T@g") is None
    assert stats.view("GROUP_GET_NUMS", "T@h") is not None
    stats.drop_topic("T")
    stats.drop_topic("T")
    assert stats.view("TOPIC_PUT_NUMS", "T") is None
    assert stats.view("GROUP_GET_NUMS", "T@h") is None
    assert stats.view("SNDBCK_PUT_NUMS", "T@g") is None
    assert (stats.put_total(), stats.get_total()) == (3, 3)
    clock.run(10)
    assert stats.all_puts().messages == 3


def test_mornings(clock, stats):
    stats.puts("T", system=False).add(3, 30)
    clock.run(60)
    assert stats.put_total_mornings == (0, 0)
    stats.sample(clock.now_ms, 2)
    assert stats.put_total_mornings == (0, 3)
    stats.puts("T", system=False).add(4, 40)
    stats.sample(clock.now_ms, 3)
    assert stats.put_total_mornings == (3, 7)
    assert stats.get_total_mornings == (0, 0)


def test_rates(clock, stats):
    puts = stats.puts("T", system=False)
    for _ in range(3):
        puts.add(100, 100)
        stats.missed_pulls.add(0, 0)
        clock.run(10)
    stats.gets("g", "T", system=False).add(50, 50)
    clock.run(10)
    rates = stats.rates()
    assert rates.puts == (0.0, 7.5, 7.5)
    assert rates.gets == (5.0, 1.25, 1.25)
    assert rates.found == (0.1, 0.025, 0.025)
    assert rates.missed == (0.0, 0.075, 0.075)
    clock.run(60)
    assert stats.rates().puts == (0.0, 0.0, 3.0)


def test_too_many_keys_are_counted_together(stats, monkeypatch):
    monkeypatch.setattr(stats_module, "STATS_KEYS_MAX", 1)
    first = stats.puts("T", system=False)
    assert stats.puts("U", system=False) is stats.gets("g", "T", system=False)
    assert stats.puts("T", system=False) is first
