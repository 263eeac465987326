"""JSON as RocketMQ writes its ``config/*.json``: fastjson's pretty form.

One tab for each level, no blank after a colon, empty maps and lists as ``{}`` and ``[]``, integer keys
unquoted, no line end at the end. Our own files are compared with Java's byte for byte, and an operator's
scripts may be too.

Rules of this file: it is compiled, because a broker with tens of thousands of queues writes this every 5 s.
"""

from __future__ import annotations

from typing import Final

import msgspec

_encoder: Final = msgspec.json.Encoder()


def encode_pretty(value: object) -> bytes:
    """``value``, made of what :func:`msgspec.to_builtins` gives, as pretty text."""
    pieces: list[str] = []
    _write(pieces, value, "\n")
    return "".join(pieces).encode()


def pretty_item(key: str, value: object) -> str:
    """The text of one item of a map which is itself a field of the whole, as :func:`encode_pretty` writes it
    there."""
    pieces = [_encoder.encode(key).decode(), ":"]
    _write(pieces, value, "\n\t\t")
    return "".join(pieces)


def encode_pretty_with(head: dict[str, object], name: str, items: list[str]) -> bytes:
    """``head``, which is not empty, and behind its fields another one, ``name``: a map of ``items``, each the
    text that :func:`pretty_item` gave."""
    pieces: list[str] = []
    _write(pieces, head, "\n")
    pieces[-1] = ",\n\t" + _encoder.encode(name).decode() + ":"
    if items:
        pieces.append("{\n\t\t")
        pieces.append(",\n\t\t".join(items))
        pieces.append("\n\t}\n}")
    else:
        pieces.append("{}\n}")
    return "".join(pieces).encode()


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
        pieces.append(str(key) if isinstance(key, int) else _encoder.encode(key).decode())
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
