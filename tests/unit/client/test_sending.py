from collections import Counter

import pytest

from ledgermq.client.broker_health import BrokerHealth
from ledgermq.client.errors import IllegalMessageError, IllegalNameError
from ledgermq.client.queues import MessageQueue
from ledgermq.client.sending import (
    RoundRobin,
    SendFields,
    SendStatus,
    check_message,
    make_batch,
    make_outgoing,
    read_receipt,
    send_command,
    sharded_queue,
)
from ledgermq.message.batch import decode_batch
from ledgermq.message.compression import Compression, decompress
from ledgermq.message.model import Message
from ledgermq.remoting.broker_headers import SEND_V2_LETTERS, SendMessageReply, decode_send_header

QUEUE = MessageQueue("t", "a", 2)
FIELDS = SendFields("TBW102", 4, 1234)


def test_a_request_has_javas_fields() -> None:
    outgoing = make_outgoing(Message("t", b"body", tags="x", flag=3), "KEY", None, 1)
    command = send_command(outgoing, QUEUE, "group", FIELDS)
    assert command.code == 310
    assert command.body == b"body"
    assert set(command.ext) <= set(SEND_V2_LETTERS)
    header = decode_send_header(command)
    assert (header.producer_group, header.topic, header.queue_id) == ("group", "t", 2)
    assert (header.default_topic, header.default_topic_queue_nums) == ("TBW102", 4)
    assert (header.born_timestamp, header.flag, header.sys_flag) == (1234, 3, 0)
    assert header.properties == "TAGS\x01x\x02UNIQ_KEY\x01KEY\x02"
    assert (header.batch, header.unit_mode, header.reconsume_times) == (False, False, 0)
    assert (header.max_reconsume_times, header.broker_name) == (None, "a")


def test_a_message_keeps_a_unique_key_of_its_own() -> None:
    outgoing = make_outgoing(Message("t", b"x", properties={"UNIQ_KEY": "mine"}), "KEY", None, 1)
    assert outgoing.message_ids == ("mine",)


def test_large_bodies_are_compressed() -> None:
    small = make_outgoing(Message("t", b"x" * 99), "K", Compression.ZLIB, 100)
    large = make_outgoing(Message("t", b"x" * 100), "K", Compression.ZLIB, 100)
    assert (small.sys_flag, small.body) == (0, b"x" * 99)
    assert large.sys_flag == 0x301
    assert decompress(large.body, large.sys_flag) == b"x" * 100


def test_a_batch() -> None:
    messages = [Message("t", b"%d" % n, tags="x", flag=n) for n in range(3)]
    outgoing = make_batch(messages, ["k0", "k1", "k2"], 1000)
    assert outgoing.message_ids == ("k0", "k1", "k2")
    command = send_command(outgoing, QUEUE, "group", FIELDS)
    assert command.code == 320
    assert decode_send_header(command).batch
    units = decode_batch(command.body)
    assert [unit.body for unit in units] == [b"0", b"1", b"2"]
    assert [unit.flag for unit in units] == [0, 1, 2]
    assert units[1].properties == b"TAGS\x01x\x02UNIQ_KEY\x01k1\x02"


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([Message("t", b"x"), Message("u", b"x")], "one topic, not t and u"),
        ([Message("t", b"x", sharding_key="1"), Message("t", b"x")], "one sharding key"),
        ([Message("t", b"x", delay_level=1)], "delay level"),
        ([Message("%RETRY%g", b"x")], "retry topic"),
        ([Message("t", b"x", properties={"WAIT": "false"}), Message("t", b"x")], "one WAIT property"),
        ([Message("t", b"x" * 600)] * 2, "send it in parts"),
        ([Message("t", b"x", properties={"a": "b" * 40000})], "properties of 40"),
    ],
)
def test_what_cannot_stand_in_a_batch(messages: list[Message], reason: str) -> None:
    with pytest.raises(IllegalMessageError, match=reason):
        make_batch(messages, ["k"] * len(messages), 1000)


def test_messages_are_checked() -> None:
    check_message(Message("t", b"x" * 10), 10)
    with pytest.raises(IllegalMessageError, match="11 bytes, at most 10"):
        check_message(Message("t", b"x" * 11), 10)
    with pytest.raises(IllegalMessageError, match="empty body"):
        check_message(Message("t", b""), 10)
    with pytest.raises(IllegalMessageError, match="broker alone"):
        check_message(Message("RMQ_SYS_TRANS_HALF_TOPIC", b"x"), 10)
    with pytest.raises(IllegalNameError):
        check_message(Message("no topic", b"x"), 10)
    with pytest.raises(IllegalMessageError, match="properties of 40"):
        make_outgoing(Message("t", b"x", properties={"a": "b" * 40000}), "K", None, 1)


def test_a_receipt() -> None:
    outgoing = make_batch([Message("t", b"x")] * 2, ["k0", "k1"], 1000)
    reply = SendMessageReply(msg_id="A,B", queue_id=1, queue_offset=7)
    receipt = read_receipt(outgoing, QUEUE, 12, reply)
    assert receipt.status is SendStatus.FLUSH_SLAVE_TIMEOUT
    assert receipt.message_ids == ("k0", "k1")
    assert receipt.message_id == "k0"
    assert receipt.offset_message_ids == ("A", "B")
    assert receipt.queue == MessageQueue("t", "a", 1)
    assert receipt.queue_offset == 7


@pytest.mark.parametrize(
    ("key", "hashed"),  # Java's String.hashCode
    [("order-1", -1207111310), ("k", 107), ("é", 233), ("漢字😀", 871797912)],
)
def test_sharding_is_javas(key: str, hashed: int) -> None:
    for count in (1, 4, 7):
        queues = [MessageQueue("t", "a", number) for number in range(count)]
        assert sharded_queue(queues, key).queue_id == abs(hashed) % count


def test_queues_are_taken_in_turn() -> None:
    queues = [MessageQueue("t", broker, number) for broker in "ab" for number in range(2)]
    turn = RoundRobin(BrokerHealth(), 7)
    chosen = [turn.choose(queues, 0, None) for _ in range(8)]
    assert Counter(chosen) == dict.fromkeys(queues, 2)
    assert chosen[0] == queues[3]


def test_failed_and_slow_brokers_are_avoided_while_there_are_others() -> None:
    queues = [MessageQueue("t", broker, number) for broker in "abc" for number in range(2)]
    health = BrokerHealth()
    turn = RoundRobin(health, 0)
    assert {turn.choose(queues, 0, "a").broker_name for _ in range(9)} == {"b", "c"}
    health.record("b", 5000, 0)
    assert {turn.choose(queues, 1, "a").broker_name for _ in range(9)} == {"c"}
    health.record("c", 5000, 0)
    assert {turn.choose(queues, 1, "a").broker_name for _ in range(9)} == {"b", "c"}
    assert {turn.choose(queues[:2], 1, "a").broker_name for _ in range(9)} == {"a"}
