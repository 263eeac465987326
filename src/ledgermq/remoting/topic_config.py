"""What name servers and brokers both know of a topic: its configuration and the version of a table.

The field order is fastjson's (by name), so what we encode is byte for byte what Java writes.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from ledgermq.runtime.limits import QUEUES_MAX

PERM_INHERIT: Final = 1
"""The topic may serve as the pattern of a topic that a producer creates by sending to it."""
PERM_WRITE: Final = 2
PERM_READ: Final = 4

SYS_FLAG_UNIT: Final = 1
SYS_FLAG_UNIT_SUB: Final = 2


TopicFilterType = Literal["SINGLE_TAG", "MULTI_TAG"]


class DataVersion(msgspec.Struct, rename="camel"):
    """Which state of a table this is (Java: ``DataVersion``). Whoever holds an equal one has the same table.

    ``counter`` counts the changes, ``timestamp`` is the time of the last one in ms, ``state_version`` is the
    controller's epoch and 0 without a controller.
    """

    counter: int = 0
    state_version: int = 0
    timestamp: int = 0

    def advance(self, now_ms: int) -> None:
        """The table has changed."""
        self.counter += 1
        self.timestamp = now_ms

    def copy(self) -> DataVersion:
        return DataVersion(self.counter, self.state_version, self.timestamp)


class TopicConfig(msgspec.Struct, rename="camel", kw_only=True):
    """One topic of a broker (Java: ``TopicConfig``).

    ``perm`` is a sum of PERM_*; ``topic_sys_flag`` a sum of SYS_FLAG_*; ``order`` asks consumers for ordered
    consumption; ``attributes`` are those of ``broker/attributes.py``.
    """

    attributes: dict[str, str] = {}
    order: bool = False
    perm: int = PERM_READ | PERM_WRITE
    read_queue_nums: Annotated[int, Meta(ge=0, le=QUEUES_MAX)] = 16
    topic_filter_type: TopicFilterType = "SINGLE_TAG"
    topic_name: str
    topic_sys_flag: int = 0
    write_queue_nums: Annotated[int, Meta(ge=0, le=QUEUES_MAX)] = 16

    @property
    def readable(self) -> bool:
        return self.perm & PERM_READ != 0

    @property
    def writable(self) -> bool:
        return self.perm & PERM_WRITE != 0
