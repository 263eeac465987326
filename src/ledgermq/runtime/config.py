"""The settings of a broker and of a name server, under RocketMQ's own names.

Each Struct below is a table: one field per key, with its type, unit, bounds, default and meaning. Everything
else is derived from it: the wire name (``broker_name`` is ``brokerName`` in broker.conf), the environment
variable, the checks and their error texts, ``mqadmin getBrokerConfig`` and docs/configuration.md.

Rules of this file:

* A key stands here only when some code reads it. Keys of RocketMQ that we know but do not read yet are in
  known_keys.py; a key moves from there to here together with the code that uses it.
* Bounds say what is refused; they are wide enough for every value that works.
* ``live=True`` promises that whoever uses the key reads it from the Struct each time, or copies it again when
  told of a change, so that ``mqadmin updateBrokerConfig`` takes effect at once. A key that is copied at
  start-up only is not live.

Java: BrokerIdentity, BrokerConfig, MessageStoreConfig, NamesrvConfig, NettyServerConfig, NettyClientConfig.
"""

import socket
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

INT_MAX = 2**31 - 1
_DAY_MS = 24 * 3600 * 1000
_NAME = r"^[%|a-zA-Z0-9_.-]+$"


def setting(
    about: str,
    unit: str = "",
    *,
    pattern: str | None = None,
    form: str = "",
    max_length: int | None = None,
    live: bool = False,
) -> Meta:
    """A text, a choice or a switch: its meaning, its form, and whether a running broker may change it.

    ``form`` says in words what ``pattern`` checks.
    """
    extra = {"unit": unit, "live": live, "form": form}
    return Meta(description=about, pattern=pattern, max_length=max_length, extra=extra)


def number(about: str, unit: str = "", *, ge: int = 0, le: int = INT_MAX, live: bool = False) -> Meta:
    """A whole number: its meaning, unit and bounds, and whether a running broker may change it."""
    return Meta(description=about, ge=ge, le=le, extra={"unit": unit, "live": live, "form": ""})


class RemotingConfig(Struct, kw_only=True, rename="camel"):
    """Sockets, of a broker and of a name server alike."""

    bind_address: Annotated[
        str, setting("Address to listen on. Loopback unless told otherwise; 0.0.0.0 is every interface.")
    ] = "127.0.0.1"
    server_channel_max_idle_time_seconds: Annotated[
        int, number("A connection that sends nothing for this long is closed.", "s", ge=1, le=86400)
    ] = 120


class BrokerConfig(Struct, kw_only=True, rename="camel"):
    """Identity, topics, consumption and registration of a broker."""

    broker_name: Annotated[
        str,
        setting(
            "Name of the replica set this broker belongs to; also the name of a system topic.",
            pattern=_NAME,
            form="letters, digits and %|_-.",
            max_length=100,
        ),
    ] = field(default_factory=socket.gethostname)
    broker_cluster_name: Annotated[
        str,
        setting(
            "Cluster the broker belongs to; also a system topic.",
            pattern=_NAME,
            form="letters, digits and %|_-.",
            max_length=100,
        ),
    ] = "DefaultCluster"
    broker_id: Annotated[
        int, number("0 is the master. Slaves, which have higher numbers, are not supported yet.", ge=0, le=0)
    ] = 0
    listen_port: Annotated[
        int,
        number(
            "Main port. The fast port is two below it. 0 picks free ports and prints them.", ge=0, le=65535
        ),
    ] = 10911
    broker_ip1: Annotated[
        str,
        setting("Address given to clients and name servers. Empty: bindAddress, or this host's address."),
    ] = field(name="brokerIP1", default="")
    broker_ip2: Annotated[
        str, setting("Address given to slaves for replication. Empty: the same as brokerIP1.")
    ] = field(name="brokerIP2", default="")
    namesrv_addr: Annotated[
        str,
        setting(
            "Name servers to register with, host:port, several separated by semicolons. "
            "The environment variable NAMESRV_ADDR is read too.",
            pattern=r"^$|^[^\s:;]+:\d{1,5}(;[^\s:;]+:\d{1,5})*;?$",
            form="host:port;host:port",
        ),
    ] = ""
    broker_permission: Annotated[
        int,
        number("What clients may do here: 4 read, 2 write, 6 both, 0 nothing.", ge=0, le=7, live=True),
    ] = 6

    auto_create_topic_enable: Annotated[
        bool, setting("A message to an unknown topic creates it from the template topic TBW102.", live=True)
    ] = True
    default_topic_queue_nums: Annotated[
        int, number("Most queues that a topic created by a message gets.", "queues", ge=1, le=65536)
    ] = 8
    auto_create_subscription_group: Annotated[
        bool, setting("A consumer of an unknown group creates the group.", live=True)
    ] = True
    cluster_topic_enable: Annotated[
        bool, setting("The topic named like the cluster can be read and written.")
    ] = True
    broker_topic_enable: Annotated[
        bool, setting("The topic named like the broker can be read and written.")
    ] = True
    enable_mixed_message_type: Annotated[
        bool, setting("A topic may be declared to hold messages of any type (message.type=MIXED).", live=True)
    ] = False
    trace_topic_enable: Annotated[bool, setting("Create the topic that message traces go to.")] = False
    msg_trace_topic_name: Annotated[
        str,
        setting(
            "Name of that topic.",
            pattern=r"^[%|a-zA-Z0-9_-]+$",
            form="letters, digits and %|_-",
            max_length=127,
        ),
    ] = "RMQ_SYS_TRACE_TOPIC"
    trace_on: Annotated[bool, setting("Tell producers to trace what they send.", live=True)] = True
    region_id: Annotated[str, setting("Region written into each message (MSG_REGION).", live=True)] = (
        "DefaultRegion"
    )
    revive_queue_num: Annotated[
        int, number("Queues of the topic that pop consumption keeps its records in.", "queues", ge=1, le=64)
    ] = 8

    long_polling_enable: Annotated[
        bool,
        setting("A pull that finds nothing waits as long as the client asked for.", live=True),
    ] = True
    short_polling_time_mills: Annotated[
        int,
        number("How long it waits when longPollingEnable is false.", "ms", ge=1, le=60_000, live=True),
    ] = 1000
    notify_consumer_ids_changed_enable: Annotated[
        bool, setting("Tell the members of a group when one comes or goes.", live=True)
    ] = True
    slave_read_enable: Annotated[
        bool,
        setting("Send consumers that are far behind to a slave (whichBrokerWhenConsumeSlowly).", live=True),
    ] = False
    use_server_side_reset_offset: Annotated[
        bool,
        setting(
            "Resetting a group's offset acts on its next pull; off: its online members are told.", live=True
        ),
    ] = True
    flush_consumer_offset_interval: Annotated[
        int,
        number("Consumer progress is saved this often.", "ms", ge=100, le=_DAY_MS),
    ] = 5000
    channel_expired_timeout: Annotated[
        int, number("A client without heartbeats for this long is forgotten.", "ms", ge=1000, le=_DAY_MS)
    ] = 120_000
    subscription_expired_timeout: Annotated[
        int,
        number("A subscription that no heartbeat repeats is forgotten.", "ms", ge=1000, le=_DAY_MS),
    ] = 600_000

    register_name_server_period: Annotated[
        int,
        number("The broker registers with its name servers this often.", "ms", ge=1000, le=60_000),
    ] = 30_000
    register_broker_timeout_mills: Annotated[
        int, number("Wait for a name server's answer to a registration.", "ms", ge=100, le=120_000)
    ] = 24_000
    force_register: Annotated[
        bool, setting("Register each time, even when the name server already has this version.")
    ] = True
    compressed_register: Annotated[bool, setting("Send registrations deflated.")] = False
    config_black_list: Annotated[
        str, setting("Keys that updateBrokerConfig refuses, separated by semicolons.")
    ] = "configBlackList;brokerConfigPath"


class StoreConfig(Struct, kw_only=True, rename="camel"):
    """Files, flushing, retention, and what one pull may take."""

    store_path_root_dir: Annotated[
        str, setting("Directory of everything the broker keeps. Given as --store on the command line.")
    ] = "ledgermq-data"
    store_path_commit_log: Annotated[
        str,
        setting(
            "Directory of the commit log, one only. Empty: commitlog under storePathRootDir.",
            pattern=r"^[^,]*$",
            form="a path without comma",
        ),
    ] = ""
    mapped_file_size_commit_log: Annotated[
        int, number("Size of one commit-log file.", "bytes", ge=4096, le=INT_MAX)
    ] = 1024 * 1024 * 1024
    mapped_file_size_consume_queue: Annotated[
        int,
        number("Size of one consume-queue file; rounded up to whole entries of 20 bytes.", "bytes", ge=20),
    ] = 300_000 * 20
    flush_disk_type: Annotated[
        Literal["ASYNC_FLUSH", "SYNC_FLUSH"],
        setting("SYNC_FLUSH: a send is answered after the fsync that covers it."),
    ] = "ASYNC_FLUSH"
    flush_interval_commit_log: Annotated[
        int, number("ASYNC_FLUSH: the commit log is flushed this often.", "ms", ge=1, le=_DAY_MS)
    ] = 500
    sync_flush_timeout: Annotated[
        int,
        number("SYNC_FLUSH: a send not on disk by then is answered FLUSH_DISK_TIMEOUT.", "ms", ge=1),
    ] = 5000

    max_message_size: Annotated[
        int, number("Largest body of a message.", "bytes", ge=1, le=15 * 1024 * 1024, live=True)
    ] = 4 * 1024 * 1024
    message_delay_level: Annotated[
        str,
        setting(
            "Delays of the levels 1, 2, ... that retries use.",
            pattern=r"^\d+[smhd]( +\d+[smhd])*$",
            form="1s 5m 2h 1d",
        ),
    ] = "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h"
    message_index_enable: Annotated[bool, setting("Keep the index that queries by key use.")] = True
    max_hash_slot_num: Annotated[
        int, number("Hash slots of one index file.", "slots", ge=1, le=50_000_000)
    ] = 5_000_000
    max_index_num: Annotated[int, number("Entries of one index file.", "entries", ge=2, le=100_000_000)] = (
        20_000_000
    )
    max_msgs_num_batch: Annotated[
        int, number("Most messages that one query by key returns.", "messages", ge=1, le=10_000)
    ] = 64
    default_query_max_num: Annotated[
        int, number("As many when the client does not say.", "messages", ge=1, le=10_000)
    ] = 32

    max_transfer_bytes_on_message_in_memory: Annotated[
        int,
        number("Most bytes of one pull answer, recent messages.", "bytes", ge=1, le=16_000_000, live=True),
    ] = 256 * 1024
    max_transfer_count_on_message_in_memory: Annotated[
        int, number("Most messages of it.", "messages", ge=1, le=100_000, live=True)
    ] = 32
    max_transfer_bytes_on_message_in_disk: Annotated[
        int,
        number("Most bytes of one pull answer, old messages.", "bytes", ge=1, le=16_000_000, live=True),
    ] = 64 * 1024
    max_transfer_count_on_message_in_disk: Annotated[
        int, number("Most messages of it.", "messages", ge=1, le=100_000, live=True)
    ] = 8
    access_message_in_memory_max_ratio: Annotated[
        int,
        number(
            "A message is recent while it lies within this part of physical memory from the log's end.",
            "percent",
            ge=1,
            le=100,
            live=True,
        ),
    ] = 40

    file_reserved_time: Annotated[
        int, number("Commit-log files are kept this long.", "hours", ge=1, le=1_000_000, live=True)
    ] = 72
    delete_when: Annotated[
        str,
        setting(
            "Hours of the day at which expired files are deleted, two digits, separated by semicolons.",
            pattern=r"^([01]\d|2[0-3])(;([01]\d|2[0-3]))*$",
            form="04 or 04;16",
            live=True,
        ),
    ] = "04"
    clean_resource_interval: Annotated[
        int, number("Retention looks at the files this often.", "ms", ge=100, le=_DAY_MS)
    ] = 10_000
    delete_file_batch_max: Annotated[
        int, number("Most commit-log files deleted in one go.", "files", ge=1, le=1000, live=True)
    ] = 10
    clean_file_forcibly_enable: Annotated[
        bool, setting("Above diskSpaceCleanForciblyRatio, delete files before their time.", live=True)
    ] = True
    disk_max_used_space_ratio: Annotated[
        int,
        number("Above this, expired files are deleted at any hour.", "percent", ge=10, le=99, live=True),
    ] = 75
    disk_space_clean_forcibly_ratio: Annotated[
        int, number("Above this, the oldest files are deleted.", "percent", ge=30, le=99, live=True)
    ] = 85
    disk_space_warning_level_ratio: Annotated[
        int, number("Above this, sends are refused.", "percent", ge=35, le=100, live=True)
    ] = 90

    check_crc_on_recover: Annotated[bool, setting("Recovery checks the CRC of each body it reads.")] = field(
        name="checkCRCOnRecover", default=True
    )
    max_recovery_commitlog_files: Annotated[
        int,
        number("Recovery after a crash goes back at most this many files.", "files", ge=1, le=10_000),
    ] = 30
    enable_dleger_commit_log: Annotated[
        bool, setting("The commit log is replicated by a DLedger group: its leader is the master.")
    ] = field(name="enableDLegerCommitLog", default=False)
    dleger_group: Annotated[
        str,
        setting(
            "Name of the DLedger group. Empty: brokerName.",
            pattern=r"^[%|a-zA-Z0-9_.-]*$",
            form="letters, digits and %|_-.",
            max_length=120,
        ),
    ] = field(name="dLegerGroup", default="")
    dleger_peers: Annotated[
        str, setting("All members of the group, as id-host:port, separated by semicolons.")
    ] = field(name="dLegerPeers", default="")
    dleger_self_id: Annotated[
        str,
        setting(
            "Which member this broker is. The digits give its number as a slave: n0 is 1, n1 is 2.",
            pattern=r"^(n[0-9]{1,9})?$",
            form="n0, n1, n2 ...",
        ),
    ] = field(name="dLegerSelfId", default="")
    preferred_leader_id: Annotated[str, setting("The member that leads whenever it can. Empty: none.")] = ""

    ha_listen_port: Annotated[
        int,
        number(
            "Port announced for replication. 0: listenPort + 1. Nothing listens there yet.", ge=0, le=65535
        ),
    ] = 0


class NameServerConfig(Struct, kw_only=True, rename="camel"):
    """A name server."""

    listen_port: Annotated[int, number("Port. 0 picks a free one and prints it.", ge=0, le=65535)] = 9876
    kv_config_path: Annotated[str, setting("File of the key-value configuration.")] = (
        "ledgermq-data/namesrv/kvConfig.json"
    )
    config_store_path: Annotated[
        str, setting("File that updateNamesrvConfig writes the configuration to.")
    ] = "ledgermq-data/namesrv/namesrv.properties"
    scan_not_active_broker_interval: Annotated[
        int, number("Silent brokers are looked for this often.", "ms", ge=100, le=_DAY_MS, live=True)
    ] = 5000
    order_message_enable: Annotated[
        bool, setting("Routes carry the order configuration of their topic.", live=True)
    ] = False
    return_order_topic_config_to_broker: Annotated[
        bool, setting("Registering brokers are told the order configuration.", live=True)
    ] = True
    support_acting_master: Annotated[
        bool, setting("A slave may act for a missing master (of Java brokers).", live=True)
    ] = False
    enable_all_topic_list: Annotated[
        bool, setting("GET_ALL_TOPIC_LIST_FROM_NAMESERVER is answered.", live=True)
    ] = True
    enable_topic_list: Annotated[
        bool, setting("Topic lists by cluster, unit and of system topics are answered.", live=True)
    ] = True
    notify_min_broker_id_changed: Annotated[
        bool, setting("Tell brokers when the lowest broker id of their set changes.", live=True)
    ] = False
    need_wait_for_service: Annotated[
        bool, setting("Refuse routes until waitSecondsForService after start-up.", live=True)
    ] = False
    wait_seconds_for_service: Annotated[
        int, number("See needWaitForService.", "s", ge=0, le=3600, live=True)
    ] = 45
    delete_topic_with_broker_registration: Annotated[
        bool, setting("A topic that a broker no longer registers is removed from its routes.", live=True)
    ] = False
    config_black_list: Annotated[
        str, setting("Keys that updateNamesrvConfig refuses, separated by semicolons.")
    ] = "configBlackList;configStorePath;kvConfigPath"


class BrokerSettings(Struct, kw_only=True):
    """All that a broker is told."""

    broker: BrokerConfig = field(default_factory=BrokerConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    remoting: RemotingConfig = field(default_factory=RemotingConfig)


class NameServerSettings(Struct, kw_only=True):
    """All that a name server is told."""

    nameserver: NameServerConfig = field(default_factory=NameServerConfig)
    remoting: RemotingConfig = field(default_factory=RemotingConfig)
