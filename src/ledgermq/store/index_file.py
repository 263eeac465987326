"""One file of the key index: a hash table on disk that finds messages by key.

===========  =========================  ====================================================
at           field                      bytes
===========  =========================  ====================================================
0            begin timestamp, end t.    8 + 8, ms, store timestamps of first and last entry
16           begin offset, end offset   8 + 8, log offsets of first and last entry
32           slots used                 4
36           count                      4; entries are numbered from 1, so it is the next one
40           slots                      5,000,000 * 4: number of the slot's newest entry, or 0
20,000,040   entries                    20,000,000 * 20, entry 0 is not used
===========  =========================  ====================================================

Entry: int32 key hash, int64 log offset, int32 seconds since begin timestamp, int32 number of the slot's entry
before this one. All big endian. The key hash is ``abs`` of the Java hash of ``topic#key`` (0 for
Integer.MIN), the slot is the key hash modulo the number of slots (Java: ``IndexFile``).

The file being written is mapped; its blocks are reserved before they are touched, for a full disk under a
mapping is a SIGBUS. Order of writing: entries, then slots, then the header. So a process killed in between
leaves slots that name entries at or behind ``count``; such an entry is complete and leads on to those before
it.

Rules of this file: it is compiled; numbers read from the file are checked before they are used as positions.
"""

from __future__ import annotations

import mmap
import struct
from typing import Final

from librt.strings import BytesWriter, read_i32_be, read_i64_be, write_i32_be, write_i64_be
from mypy_extensions import i32, i64

from ledgermq.store.disk import Disk

HEADER_BYTES: Final[i64] = 40
SLOT_BYTES: Final[i64] = 4
ENTRY_BYTES: Final[i64] = 20
GROWTH_BYTES: Final[i64] = 4_194_304
GATHERED_BYTES: Final[i64] = 20
"""A gathered entry: int32 key hash, int64 log offset, int64 store timestamp."""
SECONDS_MAX: Final[i64] = 0x7FFFFFFF

HEADER: Final = struct.Struct(">qqqqii")


def positive_hash(state: i64) -> i64:
    """The key hash of an unsigned hash state: Java's abs, which leaves Integer.MIN negative and takes 0 for
    it.
    """
    if state < 0x80000000:
        return state
    if state == 0x80000000:
        return 0
    return 0x100000000 - state


def swap32(value: i64) -> i64:
    """A 32-bit number with its bytes reversed: the mapping is little endian to us, the file is big endian."""
    return ((value & 0xFF) << 24) | ((value & 0xFF00) << 8) | ((value >> 8) & 0xFF00) | ((value >> 24) & 0xFF)


class IndexFile:
    """One index file. It is mapped between :meth:`map` and :meth:`unmap`; only then can it be written."""

    def __init__(self, disk: Disk, path: str, slot_count: i64, entry_count: i64) -> None:
        self.disk: Disk = disk
        self.path: str = path
        self.slot_count: i64 = slot_count
        self.entry_count: i64 = entry_count
        self._may_have_more: bool = True
        """Behind the last entry there may be others, of before."""
        self.begin_ms: i64 = 0
        self.end_ms: i64 = 0
        self.begin_offset: i64 = 0
        self.end_offset: i64 = 0
        self.slots_used: i64 = 0
        self.count: i64 = 1
        self.fd: int = -1
        self.reserved_bytes: i64 = 0
        self.entries_at: i64 = HEADER_BYTES + slot_count * SLOT_BYTES
        self.file_bytes: i64 = self.entries_at + entry_count * ENTRY_BYTES
        self._map: mmap.mmap | None = None
        self._slots: memoryview | None = None

    # ---- opening and closing ---------------------------------------------------------------------------

    def create(self) -> None:
        """Make the file, empty. Raises OSError; then there is no file."""
        fd = self.disk.open(self.path, True)
        try:
            self.disk.truncate(fd, self.file_bytes)
            self.fd = fd
            self.reserve(1)
        except OSError:
            self.fd = -1
            self.disk.close(fd)
            self.disk.unlink(self.path)
            raise

    def load_header(self) -> bool:
        """Read the header of an existing file; False when the file is too short to have one. Raises
        OSError.
        """
        if self.fd < 0:
            self.fd = self.disk.open(self.path)
        header = self.disk.pread(self.fd, HEADER_BYTES, 0)
        if len(header) < HEADER_BYTES:
            return False
        self.begin_ms = read_i64_be(header, 0)
        self.end_ms = read_i64_be(header, 8)
        self.begin_offset = read_i64_be(header, 16)
        self.end_offset = read_i64_be(header, 24)
        self.slots_used = i64(read_i32_be(header, 32))
        self.count = i64(read_i32_be(header, 36))
        if self.count < 1:
            self.count = 1
        return True

    def map(self) -> None:
        """Map the file for writing. Raises OSError."""
        if self._map is not None:
            return
        if self.fd < 0:
            self.fd = self.disk.open(self.path)
        if self.disk.file_bytes(self.fd) < self.file_bytes:
            self.disk.truncate(self.fd, self.file_bytes)
        self.reserve(1)
        mapping = self.disk.map_write(self.fd, self.file_bytes)
        self._map = mapping
        self._slots = memoryview(mapping)[HEADER_BYTES : self.entries_at].cast("I")

    def unmap(self) -> None:
        """Give mapping and descriptor back."""
        if self._slots is not None:
            self._slots.release()
            self._slots = None
        if self._map is not None:
            self._map.close()
            self._map = None
        if self.fd >= 0:
            self.disk.close(self.fd)
            self.fd = -1

    def room(self) -> i64:
        """How many more entries fit (Java stops one below the number of entries, so do we)."""
        return self.entry_count - self.count

    def reserve(self, entries: i64) -> None:
        """Have blocks for the header, the slots and ``entries`` more entries. Raises OSError."""
        wanted: i64 = self.entries_at + (self.count + entries) * ENTRY_BYTES
        if wanted <= self.reserved_bytes:
            return
        grown: i64 = wanted + GROWTH_BYTES
        if grown > self.file_bytes:
            grown = self.file_bytes
        self.disk.allocate(self.fd, self.reserved_bytes, grown - self.reserved_bytes)
        self.reserved_bytes = grown

    def is_whole(self) -> bool:
        """Whether length and header can be those of such a file. Raises OSError."""
        if self.disk.path_bytes(self.path) != self.file_bytes or not self.load_header():
            return False
        return (
            self.count <= self.entry_count
            and 0 <= self.begin_offset <= self.end_offset
            and self.begin_ms >= 0
            and 0 <= self.slots_used <= self.count
        )

    def repair(self, log_begin: i64, log_end: i64) -> None:
        """Keep the entries up to the first that cannot be, and make the slots again from them. Raises
        OSError.

        Entries name records in log order, all of them in ``[log_begin, log_end)``; a page that was lost is
        zeros and breaks that order.
        """
        self.map()
        mapping = self._map
        slots = self._slots
        if mapping is None or slots is None:
            return
        self.disk.clear(self.fd, HEADER_BYTES, self.slot_count * SLOT_BYTES, True)
        previous: i64 = self.begin_offset if self.begin_offset > log_begin else log_begin
        self.slots_used = 0
        number: i64 = 1
        while number < self.count:
            at: i64 = self.entries_at + number * ENTRY_BYTES
            entry = mapping[at : at + ENTRY_BYTES]
            key_hash: i64 = i64(read_i32_be(entry, 0))
            log_offset: i64 = read_i64_be(entry, 4)
            seconds: i64 = i64(read_i32_be(entry, 12))
            if key_hash < 0 or seconds < 0 or log_offset < previous or log_offset >= log_end:
                break
            slot: i64 = key_hash % self.slot_count
            before: i64 = swap32(slots[slot])
            if i64(read_i32_be(entry, 16)) != before:
                mapping[at + 16 : at + 20] = int(before).to_bytes(4, "big")
            if before == 0:
                self.slots_used += 1
            slots[slot] = swap32(number)
            previous = log_offset
            self.end_offset = log_offset
            self.end_ms = self.begin_ms + seconds * 1000
            number += 1
        self.count = number
        if number == 1:
            self.begin_ms = self.end_ms = self.begin_offset = self.end_offset = 0
        # What is left behind could, beside new entries of which some get lost, make sense again.
        entries_end: i64 = self.entries_at + number * ENTRY_BYTES
        self.disk.clear(self.fd, entries_end, self.file_bytes - entries_end, False)
        self.reserved_bytes = entries_end
        self.write_header()
        self.disk.sync_data(self.fd)

    def drop_record(self, log_offset: i64) -> None:
        """Forget the entries of the last record, ``log_offset``, of which some may be missing. Raises
        OSError.

        They stay where they are, and leave their slots when others get their places.
        """
        while self.count > 1:
            entry = self.entry(self.count - 1)
            self.end_offset = read_i64_be(entry, 4)
            self.end_ms = self.begin_ms + i64(read_i32_be(entry, 12)) * 1000
            if self.end_offset != log_offset:
                break
            self.count -= 1

    # ---- writing ---------------------------------------------------------------------------------------

    def put(self, gathered: bytes, at: i64, end: i64) -> None:
        """Add the gathered entries in ``gathered[at:end]``, for which there is room and blocks are
        reserved.
        """
        mapping = self._map
        slots = self._slots
        if mapping is None or slots is None or end <= at:
            return
        if self._may_have_more:
            self._unlink_behind(slots)
        first: i64 = self.count
        if first == 1:
            self.begin_offset = read_i64_be(gathered, at + 4)
            self.begin_ms = read_i64_be(gathered, at + 12)
        out = BytesWriter()
        i: i64 = at
        while i < end:
            key_hash: i64 = i64(read_i32_be(gathered, i))
            seconds: i64 = (read_i64_be(gathered, i + 12) - self.begin_ms) // 1000
            if seconds < 0 or self.begin_ms <= 0:
                seconds = 0
            elif seconds > SECONDS_MAX:
                seconds = SECONDS_MAX
            write_i32_be(out, i32(key_hash))
            write_i64_be(out, read_i64_be(gathered, i + 4))
            write_i32_be(out, i32(seconds))
            write_i32_be(out, i32(self._newest(slots, key_hash % self.slot_count, first)))
            i += GATHERED_BYTES
        entries_at: i64 = self.entries_at + first * ENTRY_BYTES
        mapping[entries_at : entries_at + len(out)] = out.getvalue()
        number: i64 = first
        i = at
        while i < end:
            slot: i64 = i64(read_i32_be(gathered, i)) % self.slot_count
            newest: i64 = swap32(slots[slot])
            if first <= newest < number:
                # Two keys of this call in one slot: the second leads to the first, not around it.
                position: i64 = self.entries_at + number * ENTRY_BYTES + 16
                mapping[position : position + 4] = int(newest).to_bytes(4, "big")
            elif newest == 0:
                self.slots_used += 1
            slots[slot] = swap32(number)
            number += 1
            i += GATHERED_BYTES
        self.count = number
        self.end_offset = read_i64_be(gathered, end - GATHERED_BYTES + 4)
        self.end_ms = read_i64_be(gathered, end - GATHERED_BYTES + 12)
        self.write_header()

    def _unlink_behind(self, slots: memoryview) -> None:
        """Take entries behind the last one out of their slots' chains before others get their numbers. A
        process that was killed, or a record whose entries were dropped, has left them."""
        self._may_have_more = False
        number: i64 = self.count
        while number < self.entry_count:
            entry = self.entry(number)
            if len(entry) < ENTRY_BYTES or (read_i64_be(entry, 4) == 0 and read_i32_be(entry, 0) == 0):
                break
            slot: i64 = i64(read_i32_be(entry, 0)) % self.slot_count
            if swap32(slots[slot]) >= self.count:
                slots[slot] = swap32(self._newest(slots, slot, self.count))
            number += 1

    def write_header(self) -> None:
        mapping = self._map
        if mapping is not None:
            HEADER.pack_into(
                mapping,
                0,
                self.begin_ms,
                self.end_ms,
                self.begin_offset,
                self.end_offset,
                self.slots_used,
                self.count,
            )

    def _newest(self, slots: memoryview, slot: i64, below: i64) -> i64:
        """The slot's newest entry numbered below ``below``, or 0."""
        newest: i64 = swap32(slots[slot])
        while newest >= below:
            # Left by a process that was killed before it wrote the header.
            if newest >= self.entry_count:
                return 0
            entry = self.entry(newest)
            before: i64 = i64(read_i32_be(entry, 16))
            if before >= newest or before < 0:
                return 0
            newest = before
        return newest

    # ---- reading ---------------------------------------------------------------------------------------

    def entry(self, number: i64) -> bytes:
        """The 20 bytes of one entry. Raises OSError."""
        return self._read(self.entries_at + number * ENTRY_BYTES, ENTRY_BYTES)

    def _read(self, at: i64, size: i64) -> bytes:
        mapping = self._map
        if mapping is not None:
            return mapping[at : at + size]
        if self.fd < 0:
            self.fd = self.disk.open(self.path)
        data = self.disk.pread(self.fd, size, at)
        return data + bytes(size - len(data)) if len(data) < size else data

    def covers(self, begin_ms: i64, end_ms: i64) -> bool:
        """Whether entries of this file may lie in that span of store time."""
        return self.count > 1 and self.begin_ms <= end_ms and self.end_ms >= begin_ms

    def newest_in_slot(self, key_hash: i64) -> i64:
        """Number of the newest entry whose hash has the same slot, 0 for none. Raises OSError."""
        slot: i64 = key_hash % self.slot_count
        return i64(read_i32_be(self._read(HEADER_BYTES + slot * SLOT_BYTES, SLOT_BYTES), 0))

    def find(
        self,
        key_hash: i64,
        begin_ms: i64,
        end_ms: i64,
        count_max: i64,
        found: list[int],
        number: i64,
        entries_max: i64,
    ) -> i64:
        """Append log offsets of entries with this hash and time, newest first, until there are ``count_max``.

        Looks at ``entries_max`` entries of the slot at most, from ``number`` on; returns the number to go on
        with, 0 at the end. Entries know their time to the second. Other keys may share a hash: the caller
        compares the message. Raises OSError.
        """
        while 0 < number < self.entry_count and len(found) < count_max:
            if entries_max == 0:
                return number
            entries_max -= 1
            entry = self.entry(number)
            seconds: i64 = i64(read_i32_be(entry, 12))
            if seconds < 0:
                break
            entry_ms: i64 = self.begin_ms + seconds * 1000
            if number < self.count:
                if i64(read_i32_be(entry, 0)) == key_hash and begin_ms - 999 <= entry_ms <= end_ms:
                    log_offset: i64 = read_i64_be(entry, 4)
                    # After a crash a record may be indexed twice.
                    if log_offset not in found:
                        found.append(log_offset)
                if entry_ms < begin_ms - 999:
                    break
            before: i64 = i64(read_i32_be(entry, 16))
            if before >= number:
                break
            number = before
        return 0
