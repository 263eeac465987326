"""JSON as the asking client reads it.

Clients before 4.9.4, and those of other languages that state an older version, were written against
fastjson's maps, whose integer keys stand unquoted (``{"brokerAddrs":{0:"…"}}``), and some read nothing else.
They get what a Java name server gives them; all others get standard JSON (Java: ``ClientRequestProcessor``).
"""

from __future__ import annotations

import msgspec

from ledgermq.remoting.codes import VERSION_4_9_4
from ledgermq.remoting.json_body import encode_json


def encode_for_version(value: object, version: int) -> bytes:
    """``value`` for a client that states ``version`` in its request."""
    return encode_json(value) if version >= VERSION_4_9_4 else encode_fastjson(value)


def encode_fastjson(value: object) -> bytes:
    """``value`` with unquoted integer keys."""
    return _text(msgspec.to_builtins(value)).encode()


def _text(value: object) -> str:
    if isinstance(value, dict):
        items = (
            f"{key if isinstance(key, int) else _text(key)}:{_text(item)}" for key, item in value.items()
        )
        return "{" + ",".join(items) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_text(item) for item in value) + "]"
    return encode_json(value).decode()
