import pytest

from ledgermq.client import Producer, PullConsumer, PushConsumer
from ledgermq.client.settings import require_positive


def test_settings_are_above_zero() -> None:
    require_positive(a=1, b=0.1)
    with pytest.raises(ValueError, match="b=0 must be above zero"):
        require_positive(a=1, b=0)


def test_constructors_refuse_what_cannot_work() -> None:
    with pytest.raises(ValueError, match="attempts_max=0"):
        Producer("g", "a:1", attempts_max=0)
    with pytest.raises(ValueError, match="concurrency_max=0"):
        PushConsumer("g", "a:1", concurrency_max=0)
    with pytest.raises(ValueError, match="pull_count_max=-1"):
        PullConsumer("g", "a:1", pull_count_max=-1)
    with pytest.raises(ValueError, match=r"group .no group. contains"):
        Producer("no group", "a:1")
    with pytest.raises(ValueError, match="name none"):
        Producer("g", "")
