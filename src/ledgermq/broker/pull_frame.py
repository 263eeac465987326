"""Reads the frames of PULL_MESSAGE and LITE_PULL_MESSAGE in one pass, without a decoded header.

Both header encodings give the same :class:`PullFrame`, whose texts are still bytes. What it says is held
against the general decoder by tests/property/remoting/test_pull_frame.py.

Rules of this file: it is compiled; interpreted it gives the same, too slowly to be of use.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from ledgermq.remoting.request_frame import BAD, RequestFrame, is_int32, matches, parse_int

PULL_MESSAGE: Final[i64] = 11
LITE_PULL_MESSAGE: Final[i64] = 361


class PullFrame(RequestFrame):
    """The fields of one pull. Field names are those of PullMessageRequestHeader.

    An absent ``subscription`` is empty; an absent ``max_msg_bytes`` is 0, as clients write it too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.consumer_group: bytes = b""
        self.topic: bytes = b""
        self.subscription: bytes = b""
        self.queue_id: i64 = BAD
        self.queue_offset: i64 = BAD
        self.max_msg_nums: i64 = BAD
        self.sys_flag: i64 = BAD
        self.commit_offset: i64 = BAD
        self.suspend_timeout_millis: i64 = BAD
        self.sub_version: i64 = BAD
        self.max_msg_bytes: i64 = 0
        self.by_tag: bool = True
        """The expression type is TAG, or absent."""
        self._request_source: i64 = 0

    def read(self, frame: bytes, at: i64, end: i64) -> bool:
        """Fill the fields from the frame in ``frame[at:end]``; False when it must go the general way."""
        self.consumer_group = b""
        self.topic = b""
        self.subscription = b""
        self.queue_id = BAD
        self.queue_offset = BAD
        self.max_msg_nums = BAD
        self.sys_flag = BAD
        self.commit_offset = BAD
        self.suspend_timeout_millis = BAD
        self.sub_version = BAD
        self.max_msg_bytes = 0
        self.by_tag = True
        self._request_source = 0
        return (
            self.read_header(frame, at, end)
            and len(self.consumer_group) > 0
            and len(self.topic) > 0
            and is_int32(self.queue_id)
            and self.queue_offset != BAD
            and is_int32(self.max_msg_nums)
            and is_int32(self.sys_flag)
            and self.commit_offset != BAD
            and self.suspend_timeout_millis != BAD
            and self.sub_version != BAD
            and is_int32(self.max_msg_bytes)
            and is_int32(self._request_source)
        )

    def wants(self, code: i64) -> bool:
        return code == PULL_MESSAGE or code == LITE_PULL_MESSAGE  # "in" is slower compiled

    def field(self, names: bytes, name_at: i64, name_bytes: i64, values: bytes, at: i64, end: i64) -> None:
        """One field. Their names are told apart by their lengths first, then byte by byte."""
        name_end: i64 = name_at + name_bytes
        if name_bytes == 5:
            if matches(names, name_at, name_end, b"topic"):
                self.topic = values[at:end]
        elif name_bytes == 7:
            if matches(names, name_at, name_end, b"queueId"):
                self.queue_id = parse_int(values, at, end)
            elif matches(names, name_at, name_end, b"sysFlag"):
                self.sys_flag = parse_int(values, at, end)
        elif name_bytes == 10:
            if matches(names, name_at, name_end, b"maxMsgNums"):
                self.max_msg_nums = parse_int(values, at, end)
            elif matches(names, name_at, name_end, b"subVersion"):
                self.sub_version = parse_int(values, at, end)
        elif name_bytes == 11:
            if matches(names, name_at, name_end, b"queueOffset"):
                self.queue_offset = parse_int(values, at, end)
            elif matches(names, name_at, name_end, b"maxMsgBytes"):
                self.max_msg_bytes = parse_int(values, at, end)
        elif name_bytes == 12:
            if matches(names, name_at, name_end, b"commitOffset"):
                self.commit_offset = parse_int(values, at, end)
            elif matches(names, name_at, name_end, b"subscription"):
                self.subscription = values[at:end]
        elif name_bytes == 13:
            if matches(names, name_at, name_end, b"consumerGroup"):
                self.consumer_group = values[at:end]
            elif matches(names, name_at, name_end, b"requestSource"):
                self._request_source = parse_int(values, at, end)
        elif name_bytes == 14:
            if matches(names, name_at, name_end, b"expressionType"):
                self.by_tag = at == end or matches(values, at, end, b"TAG")
        elif name_bytes == 20 and matches(names, name_at, name_end, b"suspendTimeoutMillis"):
            self.suspend_timeout_millis = parse_int(values, at, end)
