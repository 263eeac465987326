"""Keys and values in namespaces, kept in ``kvConfig.json`` (Java: ``KVConfigManager``).

RocketMQ uses one namespace, ORDER_TOPIC_CONFIG: topic -> ``broker:queues;…``, which registering brokers and,
with ``orderMessageEnable``, clients are told.

Rules of this file: pure; the file's text goes in and out. A namespace stays when its last key leaves, as in
Java: asked for its keys, the answer is an empty table and not an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from ledgermq.remoting.codes import ResponseCode
from ledgermq.remoting.command import PeerError
from ledgermq.remoting.json_body import decode_json, encode_json
from ledgermq.runtime.limits import (
    KV_ENTRIES_MAX,
    KV_NAME_BYTES_MAX,
    KV_TOTAL_BYTES_MAX,
    KV_VALUE_BYTES_MAX,
)

ORDER_TOPIC_CONFIG: Final = "ORDER_TOPIC_CONFIG"


@dataclass(slots=True)
class KvLimits:
    """What the table may grow to."""

    name_bytes: int = KV_NAME_BYTES_MAX
    value_bytes: int = KV_VALUE_BYTES_MAX
    entries: int = KV_ENTRIES_MAX
    total_bytes: int = KV_TOTAL_BYTES_MAX


class _File(msgspec.Struct, rename="camel"):
    config_table: dict[str, dict[str, str]] = {}


class KvConfig:
    """The table; :meth:`check_invariants` states what always holds."""

    def __init__(self, limits: KvLimits | None = None) -> None:
        self._limits = limits or KvLimits()
        self._table: dict[str, dict[str, str]] = {}
        self._entries = 0
        self._bytes = 0

    def get(self, namespace: str, key: str) -> str | None:
        return self._table.get(namespace, {}).get(key)

    def namespace(self, namespace: str) -> dict[str, str] | None:
        """Its keys and values, for reading only; None when nothing was ever put into it."""
        return self._table.get(namespace)

    def put(self, namespace: str, key: str, value: str) -> None:
        """Raises PeerError naming the limit that it would exceed."""
        limits = self._limits
        _check_bytes("namespace", namespace, limits.name_bytes)
        _check_bytes("key", key, limits.name_bytes)
        _check_bytes("value", value, limits.value_bytes)
        table = self._table.get(namespace)
        old = None if table is None else table.get(key)
        entries = self._entries + (table is None) + (old is None)
        total = self._bytes + _size(value) - (0 if old is None else _size(old))
        total += (_size(namespace) if table is None else 0) + (_size(key) if old is None else 0)
        if entries > limits.entries:
            _refuse(f"{self._entries} keys and namespaces are kept, the limit is {limits.entries}")
        if total > limits.total_bytes:
            _refuse(f"{self._bytes} bytes are kept, with these {total}, the limit is {limits.total_bytes}")
        self._entries = entries
        self._bytes = total
        self._table.setdefault(namespace, {})[key] = value

    def delete(self, namespace: str, key: str) -> bool:
        """False when there was no such key."""
        value = self._table.get(namespace, {}).pop(key, None)
        if value is None:
            return False
        self._entries -= 1
        self._bytes -= _size(key) + _size(value)
        return True

    def to_file(self) -> bytes:
        return encode_json(_File(self._table))

    def load(self, file: bytes) -> None:
        """Replaces the table by what ``kvConfig.json`` holds, be it over the limits. Raises JsonError."""
        self._table = decode_json(_File, file).config_table
        self._entries, self._bytes = self._count()

    def _count(self) -> tuple[int, int]:
        entries = len(self._table) + sum(len(table) for table in self._table.values())
        total = sum(_size(namespace) for namespace in self._table)
        for table in self._table.values():
            total += sum(_size(key) + _size(value) for key, value in table.items())
        return entries, total

    def check_invariants(self) -> None:
        """What holds after every call."""
        assert (self._entries, self._bytes) == self._count()


def _size(text: str) -> int:
    return len(text.encode())


def _check_bytes(what: str, text: str, limit: int) -> None:
    if _size(text) > limit:
        raise PeerError(
            ResponseCode.INVALID_PARAMETER,
            f"{what}={text[:40]!r} has {_size(text)} bytes, allowed are at most {limit}",
        )


def _refuse(remark: str) -> None:
    raise PeerError(ResponseCode.SYSTEM_ERROR, f"the key-value configuration is full: {remark}")
