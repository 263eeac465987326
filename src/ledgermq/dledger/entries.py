"""An entry as it lies in a data file and travels in a payload, and its unit in an index file.

All numbers are big endian (Java: ``DLedgerEntryCoder``).

===  ============  =====  ==========================================================================
at   field         bytes  note
===  ============  =====  ==========================================================================
0    magic         4      1
4    size          4      of the whole entry
8    index         8
16   term          8
24   pos           8      where the entry begins, counted over all data files: an entry proves its place
32   channel       4      0; see ``FILLER``
36   chain CRC     4      ours: CRC-32 of the 36 bytes before it; Java: 0, and never looked at
40   body CRC      4      ours: CRC-32 of the body; Java: 0, and never looked at
44   body bytes    4
48   body
===  ============  =====  ==========================================================================

Both CRCs are without their sign bit, and 1 where that gives 0: 0 means that there is none. An entry without
them is believed when its numbers fit.

An entry and 8 bytes more must fit the rest of a file. Where the next does not, a *blank* ends the file:
int32 -1, int32 size of the rest. Behind the log's end there are only zeros.

A *filler* holds the place of what a snapshot has: an entry with the index and term of the last entry in the
snapshot. With ``FILLER`` as its channel its zeros reach to where the first real entry begins, with
``FILLER_FILE`` the first real entry begins the next file. Java takes it for an entry, and so goes on
counting where the log goes on.

An index unit: 4 magic, 8 pos, 4 size, 8 index, 8 term; that of entry i lies at 32 * i.

Rules of this file: it is compiled; pure; encoding takes values that were checked before, looking takes any
bytes and never reads outside them.
"""

from __future__ import annotations

import struct
from typing import Final
from zlib import crc32

from librt.strings import BytesWriter, read_i32_be, read_i64_be, write_i32_be, write_i64_be
from mypy_extensions import i32, i64

ENTRY_MAGIC: Final[i64] = 1
ENTRY_HEAD_BYTES: Final[i64] = 48
BLANK_MAGIC: Final[i64] = -1
BLANK_BYTES: Final[i64] = 8
INDEX_UNIT_BYTES: Final[i64] = 32
FILLER: Final[i64] = 0x4C4D5131
FILLER_FILE: Final[i64] = 0x4C4D5132

# Why EntryScan.feed stopped.
END: Final[i64] = 0
"""At the end of the data, or behind the last entry that was asked for."""
PARTIAL: Final[i64] = 1
"""The next entry is not wholly in the data: it needs ``needed`` bytes."""
BLANK: Final[i64] = 2
NOTHING: Final[i64] = 3
"""Zeros: where a log ends."""
DAMAGED: Final[i64] = 4
"""No entry that can be here; ``reason`` says why not."""

_COMPILED: Final = not __file__.endswith(".py")

# For the interpreter, which packs in one call what the compiled code writes field by field.
_HEAD: Final = struct.Struct(">iiqqqiiii")
_HEAD_1: Final = struct.Struct(">iiqqqi")
_HEAD_2: Final = struct.Struct(">iii")
_UNIT: Final = struct.Struct(">iqiqq")


class EntryError(ValueError):
    """The bytes are not entries."""


def entry_crc(data: bytes) -> i64:
    """The CRC as it stands in an entry; never 0, which stands for none."""
    crc: i64 = crc32(data)
    crc = crc & 0x7FFFFFFF
    return crc if crc != 0 else 1


class Encoded:
    """Entries for one data file, made of bodies."""

    def __init__(self) -> None:
        self.payload: bytes = b""
        self.units: bytes = b""
        """Their index units."""
        self.positions: list[int] = []
        """Where each begins."""


def encode_bodies(
    bodies: list[bytes], start: i64, first_index: i64, term: i64, pos: i64, file_end: i64
) -> Encoded:
    """As many of ``bodies[start:]`` as fit between ``pos`` and the file's end, as entries of ``term``.

    The first of them becomes entry ``first_index``. None fit: the result is empty.
    """
    encoded = Encoded()
    positions = encoded.positions
    count: i64 = len(bodies)
    i: i64 = start
    index: i64 = first_index
    if not _COMPILED:
        parts: list[bytes] = []
        units: list[bytes] = []
        while i < count:
            body = bodies[i]
            size = 48 + len(body)
            if size + 8 > file_end - pos:
                break
            head = _HEAD_1.pack(1, size, index, term, pos, 0)
            parts.append(head)
            parts.append(
                _HEAD_2.pack(crc32(head) & 0x7FFFFFFF or 1, crc32(body) & 0x7FFFFFFF or 1, len(body))
            )
            parts.append(body)
            units.append(_UNIT.pack(1, pos, size, index, term))
            positions.append(pos)
            pos += size
            index += 1
            i += 1
        encoded.payload = b"".join(parts)
        encoded.units = b"".join(units)
        return encoded
    out = BytesWriter()
    unit = BytesWriter()
    while i < count:
        data = bodies[i]
        entry_bytes: i64 = ENTRY_HEAD_BYTES + len(data)
        if entry_bytes + BLANK_BYTES > file_end - pos:
            break
        head_out = BytesWriter()
        write_i32_be(head_out, i32(ENTRY_MAGIC))
        write_i32_be(head_out, i32(entry_bytes))
        write_i64_be(head_out, index)
        write_i64_be(head_out, term)
        write_i64_be(head_out, pos)
        write_i32_be(head_out, 0)
        head_bytes = head_out.getvalue()
        out.write(head_bytes)
        write_i32_be(out, i32(entry_crc(head_bytes)))
        write_i32_be(out, i32(entry_crc(data)))
        write_i32_be(out, i32(len(data)))
        out.write(data)
        _write_unit(unit, pos, entry_bytes, index, term)
        positions.append(int(pos))
        pos += entry_bytes
        index += 1
        i += 1
    encoded.payload = out.getvalue()
    encoded.units = unit.getvalue()
    return encoded


def _write_unit(out: BytesWriter, pos: i64, size: i64, index: i64, term: i64) -> None:
    if not _COMPILED:
        out.write(_UNIT.pack(1, pos, size, index, term))
        return
    write_i32_be(out, i32(ENTRY_MAGIC))
    write_i64_be(out, pos)
    write_i32_be(out, i32(size))
    write_i64_be(out, index)
    write_i64_be(out, term)


def encode_filler(index: i64, term: i64, pos: i64, channel: i64, size: i64) -> bytes:
    """The head of a filler of ``size`` bytes; the zeros that follow are left out."""
    head = _HEAD_1.pack(ENTRY_MAGIC, size, index, term, pos, channel)
    return head + _HEAD_2.pack(entry_crc(head), 0, size - ENTRY_HEAD_BYTES)


def encode_blank(size: i64) -> bytes:
    """What closes a file in which ``size`` bytes are left."""
    return struct.pack(">ii", BLANK_MAGIC, size)


class EntryHead:
    """The numbers of one entry; ``size`` is 0 where there is none."""

    def __init__(self, data: bytes, at: i64) -> None:
        self.size: i64 = 0
        self.index: i64 = 0
        self.term: i64 = 0
        self.pos: i64 = 0
        self.channel: i64 = 0
        if at < 0 or len(data) - at < ENTRY_HEAD_BYTES or i64(read_i32_be(data, at)) != ENTRY_MAGIC:
            return
        size: i64 = i64(read_i32_be(data, at + 4))
        body_bytes: i64 = i64(read_i32_be(data, at + 44))
        crc: i64 = i64(read_i32_be(data, at + 36))
        if body_bytes < 0 or size != ENTRY_HEAD_BYTES + body_bytes:
            return
        if crc != 0 and crc != entry_crc(data[at : at + 36]):
            return
        self.size = size
        self.index = read_i64_be(data, at + 8)
        self.term = read_i64_be(data, at + 16)
        self.pos = read_i64_be(data, at + 24)
        self.channel = i64(read_i32_be(data, at + 32))


class IndexUnit:
    """The numbers of one index unit; ``size`` is 0 where there is none."""

    def __init__(self, data: bytes, at: i64) -> None:
        self.pos: i64 = 0
        self.size: i64 = 0
        self.index: i64 = 0
        self.term: i64 = 0
        if at < 0 or len(data) - at < INDEX_UNIT_BYTES or i64(read_i32_be(data, at)) != ENTRY_MAGIC:
            return
        self.pos = read_i64_be(data, at + 4)
        self.size = i64(read_i32_be(data, at + 12))
        self.index = read_i64_be(data, at + 16)
        self.term = read_i64_be(data, at + 24)


class UnitScan:
    """Walks along index units: they must be those of entry ``index`` and the ones after it.

    ``pos`` is where the next entry must begin, unless it begins the next data file.
    """

    def __init__(self, index: i64, pos: i64, data_file_bytes: i64) -> None:
        self.index: i64 = index
        self.term: i64 = 0
        self.pos: i64 = pos
        self.data_file_bytes: i64 = data_file_bytes
        self.runs: list[tuple[int, int]] = []

    def feed(self, data: bytes) -> bool:
        """Whether all of ``data`` are such units."""
        at: i64 = 0
        end: i64 = len(data)
        while at < end:
            if end - at < INDEX_UNIT_BYTES or i64(read_i32_be(data, at)) != ENTRY_MAGIC:
                return False
            pos: i64 = read_i64_be(data, at + 4)
            size: i64 = i64(read_i32_be(data, at + 12))
            term: i64 = read_i64_be(data, at + 24)
            if read_i64_be(data, at + 16) != self.index or term < self.term or size < ENTRY_HEAD_BYTES:
                return False
            if pos != self.pos:
                file_end: i64 = self.pos // self.data_file_bytes * self.data_file_bytes + self.data_file_bytes
                if pos != file_end:
                    return False
            if term > self.term or len(self.runs) == 0:
                self.runs.append((int(self.index), int(term)))
            self.index += 1
            self.term = term
            self.pos = pos + size
            at += INDEX_UNIT_BYTES
        return True


class EntryScan:
    """Walks along entries that follow one another, and collects what is known of them.

    ``pos``, ``index`` and ``term``: the next entry must begin at this position, have this index (-1: any)
    and at least this term.
    """

    def __init__(self, index: i64, term: i64, pos: i64, with_units: bool) -> None:
        self.index: i64 = index
        self.term: i64 = term
        self.pos: i64 = pos
        self.at: i64 = 0
        """Where in the data the walk stands."""
        self.last_pos: i64 = -1
        """Where the last entry begins, -1 before the first."""
        self.needed: i64 = 0
        self.reason: str = ""
        self.runs: list[tuple[int, int]] = []
        """(first index, term) of each run of equal terms among the entries walked."""
        self._run_term: i64 = -2
        self._units: BytesWriter | None = BytesWriter() if with_units else None

    def take_units(self) -> bytes:
        """The index units of the entries walked since the last call."""
        units = self._units
        if units is None:
            return b""
        self._units = BytesWriter()
        return units.getvalue()

    def feed(self, data: bytes, at: i64, last_index: i64) -> i64:
        """Walk ``data`` from ``at``, which is ``pos``, up to entry ``last_index`` (-1: no limit)."""
        end: i64 = len(data)
        while True:
            self.at = at
            left: i64 = end - at
            if left == 0 or (last_index >= 0 and self.index > last_index):
                return END
            if left < 8:
                self.needed = ENTRY_HEAD_BYTES
                return PARTIAL
            magic: i64 = i64(read_i32_be(data, at))
            size: i64 = i64(read_i32_be(data, at + 4))
            if magic == BLANK_MAGIC:
                return BLANK
            if magic == 0 and size == 0:
                return NOTHING
            if magic != ENTRY_MAGIC:
                return self._damaged(f"magic {magic}")
            if size < ENTRY_HEAD_BYTES:
                return self._damaged(f"size {size}")
            if left < ENTRY_HEAD_BYTES:
                self.needed = ENTRY_HEAD_BYTES
                return PARTIAL
            body_bytes: i64 = i64(read_i32_be(data, at + 44))
            if size != ENTRY_HEAD_BYTES + body_bytes:
                return self._damaged(f"size {size} with {body_bytes} bytes of body")
            index: i64 = read_i64_be(data, at + 8)
            term: i64 = read_i64_be(data, at + 16)
            pos: i64 = read_i64_be(data, at + 24)
            if pos != self.pos:
                return self._damaged(f"an entry of position {pos}")
            if (index != self.index and self.index >= 0) or index < 0:
                return self._damaged(f"entry {index} where {self.index} was due")
            if term < self.term or term < 0:
                return self._damaged(f"entry {index} of term {term} after term {self.term}")
            channel: i64 = i64(read_i32_be(data, at + 32))
            if channel in (FILLER, FILLER_FILE):
                return self._damaged(f"entry {index} is a filler")
            crc: i64 = i64(read_i32_be(data, at + 36))
            if crc != 0 and crc != entry_crc(data[at : at + 36]):
                return self._damaged(f"entry {index} whose head has another CRC")
            if left < size:
                self.needed = size
                return PARTIAL
            crc = i64(read_i32_be(data, at + 40))
            if crc != 0 and crc != entry_crc(data[at + ENTRY_HEAD_BYTES : at + size]):
                return self._damaged(f"entry {index} whose body has another CRC")
            if term != self._run_term:
                self.runs.append((int(index), int(term)))
                self._run_term = term
            units = self._units
            if units is not None:
                _write_unit(units, pos, size, index, term)
            self.last_pos = pos
            self.index = index + 1
            self.term = term
            self.pos = pos + size
            at += size

    def _damaged(self, reason: str) -> i64:
        self.reason = reason
        return DAMAGED


def take_entries(payload: bytes, at: i64, count: i64, bytes_max: i64) -> tuple[int, int]:
    """How many entries from ``at`` on are at most ``bytes_max`` together, and where they end.

    At least one, at most ``count``. The payload was checked before.
    """
    end: i64 = at
    taken: i64 = 0
    while taken < count and end < len(payload):
        size: i64 = i64(read_i32_be(payload, end + 4))
        if taken > 0 and end + size - at > bytes_max:
            break
        end += size
        taken += 1
    return int(taken), int(end)


def split_bodies(payload: bytes) -> list[bytes]:
    """The bodies of a payload's entries. Raises EntryError when it is not made of whole entries."""
    bodies: list[bytes] = []
    at: i64 = 0
    end: i64 = len(payload)
    while at < end:
        if end - at < ENTRY_HEAD_BYTES:
            raise EntryError(f"{end - at} bytes at {at}: an entry has at least {ENTRY_HEAD_BYTES}")
        size: i64 = i64(read_i32_be(payload, at + 4))
        if size < ENTRY_HEAD_BYTES or size > end - at:
            raise EntryError(f"entry of size {size} at {at}: allowed are {ENTRY_HEAD_BYTES} to {end - at}")
        bodies.append(payload[at + ENTRY_HEAD_BYTES : at + size])
        at += size
    return bodies
