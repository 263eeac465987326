"""The header fields of requests to a broker and of its answers.

Source: the ``*RequestHeader`` and ``*ResponseHeader`` classes of RocketMQ 5.5.0 that the table of
:mod:`ledgermq.remoting.requests` names by their codes.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ledgermq.remoting.codes import RequestCode
from ledgermq.remoting.command import Command
from ledgermq.remoting.headers import I32, I64, Header, decode_fields

# ---- send ------------------------------------------------------------------------------------


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


def decode_send_header(command: Command) -> SendMessage:
    """The header of SEND_MESSAGE, or of its one-letter form."""
    if command.code == RequestCode.SEND_MESSAGE:
        return decode_fields(SendMessage, command.ext, command.code)
    fields = command.ext
    named = {name: fields[letter] for letter, name in SEND_V2_LETTERS.items() if letter in fields}
    return decode_fields(SendMessage, named, command.code)


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


# ---- pull and offsets --------------------------------------------------------------------------


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


# ---- query and clients ---------------------------------------------------------------------------


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


# ---- administration --------------------------------------------------------------------------------


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
