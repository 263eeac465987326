"""JSON as RocketMQ writes its ``config/*.json``: fastjson's pretty form.

One tab for each level, no blank after a colon, empty maps and lists as ``{}`` and ``[]``, integer keys
unquoted, no line end at the end. Our own files are compared with Java's byte for byte, and an operator's
scripts may be too.

A file is put together from the texts of its fields, and large fields from those of their items: compiled code
lets no other thread run in its midst, and a table of tens of thousands of queues is written every 5 s.

Rules of this file: it is compiled.
"""

from __future__ import annotations

from typing import Final

import msgspec

_encoder: Final = msgspec.json.Encoder()


def pretty_value(value: object) -> str:
    """The text of a field of the outermost map. ``value`` is what :func:`msgspec.to_builtins` gives."""
    pieces: list[str] = []
    _write(pieces, value, "\n\t")
    return "".join(pieces)


def pretty_item(key: str | int, value: object) -> str:
    """The text of one item of a map that is such a field."""
    pieces = [_key(key), ":"]
    _write(pieces, value, "\n\t\t")
    return "".join(pieces)


def pretty_map(items: list[str]) -> str:
    """The text of such a field, whose items :func:`pretty_item` gave."""
    return "{\n\t\t" + ",\n\t\t".join(items) + "\n\t}" if items else "{}"


def pretty_file(fields: dict[str, str]) -> bytes:
    """The outermost map: the texts of its fields by name."""
    lines = [_key(name) + ":" + text for name, text in fields.items()]
    return ("{\n\t" + ",\n\t".join(lines) + "\n}" if lines else "{}").encode()


def _key(key: object) -> str:
    return str(key) if isinstance(key, int) else _encoder.encode(key).decode()


def _write(pieces: list[str], value: object, line: str) -> None:
    """``line`` is the line end with the indentation of the value's own level."""
    if isinstance(value, bool):
        pieces.append("true" if value else "false")
    elif isinstance(value, int):
        pieces.append(str(value))
    elif isinstance(value, dict):
        _write_map(pieces, value, line)
    elif isinstance(value, list):
        _write_list(pieces, value, line)
    else:
        pieces.append(_encoder.encode(value).decode())


def _write_map(pieces: list[str], value: dict[object, object], line: str) -> None:
    if not value:
        pieces.append("{}")
        return
    inner = line + "\t"
    separator = "{" + inner
    for key, item in value.items():
        pieces.append(separator)
        pieces.append(_key(key))
        pieces.append(":")
        _write(pieces, item, inner)
        separator = "," + inner
    pieces.append(line + "}")


def _write_list(pieces: list[str], value: list[object], line: str) -> None:
    if not value:
        pieces.append("[]")
        return
    inner = line + "\t"
    separator = "[" + inner
    for item in value:
        pieces.append(separator)
        _write(pieces, item, inner)
        separator = "," + inner
    pieces.append(line + "]")
