"""One directory, two makers: a DLedger member's files, written by Java and read by us, and the other way.

A group of one member, so that nothing is filled in by others. Our side is the ledger alone, without a node:
what it finds is what lies there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.interop.harness.cluster import JavaPrograms
from tests.interop.harness.dledger import (
    DATA_FILE_BYTES,
    INDEX_FILE_BYTES,
    Client,
    Group,
    Member,
    new_group,
)
from tests.interop.harness.driver import Driver

from ledgermq.dledger.file_ledger import FileLedger
from ledgermq.dledger.requests import Entry
from ledgermq.store.disk import Disk

BODIES = [b"", b"one", bytes(range(256)), b"x" * 100_000, *(b"entry %d" % i * 20 for i in range(2000))]
"""Enough for several data and index files."""

Stop = Callable[[Member], None]
STOPS = {"stopped": Member.stop, "killed": Member.kill}


@pytest.fixture
def group(tmp_path: Path, java: JavaPrograms) -> Iterator[Group]:
    group = new_group(tmp_path, java, ["java"])
    yield group
    group.kill()


def opened(member: Member) -> FileLedger:
    return FileLedger(Disk(), f"{member.folder}/dledger-{member.id}", DATA_FILE_BYTES, INDEX_FILE_BYTES)


def serve(group: Group) -> Client:
    group.start()
    client = Client(group)
    client.leader()
    return client


def entries_of(ledger: FileLedger) -> list[tuple[int, int, bytes]]:
    """Index, term and body of all entries."""
    return [
        (index, ledger.term_at(index), ledger.body(index))
        for index in range(ledger.first_index, ledger.last_index + 1)
    ]


def parts(entries: list[Entry]) -> list[tuple[int, int, bytes]]:
    return [(entry.index, entry.term, entry.body) for entry in entries]


@pytest.mark.parametrize("stop", STOPS)
def test_we_open_javas_directory(group: Group, driver: Driver, stop: str) -> None:
    [member] = group.members
    client = serve(group)
    indexes = client.append_batch(BODIES[:10]) + client.append_batch(BODIES[10:])
    client.close()
    STOPS[stop](member)
    ledger = opened(member)
    found = entries_of(ledger)
    assert [body for _, _, body in found[indexes[0] :]] == BODIES
    term, vote = ledger.load_state()
    assert (term, vote) == (ledger.last_term, member.id)
    ledger.append_bodies(ledger.last_index + 1, term, [b"ours", b"too"])
    ledger.flush()
    ledger.save_checkpoint(ledger.last_index)
    found = entries_of(ledger)
    ledger.close()
    assert parts(member.entries_as_java_reads(driver)) == found


@pytest.mark.parametrize("how", ["closed", "killed", "index-lost"])
def test_java_serves_our_directory(group: Group, driver: Driver, how: str) -> None:
    [member] = group.members
    ledger = opened(member)
    ledger.save_state(3, member.id)
    ledger.append_bodies(0, 2, BODIES[:1000])
    ledger.append_bodies(1000, 3, BODIES[1000:])
    positions = [ledger.read(index, 1, index).first_pos for index in range(len(BODIES))]
    if how == "closed":
        ledger.flush()
        ledger.save_checkpoint(len(BODIES) - 1)
    # Else: the index is not written, as when the process is killed.
    ledger.close()
    if how == "index-lost":
        for path in (member.folder / f"dledger-{member.id}" / "index").iterdir():
            path.unlink()
    client = serve(group)
    for index in (0, 1, 2, 3, 999, 1000, len(BODIES) - 1):
        entry = client.get(index)
        assert (entry.body, entry.pos) == (BODIES[index], positions[index])
        assert entry.term == (2 if index < 1000 else 3)
    appended = client.append(b"java's")
    assert appended.index == len(BODIES)
    client.close()
    member.kill()
    assert [body for _, _, body in entries_of(opened(member))] == [*BODIES, b"java's"]


def test_the_directory_goes_to_and_fro(group: Group) -> None:
    [member] = group.members
    bodies: list[bytes] = []
    for turn in range(3):
        client = serve(group)
        bodies += [b"java %d %d" % (turn, n) * 50 for n in range(200)]
        client.append_batch(bodies[-200:])
        client.close()
        member.kill()
        ledger = opened(member)
        assert [body for _, _, body in entries_of(ledger)] == bodies
        ledger.truncate(ledger.last_index - 10)
        bodies = bodies[:-10]
        term, _ = ledger.load_state()
        ledger.save_state(term + 1, member.id)
        mine = [b"ours %d %d" % (turn, n) * 50 for n in range(200)]
        ledger.append_bodies(ledger.last_index + 1, term + 1, mine)
        bodies += mine
        ledger.flush()
        ledger.close()


@pytest.mark.parametrize("at_file_start", [False, True])
def test_java_goes_on_where_a_snapshot_ended(group: Group, driver: Driver, at_file_start: bool) -> None:
    [member] = group.members
    ledger = opened(member)
    ledger.save_state(3, member.id)
    ledger.append_bodies(0, 3, BODIES[:5])
    next_pos = 5 * DATA_FILE_BYTES + (0 if at_file_start else 4800)
    ledger.reset(500_000, 3, next_pos)
    ledger.append_bodies(500_001, 3, BODIES[1000:])
    ledger.flush()
    ledger.close()
    found = parts(member.entries_as_java_reads(driver))
    assert found[0][:2] == (500_000, 3)  # The filler: Java takes it for an entry.
    assert [body for _, _, body in found[1:]] == BODIES[1000:]
    client = serve(group)
    assert client.append(b"java's").index == 500_001 + len(BODIES) - 1000
    client.close()
    member.stop()
    ledger = opened(member)
    assert ledger.first_index == 500_001
    assert [body for _, _, body in entries_of(ledger)] == [*BODIES[1000:], b"java's"]
