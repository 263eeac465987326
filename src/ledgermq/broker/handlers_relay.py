"""Questions that only a client can answer are passed on to it: GET_CONSUMER_RUNNING_INFO,
CONSUME_MESSAGE_DIRECTLY, INVOKE_BROKER_TO_GET_CONSUMER_STATUS. Its answer goes back as it is."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from ledgermq.broker.clients import ClientRegistry, Member
from ledgermq.broker.groups import GroupTable
from ledgermq.broker.queue_key import QueueKey
from ledgermq.broker.topics import TopicTable
from ledgermq.message import names
from ledgermq.message.ids import MessageIdError, parse_offset_message_id
from ledgermq.remoting.broker_headers import ConsumeDirectly, ConsumerRunningInfo, ConsumerStatus
from ledgermq.remoting.codes import RequestCode, ResponseCode
from ledgermq.remoting.command import Command, PeerError
from ledgermq.remoting.connection import CallTimeoutError, Connection, Handler, RemotingError
from ledgermq.remoting.headers import decode_header, request, response
from ledgermq.remoting.json_body import JsonError, decode_json, encode_json, encode_object_map, parse_json
from ledgermq.store.message_store import MessageStore

CALL_TIMEOUT_MS: Final = 10_000
STATUS_TIMEOUT_MS: Final = 5_000


class StatusBody(msgspec.Struct, rename="camel"):
    """INVOKE_BROKER_TO_GET_CONSUMER_STATUS' answer (Java: ``GetConsumerStatusBody``)."""

    consumer_table: dict[str, msgspec.Raw]
    message_queue_table: dict[str, int] = {}


def offsets_of_status(body: bytes) -> msgspec.Raw | None:
    """The map from queues to offsets in a client's GET_CONSUMER_STATUS_FROM_CLIENT answer, None if there is
    none to be read."""
    try:
        document = parse_json(body)
        table = document.get("messageQueueTable") if isinstance(document, dict) else None
        if not isinstance(table, dict):
            return None
        return encode_object_map(
            (decode_json(QueueKey, key.encode()), int(offset)) for key, offset in table.items()
        )
    except (JsonError, TypeError, ValueError):
        return None


class RelayHandlers:
    """Handlers that call clients."""

    def __init__(
        self,
        broker_name: str,
        topics: TopicTable,
        groups: GroupTable,
        clients: ClientRegistry[Connection],
        store: MessageStore,
    ) -> None:
        self._broker_name = broker_name
        self._topics = topics
        self._groups = groups
        self._clients = clients
        self._store = store

    def table(self) -> dict[int, Handler]:
        return {
            RequestCode.GET_CONSUMER_RUNNING_INFO: self.running_info,
            RequestCode.CONSUME_MESSAGE_DIRECTLY: self.consume_directly,
            RequestCode.INVOKE_BROKER_TO_GET_CONSUMER_STATUS: self.status,
        }

    async def running_info(self, command: Command, connection: Connection) -> Command:
        header = decode_header(ConsumerRunningInfo, command)
        member = self._member(header.consumer_group, header.client_id)
        asked = request(RequestCode.GET_CONSUMER_RUNNING_INFO)
        asked.ext = dict(command.ext)
        return await self._call(member, asked)

    async def consume_directly(self, command: Command, connection: Connection) -> Command:
        """Have a client consume one message of the log now."""
        header = decode_header(ConsumeDirectly, command)
        member = self._member(header.consumer_group, header.client_id or "")
        asked = request(RequestCode.CONSUME_MESSAGE_DIRECTLY, body=self._message(header.msg_id or ""))
        asked.ext = dict(command.ext)
        asked.ext["brokerName"] = self._broker_name
        topic = self._topics.find(header.topic or "")
        if topic is not None:
            asked.ext["topicSysFlag"] = str(topic.topic_sys_flag)
        group = self._groups.find(header.consumer_group)
        if group is not None:
            asked.ext["groupSysFlag"] = str(group.group_sys_flag)
        return await self._call(member, asked)

    def _message(self, message_id: str) -> bytes:
        try:
            _, _, offset = parse_offset_message_id(message_id)
        except MessageIdError as error:
            raise PeerError(ResponseCode.INVALID_PARAMETER, f"msgId: {error}") from None
        data = self._store.reader.read_at(offset) if offset < 2**63 else None
        if data is None:
            remark = f"msgId={message_id!r}: no message begins at log offset {offset}"
            raise PeerError(ResponseCode.SYSTEM_ERROR, remark)
        return data

    async def status(self, command: Command, connection: Connection) -> Command:
        """The offsets that the members of a group hold of a topic, all of them or one client's."""
        header = decode_header(ConsumerStatus, command)
        group = self._clients.consumer_groups.get(header.group)
        if group is None:
            remark = f"group {header.group[: names.GROUP_CHARS_MAX]!r} has no consumer online"
            raise PeerError(ResponseCode.SYSTEM_ERROR, remark)
        wanted = (header.client_addr or "").strip()
        members = [m for m in group.members.values() if not wanted or m.client.client_id == wanted]
        answers = await asyncio.gather(*(self._status_of(member, header) for member in members))
        pairs = zip(members, answers, strict=True)
        found = {member.client.client_id: answer for member, answer in pairs if answer is not None}
        return response(body=encode_json(StatusBody(found)))

    async def _status_of(self, member: Member[Connection], header: ConsumerStatus) -> msgspec.Raw | None:
        """None of a client that does not answer or cannot say."""
        told = ConsumerStatus(topic=header.topic, group=header.group)
        asked = request(RequestCode.GET_CONSUMER_STATUS_FROM_CLIENT, told)
        try:
            answer = await member.channel.call(asked, STATUS_TIMEOUT_MS)
        except RemotingError:
            return None
        if answer.code != ResponseCode.SUCCESS or not answer.body:
            return None
        return offsets_of_status(answer.body)

    # ---- calling ----

    def _member(self, group: str, client_id: str) -> Member[Connection]:
        member = self._clients.find_consumer(group, client_id)
        if member is None:
            shown = group[: names.GROUP_CHARS_MAX]
            remark = f"consumer {client_id[:200]!r} of group {shown!r} is not online"
            raise PeerError(ResponseCode.SYSTEM_ERROR, remark)
        return member

    async def _call(self, member: Member[Connection], asked: Command) -> Command:
        who = f"consumer {member.client.client_id!r} of group {member.group!r}"
        try:
            answer = await member.channel.call(asked, CALL_TIMEOUT_MS)
        except CallTimeoutError as error:
            raise PeerError(ResponseCode.CONSUME_MSG_TIMEOUT, f"{who}: {error}") from None
        except RemotingError as error:
            raise PeerError(ResponseCode.SYSTEM_ERROR, f"{who}: {error}") from None
        passed = response(answer.code, answer.remark, body=answer.body)
        passed.ext = answer.ext
        return passed
