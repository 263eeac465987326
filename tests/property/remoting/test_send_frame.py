"""The one-pass reader of send requests against the general decoder.

It may leave any frame to the general decoder, and it overlooks faults in what it does not use; but what it
says it has read is what the general decoder reads, and can be stored.
"""

from unittest.mock import patch

from hypothesis import event, given, settings
from hypothesis import strategies as st
from tests.property.remoting.sends import damaged, general, send_frames
from tests.unit.remoting.frames import JAVA

from ledgermq.broker import send_frame
from ledgermq.broker.send_frame import SendFrame
from ledgermq.remoting.request_frame import BAD, parse_int


def check(frame: bytes, before: bytes = b"", behind: bytes = b"") -> bool:
    """True when the frame is read. Interpreted, the loops of the compiled reader are tried too."""
    is_read = check_reader(frame, before, behind)
    with patch.object(send_frame, "COMPILED", True):
        return check_reader(frame, before, behind) and is_read


def check_reader(frame: bytes, before: bytes, behind: bytes) -> bool:
    at = len(before)
    data = before + frame + behind
    send = SendFrame()
    if not send.read(data, at, at + len(frame)):
        return False
    properties = send.properties.decode()
    assert send.topic
    assert send.code in (310, 320)
    for number in (send.opaque, send.flag, send.version, send.sys_flag, send.message_flag):
        assert -(2**31) <= number < 2**31
    assert 0 <= send.reconsume_times < 2**31
    body = data[send.body_at : at + len(frame)]
    said = general(data, at, at + len(frame))
    if said is None:
        event("the general decoder refuses")
        return True
    command, header = said
    assert (send.code, send.opaque, send.flag, send.version, send.binary) == (
        command.code,
        command.opaque,
        command.flag,
        command.version,
        command.binary,
    )
    assert body == command.body
    assert send.topic == header.topic.encode()
    assert properties == header.properties
    assert (send.queue_id, send.sys_flag, send.born_timestamp, send.message_flag) == (
        header.queue_id,
        header.sys_flag,
        header.born_timestamp,
        header.flag,
    )
    assert send.reconsume_times == (header.reconsume_times or 0)
    assert send.batch == header.batch
    return True


def test_javas_sends_are_read() -> None:
    for encoding in ("JSON", "binary"):
        assert check(JAVA[f"send {encoding}"])
        assert not check(JAVA[f"pull {encoding}"])
        assert not check(JAVA[f"response {encoding}"])


@given(send_frames(), st.binary(max_size=3), st.binary(max_size=3))
@settings(max_examples=400)
def test_what_is_read_is_what_the_general_decoder_reads(frame: bytes, before: bytes, behind: bytes) -> None:
    event("read" if check(frame, before, behind) else "left")


@given(damaged(send_frames()), st.sampled_from([b"", b"\x00\x01", b'{"code":310']))
@settings(max_examples=600)
def test_damaged_frames(frame: bytes, behind: bytes) -> None:
    event("read" if check(frame, b"", behind) else "left")


@given(damaged(st.sampled_from([JAVA["send JSON"], JAVA["send binary"]])))
@settings(max_examples=600)
def test_javas_frames_damaged(frame: bytes) -> None:
    event("read" if check(frame) else "left")


@given(st.integers(-(10**18) + 1, 10**18 - 1))
def test_numbers(number: int) -> None:
    text = str(number).encode()
    assert parse_int(b"x" + text + b"9", 1, 1 + len(text)) == number


@given(st.text("0123456789-+. ex", max_size=25))
def test_texts_that_are_no_numbers(text: str) -> None:
    value = parse_int(text.encode(), 0, len(text))
    if value != BAD:
        assert str(value) == text
