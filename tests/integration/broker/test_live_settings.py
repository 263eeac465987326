"""Settings changed while the broker runs, as the paths of messages feel them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.integration.broker.asking import TOPIC, Asked, asking, run
from tests.integration.broker.messages import ADDED, bodies, properties_of, pulled, refused, sent

from ledgermq.remoting.codes import RequestCode, ResponseCode

CODES = (RequestCode.SEND_MESSAGE, RequestCode.SEND_MESSAGE_V2)


async def change(broker: Asked, text: str) -> None:
    answer = await broker.ask(RequestCode.UPDATE_BROKER_CONFIG, body=text.encode())
    assert answer.code == ResponseCode.SUCCESS, answer.remark


def test_the_largest_message(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            await sent(broker, body=bytes(5000))
            await change(broker, "maxMessageSize=4999")
            for code in CODES:
                for _ in range(2):
                    number, remark = await refused(broker, code=code, body=bytes(5000))
                    assert number == ResponseCode.MESSAGE_ILLEGAL
                    assert "maxMessageSize=4999" in remark
                    await sent(broker, code=code, body=bytes(4999))
            await change(broker, "maxMessageSize=5000")
            for code in CODES:
                await sent(broker, code=code, body=bytes(5000))
            number, remark = await broker.refused(
                RequestCode.UPDATE_BROKER_CONFIG, body=b"maxMessageSize=10000000"
            )
            assert "does not fit a commit-log file" in remark

    run(test())


def test_region_and_trace(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            await sent(broker)
            await change(broker, "traceOn=false\nregionId=elsewhere")
            for binary in (False, True):
                for code in (*CODES, *CODES):
                    fields = await sent(broker, code=code, binary=binary)
                    assert (fields["TRACE_ON"], fields["MSG_REGION"]) == ("false", "elsewhere")
            first, *rest = [properties_of(record) for record in await pulled(broker)]
            assert ADDED.items() <= first.items()
            for properties in rest:
                assert (properties["TRACE_ON"], properties["MSG_REGION"]) == ("false", "elsewhere")

    run(test())


def test_the_permission_of_the_broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without write permission ordered topics take nothing more; others, as in Java, until producers have
    heard of it by their routes."""

    async def test() -> None:
        async with asking(tmp_path) as broker:
            told: list[int] = []
            registrar = broker.broker._registrar
            monkeypatch.setattr(registrar, "register_all", lambda: told.append(1))
            await broker.create_topic("Ordered", order="true")
            for topic in ("Ordered", "Ordered", TOPIC, TOPIC):
                await sent(broker, topic)
            counter = broker.broker.topics.data_version.counter
            await change(broker, "brokerPermission=4")
            assert told
            assert broker.broker.topics.data_version.counter > counter
            for code in CODES:
                for _ in range(2):
                    number, remark = await refused(broker, "Ordered", code=code)
                    assert number == ResponseCode.NO_PERMISSION
                    assert "brokerPermission has no write bit" in remark
                    await sent(broker, TOPIC, code=code)
            await change(broker, "brokerPermission=6")
            for code in CODES:
                await sent(broker, "Ordered", code=code)
            assert len(await bodies(broker, "Ordered")) == 4

    run(test())


def test_automatic_topics(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            await sent(broker)
            await change(broker, "autoCreateTopicEnable=false")
            number, remark = await refused(broker, "Other")
            assert number == ResponseCode.TOPIC_NOT_EXIST
            assert "autoCreateTopicEnable=true" in remark
            await sent(broker)
            await change(broker, "autoCreateTopicEnable=true")
            await sent(broker, "Other")

    run(test())
