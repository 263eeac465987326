from ledgermq.client.consume_stats import ConsumeStats, ConsumeStatus


def test_counts_are_of_the_last_minute() -> None:
    stats = ConsumeStats()
    stats.consumed("t", 60, 10, 1_000, ok=True)
    stats.consumed("t", 30, 30, 1_500, ok=False)
    stats.consumed("t", 60, 20, 59_000, ok=True)
    status = stats.status("t", 60_000)
    assert status.consume_ok_tps == 2.0
    assert status.consume_failed_tps == 0.5
    assert status.consume_failed_msgs == 30
    assert status.consume_rt == 20.0
    assert stats.status("t", 61_500).consume_ok_tps == 1.0
    assert stats.status("t", 200_000) == ConsumeStatus()
    assert stats.status("unknown", 1_000) == ConsumeStatus()


def test_memory_is_bounded() -> None:
    stats = ConsumeStats()
    for second in range(1000):
        stats.consumed("t", 1, 1, second * 1000, ok=True)
    assert stats.status("t", 999_000).consume_ok_tps == 1.0
