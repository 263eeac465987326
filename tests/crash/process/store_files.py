"""A second reader of RocketMQ's store files, written from the format alone: nothing of ledgermq.store is
used.

Slow and simple. It is the judge of what the broker left on disk, so it must not share the broker's mistakes.

Record: int32 size, magic, body CRC, queue id, flag; int64 queue offset, log offset; int32 sysFlag; int64 born
time; born host (4 or 16 bytes of IP by sysFlag, int32 port); int64 store time; store host; int32 reconsume
times; int64 prepared transaction offset; int32 body length, body; topic length (one byte, two with the second
magic), topic; int16 properties length, properties.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAGIC_V1 = 0xDAA320A7
MAGIC_V2 = 0xDAA320AB
MAGIC_BLANK = 0xCBD43194

UNIT_BYTES = 20
INDEX_HEADER = struct.Struct(">qqqqii")


class DamagedError(AssertionError):
    """A file holds something that no correct broker writes."""


@dataclass(frozen=True)
class Record:
    log_offset: int
    size: int
    topic: str
    queue_id: int
    queue_offset: int
    properties: dict[str, str]
    body: bytes

    @property
    def keys(self) -> list[str]:
        """What the index must find the record by."""
        return [self.properties["UNIQ_KEY"], *self.properties.get("KEYS", "").split()]


def parse_record(data: bytes, at: int) -> Record:
    """The record at `at`; DamagedError when its parts do not fit together."""
    size, magic, crc, queue_id, _flag = struct.unpack_from(">IIIii", data, at)
    queue_offset, log_offset, sys_flag = struct.unpack_from(">qqi", data, at + 20)
    if magic not in (MAGIC_V1, MAGIC_V2) or at + size > len(data):
        raise DamagedError(f"no record at {at}: size {size}, magic {magic:#x}")
    position = at + 40 + 8 + (20 if sys_flag & 0x10 else 8) + 8 + (20 if sys_flag & 0x20 else 8) + 4 + 8
    (body_bytes,) = struct.unpack_from(">i", data, position)
    body = data[position + 4 : position + 4 + body_bytes]
    position += 4 + body_bytes
    width = 1 if magic == MAGIC_V1 else 2
    topic_bytes = int.from_bytes(data[position : position + width], "big")
    topic = data[position + width : position + width + topic_bytes].decode()
    position += width + topic_bytes
    (properties_bytes,) = struct.unpack_from(">h", data, position)
    text = data[position + 2 : position + 2 + properties_bytes].decode()
    end = position + 2 + properties_bytes
    if end != at + size:
        raise DamagedError(f"the record at {log_offset} is {size} bytes long, its fields {end - at}")
    if zlib.crc32(body) & 0x7FFFFFFF != crc:
        raise DamagedError(f"the body of the record at {log_offset} does not have its CRC")
    pairs = (pair.split("\x01", 1) for pair in text.split("\x02") if pair)
    return Record(log_offset, size, topic, queue_id, queue_offset, dict(pairs), body)


def parse_records(data: bytes) -> list[Record]:
    """Records without gaps: the body of a pull's answer."""
    records = []
    at = 0
    while at < len(data):
        records.append(parse_record(data, at))
        at += records[-1].size
    return records


def read_log(directory: Path) -> Iterator[Record]:
    """All records in the order of the log, up to where nothing is written."""
    files = sorted(directory.iterdir())
    for number, file in enumerate(files):
        data = file.read_bytes()
        start = int(file.name)
        at = 0
        while at + 8 <= len(data):
            size, magic = struct.unpack_from(">II", data, at)
            if magic == MAGIC_BLANK:
                break
            if size == 0:
                _nothing_behind(data, at, file, files[number + 1 :])
                return
            record = parse_record(data, at)
            if record.log_offset != start + at:
                raise DamagedError(f"the record at {start + at} says it is at {record.log_offset}")
            yield record
            at += size


def record_at(directory: Path, log_offset: int) -> Record:
    """One record, whatever is around it: a log that was just cut off by a kill may be read."""
    files = [file for file in sorted(directory.iterdir()) if int(file.name) <= log_offset]
    if not files:
        raise DamagedError(f"no file holds log offset {log_offset}")
    return parse_record(files[-1].read_bytes(), log_offset - int(files[-1].name))


def _nothing_behind(data: bytes, at: int, file: Path, later: list[Path]) -> None:
    if data[at:].strip(b"\0"):
        raise DamagedError(f"something is written behind the end of the log, {file.name} + {at}")
    for other in later:
        if other.read_bytes().strip(b"\0"):
            raise DamagedError(f"{other.name} is not empty, but the log ends at {file.name} + {at}")


@dataclass(frozen=True)
class Unit:
    """An entry of a consume queue."""

    log_offset: int
    size: int
    tags_code: int


def read_queue(directory: Path) -> tuple[int, list[Unit]]:
    """The first queue offset and the units from there to where nothing is written."""
    files = sorted(directory.iterdir())
    if not files:
        return 0, []
    data = b"".join(file.read_bytes() for file in files)
    units = [Unit(*struct.unpack_from(">qiq", data, at)) for at in range(0, len(data), UNIT_BYTES)]
    end = next((number for number, unit in enumerate(units) if unit.size == 0), len(units))
    if any(unit.size for unit in units[end:]):
        raise DamagedError(f"{directory.parent.name}/{directory.name} has a hole at unit {end}")
    return int(files[0].name) // UNIT_BYTES, units[:end]


def queue_directories(store: Path) -> Iterator[tuple[str, int, Path]]:
    for topic in sorted((store / "consumequeue").iterdir()):
        for queue in sorted(topic.iterdir()):
            yield topic.name, int(queue.name), queue


def java_hash(text: str) -> int:
    """String.hashCode of ASCII text: signed 32 bits."""
    value = 0
    for character in text:
        value = (31 * value + ord(character)) & 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value


class IndexFiles:
    """The hash tables of index/, for looking keys up."""

    def __init__(self, directory: Path, slot_count: int) -> None:
        self._slot_count = slot_count
        self._files = [file.read_bytes() for file in sorted(directory.iterdir())]

    def find(self, topic: str, key: str) -> list[int]:
        """The log offsets that the files hold for a key, and for keys of the same hash."""
        key_hash = abs(java_hash(f"{topic}#{key}"))
        return [offset for data in self._files for offset in self._find(data, key_hash)]

    def _find(self, data: bytes, key_hash: int) -> Iterator[int]:
        count = INDEX_HEADER.unpack_from(data)[5]
        (number,) = struct.unpack_from(">i", data, INDEX_HEADER.size + key_hash % self._slot_count * 4)
        entries = INDEX_HEADER.size + self._slot_count * 4
        while 0 < number < count:
            entry_hash, offset, _seconds, previous = struct.unpack_from(
                ">iqii", data, entries + number * UNIT_BYTES
            )
            if entry_hash == key_hash:
                yield offset
            if previous >= number:
                raise DamagedError(f"index entry {number} is followed by the later {previous}")
            number = previous
