"""Answers of a broker in a group: none before the group has the messages, one to each, and the right one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.unit.store.replicas import Replica

from ledgermq.broker.commits import Outbox
from ledgermq.broker.group_commits import GroupCommits
from ledgermq.dledger.codes import DLedgerCode
from ledgermq.dledger.member import Refused
from ledgermq.remoting.codes import FLAG_RESPONSE, ResponseCode
from ledgermq.remoting.command import Command, decode_command, encode_command
from ledgermq.remoting.connection import Connection, FastPath
from ledgermq.runtime.limits import WAITING_REPLIES_BYTES_MAX

Done = Callable[[int, int, int], None]


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.data = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.data += bytes(data)

    def get_extra_info(self, name: str, default: object = None) -> object:
        return ("127.0.0.1", 1) if name in ("peername", "sockname") else default

    def is_closing(self) -> bool:
        return False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """There is no buffer."""

    def answers(self) -> list[tuple[int, int]]:
        """Opaque and code of each reply."""
        found: list[tuple[int, int]] = []
        at = 0
        while at < len(self.data):
            end = at + 4 + int.from_bytes(self.data[at : at + 4], "big")
            command = decode_command(self.data, at, end)
            found.append((command.opaque, command.code))
            at = end
        return found


class Bench:
    """A leading store, a connection, and a group that takes what is proposed when it is told to."""

    def __init__(self) -> None:
        self.replica = Replica()
        self.replica.lead(1)
        self.proposed: list[tuple[list[bytes], Done]] = []
        self.refusal: Refused | None = None
        self.refused = 0
        self.fatal: list[BaseException] = []
        self.wire = Wire()
        connection = Connection({}, FastPath(), _nothing, _nothing, 0)
        connection.connection_made(self.wire)
        self.outbox = Outbox(connection, b"\x7f\x00\x00\x01\x00\x00\x00\x01")
        self.commits = GroupCommits(
            self.replica.log,
            ThreadPoolExecutor(1),
            self._propose,
            self._refused,
            lambda queues: None,
            self.fatal.append,
        )
        self.sent = 0

    def _propose(self, bodies: list[bytes], done: Done) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.proposed.append((bodies, done))

    def _refused(self) -> None:
        self.refused += 1
        self.replica.log.follow()

    def send(self) -> None:
        """A message, with its reply as if all were well."""
        self.replica.put()
        self.sent += 1
        reply = Command(ResponseCode.SUCCESS)
        reply.flag = FLAG_RESPONSE
        reply.opaque = self.sent
        self.commits.writer(self.outbox, wait=False).write(encode_command(reply))

    def take(self, count: int = 1) -> None:
        """The group commits the oldest ``count`` turns."""
        for _ in range(count):
            bodies, done = self.proposed.pop(0)
            replica = self.replica
            index = replica.ledger.last_index + 1
            positions = replica.ledger.append_bodies(index, replica.term, bodies)
            replica.apply()
            done(DLedgerCode.SUCCESS, replica.ledger.last_index, positions[-1])

    def fail(self, code: int) -> None:
        _, done = self.proposed.pop(0)
        done(code, -1, -1)


def _nothing(connection: Connection) -> None:
    pass


def run(test: Callable[[Bench], None]) -> None:
    async def main() -> None:
        test(Bench())

    asyncio.run(main())


def test_one_turn_is_one_proposal_and_answered_when_it_is_committed():
    def test(bench: Bench) -> None:
        for _ in range(3):
            bench.send()
        bench.commits.commit()
        assert [len(bodies) for bodies, _ in bench.proposed] == [3]
        assert bench.wire.data == b""
        bench.take()
        assert bench.wire.answers() == [(1, 0), (2, 0), (3, 0)]

    run(test)


def test_turns_are_answered_as_they_are_committed():
    def test(bench: Bench) -> None:
        for _ in range(3):
            bench.send()
            bench.commits.commit()
        bench.take(2)
        assert bench.wire.answers() == [(1, 0), (2, 0)]
        bench.take()
        assert bench.wire.answers() == [(1, 0), (2, 0), (3, 0)]
        assert bench.replica.store.queue(b"T", 0).max_offset == 3

    run(test)


@pytest.mark.parametrize(
    ("code", "answer", "stops"),
    [
        (DLedgerCode.TERM_CHANGED, ResponseCode.SERVICE_NOT_AVAILABLE, True),
        (DLedgerCode.NOT_LEADER, ResponseCode.SERVICE_NOT_AVAILABLE, True),
        (DLedgerCode.DISK_FULL, ResponseCode.SERVICE_NOT_AVAILABLE, True),
        (DLedgerCode.WAIT_QUORUM_ACK_TIMEOUT, ResponseCode.SYSTEM_ERROR, False),
    ],
)
def test_what_the_group_does_not_take_is_answered_with_an_error(code: int, answer: int, stops: bool):
    def test(bench: Bench) -> None:
        told: list[bool] = []
        bench.send()
        bench.commits.on_commit(told.append)
        bench.commits.commit()
        bench.fail(code)
        assert bench.wire.answers() == [(1, answer)]
        assert (told, bench.refused) == ([False], int(stops))

    run(test)


def test_a_refused_proposal_is_answered_at_once():
    def test(bench: Bench) -> None:
        bench.refusal = Refused(DLedgerCode.LEADER_PENDING_FULL, "full")
        bench.send()
        bench.commits.commit()
        assert bench.wire.answers() == [(1, ResponseCode.SERVICE_NOT_AVAILABLE)]
        assert bench.refused == 1
        assert bench.replica.store.queue(b"T", 0).next_offset == 0

    run(test)


def test_the_leadership_is_lost_between_a_message_and_its_proposal():
    def test(bench: Bench) -> None:
        told: list[bool] = []
        bench.send()
        bench.commits.on_commit(told.append)
        bench.replica.log.follow()
        bench.commits.commit()
        assert bench.wire.answers() == [(1, ResponseCode.SERVICE_NOT_AVAILABLE)]
        assert (told, bench.proposed) == ([False], [])

    run(test)


def test_an_entry_at_another_place_than_foreseen_is_fatal_and_no_success():
    def test(bench: Bench) -> None:
        bench.send()
        bench.commits.commit()
        _, done = bench.proposed.pop()
        done(DLedgerCode.SUCCESS, 7, 4096)
        assert len(bench.fatal) == 1
        assert bench.wire.answers() == [(1, ResponseCode.SERVICE_NOT_AVAILABLE)]

    run(test)


def test_who_waits_for_nothing_new_waits_for_what_is_under_way():
    """A change asked for a second time is no safer than the first time."""

    def test(bench: Bench) -> None:
        told: list[str] = []
        bench.commits.on_commit(lambda safe: told.append(f"idle {safe}"))
        bench.commits.commit()
        assert told == ["idle True"]
        bench.send()
        bench.commits.commit()
        bench.commits.on_commit(lambda safe: told.append(f"late {safe}"))
        bench.commits.commit()
        assert told == ["idle True"]
        bench.take()
        assert told == ["idle True", "late True"]
        bench.send()
        bench.commits.commit()
        bench.commits.on_commit(lambda safe: told.append(f"lost {safe}"))
        bench.commits.commit()
        bench.fail(DLedgerCode.TERM_CHANGED)
        assert told[2:] == ["lost False"]

    run(test)


def test_replies_that_wait_count_as_load():
    def test(bench: Bench) -> None:
        assert not bench.commits.overloaded
        bench.send()
        bench.commits.commit()
        bench.take()
        assert not bench.commits.overloaded

    run(test)


def test_draining_waits_for_the_answers():
    async def main() -> None:
        bench = Bench()
        bench.send()
        draining = asyncio.ensure_future(bench.commits.drain())
        await asyncio.sleep(0)
        assert not draining.done()
        bench.take()
        await draining
        assert bench.wire.answers() == [(1, 0)]

    asyncio.run(main())


def test_nobody_is_told_success_while_it_is_open_what_becomes_of_an_earlier_turn():
    def test(bench: Bench) -> None:
        told: list[bool] = []
        bench.send()
        bench.commits.commit()
        waiting = bench.proposed[0]
        bench.fail(DLedgerCode.WAIT_QUORUM_ACK_TIMEOUT)
        bench.commits.on_commit(told.append)
        bench.commits.commit()
        assert told == [False]
        bench.proposed.append((waiting[0], lambda code, index, pos: None))
        bench.take()
        bench.commits.on_commit(told.append)
        bench.commits.commit()
        assert told == [False, True]

    run(test)


def test_what_is_not_committed_in_time_still_counts_against_new_messages():
    def test(bench: Bench) -> None:
        while bench.replica.log.unsettled_bytes <= WAITING_REPLIES_BYTES_MAX:
            assert not bench.commits.overloaded
            bench.replica.put(body=bytes(3000))
        bench.commits.appended()
        bench.commits.commit()
        bench.fail(DLedgerCode.WAIT_QUORUM_ACK_TIMEOUT)
        assert bench.commits.overloaded
        bench.replica.log.follow()
        assert not bench.commits.overloaded

    run(test)
