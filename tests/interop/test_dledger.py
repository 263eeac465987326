"""DLedger groups of ledgermq's and Java's members: one log, whoever leads.

Every entry is compared as Java's file store reads it from each member's directory, all fields: so positions,
terms and bodies are equal, and every acknowledged append is at its index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from tests.interop.harness.cluster import JavaPrograms, Maker, tracebacks
from tests.interop.harness.dledger import Client, Group, JavaClient, new_group
from tests.interop.harness.driver import Driver
from tests.interop.harness.programs import eventually

from ledgermq.dledger.codes import DLedgerCode
from ledgermq.dledger.errors import NotFoundError

StartGroup = Callable[..., tuple[Group, Client]]


@pytest.fixture
def start_group(tmp_path: Path, java: JavaPrograms) -> Iterator[StartGroup]:
    """start_group("java", "ledgermq", …): a running group and our client of it."""
    groups: list[Group] = []
    clients: list[Client] = []

    def start(*makers: Maker, **settings: str) -> tuple[Group, Client]:
        group = new_group(tmp_path, java, makers, settings)
        groups.append(group)
        group.start()
        clients.append(Client(group))
        return group, clients[-1]

    yield start
    for client in clients:
        client.close()
    for group in groups:
        group.kill()
    assert not tracebacks(tmp_path)


@pytest.fixture
def java_client(driver: Driver) -> Iterator[Callable[[Group], JavaClient]]:
    clients: list[JavaClient] = []

    def start(group: Group) -> JavaClient:
        clients.append(JavaClient(driver, group))
        return clients[-1]

    yield start
    for client in clients:
        client.close()


def test_java_client_uses_our_group(
    start_group: StartGroup, java_client: Callable[[Group], JavaClient]
) -> None:
    group, client = start_group("ledgermq", "ledgermq", "ledgermq")
    leader = client.leader()
    theirs = java_client(group)
    bodies = [b"", b"plain", bytes(range(256)), b"x" * 100_000, *(b"entry %d" % i for i in range(50))]
    answers = theirs.append(bodies)
    assert [answer["code"] for answer in answers] == [DLedgerCode.SUCCESS] * len(bodies)
    assert {answer["leaderId"] for answer in answers} == {leader}
    indexes = [answer["index"] for answer in answers]
    assert indexes == list(range(indexes[0], indexes[0] + len(bodies)))
    for body, answer in zip(bodies, answers, strict=True):
        code, [entry] = theirs.get(answer["index"])
        assert code == DLedgerCode.SUCCESS
        assert (entry.body, entry.pos, entry.term) == (body, answer["pos"], answer["term"])
        assert client.get(answer["index"]) == entry
    code, entries = theirs.get(indexes[-1] + 1000)
    assert (code, entries) == (DLedgerCode.INDEX_OUT_OF_RANGE, [])

    to = next(member.id for member in group.members if member.id != leader)
    refused = theirs.transfer(leader, to, answers[-1]["term"] + 7)
    assert refused["code"] == DLedgerCode.INCONSISTENT_TERM
    assert theirs.transfer(leader, to, answers[-1]["term"])["code"] == DLedgerCode.SUCCESS
    assert client.leader() == to
    [after] = theirs.append([b"after the transfer"])  # NOT_LEADER first, then it asks who leads
    assert (after["code"], after["leaderId"]) == (DLedgerCode.SUCCESS, to)


def test_our_client_uses_a_java_group(start_group: StartGroup) -> None:
    group, client = start_group("java", "java", "java")
    leader = client.leader()
    appended = [client.append(b"body %d" % i) for i in range(20)]
    assert [one.index for one in appended] == list(range(20))
    assert {one.leader_id for one in appended} == {leader}
    assert client.append_batch([b"one", b"two", b"three"]) == [20, 21, 22]
    assert [client.get(i).body for i in range(19, 23)] == [b"body 19", b"one", b"two", b"three"]
    with pytest.raises(NotFoundError):
        client.get(23)
    to = next(member.id for member in group.members if member.id != leader)
    client.transfer(to)
    assert client.leader() == to
    assert client.append(b"after").leader_id == to


MIXTURES: list[tuple[Maker, Maker, Maker]] = [
    ("java", "java", "ledgermq"),
    ("java", "ledgermq", "ledgermq"),
]


@pytest.mark.parametrize("makers", MIXTURES, ids=["two-java", "two-ledgermq"])
def test_mixed_group_survives_the_death_of_each_leader(
    makers: Sequence[Maker], start_group: StartGroup, driver: Driver
) -> None:
    group, client = start_group(*makers)
    client.leader()
    client.keep_appending()
    client.wait_for_appends()
    for member in group.members:
        if client.leader() != member.id:
            client.transfer(member.id)
        client.wait_for_appends()
        member.kill()
        client.wait_for_appends()
        member.start()
        member.wait()
        client.wait_for_appends()
    client.stop_appending()
    last = client.append(b"the last one").index
    check_equal_logs(group, client, driver, last)


@pytest.mark.parametrize("makers", [("java", "ledgermq", "java"), ("ledgermq", "java", "ledgermq")])
def test_member_changes_makers(makers: Sequence[Maker], start_group: StartGroup, driver: Driver) -> None:
    """Each member in turn becomes one of the other maker, on its directory, while the group goes on."""
    group, client = start_group(*makers)
    client.keep_appending()
    client.wait_for_appends(100)
    for round_, member in enumerate([*group.members, *group.members]):
        if round_ % 2:
            member.stop()
        else:
            member.kill()
        client.wait_for_appends()
        member.start("java" if member.maker == "ledgermq" else "ledgermq")
        member.wait()
        client.wait_for_appends()
    client.stop_appending()
    last = client.append(b"the last one").index
    check_equal_logs(group, client, driver, last)


@pytest.mark.parametrize("how", ["clean", "kill"])
@pytest.mark.parametrize("first", ["java", "ledgermq"])
def test_makers_take_turns_on_one_directory(
    first: Maker, how: str, start_group: StartGroup, driver: Driver
) -> None:
    second: Maker = "ledgermq" if first == "java" else "java"
    group, client = start_group(first)
    [member] = group.members
    written: dict[int, bytes] = {}
    for turn, maker in enumerate((first, second, first, second)):
        if turn:
            member.stop() if how == "clean" else member.kill()
            member.start(maker)
            member.wait()
        client.leader()
        for index, body in written.items():
            assert client.get(index).body == body
        for i in range(150):
            body = f"turn {turn} entry {i} ".encode() * (i * 4)
            written[client.append(body).index] = body
    member.stop()
    entries = {entry.index: entry.body for entry in member.entries_as_java_reads(driver)}
    assert {index: entries[index] for index in written} == written
    assert {body for index, body in entries.items() if index not in written} <= {b""}  # terms' first entries


def check_equal_logs(group: Group, client: Client, driver: Driver, last: int) -> None:
    """All members hold the same entries, and every acknowledged append at its index."""
    eventually(
        lambda: all(member.last_index_on_disk() >= last for member in group.members),
        60,
        what=f"entry {last} on all members",
    )
    leader = client.leader()
    for index, body in list(client.acknowledged.items())[::20]:
        assert client.get(index).body == body
    # The leader last: while it is there, who is stopped gets no later than the others.
    for member in sorted(group.members, key=lambda member: member.id == leader):
        member.stop()
    logs = {member.id: member.entries_as_java_reads(driver) for member in group.members}
    shortest = min(len(log) for log in logs.values())
    assert shortest > last
    [reference, *others] = logs.values()
    for log in others:
        assert log[:shortest] == reference[:shortest]
    assert all(not entry.body for log in logs.values() for entry in log[shortest:])
    bodies = [entry.body for entry in reference]
    for index, body in client.acknowledged.items():
        assert bodies[index] == body
    known = {*client.acknowledged.values(), *client.uncertain, b"", b"the last one"}
    assert {body for body in bodies if body not in known} == set()
