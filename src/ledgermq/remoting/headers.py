"""Header fields: from the text of the wire to typed values and back.

A header class states the fields as they are used; on the wire they are text in camelCase (``queue_id`` is
``queueId``). What a class does not name is ignored, as Java ignores it. A field without a default must be
there. The classes are in :mod:`ledgermq.remoting.broker_headers` and
:mod:`ledgermq.remoting.nameserver_headers`; :mod:`ledgermq.remoting.requests` has the table of all requests.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta

from ledgermq.remoting.codes import FLAG_ONEWAY, FLAG_RESPONSE, REQUEST_NAMES, ResponseCode
from ledgermq.remoting.command import Command, PeerError
from ledgermq.remoting.json_body import JsonError, decode_json, encode_json

I32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
I64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class Header(msgspec.Struct, rename="camel"):
    """The extension fields of one kind of request or response."""


class NoHeader(Header):
    """A request that carries no field."""


class Topic(Header):
    """A request about one topic."""

    topic: str


H = TypeVar("H", bound=Header)
T = TypeVar("T")

_NOT_DIGITS: Final = re.compile("[.eE]")
_FIELD_PATH: Final = re.compile(r" - at `\$\.(\w+)`$")
_MISSING: Final = re.compile(r"required field `(\w+)`")


def request_name(code: int) -> str:
    """The name of a request code, for remarks and logs."""
    name = REQUEST_NAMES.get(code)
    return f"{name}({code})" if name else f"code {code}"


def decode_header(kind: type[H], command: Command) -> H:
    """The fields of ``command`` as an instance of ``kind``.

    Raises PeerError INVALID_PARAMETER that names the field, its value and what is allowed.
    """
    return decode_fields(kind, command.ext, command.code)


def decode_fields(kind: type[H], ext: dict[str, str], code: int) -> H:
    """``ext``, the fields of a request with that code, as an instance of ``kind``. Raises PeerError as
    :func:`decode_header`."""
    try:
        header = msgspec.convert(ext, kind, strict=False)
    except msgspec.ValidationError as error:
        raise PeerError(ResponseCode.INVALID_PARAMETER, _explain(str(error), kind, ext, code)) from None
    for field in _integer_fields(kind):
        value = ext.get(field)
        # msgspec takes any number of JSON that is whole, such as 1e3 and 1.0; Java takes digits only.
        if value is not None and not value.isdecimal() and _NOT_DIGITS.search(value):
            raise PeerError(ResponseCode.INVALID_PARAMETER, _explain_value(kind, field, value, code))
    return header


@cache
def _integer_fields(kind: type[Header]) -> tuple[str, ...]:
    """The names on the wire of the fields that are whole numbers."""
    fields = msgspec.structs.fields(kind)
    return tuple(field.encode_name for field in fields if _number_form(field.type) is not None)


def _number_form(kind: object) -> msgspec.inspect.IntType | None:
    form = msgspec.inspect.type_info(kind)
    for part in form.types if isinstance(form, msgspec.inspect.UnionType) else (form,):
        if isinstance(part, msgspec.inspect.IntType):
            return part
    return None


def _explain(error: str, kind: type[Header], ext: dict[str, str], code: int) -> str:
    missing = _MISSING.search(error)
    if missing:
        return f"{request_name(code)}: header field {missing.group(1)} is missing"
    path = _FIELD_PATH.search(error)
    if path is None:
        return f"{request_name(code)}: {error}"
    field = path.group(1)
    return _explain_value(kind, field, ext.get(field, ""), code)


def _explain_value(kind: type[Header], field: str, value: str, code: int) -> str:
    return f"{request_name(code)}: header field {field}={value[:80]!r}, allowed: {_allowed(kind, field)}"


def _allowed(kind: type[Header], field_name: str) -> str:
    """What the value of a field must be, in words."""
    field = next(field for field in msgspec.structs.fields(kind) if field.encode_name == field_name)
    number = _number_form(field.type)
    if number is not None:
        return f"a whole number from {number.ge} to {number.le}"
    form = msgspec.inspect.type_info(field.type)
    for part in form.types if isinstance(form, msgspec.inspect.UnionType) else (form,):
        if isinstance(part, msgspec.inspect.BoolType):
            return "true or false"
    return "text"


def encode_header(header: Header) -> dict[str, str]:
    """``header`` as extension fields; fields that are None are left out."""
    fields: dict[str, str] = {}
    for name, value in zip(header.__struct_encode_fields__, msgspec.structs.astuple(header), strict=True):
        if value is None:
            continue
        if isinstance(value, bool):
            fields[name] = "true" if value else "false"
        else:
            fields[name] = str(value)
    return fields


def request(code: int, header: Header | None = None, body: bytes = b"") -> Command:
    """A request of ours; the connection that sends it gives it its opaque."""
    command = Command(code)
    if header is not None:
        command.ext = encode_header(header)
    command.body = body
    return command


def oneway(code: int, header: Header | None = None, body: bytes = b"") -> Command:
    """A request that nobody answers."""
    command = request(code, header, body)
    command.flag = FLAG_ONEWAY
    return command


def response(
    code: int = ResponseCode.SUCCESS,
    remark: str | None = None,
    header: Header | None = None,
    body: bytes = b"",
) -> Command:
    """An answer; the connection adds the request's opaque and header encoding."""
    command = Command(code)
    command.flag = FLAG_RESPONSE
    command.remark = remark
    if header is not None:
        command.ext = encode_header(header)
    command.body = body
    return command


def json_response(value: object) -> Command:
    """SUCCESS with ``value`` as standard JSON in the body."""
    return response(body=encode_json(value))


def decode_body(kind: type[T], command: Command) -> T:
    """The JSON body of ``command`` as ``kind``.

    Raises PeerError INVALID_PARAMETER that names what does not fit.
    """
    try:
        return decode_json(kind, command.body)
    except JsonError as error:
        size = len(command.body)
        remark = f"{request_name(command.code)}: body of {size} bytes is not as expected: {error}"
        raise PeerError(ResponseCode.INVALID_PARAMETER, remark) from None
