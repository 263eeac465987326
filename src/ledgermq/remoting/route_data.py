"""JSON bodies about routes, spoken by name servers, brokers, clients and tools.

Fields stand in fastjson's order (by name) and are omitted where Java omits them, so what we encode is byte
for byte what a Java 5.5.0 name server answers to a client that reads standard JSON.

A default made by a factory is written even when it is empty or False: Java leaves out only what is null.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ledgermq.remoting.topic_config import DataVersion, TopicConfig

MASTER_ID: Final = 0
"""The broker id of a master; slaves have larger ones."""


def _written_list() -> list[QueueData]:
    return []


def _written_brokers() -> list[BrokerData]:
    return []


def _written_table() -> dict[str, list[str]]:
    return {}


class QueueData(msgspec.Struct, rename="camel", kw_only=True):
    """How one topic lies on the brokers of one name (Java: ``QueueData``); ``perm`` is a sum of PERM_*."""

    broker_name: str
    perm: int = 6
    read_queue_nums: int = 0
    topic_sys_flag: int = 0
    write_queue_nums: int = 0


class BrokerData(msgspec.Struct, rename="camel", kw_only=True, omit_defaults=True):
    """The master and slaves that share a name (Java: ``BrokerData``).

    ``broker_addrs``: broker id -> ``host:port``; id 0 is the master, or who acts for it.
    """

    broker_addrs: dict[int, str] = msgspec.field(default_factory=lambda: dict[int, str]())
    broker_name: str
    cluster: str = msgspec.field(default_factory=str)
    enable_acting_master: bool = msgspec.field(default_factory=bool)
    zone_name: str | None = None


class QueueMapping(msgspec.Struct, rename="camel", kw_only=True):
    """A static topic's queues on one broker name (Java: ``TopicQueueMappingInfo``).

    ``curr_id_map``: the topic's queue id -> the broker's; ``epoch`` fences an older mapping.
    """

    bname: str
    curr_id_map: dict[int, int] = {}
    dirty: bool = False
    epoch: int = 0
    scope: str = "__global__"
    topic: str
    total_queues: int = 0


class TopicRouteData(msgspec.Struct, rename="camel", kw_only=True, omit_defaults=True):
    """Where a topic is (Java: ``TopicRouteData``): the answer to GET_ROUTEINFO_BY_TOPIC.

    ``filter_server_table``: broker address -> its filter servers; ``order_topic_conf``: ``broker:queues;…``
    of a topic that keeps a global order; ``topic_queue_mapping_by_broker`` only for static topics.
    """

    broker_datas: list[BrokerData] = msgspec.field(default_factory=_written_brokers)
    filter_server_table: dict[str, list[str]] = msgspec.field(default_factory=_written_table)
    order_topic_conf: str | None = None
    queue_datas: list[QueueData] = msgspec.field(default_factory=_written_list)
    topic_queue_mapping_by_broker: dict[str, QueueMapping] | None = None


class ClusterInfo(msgspec.Struct, rename="camel", kw_only=True):
    """Every broker by name and the names of every cluster (Java: ``ClusterInfo``)."""

    broker_addr_table: dict[str, BrokerData] = {}
    cluster_addr_table: dict[str, list[str]] = {}


class TopicList(msgspec.Struct, rename="camel", kw_only=True, omit_defaults=True):
    """Names of topics; ``broker_addr`` is any one broker, for who asks on about system topics."""

    broker_addr: str | None = None
    topic_list: list[str] = msgspec.field(default_factory=lambda: list[str]())


class KvTable(msgspec.Struct):
    """Keys and values of one namespace (Java: ``KVTable``)."""

    table: dict[str, str] = {}


class BrokerMemberGroup(msgspec.Struct, rename="camel", kw_only=True):
    """The addresses of one broker name, by broker id."""

    broker_addrs: dict[int, str] = {}
    broker_name: str
    cluster: str


class BrokerMemberGroupBody(msgspec.Struct, rename="camel"):
    """The answer to GET_BROKER_MEMBER_GROUP."""

    broker_member_group: BrokerMemberGroup


class TopicConfigs(msgspec.Struct, rename="camel", kw_only=True):
    """What a broker registers (Java: ``TopicConfigAndMappingSerializeWrapper``, of which name servers read
    these three fields)."""

    data_version: DataVersion = msgspec.field(default_factory=DataVersion)
    topic_config_table: dict[str, TopicConfig] = {}
    topic_queue_mapping_info_map: dict[str, QueueMapping] = {}


class RegisterBrokerBody(msgspec.Struct, rename="camel", kw_only=True):
    """The body of REGISTER_BROKER. ``filter_server_list`` None: the broker says nothing about it."""

    filter_server_list: list[str] | None = None
    topic_config_serialize_wrapper: TopicConfigs = msgspec.field(default_factory=TopicConfigs)
