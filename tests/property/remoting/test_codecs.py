"""What is encoded is decoded, in both header encodings, whatever is in it."""

from typing import TypeVar

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property.remoting.sends import INT32, TEXT
from tests.unit.remoting.frames import decode, fields, receive
from tests.unit.remoting.header_fields import base_type, bounds, is_optional

from ledgermq.remoting.broker_headers import SEND_V2_LETTERS, SendMessage, decode_send_header
from ledgermq.remoting.codes import LANGUAGE_NAMES
from ledgermq.remoting.command import Command, encode_command
from ledgermq.remoting.headers import Header, decode_header, encode_header, request
from ledgermq.remoting.json_body import decode_json, encode_json, parse_json
from ledgermq.remoting.requests import REQUESTS

H = TypeVar("H", bound=Header)

EXT = st.dictionaries(TEXT, TEXT, max_size=5)


@st.composite
def commands(draw: st.DrawFn) -> Command:
    command = Command(draw(st.one_of(INT32, st.sampled_from([10, 310, 200050]))))
    command.opaque = draw(INT32)
    command.flag = draw(INT32)
    command.language = draw(st.integers(0, len(LANGUAGE_NAMES) - 1))
    command.version = draw(st.integers(-0x8000, 0x7FFF))
    command.ext = draw(EXT)
    command.remark = draw(st.one_of(st.none(), TEXT.filter(bool)))
    command.body = draw(st.binary(max_size=20))
    command.binary = draw(st.booleans())
    return command


@given(commands())
@settings(max_examples=300)
def test_commands(command: Command) -> None:
    decoded = decode(encode_command(command))
    fits_binary = -0x8000 <= command.code <= 0x7FFF
    assert decoded.binary == (command.binary and fits_binary)
    decoded.binary = command.binary
    assert fields(decoded) == fields(command)


@given(st.lists(commands(), max_size=5), st.data())
def test_streams_are_cut_into_the_same_frames_wherever_they_break(
    sent: list[Command], data: st.DataObject
) -> None:
    for command in sent:
        command.flag &= ~1
    stream = b"".join(map(encode_command, sent))
    breaks = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[at:end] for at, end in zip([0, *breaks], [*breaks, len(stream)], strict=True)]
    received: list[Command] = []
    receive([piece for piece in pieces if piece], {c.code: lambda c, _: received.append(c) for c in sent})
    assert [(c.code, c.opaque, c.ext, c.body) for c in received] == [
        (c.code, c.opaque, c.ext, c.body) for c in sent
    ]


def values(field: msgspec.structs.FieldInfo) -> st.SearchStrategy[object]:
    kind = base_type(field)
    some: st.SearchStrategy[object] = TEXT if kind is str else st.booleans()
    if kind is int:
        some = st.integers(*bounds(field))
    return st.one_of(st.none(), some) if is_optional(field) else some


def headers(kind: type[H]) -> st.SearchStrategy[H]:
    return st.builds(kind, **{field.name: values(field) for field in msgspec.structs.fields(kind)})


@given(st.data(), st.sampled_from(sorted({kind for _, kind in REQUESTS.values()}, key=str)))
@settings(max_examples=300)
def test_headers(data: st.DataObject, kind: type[Header]) -> None:
    header = data.draw(headers(kind))
    code = next(code for code, (_, other) in REQUESTS.items() if other is kind)
    assert decode_header(kind, request(code, header)) == header


@given(headers(SendMessage))
def test_sends_by_letter(header: SendMessage) -> None:
    letters = {name: letter for letter, name in SEND_V2_LETTERS.items()}
    command = request(310)
    command.ext = {letters[name]: value for name, value in encode_header(header).items()}
    assert decode_send_header(command) == header


JSON_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=12,
)


@given(JSON_VALUES)
def test_standard_json(value: object) -> None:
    assert parse_json(encode_json(value)) == value


@given(JSON_VALUES)
def test_the_reader_by_hand_agrees_with_msgspec(value: object) -> None:
    # A trailing comma is what msgspec refuses and fastjson reads.
    assert parse_json(b"[" + encode_json(value) + b",]") == [value]


@given(st.dictionaries(st.integers(-(2**63), 2**63 - 1), st.integers(0, 9), max_size=5))
def test_integer_keys_need_no_quotes(table: dict[int, int]) -> None:
    text = "{" + ",".join(f"{key}:{value}" for key, value in table.items()) + "}"
    assert decode_json(dict[int, int], text.encode()) == table
    assert decode_json(dict[int, int], encode_json(table)) == table
