"""What a broker says of itself, what follows from it, and what it may not exceed. All pure values."""

from __future__ import annotations

from dataclasses import dataclass, field

from ledgermq.remoting.codes import ResponseCode
from ledgermq.remoting.command import PeerError
from ledgermq.remoting.route_data import QueueMapping
from ledgermq.remoting.topic_config import DataVersion, TopicConfig
from ledgermq.runtime.limits import (
    QUEUE_DATAS_MAX,
    REGISTERED_BROKERS_MAX,
    REGISTERED_TOPICS_MAX,
    ROUTE_NAME_CHARS_MAX,
)


@dataclass(slots=True)
class RouteLimits:
    """What the tables may grow to. A registration that would exceed one is refused."""

    brokers: int = REGISTERED_BROKERS_MAX
    topics_per_broker: int = REGISTERED_TOPICS_MAX
    queue_datas: int = QUEUE_DATAS_MAX
    name_chars: int = ROUTE_NAME_CHARS_MAX


@dataclass(slots=True, kw_only=True)
class Registration:
    """What a broker says of itself. ``acting_master`` None: a broker older than that idea (before 5.0)."""

    cluster: str
    broker_name: str
    address: str
    broker_id: int
    ha_address: str = ""
    zone: str | None = None
    timeout_ms: int | None = None
    acting_master: bool | None = None
    data_version: DataVersion = field(default_factory=DataVersion)
    topics: dict[str, TopicConfig] = field(default_factory=dict)
    mappings: dict[str, QueueMapping] = field(default_factory=dict)
    filter_servers: list[str] | None = None

    def check(self, limits: RouteLimits) -> None:
        """Raises PeerError naming what is out of bounds."""
        check_name("brokerName", self.broker_name, limits)
        check_name("brokerAddr", self.address, limits)
        check_name("clusterName", self.cluster, limits)
        if self.broker_id < 0:
            raise PeerError(ResponseCode.INVALID_PARAMETER, f"brokerId={self.broker_id}, 0 is the least")
        if self.timeout_ms is not None and self.timeout_ms <= 0:
            remark = f"heartbeatTimeoutMillis={self.timeout_ms}, 1 is the least"
            raise PeerError(ResponseCode.INVALID_PARAMETER, remark)
        if len(self.topics) > limits.topics_per_broker:
            remark = f"brokerName={self.broker_name} has {len(self.topics)} topics, "
            raise PeerError(ResponseCode.SYSTEM_ERROR, f"{remark}{limits.topics_per_broker} is the limit")
        for topic, config in self.topics.items():
            check_name("topic", topic, limits)
            if config.topic_name != topic:
                remark = f"topicName={config.topic_name[:40]!r} stands under the key {topic[:40]!r}"
                raise PeerError(ResponseCode.INVALID_PARAMETER, remark)


def check_name(what: str, name: str, limits: RouteLimits) -> None:
    """Raises PeerError when a name is empty, too long or not printable."""
    if not 0 < len(name) <= limits.name_chars:
        remark = f"{what}={name[:40]!r} has {len(name)} characters, allowed are 1..{limits.name_chars}"
        raise PeerError(ResponseCode.INVALID_PARAMETER, remark)
    if not name.isprintable():
        remark = f"{what}={name[:40]!r} contains characters that cannot be printed"
        raise PeerError(ResponseCode.INVALID_PARAMETER, remark)


@dataclass(slots=True)
class MinIdNotice:
    """The smallest broker id of a name changed: ``addresses`` want to hear it (code 905)."""

    min_broker_id: int
    min_address: str
    offline_address: str | None
    ha_address: str | None
    addresses: list[str]


def min_id_notice(addresses: dict[int, str], *, offline: str | None, ha_address: str | None) -> MinIdNotice:
    """All hear of one that left (``offline``); of one that came, all but itself."""
    min_id = min(addresses)
    if offline is not None or len(addresses) == 1:
        told = list(addresses.values())
    else:
        told = [address for broker_id, address in addresses.items() if broker_id != min_id]
    return MinIdNotice(min_id, addresses[min_id], offline, ha_address, told)


@dataclass(slots=True)
class Registered:
    """What follows from a registration. ``ignored`` says why nothing does, for the log."""

    master_address: str | None = None
    ha_address: str | None = None
    notice: MinIdNotice | None = None
    ignored: str | None = None


@dataclass(slots=True)
class Departed:
    """Who left: (broker name, address) pairs, connections that are of no more use, and whom to tell."""

    brokers: list[tuple[str, str]]
    connections: list[object]
    notices: list[MinIdNotice]
