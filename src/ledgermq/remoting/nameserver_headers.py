"""The header fields of requests to a name server, of its answers, and of what it tells brokers.

Source: the header classes of RocketMQ 5.5.0 in ``protocol.header.namesrv``.
"""

from __future__ import annotations

import msgspec

from ledgermq.remoting.headers import I32, I64, Header


class PutKvConfig(Header):
    namespace: str
    key: str
    value: str


class KvConfig(Header):
    namespace: str
    key: str


class KvConfigReply(Header):
    value: str | None = None


class KvNamespace(Header):
    namespace: str


class RegisterBroker(Header, kw_only=True):
    broker_name: str
    broker_addr: str
    cluster_name: str
    ha_server_addr: str = ""
    broker_id: I64
    heartbeat_timeout_millis: I64 | None = None
    enable_acting_master: bool | None = None
    compressed: bool = False
    body_crc32: I32 = msgspec.field(name="bodyCrc32", default=0)


class RegisterBrokerReply(Header):
    ha_server_addr: str | None = None
    master_addr: str | None = None


class BrokerIdentity(Header):
    """One broker (104 and 322)."""

    broker_name: str
    broker_addr: str
    cluster_name: str
    broker_id: I64


class DataVersionReply(Header):
    changed: bool


class GetRouteInfo(Header):
    topic: str
    accept_standard_json_only: bool | None = None


class BrokerName(Header):
    broker_name: str


class WipePermReply(Header):
    wipe_topic_count: I32


class AddPermReply(Header):
    add_topic_count: I32


class DeleteTopicOfCluster(Header):
    topic: str
    cluster_name: str | None = None


class Cluster(Header):
    cluster: str


class MemberGroup(Header):
    cluster_name: str
    broker_name: str


class BrokerHeartbeat(Header):
    cluster_name: str
    broker_addr: str
    broker_name: str
    broker_id: I64 | None = None
    epoch: I32 | None = None
    max_offset: I64 | None = None
    confirm_offset: I64 | None = None
    heartbeat_timeout_mills: I64 | None = None
    election_priority: I32 | None = None


class MinBrokerIdChange(Header):
    min_broker_id: I64 | None = None
    broker_name: str | None = None
    min_broker_addr: str | None = None
    offline_broker_addr: str | None = None
    ha_broker_addr: str | None = None
