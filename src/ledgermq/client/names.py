"""Names that users give, refused before anything is sent."""

from __future__ import annotations

from ledgermq.client.errors import IllegalNameError
from ledgermq.message.names import group_fault, topic_fault


def check_topic(topic: str) -> None:
    """Raises IllegalNameError when ``topic`` is no topic name."""
    fault = topic_fault(topic)
    if fault is not None:
        raise IllegalNameError(fault)


def check_group(group: str) -> None:
    """Raises IllegalNameError when ``group`` is no group name."""
    fault = group_fault(group)
    if fault is not None:
        raise IllegalNameError(fault)
