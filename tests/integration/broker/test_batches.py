"""Batches over the wire: stored whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.integration.broker.asking import TOPIC, asking, run
from tests.integration.broker.messages import bodies, properties_of, pulled, refused, sent, unit

from ledgermq.remoting.codes import RequestCode, ResponseCode

SEND, SEND_V2, SEND_BATCH = (
    RequestCode.SEND_MESSAGE,
    RequestCode.SEND_MESSAGE_V2,
    RequestCode.SEND_BATCH_MESSAGE,
)
UNITS = unit(b"one", b"UNIQ_KEY\x01A\x02TAGS\x01t\x02", 5) + unit(b"two", b"UNIQ_KEY\x01B") + unit(b"")


@pytest.mark.parametrize("binary", [False, True], ids=["json", "binary"])
@pytest.mark.parametrize("code", [SEND, SEND_V2, SEND_BATCH])
def test_a_batch_is_stored_and_answered_as_java_does(tmp_path: Path, code: int, binary: bool) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            for n in range(3):
                fields = await sent(
                    broker,
                    body=UNITS,
                    code=code,
                    binary=binary,
                    batch="true",
                    properties={"UNIQ_KEY": "BATCH", "WAIT": "true"},
                    sysFlag=0x200,
                )
                found = await pulled(broker, TOPIC, 0, 3 * n)
                assert [record.body for record in found] == [b"one", b"two", b""]
                ids = fields.pop("msgId").split(",")
                assert [int(text[16:], 16) for text in ids] == [record.log_offset for record in found]
                assert fields == {
                    "queueId": "0",
                    "queueOffset": str(3 * n),
                    "transactionId": "BATCH",
                    "MSG_REGION": "DefaultRegion",
                    "TRACE_ON": "true",
                }
                assert [record.queue_offset for record in found] == [3 * n, 3 * n + 1, 3 * n + 2]
                assert [record.flag for record in found] == [5, 0, 0]
                assert {record.sys_flag for record in found} == {0x200}
                stored = [properties_of(record) for record in found]
                assert stored == [{"UNIQ_KEY": "A", "TAGS": "t"}, {"UNIQ_KEY": "B"}, {}]

    run(test())


def test_a_batch_without_a_key_has_none_in_its_answer(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            given: list[dict[str, str] | None] = [{}, {}, None]
            for properties in given:
                fields = await sent(broker, body=UNITS, code=SEND_BATCH, properties=properties)
                assert "transactionId" not in fields

    run(test())


WHOLE = unit(b"good", b"a\x01b\x02")
BROKEN = {
    "cut in the head": WHOLE[:21],
    "cut in the body": WHOLE[:22],
    "cut in the properties": WHOLE[:-1],
    "a byte behind": WHOLE + b"\0",
    "size zero": unit(b"x", size=0),
    "size negative": unit(b"x", size=-1),
    "size too small": unit(b"x", size=22),
    "size too large": unit(b"x", size=24),
    "body length negative": unit(b"x", body_bytes=-1),
    "body length too large": unit(b"x", body_bytes=2),
    "body length enormous": unit(b"x", body_bytes=2**31 - 1),
    "properties length negative": unit(b"x", b"p", properties_bytes=-1),
    "properties length too large": unit(b"x", b"p", properties_bytes=2),
    "not a batch": b"hello, I am no batch at all",
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_a_malformed_batch_is_refused_whole(tmp_path: Path, broken: bytes) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            for _ in range(2):  # The general way, then the fast one.
                for code in (SEND, SEND_V2, SEND_BATCH):
                    for body in (broken, WHOLE + broken):
                        number, remark = await refused(broker, body=body, code=code, batch="true")
                        assert number == ResponseCode.MESSAGE_ILLEGAL
                        assert remark.startswith("batch unit at ")
                await sent(broker, body=WHOLE, code=SEND_BATCH)
            assert await bodies(broker) == [b"good", b"good"]

    run(test())


def test_a_batch_must_fit_a_file_of_the_log(tmp_path: Path) -> None:
    async def test() -> None:
        small = {"mapped_file_size_commit_log": 64 * 1024, "max_message_size": 60_000}
        async with asking(tmp_path, store=small) as broker:
            await sent(broker, body=unit(bytes(1000)) * 50, code=SEND_BATCH)
            for _ in range(2):
                number, remark = await refused(broker, body=unit(b"") * 700, code=SEND_BATCH)
                assert number == ResponseCode.MESSAGE_ILLEGAL
                assert "does not fit a commit log file" in remark
            await sent(broker, body=unit(bytes(1000)) * 50, code=SEND_BATCH)
            assert broker.broker.store.queue(TOPIC.encode(), 0).max_offset == 100

    run(test())


def test_a_batch_to_a_retry_topic_is_refused(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            for code in (SEND, SEND_V2, SEND_BATCH):
                number, remark = await refused(broker, "%RETRY%g", UNITS, code=code, batch="true")
                assert number == ResponseCode.MESSAGE_ILLEGAL
                assert "retry topic" in remark
                number, remark = await refused(broker, "%DLQ%" + "g" * 200, UNITS, code=code, batch="true")
                assert number == ResponseCode.MESSAGE_ILLEGAL
                assert "205 characters" in remark

    run(test())


def test_a_transactional_batch_is_refused(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            await sent(broker, body=UNITS, code=SEND_BATCH)
            for flag in (4, 12, 0x80):
                number, _ = await refused(broker, body=UNITS, code=SEND_BATCH, sysFlag=flag)
                assert number == ResponseCode.MESSAGE_ILLEGAL

    run(test())
