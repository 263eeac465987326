"""Small ledgers for tests."""

from __future__ import annotations

from ledgermq.dledger.entries import encode_bodies
from ledgermq.dledger.file_ledger import FileLedger
from ledgermq.dledger.messages import Entries
from ledgermq.testing.simulation.disk import SimDisk

DIRECTORY = "/group/dledger-n0"
FILE_BYTES = 4096
INDEX_FILE_BYTES = 64 * 32


def opened(disk: SimDisk | None = None, recent_bytes: int = 1 << 20) -> FileLedger:
    return FileLedger(disk or SimDisk(0), DIRECTORY, FILE_BYTES, INDEX_FILE_BYTES, recent_bytes)


def entries(first_index: int, term: int, pos: int, *bodies: bytes) -> Entries:
    """As a leader sends them."""
    encoded = encode_bodies(list(bodies), 0, first_index, term, pos, 1 << 40)
    last_index = first_index + len(bodies) - 1
    return Entries(first_index, last_index, pos, ((first_index, term),), encoded.payload)


def data_path(base: int) -> str:
    return f"{DIRECTORY}/data/{base:020d}"


def index_path(base: int) -> str:
    return f"{DIRECTORY}/index/{base:020d}"
