"""Brokers whose commit log is a DLedger group's."""

from __future__ import annotations

import asyncio
import shutil
import socket
from functools import partial
from pathlib import Path

import pytest
from tests.integration.broker.asking import GROUP, TOPIC, Asked, asking, run, settings_for
from tests.integration.broker.groups import BrokerGroup, group_of, until
from tests.integration.broker.messages import (
    SUBSCRIPTION,
    SUSPEND,
    bodies,
    pull,
    pulled,
    records,
    refused,
    sent,
    unit,
)

from ledgermq.broker.broker import Broker
from ledgermq.broker.metadata_records import OffsetsRecord, TopicsRecord
from ledgermq.remoting.codes import RequestCode, ResponseCode
from ledgermq.remoting.topic_config import TopicConfig
from ledgermq.store.errors import StoreError

pytestmark = pytest.mark.slow


def ends(asked: Asked) -> dict[tuple[str, int], tuple[int, int]]:
    """Of every queue with messages: its first offset and its end."""
    return {
        (queue.topic.decode(), int(queue.queue_id)): (int(queue.min_offset), int(queue.max_offset))
        for queue in asked.broker.store.queues.all()
        if queue.max_offset > 0
    }


async def ends_are_equal(group: BrokerGroup) -> None:
    await group.settled()
    first, *others = [ends(asked) for asked in group.running.values()]
    for other in others:
        assert other == first


def test_every_member_has_the_same_queues_and_only_the_master_takes_messages(tmp_path: Path) -> None:
    async def test() -> None:
        async with group_of(tmp_path) as group:
            master = await group.master()
            await master.create_topic(queues=2)
            await master.create_group()
            offsets = [(await sent(master, queueId=n % 2, body=b"%d" % n))["queueOffset"] for n in range(10)]
            assert offsets == [str(n // 2) for n in range(10)]
            await sent(master, TOPIC, unit(b"x") * 5, code=RequestCode.SEND_BATCH_MESSAGE, queueId=1)
            await ends_are_equal(group)
            for asked in group.running.values():
                assert await bodies(asked, queue_id=0) == [b"0", b"2", b"4", b"6", b"8"]
                assert await bodies(asked, queue_id=1) == [b"1", b"3", b"5", b"7", b"9"] + [b"x"] * 5
                if asked is not master:
                    code, remark = await refused(asked)
                    assert code == ResponseCode.SERVICE_NOT_AVAILABLE
                    assert "slave" in remark

    run(test(), 60)


def test_a_new_master_knows_what_the_old_one_acknowledged(tmp_path: Path) -> None:
    async def test() -> None:
        async with group_of(tmp_path) as group:
            master = await group.master()
            await master.create_topic("Made", queues=3, attributes="+message.type=FIFO")
            await master.create_group()
            await sent(master, body=b"first")
            assert (await master.commit(1)).code == 0
            old = group.name_of(master)
            log = master.broker.store
            logged = log.max_log_offset
            await until(lambda: log.max_log_offset > logged)  # progress is logged twice a second
            await group.settled()
            await group.stop(old)
            master = await group.master()
            broker = master.broker
            assert broker.topics.get("Made").attributes == {"message.type": "FIFO"}
            assert broker.groups.find(GROUP) is not None
            assert broker.offsets.consumed(GROUP, TOPIC, 0) == 1
            assert (await sent(master, body=b"second"))["queueOffset"] == "1"
            await group.start(old)
            await ends_are_equal(group)
            assert await bodies(group.running[old]) == [b"first", b"second"]

    run(test(), 60)


def test_everything_is_there_after_all_have_stopped(tmp_path: Path) -> None:
    async def test() -> None:
        async with group_of(tmp_path) as group:
            master = await group.master()
            await master.create_topic("Made", queues=3)
            await master.create_group()
            for n in range(5):
                await sent(master, body=b"%d" % n)
            await group.stop()
            await group.start()
            master = await group.settled()
            assert master.broker.topics.find("Made") is not None
            assert await bodies(master) == [b"%d" % n for n in range(5)]
            assert (await sent(master))["queueOffset"] == "5"
            await ends_are_equal(group)

    run(test(), 60)


def test_progress_told_to_a_slave_reaches_the_master(tmp_path: Path) -> None:
    """A client that has not heard of the new master goes on telling the old one."""

    async def test() -> None:
        async with group_of(tmp_path) as group:
            master = await group.master()
            await master.create_topic()
            await master.create_group()
            await sent(master)
            await group.settled()
            slave = next(asked for asked in group.running.values() if asked is not master)
            assert (await slave.commit(1)).code == 0
            assert master.broker.offsets.consumed(GROUP, TOPIC, 0) == 1
            asked = partial(
                slave.ask, RequestCode.QUERY_CONSUMER_OFFSET, consumerGroup=GROUP, topic=TOPIC, queueId=0
            )
            assert (await asked()).ext["offset"] == "1", "though the slave does not know it yet"
            await until(partial(slave.broker.offsets.queues, GROUP, TOPIC))
            await group.stop(*(name for name, one in group.running.items() if one is not slave))
            assert (await asked()).ext["offset"] == "1", "what it knows is better than nothing"

    run(test(), 60)


def test_a_slave_knows_its_consumers_and_leaves_their_offsets_to_the_master(tmp_path: Path) -> None:
    async def test() -> None:
        async with group_of(tmp_path) as group:
            master = await group.master()
            await master.create_topic()
            await master.create_group()
            await group.settled()
            slave = next(asked for asked in group.running.values() if asked is not master)
            assert (await slave.heart_beat()).code == 0  # though the group has no retry topic yet
            assert GROUP in slave.broker.clients.consumer_groups
            reset = {"group": GROUP, "timestamp": -1, "isForce": "true"}
            clone = {"srcGroup": GROUP, "destGroup": "copy"}
            for request, fields in (
                (RequestCode.INVOKE_BROKER_TO_RESET_OFFSET, reset),
                (RequestCode.CLONE_GROUP_OFFSET, clone),
            ):
                code, remark = await slave.refused(request, topic=TOPIC, **fields)
                assert code == ResponseCode.SERVICE_NOT_AVAILABLE
                assert "offsets are changed by the leader" in remark

    run(test(), 60)


def test_a_slave_moves_no_consumer_to_what_it_has_itself(tmp_path: Path) -> None:
    """It may be behind its master, or begin behind it; the offset that a stock client is told becomes the
    group's."""

    async def test() -> None:
        async with group_of(tmp_path) as group:
            master = await group.master()
            await master.create_topic()
            await master.create_group()
            for n in range(5):
                await sent(master, body=b"%d" % n)
            await group.settled()
            slave = next(asked for asked in group.running.values() if asked is not master)
            queue = slave.broker.store.find_queue(TOPIC.encode(), 0)
            assert queue is not None
            queue.min_offset = 3  # as behind a snapshot
            for queue_id, offset, code in (
                (0, 7, ResponseCode.PULL_NOT_FOUND),
                (1, 2, ResponseCode.PULL_NOT_FOUND),
                (0, 1, ResponseCode.PULL_RETRY_IMMEDIATELY),
            ):
                answer = await pull(slave, queue_id=queue_id, offset=offset)
                assert answer.code == code
                assert answer.ext["nextBeginOffset"] == str(offset)
                assert answer.ext["suggestWhichBrokerId"] == "0"
            assert (await pull(master, offset=7)).code == ResponseCode.PULL_OFFSET_MOVED
            assert len(await pulled(slave, offset=3)) == 2
            waiting = asyncio.create_task(
                pull(slave, offset=7, sysFlag=SUSPEND | SUBSCRIPTION, suspendTimeoutMillis=30_000)
            )
            await until(lambda: slave.broker._pulls.parked.count == 1)
            for n in range(5, 8):
                await sent(master, body=b"%d" % n)
            assert [record.body for record in records(await waiting)] == [b"7"]

    run(test(), 60)


@pytest.mark.parametrize(
    "body", [b'{"kind":"master"', b'{"kind":"master","address":1}', b'{"kind":"master\xff']
)
def test_a_damaged_record_of_the_metadata_stops_nobody(tmp_path: Path, body: bytes) -> None:
    """Through a Java master anybody can send to that topic."""

    async def test() -> None:
        async with group_of(tmp_path) as group:
            master = await group.master()
            await master.create_group()  # a pull makes it at the master only, and who that is may change
            master.broker._metadata.append(body)
            await sent(master, body=b"behind it")
            await group.settled()
            await group.stop()
            await group.start()
            assert await bodies(await group.settled()) == [b"behind it"]

    run(test(), 60)


def test_a_consumer_misses_nothing_of_queues_that_a_topic_gets(tmp_path: Path) -> None:
    """They are not known to it when the first messages come: it is to begin with these, wherever it begins
    with a topic that is new to it."""

    async def test() -> None:
        async with group_of(tmp_path) as group:
            master = await group.master()
            await master.create_topic(queues=1)
            await master.create_group()
            await sent(master)
            assert (await master.commit(1)).code == 0
            await master.create_topic(queues=2)
            await sent(master, queueId=1, body=b"before it knew")
            await group.settled()
            await group.stop(group.name_of(master))
            master = await group.master()
            answer = await master.ask(
                RequestCode.QUERY_CONSUMER_OFFSET, consumerGroup=GROUP, topic=TOPIC, queueId=1
            )
            assert (answer.code, answer.ext["offset"]) == (0, "0")
            assert await bodies(master, queue_id=1) == [b"before it knew"]

    run(test(), 60)


def test_a_master_that_stops_hands_over(tmp_path: Path) -> None:
    async def test() -> None:
        async with group_of(tmp_path, preferred_leader_id="n1") as group:
            await until(lambda: group.running["n1"].broker.is_master)
            master = await group.settled()
            await master.create_topic()
            await master.create_group()
            await sent(master, body=b"first")
            await master.commit(1)
            await group.stop("n1")
            master = await group.master()
            assert master.broker.offsets.consumed(GROUP, TOPIC, 0) == 1
            assert (await sent(master, body=b"second"))["queueOffset"] == "1"

    run(test(), 60)


def test_a_deleted_topic_is_deleted_everywhere_and_begins_anew(tmp_path: Path) -> None:
    async def test() -> None:
        async with group_of(tmp_path) as group:
            master = await group.master()
            await master.create_topic()
            await master.create_group()
            await sent(master, body=b"old")
            assert (await master.ask(RequestCode.DELETE_TOPIC_IN_BROKER, topic=TOPIC)).code == 0
            await group.settled()
            for asked in group.running.values():
                assert asked.broker.topics.find(TOPIC) is None
                assert asked.broker.store.find_queue(TOPIC.encode(), 0) is None
            await master.create_topic()
            assert (await sent(master, body=b"new"))["queueOffset"] == "0"
            await group.stop()
            await group.start()
            await ends_are_equal(group)
            assert await bodies(await group.master()) == [b"new"]

    run(test(), 60)


def test_offsets_that_were_deleted_are_gone_at_the_next_master_too(tmp_path: Path) -> None:
    async def test() -> None:
        async with group_of(tmp_path) as group:
            master = await group.master()
            await master.create_group()
            state = master.broker._journal.state
            pair = f"{TOPIC}@{GROUP}"

            async def consumed() -> None:
                await master.create_topic()
                await master.commit(5)
                await until(lambda: pair in state.offsets)
                await master.commit(6)

            await consumed()
            assert (await master.ask(RequestCode.DELETE_TOPIC_IN_BROKER, topic=TOPIC)).code == 0
            assert pair not in state.offsets  # what every master to come begins with
            await consumed()
            deletion = RequestCode.DELETE_SUBSCRIPTIONGROUP
            assert (await master.ask(deletion, groupName=GROUP, cleanOffset="true")).code == 0
            assert pair not in state.offsets

    run(test(), 60)


def test_what_a_java_master_told_outlives_a_restart(tmp_path: Path) -> None:
    """No record states it: the state file is all there is of it."""

    async def test() -> None:
        async with group_of(tmp_path) as group:
            await group.settled()
            name = next(name for name, asked in group.running.items() if not asked.broker.is_master)
            await group.stop(name)
            await group.start(name)  # its state file has all that the log states
            journal = group.running[name].broker._journal
            version = journal.state.topics_version
            journal.adopt(TopicsRecord(version=version, items={"Told": TopicConfig(topic_name="Told")}))
            journal.adopt(OffsetsRecord(version=version, items={f"Told@{GROUP}": {0: 100}}))
            await group.stop(name)
            await group.start(name)
            slave = group.running[name].broker
            assert slave.topics.find("Told") is not None
            assert slave.offsets.consumed(GROUP, "Told", 0) == 100
            assert slave._journal.unstated

    run(test(), 60)


def test_the_state_file_is_not_ahead_of_deletions_that_fail(tmp_path: Path) -> None:
    def fail() -> None:
        raise StoreError("no space left on device")

    async def test() -> None:
        async with group_of(tmp_path) as group:
            master = await group.settled()
            name = next(name for name, asked in group.running.items() if not asked.broker.is_master)
            slave = group.running[name].broker
            store = slave._metadata._store
            delete = store.topics_deleted
            store.topics_deleted = lambda topics, before: [fail, *delete(topics, before)]  # type: ignore[method-assign]
            await master.create_topic()
            await sent(master)
            assert (await master.ask(RequestCode.DELETE_TOPIC_IN_BROKER, topic=TOPIC)).code == 0
            await group.settled()
            file = tmp_path / name / "config" / "replicatedMetadata.json"
            before = file.read_bytes()
            await group.stop(name)
            assert file.read_bytes() == before
            await group.start(name)
            await ends_are_equal(group)

    run(test(), 60)


def test_a_state_file_that_cannot_be_written_does_not_keep_a_broker_from_stopping(tmp_path: Path) -> None:
    def fail(data: bytes) -> None:
        raise OSError("no space left on device")

    async def test() -> None:
        async with group_of(tmp_path) as group:
            master = await group.settled()
            for asked in group.running.values():
                asked.broker._metadata._write = fail  # type: ignore[method-assign]
            await master.create_topic("Made")
            await group.stop()
            await group.start()
            master = await group.settled()
            assert master.broker.topics.find("Made") is not None

    run(test(), 60)


def test_old_files_go_and_an_empty_replica_begins_with_a_snapshot(tmp_path: Path) -> None:
    async def test() -> None:
        async with group_of(tmp_path, mapped_file_size_commit_log=64 * 1024) as group:
            master = await group.master()
            await master.create_topic(queues=2)
            await master.create_group()
            await sent(master, queueId=1, body=b"only one in this queue")
            for n in range(100):
                await sent(master, body=b"%4d" % n + bytes(4000))
            assert (await master.commit(50)).code == 0
            node = group.running[group.name_of(master)].broker
            await group.settled()
            member = node._group
            assert member is not None
            member.node.delete_before(member.node.commit_index)
            await until(lambda: master.broker.store.find_queue(TOPIC.encode(), 0).min_offset > 0)  # type: ignore[union-attr]  # it is there
            first = master.broker.store.find_queue(TOPIC.encode(), 0)
            assert first is not None
            assert (await pulled(master, queue_id=0, offset=int(first.min_offset)))[0].body[:4] == (
                b"%4d" % first.min_offset
            )
            slave = next(name for name, asked in group.running.items() if asked is not master)
            await group.stop(slave)
            shutil.rmtree(tmp_path / slave)
            for n in range(100, 120):
                await sent(master, body=b"%4d" % n + bytes(4000))
            await group.start(slave)
            master = await group.settled()
            for round_number in range(2):
                new = group.running[slave].broker
                queue = new.store.find_queue(TOPIC.encode(), 0)
                single = new.store.find_queue(TOPIC.encode(), 1)
                assert queue is not None
                assert single is not None
                assert queue.max_offset == 120, round_number
                assert (single.min_offset, single.max_offset) == (1, 1)
                assert new.topics.get(TOPIC).read_queue_nums == 2
                assert new.groups.find(GROUP) is not None
                await until(partial(new.offsets.consumed, GROUP, TOPIC, 0))
                assert new.offsets.consumed(GROUP, TOPIC, 0) == 50
                await group.stop(slave)
                await group.start(slave)
                await group.settled()

    run(test(), 60)


def test_a_lost_disk_is_replaced_by_a_copy_of_another_members(tmp_path: Path) -> None:
    """As docs/cluster.md says: with all that the log has, which a snapshot has not."""

    async def test() -> None:
        async with group_of(tmp_path, mapped_file_size_commit_log=64 * 1024) as group:
            master = await group.master()
            await master.create_topic(queues=1)
            await master.create_group()
            for n in range(100):
                await sent(master, body=b"%4d" % n + bytes(4000))
            await group.settled()
            await group.stop()
            shutil.rmtree(tmp_path / "n2")
            shutil.copytree(tmp_path / "n1", tmp_path / "n2")
            (tmp_path / "n2" / "dledger-n1").rename(tmp_path / "n2" / "dledger-n2")
            await group.start()
            master = await group.settled()
            await sent(master, body=b" 100")
            await ends_are_equal(group)
            numbers: list[int] = []
            while len(numbers) < 101:
                some = await pulled(group.running["n2"], offset=len(numbers))
                assert some, numbers
                numbers += [int(record.body[:4]) for record in some]
            assert numbers == list(range(101))

    run(test(), 60)


def test_a_master_with_its_slave_becomes_a_group_in_place(tmp_path: Path) -> None:
    async def test() -> None:
        async with asking(tmp_path / "n0") as alone:
            await alone.create_topic("Made", queues=3)
            await alone.create_group()
            for n in range(5):
                await sent(alone, body=b"%d" % n)
            assert (await alone.commit(3)).code == 0
        for other in ("n1", "n2"):
            shutil.copytree(tmp_path / "n0", tmp_path / other)
        async with group_of(tmp_path) as group:
            master = await group.master()
            assert await bodies(master) == [b"%d" % n for n in range(5)]
            assert (await sent(master, body=b"5"))["queueOffset"] == "5"
            await ends_are_equal(group)
            for asked in group.running.values():
                assert await bodies(asked) == [b"%d" % n for n in range(6)]
                assert asked.broker.topics.get("Made").read_queue_nums == 3
                assert asked.broker.offsets.consumed(GROUP, TOPIC, 0) == 3
            await group.stop()
            await group.start()
            master = await group.master()
            assert await bodies(master) == [b"%d" % n for n in range(6)]
            assert (await sent(master, body=b"6"))["queueOffset"] == "6"
        with pytest.raises(StoreError, match="enableDLegerCommitLog=true"):
            await Broker(settings_for(tmp_path / "n0")).start()

    run(test(), 60)


def test_a_start_that_failed_can_be_tried_again(tmp_path: Path) -> None:
    async def test() -> None:
        async with group_of(tmp_path, size=1) as group:
            port = (await group.master()).broker.settings.store.dleger_peers.rpartition(":")[2]
            await group.stop()
            with socket.create_server(("127.0.0.1", int(port))), pytest.raises(OSError, match="in use"):
                await group.start()
            topics = tmp_path / "n0" / "config" / "topics.json"
            topics.write_bytes(b"{")
            with pytest.raises(ValueError, match=r"topics\.json"):
                await group.start()
            topics.unlink()
            await group.start()
            assert (await sent(await group.master()))["queueOffset"] == "0"

    run(test(), 60)
