"""Java's String.hashCode, against a transcription of its definition over UTF-16 units."""

from __future__ import annotations

import pytest

from ledgermq.message.hashing import hash_more, java_hash, signed32


def by_definition(text: str) -> int:
    units = text.encode("utf-16-be")
    state = 0
    for at in range(0, len(units), 2):
        state = (31 * state + int.from_bytes(units[at : at + 2], "big")) % (1 << 32)
    return state - (1 << 32) if state >= 1 << 31 else state


@pytest.mark.parametrize(
    ("text", "code"),
    [("", 0), ("a", 97), ("TagA", 2598919), ("polygenelubricants", -(1 << 31)), ("été", 227742)],
)
def test_values_that_java_gives(text: str, code: int):
    assert java_hash(text.encode()) == code == by_definition(text)


@pytest.mark.parametrize("text", ["x" * 300, "中文标签", "😀 tags", "a\x00b", "é" * 200])
def test_long_texts_and_all_planes(text: str):
    assert java_hash(text.encode()) == by_definition(text)


def test_a_hash_goes_on_from_any_place():
    text = b"topic#7F0000010A1418B4AAC2"
    for cut in range(len(text) + 1):
        state = hash_more(hash_more(0, text, 0, cut), text, cut, len(text))
        assert signed32(state) == java_hash(text)


def test_each_place_of_a_character():
    for size in range(12):
        for at in range(size):
            for character in ("\x00", "~", "\x7f", "é", "中", "😀"):
                text = "x" * at + character + "y" * (size - at - 1)
                assert java_hash(text.encode()) == by_definition(text), text


def test_broken_utf8_hashes_as_the_replacement_character():
    assert java_hash(b"a\xffb") == by_definition("a\ufffdb")
