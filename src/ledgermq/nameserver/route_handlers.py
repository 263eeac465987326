"""What clients and tools ask of the route table: 105, 106, 205, 206, 216, 224, 304, 311 to 313, 327
(Java: ``ClientRequestProcessor``, ``DefaultRequestProcessor``)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from ledgermq.nameserver.broker_handlers import ZONE_NAME
from ledgermq.nameserver.client_json import encode_for_version
from ledgermq.nameserver.kv_config import ORDER_TOPIC_CONFIG, KvConfig
from ledgermq.nameserver.routes import RouteTable, filter_zone
from ledgermq.remoting import nameserver_headers as headers
from ledgermq.remoting.codes import VERSION_4_9_4, RequestCode, ResponseCode
from ledgermq.remoting.command import Command, PeerError
from ledgermq.remoting.connection import Connection, Handler
from ledgermq.remoting.headers import decode_header, json_response, request_name, response
from ledgermq.runtime.config import NameServerConfig

log: Final = logging.getLogger("ledgermq.nameserver")

ZONE_MODE: Final = "__ZONE_MODE"
"""An extension field: ``true`` asks for the brokers of the zone in ZONE_NAME only."""


class RouteHandlers:
    """Routes, lists, and the operator's hand on them."""

    def __init__(
        self, config: NameServerConfig, routes: RouteTable, kv: KvConfig, now_ms: Callable[[], int]
    ) -> None:
        self._config = config
        self._routes = routes
        self._kv = kv
        self._now_ms = now_ms
        self._started_ms = now_ms()

    def table(self) -> dict[int, Handler]:
        return {
            RequestCode.GET_ROUTEINFO_BY_TOPIC: self.get_route_info,
            RequestCode.GET_BROKER_CLUSTER_INFO: self.get_cluster_info,
            RequestCode.GET_ALL_TOPIC_LIST_FROM_NAMESERVER: self.get_all_topics,
            RequestCode.GET_TOPICS_BY_CLUSTER: self.get_topics_by_cluster,
            RequestCode.GET_SYSTEM_TOPIC_LIST_FROM_NS: self.get_system_topics,
            RequestCode.GET_UNIT_TOPIC_LIST: self.get_unit_topics,
            RequestCode.GET_HAS_UNIT_SUB_TOPIC_LIST: self.get_unit_sub_topics,
            RequestCode.GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST: self.get_unit_sub_ununit_topics,
            RequestCode.WIPE_WRITE_PERM_OF_BROKER: self.wipe_write_permission,
            RequestCode.ADD_WRITE_PERM_OF_BROKER: self.add_write_permission,
            RequestCode.DELETE_TOPIC_IN_NAMESRV: self.delete_topic,
        }

    def get_route_info(self, request: Command, connection: Connection) -> Command:
        header = decode_header(headers.GetRouteInfo, request)
        self._check_ready()
        route = self._routes.route(header.topic, acting_master=self._config.support_acting_master)
        if route is None:
            remark = (
                f"topic {header.topic[:255]!r} has no route: no broker that is registered here carries it"
            )
            raise PeerError(ResponseCode.TOPIC_NOT_EXIST, remark)
        if self._config.order_message_enable:
            route.order_topic_conf = self._kv.get(ORDER_TOPIC_CONFIG, header.topic)
        zone = request.ext.get(ZONE_NAME, "").strip()
        if zone and request.ext.get(ZONE_MODE, "").lower() == "true":
            route = filter_zone(route, zone)
        version = VERSION_4_9_4 if header.accept_standard_json_only else request.version
        return response(body=encode_for_version(route, version))

    def _check_ready(self) -> None:
        """Just after the start a route may lack brokers that have not registered again yet."""
        config = self._config
        if config.need_wait_for_service:
            left_ms = self._started_ms + config.wait_seconds_for_service * 1000 - self._now_ms()
            if left_ms > 0:
                remark = f"name server not ready: it started a moment ago, ask again in {left_ms} ms"
                raise PeerError(ResponseCode.SYSTEM_ERROR, remark)

    def get_cluster_info(self, request: Command, connection: Connection) -> Command:
        return response(body=encode_for_version(self._routes.cluster_info(), request.version))

    def get_all_topics(self, request: Command, connection: Connection) -> Command:
        _check_enabled(request, "enableAllTopicList", enabled=self._config.enable_all_topic_list)
        return json_response(self._routes.all_topics())

    def get_topics_by_cluster(self, request: Command, connection: Connection) -> Command:
        self._check_lists(request)
        header = decode_header(headers.Cluster, request)
        return json_response(self._routes.topics_of_cluster(header.cluster))

    def get_system_topics(self, request: Command, connection: Connection) -> Command:
        return json_response(self._routes.system_topics())

    def get_unit_topics(self, request: Command, connection: Connection) -> Command:
        self._check_lists(request)
        return json_response(self._routes.unit_topics(unit=True))

    def get_unit_sub_topics(self, request: Command, connection: Connection) -> Command:
        self._check_lists(request)
        return json_response(self._routes.unit_topics(unit_sub=True))

    def get_unit_sub_ununit_topics(self, request: Command, connection: Connection) -> Command:
        self._check_lists(request)
        return json_response(self._routes.unit_topics(unit=False, unit_sub=True))

    def _check_lists(self, request: Command) -> None:
        _check_enabled(request, "enableTopicList", enabled=self._config.enable_topic_list)

    def wipe_write_permission(self, request: Command, connection: Connection) -> Command:
        name = decode_header(headers.BrokerName, request).broker_name
        count = self._routes.set_write_permission(name, allowed=False)
        log.info("write permission of broker %s taken from %d topics by %s", name, count, connection.remote)
        return response(header=headers.WipePermReply(count))

    def add_write_permission(self, request: Command, connection: Connection) -> Command:
        name = decode_header(headers.BrokerName, request).broker_name
        count = self._routes.set_write_permission(name, allowed=True)
        log.info("write permission of broker %s given to %d topics by %s", name, count, connection.remote)
        return response(header=headers.AddPermReply(count))

    def delete_topic(self, request: Command, connection: Connection) -> Command:
        header = decode_header(headers.DeleteTopicOfCluster, request)
        self._routes.delete_topic(header.topic, header.cluster_name or None)
        log.info("topic %s deleted by %s", header.topic, connection.remote)
        return response()


def _check_enabled(request: Command, key: str, *, enabled: bool) -> None:
    if not enabled:
        remark = f"{request_name(request.code)} is disabled: {key}=false in the name server"
        raise PeerError(ResponseCode.SYSTEM_ERROR, remark)
