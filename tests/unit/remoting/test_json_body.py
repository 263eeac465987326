"""fastjson's dialect is read, standard JSON is written."""

import json

import msgspec
import pytest

from ledgermq.remoting.json_body import JsonError, decode_json, encode_json, parse_json
from ledgermq.runtime.limits import DIALECT_BYTES_MAX, JSON_DEPTH_MAX


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a":[1,-2.5,true,false,null,"x"]}', {"a": [1, -2.5, True, False, None, "x"]}),
        ("{0:12,-1:13}", {"0": 12, "-1": 13}),
        ('{"t@g":{0:1,1:2}}', {"t@g": {"0": 1, "1": 2}}),
        ("{1L:2L}", {"1": 2}),
        ("{a:1,$b_2:2}", {"a": 1, "$b_2": 2}),
        (
            '{"offsetTable":{{"brokerName":"b","topic":"t","queueId":0}:{"brokerOffset":5}}}',
            {"offsetTable": {'{"brokerName":"b","queueId":0,"topic":"t"}': {"brokerOffset": 5}}},
        ),
        ("[1,2,]", [1, 2]),
        ('{"a":1,}', {"a": 1}),
        ("{}", {}),
        ("[]", []),
        ("{0:{}}", {"0": {}}),
        ("{0:[]}", {"0": []}),
        ("{0:1.5D}", {"0": 1.5}),
        ("{0:1e3}", {"0": 1000.0}),
        ("{0:undefined}", {"0": None}),
        ("\x00 {0:1}\x00\n", {"0": 1}),
        ('{0:"\\u00fc\\x41\\n\\v\\0\\"\\/\\\'"}', {"0": "üA\n\v\0\"/'"}),
        ('{0:"\\ud83d\\ude00"}', {"0": "😀"}),
        ('{0:"a\tb\nc"}', {"0": "a\tb\nc"}),
        ('{"ü":1,0:"ü"}', {"ü": 1, "0": "ü"}),
        ("{0:1234567890123456789012345678901234567890}", {"0": 1234567890123456789012345678901234567890}),
    ],
)
def test_what_is_read(text: str, value: object) -> None:
    assert parse_json(text.encode()) == value
    spaced = text.replace("{", " {\n").replace(":", "\t: ").replace(",", " , ")
    if '"' not in text:
        assert parse_json(spaced.encode()) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "no value at character 0"),
        (b" ", "no value"),
        (b"{", "no key"),
        (b"{0", "no colon"),
        (b"{0:", "no value"),
        (b"{0:1", "neither a comma nor '}'"),
        (b"{0:1 1:2}", "neither a comma nor '}'"),
        (b"{0:1}}", "something follows the value at character 5"),
        (b"{,}", "no key"),
        (b"[,]", "no value"),
        (b"[1", "neither a comma nor ']'"),
        (b"{0:nothing}", "no value"),
        (b"{0:-}", "no value"),
        (b"{0:+1}", "no value"),
        (b"{0:.5}", "no value"),
        (b'{0:"abc', "unclosed text"),
        (b'{0:"abc\\', "unclosed text"),
        (b'{0:"\\ud800"}', "half a surrogate pair"),
        (b'{0:"\\ude00\\ud800"}', "half a surrogate pair"),
        (b"{0:1,\xff:1}", "not UTF-8 at byte 5"),
        (b"\xef\xbb\xbf{}", "no value"),
        (b"{0:" + b"1" * 41 + b"}", "more than 40 digits"),
        (b"{0:1." + b"1" * 41 + b"}", "more than 40 digits"),
        (b"{0:" + b"1" * 100_000 + b"}", "more than 40 digits"),
        ("{0:٣}".encode(), "no value"),
        (b"[" * 100_000, f"nested deeper than {JSON_DEPTH_MAX}"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, f"nested deeper than {JSON_DEPTH_MAX}"),
        (b"{" * 100_000, "key inside another such key"),
        (b'{{{"a":1}:1}:1}', "key inside another such key"),
        (b"[" * (JSON_DEPTH_MAX + 1) + b"{0:1}" + b"]" * (JSON_DEPTH_MAX + 1), "nested deeper"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_refused(text: bytes, why: str) -> None:
    with pytest.raises(JsonError, match=why):
        parse_json(text)


def test_keys_in_keys_do_not_explode() -> None:
    # Each level would double the backslashes of the one inside it.
    text = b'{"a":1}'
    for _ in range(60):
        text = b"{" + text + b":1}"
    with pytest.raises(JsonError):
        parse_json(text)


def test_the_dialect_has_a_limit_and_standard_json_has_not() -> None:
    filler = b'"' + b"x" * DIALECT_BYTES_MAX + b'"'
    assert parse_json(b'{"0":' + filler + b"}") == {"0": filler.decode().strip('"')}
    with pytest.raises(JsonError, match="not standard JSON"):
        parse_json(b"{0:" + filler + b"}")


class Queue(msgspec.Struct, rename="camel", forbid_unknown_fields=False):
    queue_id: int
    last_offset: int = 0


def test_numbers_may_be_quoted_and_keys_may_not() -> None:
    assert decode_json(Queue, b'{"queueId":"3","lastOffset":7,"new":1}') == Queue(3, 7)
    assert decode_json(Queue, b"{queueId:3}") == Queue(3)
    assert decode_json(dict[int, int], b"{0:1,1:2}") == {0: 1, 1: 2}
    assert decode_json(dict[int, int], b'{"0":1}') == {0: 1}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"{}", "missing required field `queueId`"),
        (b'{"queueId":"x"}', r"got `str` - at `\$\.queueId`"),
        (b"{queueId:1e400}", r"got `float` - at `\$\.queueId`"),
        (b"[]", "Expected `object`, got `array`"),
        (b"{", "no key"),
        (b"", "no value"),
        (b'{"queueId":1,"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_does_not_fit_is_named(text: bytes, why: str) -> None:
    with pytest.raises(JsonError, match=why):
        decode_json(Queue, text)


def test_nesting_near_the_interpreters_limit() -> None:
    for depth in range(10, 1200, 70):
        text = b"[" * depth + b"]" * depth
        for kind in (object, list[object], dict[str, object]):
            try:
                decode_json(kind, text)
            except JsonError:
                assert depth > JSON_DEPTH_MAX or kind == dict[str, object]


def test_written_json_is_standard() -> None:
    value = {0: Queue(1, 2), 1: Queue(3)}
    text = encode_json(value)
    assert json.loads(text) == {
        "0": {"queueId": 1, "lastOffset": 2},
        "1": {"queueId": 3, "lastOffset": 0},
    }
    assert decode_json(dict[int, Queue], text) == value
