"""What clients ask of a group, and the answers: DLedger's JSON bodies as structures.

Java's field names on the wire, ours in the structures (``begin_index`` is ``beginIndex``). A field that holds
its default is not written: both sides fill in the same. Unknown fields are ignored, as Java does; bytes are
base64 (Java: the classes of ``io.openmessaging.storage.dledger.protocol``, written by fastjson).

Rules of this file: values and their JSON, nothing else; whatever the bytes are, :func:`decode` returns a
structure or raises ProtocolError.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta

from ledgermq.dledger.codes import DLedgerCode
from ledgermq.dledger.errors import ProtocolError
from ledgermq.remoting.headers import I32, I64
from ledgermq.runtime.limits import MEMBER_NAME_BYTES_MAX

TERM_MAX: Final = 2**62
"""Terms and indexes above it are refused: who counts on from one must never leave 64 bits."""

Term = Annotated[int, Meta(ge=-1, le=TERM_MAX)]
Index = Annotated[int, Meta(ge=-1, le=TERM_MAX)]


class Body(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    """What every request and every answer carries (Java: ``RequestOrResponse``).

    ``remote_id`` is who is meant, ``local_id`` who asks (clients leave it out); ``code`` says how a request
    was answered.
    """

    group: str | None = None
    remote_id: str | None = None
    local_id: str | None = None
    code: I32 = DLedgerCode.SUCCESS
    leader_id: str | None = None
    term: Term = -1


class Entry(msgspec.Struct, rename="camel", kw_only=True):
    """One entry of the log. Written in full: Java's nodes read a missing body as none at all.

    ``pos`` is where it stands in the data file, ``size`` its bytes there: 48 and those of ``body``.
    """

    magic: I32 = 0
    size: I32 = 0
    index: Index = 0
    term: Term = 0
    pos: I64 = 0
    channel: I32 = 0
    chain_crc: I32 = 0
    body_crc: I32 = 0
    body: bytes = b""


class MetadataRequest(Body):
    """Who is in the group, who leads it? Any member answers."""


class MetadataReply(Body):
    """``peers``: member to ``host:port``.

    ``batch_append`` is ours: this node reads ``batch_msgs``; a Java node takes such an append for one entry
    without a body. Java leaves ``term`` out.
    """

    peers: dict[str, str] | None = None
    batch_append: bool = False


class AppendRequest(Body):
    """One entry of ``body``, or one of each of ``batch_msgs``, consecutive."""

    body: bytes | None = None
    batch_msgs: list[bytes] | None = None


class AppendReply(Body):
    """Index and position of the (last) entry, when it is committed."""

    index: Index = -1
    pos: I64 = -1


class GetRequest(Body):
    """The entry at ``begin_index``. Java sends the other two and heeds neither."""

    begin_index: Index | None = None
    max_size: I32 = 0
    index_list: list[I64] | None = None


class GetReply(Body):
    entries: list[Entry] = []


class PullRequest(Body):
    """Java's nodes never answer it; ours answer UNSUPPORTED."""

    node_id: str | None = None
    begin_index: Index | None = None


class PullReply(Body):
    entries: list[Entry] = []


class TransferRequest(Body):
    """LEADERSHIP_TRANSFER, two requests in one.

    From a client to the leader ``transfer_id``: make ``transferee_id`` the leader, if ``term`` is still the
    current one. From the leader to ``transferee_id``: stand for election, when you have the log up to
    ``take_leadership_ledger_index``.
    """

    transfer_id: str | None = None
    transferee_id: str | None = None
    take_leadership_ledger_index: Index = 0


class TransferReply(Body):
    """``term`` is the new leader's when the code is SUCCESS."""


class Hello(msgspec.Struct, rename="camel", kw_only=True):
    """HELLO and its answer: the sender is a ledgermq node that reads NATIVE messages up to ``version``."""

    group: str
    local_id: str
    version: I32
    members: list[str] = []
    """The ids of all members as the sender was told: one that was told others is refused."""


B = TypeVar("B", bound=msgspec.Struct)

UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What a decoder raises, whatever the bytes are."""


_decoders: Final[dict[type, msgspec.json.Decoder[Any]]] = {}


def decoder(kind: type[B]) -> msgspec.json.Decoder[B]:
    """Standard JSON only: fastjson's own forms appear where keys are not text, and no key here is."""
    if kind not in _decoders:
        _decoders[kind] = msgspec.json.Decoder(kind, strict=False)
    return _decoders[kind]


def decode(kind: type[B], body: bytes) -> B:
    """``body`` as a ``kind``. Raises ProtocolError naming the field that does not fit."""
    try:
        return decoder(kind).decode(body)
    except UNREADABLE as error:
        raise ProtocolError(f"{kind.__name__}: {error}") from None


_encoder: Final = msgspec.json.Encoder()


def encode(body: msgspec.Struct) -> bytes:
    """The JSON of a structure of this file."""
    return _encoder.encode(body)


def parse_peers(text: str) -> dict[str, str]:
    """``n0-host:port;n1-host:port`` as member to address, in order (Java: ``DLedgerConfig.peers``).

    Raises ValueError naming what is wrong.
    """
    peers: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        member, dash, address = part.partition("-")
        host, colon, port = address.rpartition(":")
        if not dash or not member or not colon or not host or not port.isdecimal() or int(port) > 65535:
            raise ValueError(f"peer {part!r} is not ID-HOST:PORT")
        if len(member.encode()) > MEMBER_NAME_BYTES_MAX:
            raise ValueError(
                f"the name of member {member[:20]!r}… is longer than {MEMBER_NAME_BYTES_MAX} bytes"
            )
        if member in peers:
            raise ValueError(f"member {member!r} is named twice")
        peers[member] = address
    if not peers:
        raise ValueError("no peers: expected is ID-HOST:PORT;ID-HOST:PORT;…")
    return peers
