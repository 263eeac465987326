"""What a broker knows when it comes back."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.integration.broker.asking import GROUP, TOPIC, Asked, asking, run
from tests.integration.broker.messages import bodies, pull_request, pulled, records, sent, unit

from ledgermq.message.record import Record
from ledgermq.remoting.codes import RequestCode
from ledgermq.store.disk import Disk

ROOT = Path(__file__).parents[3]
RETRY = f"%RETRY%{GROUP}"


async def awaited(broker: Asked, topic: str, offset: int = 0) -> list[Record]:
    request = pull_request(topic, 0, offset, sysFlag=6, suspendTimeoutMillis=15_000)
    return records(await broker.client.invoke(broker.broker.address, request, 20_000))


def test_topics_groups_offsets_and_messages_are_kept(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            await broker.create_topic("Made", queues=3, attributes="+message.type=FIFO", order="true")
            group = {"groupName": GROUP, "retryMaxTimes": 3}
            assert (await broker.ask(RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, body=group)).code == 0
            for n in range(50):
                await sent(broker, body=b"%d" % n, queueId=n % 4)
            await sent(broker, "Made", unit(b"x") * 5, code=RequestCode.SEND_BATCH_MESSAGE, queueId=2)
            assert (await broker.commit(7, 1)).code == 0
        for round_number in range(3):
            async with asking(tmp_path) as broker:
                tables = broker.broker
                assert tables.topics.get("Made").attributes == {"message.type": "FIFO"}
                assert (tables.topics.get("Made").read_queue_nums, tables.topics.get("Made").order) == (
                    3,
                    True,
                )
                found = tables.groups.find(GROUP)
                assert found is not None
                assert found.retry_max_times == 3
                assert tables.offsets.consumed(GROUP, TOPIC, 1) == 7
                for queue_id in range(4):
                    expected = [b"%d" % n for n in range(50) if n % 4 == queue_id]
                    stored = await pulled(broker, TOPIC, queue_id)
                    assert [record.body for record in stored][: len(expected)] == expected
                assert await bodies(broker, "Made", 2) == [b"x"] * 5
                fields = await sent(broker, queueId=3, body=b"more")
                assert fields["queueOffset"] == str(12 + round_number)

    run(test())


@pytest.mark.slow
def test_a_retry_survives_the_broker_and_comes_once(tmp_path: Path) -> None:
    async def test() -> None:
        levels = {"message_delay_level": "0s 1s"}
        async with asking(tmp_path, store=levels) as broker:
            await sent(broker, body=b"work")
            back: dict[str, Any] = {"group": GROUP, "offset": "0"}
            for level in (1, 2):
                answer = await broker.ask(RequestCode.CONSUMER_SEND_MSG_BACK, **back, delayLevel=level)
                assert answer.code == 0
            assert [record.reconsume_times for record in await awaited(broker, RETRY)] == [1]
        saved = json.loads((tmp_path / "config" / "delayOffset.json").read_text().replace("1:1", '"1":1'))
        assert saved["offsetTable"]["1"] == 1
        async with asking(tmp_path, store=levels) as broker:
            assert len(await awaited(broker, RETRY, 1)) == 1
            assert await bodies(broker, RETRY) == [b"work"] * 2
        async with asking(tmp_path, store=levels) as broker:
            assert await bodies(broker, RETRY) == [b"work"] * 2
            assert broker.broker._scheduler.offsets == {1: 1, 2: 1}

    run(test())


@pytest.mark.slow
def test_a_broker_that_was_killed_gives_its_directory_free(tmp_path: Path) -> None:
    """A live process keeps it, whatever the lock file says; a dead one does not."""
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from tests.integration.broker.asking import asking\n"
        "from tests.integration.broker.messages import sent\n"
        "async def main():\n"
        "    async with asking(Path(sys.argv[1])) as broker:\n"
        "        await sent(broker, body=b'from the other process')\n"
        "        print('up', flush=True)\n"
        "        await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )

    async def test() -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, str(tmp_path), cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        try:
            assert process.stdout is not None
            assert await process.stdout.readline() == b"up\n"
            with pytest.raises(Exception, match=rf"pid {process.pid}\)"):
                async with asking(tmp_path):
                    pass
        finally:
            process.send_signal(signal.SIGKILL)
            await process.wait()
        async with asking(tmp_path) as broker:
            assert await bodies(broker) == [b"from the other process"]
            assert (await sent(broker))["queueOffset"] == "1"

    run(test(), 60)


class AfterPowerFailure(Disk):
    """Another kernel runs than the one that took the writes."""

    def boot_id(self) -> str:
        return "another"


def test_progress_ahead_of_the_log_is_taken_back_after_a_power_failure(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path) as broker:
            await broker.create_topic()
            await broker.create_group()
            for _ in range(3):
                await broker.send()
            assert (await broker.commit(1000)).code == 0
            assert (await broker.commit(1000, queue_id=1)).code == 0
        async with asking(tmp_path) as broker:
            assert broker.broker.offsets.queues(GROUP, TOPIC) == {0: 1000, 1: 1000}, "as it was committed"
        (tmp_path / "abort").touch()
        async with asking(tmp_path, disk=AfterPowerFailure()) as broker:
            assert broker.broker.offsets.queues(GROUP, TOPIC) == {0: 3, 1: 0}
        async with asking(tmp_path) as broker:
            assert broker.broker.offsets.queues(GROUP, TOPIC) == {0: 3, 1: 0}, "it is on disk"

    run(test())
