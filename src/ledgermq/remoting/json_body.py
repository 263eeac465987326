"""JSON bodies: fastjson's dialect on input, standard JSON on output.

fastjson (Java's library) writes what no JSON library reads: map keys that are integers stand unquoted
(``{0:12}``), and maps keyed by objects stand as ``{{"topic":"t"}:1}``. Such maps are read here; what we write
is standard JSON, except where a client can only read the other form (see the name server's route answer).

Rules of this file: :func:`parse_json` parses or raises JsonError whatever the bytes are, in time and memory
linear in their number; it first asks msgspec, and reads by hand only what msgspec refuses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Annotated, Final, TypeVar

import msgspec

from ledgermq.runtime.limits import DIALECT_BYTES_MAX, JSON_DEPTH_MAX

T = TypeVar("T")
K = TypeVar("K")


class JsonError(ValueError):
    """The text is neither JSON nor fastjson's dialect of it, or not of the shape asked for."""


_Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]


class JsonHeader(msgspec.Struct):
    """The JSON header of a command as the wire has it; fastjson omits what is null.

    It stands here because a compiled module would lose the annotations that msgspec reads.
    """

    code: _Int32
    opaque: _Int32 = 0
    flag: _Int32 = 0
    language: str | int = "JAVA"
    version: _Int32 = 0
    remark: str | None = None
    extFields: dict[str, str | None] | None = None  # noqa: N815 - a name of the wire


def parse_json(data: bytes) -> object:
    """The value that ``data`` (UTF-8) holds. Object keys are always text: ``{0:1}`` gives ``{"0": 1}``,
    and a key that is itself an object is kept as its canonical JSON text.

    Raises JsonError.
    """
    try:
        return msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    if len(data) > DIALECT_BYTES_MAX:
        raise JsonError(f"not standard JSON, and {DIALECT_BYTES_MAX} bytes are the most read as another form")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise JsonError(f"not UTF-8 at byte {error.start}") from None
    return _Reader(text).document()


def decode_json(kind: type[T], data: bytes) -> T:
    """``data`` as an instance of ``kind`` (a msgspec Struct, a dict type, …); numbers may be quoted.

    Raises JsonError naming the path of the field that does not fit.
    """
    try:
        return msgspec.json.decode(data, type=kind, strict=False)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return msgspec.convert(parse_json(data), kind, strict=False, str_keys=True)
    except msgspec.MsgspecError as error:
        raise JsonError(str(error)) from None
    except RecursionError:
        raise JsonError("nested too deeply") from None


def encode_json(value: object) -> bytes:
    """Standard JSON of ``value``; integer keys become text, as JSON wants them."""
    return msgspec.json.encode(value)


def encode_object_map(entries: Iterable[tuple[object, object]]) -> msgspec.Raw:
    """A map keyed by objects as fastjson writes it, ``{{"queueId":0}:1,…}``, to stand as a field of a body.

    It is no JSON, but what Java's tools and the Go client read.
    """
    pairs = [encode_json(key) + b":" + encode_json(value) for key, value in entries]
    return msgspec.Raw(b"{" + b",".join(pairs) + b"}")


def decode_object_map(table: object, key_kind: type[K], kind: type[T]) -> dict[K, T]:
    """The map that :func:`parse_json` made of such a field. Raises JsonError."""
    if not isinstance(table, dict):
        raise JsonError(f"a map keyed by objects is expected, not {type(table).__name__}")
    found: dict[K, T] = {}
    try:
        for text, value in table.items():
            key = msgspec.convert(parse_json(text.encode()), key_kind, strict=False)
            found[key] = msgspec.convert(value, kind, strict=False)
    except msgspec.MsgspecError as error:
        raise JsonError(f"map keyed by {key_kind.__name__}: {error}") from None
    return found


# Repeats are possessive (++): a repeat that may step back remembers 140 bytes for each character of its text.
_SPACE: Final = re.compile(r"[\s\x00]*+", re.ASCII)
_NUMBER: Final = re.compile(r"(-?[0-9]++(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?)[LlBSFD]?")
_STRING: Final = re.compile(r'"([^"\\]*+(?:\\.[^"\\]*+)*+)"', re.DOTALL)
_WORD: Final = re.compile(r"([A-Za-z_$][\w$]*+)", re.ASCII)
_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.)", re.DOTALL)
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "0": "\0"}


def _unescape(match: re.Match[str]) -> str:
    code = match.group(1)
    if len(code) > 1:
        return chr(int(code[1:], 16))
    return _ESCAPES.get(code, code)


class _Reader:
    """A tolerant reader by recursive descent; used only for what msgspec refused."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self._in_key = False

    def document(self) -> object:
        value = self._value()
        self._skip()
        if self._at != len(self._text):
            raise self._error("something follows the value")
        return value

    def _error(self, what: str) -> JsonError:
        near = self._text[self._at : self._at + 20]
        return JsonError(f"{what} at character {self._at}, before {near!r}")

    def _skip(self) -> str:
        match = _SPACE.match(self._text, self._at)
        if match is not None:
            self._at = match.end()
        return self._text[self._at : self._at + 1]

    def _take(self, pattern: re.Pattern[str]) -> str | None:
        """The first group of ``pattern``, when it stands here."""
        match = pattern.match(self._text, self._at)
        if match is None:
            return None
        self._at = match.end()
        return match.group(1)

    def _value(self) -> object:
        mark = self._skip()
        if mark == "{":
            return self._nested(self._object)
        if mark == "[":
            return self._nested(self._array)
        if mark == '"':
            return self._string()
        number = self._take(_NUMBER)
        if number is not None:
            return self._number(number)
        word = self._take(_WORD)
        if word in ("true", "false"):
            return word == "true"
        if word in ("null", "undefined"):
            return None
        raise self._error("no value")

    def _nested(self, read: Callable[[], object]) -> object:
        self._depth += 1
        if self._depth > JSON_DEPTH_MAX:
            raise self._error(f"nested deeper than {JSON_DEPTH_MAX}")
        self._at += 1
        value = read()
        self._depth -= 1
        return value

    def _number(self, digits: str) -> int | float:
        if len(digits) > 40:
            raise self._error("number of more than 40 digits")
        return int(digits) if digits.lstrip("-").isdigit() else float(digits)

    def _string(self) -> str:
        match = _STRING.match(self._text, self._at)
        if match is None:
            raise self._error("unclosed text")
        self._at = match.end()
        body = match.group(1)
        if "\\" not in body:
            return body
        text = _ESCAPE.sub(_unescape, body)
        # Escaped surrogate pairs are two characters now; joined they are one, alone they are no text.
        try:
            return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError:
            raise self._error("text with half a surrogate pair") from None

    def _key(self) -> str:
        mark = self._skip()
        if mark == '"':
            return self._string()
        if mark == "{":
            # Inside such a key another one doubles its backslashes: 60 levels would fill any memory.
            if self._in_key:
                raise self._error("an object as a key inside another such key")
            self._in_key = True
            key = msgspec.json.encode(self._value(), order="sorted").decode()
            self._in_key = False
            return key
        number = self._take(_NUMBER)
        if number is not None:
            return number
        word = self._take(_WORD)
        if word is not None:
            return word
        raise self._error("no key")

    def _object(self) -> object:
        found: dict[str, object] = {}
        while self._skip() != "}":
            key = self._key()
            if self._skip() != ":":
                raise self._error("no colon")
            self._at += 1
            found[key] = self._value()
            self._comma("}")
        self._at += 1
        return found

    def _array(self) -> object:
        found: list[object] = []
        while self._skip() != "]":
            found.append(self._value())
            self._comma("]")
        self._at += 1
        return found

    def _comma(self, close: str) -> None:
        mark = self._skip()
        if mark == ",":
            self._at += 1
        elif mark != close:
            raise self._error(f"neither a comma nor {close!r}")
