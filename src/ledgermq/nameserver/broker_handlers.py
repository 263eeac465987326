"""What brokers ask of the name server (Java: ``DefaultRequestProcessor``): 103, 104, 217, 322, 901, 904."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from ledgermq.nameserver.client_json import encode_for_version
from ledgermq.nameserver.kv_config import ORDER_TOPIC_CONFIG, KvConfig
from ledgermq.nameserver.registration import MinIdNotice, Registration
from ledgermq.nameserver.routes import RouteTable
from ledgermq.remoting import nameserver_headers as headers
from ledgermq.remoting.codes import RequestCode, ResponseCode
from ledgermq.remoting.command import Command, PeerError
from ledgermq.remoting.connection import Connection, Handler
from ledgermq.remoting.headers import Topic, decode_body, decode_header, response
from ledgermq.remoting.json_body import encode_json
from ledgermq.remoting.register_body import body_crc32, decode_register_body
from ledgermq.remoting.route_data import BrokerMemberGroupBody, KvTable, TopicRouteData
from ledgermq.remoting.topic_config import DataVersion
from ledgermq.runtime.config import NameServerConfig

log: Final = logging.getLogger("ledgermq.nameserver")

ZONE_NAME: Final = "__ZONE_NAME"
"""An extension field beyond the declared ones: the zone of a broker, or of who asks for a route."""


class BrokerHandlers:
    """Brokers come, say that they live, and leave. ``tell`` passes on whose smallest broker id changed."""

    def __init__(
        self,
        config: NameServerConfig,
        routes: RouteTable,
        kv: KvConfig,
        now_ms: Callable[[], int],
        tell: Callable[[list[MinIdNotice]], None],
    ) -> None:
        self._config = config
        self._routes = routes
        self._kv = kv
        self._now_ms = now_ms
        self._tell = tell

    def table(self) -> dict[int, Handler]:
        return {
            RequestCode.REGISTER_BROKER: self.register_broker,
            RequestCode.UNREGISTER_BROKER: self.unregister_broker,
            RequestCode.REGISTER_TOPIC_IN_NAMESRV: self.register_topic,
            RequestCode.QUERY_DATA_VERSION: self.query_data_version,
            RequestCode.GET_BROKER_MEMBER_GROUP: self.get_broker_member_group,
            RequestCode.BROKER_HEARTBEAT: self.broker_heartbeat,
        }

    def register_broker(self, request: Command, connection: Connection) -> Command:
        header = decode_header(headers.RegisterBroker, request)
        if header.body_crc32 != 0 and header.body_crc32 != body_crc32(request.body):
            remark = f"crc32 not match: bodyCrc32={header.body_crc32}, the body of {len(request.body)} bytes "
            raise PeerError(ResponseCode.SYSTEM_ERROR, f"{remark}has {body_crc32(request.body)}")
        body = decode_register_body(request.body, compressed=header.compressed)
        configs = body.topic_config_serialize_wrapper
        told = Registration(
            cluster=header.cluster_name,
            broker_name=header.broker_name,
            address=header.broker_addr,
            broker_id=header.broker_id,
            ha_address=header.ha_server_addr,
            zone=request.ext.get(ZONE_NAME),
            timeout_ms=header.heartbeat_timeout_millis,
            acting_master=header.enable_acting_master,
            data_version=configs.data_version,
            topics=configs.topic_config_table,
            mappings=configs.topic_queue_mapping_info_map,
            filter_servers=body.filter_server_list,
        )
        known = self._routes.data_version(told.broker_name, told.address) is not None
        done = self._routes.register(
            told,
            connection,
            self._now_ms(),
            delete_missing_topics=self._config.delete_topic_with_broker_registration,
        )
        if done.ignored is not None:
            log.warning("registration ignored: %s", done.ignored)
        elif not known:
            log.info(
                "broker %s id %d of cluster %s registered at %s with %d topics",
                told.broker_name,
                told.broker_id,
                told.cluster,
                told.address,
                len(told.topics),
            )
        if done.notice is not None:
            self._tell([done.notice])
        reply = headers.RegisterBrokerReply(ha_server_addr=done.ha_address, master_addr=done.master_address)
        return response(header=reply, body=self._order_topics())

    def _order_topics(self) -> bytes:
        table = self._kv.namespace(ORDER_TOPIC_CONFIG)
        if table is None or not self._config.return_order_topic_config_to_broker:
            return b""
        return encode_json(KvTable(table))

    def unregister_broker(self, request: Command, connection: Connection) -> Command:
        header = decode_header(headers.BrokerIdentity, request)
        departed = self._routes.unregister(header.broker_name, header.broker_addr)
        for name, address in departed.brokers:
            log.info("broker %s at %s left", name, address)
        self._tell(departed.notices)
        return response()

    def register_topic(self, request: Command, connection: Connection) -> Command:
        header = decode_header(Topic, request)
        if request.body:
            self._routes.register_topic(header.topic, decode_body(TopicRouteData, request).queue_datas)
        return response()

    def query_data_version(self, request: Command, connection: Connection) -> Command:
        """Whether a broker has to register; asking is a sign of life."""
        header = decode_header(headers.BrokerIdentity, request)
        told = decode_body(DataVersion, request) if request.body else None
        self._routes.touch(header.broker_name, header.broker_addr, self._now_ms())
        known = self._routes.data_version(header.broker_name, header.broker_addr)
        reply = headers.DataVersionReply(changed=known is None or known != told)
        return response(header=reply, body=b"" if known is None else encode_json(known))

    def get_broker_member_group(self, request: Command, connection: Connection) -> Command:
        header = decode_header(headers.MemberGroup, request)
        group = self._routes.member_group(header.cluster_name, header.broker_name)
        return response(body=encode_for_version(BrokerMemberGroupBody(group), request.version))

    def broker_heartbeat(self, request: Command, connection: Connection) -> Command:
        header = decode_header(headers.BrokerHeartbeat, request)
        self._routes.touch(header.broker_name, header.broker_addr, self._now_ms())
        return response()
