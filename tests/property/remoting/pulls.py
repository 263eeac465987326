"""Pull requests, well formed and damaged, and what the general decoder makes of them."""

from __future__ import annotations

import struct

from hypothesis import strategies as st
from tests.property.remoting.sends import INT32, INT64, ODD_VALUES, TEXT, binary_header, json_header

from ledgermq.remoting.broker_headers import PullMessage
from ledgermq.remoting.command import Command, FrameError, PeerError, decode_command
from ledgermq.remoting.headers import decode_header

FIELDS = st.fixed_dictionaries(
    {
        "consumerGroup": TEXT,
        "topic": st.sampled_from(["topic", "T", "ü", "", "%RETRY%g"]),
        "queueId": st.integers(-2, 9).map(str),
        "queueOffset": st.one_of(st.integers(-1, 2**40), INT64).map(str),
        "maxMsgNums": INT32.map(str),
        "sysFlag": st.integers(0, 15).map(str),
        "commitOffset": st.integers(-1, 2**40).map(str),
        "suspendTimeoutMillis": st.sampled_from(["0", "15000", "-1"]),
        "subVersion": st.integers(0, 2**50).map(str),
    },
    optional={
        "subscription": st.one_of(TEXT, st.sampled_from(["*", "a || b", 'a"b', "a\\b", "ü"])),
        "expressionType": st.sampled_from(["TAG", "SQL92", "", "tag"]),
        "maxMsgBytes": INT32.map(str),
        "requestSource": INT32.map(str),
        "proxyFrowardClientId": TEXT,
        "bname": TEXT,
        "lo": st.just("true"),
    },
)
ODD_NAMES = [
    "topiC", "queueid", "sysFlags", "queueIf", "subversion", "maxMsgNumb", "queueOffse", "commitOffsets",
    "commitOffseT", "subscriptioN", "consumerGrouP", "requestSourcE", "expressionTypE",
    "suspendTimeoutMilliS", "", "x",
]  # fmt: skip
KNOWN_NAMES = [
    "topic", "queueId", "queueOffset", "maxMsgNums", "sysFlag", "commitOffset", "suspendTimeoutMillis",
    "subVersion", "maxMsgBytes", "requestSource", "expressionType",
]  # fmt: skip
ODD_FIELDS = st.dictionaries(st.sampled_from(ODD_NAMES + KNOWN_NAMES), ODD_VALUES, max_size=3)


@st.composite
def pull_frames(draw: st.DrawFn) -> bytes:
    """One frame of a pull that somebody might write."""
    ext = draw(FIELDS)
    if draw(st.booleans()):
        ext = {**ext, **draw(ODD_FIELDS)}
    for name in draw(st.lists(st.sampled_from(sorted(ext)), max_size=1)):
        del ext[name]
    code, opaque, flag = draw(st.sampled_from([11, 361])), draw(INT32), draw(st.sampled_from([0, 2]))
    if draw(st.booleans()):
        header, encoding = binary_header(code, opaque, flag, ext), 1
    else:
        header, encoding = draw(json_header(code, opaque, flag, ext)), 0
    return struct.pack(">ii", 4 + len(header), encoding << 24 | len(header)) + header


def general(frame: bytes, at: int, end: int) -> tuple[Command, PullMessage] | None:
    """What the general decoder says, None when it refuses."""
    try:
        command = decode_command(frame, at, end)
        return command, decode_header(PullMessage, command)
    except (FrameError, PeerError):
        return None
