"""Records of the topic METADATA_TOPIC: what the replicated log states of topics, groups and offsets.

The body of such a record is a JSON object. ``v`` is its version, ``kind`` says of which table it speaks:

========== ===================================================================================
topics     ``items``: topic -> TopicConfig as in ``topics.json``
groups     ``items``: group -> ``{"config": SubscriptionGroupConfig, "forbidden": {topic: PERM_* bits}}``
offsets    ``items``: ``topic@group`` -> queue -> offset; ``resets``: the same of pending resets, null is none
delays     ``items``: level -> queue offset of the next message to deliver
========== ===================================================================================

Every record carries ``version``, the DataVersion that its table has with it, and states values, never
differences, so that replaying it twice is replaying it once:

- an item of ``topics`` and ``groups`` is the whole item, ``delays`` is the whole table;
- an item of ``offsets`` states the queues it names;
- ``removed`` names items that are gone (before the others are set: a pair that is in ``removed`` and in
  ``items`` has exactly the queues named);
- ``exact`` is a range ``[low, high)`` of names, ``high`` null for no end: of these, exactly ``items`` exist.
  The topics that a broker makes by itself (``system_topics``) exist in any case and are stated only when they
  differ from that.

``complete`` in a ``delays`` record ends a series that states everything.

A reader passes over a record of a kind or version that it does not know; unknown fields too.

Rules of this file: pure; a body has at most RECORD_BYTES_MAX bytes, but for a single item that is larger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, TypeVar

import msgspec

from ledgermq.broker.groups import SubscriptionGroupConfig
from ledgermq.broker.offsets import Queues
from ledgermq.remoting.topic_config import DataVersion, TopicConfig

RECORD_VERSION: Final = 1
RECORD_BYTES_MAX: Final = 256 * 1024
"""Longer ones would hold up the messages behind them."""
ENVELOPE_BYTES: Final = 2048
"""What a record has besides its items, the two names of ``exact`` included."""
QUEUE_BYTES: Final = 32
"""A queue and its offset in JSON, at most: ``"65535":9223372036854775807,``."""

Range = tuple[str, str | None]
EVERY_NAME: Final[Range] = ("", None)
Resets = dict[int, int | None]
"""Queue -> offset of its pending reset; None: there is none any more."""

T = TypeVar("T")


class MetadataError(ValueError):
    """A record's body, or a snapshot, cannot be read; or it comes out of turn."""


class TopicsRecord(msgspec.Struct, kw_only=True, omit_defaults=True, tag_field="kind", tag="topics"):
    """Topics that came, changed or went."""

    v: int = RECORD_VERSION
    version: DataVersion
    exact: Range | None = None
    removed: list[str] = []
    items: dict[str, TopicConfig] = {}


class GroupState(msgspec.Struct, omit_defaults=True):
    """A group and the topics it may not read. ``config`` is None when only the latter is left of it."""

    config: SubscriptionGroupConfig | None = None
    forbidden: dict[str, int] = {}


class GroupsRecord(msgspec.Struct, kw_only=True, omit_defaults=True, tag_field="kind", tag="groups"):
    """Groups that came, changed or went."""

    v: int = RECORD_VERSION
    version: DataVersion
    exact: Range | None = None
    removed: list[str] = []
    items: dict[str, GroupState] = {}


class OffsetsRecord(msgspec.Struct, kw_only=True, omit_defaults=True, tag_field="kind", tag="offsets"):
    """Progress of groups."""

    v: int = RECORD_VERSION
    version: DataVersion
    exact: Range | None = None
    removed: list[str] = []
    items: dict[str, Queues] = {}
    resets: dict[str, Resets] = {}


class DelaysRecord(msgspec.Struct, kw_only=True, omit_defaults=True, tag_field="kind", tag="delays"):
    """How far each delay level has been delivered."""

    v: int = RECORD_VERSION
    version: DataVersion
    items: dict[int, int] = {}
    complete: bool = False


MetadataRecord = TopicsRecord | GroupsRecord | OffsetsRecord | DelaysRecord

KINDS: Final = ("topics", "groups", "offsets", "delays")


_RECORDS: Final[msgspec.json.Decoder[MetadataRecord]] = msgspec.json.Decoder(MetadataRecord)


class _Envelope(msgspec.Struct):
    kind: str
    v: int = RECORD_VERSION


def encode_record(record: MetadataRecord) -> bytes:
    return msgspec.json.encode(record)


def decode_record(body: bytes) -> MetadataRecord | None:
    """None when the record is of a kind or version that this program does not know. Raises MetadataError."""
    try:
        envelope = msgspec.json.decode(body, type=_Envelope)
        if envelope.kind not in KINDS or envelope.v > RECORD_VERSION:
            return None
        return _RECORDS.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MetadataError(f"metadata record of {len(body)} bytes cannot be read: {error}") from None


class Snapshot(msgspec.Struct):
    """All tables: records that state everything. ``unstated``: see :class:`MetadataJournal`."""

    records: list[MetadataRecord]
    unstated: bool = False
    v: int = RECORD_VERSION


def encode_snapshot(snapshot: Snapshot) -> bytes:
    return msgspec.json.encode(snapshot)


def decode_snapshot(data: bytes) -> Snapshot:
    """Raises MetadataError, for a snapshot of a newer version too: it cannot be passed over."""
    try:
        snapshot = msgspec.json.decode(data, type=Snapshot)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MetadataError(f"metadata snapshot of {len(data)} bytes cannot be read: {error}") from None
    if snapshot.v > RECORD_VERSION:
        raise MetadataError(f"metadata snapshot has version {snapshot.v}, known is up to {RECORD_VERSION}")
    return snapshot


# ---- records of many items ----


def name_bytes(name: str) -> int:
    """The length of ``name`` as a key in JSON, with what stands around it."""
    return len(msgspec.json.encode(name)) + 2


def ranges(
    items: Mapping[str, T], bytes_of: Callable[[str, T], int], bytes_max: int
) -> Iterator[tuple[Range, dict[str, T]]]:
    """``items`` in the order of their names, cut into parts of about ``bytes_max`` bytes, and for each part
    the range of names that it is all of. The ranges cover every name there can be."""
    low = ""
    part: dict[str, T] = {}
    size = ENVELOPE_BYTES
    for name in sorted(items):
        item_bytes = bytes_of(name, items[name])
        if part and size + item_bytes > bytes_max:
            yield (low, name), part
            low, part, size = name, {}, ENVELOPE_BYTES
        part[name] = items[name]
        size += item_bytes
    yield (low, None), part


def offset_records(
    version: DataVersion,
    removed: Iterable[str],
    items: Mapping[str, Queues],
    resets: Mapping[str, Resets],
    bytes_max: int = RECORD_BYTES_MAX,
) -> Iterator[OffsetsRecord]:
    """A change of offsets as one or more records, each of which may be the last that is committed; none when
    nothing has changed."""
    gone = dict.fromkeys(removed)
    record = OffsetsRecord(version=version)
    size = ENVELOPE_BYTES
    for pair in dict.fromkeys([*gone, *items, *resets]):
        pair_bytes = 3 * name_bytes(pair)
        for queues, pending in _parts(items.get(pair, {}), resets.get(pair, {}), bytes_max):
            part_bytes = pair_bytes + QUEUE_BYTES * (len(queues) + len(pending))
            if size > ENVELOPE_BYTES and size + part_bytes > bytes_max:
                yield record
                record, size = OffsetsRecord(version=version), ENVELOPE_BYTES
            if gone.pop(pair, 0) is None:
                record.removed.append(pair)
            if queues:
                record.items[pair] = queues
            if pending:
                record.resets[pair] = pending
            size += part_bytes
    if size > ENVELOPE_BYTES:
        yield record


def _parts(queues: Queues, resets: Resets, bytes_max: int) -> Iterator[tuple[Queues, Resets]]:
    """What there is to state of one pair, in parts that leave room in a record for its name."""
    count_max = bytes_max // (2 * QUEUE_BYTES)
    if len(queues) + len(resets) <= count_max:
        yield queues, resets
        return
    for part in _slices(queues, count_max):
        yield part, {}
    for pending in _slices(resets, count_max):
        yield {}, pending


def _slices(queues: dict[int, T], count_max: int) -> Iterator[dict[int, T]]:
    entries = list(queues.items())
    for at in range(0, len(entries), count_max):
        yield dict(entries[at : at + count_max])
