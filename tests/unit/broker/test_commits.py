"""Replies that were prepared and turn out to be too good."""

from __future__ import annotations

import pytest

from ledgermq.broker.commits import replace_replies
from ledgermq.remoting.codes import FLAG_RESPONSE, ResponseCode
from ledgermq.remoting.command import Command, decode_command, encode_command


def reply(opaque: int, *, binary: bool) -> Command:
    command = Command(0)
    command.flag = FLAG_RESPONSE
    command.opaque = opaque
    command.binary = binary
    command.ext = {"msgId": f"ID{opaque}", "transactionId": 'ü"\\'}
    return command


def decoded(frames: bytes) -> list[Command]:
    found: list[Command] = []
    at = 0
    while at < len(frames):
        end = at + 4 + int.from_bytes(frames[at : at + 4], "big")
        found.append(decode_command(frames, at, end))
        at = end
    return found


@pytest.mark.parametrize("remark", ["No space left on device", 'a "quoted" ü\n', ""])
def test_each_reply_gets_the_code_and_the_remark_and_keeps_the_rest(remark: str) -> None:
    replies = [reply(n, binary=n % 2 == 0) for n in (5, -6, 2**31 - 1, -(2**31))]
    frames = b"".join(encode_command(one) for one in replies)
    found = decoded(replace_replies(frames, ResponseCode.SERVICE_NOT_AVAILABLE, remark))
    assert [(one.opaque, one.binary, one.ext, one.flag) for one in found] == [
        (one.opaque, one.binary, one.ext, FLAG_RESPONSE) for one in replies
    ]
    assert {one.code for one in found} == {ResponseCode.SERVICE_NOT_AVAILABLE}
    assert {one.remark or "" for one in found} == {remark}


def test_no_replies_are_none() -> None:
    assert replace_replies(b"", ResponseCode.SERVICE_NOT_AVAILABLE, "x") == b""
