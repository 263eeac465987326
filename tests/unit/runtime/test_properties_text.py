import pytest

from ledgermq.runtime.properties_text import Entry, edit_properties, parse_properties, render_properties


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("", []),
        ("# a comment\n ! another\n\n \t\n", []),
        ("a=1\nb = 2\nc: 3\nd 4", [("a", "1", 1), ("b", "2", 2), ("c", "3", 3), ("d", "4", 4)]),
        ("alone", [("alone", "", 1)]),
        ("=value", [("", "value", 1)]),
        ("a==1", [("a", "=1", 1)]),
        ("url=http://x:1", [("url", "http://x:1", 1)]),
        ("a=1 \t\r\nb=2\rc=3", [("a", "1", 1), ("b", "2", 2), ("c", "3", 3)]),
        ("a=1,\\\n   2,\\\r\n\t3\nb=4", [("a", "1,2,3", 1), ("b", "4", 4)]),
        ("a=1\\\\\nb=2", [("a", "1\\", 1), ("b", "2", 2)]),
        ("a=1\\\n# no comment", [("a", "1# no comment", 1)]),
        ("a=1\\", [("a", "1", 1)]),
        ("\\\n\\\na=1", [("a", "1", 1)]),
        ("\\", []),
        (r"a\ b\==\t\u00e9\q", [("a b=", "\t\u00e9q", 1)]),
        (r"a=\ud83d\ude00", [("a", "\U0001f600", 1)]),
        (r"a=\ud83d", [("a", "\ufffd", 1)]),
        (r"a=\u12", [("a", "u12", 1)]),
        ("\ufeffa=\u00e9", [("a", "\u00e9", 1)]),
        ("a=1\x0cb=2", [("a", "1\x0cb=2", 1)]),
        ("a=1\na=2", [("a", "1", 1), ("a", "2", 2)]),
    ],
)
def test_reads_what_java_reads(text, entries):
    assert parse_properties(text) == [Entry(*entry) for entry in entries]


def test_writes_sorted_lines_that_read_back():
    values = {"b": "two words", "a": "C:\\new", "c": "", "d": "x\ny=1\r"}
    text = render_properties(values)
    assert text == "a=C:\\\\new\nb=two words\nc=\nd=x\\ny=1\\r\n"
    # Blanks around a value are not part of it.
    assert {entry.key: entry.value for entry in parse_properties(text)} == {**values, "d": "x\ny=1"}


def test_an_edit_keeps_all_but_the_values():
    text = "# ours\nbrokerName=a\r\nnamesrvAddr=x:1;\\\n  y:2\n! end\nbrokerName=b"
    assert edit_properties(text, {"brokerName": "c", "namesrvAddr": "z:3", "brokerPermission": "4"}) == (
        "# ours\nbrokerName=c\nnamesrvAddr=z:3\n! end\nbrokerName=c\nbrokerPermission=4\n"
    )


def test_an_edit_of_nothing_changes_nothing():
    assert edit_properties("a=1\n", {}) == "a=1\n"
    assert edit_properties("", {"a": "1"}) == "a=1\n"
