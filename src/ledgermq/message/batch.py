"""The body of SEND_BATCH_MESSAGE: client batch units, one after the other.

All integers big endian (Java: ``MessageDecoder.encodeMessage``):

=====  =================================================
bytes  meaning
=====  =================================================
4      length of the unit, these four bytes included
4      magic, 0
4      body CRC, 0: the broker computes it
4      flag
4      body length
n      body
2      properties length, at most 32767
n      properties, ``name \\x01 value \\x02`` …
=====  =================================================

Topic, queue and born time are the request's; they are the same for all units.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

_HEAD: Final = struct.Struct(">iiiii")
_PROPERTIES_LENGTH: Final = struct.Struct(">h")
PROPERTIES_BYTES_MAX: Final = 0x7FFF
"""The length is a signed 16-bit number, in units and in records."""
UNIT_OVERHEAD_BYTES: Final = _HEAD.size + _PROPERTIES_LENGTH.size


class BatchError(ValueError):
    """The bytes are not a row of whole batch units."""


class BatchUnit(NamedTuple):
    """One message of a batch; ``properties`` as they stand on the wire."""

    flag: int
    body: bytes
    properties: bytes


def encode_batch(units: Iterable[BatchUnit]) -> bytes:
    """The body of a batch. Raises BatchError when properties are too long."""
    parts: list[bytes] = []
    for flag, body, properties in units:
        if len(properties) > PROPERTIES_BYTES_MAX:
            raise BatchError(
                f"properties of {len(properties)} bytes, at most {PROPERTIES_BYTES_MAX} are allowed"
            )
        unit_bytes = UNIT_OVERHEAD_BYTES + len(body) + len(properties)
        parts.append(_HEAD.pack(unit_bytes, 0, 0, flag, len(body)))
        parts.append(body)
        parts.append(_PROPERTIES_LENGTH.pack(len(properties)))
        parts.append(properties)
    return b"".join(parts)


def decode_batch(data: bytes) -> list[BatchUnit]:
    """The units of a batch. Raises BatchError naming the unit and what does not fit."""
    units: list[BatchUnit] = []
    at = 0
    while at < len(data):
        unit, at = _decode_unit(data, at, len(units))
        units.append(unit)
    return units


def _decode_unit(data: bytes, at: int, number: int) -> tuple[BatchUnit, int]:
    left = len(data) - at
    if left < UNIT_OVERHEAD_BYTES:
        raise BatchError(f"unit {number}: {left} bytes are left, a unit has at least {UNIT_OVERHEAD_BYTES}")
    unit_bytes, _, _, flag, body_bytes = _HEAD.unpack_from(data, at)
    if not UNIT_OVERHEAD_BYTES <= unit_bytes <= left:
        raise BatchError(f"unit {number}: length {unit_bytes} is not in {UNIT_OVERHEAD_BYTES}..{left}")
    if not 0 <= body_bytes <= unit_bytes - UNIT_OVERHEAD_BYTES:
        raise BatchError(f"unit {number}: body length {body_bytes} in a unit of {unit_bytes} bytes")
    body_at = at + _HEAD.size
    properties_at = body_at + body_bytes + _PROPERTIES_LENGTH.size
    (property_bytes,) = _PROPERTIES_LENGTH.unpack_from(data, body_at + body_bytes)
    end = at + unit_bytes
    if property_bytes < 0 or properties_at + property_bytes != end:
        raise BatchError(
            f"unit {number}: properties length {property_bytes}, {end - properties_at} bytes are left"
        )
    body = data[body_at : body_at + body_bytes]
    return BatchUnit(flag, body, data[properties_at:end]), end
