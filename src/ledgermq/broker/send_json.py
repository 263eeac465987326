"""The JSON header of a send as msgspec reads it: for the interpreter, which cannot afford a scan by byte.

Not compiled: a compiled module would lose the annotations that msgspec reads.
"""

from __future__ import annotations

from typing import Final

import msgspec


class SendLetters(msgspec.Struct):
    """The one-letter fields of SEND_MESSAGE_V2 that the broker uses; None is missing."""

    a: str | None = None
    b: str | None = None
    e: str | None = None
    f: str | None = None
    g: str | None = None
    h: str | None = None
    i: str = ""
    j: str = "0"
    m: str = "false"


class SendJson(msgspec.Struct):
    """The header around them."""

    code: int
    opaque: int
    flag: int = 0
    version: int = 0
    extFields: SendLetters | None = None  # noqa: N815 - a name of the wire


_decoder: Final = msgspec.json.Decoder(SendJson)


def read_send_json(header: bytes) -> SendJson | None:
    """The header, or None when it is not as clients write it."""
    try:
        return _decoder.decode(header)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
