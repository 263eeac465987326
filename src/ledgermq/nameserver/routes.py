"""Which brokers live, and which topics they carry (Java: ``RouteInfoManager``).

A broker registers under a name with an id (0 is the master), an address and its topics, and again every 30 s.
Four tables follow from that:

* ``_live``: one entry for each (name, address) that registered and has been heard of since;
* ``_brokers``: name -> addresses by broker id;
* ``_clusters``: cluster -> broker names;
* ``_topics``: topic -> broker name -> queues, as the master (or who acts for it) said last.

Rules of this file: pure; time comes in; a connection is an opaque mark of who registered. A request that is
refused with an error changes nothing. Whatever leaves (an address, the last address of a name, the last
broker of a topic or cluster) takes with it everything that hung on it alone. Every table has a limit.
:meth:`RouteTable.check_invariants` states what always holds.

Where Java lets something stay behind for ever, we remove it: a name whose only registration was refused, a
live entry whose address another broker took over, the mappings of a static topic that is gone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ledgermq.nameserver.registration import (
    Departed,
    Registered,
    Registration,
    RouteLimits,
    check_name,
    min_id_notice,
)
from ledgermq.remoting.codes import ResponseCode
from ledgermq.remoting.command import PeerError
from ledgermq.remoting.route_data import (
    MASTER_ID,
    BrokerData,
    BrokerMemberGroup,
    ClusterInfo,
    QueueData,
    QueueMapping,
    TopicList,
    TopicRouteData,
)
from ledgermq.remoting.topic_config import (
    PERM_READ,
    PERM_WRITE,
    SYS_FLAG_UNIT,
    SYS_FLAG_UNIT_SUB,
    DataVersion,
)

LIVE_TIMEOUT_MS: Final = 120_000
"""A broker that says no ``heartbeatTimeoutMillis`` is dropped when it was silent for longer."""

MEMBER_TOPIC_PREFIX: Final = "rmq_sys_SYNC_BROKER_MEMBER_"
"""Brokers ask for the route of this topic to learn the addresses of their own name, as they really are."""


@dataclass(slots=True)
class _Live:
    """One registered address. It expires when ``heard_ms + timeout_ms`` has passed."""

    heard_ms: int
    timeout_ms: int
    data_version: DataVersion
    connection: object
    ha_address: str
    filter_servers: list[str]


class RouteTable:
    """The name server's knowledge. Nothing of it is kept on disk: brokers tell it again."""

    def __init__(self, limits: RouteLimits | None = None) -> None:
        self._limits = limits or RouteLimits()
        self._live: dict[tuple[str, str], _Live] = {}
        self._brokers: dict[str, BrokerData] = {}
        self._clusters: dict[str, dict[str, None]] = {}
        self._topics: dict[str, dict[str, QueueData]] = {}
        self._mappings: dict[str, dict[str, QueueMapping]] = {}
        # How many QueueData all of _topics holds.
        self._queue_data_count = 0

    # ---- brokers come ----

    def register(
        self, told: Registration, connection: object, now_ms: int, *, delete_missing_topics: bool = False
    ) -> Registered:
        """Takes over what a broker said of itself.

        ``delete_missing_topics``: topics that it does not name are no longer its own (off in Java by default,
        since an increment names only what changed). Raises PeerError.
        """
        told.check(self._limits)
        self._check_room(told)
        name, address, broker_id = told.broker_name, told.address, told.broker_id
        broker = self._brokers.get(name)
        known = broker.broker_addrs if broker is not None else {}
        conflict = self._conflict(told, known)
        if conflict is not None:
            self._remove([(name, address)])
            return Registered(ignored=conflict)
        if broker_id not in known and len(told.topics) == 1:
            # A lone topic is an increment; who accepted it from an unknown broker would serve a route to
            # that one topic and hide all its others.
            remark = (
                f"register broker failed: brokerName={name} brokerId={broker_id} is not registered here, "
            )
            raise PeerError(ResponseCode.SYSTEM_ERROR, f"{remark}so it has to register all its topics first")

        if broker is None:
            broker = self._brokers[name] = BrokerData(broker_name=name, cluster=told.cluster)
        self._clusters.setdefault(told.cluster, {})[name] = None
        broker.enable_acting_master = bool(told.acting_master)
        broker.zone_name = told.zone
        addresses = broker.broker_addrs
        min_id_before = min(addresses, default=MASTER_ID)
        first = broker_id not in addresses
        # A slave that became master registers the same address under a new id.
        for other_id in [i for i, a in addresses.items() if a == address and i != broker_id]:
            del addresses[other_id]
        addresses[broker_id] = address

        # Slaves' topics are their master's; a slave's word counts while it acts for a missing master.
        acts = told.acting_master is not None and broker_id != MASTER_ID and broker_id == min(addresses)
        if broker_id == MASTER_ID or acts:
            self._take_topics(told, first, acts and broker.enable_acting_master, delete_missing_topics)

        known_live = self._live.get((name, address))
        filter_servers = told.filter_servers
        if filter_servers is None:
            filter_servers = [] if known_live is None else known_live.filter_servers
        self._live[name, address] = _Live(
            heard_ms=now_ms,
            timeout_ms=LIVE_TIMEOUT_MS if told.timeout_ms is None else told.timeout_ms,
            data_version=told.data_version,
            connection=connection,
            ha_address=told.ha_address,
            filter_servers=filter_servers,
        )
        answer = self._answer_to_slave(told, addresses)
        if broker_id < min_id_before:
            answer.notice = min_id_notice(addresses, offline=None, ha_address=told.ha_address)
        return answer

    def _check_room(self, told: Registration) -> None:
        limits = self._limits
        if (told.broker_name, told.address) not in self._live and len(self._live) >= limits.brokers:
            raise PeerError(ResponseCode.SYSTEM_ERROR, f"{limits.brokers} brokers are registered, the limit")
        if self._queue_data_count + len(told.topics) > limits.queue_datas:
            # Close to the limit it is worth counting exactly: most of them are known.
            self._check_room_for(sum(told.broker_name not in self._topics.get(t, ()) for t in told.topics))

    def _check_room_for(self, new: int) -> None:
        if self._queue_data_count + new > self._limits.queue_datas:
            remark = f"{self._queue_data_count} topics of brokers are known, {new} more exceed the limit"
            raise PeerError(ResponseCode.SYSTEM_ERROR, f"{remark} of {self._limits.queue_datas}")

    def _conflict(self, told: Registration, known: dict[int, str]) -> str | None:
        """Why this is an old master that does not know of its successor yet; None when it is not.

        Two addresses claim one id: the one whose ``stateVersion`` (the controller's epoch) is larger has it.
        """
        holder = known.get(told.broker_id)
        if holder is None or holder == told.address:
            return None
        live = self._live.get((told.broker_name, holder))
        if live is None or live.data_version.state_version <= told.data_version.state_version:
            return None
        return (
            f"brokerName={told.broker_name} brokerId={told.broker_id} is at {holder} with stateVersion "
            f"{live.data_version.state_version}; {told.address} has {told.data_version.state_version}"
        )

    def _take_topics(self, told: Registration, first: bool, read_only: bool, delete_missing: bool) -> None:
        name = told.broker_name
        live = self._live.get((name, told.address))
        changed = first or live is None or live.data_version != told.data_version
        if delete_missing and not told.mappings:
            for topic in [t for t, datas in self._topics.items() if name in datas and t not in told.topics]:
                self._drop_queue_data(topic, name)
        for topic, config in told.topics.items():
            # An unchanged version still restores a topic that was deleted here alone.
            if changed or name not in self._topics.get(topic, ()):
                perm = config.perm & ~PERM_WRITE if read_only else config.perm
                self._put_queue_data(
                    topic,
                    QueueData(
                        broker_name=name,
                        perm=perm,
                        read_queue_nums=config.read_queue_nums,
                        topic_sys_flag=config.topic_sys_flag,
                        write_queue_nums=config.write_queue_nums,
                    ),
                )
        for topic, mapping in told.mappings.items():
            known = self._mappings.get(topic, {})
            if topic in self._topics and (changed or mapping.bname not in known):
                self._mappings.setdefault(topic, known)[mapping.bname] = mapping

    def _answer_to_slave(self, told: Registration, addresses: dict[int, str]) -> Registered:
        master = addresses.get(MASTER_ID)
        if told.broker_id == MASTER_ID or master is None:
            return Registered()
        live = self._live[told.broker_name, master]
        return Registered(master_address=master, ha_address=live.ha_address)

    def register_topic(self, topic: str, datas: list[QueueData]) -> None:
        """Adds or changes one topic of brokers that are registered. Raises PeerError."""
        check_name("topic", topic, self._limits)
        for data in datas:
            if data.broker_name not in self._brokers:
                remark = f"topic {topic}: brokerName={data.broker_name[:80]!r} is not registered here"
                raise PeerError(ResponseCode.SYSTEM_ERROR, remark)
        self._check_room_for(len(datas))
        for data in datas:
            self._put_queue_data(topic, data)

    def touch(self, broker_name: str, address: str, now_ms: int) -> None:
        """A broker was heard of; one that is not registered stays unknown."""
        live = self._live.get((broker_name, address))
        if live is not None:
            live.heard_ms = now_ms

    def data_version(self, broker_name: str, address: str) -> DataVersion | None:
        """The version of the topics that this address registered last."""
        live = self._live.get((broker_name, address))
        return None if live is None else live.data_version

    # ---- brokers leave ----

    def unregister(self, broker_name: str, address: str) -> Departed:
        """A broker says that it leaves."""
        return self._remove([(broker_name, address)])

    def connection_closed(self, connection: object) -> Departed:
        """Who registered last on this connection is gone; a container registers several brokers on one."""
        return self._remove([key for key, live in self._live.items() if live.connection is connection])

    def expire(self, now_ms: int) -> Departed:
        """Drops who was silent for too long; their connections are to be closed."""
        silent = {k: live for k, live in self._live.items() if live.heard_ms + live.timeout_ms < now_ms}
        departed = self._remove(list(silent))
        for live in silent.values():
            if live.connection not in departed.connections:
                departed.connections.append(live.connection)
        return departed

    def _remove(self, keys: Iterable[tuple[str, str]]) -> Departed:
        departed = Departed([], [], [])
        gone: dict[str, None] = {}
        without_master: dict[str, None] = {}
        for name, address in keys:
            if self._live.pop((name, address), None) is None:
                continue
            departed.brokers.append((name, address))
            broker = self._brokers[name]
            addresses = broker.broker_addrs
            min_id_before = min(addresses)
            for broker_id in [i for i, a in addresses.items() if a == address]:
                del addresses[broker_id]
            if not addresses:
                self._forget_name(name)
                gone[name] = None
            elif broker.enable_acting_master:
                if min(addresses) != min_id_before:
                    departed.notices.append(min_id_notice(addresses, offline=address, ha_address=None))
                if MASTER_ID not in addresses:
                    without_master[name] = None
        self._clean_topics(gone, without_master)
        return departed

    def _forget_name(self, name: str) -> None:
        del self._brokers[name]
        # Entries whose address was taken over by another, which has left before them.
        for key in [key for key in self._live if key[0] == name]:
            del self._live[key]
        for cluster in [c for c, names in self._clusters.items() if name in names]:
            del self._clusters[cluster][name]
            if not self._clusters[cluster]:
                del self._clusters[cluster]

    def _clean_topics(self, gone: dict[str, None], without_master: dict[str, None]) -> None:
        """Topics leave with the names in ``gone`` and become read-only where a slave acts for a master."""
        if not gone and not without_master:
            return
        for topic in list(self._topics):
            for name in gone:
                self._drop_queue_data(topic, name)
            datas = self._topics.get(topic, {})
            for name in without_master:
                if name in datas:
                    datas[name].perm &= ~PERM_WRITE

    # ---- topics ----

    def _put_queue_data(self, topic: str, data: QueueData) -> None:
        datas = self._topics.setdefault(topic, {})
        if data.broker_name not in datas:
            self._queue_data_count += 1
        datas[data.broker_name] = data

    def _drop_queue_data(self, topic: str, broker_name: str) -> None:
        datas = self._topics.get(topic, {})
        if datas.pop(broker_name, None) is None:
            return
        self._queue_data_count -= 1
        if not datas:
            del self._topics[topic]
            self._mappings.pop(topic, None)

    def delete_topic(self, topic: str, cluster: str | None = None) -> None:
        """Forgets a topic, of the brokers of one cluster or of all; a broker that still has it brings it back
        with its next registration."""
        for name in list(self._topics.get(topic, ())):
            if cluster is None or name in self._clusters.get(cluster, ()):
                self._drop_queue_data(topic, name)

    def set_write_permission(self, broker_name: str, *, allowed: bool) -> int:
        """Takes the write permission from all topics of a broker, or sets them to read and write. It lasts
        until the broker registers a changed table. Returns the number of topics."""
        count = 0
        for datas in self._topics.values():
            data = datas.get(broker_name)
            if data is not None:
                data.perm = PERM_READ | PERM_WRITE if allowed else data.perm & ~PERM_WRITE
                count += 1
        return count

    # ---- questions ----

    def route(self, topic: str, *, acting_master: bool = False) -> TopicRouteData | None:
        """Where ``topic`` is; None when no registered broker carries it.

        ``acting_master``: where a name allows it and has no master, its smallest slave stands as the master.
        """
        datas = self._topics.get(topic)
        if datas is None:
            return None
        names = sorted(datas)
        brokers = [self._copy_broker(name) for name in names]
        if acting_master and not topic.startswith(MEMBER_TOPIC_PREFIX):
            for broker in brokers:
                if broker.enable_acting_master and datas[broker.broker_name].perm & PERM_WRITE == 0:
                    _let_smallest_act(broker.broker_addrs)
        filter_servers = {
            address: live.filter_servers
            for name in names
            for address in self._brokers[name].broker_addrs.values()
            if (live := self._live[name, address]).filter_servers
        }
        return TopicRouteData(
            broker_datas=brokers,
            filter_server_table=filter_servers,
            queue_datas=[datas[name] for name in names],
            topic_queue_mapping_by_broker=self._mappings.get(topic),
        )

    def _copy_broker(self, name: str) -> BrokerData:
        broker = self._brokers[name]
        return BrokerData(
            broker_addrs=dict(sorted(broker.broker_addrs.items())),
            broker_name=broker.broker_name,
            cluster=broker.cluster,
            enable_acting_master=broker.enable_acting_master,
            zone_name=broker.zone_name,
        )

    def cluster_info(self) -> ClusterInfo:
        return ClusterInfo(
            broker_addr_table={name: self._copy_broker(name) for name in self._brokers},
            cluster_addr_table={cluster: list(names) for cluster, names in self._clusters.items()},
        )

    def member_group(self, cluster: str, broker_name: str) -> BrokerMemberGroup:
        """The addresses of a broker name; none when it is not registered."""
        broker = self._brokers.get(broker_name)
        addresses = {} if broker is None else dict(sorted(broker.broker_addrs.items()))
        return BrokerMemberGroup(broker_addrs=addresses, broker_name=broker_name, cluster=cluster)

    def all_topics(self) -> TopicList:
        return TopicList(topic_list=list(self._topics))

    def topics_of_cluster(self, cluster: str) -> TopicList:
        names = self._clusters.get(cluster, {}).keys()
        return TopicList(topic_list=[t for t, datas in self._topics.items() if not names.isdisjoint(datas)])

    def system_topics(self) -> TopicList:
        """The names of clusters and brokers, which are topics of every broker; one broker to ask for more."""
        names = dict.fromkeys([*self._clusters, *self._brokers])
        address = next((min(b.broker_addrs.items())[1] for b in self._brokers.values()), None)
        return TopicList(broker_addr=address, topic_list=list(names))

    def unit_topics(self, *, unit: bool | None = None, unit_sub: bool | None = None) -> TopicList:
        """Topics whose ``topicSysFlag`` has (True) or has not (False) each flag; None does not ask."""
        mask = (SYS_FLAG_UNIT if unit is not None else 0) | (SYS_FLAG_UNIT_SUB if unit_sub is not None else 0)
        wanted = (SYS_FLAG_UNIT if unit else 0) | (SYS_FLAG_UNIT_SUB if unit_sub else 0)
        # One broker speaks for all, as in Java.
        found = [t for t, d in self._topics.items() if next(iter(d.values())).topic_sys_flag & mask == wanted]
        return TopicList(topic_list=found)

    def check_invariants(self) -> None:
        """What holds after every call; for tests and for doubts in production."""
        assert self._queue_data_count == sum(len(datas) for datas in self._topics.values())
        assert all(self._topics.values())
        assert all(self._clusters.values())
        assert all(self._brokers.values())
        named = {name for names in self._clusters.values() for name in names}
        assert named == set(self._brokers)
        assert {name for datas in self._topics.values() for name in datas} <= named
        assert {name for name, _ in self._live} == named
        for name, broker in self._brokers.items():
            addresses = list(broker.broker_addrs.values())
            assert addresses
            assert len(set(addresses)) == len(addresses)
            assert all((name, address) in self._live for address in addresses)
        assert self._mappings.keys() <= self._topics.keys()


def _let_smallest_act(addresses: dict[int, str]) -> None:
    if addresses and MASTER_ID not in addresses:
        addresses[MASTER_ID] = addresses.pop(min(addresses))


def filter_zone(route: TopicRouteData, zone: str) -> TopicRouteData:
    """Only the brokers of one zone, and those without a master, which every zone may read from
    (Java: ``ZoneRouteRPCHook``)."""
    kept = [
        broker
        for broker in route.broker_datas
        if MASTER_ID not in broker.broker_addrs or (broker.zone_name or "").lower() == zone.lower()
    ]
    names = {broker.broker_name for broker in kept}
    addresses = {address for broker in kept for address in broker.broker_addrs.values()}
    return TopicRouteData(
        broker_datas=kept,
        filter_server_table={a: s for a, s in route.filter_server_table.items() if a in addresses},
        order_topic_conf=route.order_topic_conf,
        queue_datas=[data for data in route.queue_datas if data.broker_name in names],
        topic_queue_mapping_by_broker=route.topic_queue_mapping_by_broker,
    )
