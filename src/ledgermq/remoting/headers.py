"""The one table of requests: each code, its name, its typed header fields.

A header class states the fields as they are used; on the wire they are text in camelCase
(``queue_id`` is ``queueId``). What a class does not name is ignored, as Java ignores it. A field without a
default must be there. Source: the ``*RequestHeader`` classes of RocketMQ 5.5.0 that each line of
:data:`REQUESTS` names by its code.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta

from ledgermq.remoting.codes import FLAG_ONEWAY, FLAG_RESPONSE, ResponseCode
from ledgermq.remoting.codes import RequestCode as Code
from ledgermq.remoting.command import Command, PeerError
from ledgermq.remoting.json_body import JsonError, decode_json, encode_json

I32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
I64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class Header(msgspec.Struct, rename="camel"):
    """The extension fields of one kind of request or response."""


class NoHeader(Header):
    """A request that carries no field."""


# ---- broker: send ------------------------------------------------------------------------------------


class SendMessage(Header, kw_only=True):
    """SEND_MESSAGE with its long names; SEND_MESSAGE_V2 is the same with the letters of SEND_V2_LETTERS."""

    producer_group: str
    topic: str
    default_topic: str = ""
    default_topic_queue_nums: I32 = 4
    queue_id: I32
    sys_flag: I32
    born_timestamp: I64
    flag: I32
    properties: str = ""
    reconsume_times: I32 | None = None
    unit_mode: bool = False
    batch: bool = False
    max_reconsume_times: I32 | None = None
    broker_name: str | None = None


SEND_V2_LETTERS: Final = {
    "a": "producerGroup",
    "b": "topic",
    "c": "defaultTopic",
    "d": "defaultTopicQueueNums",
    "e": "queueId",
    "f": "sysFlag",
    "g": "bornTimestamp",
    "h": "flag",
    "i": "properties",
    "j": "reconsumeTimes",
    "k": "unitMode",
    "l": "maxReconsumeTimes",
    "m": "batch",
    "n": "brokerName",
}


class SendMessageReply(Header):
    msg_id: str
    queue_id: I32
    queue_offset: I64
    transaction_id: str | None = None
    batch_uniq_id: str | None = None


class SendMessageBack(Header):
    """CONSUMER_SEND_MSG_BACK: ``offset`` is the message's place in the commit log."""

    offset: I64
    group: str
    delay_level: I32
    origin_msg_id: str | None = None
    origin_topic: str | None = None
    unit_mode: bool = False
    max_reconsume_times: I32 | None = None


# ---- broker: pull and offsets --------------------------------------------------------------------------


class PullMessage(Header, kw_only=True):
    consumer_group: str
    topic: str
    queue_id: I32
    queue_offset: I64
    max_msg_nums: I32
    sys_flag: I32
    commit_offset: I64
    suspend_timeout_millis: I64
    subscription: str | None = None
    sub_version: I64
    expression_type: str | None = None
    max_msg_bytes: I32 | None = None
    request_source: I32 | None = None


class PullMessageReply(Header):
    suggest_which_broker_id: I64
    next_begin_offset: I64
    min_offset: I64
    max_offset: I64
    offset_delta: I64 | None = None
    topic_sys_flag: I32 | None = None
    group_sys_flag: I32 | None = None
    forbidden_type: I32 | None = None


class TopicQueue(Header):
    """A queue by topic and number (30 to 32)."""

    topic: str
    queue_id: I32


class GetMaxOffset(TopicQueue):
    committed: bool = True


class SearchOffset(TopicQueue):
    timestamp: I64
    boundary_type: str | None = None


class OffsetReply(Header):
    offset: I64


class StoreTimeReply(Header):
    timestamp: I64


class QueryConsumerOffset(Header):
    consumer_group: str
    topic: str
    queue_id: I32
    set_zero_if_not_found: bool | None = None


class UpdateConsumerOffset(Header):
    consumer_group: str
    topic: str
    queue_id: I32
    commit_offset: I64


# ---- broker: query and clients ---------------------------------------------------------------------------


class QueryMessage(Header):
    topic: str
    key: str
    max_num: I32
    begin_timestamp: I64
    end_timestamp: I64
    index_type: str | None = None
    last_key: str | None = None


class QueryMessageReply(Header):
    index_last_update_timestamp: I64
    index_last_update_phyoffset: I64


class ViewMessage(Header, kw_only=True):
    topic: str | None = None
    offset: I64


class UnregisterClient(Header):
    client_id: str = msgspec.field(name="clientID")
    producer_group: str | None = None
    consumer_group: str | None = None


class ConsumerGroup(Header):
    """A request about one consumer group (38, 40, 203)."""

    consumer_group: str


class ProducerGroup(Header):
    producer_group: str


# ---- broker: administration --------------------------------------------------------------------------------


class CreateTopic(Header, kw_only=True):
    topic: str
    default_topic: str = ""
    read_queue_nums: I32
    write_queue_nums: I32
    perm: I32
    topic_filter_type: str = "SINGLE_TAG"
    topic_sys_flag: I32 | None = None
    order: bool = False
    attributes: str | None = None
    force: bool = False


class Topic(Header):
    """A request about one topic."""

    topic: str


class Group(Header):
    group: str


class TopicPage(Header):
    topic_seq: I32 = 0
    data_version: str | None = None
    max_topic_num: I32 | None = None


class TopicPageReply(Header):
    total_topic_num: I32 | None = None


class GroupPage(Header):
    group_seq: I32 = 0
    data_version: str | None = None
    max_group_num: I32 | None = None


class GroupPageReply(Header):
    total_group_num: I32 | None = None


class DeleteGroup(Header):
    group_name: str
    clean_offset: bool = False


class GroupForbidden(Header):
    group: str
    topic: str
    readable: bool | None = None


class ConfigVersionReply(Header):
    version: str


class ConsumeStats(Header):
    consumer_group: str
    topic: str | None = None
    topic_list: str | None = None


class BrokerConsumeStats(Header):
    is_order: bool = False


class ResetOffset(Header, kw_only=True):
    group: str
    topic: str
    queue_id: I32 = -1
    offset: I64 | None = None
    timestamp: I64
    is_force: bool = False


class ConsumerStatus(Header):
    topic: str
    group: str
    client_addr: str | None = None


class TopicGroup(Header):
    topic: str
    group: str


class SubscriptionOfGroup(Header):
    group: str
    topic: str | None = None


class QueryCorrectionOffset(Header, kw_only=True):
    filter_groups: str | None = None
    compare_group: str
    topic: str


class CloneGroupOffset(Header):
    src_group: str
    dest_group: str
    topic: str | None = None
    offline: bool = False


class ConsumerRunningInfo(Header):
    consumer_group: str
    client_id: str
    jstack_enable: bool = False


class ConsumeDirectly(Header):
    consumer_group: str
    client_id: str | None = None
    msg_id: str | None = None
    broker_name: str | None = None
    topic: str | None = None
    topic_sys_flag: I32 | None = None
    group_sys_flag: I32 | None = None


class QueryConsumeQueue(Header):
    topic: str
    queue_id: I32 = 0
    index: I64 = 0
    count: I32 = 0
    consumer_group: str | None = None


class ViewBrokerStats(Header):
    stats_name: str
    stats_key: str


# ---- name server -----------------------------------------------------------------------------------------


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


REQUESTS: Final[dict[int, tuple[str, type[Header]]]] = {
    Code.SEND_MESSAGE: ("SEND_MESSAGE", SendMessage),
    Code.SEND_MESSAGE_V2: ("SEND_MESSAGE_V2", SendMessage),
    Code.SEND_BATCH_MESSAGE: ("SEND_BATCH_MESSAGE", SendMessage),
    Code.CONSUMER_SEND_MSG_BACK: ("CONSUMER_SEND_MSG_BACK", SendMessageBack),
    Code.PULL_MESSAGE: ("PULL_MESSAGE", PullMessage),
    Code.LITE_PULL_MESSAGE: ("LITE_PULL_MESSAGE", PullMessage),
    Code.SEARCH_OFFSET_BY_TIMESTAMP: ("SEARCH_OFFSET_BY_TIMESTAMP", SearchOffset),
    Code.GET_MAX_OFFSET: ("GET_MAX_OFFSET", GetMaxOffset),
    Code.GET_MIN_OFFSET: ("GET_MIN_OFFSET", TopicQueue),
    Code.GET_EARLIEST_MSG_STORETIME: ("GET_EARLIEST_MSG_STORETIME", TopicQueue),
    Code.QUERY_CONSUMER_OFFSET: ("QUERY_CONSUMER_OFFSET", QueryConsumerOffset),
    Code.UPDATE_CONSUMER_OFFSET: ("UPDATE_CONSUMER_OFFSET", UpdateConsumerOffset),
    Code.QUERY_MESSAGE: ("QUERY_MESSAGE", QueryMessage),
    Code.VIEW_MESSAGE_BY_ID: ("VIEW_MESSAGE_BY_ID", ViewMessage),
    Code.HEART_BEAT: ("HEART_BEAT", NoHeader),
    Code.UNREGISTER_CLIENT: ("UNREGISTER_CLIENT", UnregisterClient),
    Code.CHECK_CLIENT_CONFIG: ("CHECK_CLIENT_CONFIG", NoHeader),
    Code.GET_CONSUMER_LIST_BY_GROUP: ("GET_CONSUMER_LIST_BY_GROUP", ConsumerGroup),
    Code.NOTIFY_CONSUMER_IDS_CHANGED: ("NOTIFY_CONSUMER_IDS_CHANGED", ConsumerGroup),
    Code.LOCK_BATCH_MQ: ("LOCK_BATCH_MQ", NoHeader),
    Code.UNLOCK_BATCH_MQ: ("UNLOCK_BATCH_MQ", NoHeader),
    Code.UPDATE_AND_CREATE_TOPIC: ("UPDATE_AND_CREATE_TOPIC", CreateTopic),
    Code.UPDATE_AND_CREATE_TOPIC_LIST: ("UPDATE_AND_CREATE_TOPIC_LIST", NoHeader),
    Code.DELETE_TOPIC_IN_BROKER: ("DELETE_TOPIC_IN_BROKER", Topic),
    Code.GET_ALL_TOPIC_CONFIG: ("GET_ALL_TOPIC_CONFIG", TopicPage),
    Code.GET_TOPIC_CONFIG: ("GET_TOPIC_CONFIG", Topic),
    Code.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP: ("UPDATE_AND_CREATE_SUBSCRIPTIONGROUP", NoHeader),
    Code.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST: ("UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST", NoHeader),
    Code.GET_ALL_SUBSCRIPTIONGROUP_CONFIG: ("GET_ALL_SUBSCRIPTIONGROUP_CONFIG", GroupPage),
    Code.GET_SUBSCRIPTIONGROUP_CONFIG: ("GET_SUBSCRIPTIONGROUP_CONFIG", Group),
    Code.DELETE_SUBSCRIPTIONGROUP: ("DELETE_SUBSCRIPTIONGROUP", DeleteGroup),
    Code.UPDATE_AND_GET_GROUP_FORBIDDEN: ("UPDATE_AND_GET_GROUP_FORBIDDEN", GroupForbidden),
    Code.UPDATE_BROKER_CONFIG: ("UPDATE_BROKER_CONFIG", NoHeader),
    Code.GET_BROKER_CONFIG: ("GET_BROKER_CONFIG", NoHeader),
    Code.GET_BROKER_RUNTIME_INFO: ("GET_BROKER_RUNTIME_INFO", NoHeader),
    Code.GET_TOPIC_STATS_INFO: ("GET_TOPIC_STATS_INFO", Topic),
    Code.GET_CONSUME_STATS: ("GET_CONSUME_STATS", ConsumeStats),
    Code.GET_BROKER_CONSUME_STATS: ("GET_BROKER_CONSUME_STATS", BrokerConsumeStats),
    Code.GET_CONSUMER_CONNECTION_LIST: ("GET_CONSUMER_CONNECTION_LIST", ConsumerGroup),
    Code.GET_PRODUCER_CONNECTION_LIST: ("GET_PRODUCER_CONNECTION_LIST", ProducerGroup),
    Code.GET_ALL_PRODUCER_INFO: ("GET_ALL_PRODUCER_INFO", NoHeader),
    Code.GET_ALL_CONSUMER_OFFSET: ("GET_ALL_CONSUMER_OFFSET", NoHeader),
    Code.INVOKE_BROKER_TO_RESET_OFFSET: ("INVOKE_BROKER_TO_RESET_OFFSET", ResetOffset),
    Code.RESET_CONSUMER_CLIENT_OFFSET: ("RESET_CONSUMER_CLIENT_OFFSET", ResetOffset),
    Code.INVOKE_BROKER_TO_GET_CONSUMER_STATUS: ("INVOKE_BROKER_TO_GET_CONSUMER_STATUS", ConsumerStatus),
    Code.GET_CONSUMER_STATUS_FROM_CLIENT: ("GET_CONSUMER_STATUS_FROM_CLIENT", ConsumerStatus),
    Code.QUERY_TOPIC_CONSUME_BY_WHO: ("QUERY_TOPIC_CONSUME_BY_WHO", Topic),
    Code.QUERY_TOPICS_BY_CONSUMER: ("QUERY_TOPICS_BY_CONSUMER", Group),
    Code.QUERY_SUBSCRIPTION_BY_CONSUMER: ("QUERY_SUBSCRIPTION_BY_CONSUMER", SubscriptionOfGroup),
    Code.QUERY_CONSUME_TIME_SPAN: ("QUERY_CONSUME_TIME_SPAN", TopicGroup),
    Code.QUERY_CORRECTION_OFFSET: ("QUERY_CORRECTION_OFFSET", QueryCorrectionOffset),
    Code.CLONE_GROUP_OFFSET: ("CLONE_GROUP_OFFSET", CloneGroupOffset),
    Code.GET_CONSUMER_RUNNING_INFO: ("GET_CONSUMER_RUNNING_INFO", ConsumerRunningInfo),
    Code.CONSUME_MESSAGE_DIRECTLY: ("CONSUME_MESSAGE_DIRECTLY", ConsumeDirectly),
    Code.QUERY_CONSUME_QUEUE: ("QUERY_CONSUME_QUEUE", QueryConsumeQueue),
    Code.VIEW_BROKER_STATS_DATA: ("VIEW_BROKER_STATS_DATA", ViewBrokerStats),
    Code.GET_SYSTEM_TOPIC_LIST_FROM_BROKER: ("GET_SYSTEM_TOPIC_LIST_FROM_BROKER", NoHeader),
    Code.CLEAN_EXPIRED_CONSUMEQUEUE: ("CLEAN_EXPIRED_CONSUMEQUEUE", NoHeader),
    Code.DELETE_EXPIRED_COMMITLOG: ("DELETE_EXPIRED_COMMITLOG", NoHeader),
    Code.CLEAN_UNUSED_TOPIC: ("CLEAN_UNUSED_TOPIC", NoHeader),
    Code.PUT_KV_CONFIG: ("PUT_KV_CONFIG", PutKvConfig),
    Code.GET_KV_CONFIG: ("GET_KV_CONFIG", KvConfig),
    Code.DELETE_KV_CONFIG: ("DELETE_KV_CONFIG", KvConfig),
    Code.GET_KVLIST_BY_NAMESPACE: ("GET_KVLIST_BY_NAMESPACE", KvNamespace),
    Code.REGISTER_BROKER: ("REGISTER_BROKER", RegisterBroker),
    Code.UNREGISTER_BROKER: ("UNREGISTER_BROKER", BrokerIdentity),
    Code.QUERY_DATA_VERSION: ("QUERY_DATA_VERSION", BrokerIdentity),
    Code.GET_ROUTEINFO_BY_TOPIC: ("GET_ROUTEINFO_BY_TOPIC", GetRouteInfo),
    Code.GET_BROKER_CLUSTER_INFO: ("GET_BROKER_CLUSTER_INFO", NoHeader),
    Code.WIPE_WRITE_PERM_OF_BROKER: ("WIPE_WRITE_PERM_OF_BROKER", BrokerName),
    Code.ADD_WRITE_PERM_OF_BROKER: ("ADD_WRITE_PERM_OF_BROKER", BrokerName),
    Code.GET_ALL_TOPIC_LIST_FROM_NAMESERVER: ("GET_ALL_TOPIC_LIST_FROM_NAMESERVER", NoHeader),
    Code.DELETE_TOPIC_IN_NAMESRV: ("DELETE_TOPIC_IN_NAMESRV", DeleteTopicOfCluster),
    Code.REGISTER_TOPIC_IN_NAMESRV: ("REGISTER_TOPIC_IN_NAMESRV", Topic),
    Code.GET_TOPICS_BY_CLUSTER: ("GET_TOPICS_BY_CLUSTER", Cluster),
    Code.GET_SYSTEM_TOPIC_LIST_FROM_NS: ("GET_SYSTEM_TOPIC_LIST_FROM_NS", NoHeader),
    Code.GET_UNIT_TOPIC_LIST: ("GET_UNIT_TOPIC_LIST", NoHeader),
    Code.GET_HAS_UNIT_SUB_TOPIC_LIST: ("GET_HAS_UNIT_SUB_TOPIC_LIST", NoHeader),
    Code.GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST: ("GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST", NoHeader),
    Code.UPDATE_NAMESRV_CONFIG: ("UPDATE_NAMESRV_CONFIG", NoHeader),
    Code.GET_NAMESRV_CONFIG: ("GET_NAMESRV_CONFIG", NoHeader),
    Code.GET_BROKER_MEMBER_GROUP: ("GET_BROKER_MEMBER_GROUP", MemberGroup),
    Code.BROKER_HEARTBEAT: ("BROKER_HEARTBEAT", BrokerHeartbeat),
    Code.NOTIFY_MIN_BROKER_ID_CHANGE: ("NOTIFY_MIN_BROKER_ID_CHANGE", MinBrokerIdChange),
}
"""Each request that ledgermq serves or sends: code -> (name, header class)."""

H = TypeVar("H", bound=Header)
T = TypeVar("T")

_NOT_DIGITS: Final = re.compile("[.eE]")
_FIELD_PATH: Final = re.compile(r" - at `\$\.(\w+)`$")
_MISSING: Final = re.compile(r"required field `(\w+)`")


def request_name(code: int) -> str:
    """The name of a request code, for remarks and logs."""
    known = REQUESTS.get(code)
    return f"{known[0]}({code})" if known else f"code {code}"


def decode_header(kind: type[H], command: Command) -> H:
    """The fields of ``command`` as an instance of ``kind``.

    Raises PeerError INVALID_PARAMETER that names the field, its value and what is allowed.
    """
    return _convert(kind, command.ext, command.code)


def decode_send_header(command: Command) -> SendMessage:
    """The header of SEND_MESSAGE, or of its one-letter form."""
    if command.code == Code.SEND_MESSAGE:
        return _convert(SendMessage, command.ext, command.code)
    fields = command.ext
    named = {name: fields[letter] for letter, name in SEND_V2_LETTERS.items() if letter in fields}
    return _convert(SendMessage, named, command.code)


def _convert(kind: type[H], ext: dict[str, str], code: int) -> H:
    try:
        header = msgspec.convert(ext, kind, strict=False)
    except msgspec.ValidationError as error:
        raise PeerError(ResponseCode.INVALID_PARAMETER, _explain(str(error), kind, ext, code)) from None
    for field in _integer_fields(kind):
        value = ext.get(field)
        # msgspec takes any number of JSON that is whole, such as 1e3 and 1.0; Java takes digits only.
        if value is not None and not value.isdecimal() and _NOT_DIGITS.search(value):
            raise PeerError(ResponseCode.INVALID_PARAMETER, _explain_value(kind, field, value, code))
    return header


@cache
def _integer_fields(kind: type[Header]) -> tuple[str, ...]:
    """The names on the wire of the fields that are whole numbers."""
    fields = msgspec.structs.fields(kind)
    return tuple(field.encode_name for field in fields if _number_form(field.type) is not None)


def _number_form(kind: object) -> msgspec.inspect.IntType | None:
    form = msgspec.inspect.type_info(kind)
    for part in form.types if isinstance(form, msgspec.inspect.UnionType) else (form,):
        if isinstance(part, msgspec.inspect.IntType):
            return part
    return None


def _explain(error: str, kind: type[Header], ext: dict[str, str], code: int) -> str:
    missing = _MISSING.search(error)
    if missing:
        return f"{request_name(code)}: header field {missing.group(1)} is missing"
    path = _FIELD_PATH.search(error)
    if path is None:
        return f"{request_name(code)}: {error}"
    field = path.group(1)
    return _explain_value(kind, field, ext.get(field, ""), code)


def _explain_value(kind: type[Header], field: str, value: str, code: int) -> str:
    return f"{request_name(code)}: header field {field}={value[:80]!r}, allowed: {_allowed(kind, field)}"


def _allowed(kind: type[Header], field_name: str) -> str:
    """What the value of a field must be, in words."""
    field = next(field for field in msgspec.structs.fields(kind) if field.encode_name == field_name)
    number = _number_form(field.type)
    if number is not None:
        return f"a whole number from {number.ge} to {number.le}"
    form = msgspec.inspect.type_info(field.type)
    for part in form.types if isinstance(form, msgspec.inspect.UnionType) else (form,):
        if isinstance(part, msgspec.inspect.BoolType):
            return "true or false"
    return "text"


def encode_header(header: Header) -> dict[str, str]:
    """``header`` as extension fields; fields that are None are left out."""
    fields: dict[str, str] = {}
    for name, value in zip(header.__struct_encode_fields__, msgspec.structs.astuple(header), strict=True):
        if value is None:
            continue
        if isinstance(value, bool):
            fields[name] = "true" if value else "false"
        else:
            fields[name] = str(value)
    return fields


def request(code: int, header: Header | None = None, body: bytes = b"") -> Command:
    """A request of ours; the connection that sends it gives it its opaque."""
    command = Command(code)
    if header is not None:
        command.ext = encode_header(header)
    command.body = body
    return command


def oneway(code: int, header: Header | None = None, body: bytes = b"") -> Command:
    """A request that nobody answers."""
    command = request(code, header, body)
    command.flag = FLAG_ONEWAY
    return command


def response(
    code: int = ResponseCode.SUCCESS,
    remark: str | None = None,
    header: Header | None = None,
    body: bytes = b"",
) -> Command:
    """An answer; the connection adds the request's opaque and header encoding."""
    command = Command(code)
    command.flag = FLAG_RESPONSE
    command.remark = remark
    if header is not None:
        command.ext = encode_header(header)
    command.body = body
    return command


def json_response(value: object) -> Command:
    """SUCCESS with ``value`` as standard JSON in the body."""
    return response(body=encode_json(value))


def decode_body(kind: type[T], command: Command) -> T:
    """The JSON body of ``command`` as ``kind``.

    Raises PeerError INVALID_PARAMETER that names what does not fit.
    """
    try:
        return decode_json(kind, command.body)
    except JsonError as error:
        size = len(command.body)
        remark = f"{request_name(command.code)}: body of {size} bytes is not as expected: {error}"
        raise PeerError(ResponseCode.INVALID_PARAMETER, remark) from None
