"""Names that clients send, refused as RocketMQ refuses them."""

from __future__ import annotations

from ledgermq.message.names import group_fault, topic_fault
from ledgermq.remoting.codes import ResponseCode
from ledgermq.remoting.command import PeerError


def check_topic(topic: str) -> None:
    """Raises PeerError INVALID_PARAMETER when ``topic`` cannot be a topic's name."""
    fault = topic_fault(topic)
    if fault is not None:
        raise PeerError(ResponseCode.INVALID_PARAMETER, fault)


def check_group(group: str) -> None:
    """Raises PeerError INVALID_PARAMETER when ``group`` cannot be a group's name."""
    fault = group_fault(group)
    if fault is not None:
        raise PeerError(ResponseCode.INVALID_PARAMETER, fault)
