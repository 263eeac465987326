"""Send requests, well formed and damaged, and what the general decoder makes of them."""

from __future__ import annotations

import json
import struct

from hypothesis import strategies as st

from ledgermq.remoting.broker_headers import SendMessage, decode_send_header
from ledgermq.remoting.command import Command, FrameError, PeerError, decode_command

INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
PROPERTIES = st.dictionaries(
    st.sampled_from(["TAGS", "KEYS", "UNIQ_KEY", "WAIT", "ü"]), TEXT, max_size=4
).map(lambda table: "".join(f"{name}\x01{value}\x02" for name, value in table.items()))

FIELDS = st.fixed_dictionaries(
    {
        "a": TEXT,
        "b": st.sampled_from(["topic", "T", "ü", "", "%RETRY%g"]),
        "e": st.integers(-2, 9).map(str),
        "f": st.sampled_from(["0", "1", "768", "2147483647"]),
        "g": st.integers(0, 2**62).map(str),
        "h": INT32.map(str),
    },
    optional={
        "c": st.just("TBW102"),
        "d": st.integers(0, 20).map(str),
        "i": PROPERTIES,
        "j": st.integers(-1, 20).map(str),
        "k": st.sampled_from(["true", "false"]),
        "l": INT32.map(str),
        "m": st.sampled_from(["true", "false", "True", "TRUE", "1", "0"]),
        "n": TEXT,
        "bname": TEXT,
    },
)
ODD_VALUES = st.sampled_from(
    ["", "-", "-0", "007", "+1", " 1", "1.0", "1e3", "null", "tttt", "9" * 18, "9" * 19, "2147483648"]
)  # fmt: skip
ODD_FIELDS = st.dictionaries(
    st.sampled_from([*"abcdefghijklmno", "topic", "queueId", "batch", ""]), ODD_VALUES, max_size=3
)
CODES = st.sampled_from([310, 320])


def binary_header(code: int, opaque: int, flag: int, ext: dict[str, str]) -> bytes:
    fields = b"".join(
        struct.pack(f">h{len(name)}si{len(value)}s", len(name), name, len(value), value)
        for name, value in ((name.encode(), value.encode()) for name, value in ext.items())
    )
    return struct.pack(">hBhiiii", code, 0, 513, opaque, flag, 0, len(fields)) + fields


@st.composite
def json_header(draw: st.DrawFn, code: int, opaque: int, flag: int, ext: dict[str, str]) -> bytes:
    """As Java and Go write it, or with spaces, other orders, strange and doubled keys."""
    pairs: list[tuple[str, object]] = [
        ("code", code),
        ("extFields", ext),
        ("flag", flag),
        ("language", "JAVA"),
        ("opaque", opaque),
        ("serializeTypeCurrentRPC", "JSON"),
        ("version", 513),
    ]
    odd_keys = [
        "code",
        "cats",
        "flag",
        "flap",
        "opaque",
        "oblong",
        "version",
        "variety",
        "extFields",
        "extraText",
        "x",
    ]
    odd_values: list[object] = [
        0,
        10,
        310,
        -1,
        2**31,
        1.5,
        None,
        True,
        "310",
        'a"b',
        [],
        [1, "code"],
        {},
        {"b": "other"},
    ]
    odd = st.tuples(st.sampled_from(odd_keys), st.sampled_from(odd_values))
    pairs += draw(st.lists(odd, max_size=2) if draw(st.booleans()) else st.just([]))
    if draw(st.booleans()):
        pairs = draw(st.permutations(pairs))
    ascii_only = draw(st.booleans())
    colon, comma = draw(st.sampled_from([(":", ","), (":", ","), (": ", ", ")]))

    def dump(value: object) -> str:
        return json.dumps(value, ensure_ascii=ascii_only, separators=(comma, colon))

    def key(name: str) -> str:
        text = dump(name)
        return text if draw(st.integers(0, 30)) != 30 else f'"\\u{ord(name[0]):04x}{name[1:]}"'

    return ("{" + comma.join(f"{key(name)}{colon}{dump(value)}" for name, value in pairs) + "}").encode()


@st.composite
def send_frames(draw: st.DrawFn) -> bytes:
    """One frame of a send request that somebody might write."""
    ext = draw(FIELDS)
    if draw(st.booleans()):
        ext = {**ext, **draw(ODD_FIELDS)}
    for name in draw(st.lists(st.sampled_from(sorted(ext)), max_size=1)):
        del ext[name]
    code, opaque, flag = draw(CODES), draw(INT32), draw(st.sampled_from([0, 2]))
    body = draw(st.binary(max_size=8))
    if draw(st.booleans()):
        header, encoding = binary_header(code, opaque, flag, ext), 1
    else:
        header, encoding = draw(json_header(code, opaque, flag, ext)), 0
    word = encoding << 24 | len(header)
    return struct.pack(">ii", 4 + len(header) + len(body), word) + header + body


@st.composite
def damaged(draw: st.DrawFn, frames: st.SearchStrategy[bytes]) -> bytes:
    """A frame with some bytes changed, added or taken out; its length stays true, as the splitter sees to."""
    frame = bytearray(draw(frames))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(4, len(frame)))
        kind = draw(st.sampled_from(["change", "insert", "delete"]))
        byte = draw(st.one_of(st.sampled_from(list(b'\x00\xff{}":,\\0-9abct')), st.integers(0, 255)))
        if kind == "insert":
            frame.insert(at, byte)
        elif at < len(frame) and kind == "change":
            frame[at] = byte
        elif at < len(frame) and len(frame) > 8:
            del frame[at]
    frame[:4] = struct.pack(">i", len(frame) - 4)
    return bytes(frame)


def general(frame: bytes, at: int, end: int) -> tuple[Command, SendMessage] | None:
    """What the general decoder says, None when it refuses."""
    try:
        command = decode_command(frame, at, end)
        return command, decode_send_header(command)
    except (FrameError, PeerError):
        return None
