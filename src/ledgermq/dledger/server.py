"""DLedger's requests on a port, for any number of groups (Java: ``DLedgerServer``, ``DLedgerProxy``).

Clients and Java members send JSON and are answered in JSON, whatever goes wrong: the response's ``code`` says
it with DLedger's number, its ``leaderId`` who leads, and the frame's remark says it in words. ledgermq
members send HELLO first, which is where a member that was told other peers is turned away, and then NATIVE
messages, which are answered by messages over this member's own link.

Rules of this file: it is compiled; decode, find the node, ask it, answer. Nobody is answered twice, and
nobody never.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping
from typing import Final

from ledgermq.dledger.append_path import AppendPath
from ledgermq.dledger.codes import DLedgerCode, DLedgerRequest
from ledgermq.dledger.errors import ProtocolError
from ledgermq.dledger.json_messages import PeerRequest, decode_request, split_entries, take_leadership
from ledgermq.dledger.ledger import Ledger
from ledgermq.dledger.member import Refused
from ledgermq.dledger.messages import Entries
from ledgermq.dledger.native_messages import VERSION, decode_native
from ledgermq.dledger.node import Node
from ledgermq.dledger.open_ledger import open_ledger
from ledgermq.dledger.requests import (
    AppendReply,
    AppendRequest,
    Body,
    GetReply,
    GetRequest,
    Hello,
    MetadataReply,
    MetadataRequest,
    PullReply,
    PullRequest,
    TransferReply,
    TransferRequest,
    decode,
    encode,
)
from ledgermq.dledger.settings import DLedgerSettings, SettingsError
from ledgermq.dledger.state_machine import EntryMachine, StateMachine
from ledgermq.remoting.client import split_address
from ledgermq.remoting.codes import ResponseCode
from ledgermq.remoting.command import Command, PeerError
from ledgermq.remoting.connection import Connection, Handler
from ledgermq.remoting.server import Server, bind
from ledgermq.store.disk import Disk

log: Final = logging.getLogger("ledgermq.dledger")


class DLedgerServer:
    """Serves the groups of ``settings``, one member of each, on one port.

    ``machines`` has the state machine of a group by its name, where it has one, ``ledgers`` the ledger, where
    the owner has opened it. ``on_role`` hears of changes of role; with ``takes_appends`` false only the owner
    appends. Made on the loop; raises SettingsError.
    """

    def __init__(
        self,
        *settings: DLedgerSettings,
        machines: Mapping[str, StateMachine | EntryMachine] | None = None,
        ledgers: Mapping[str, Ledger] | None = None,
        on_role: Callable[[Node], None] | None = None,
        takes_appends: bool = True,
        disk: Disk | None = None,
    ) -> None:
        for one in settings:
            one.check()
        groups = [one.group for one in settings]
        addresses = {one.listen_address for one in settings}
        if len(set(groups)) != len(groups) or len(addresses) != 1:
            raise SettingsError(
                f"one server has one member of each group and one port: groups {', '.join(groups)} "
                f"at {', '.join(sorted(addresses))}"
            )
        self.nodes: Final[dict[str, Node]] = {}
        self.failed: Final = asyncio.Event()
        """Set when a member could not go on."""
        self._settings = settings
        self._machines = machines or {}
        self._ledgers = ledgers or {}
        self._on_role = on_role
        self._takes_appends = takes_appends
        self._disk = disk or Disk()
        self._appends = AppendPath(self.nodes)
        fast_path = self._appends if takes_appends else None
        self._server = Server(self._handlers(), fast_path=fast_path, on_close=self._closed)

    def _handlers(self) -> dict[int, Handler]:
        return {
            DLedgerRequest.METADATA: self._metadata,
            DLedgerRequest.APPEND: self._append,
            DLedgerRequest.GET: self._get,
            DLedgerRequest.PULL: self._pull,
            DLedgerRequest.VOTE: self._member_asks,
            DLedgerRequest.HEART_BEAT: self._member_asks,
            DLedgerRequest.PUSH: self._member_asks,
            DLedgerRequest.LEADERSHIP_TRANSFER: self._transfer,
            DLedgerRequest.HELLO: self._hello,
            DLedgerRequest.NATIVE: self._native,
        }

    # ---- life ----

    async def start(self, bound: socket.socket | None = None) -> None:
        """Open the ledgers, listen (on ``bound``, or on the members' own address) and take part.

        Raises OSError, LedgerError, SnapshotError; then nothing is left open.
        """
        try:
            if bound is None:
                bound = bind(*split_address(self._settings[0].listen_address))
            for settings in self._settings:
                ledger = self._ledgers.get(settings.group)
                if ledger is None:
                    ledger = await asyncio.to_thread(open_ledger, settings, self._disk)
                node = Node(
                    settings,
                    ledger,
                    self._machines.get(settings.group),
                    on_role=self._on_role,
                    on_fatal=self._node_failed,
                    disk=self._disk,
                )
                self.nodes[settings.group] = node
            await self._server.serve(bound)
            for node in self.nodes.values():
                await node.start()
        except BaseException:
            await self.stop()
            if bound is not None:
                bound.close()
            raise

    async def stop(self) -> None:
        """Stop all members, answer who waits, and close the port."""
        await asyncio.gather(*(node.stop() for node in self.nodes.values()))
        self._appends.replies.flush()
        await self._server.stop()

    def abort(self) -> None:
        """End as a process does that is killed: no word, no fsync, every connection reset. Then call stop."""
        for node in self.nodes.values():
            node.abort()
        for connection in list(self._server.connections):
            connection.abort()

    def _node_failed(self, node: Node, error: BaseException) -> None:
        self.failed.set()

    def _closed(self, connection: Connection) -> None:
        members = connection.attachment
        if isinstance(members, set):
            for group, member in sorted(members):
                if group in self.nodes:
                    self.nodes[group].lost(member)

    def _belongs(self, connection: Connection, node: Node, member: str) -> None:
        """Remember whose connection this is: its end is news."""
        if connection.attachment is None:
            connection.attachment = set()
        members = connection.attachment
        if isinstance(members, set):
            members.add((node.group, member))

    def _node(self, group: str | None, member: str | None) -> Node:
        """The node that is meant. Raises Refused."""
        node = self.nodes.get(group or "")
        if node is None:
            raise Refused(DLedgerCode.UNKNOWN_GROUP, f"group {group} is not served here")
        if member != node.self_id:
            raise Refused(
                DLedgerCode.UNKNOWN_MEMBER, f"member {member} of {group} is not here, {node.self_id} is"
            )
        return node

    # ---- clients ----

    def _metadata(self, command: Command, connection: Connection) -> Command:
        try:
            request = decode(MetadataRequest, command.body)
            node = self._node(request.group, request.remote_id)
        except (ProtocolError, Refused) as error:
            return self._refusal(error, MetadataReply())
        return _json(
            MetadataReply(
                group=node.group,
                local_id=node.self_id,
                leader_id=node.leader_id,
                term=node.term,
                peers=node.addresses,
                batch_append=True,
            )
        )

    def _append(self, command: Command, connection: Connection) -> Command | None:
        node: Node | None = None
        try:
            request = decode(AppendRequest, command.body)
            node = self._node(request.group, request.remote_id)
            if not self._takes_appends:
                raise Refused(DLedgerCode.UNSUPPORTED, "this log is a broker's: send messages to the broker")
            self._appends.append(node, request, connection, command.opaque, command.is_oneway)
        except (ProtocolError, Refused) as error:
            return self._refusal(error, AppendReply(), node)
        return None

    def _get(self, command: Command, connection: Connection) -> Command | None:
        node: Node | None = None
        try:
            request = decode(GetRequest, command.body)
            node = self._node(request.group, request.remote_id)
            if request.begin_index is None:
                raise Refused(DLedgerCode.UNEXPECTED_ARGUMENT, "beginIndex is missing")
            node.clients.get(request.begin_index, _got(node, command, connection))
        except (ProtocolError, Refused) as error:
            return self._refusal(error, GetReply(), node)
        return None

    def _pull(self, command: Command, connection: Connection) -> Command:
        try:
            request = decode(PullRequest, command.body)
            self._node(request.group, request.remote_id)
            raise Refused(DLedgerCode.UNSUPPORTED, "PULL is not served, and never was: use GET")
        except (ProtocolError, Refused) as error:
            return self._refusal(error, PullReply())

    def _transfer(self, command: Command, connection: Connection) -> Command | None:
        node: Node | None = None
        try:
            request = decode(TransferRequest, command.body)
            node = self._node(request.group, request.remote_id)
            if request.transfer_id == node.self_id:
                self._give_away(node, request, command, connection)
            elif request.transferee_id == node.self_id:
                self._ask_node(take_leadership(request), command, connection)
            else:
                raise Refused(
                    DLedgerCode.UNEXPECTED_ARGUMENT,
                    f"transferId {request.transfer_id} and transfereeId {request.transferee_id}: "
                    f"{node.self_id} is neither",
                )
        except (ProtocolError, Refused) as error:
            return self._refusal(error, TransferReply(), node)
        return None

    def _give_away(
        self, node: Node, request: TransferRequest, command: Command, connection: Connection
    ) -> None:
        if request.transferee_id not in node.addresses:
            raise Refused(DLedgerCode.UNKNOWN_MEMBER, f"transfereeId {request.transferee_id} is no member")
        if request.term != node.term:
            raise Refused(
                DLedgerCode.INCONSISTENT_TERM, f"term {request.term} is not the current one, {node.term} is"
            )

        def done(code: int) -> None:
            reply = TransferReply(group=node.group, code=code, leader_id=node.leader_id, term=node.term)
            connection.reply(command, _json(reply))

        node.clients.transfer(request.transferee_id, done)

    # ---- members ----

    def _member_asks(self, command: Command, connection: Connection) -> Command | None:
        """VOTE, HEART_BEAT and PUSH of a Java member."""
        try:
            self._ask_node(decode_request(command.code, command.body), command, connection)
        except (ProtocolError, Refused) as error:
            return self._refusal(error, Body())
        return None

    def _ask_node(self, request: PeerRequest, command: Command, connection: Connection) -> None:
        node = self._node(request.group, request.receiver)
        if request.sender not in node.links:
            raise Refused(DLedgerCode.UNKNOWN_MEMBER, f"{request.sender} is no other member of {node.group}")
        self._belongs(connection, node, request.sender)
        command.body = b""

        def answer(body: bytes) -> None:
            response = Command(DLedgerCode.SUCCESS)
            response.body = body
            connection.reply(command, response)

        node.asked(request, answer)

    def _hello(self, command: Command, connection: Connection) -> Command:
        try:
            hello = decode(Hello, command.body)
        except ProtocolError as error:
            raise PeerError(DLedgerCode.UNEXPECTED_ARGUMENT, str(error)) from None
        node = self.nodes.get(hello.group)
        if node is None:
            raise PeerError(DLedgerCode.UNKNOWN_GROUP, f"group {hello.group} is not served here")
        ours = sorted(node.addresses)
        if hello.local_id not in node.links or (hello.members and sorted(hello.members) != ours):
            text = (
                f"group {hello.group} has the members {', '.join(ours)} for {node.self_id}, but "
                f"{', '.join(hello.members)} for {hello.local_id} at {connection.remote}"
            )
            log.error("a member is turned away: %s; give all of them the same peers", text)
            raise PeerError(DLedgerCode.UNEXPECTED_MEMBER, text)
        self._belongs(connection, node, hello.local_id)
        answer = Command(ResponseCode.SUCCESS)
        answer.body = encode(Hello(group=hello.group, local_id=node.self_id, version=VERSION, members=ours))
        return answer

    def _native(self, command: Command, connection: Connection) -> None:
        try:
            group, sender, message = decode_native(command.body)
        except ProtocolError as error:
            log.warning("connection %s closed: %s", connection.remote, error)
            connection.close()
            return
        node = self.nodes.get(group)
        if node is not None and sender in node.links:
            node.received(sender, message)

    # ---- answers ----

    def _refusal(self, error: ProtocolError | Refused, reply: Body, node: Node | None = None) -> Command:
        reply.code = error.code if isinstance(error, Refused) else DLedgerCode.UNEXPECTED_ARGUMENT
        if node is not None:
            reply.group = node.group
            reply.leader_id = node.leader_id
            reply.term = node.term
        answer = _json(reply)
        answer.remark = str(error)
        return answer


def _json(reply: Body) -> Command:
    """The frame's own code is DLedger's SUCCESS whatever the body says, as Java's is."""
    answer = Command(DLedgerCode.SUCCESS)
    answer.body = encode(reply)
    return answer


def _got(node: Node, command: Command, connection: Connection) -> Callable[[int, Entries | None], None]:
    def done(code: int, entry: Entries | None) -> None:
        reply = GetReply(group=node.group, code=code, leader_id=node.leader_id, term=node.term)
        if entry is not None:
            reply.entries = split_entries(entry.payload)
        connection.reply(command, _json(reply))

    return done
