"""Names of topics and groups: what is allowed, what is derived (Java: ``TopicValidator``)."""

from __future__ import annotations

import re
from typing import Final

from ledgermq.client.errors import IllegalNameError

RETRY_PREFIX: Final = "%RETRY%"
DLQ_PREFIX: Final = "%DLQ%"
AUTO_CREATE_TOPIC: Final = "TBW102"
"""Its route tells a producer where a topic that does not exist yet will be created."""

TOPIC_CHARS_MAX: Final = 127
RETRY_TOPIC_CHARS_MAX: Final = 255
GROUP_CHARS_MAX: Final = 120

_ALLOWED: Final = re.compile(r"[%|a-zA-Z0-9_-]+")

NOT_SENDABLE: Final = frozenset(
    {
        "SCHEDULE_TOPIC_XXXX",
        "RMQ_SYS_TRANS_HALF_TOPIC",
        "RMQ_SYS_TRANS_OP_HALF_TOPIC",
        "TRANS_CHECK_MAX_TIME_TOPIC",
        "SELF_TEST_TOPIC",
        "OFFSET_MOVED_EVENT",
        "RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC",
        "RMQ_SYS_ROCKSDB_TRANS_OP_HALF_TOPIC",
    }
)
"""Topics that the broker alone writes."""


def check_topic(topic: str) -> None:
    """Raises IllegalNameError when ``topic`` is no topic name."""
    derived = topic.startswith((RETRY_PREFIX, DLQ_PREFIX))
    _check("topic", topic, RETRY_TOPIC_CHARS_MAX if derived else TOPIC_CHARS_MAX)


def check_group(group: str) -> None:
    """Raises IllegalNameError when ``group`` is no group name."""
    _check("group", group, GROUP_CHARS_MAX)


def _check(kind: str, name: str, chars_max: int) -> None:
    if not name:
        raise IllegalNameError(f"the {kind} name is empty")
    if len(name) > chars_max:
        raise IllegalNameError(
            f"{kind} name {name!r} has {len(name)} characters, at most {chars_max} are allowed"
        )
    if _ALLOWED.fullmatch(name) is None:
        raise IllegalNameError(f"{kind} name {name!r}: only letters, digits and % | _ - are allowed")


def retry_topic(group: str) -> str:
    """Where messages that ``group`` failed to consume wait for their next turn."""
    return RETRY_PREFIX + group
