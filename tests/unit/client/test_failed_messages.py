import zlib

from tests.unit.client.messages import received

from ledgermq.client.failed_messages import retry_copy
from ledgermq.message.compression import COMPRESSED
from ledgermq.message.properties import decode_properties


def test_a_copy_tells_the_broker_whose_it_is_and_how_often_it_failed() -> None:
    message = received(5, properties={"UNIQ_KEY": "id", "TRAN_MSG": "true", "RECONSUME_TIME": "9", "a": "b"})
    message.reconsume_times = 2
    copy = retry_copy(message, "%RETRY%g", 16)
    assert decode_properties(copy.properties.encode()) == {
        "UNIQ_KEY": "id",
        "a": "b",
        "ORIGIN_MESSAGE_ID": "id",
        "RETRY_TOPIC": "topic",
        "DELAY": "5",
    }
    assert (copy.topic, copy.body) == ("%RETRY%g", b"body")
    assert (copy.reconsume_times, copy.max_reconsume_times) == (3, 16)


def test_a_copy_of_a_copy_keeps_the_first_id() -> None:
    message = received(5, properties={"ORIGIN_MESSAGE_ID": "first"})
    copy = retry_copy(message, "%RETRY%g", 16)
    assert decode_properties(copy.properties.encode())["ORIGIN_MESSAGE_ID"] == "first"


def test_a_compressed_body_stays_so() -> None:
    message = received(5, body=zlib.compress(b"x" * 100))
    message.sys_flag = 0x301 | 0x10
    copy = retry_copy(message, "%RETRY%g", 16)
    assert (copy.body, copy.sys_flag) == (message.raw_body, 0x301)
    assert message.body == b"x" * 100
    assert retry_copy(message, "%RETRY%g", 16).sys_flag & COMPRESSED == 0
