"""The one-pass reader of pulls against the general decoder.

It may leave any frame to the general decoder, and it overlooks faults in what it does not use; but what it
says it has read is what the general decoder reads.
"""

from hypothesis import event, given, settings
from hypothesis import strategies as st
from tests.property.remoting.pulls import general, pull_frames
from tests.property.remoting.sends import damaged
from tests.unit.remoting.frames import JAVA

from ledgermq.broker.pull_frame import PullFrame


def check(frame: bytes, before: bytes = b"", behind: bytes = b"") -> bool:
    """True when the frame is read."""
    at = len(before)
    data = before + frame + behind
    pull = PullFrame()
    if not pull.read(data, at, at + len(frame)):
        return False
    assert pull.code in (11, 361)
    assert pull.topic
    assert pull.consumer_group
    for number in (
        pull.opaque,
        pull.flag,
        pull.queue_id,
        pull.max_msg_nums,
        pull.sys_flag,
        pull.max_msg_bytes,
    ):
        assert -(2**31) <= number < 2**31
    said = general(data, at, at + len(frame))
    if said is None:
        event("the general decoder refuses")
        return True
    command, header = said
    assert (pull.code, pull.opaque, pull.flag, pull.version, pull.binary) == (
        command.code,
        command.opaque,
        command.flag,
        command.version,
        command.binary,
    )
    assert (pull.consumer_group, pull.topic) == (header.consumer_group.encode(), header.topic.encode())
    assert pull.subscription == (header.subscription or "").encode()
    assert pull.by_tag == (header.expression_type in (None, "", "TAG"))
    assert (pull.queue_id, pull.queue_offset, pull.max_msg_nums, pull.sys_flag) == (
        header.queue_id,
        header.queue_offset,
        header.max_msg_nums,
        header.sys_flag,
    )
    assert (pull.commit_offset, pull.suspend_timeout_millis, pull.sub_version, pull.max_msg_bytes) == (
        header.commit_offset,
        header.suspend_timeout_millis,
        header.sub_version,
        header.max_msg_bytes or 0,
    )
    return True


def test_javas_pulls_are_read() -> None:
    for encoding in ("JSON", "binary"):
        assert check(JAVA[f"pull {encoding}"])
        assert not check(JAVA[f"send {encoding}"])
        assert not check(JAVA[f"response {encoding}"])


@given(pull_frames(), st.binary(max_size=3), st.binary(max_size=3))
@settings(max_examples=400)
def test_what_is_read_is_what_the_general_decoder_reads(frame: bytes, before: bytes, behind: bytes) -> None:
    event("read" if check(frame, before, behind) else "left")


@given(damaged(pull_frames()), st.sampled_from([b"", b"\x00\x01", b'{"code":11']))
@settings(max_examples=600)
def test_damaged_frames(frame: bytes, behind: bytes) -> None:
    event("read" if check(frame, b"", behind) else "left")


@given(damaged(st.sampled_from([JAVA["pull JSON"], JAVA["pull binary"]])))
@settings(max_examples=600)
def test_javas_frames_damaged(frame: bytes) -> None:
    event("read" if check(frame) else "left")
