"""Names of topics and groups: what is allowed, what is reserved, what is derived.

Facts from Java's ``TopicValidator``, ``MixAll``, ``PopAckConstants``.
"""

from __future__ import annotations

import re
from typing import Final

TOPIC_CHARS_MAX: Final = 127
"""A commit-log record of the first version has one byte for the topic's length, and Java reads it signed."""
RETRY_TOPIC_CHARS_MAX: Final = 255
GROUP_CHARS_MAX: Final = 120
"""Shorter than a topic because a group's name becomes part of its retry topic's."""

ALLOWED_CHARS: Final = "^[%|a-zA-Z0-9_-]+$"
_ALLOWED: Final = re.compile(r"[%|a-zA-Z0-9_-]+")

RETRY_PREFIX: Final = "%RETRY%"
DLQ_PREFIX: Final = "%DLQ%"
LIGHT_QUEUE_PREFIX: Final = "%LMQ%"
SYSTEM_TOPIC_PREFIX: Final = "rmq_sys_"
SYSTEM_GROUP_PREFIX: Final = "CID_RMQ_SYS_"

AUTO_CREATE_TOPIC: Final = "TBW102"
"""Its route tells a producer where a topic that does not exist yet will be created."""
SCHEDULE_TOPIC: Final = "SCHEDULE_TOPIC_XXXX"
BENCHMARK_TOPIC: Final = "BenchmarkTest"
TRANS_HALF_TOPIC: Final = "RMQ_SYS_TRANS_HALF_TOPIC"
TRANS_OP_HALF_TOPIC: Final = "RMQ_SYS_TRANS_OP_HALF_TOPIC"
ROCKSDB_TRANS_HALF_TOPIC: Final = "RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC"
ROCKSDB_TRANS_OP_HALF_TOPIC: Final = "RMQ_SYS_ROCKSDB_TRANS_OP_HALF_TOPIC"
TRANS_CHECK_MAX_TIME_TOPIC: Final = "TRANS_CHECK_MAX_TIME_TOPIC"
TRACE_TOPIC: Final = "RMQ_SYS_TRACE_TOPIC"
SELF_TEST_TOPIC: Final = "SELF_TEST_TOPIC"
OFFSET_MOVED_TOPIC: Final = "OFFSET_MOVED_EVENT"
CHECKPOINT_TOPIC: Final = "CHECKPOINT_TOPIC"
TIMER_TOPIC: Final = "rmq_sys_wheel_timer"
REVIVE_TOPIC_PREFIX: Final = "rmq_sys_REVIVE_LOG_"
METADATA_TOPIC: Final = "rmq_sys_ledgermq_metadata"
"""Its records state the changes of topics, groups and offsets (``broker/metadata_records.py``)."""
MEMBER_TOPIC_PREFIX: Final = "rmq_sys_SYNC_BROKER_MEMBER_"
REPLY_TOPIC_SUFFIX: Final = "_REPLY_TOPIC"

SYSTEM_TOPICS: Final = (
    AUTO_CREATE_TOPIC,
    SCHEDULE_TOPIC,
    BENCHMARK_TOPIC,
    TRANS_HALF_TOPIC,
    TRACE_TOPIC,
    TRANS_OP_HALF_TOPIC,
    TRANS_CHECK_MAX_TIME_TOPIC,
    SELF_TEST_TOPIC,
    OFFSET_MOVED_TOPIC,
    CHECKPOINT_TOPIC,
    ROCKSDB_TRANS_HALF_TOPIC,
    ROCKSDB_TRANS_OP_HALF_TOPIC,
)
"""Reserved in every broker; a broker adds topics named after itself and its cluster (``TopicTable``)."""

SEND_REFUSED_TOPICS: Final = frozenset(
    (
        SCHEDULE_TOPIC,
        TRANS_HALF_TOPIC,
        TRANS_OP_HALF_TOPIC,
        TRANS_CHECK_MAX_TIME_TOPIC,
        SELF_TEST_TOPIC,
        OFFSET_MOVED_TOPIC,
        ROCKSDB_TRANS_HALF_TOPIC,
        ROCKSDB_TRANS_OP_HALF_TOPIC,
        METADATA_TOPIC,
    )
)
"""System topics that clients may not send to."""


def retry_topic(group: str) -> str:
    """Where a group's messages go that its consumers sent back."""
    return RETRY_PREFIX + group


def dlq_topic(group: str) -> str:
    """Where a group's messages go when they have been retried often enough."""
    return DLQ_PREFIX + group


def topic_fault(topic: str) -> str | None:
    """What is wrong with ``topic`` as a topic's name, None when nothing is."""
    if not topic.strip():
        return "topic is blank"
    if _ALLOWED.fullmatch(topic) is None:
        shown = topic[:RETRY_TOPIC_CHARS_MAX]
        return f"topic {shown!r} contains illegal characters, allowed is {ALLOWED_CHARS}"
    limit = RETRY_TOPIC_CHARS_MAX if topic.startswith((RETRY_PREFIX, DLQ_PREFIX)) else TOPIC_CHARS_MAX
    if len(topic) > limit:
        return f"topic {topic[:limit]!r}... has {len(topic)} characters, at most {limit} are allowed"
    return None


def group_fault(group: str) -> str | None:
    """What is wrong with ``group`` as a group's name, None when nothing is."""
    if not group.strip():
        return "group is blank"
    if _ALLOWED.fullmatch(group) is None:
        return f"group {group[:GROUP_CHARS_MAX]!r} contains illegal characters, allowed is {ALLOWED_CHARS}"
    if len(group) > GROUP_CHARS_MAX:
        return (
            f"group {group[:GROUP_CHARS_MAX]!r}... has {len(group)} characters, "
            f"at most {GROUP_CHARS_MAX} are allowed"
        )
    return None
