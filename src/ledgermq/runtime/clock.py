"""The clocks. Everything else receives the time as an argument.

Rules of this file: it is compiled.
"""

import datetime
import time


def now_ms() -> int:
    """Milliseconds since the epoch, as RocketMQ's timestamps count them."""
    return time.time_ns() // 1_000_000


def monotonic_ms() -> int:
    """Milliseconds of a clock that nobody sets, to measure waiting by; it begins anywhere."""
    return time.monotonic_ns() // 1_000_000


def today() -> int:
    """The number of the local date; it grows by one each midnight."""
    return datetime.date.today().toordinal()


def local_hour() -> int:
    """The hour of the day here, 0 to 23."""
    return time.localtime().tm_hour
