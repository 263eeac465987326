"""Attributes of topics and groups: typed settings that a request adds, changes or removes by name.

A request writes ``+name=value`` to add or change and ``-name`` to remove, comma separated; the stored
attributes have plain names. Facts from Java's ``AttributeParser``, ``AttributeUtil``, ``TopicAttributes``,
``SubscriptionGroupAttributes``.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ledgermq.remoting.codes import ResponseCode
from ledgermq.remoting.command import PeerError

LONG_MAX: Final = 2**63 - 1

MESSAGE_TYPE: Final = "message.type"


class Attribute(msgspec.Struct, frozen=True):
    """What one attribute may be: ``values`` lists the allowed words, ``low``..``high`` the allowed integers;
    with neither, any text. ``changeable`` is False for what only the creation of its owner can set."""

    changeable: bool = True
    values: tuple[str, ...] = ()
    low: int | None = None
    high: int = LONG_MAX


TOPIC_ATTRIBUTES: Final = {
    "queue.type": Attribute(changeable=False, values=("BatchCQ", "SimpleCQ")),
    "cleanup.policy": Attribute(changeable=False, values=("DELETE", "COMPACTION")),
    MESSAGE_TYPE: Attribute(
        values=("UNSPECIFIED", "NORMAL", "FIFO", "DELAY", "TRANSACTION", "PRIORITY", "LITE", "MIXED")
    ),
    "reserve.time": Attribute(low=-1),
    "lite.topic.expiration": Attribute(low=-1, high=30 * 24 * 60),
}

GROUP_ATTRIBUTES: Final = {
    "priority.factor": Attribute(low=0, high=100),
    "lite.bind.topic": Attribute(),
    "lite.sub.model": Attribute(values=("Shared", "Exclusive")),
    "lite.sub.reset.offset.exclusive": Attribute(values=("true", "false", "TRUE", "FALSE")),
    "lite.sub.reset.offset.unsubscribe": Attribute(values=("true", "false", "TRUE", "FALSE")),
    "lite.sub.client.quota": Attribute(low=-1),
    "lite.sub.client.max.event.cnt": Attribute(low=10),
    "lite.sub.wildcard": Attribute(),
}


def _fault(remark: str) -> PeerError:
    return PeerError(ResponseCode.INVALID_PARAMETER, remark)


def parse_attributes(text: str | None) -> dict[str, str]:
    """``+a=b,-c`` as ``{"+a": "b", "-c": ""}``. Raises PeerError INVALID_PARAMETER."""
    changes: dict[str, str] = {}
    for part in (text or "").split(","):
        if not part:
            continue
        name, equals, value = part.partition("=")
        if not name.startswith("+" if equals else "-"):
            raise _fault(f"attributes: {part!r} is neither +name=value nor -name")
        if name in changes:
            raise _fault(f"attributes: {name!r} stands twice")
        changes[name] = value
    return changes


def alter_attributes(
    allowed: dict[str, Attribute], current: dict[str, str] | None, changes: dict[str, str]
) -> dict[str, str]:
    """``current`` after ``changes`` (names with their sign); ``current`` is None for a new owner.

    Raises PeerError INVALID_PARAMETER naming the attribute and what is allowed.
    """
    altered = dict(current or {})
    seen: set[str] = set()
    for signed, value in changes.items():
        sign, name = signed[:1], signed[1:]
        if sign not in ("+", "-"):
            raise _fault(f"attribute {signed!r}: a name begins with + to set or - to remove")
        if name in seen:
            raise _fault(f"attribute {name!r} is changed twice")
        seen.add(name)
        attribute = allowed.get(name)
        if attribute is None:
            raise _fault(f"attribute {name!r} is unknown, allowed are {', '.join(sorted(allowed))}")
        if current is not None and not attribute.changeable:
            raise _fault(f"attribute {name!r} cannot be changed after creation")
        if sign == "+":
            _check_value(name, attribute, value)
            altered[name] = value
        elif name not in altered:
            raise _fault(f"attribute {name!r} cannot be removed, it is not set")
        else:
            del altered[name]
    return altered


def _check_value(name: str, attribute: Attribute, value: str) -> None:
    if attribute.values and value not in attribute.values:
        raise _fault(f"attribute {name}={value!r} is not one of {', '.join(attribute.values)}")
    if attribute.low is None:
        return
    digits = value.removeprefix("-")
    number = int(value) if digits.isascii() and digits.isdigit() and len(digits) < 20 else None
    if number is None or not attribute.low <= number <= attribute.high:
        raise _fault(f"attribute {name}={value!r} is not an integer of {attribute.low}..{attribute.high}")
