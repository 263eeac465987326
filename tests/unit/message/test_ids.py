import time

import pytest

from ledgermq.message.ids import (
    MessageIdError,
    UniqueKeys,
    month_bounds_ms,
    offset_message_id,
    parse_offset_message_id,
)

NOW_MS = 1_795_236_018_742


def test_a_unique_key_is_laid_out_as_javas() -> None:
    begin_ms, end_ms = month_bounds_ms(NOW_MS)
    assert begin_ms <= NOW_MS < end_ms
    key = UniqueKeys("10.0.0.9", 4711, 0xDEADBEEF).next(NOW_MS)
    assert key == f"0A000009{4711:04X}DEADBEEF{NOW_MS - begin_ms:08X}0000"
    six = UniqueKeys("fd00::2", 0x12345, 1).next(begin_ms)
    assert six == "FD000000000000000000000000000002" + "2345" + "00000001" + "00000000" + "0000"


def test_the_counter_tells_keys_of_one_millisecond_apart_and_wraps() -> None:
    keys = UniqueKeys("10.0.0.9", 1, 2)
    made = [keys.next(NOW_MS)[-4:] for _ in range(0x10000)]
    assert len(set(made)) == 0x10000
    assert (made[1], made[-1]) == ("0001", "FFFF")
    assert keys.next(NOW_MS)[-4:] == "0000"


def test_a_new_month_begins_at_zero() -> None:
    _, next_month_ms = month_bounds_ms(NOW_MS)
    keys = UniqueKeys("10.0.0.9", 1, 2)
    keys.next(NOW_MS)
    assert int(keys.next(next_month_ms)[20:28], 16) == 0
    # A clock that was set back a little stands at the month's beginning, as in Java.
    assert int(keys.next(next_month_ms - 5)[20:28], 16) == 0


def test_a_month_is_a_local_one() -> None:
    begin_ms, end_ms = month_bounds_ms(NOW_MS)
    for bound_ms in (begin_ms, end_ms):
        local = time.localtime(bound_ms // 1000)
        assert (local.tm_mday, local.tm_hour, local.tm_min, local.tm_sec) == (1, 0, 0, 0)


@pytest.mark.parametrize(
    ("ip", "port", "offset", "message_id"),
    [  # made by Java's MessageDecoder.createMessageId
        ("10.1.2.3", 10911, 123456789012, "0A01020300002A9F0000001CBE991A14"),
        ("2001:db8::1", 10911, 5, "20010DB800000000000000000000000100002A9F0000000000000005"),
    ],
)
def test_an_offset_message_id_is_javas(ip: str, port: int, offset: int, message_id: str) -> None:
    assert parse_offset_message_id(message_id) == (ip, port, offset)
    assert parse_offset_message_id(message_id.lower()) == (ip, port, offset)
    packed = bytes.fromhex(message_id)[:-12]
    assert offset_message_id(packed, port, offset) == message_id


@pytest.mark.parametrize("text", ["", "0A", "0A01020300002A9F0000001CBE991A1", "x" * 32, "0 " * 16, "é" * 32])
def test_other_texts_are_no_ids(text: str) -> None:
    with pytest.raises(MessageIdError, match="message id"):
        parse_offset_message_id(text)
