"""The tables of docs/protocols.md: ``python scripts/protocol_reference.py docs/protocols.md``.

Which requests are served is asked of a name server and a broker that run, so the page says what is so; their
fields come from the table of requests.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
from pathlib import Path
from typing import Final

import msgspec
from msgspec.inspect import BoolType, IntType, UnionType, type_info

from ledgermq.remoting.broker_headers import SEND_V2_LETTERS, SendMessage
from ledgermq.remoting.client import RemotingClient
from ledgermq.remoting.codes import RequestCode, ResponseCode
from ledgermq.remoting.headers import request
from ledgermq.remoting.requests import REQUESTS
from ledgermq.testing import LocalBroker

BEGIN: Final = "<!-- The tables from here on are written by `make docs`. -->\n"


SENT: Final = {
    RequestCode.NOTIFY_CONSUMER_IDS_CHANGED: "by the broker to a group's clients",
    RequestCode.RESET_CONSUMER_CLIENT_OFFSET: "by the broker to a group's clients",
    RequestCode.GET_CONSUMER_STATUS_FROM_CLIENT: "by the broker to a group's clients",
    RequestCode.GET_CONSUMER_RUNNING_INFO: "by the broker to one client, whose answer it passes on",
    RequestCode.CONSUME_MESSAGE_DIRECTLY: "by the broker to one client, whose answer it passes on",
    RequestCode.NOTIFY_MIN_BROKER_ID_CHANGE: "by the name server to the brokers of a name",
}


_REFUSED_HEAD: Final = """## Refused

Known by name and answered REQUEST_CODE_NOT_SUPPORTED (3), as is every code that is not on this page:

"""


async def served(address: str, codes: list[int]) -> list[int]:
    """Those of ``codes`` that the server at ``address`` knows."""
    client = RemotingClient()
    try:
        answers = [await client.invoke(address, request(code)) for code in codes]
    finally:
        await client.close()
    unknown = ResponseCode.REQUEST_CODE_NOT_SUPPORTED
    return [code for code, answer in zip(codes, answers, strict=True) if answer.code != unknown]


async def ask_both() -> tuple[list[int], list[int]]:
    """The codes that the name server serves, and those of the broker."""
    codes = sorted(all_codes())
    with tempfile.TemporaryDirectory() as folder:
        async with LocalBroker(folder) as local:
            return await served(local.name_server, codes), await served(local.address, codes)


def all_codes() -> dict[int, str]:
    """Every code that ledgermq knows by name."""
    return {code: name for name, code in vars(RequestCode).items() if not name.startswith("_")}


def tables() -> str:
    """The part of the page that is generated."""
    of_name_server, of_broker = asyncio.run(ask_both())
    known = of_name_server + of_broker + list(SENT)
    refused = {code: name for code, name in all_codes().items() if code not in known}
    rest = "".join(f"* {code} {name}\n" for code, name in sorted(refused.items()))
    parts = (
        _table("Served by the name server", of_name_server),
        _table("Served by the broker", of_broker),
        _sent(),
        f"{_REFUSED_HEAD}{rest}",
    )
    return "\n".join(parts)


def _table(title: str, codes: list[int]) -> str:
    rows = [f"| {code} | {REQUESTS[code][0]} | {_fields(code)} |\n" for code in codes]
    return f"## {title}\n\n| code | request | header fields |\n| --- | --- | --- |\n{''.join(rows)}"


def _sent() -> str:
    rows = [
        f"| {code} | {REQUESTS[code][0]} | {who} | {_fields(code)} |\n" for code, who in sorted(SENT.items())
    ]
    head = "| code | request | sent | header fields |\n| --- | --- | --- | --- |\n"
    return f"## Sent by ledgermq\n\n{head}{''.join(rows)}"


def _fields(code: int) -> str:
    kind = REQUESTS[code][1]
    letters = {name: letter for letter, name in SEND_V2_LETTERS.items()}
    short = kind is SendMessage and code != RequestCode.SEND_MESSAGE
    return ", ".join(_field(field, letters if short else {}) for field in msgspec.structs.fields(kind))


def _field(field: msgspec.structs.FieldInfo, letters: dict[str, str]) -> str:
    name = letters.get(field.encode_name, field.encode_name)
    kind = _kind(type_info(field.type))
    text = f"`{name}`" + (f" {kind}" if kind else "")
    return text if field.required else f"[{text}]"


def _kind(form: msgspec.inspect.Type) -> str:
    for part in form.types if isinstance(form, UnionType) else (form,):
        if isinstance(part, IntType):
            return "int64" if part.le == 2**63 - 1 else "int32"
        if isinstance(part, BoolType):
            return "bool"
    return ""


def page(text: str) -> str:
    """``text`` with its tables made anew."""
    head, mark, _ = text.partition(BEGIN)
    if not mark:
        raise ValueError(f"the page has no line {BEGIN!r}")
    return head + BEGIN + "\n" + tables()


if __name__ == "__main__":
    logging.disable()
    path = Path(sys.argv[1])
    path.write_text(page(path.read_text("utf-8")), "utf-8")
