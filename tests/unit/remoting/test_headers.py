"""The table of requests: each header goes out and comes back, and each way to be wrong is named."""

import msgspec
import pytest
from tests.unit.remoting.frames import JAVA, decode
from tests.unit.remoting.header_fields import base_type, bounds

from ledgermq.remoting.broker_headers import (
    SEND_V2_LETTERS,
    GetMaxOffset,
    PullMessage,
    SendMessage,
    UnregisterClient,
    decode_send_header,
)
from ledgermq.remoting.codes import FLAG_ONEWAY, FLAG_RESPONSE, RequestCode, ResponseCode
from ledgermq.remoting.command import Command, PeerError
from ledgermq.remoting.headers import (
    Header,
    decode_body,
    decode_header,
    encode_header,
    json_response,
    oneway,
    request,
    request_name,
    response,
)
from ledgermq.remoting.requests import REQUESTS

KINDS = sorted({kind for _, kind in REQUESTS.values()}, key=lambda kind: kind.__name__)


def code_of(kind: type[Header]) -> int:
    return next(code for code, (_, other) in REQUESTS.items() if other is kind)


def texts(kind: type[Header], low: bool = False) -> dict[str, str]:
    """A value for every field of ``kind``, as text on the wire."""
    found = {}
    for field in msgspec.structs.fields(kind):
        base = base_type(field)
        if base is str:
            found[field.encode_name] = "" if low else f"a {field.name} ü\n"
        elif base is bool:
            found[field.encode_name] = "false" if low else "true"
        else:
            found[field.encode_name] = str(bounds(field)[0 if low else 1])
    return found


def asked(kind: type[Header], ext: dict[str, str]) -> Command:
    command = Command(code_of(kind))
    command.ext = ext
    return command


def refusal(kind: type[Header], ext: dict[str, str]) -> str:
    with pytest.raises(PeerError) as caught:
        decode_header(kind, asked(kind, ext))
    assert caught.value.code == ResponseCode.INVALID_PARAMETER
    return caught.value.remark


def test_every_request_code_in_the_table_is_named_alike() -> None:
    codes = {value: name for name, value in vars(RequestCode).items() if not name.startswith("_")}
    for code, (name, _) in REQUESTS.items():
        assert codes[code] == name
    assert request_name(11) == "PULL_MESSAGE(11)"
    assert request_name(999999) == "code 999999"


def test_numbers_of_codes_are_unique() -> None:
    for table in (RequestCode, ResponseCode):
        values = [value for name, value in vars(table).items() if not name.startswith("_")]
        assert len(values) == len(set(values))


@pytest.mark.parametrize("low", [False, True])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_round_trip(kind: type[Header], low: bool) -> None:
    ext = texts(kind, low)
    header = decode_header(kind, asked(kind, ext))
    assert encode_header(header) == ext
    for name in ext:
        assert name == "clientID" or name[0].islower()
        assert "_" not in name


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_only_what_is_required(kind: type[Header]) -> None:
    required = {field.encode_name for field in msgspec.structs.fields(kind) if field.required}
    ext = {name: text for name, text in texts(kind).items() if name in required}
    header = decode_header(kind, asked(kind, ext))
    written = encode_header(header)
    assert {name: written[name] for name in ext} == ext
    assert decode_header(kind, asked(kind, written)) == header


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_unknown_fields_are_ignored(kind: type[Header]) -> None:
    ext = texts(kind)
    assert decode_header(kind, asked(kind, {**ext, "bname": "b", "": "x"})) == decode_header(
        kind, asked(kind, ext)
    )


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
class TestEachFieldOf:
    def test_missing(self, kind: type[Header]) -> None:
        for field in msgspec.structs.fields(kind):
            ext = texts(kind)
            del ext[field.encode_name]
            if field.required:
                name = request_name(code_of(kind))
                assert refusal(kind, ext) == f"{name}: header field {field.encode_name} is missing"
            else:
                header = decode_header(kind, asked(kind, ext))
                assert getattr(header, field.name) == field.default

    def test_wrong_type(self, kind: type[Header]) -> None:
        for field in msgspec.structs.fields(kind):
            if base_type(field) is str:
                continue
            for value in ("", "x", "1x", " 1", "1 ", "٣", "[]", "0x10", "nan"):
                remark = refusal(kind, {**texts(kind), field.encode_name: value})
                assert f"header field {field.encode_name}={value!r}, allowed: " in remark

    def test_whole_numbers_are_written_with_digits(self, kind: type[Header]) -> None:
        for field in msgspec.structs.fields(kind):
            if base_type(field) is not int:
                continue
            for value in ("1e3", "1E0", "1e+1", "10e-1", "1.0", "-0.0"):
                remark = refusal(kind, {**texts(kind), field.encode_name: value})
                assert f"header field {field.encode_name}={value!r}, allowed: a whole number from " in remark

    def test_out_of_range(self, kind: type[Header]) -> None:
        for field in msgspec.structs.fields(kind):
            if base_type(field) is not int:
                continue
            low, high = bounds(field)
            assert (low, high) in [(-(2**31), 2**31 - 1), (-(2**63), 2**63 - 1)]
            for value in (str(low - 1), str(high + 1), "1" * 30, "-" + "1" * 30, "3" * 5000):
                remark = refusal(kind, {**texts(kind), field.encode_name: value})
                assert f"allowed: a whole number from {low} to {high}" in remark
                assert len(remark) < 300


def test_the_allowed_values_of_a_switch() -> None:
    ext = {"topic": "t", "queueId": "0", "committed": "maybe"}
    assert refusal(GetMaxOffset, ext) == (
        "GET_MAX_OFFSET(30): header field committed='maybe', allowed: true or false"
    )


def test_javas_pull() -> None:
    for encoding in ("JSON", "binary"):
        header = decode_header(PullMessage, decode(JAVA[f"pull {encoding}"]))
        assert header == PullMessage(
            consumer_group="g",
            topic="t",
            queue_id=3,
            queue_offset=1 << 40,
            max_msg_nums=32,
            sys_flag=6,
            commit_offset=0,
            suspend_timeout_millis=15000,
            subscription="a || ü",
            sub_version=1,
        )


SENT = SendMessage(
    producer_group="pg",
    topic="topic",
    default_topic="TBW102",
    default_topic_queue_nums=4,
    queue_id=2,
    sys_flag=0,
    born_timestamp=1700000000123,
    flag=5,
    properties='TAGS\x01a\x02KEYS\x01"k\\\x02UNIQ_KEY\x01ü\n\x02',
    reconsume_times=0,
    unit_mode=False,
    batch=False,
    broker_name="b",
)


def test_javas_send() -> None:
    for encoding in ("JSON", "binary"):
        assert decode_send_header(decode(JAVA[f"send {encoding}"])) == SENT


def test_send_with_long_names() -> None:
    command = request(RequestCode.SEND_MESSAGE, SENT)
    assert decode_send_header(command) == SENT


def test_letters_are_all_the_fields_of_a_send() -> None:
    names = {field.encode_name for field in msgspec.structs.fields(SendMessage)}
    assert set(SEND_V2_LETTERS.values()) == names


def test_a_wrong_letter_is_explained_by_its_name() -> None:
    command = request(RequestCode.SEND_MESSAGE_V2)
    command.ext = {"a": "g", "b": "t", "e": "x", "f": "0", "g": "0", "h": "0"}
    with pytest.raises(PeerError, match=r"header field queueId='x', allowed: a whole number"):
        decode_send_header(command)


def test_client_id_has_javas_odd_name() -> None:
    assert encode_header(UnregisterClient(client_id="c")) == {"clientID": "c"}


def test_commands_of_ours() -> None:
    header = GetMaxOffset("t", 1)
    command = request(RequestCode.GET_MAX_OFFSET, header, b"x")
    assert (command.code, command.flag, command.body) == (30, 0, b"x")
    assert command.ext == {"topic": "t", "queueId": "1", "committed": "true"}
    assert oneway(RequestCode.HEART_BEAT).flag == FLAG_ONEWAY
    answer = response(ResponseCode.TOPIC_NOT_EXIST, "no", header, b"y")
    assert (answer.code, answer.flag, answer.remark, answer.body) == (17, FLAG_RESPONSE, "no", b"y")
    assert answer.ext == command.ext
    assert json_response({0: "a"}).body == b'{"0":"a"}'


class Body(msgspec.Struct):
    number: int


def test_body() -> None:
    command = request(RequestCode.HEART_BEAT, body=b'{number:"3"}')
    assert decode_body(Body, command) == Body(3)
    command.body = b'{"number":[]}'
    with pytest.raises(PeerError) as caught:
        decode_body(Body, command)
    assert caught.value.code == ResponseCode.INVALID_PARAMETER
    assert caught.value.remark == (
        "HEART_BEAT(34): body of 13 bytes is not as expected: Expected `int`, got `array` - at `$.number`"
    )
