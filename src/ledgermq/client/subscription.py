"""Which messages of a topic a group wants: a tag expression (Java: ``FilterAPI``, ``SubscriptionData``).

The broker filters by the hash of the tag, so two tags with the same hash pass it; the client compares the
text again and drops the strangers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from ledgermq.message.hashing import java_hash

ALL_TAGS: Final = "*"


class SubscriptionData(msgspec.Struct, frozen=True, rename="camel"):
    """A subscription as heartbeats carry it. ``sub_version`` is when it was made, in milliseconds."""

    topic: str
    sub_string: str
    tags_set: list[str]
    code_set: list[int]
    sub_version: int
    class_filter_mode: bool = False
    expression_type: str = "TAG"

    def accepts(self, tags: str | None) -> bool:
        """Whether a message with this tag is wanted."""
        return not self.tags_set or tags in self.tags_set


def parse_expression(topic: str, expression: str, now_ms: int) -> SubscriptionData:
    """The subscription that ``expression`` states: ``*`` or nothing for all, else ``a || b``.

    Raises ValueError when it names no tag.
    """
    if expression in ("", ALL_TAGS):
        return SubscriptionData(topic, ALL_TAGS, [], [], now_ms)
    tags = _distinct(tag.strip() for tag in expression.split("||"))
    if not tags:
        raise ValueError(f"tag expression {expression!r} names no tag; use * for all messages")
    codes = [java_hash(tag.encode()) for tag in tags]
    return SubscriptionData(topic, expression, tags, codes, now_ms)


def _distinct(tags: Iterable[str]) -> list[str]:
    return sorted({tag for tag in tags if tag})
