"""Message properties: the text ``name 0x01 value 0x02 name 0x01 value 0x02 ...`` in UTF-8.

Reading is as forgiving as Java's (``MessageDecoder.string2messageProperties``): an item without a separator,
with an empty name or an empty value is skipped; the last separator may be missing; of equal names the last
wins; a value may contain 0x01.

On the send path properties are never made into a dictionary: :class:`PropertyScan` finds in one pass the few
that the broker acts upon, as spans of the bytes.

Rules of this file: it is compiled, and interpreted it must give the same results; any bytes are accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from librt.strings import read_i16_be, read_i32_be, read_i64_be
from mypy_extensions import i64

from ledgermq.message.hashing import hash_more, signed32

NAME_VALUE_SEPARATOR: Final = "\x01"
PROPERTY_SEPARATOR: Final = "\x02"

_COMPILED: Final = not __file__.endswith(".py")

# Names as big-endian integers, so that a compiled comparison is one load.
_TAGS: Final[i64] = 0x54414753
_KEYS: Final[i64] = 0x4B455953
_WAIT: Final[i64] = 0x57414954
_UNIQ_KEY: Final[i64] = 0x554E49515F4B4559
_TRAN_MSG: Final[i64] = 0x5452414E5F4D5347
_DELA: Final[i64] = 0x44454C41
_TIMER_: Final[i64] = 0x54494D45
_INNER: Final[i64] = 0x494E4E45
_TRACE_ON: Final[i64] = 0x54524143455F4F4E
_LOW_BITS: Final[i64] = 0x7F7F7F7F
_HIGH_BITS: Final[i64] = 0x80808080
_THREES: Final[i64] = 0x03030303
"""Of each byte of a word: all bits but the highest, the highest bit, and the number 3."""
_RESERVED: Final = frozenset((b"MSG_REGION", b"__LITE_TOPIC", b"_SYS_MSG_PRIORITY_", b"INNER_MULTI_DISPATCH"))


def encode_properties(properties: Mapping[str, str]) -> bytes:
    """The text of ``properties`` in their order (Java: ``MessageDecoder.messageProperties2String``)."""
    parts: list[str] = []
    for name, value in properties.items():
        parts.append(name)
        parts.append(NAME_VALUE_SEPARATOR)
        parts.append(value)
        parts.append(PROPERTY_SEPARATOR)
    return "".join(parts).encode()


def decode_properties(data: bytes) -> dict[str, str]:
    """The properties as a dictionary. Never raises: broken items are skipped, broken UTF-8 becomes U+FFFD."""
    properties: dict[str, str] = {}
    for item in data.decode("utf-8", "replace").split(PROPERTY_SEPARATOR):
        name, separator, value = item.partition(NAME_VALUE_SEPARATOR)
        if separator and name and value:
            properties[name] = value
    return properties


def find_property(data: bytes, name: bytes) -> bytes | None:
    """The value of one property, or None; for names that :class:`PropertyScan` does not look for."""
    prefix = name + b"\x01"
    found: bytes | None = None
    for item in data.split(b"\x02"):
        if item.startswith(prefix) and len(item) > len(prefix):
            found = item[len(prefix) :]
    return found


class PropertyScan:
    """Where the properties that the broker acts upon lie in the bytes last given to :meth:`scan`.

    A span is ``[x_at, x_end)``; an absent property has ``x_end == 0``. One object is reused for all messages.

    ============  ==================  =======================================================
    span          property            used for
    ============  ==================  =======================================================
    tags          TAGS                tag code of the queue unit, index
    keys          KEYS                index, split at blanks
    unique        UNIQ_KEY            index, message id of the reply
    wait          WAIT                ``false``: the sender does not wait for flush or replicas
    delay         DELAY               delay level
    transaction   TRAN_MSG            half message
    timer         TIMER_*             any of the timer properties (the last one)
    inner         INNER_NUM/_BASE     a batch stored as one message
    ============  ==================  =======================================================

    ``reserved`` says that a property is there which only the broker may set or which changes what the
    message is (CLUSTER, MSG_REGION, TRACE_ON, POP_CK, a lite topic, a priority): the send path rewrites such
    properties.
    """

    def __init__(self) -> None:
        self.tags_at: i64 = 0
        self.tags_end: i64 = 0
        self.keys_at: i64 = 0
        self.keys_end: i64 = 0
        self.unique_at: i64 = 0
        self.unique_end: i64 = 0
        self.wait_at: i64 = 0
        self.wait_end: i64 = 0
        self.delay_at: i64 = 0
        self.delay_end: i64 = 0
        self.transaction_at: i64 = 0
        self.transaction_end: i64 = 0
        self.timer_at: i64 = 0
        self.timer_end: i64 = 0
        self.inner_at: i64 = 0
        self.inner_end: i64 = 0
        self.reserved: bool = False
        self.tags_code: i64 = 0
        """Java hash of TAGS, 0 without tags: what a consume-queue unit carries."""

    def scan(self, data: bytes) -> None:
        """Find the spans in ``data``, which the caller keeps."""
        self.tags_end = 0
        self.keys_end = 0
        self.unique_end = 0
        self.wait_end = 0
        self.delay_end = 0
        self.transaction_end = 0
        self.timer_end = 0
        self.inner_end = 0
        self.reserved = False
        if _COMPILED:
            self._scan_bytes(data)
        else:
            self._scan_with_find(data)
        if self.tags_end != 0:
            self.tags_code = signed32(hash_more(0, data, self.tags_at, self.tags_end))
        else:
            self.tags_code = 0

    def _scan_bytes(self, data: bytes) -> None:
        size: i64 = len(data)
        start: i64 = 0
        separator: i64 = -1
        i: i64 = 0
        while i < size:
            stop: i64 = i + 4
            if stop <= size:
                # Most words of four bytes hold no separator: no byte below 3.
                word: i64 = i64(read_i32_be(data, i))
                if ((word & _LOW_BITS) - _THREES) & ~word & _HIGH_BITS == 0:
                    i = stop
                    continue
            else:
                stop = size
            while i < stop:
                byte: i64 = i64(data[i])
                if byte == 1:
                    if separator < 0:
                        separator = i
                elif byte == 2:
                    if separator > start and separator < i - 1:
                        self._found(data, start, separator, i)
                    separator = -1
                    start = i + 1
                i += 1
        if separator > start and separator < size - 1:
            self._found(data, start, separator, size)

    def _scan_with_find(self, data: bytes) -> None:
        """The same for the interpreter, where a loop over bytes costs three times as much."""
        size = len(data)
        start = 0
        while start < size:
            end = data.find(b"\x02", start)
            if end < 0:
                end = size
            separator = data.find(b"\x01", start, end)
            if start < separator < end - 1:
                self._found(data, start, separator, end)
            start = end + 1

    def _found(self, data: bytes, start: i64, separator: i64, end: i64) -> None:
        """Note the property named ``data[start:separator]`` with the value ``data[separator + 1:end]``."""
        at: i64 = separator + 1
        name_bytes: i64 = separator - start
        if name_bytes == 4:
            name: i64 = i64(read_i32_be(data, start))
            if name == _TAGS:
                self.tags_at = at
                self.tags_end = end
            elif name == _KEYS:
                self.keys_at = at
                self.keys_end = end
            elif name == _WAIT:
                self.wait_at = at
                self.wait_end = end
        elif name_bytes == 8:
            name = read_i64_be(data, start)
            if name == _UNIQ_KEY:
                self.unique_at = at
                self.unique_end = end
            elif name == _TRAN_MSG:
                self.transaction_at = at
                self.transaction_end = end
            elif name == _TRACE_ON:
                self.reserved = True
        elif name_bytes == 5:
            if i64(read_i32_be(data, start)) == _DELA and i64(data[start + 4]) == 0x59:
                self.delay_at = at
                self.delay_end = end
        elif name_bytes == 7:
            if data[start:separator] == b"CLUSTER":
                self.reserved = True
        elif name_bytes == 6:
            if data[start:separator] == b"POP_CK":
                self.reserved = True
        elif name_bytes > 8:
            name = i64(read_i32_be(data, start))
            if name_bytes >= 10 and data[start:separator] in _RESERVED:
                self.reserved = True
            if name == _TIMER_:
                if i64(read_i16_be(data, start + 4)) == 0x525F:  # "R_"
                    self.timer_at = at
                    self.timer_end = end
            elif name == _INNER and (
                data[start:separator] == b"INNER_NUM" or data[start:separator] == b"INNER_BASE"
            ):
                self.inner_at = at
                self.inner_end = end
