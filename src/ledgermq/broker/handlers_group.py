"""Consumer groups are created, changed, shown and deleted: 200, 225, 201, 352, 207, 353."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from ledgermq.broker.groups import GroupTable, SubscriptionGroupConfig
from ledgermq.broker.offsets import OffsetTable
from ledgermq.broker.persistence import GROUPS_FILE, OFFSETS_FILE, ConfigFiles
from ledgermq.broker.stats import BrokerStats
from ledgermq.remoting.broker_headers import DeleteGroup, Group, GroupForbidden, GroupPage, GroupPageReply
from ledgermq.remoting.codes import RequestCode, ResponseCode
from ledgermq.remoting.command import Command, PeerError
from ledgermq.remoting.connection import Connection, Handler
from ledgermq.remoting.headers import decode_body, decode_header, json_response, response
from ledgermq.remoting.json_body import encode_json
from ledgermq.remoting.topic_config import DataVersion

PAGE_MAX: Final = 2000
"""Groups or topics of one page (Java: ``splitMetadataSize``)."""


class GroupList(msgspec.Struct, rename="camel"):
    """UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST's body."""

    group_config_list: list[SubscriptionGroupConfig]


class GroupPageBody(msgspec.Struct, rename="camel"):
    """GET_ALL_SUBSCRIPTIONGROUP_CONFIG's answer (Java: ``SubscriptionGroupWrapper``)."""

    data_version: DataVersion
    forbidden_table: dict[str, dict[str, int]]
    subscription_group_table: dict[str, SubscriptionGroupConfig]


class ForbiddenBody(msgspec.Struct):
    """UPDATE_AND_GET_GROUP_FORBIDDEN's answer (Java: ``GroupForbidden``)."""

    group: str
    readable: bool
    topic: str


class GroupHandlers:
    """Handlers of requests about groups' configurations."""

    def __init__(
        self,
        groups: GroupTable,
        offsets: OffsetTable,
        stats: BrokerStats,
        files: ConfigFiles,
        now_ms: Callable[[], int],
    ) -> None:
        self._groups = groups
        self._offsets = offsets
        self._stats = stats
        self._files = files
        self._now_ms = now_ms

    def table(self) -> dict[int, Handler]:
        return {
            RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP: self.update,
            RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST: self.update_list,
            RequestCode.GET_ALL_SUBSCRIPTIONGROUP_CONFIG: self.get_all,
            RequestCode.GET_SUBSCRIPTIONGROUP_CONFIG: self.get_one,
            RequestCode.DELETE_SUBSCRIPTIONGROUP: self.delete,
            RequestCode.UPDATE_AND_GET_GROUP_FORBIDDEN: self.forbid,
        }

    async def update(self, command: Command, connection: Connection) -> Command:
        return await self._store([decode_body(SubscriptionGroupConfig, command)])

    async def update_list(self, command: Command, connection: Connection) -> Command:
        return await self._store(decode_body(GroupList, command).group_config_list)

    async def _store(self, wanted: list[SubscriptionGroupConfig]) -> Command:
        stored = [self._groups.check_update(group) for group in wanted]  # all or none
        now_ms = self._now_ms()
        for group in stored:
            self._groups.update(group, now_ms)
        await self._files.save(GROUPS_FILE)
        return response()

    def get_all(self, command: Command, connection: Connection) -> Command:
        header = decode_header(GroupPage, command)
        count = min(PAGE_MAX, header.max_group_num or PAGE_MAX) if "groupSeq" in command.ext else None
        page = self._groups.page(header.group_seq, count, page_version(header.data_version))
        body = GroupPageBody(self._groups.data_version, self._groups.forbidden(page), page)
        return response(header=GroupPageReply(len(self._groups.configs)), body=encode_json(body))

    def get_one(self, command: Command, connection: Connection) -> Command:
        name = decode_header(Group, command).group
        group = self._groups.find_or_create(name, self._now_ms())
        if group is None:
            remark = f"group {name[:255]!r} does not exist"
            raise PeerError(ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST, remark)
        return json_response(group)

    async def delete(self, command: Command, connection: Connection) -> Command:
        header = decode_header(DeleteGroup, command)
        now_ms = self._now_ms()
        self._groups.delete(header.group_name, now_ms)
        if header.clean_offset:
            self._offsets.remove_group(header.group_name, now_ms)
        self._stats.drop_group(header.group_name)
        await self._files.save(GROUPS_FILE)
        if header.clean_offset:
            await self._files.save(OFFSETS_FILE)
        return response()

    async def forbid(self, command: Command, connection: Connection) -> Command:
        header = decode_header(GroupForbidden, command)
        if header.readable is not None:
            self._groups.set_may_read(header.group, header.topic, header.readable, self._now_ms())
            await self._files.save(GROUPS_FILE)
        readable = self._groups.may_read(header.group, header.topic)
        return json_response(ForbiddenBody(header.group, readable, header.topic))


def page_version(text: str | None) -> DataVersion | None:
    """The version that a reader of pages has seen; what cannot be read counts as another one."""
    try:
        return None if text is None else msgspec.json.decode(text, type=DataVersion)
    except msgspec.MsgspecError:
        return None
