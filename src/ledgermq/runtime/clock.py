"""The wall clock. Everything else receives the time as an argument."""

import time


def now_ms() -> int:
    """Milliseconds since the epoch, as RocketMQ's timestamps count them."""
    return time.time_ns() // 1_000_000
