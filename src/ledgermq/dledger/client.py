"""A client of one group: finds the leader, follows it, and says plainly what became of a request.

Works with ledgermq's nodes and with Java's. Each member is asked who leads (METADATA); a request goes to that
member. What certainly was not done (no connection, NOT_LEADER, LEADER_PENDING_FULL, …) is asked again until
the deadline. An append that was sent, and whose answer does not come or does not tell, raises UncertainError,
since sending it again could write it twice; ``repeat_uncertain`` sends it again all the same.

Rules of this file: one search for the leader serves all requests that wait for one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Final, TypeVar

import msgspec

from ledgermq.dledger.codes import DLedgerCode, DLedgerRequest
from ledgermq.dledger.errors import (
    CODE_NAMES,
    NoLeaderError,
    NotFoundError,
    ProtocolError,
    RefusedError,
    UncertainError,
)
from ledgermq.dledger.json_messages import HeartbeatBody
from ledgermq.dledger.requests import (
    AppendReply,
    AppendRequest,
    Body,
    Entry,
    GetReply,
    GetRequest,
    MetadataReply,
    MetadataRequest,
    TransferReply,
    TransferRequest,
    decode,
    encode,
    parse_peers,
)
from ledgermq.remoting.client import RemotingClient
from ledgermq.remoting.codes import ResponseCode
from ledgermq.remoting.connection import CallLimitError, RemotingError
from ledgermq.remoting.headers import request as remoting_request
from ledgermq.runtime.limits import APPEND_BATCH_COUNT_MAX, ENTRY_BODY_BYTES_MAX, FRAME_BYTES_MAX

ATTEMPT_TIMEOUT_MS: Final = 3000
"""For one answer; Java's clients wait as long. A node gives up an append after 2.5 s."""
TRANSFER_TIMEOUT_MS: Final = 10_000
SEARCH_MS: Final = 500
"""A member that has not said by then who leads is not waited for."""
LOOK_AGAIN_MS: Final = 20
_BATCH_BYTES_MAX: Final = FRAME_BYTES_MAX * 3 // 4 - 64 * 1024
"""Bodies of one batch: in base64 they are a third longer, and must fit a frame with their separators."""

_NOT_DONE: Final = frozenset(
    {DLedgerCode.NOT_LEADER, DLedgerCode.LEADER_PENDING_FULL, DLedgerCode.LEADER_NOT_READY}
    | {DLedgerCode.LEADER_TRANSFERRING, DLedgerCode.TERM_NOT_READY, DLedgerCode.INCONSISTENT_TERM}
)
_UNKNOWN: Final = frozenset(
    {DLedgerCode.TIMEOUT, DLedgerCode.NETWORK_ERROR, DLedgerCode.INTERNAL_ERROR, DLedgerCode.TERM_CHANGED}
    | {DLedgerCode.WAIT_QUORUM_ACK_TIMEOUT, DLedgerCode.ILLEGAL_MEMBER_STATE, DLedgerCode.DISK_ERROR}
)
"""A node that stops, or whose disk fails, may have handed the entry on before."""
_LEADS_NO_LONGER: Final = frozenset(
    {DLedgerCode.NOT_LEADER, DLedgerCode.TERM_CHANGED}
    | {DLedgerCode.ILLEGAL_MEMBER_STATE, DLedgerCode.DISK_ERROR}
)
_NOT_FOUND: Final = frozenset({DLedgerCode.INDEX_OUT_OF_RANGE, DLedgerCode.INDEX_LESS_THAN_LOCAL_BEGIN})

B = TypeVar("B", bound=Body)
T = TypeVar("T")


class Appended(msgspec.Struct, frozen=True):
    """A committed entry: its index, its place in the data file, the term and leader that took it."""

    index: int
    pos: int
    term: int
    leader_id: str | None


class MemberAnswer(msgspec.Struct, frozen=True):
    """What one member said of its group, or why it said nothing. ``term`` is -1 from a Java node."""

    member: str
    address: str
    leader_id: str | None = None
    term: int = -1
    error: str | None = None


class GroupMetadata(msgspec.Struct, frozen=True):
    """``leader_id`` as most of those in the highest term say; None when nobody knows one."""

    group: str
    leader_id: str | None
    term: int
    members: list[MemberAnswer]


class _NotDoneError(Exception):
    """The request was not carried out, and may be when it is asked again."""


class _UnknownError(Exception):
    """The request may have been carried out."""


class _TakesNoBatchError(Exception):
    """The leader is a Java node."""


class DLedgerClient:
    """A client of the group ``group``; ``peers`` as in a node's settings, or member to ``host:port``.

    ``timeout_ms`` bounds each call with all its repetitions. Every method raises DLedgerError: RefusedError
    (with DLedger's code), NoLeaderError (not done), or for appends UncertainError.
    """

    def __init__(
        self,
        group: str,
        peers: str | Mapping[str, str],
        *,
        timeout_ms: int = 10_000,
        attempt_timeout_ms: int = ATTEMPT_TIMEOUT_MS,
    ) -> None:
        self.group = group
        self.peers: dict[str, str] = parse_peers(peers) if isinstance(peers, str) else dict(peers)
        self._timeout_ms = timeout_ms
        self._attempt_timeout_ms = attempt_timeout_ms
        self._remoting = RemotingClient()
        self._leader: str | None = None
        self._distrusted: str | None = None
        """The last leader that failed: believed again when it says itself that it leads."""
        self._takes_batches: dict[str, bool] = {}
        self._refusals: dict[str, RefusedError] = {}
        self._search: asyncio.Task[str | None] | None = None

    async def __aenter__(self) -> DLedgerClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        if self._search is not None:
            self._search.cancel()
        await self._remoting.close()

    # ---- what a group can be asked ----

    async def append(self, body: bytes, *, repeat_uncertain: bool = False) -> Appended:
        """Append one entry; returns when it is committed."""
        _check_body(body)
        request = AppendRequest(group=self.group, body=body)

        async def attempt(leader: str) -> AppendReply:
            return await self._ask(leader, DLedgerRequest.APPEND, request, AppendReply, "APPEND")

        reply = await self._write("APPEND", attempt, repeat_uncertain)
        return Appended(reply.index, reply.pos, reply.term, reply.leader_id)

    async def append_batch(self, bodies: Sequence[bytes], *, repeat_uncertain: bool = False) -> list[int]:
        """Append consecutive entries in one request; the index of each when all are committed.

        A Java leader knows no such request: it gets them one after the other, so that others' entries may
        stand in between, and an error may leave the first ones appended.
        """
        if not 0 < len(bodies) <= APPEND_BATCH_COUNT_MAX:
            raise ValueError(f"batch of {len(bodies)} entries: allowed are 1 to {APPEND_BATCH_COUNT_MAX}")
        for body in bodies:
            _check_body(body)
        if sum(map(len, bodies)) > _BATCH_BYTES_MAX:
            raise ValueError(f"batch of {sum(map(len, bodies))} bytes: allowed are {_BATCH_BYTES_MAX}")
        request = AppendRequest(group=self.group, batch_msgs=list(bodies))

        async def attempt(leader: str) -> AppendReply:
            if leader not in self._takes_batches:
                await self._member_metadata(leader)
            if not self._takes_batches[leader]:
                raise _TakesNoBatchError
            return await self._ask(leader, DLedgerRequest.APPEND, request, AppendReply, "APPEND")

        try:
            last = (await self._write("APPEND", attempt, repeat_uncertain)).index
        except _TakesNoBatchError:
            return [(await self.append(body, repeat_uncertain=repeat_uncertain)).index for body in bodies]
        return list(range(last - len(bodies) + 1, last + 1))

    async def get(self, index: int) -> Entry:
        """The entry at ``index``. Raises NotFoundError when there is none, yet or any more."""
        request = GetRequest(group=self.group, begin_index=index)

        async def attempt(leader: str) -> Entry:
            reply = await self._ask(leader, DLedgerRequest.GET, request, GetReply, f"GET {index}")
            if not reply.entries:
                raise NotFoundError(DLedgerCode.INDEX_OUT_OF_RANGE, leader, f"GET {index}")
            return reply.entries[0]

        return await self._repeat(f"GET {index}", attempt)

    async def transfer(self, to: str) -> None:
        """Make ``to`` the leader; returns when it is."""
        asked = f"LEADERSHIP_TRANSFER to {to}"

        async def attempt(leader: str) -> None:
            metadata = await self._member_metadata(leader)
            if metadata.leader_id != leader:
                self._distrust(leader)
                raise _NotDoneError(f"{leader} does not lead")
            if leader == to:
                return
            term = metadata.term if metadata.term >= 0 else await self._java_term(leader)
            request = TransferRequest(group=self.group, transfer_id=leader, transferee_id=to, term=term)
            timeout_ms = max(TRANSFER_TIMEOUT_MS, self._attempt_timeout_ms)
            code = DLedgerRequest.LEADERSHIP_TRANSFER
            await self._ask(leader, code, request, TransferReply, asked, timeout_ms)
            self._leader = to

        await self._repeat(asked, attempt)

    async def leader(self) -> str:
        """The member that leads, as far as this client knows; NoLeaderError when none does for too long."""

        async def attempt(leader: str) -> str:
            return leader

        return await self._repeat("METADATA", attempt)

    async def metadata(self) -> GroupMetadata:
        """What every member says. Raises NoLeaderError when none says anything."""
        answers = await asyncio.gather(*(self._answer_of(member) for member in list(self.peers)))
        if all(answer.error is not None for answer in answers):
            raise NoLeaderError("; ".join(f"{answer.member}: {answer.error}" for answer in answers))
        claims = [(answer.term, answer.leader_id) for answer in answers if answer.leader_id is not None]
        leader_id = max(claims, key=lambda claim: (claim[0], claims.count(claim)))[1] if claims else None
        term = max(answer.term for answer in answers)
        return GroupMetadata(self.group, leader_id, term, list(answers))

    # ---- until it is done ----

    async def _write(self, asked: str, attempt: Callable[[str], Awaitable[T]], repeat_uncertain: bool) -> T:
        """As _repeat, for what must not be done twice; UncertainError when that cannot be known."""
        uncertain: list[_UnknownError] = []

        async def once(leader: str) -> T:
            try:
                return await attempt(leader)
            except _UnknownError as error:
                uncertain.append(error)
                if repeat_uncertain:
                    raise
                raise self._uncertain(asked, error) from None

        try:
            return await self._repeat(asked, once)
        except NoLeaderError:
            if not uncertain:
                raise
            raise self._uncertain(asked, uncertain[-1]) from None

    def _uncertain(self, asked: str, error: Exception) -> UncertainError:
        return UncertainError(f"{asked} to the group {self.group} may have been done or not: {error}")

    async def _repeat(self, asked: str, attempt: Callable[[str], Awaitable[T]]) -> T:
        """The result of ``attempt`` with the leader, tried until it succeeds, is refused, or time is over."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout_ms / 1000
        why = "no member knows a leader"
        hops = 0
        while True:
            leader = self._leader or await self._find_leader()
            if leader is not None:
                try:
                    return await attempt(leader)
                except (_NotDoneError, _UnknownError) as error:
                    why = str(error)
            if loop.time() >= deadline:
                text = f"{asked} to the group {self.group} was not done within {self._timeout_ms} ms: {why}"
                raise NoLeaderError(text)
            # Told of another leader, go there at once; but two may name each other for a while.
            hops += 1
            if self._leader is None or self._leader == leader or hops % 3 == 0:
                await asyncio.sleep(LOOK_AGAIN_MS / 1000)

    async def _ask(
        self, member: str, code: int, request: Body, kind: type[B], asked: str, timeout_ms: int | None = None
    ) -> B:
        """The answer of ``member`` when it is SUCCESS.

        Raises _NotDoneError or _UnknownError, after which it may be asked again, or RefusedError.
        """
        request.remote_id = member
        try:
            connection = await self._remoting.connection(self.peers[member])
        except RemotingError as error:
            self._distrust(member)
            raise _NotDoneError(str(error)) from None
        try:
            command = remoting_request(code, None, encode(request))
            answer = await connection.call(command, timeout_ms or self._attempt_timeout_ms)
        except CallLimitError as error:
            raise _NotDoneError(str(error)) from None
        except RemotingError as error:
            self._distrust(member)
            raise _UnknownError(str(error)) from None
        if answer.code == ResponseCode.SYSTEM_BUSY:
            raise _NotDoneError(f"{member} is busy: {answer.remark}")
        if answer.code == ResponseCode.REQUEST_CODE_NOT_SUPPORTED:
            raise RefusedError(DLedgerCode.UNSUPPORTED, member, asked, answer.remark or "")
        if answer.code not in (ResponseCode.SUCCESS, DLedgerCode.SUCCESS):
            raise _UnknownError(f"{member} failed with {answer.code}: {answer.remark}")
        try:
            reply = decode(kind, answer.body)
        except ProtocolError as error:
            raise _UnknownError(f"{member} answered what cannot be read: {error}") from None
        if reply.code != DLedgerCode.SUCCESS:
            raise self._failure(member, reply, asked, answer.remark or "")
        return reply

    def _failure(self, member: str, reply: Body, asked: str, remark: str) -> Exception:
        """What the code of ``reply`` means; who leads is learned from it."""
        what = f"{member} answered {CODE_NAMES.get(reply.code, reply.code)}"
        if reply.code in _LEADS_NO_LONGER:
            self._distrust(member)
            if self._leader is None and reply.leader_id in self.peers and reply.leader_id != member:
                self._leader = reply.leader_id
        if reply.code in _NOT_DONE:
            return _NotDoneError(what)
        if reply.code in _UNKNOWN:
            return _UnknownError(what)
        kind = NotFoundError if reply.code in _NOT_FOUND else RefusedError
        return kind(reply.code, member, asked, remark, reply.term)

    def _distrust(self, member: str) -> None:
        """``member`` leads no longer, or does not answer; whoever failed before is of no interest."""
        if self._leader == member:
            self._leader = None
            self._distrusted = member

    # ---- who leads ----

    async def _find_leader(self) -> str | None:
        """The leader, asked of all members at once; None when none is known within SEARCH_MS.

        Raises RefusedError when every member refuses to say (another group).
        """
        if self._search is None or self._search.done():
            self._search = asyncio.get_running_loop().create_task(self._search_leader())
            # Its error is looked at even when all who waited for it have gone.
            self._search.add_done_callback(lambda search: search.cancelled() or search.exception())
        found = await asyncio.shield(self._search)
        if self._leader is None:
            self._leader = found
        return found

    async def _search_leader(self) -> str | None:
        loop = asyncio.get_running_loop()
        self._refusals.clear()
        tasks = {loop.create_task(self._answer_of(member)) for member in list(self.peers)}
        deadline = loop.time() + SEARCH_MS / 1000
        try:
            while tasks:
                left = max(0.0, deadline - loop.time())
                done, tasks = await asyncio.wait(tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    return None
                for task in done:
                    answer = task.result()
                    believed = answer.leader_id != self._distrusted or answer.leader_id == answer.member
                    if answer.leader_id in self.peers and believed:
                        return answer.leader_id
        finally:
            for task in tasks:
                task.cancel()
        if len(self._refusals) == len(self.peers):
            raise next(iter(self._refusals.values()))
        return None

    async def _answer_of(self, member: str) -> MemberAnswer:
        address = self.peers[member]
        try:
            reply = await self._member_metadata(member)
        except (_NotDoneError, _UnknownError) as error:
            return MemberAnswer(member, address, error=str(error))
        except RefusedError as error:
            self._refusals[member] = error
            return MemberAnswer(member, address, error=str(error))
        return MemberAnswer(member, address, reply.leader_id, reply.term)

    async def _member_metadata(self, member: str) -> MetadataReply:
        request = MetadataRequest(group=self.group)
        reply = await self._ask(member, DLedgerRequest.METADATA, request, MetadataReply, "METADATA")
        self._takes_batches[member] = reply.batch_append
        for other, address in (reply.peers or {}).items():
            self.peers.setdefault(other, address)
        return reply

    async def _java_term(self, leader: str) -> int:
        """A Java node says its term only when it refuses: to a leader that is no member."""
        claim = HeartbeatBody(group=self.group, leader_id="", term=0)
        try:
            reply = await self._ask(leader, DLedgerRequest.HEART_BEAT, claim, HeartbeatBody, "HEART_BEAT")
        except RefusedError as error:
            if error.term < 0:
                raise
            return error.term
        return reply.term


def _check_body(body: bytes) -> None:
    if len(body) > ENTRY_BODY_BYTES_MAX:
        raise ValueError(f"body of {len(body)} bytes: allowed are {ENTRY_BODY_BYTES_MAX}")
