"""The two names of a message: the unique key its producer gives it and the id of its place in a broker.

Unique key (Java: ``MessageClientIDSetter``), upper-case hex of:

=========  ================================================================
bytes      meaning
=========  ================================================================
4 or 16    IP address of the producer's machine
2          process id, low 16 bits
4          a number that tells producers of one process apart (Java: hash of a class loader; here: random)
4          milliseconds since the month began in local time, low 32 bits
2          counter, low 16 bits
=========  ================================================================

Offset message id (Java: ``MessageDecoder.createMessageId``), upper-case hex of:

=========  ================================================================
4 or 16    IP address of the broker that stored the message
4          its port
8          byte position in its commit log
=========  ================================================================

Rules of this file: no clock and no random source of its own; a decoder returns or raises MessageIdError.
"""

from __future__ import annotations

import ipaddress
from datetime import datetime, timedelta
from typing import Final

_IPV4_ID_CHARS: Final = 32
_IPV6_ID_CHARS: Final = 56
_CLOCK_STEP_MS_MAX: Final = 1_000_000
"""A clock that steps back less than this past the month's beginning counts as standing at it, as in Java."""


class MessageIdError(ValueError):
    """The text is not a message id."""


class UniqueKeys:
    """Gives out unique keys for the messages of one producer."""

    def __init__(self, ip: str, pid: int, salt: int) -> None:
        """``ip`` is this machine's address, ``salt`` 32 random bits."""
        packed = ipaddress.ip_address(ip).packed
        prefix = packed + (pid & 0xFFFF).to_bytes(2, "big") + (salt & 0xFFFFFFFF).to_bytes(4, "big")
        self._prefix = prefix.hex().upper()
        self._counter = 0
        self._month_ms = 0
        self._next_month_ms = 0

    def next(self, now_ms: int) -> str:
        """The next key; ``now_ms`` is the wall clock."""
        if now_ms >= self._next_month_ms:
            self._month_ms, self._next_month_ms = month_bounds_ms(now_ms)
        since_ms = now_ms - self._month_ms
        if -_CLOCK_STEP_MS_MAX < since_ms < 0:
            since_ms = 0
        counter = self._counter
        self._counter = (counter + 1) & 0xFFFF
        return f"{self._prefix}{since_ms & 0xFFFFFFFF:08X}{counter:04X}"


def month_bounds_ms(now_ms: int) -> tuple[int, int]:
    """When the local month that holds ``now_ms`` began, and when the next one begins."""
    local = datetime.fromtimestamp(now_ms // 1000)
    begin = local.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    end = (begin + timedelta(days=32)).replace(day=1)
    return int(begin.timestamp()) * 1000, int(end.timestamp()) * 1000


def offset_message_id(ip: bytes, port: int, log_offset: int) -> str:
    """The id of the message at ``log_offset`` of the broker at ``ip`` (4 or 16 bytes) and ``port``."""
    return (ip + port.to_bytes(4, "big") + log_offset.to_bytes(8, "big")).hex().upper()


def parse_offset_message_id(message_id: str) -> tuple[str, int, int]:
    """``(ip, port, log offset)`` of an offset message id. Raises MessageIdError."""
    if len(message_id) not in (_IPV4_ID_CHARS, _IPV6_ID_CHARS):
        raise MessageIdError(
            f"message id {message_id[:80]!r} has {len(message_id)} characters, "
            f"an offset message id has {_IPV4_ID_CHARS} or {_IPV6_ID_CHARS}"
        )
    try:
        data = bytes.fromhex(message_id)
    except ValueError:
        raise MessageIdError(f"message id {message_id!r} is not hexadecimal") from None
    if len(data) * 2 != len(message_id):
        # bytes.fromhex skips white space.
        raise MessageIdError(f"message id {message_id!r} is not hexadecimal")
    ip = str(ipaddress.ip_address(data[:-12]))
    return ip, int.from_bytes(data[-12:-8], "big"), int.from_bytes(data[-8:], "big")
