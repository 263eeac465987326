"""What clients say of themselves in heartbeats (Java: ``HeartbeatData`` and its parts).

Clients of other languages write enums as their ordinal numbers and leave sets out; both are read here and
turned into what Java writes.
"""

from __future__ import annotations

from typing import Final

import msgspec

CONSUME_TYPES: Final = ("CONSUME_ACTIVELY", "CONSUME_PASSIVELY", "CONSUME_POP")
"""Pull, push and pop consumers, in the order of Java's enum."""
MESSAGE_MODELS: Final = ("BROADCASTING", "CLUSTERING", "LITE_SELECTIVE")
CONSUME_FROM_WHERES: Final = (
    "CONSUME_FROM_LAST_OFFSET",
    "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST",
    "CONSUME_FROM_MIN_OFFSET",
    "CONSUME_FROM_MAX_OFFSET",
    "CONSUME_FROM_FIRST_OFFSET",
    "CONSUME_FROM_TIMESTAMP",
)
BROADCASTING: Final = "BROADCASTING"
CLUSTERING: Final = "CLUSTERING"
CONSUME_ACTIVELY: Final = "CONSUME_ACTIVELY"
CONSUME_PASSIVELY: Final = "CONSUME_PASSIVELY"


def _enum(field: str, value: str | int | None, names: tuple[str, ...], default: str) -> str:
    if value is None:
        return default
    if isinstance(value, int) and 0 <= value < len(names):
        return names[value]
    if value in names:
        return str(value)
    raise ValueError(f"{field}={value!r} is not one of {', '.join(names)}")


class SubscriptionData(msgspec.Struct, rename="camel", kw_only=True):
    """A group's interest in one topic; ``sub_version`` is the time at which the client made it.

    ``code_set`` holds the tags' Java hash codes. Field order is fastjson's.
    """

    class_filter_mode: bool = False
    code_set: list[int] | None = None
    expression_type: str | None = "TAG"
    sub_string: str | None = None
    sub_version: int = 0
    tags_set: list[str] | None = None
    topic: str

    def __post_init__(self) -> None:
        self.code_set = self.code_set or []
        self.tags_set = self.tags_set or []
        self.expression_type = self.expression_type or "TAG"
        self.sub_string = self.sub_string or ""

    @property
    def by_tag(self) -> bool:
        return self.expression_type == "TAG"


class ConsumerData(msgspec.Struct, rename="camel", kw_only=True):
    """One consumer group of a client."""

    consume_from_where: str | int | None = None
    consume_type: str | int | None = None
    group_name: str
    message_model: str | int | None = None
    subscription_data_set: list[SubscriptionData] | None = None
    unit_mode: bool = False

    @property
    def subscriptions(self) -> list[SubscriptionData]:
        return self.subscription_data_set or []

    def __post_init__(self) -> None:
        where = _enum(
            "consumeFromWhere", self.consume_from_where, CONSUME_FROM_WHERES, CONSUME_FROM_WHERES[0]
        )
        self.consume_from_where = where
        self.consume_type = _enum("consumeType", self.consume_type, CONSUME_TYPES, CONSUME_PASSIVELY)
        self.message_model = _enum("messageModel", self.message_model, MESSAGE_MODELS, CLUSTERING)


class ProducerData(msgspec.Struct, rename="camel"):
    group_name: str


class HeartbeatData(msgspec.Struct, rename="camel", kw_only=True):
    """HEART_BEAT's body.

    A client that knows the broker to understand it sends ``heartbeat_fingerprint``, a hash of its
    subscriptions, and leaves them out (``without_sub``) while they are unchanged.
    """

    client_id: str = msgspec.field(name="clientID")
    consumer_data_set: list[ConsumerData] | None = None
    heartbeat_fingerprint: int = 0
    producer_data_set: list[ProducerData] | None = None
    without_sub: bool = False

    @property
    def consumers(self) -> list[ConsumerData]:
        return self.consumer_data_set or []

    @property
    def producers(self) -> list[ProducerData]:
        return self.producer_data_set or []


class CheckClient(msgspec.Struct, rename="camel", kw_only=True):
    """CHECK_CLIENT_CONFIG's body."""

    client_id: str | None = None
    group: str | None = None
    subscription_data: SubscriptionData | None = None
