"""Java's ``String.hashCode`` over UTF-8 bytes.

The hash is a sum of UTF-16 units times powers of 31, modulo 2**32, read as a signed 32-bit number. RocketMQ
stores it on disk: the tag code of a consume-queue unit and the slot of an index entry are such hashes, so one
wrong bit here hides messages.

A hash is continued from a *state*, the unsigned sum so far: the index hashes ``topic#`` once and goes on from
there for each key.

Rules of this file: it is compiled, and interpreted it must give the same numbers; states and sums are kept in
64-bit integers and masked, never wrapped.
"""

from __future__ import annotations

import operator
from typing import Final

from librt.strings import read_i32_be
from mypy_extensions import i64

_MASK: Final[i64] = 0xFFFFFFFF
_SIGN: Final[i64] = 0x80000000
_NOT_ASCII_4: Final[i64] = 0x80808080
_POWER_2: Final[i64] = 31 * 31
_POWER_3: Final[i64] = 31 * 31 * 31
_POWER_4: Final[i64] = 31 * 31 * 31 * 31
_COMPILED: Final = not __file__.endswith(".py")

# Powers of 31 modulo 2**32, highest first, for the interpreted sum; texts that are longer go unit by unit.
_POWERS: Final[list[int]] = [pow(31, exponent, 1 << 32) for exponent in range(255, -1, -1)]


def java_hash(text: bytes) -> i64:
    """``String.hashCode`` of the UTF-8 ``text``: a signed 32-bit number. Broken UTF-8 hashes as U+FFFD."""
    return signed32(hash_more(0, text, 0, len(text)))


def signed32(state: i64) -> i64:
    """The signed reading of an unsigned 32-bit state."""
    return state - (_SIGN << 1) if state >= _SIGN else state


def hash_more(state: i64, text: bytes, at: i64, end: i64) -> i64:
    """Continue ``state`` over ``text[at:end]``; returns the new state, 0 to 2**32 - 1."""
    if not _COMPILED:
        return _hash_by_sum(state, text, at, end)
    before: i64 = state
    i: i64 = at
    # Four bytes at a time: one by one, each multiplication would wait for the one before.
    while i + 4 <= end:
        word: i64 = i64(read_i32_be(text, i))
        if word & _NOT_ASCII_4 != 0:
            return _hash_units(before, text[at:end])
        low: i64 = ((word >> 8) & 0xFF) * 31 + (word & 0xFF)
        state = (state * _POWER_4 + (word >> 24) * _POWER_3 + ((word >> 16) & 0xFF) * _POWER_2 + low) & _MASK
        i += 4
    while i < end:
        unit: i64 = i64(text[i])
        if unit >= 0x80:
            return _hash_units(before, text[at:end])
        state = (state * 31 + unit) & _MASK
        i += 1
    return state


def _hash_by_sum(state: i64, text: bytes, at: i64, end: i64) -> i64:
    """The same for the interpreter: one C-level sum is four times faster than a loop of bytecode."""
    part = text[at:end]
    size = len(part)
    if size > 256 or not part.isascii():
        return _hash_units(state, part)
    total: int = sum(map(operator.mul, part, _POWERS[256 - size :]))
    power: int = pow(31, size, 1 << 32)
    return (state * power + total) & _MASK


def _hash_units(state: i64, part: bytes) -> i64:
    """Unit by unit over UTF-16: a character beyond the basic plane counts as its two surrogates."""
    units = part.decode("utf-8", "replace").encode("utf-16-be")
    i: i64 = 0
    end: i64 = len(units)
    while i < end:
        unit: i64 = (i64(units[i]) << 8) | i64(units[i + 1])
        state = (state * 31 + unit) & _MASK
        i += 2
    return state
