import time

from ledgermq.runtime.clock import now_ms


def test_counts_milliseconds_since_the_epoch():
    before = int(time.time() * 1000) - 1
    assert before <= now_ms() <= int(time.time() * 1000) + 1
