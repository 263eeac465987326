import pytest

from ledgermq.client.broker_health import BrokerHealth


@pytest.mark.parametrize(
    ("elapsed_ms", "spared_ms"),
    [
        (0, 0),
        (549, 0),
        (550, 2000),
        (1800, 5000),
        (3000, 6000),
        (5000, 10000),
        (15000, 30000),
        (60000, 30000),
    ],
)
def test_slow_brokers_are_spared(elapsed_ms: int, spared_ms: int) -> None:
    health = BrokerHealth()
    health.record("a", elapsed_ms, 1000)
    assert health.is_available("a", 1000 + spared_ms)
    assert spared_ms == 0 or not health.is_available("a", 1000 + spared_ms - 1)
    assert health.is_available("b", 1000)


def test_a_failure_counts_as_ten_seconds() -> None:
    health = BrokerHealth()
    health.record("a", 3, 1000, failed=True)
    assert not health.is_available("a", 10_999)
    assert health.is_available("a", 11_000)


def test_a_fast_answer_makes_good() -> None:
    health = BrokerHealth()
    health.record("a", 5000, 1000)
    health.record("a", 5, 1001)
    assert health.is_available("a", 1001)
