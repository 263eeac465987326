"""Three brokers on DLedger with stock Java clients: they form one broker that outlives any of its members.

The scenarios of test_producers.py and test_consumers.py hold for a group as for one broker
(LEDGERMQ_INTEROP_GROUP=1 runs them so); here is what a group adds: what goes on over the death of the leader,
groups of both makers, and members that change makers under load.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.interop.conftest import TARGETS
from tests.interop.harness.cluster import Broker, Cluster, JavaPrograms, Maker, tracebacks
from tests.interop.harness.driver import Driver, Queue, Received, message
from tests.interop.harness.load import running_load
from tests.interop.harness.member_files import check_equal_stores
from tests.interop.harness.programs import eventually
from tests.interop.harness.quorum import GROUP, SMALL_INDEX, Member, Quorum, new_quorum
from tests.ports import free_port

Unique = Callable[[str], str]
StartQuorum = Callable[..., Quorum]


@pytest.fixture(scope="module")
def quorum(
    target: Maker, java: JavaPrograms, json_driver: Driver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Quorum]:
    """One group for the scenarios that leave all members running."""
    folder = tmp_path_factory.mktemp(f"{target}-quorum")
    quorum = new_quorum(folder, java, json_driver, [target] * 3)
    try:
        quorum.start()
        yield quorum
    finally:
        quorum.close()
    assert not tracebacks(folder)


@pytest.fixture
def start_quorum(tmp_path: Path, java: JavaPrograms, driver: Driver) -> Iterator[StartQuorum]:
    """start_quorum("java", "ledgermq", …): a group of its own; ``prepare`` comes before the brokers."""
    groups: list[Quorum] = []

    def start(*makers: Maker, prepare: Callable[[Quorum], None] = lambda quorum: None) -> Quorum:
        quorum = new_quorum(tmp_path, java, driver, makers)
        groups.append(quorum)
        quorum.name_server.start()
        prepare(quorum)
        quorum.start_brokers()
        return quorum

    yield start
    for group in groups:
        group.close()
    assert not tracebacks(tmp_path)


def texts(messages: Sequence[Received]) -> list[str]:
    return [received.body.decode() for received in messages]


def progress(quorum: Quorum, member: Member, group: str, queues: Sequence[Queue]) -> list[int]:
    return [quorum.committed(member, group, queue) for queue in queues]


def send(
    driver: Driver,
    quorum: Quorum,
    topic: str,
    messages: list[dict[str, Any]],
    mode: str = "sync",
    **args: Any,
) -> None:
    """By a new producer: it asks for the route first, and does not try a master that is gone."""
    with driver.producer(quorum.namesrv, "quorum-p") as producer:
        results = producer.send(topic, messages, mode, **args)
    assert {result.status for result in results} == {"SEND_OK"}


def replace_leader(quorum: Quorum) -> Member:
    """kill -9 of the leader and its return as a follower; the new master."""
    old = quorum.wait_for_master()
    old.kill()
    new = quorum.wait_for_master(but=old)
    quorum.start_brokers([old])
    return new


def test_all_ways_of_sending_and_both_encodings(
    either_driver: Driver, quorum: Quorum, unique: Unique
) -> None:
    queues = quorum.new_topic(unique("ways"), 4)
    topic, driver = queues[0].topic, either_driver
    expected = Counter(f"{mode}{i}" for mode in ("sync", "async", "oneway", "batch") for i in range(20))
    with (
        driver.push_consumer(quorum.namesrv, unique("ways"), {topic: "*"}) as consumer,
        driver.producer(quorum.namesrv, "quorum-p") as producer,
    ):
        for mode in ("sync", "async", "oneway", "batch"):
            results = producer.send(
                topic, [message(f"{mode}{i}", keys=f"{mode}-{i}") for i in range(20)], mode=mode
            )
            assert {result.status for result in results} <= {"SEND_OK"}
        received = consumer.poll(80)
    assert Counter(texts(received)) == expected
    master = quorum.wait_for_master()
    for queue in queues:
        there = [body for _, body in quorum.bodies(master, queue)]
        in_order = sorted((m for m in received if m.queue_id == queue.queue_id), key=lambda m: m.queue_offset)
        assert texts(in_order) == there
    [found] = eventually(lambda: driver.query_key(quorum.namesrv, topic, "batch-7"), what="its index entry")
    assert found.body == b"batch7"
    sent = next(m for m in received if m.body == b"sync3")
    assert driver.view_message(quorum.namesrv, topic, sent.offset_msg_id).body == b"sync3"


def test_tags_retries_and_dead_letters(either_driver: Driver, quorum: Quorum, unique: Unique) -> None:
    driver, topic, group = either_driver, quorum.new_topic(unique("failing"), 2)[0].topic, unique("failing")
    quorum.new_topic(f"%RETRY%{group}", 1)
    send(driver, quorum, topic, [message("other", tags="other"), message("poison", tags="mine", keys="k")])
    with driver.push_consumer(
        quorum.namesrv, group, {topic: "mine"}, failTimes=-1, maxReconsumeTimes=1, delayLevel=1
    ) as consumer:
        received = consumer.poll(2, timeout_ms=30_000)
        assert [(m.body, m.reconsume_times) for m in received] == [(b"poison", 0), (b"poison", 1)]
        dead = Queue(f"%DLQ%{group}", GROUP, 0)
        driver.wait_for_route(quorum.namesrv, dead.topic)
        [letter] = eventually(lambda: driver.pull(quorum.namesrv, dead, 0).messages, what="the dead letter")
        assert (letter.body, letter.keys) == (b"poison", "k")


def test_slaves_serve_what_is_committed_and_take_nothing(
    driver: Driver, quorum: Quorum, unique: Unique
) -> None:
    [queue] = quorum.new_topic(unique("slaves"), 1)
    send(driver, quorum, queue.topic, [message(f"m{i}") for i in range(20)])
    master = quorum.wait_for_master()
    assert sorted(quorum.addresses()) == ["0", *sorted(_slave_id(member) for member in quorum.others(master))]
    for member in quorum.others(master):
        quorum.wait_until_caught_up(member, [queue])
        assert quorum.bodies(member, queue) == [(i, f"m{i}") for i in range(20)]


def _slave_id(member: Member) -> str:
    """brokerId 0 is the master's, whoever it is."""
    return str(int(member.id[1:]) + 1)


def test_what_a_group_has_consumed_and_what_it_will_retry_outlive_the_leader(
    driver: Driver, quorum: Quorum, unique: Unique
) -> None:
    queues = quorum.new_topic(unique("resume"), 4)
    topic, group, failing = queues[0].topic, unique("resume"), unique("failing")
    quorum.new_topic(failing, 1)
    quorum.new_topic(f"%RETRY%{failing}", 1)
    send(driver, quorum, topic, [message(f"early{i}") for i in range(20)])
    with driver.push_consumer(quorum.namesrv, group, {topic: "*"}) as consumer:
        assert len(consumer.poll(20)) == 20
    eventually(
        lambda: all(progress(quorum, member, group, queues) == [5] * 4 for member in quorum.members),
        100,  # Java's slaves hear of their master after 30 seconds, and ask it every ten
        what="the progress at all members",
    )
    with driver.push_consumer(quorum.namesrv, failing, {failing: "*"}, failTimes=1, delayLevel=2) as consumer:
        send(driver, quorum, failing, [message("again")])
        assert texts(consumer.poll(1)) == ["again"]
        eventually(lambda: waits_for_retry(quorum), what="the message that waits")
        replace_leader(quorum)
        [again] = consumer.poll(1, timeout_ms=60_000)
        assert (again.body, again.reconsume_times) == (b"again", 1)
    send(driver, quorum, topic, [message(f"late{i}") for i in range(8)])
    with driver.push_consumer(quorum.namesrv, group, {topic: "*"}) as consumer:
        assert Counter(texts(consumer.poll(8))) == Counter(f"late{i}" for i in range(8))


def waits_for_retry(quorum: Quorum) -> bool:
    """Whether the master has the message among those of delay level 2."""
    waiting = quorum.bodies(quorum.wait_for_master(), Queue("SCHEDULE_TOPIC_XXXX", GROUP, 1))
    return "again" in [body for _, body in waiting]


def test_ordered_consumers_go_on_in_order_after_the_death_of_the_leader(
    driver: Driver, quorum: Quorum, unique: Unique
) -> None:
    queues = quorum.new_topic(unique("orderly"), 2)
    topic = queues[0].topic
    received = []
    with driver.push_consumer(quorum.namesrv, unique("orderly"), {topic: "*"}, orderly=True) as consumer:
        for turn in range(2):
            if turn:
                replace_leader(quorum)
            for queue in queues:
                messages = [message(f"{turn}.{i}") for i in range(20)]
                place = {"broker": queue.broker, "queueId": queue.queue_id}
                send(driver, quorum, topic, messages, "queue", **place)
            received += consumer.poll(40, timeout_ms=90_000)
    for queue in queues:
        offsets = [m.queue_offset for m in received if m.queue_id == queue.queue_id]
        assert offsets == list(range(40))


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_restart_of_all_keeps_everything(how: str, driver: Driver, quorum: Quorum, unique: Unique) -> None:
    queues = quorum.new_topic(unique("restart"), 2)
    topic, group = queues[0].topic, unique("restart")
    quorum.new_group(group)
    send(driver, quorum, topic, [message(f"m{i}", keys=f"k{i}") for i in range(40)])
    before = [quorum.bodies(quorum.wait_for_master(), queue) for queue in queues]
    if how == "stop":
        quorum.stop()
    else:
        for member in quorum.members:
            member.kill()
    quorum.start_brokers()
    master = quorum.wait_for_master()
    assert [quorum.bodies(master, queue) for queue in queues] == before
    if master.maker == "ledgermq" or how == "stop":  # Java saves topics and groups every ten seconds
        assert topic in quorum.topics(master)
        assert group in quorum.groups(master)
    [found] = eventually(lambda: driver.query_key(quorum.namesrv, topic, "k17"), what="its index entry")
    assert found.body == b"m17"


MIXTURES: list[tuple[Maker, Maker, Maker]] = []
UPGRADES: list[tuple[Maker, Maker]] = []
STORES: list[tuple[Maker, Maker]] = []
if "ledgermq" in TARGETS:
    STORES += [("java", "ledgermq"), ("ledgermq", "ledgermq")]
    MIXTURES += [("java", "java", "ledgermq"), ("java", "ledgermq", "ledgermq")]
    UPGRADES += [("java", "ledgermq")]
if "java" in TARGETS:
    STORES += [("java", "java")]
    MIXTURES += [("java", "java", "java")]
    UPGRADES += [("java", "java")]


def test_queues_that_a_topic_gets_under_load_are_consumed_from_their_first_message(
    driver: Driver, quorum: Quorum, unique: Unique
) -> None:
    """The producer knows them first, and the consumer begins with the last message of what is new to it: yet
    nothing is passed over."""
    topic = quorum.new_topic(unique("grows"), 2)[0].topic
    queues = [Queue(topic, GROUP, queue_id) for queue_id in range(6)]
    with running_load(quorum, queues, fromLast=True) as load:
        load.wait()
        quorum.new_topic(topic, 6)
        master = quorum.wait_for_master()
        eventually(lambda: min(quorum.max_offset(master, queue) for queue in queues) > 20, 60)
        log = load.finish()
    assert all(len(messages) > 20 for messages in log.values())


def test_a_topic_reaches_another_group_of_brokers_in_the_order_of_the_manual(
    driver: Driver, quorum: Quorum, unique: Unique, target: Maker, java: JavaPrograms, tmp_path: Path
) -> None:
    """docs/cluster.md, "More queues, more groups": nothing that is sent there comes before its consumers."""
    topic, group, port = quorum.new_topic(unique("moves"), 2)[0].topic, unique("moves"), free_port()
    name, config = "broker-r", {**SMALL_INDEX, "autoCreateSubscriptionGroup": "false"}
    config |= {"enableDLegerCommitLog": "true", "dLegerSelfId": "n0", "dLegerPeers": f"n0-127.0.0.1:{port}"}
    other = Broker(target, tmp_path / name, java, quorum.namesrv, {**config, "brokerName": name})
    other.start()

    def topic_with(perm: int) -> None:
        driver.call(
            "admin.createTopic",
            namesrv=quorum.namesrv,
            address=other.address,
            topic=topic,
            queueCount=2,
            perm=perm,
        )

    def writable() -> bool:
        route = driver.wait_for_route(quorum.namesrv, topic)
        return any(queues["brokerName"] == name and queues["perm"] == 6 for queues in route["queueDatas"])

    try:
        eventually(lambda: "0" in quorum.addresses(name), 60, what=f"a master of {name}")
        with driver.push_consumer(
            quorum.namesrv, group, {topic: "*"}, **{"from": "CONSUME_FROM_LAST_OFFSET"}
        ) as consumer:
            send(driver, quorum, topic, [message(f"before {i}") for i in range(10)])
            assert len(consumer.poll(10)) == 10
            driver.call("broker.createGroup", address=other.address, group=group)
            topic_with(perm=4)
            eventually(lambda: {queue.broker for queue in consumer.queues()} == {GROUP, name}, 60)
            topic_with(perm=6)
            eventually(writable, what=f"permission to write at {name}")
            send(driver, quorum, topic, [message(f"after {i}") for i in range(40)])
            received = consumer.poll(40)
        assert Counter(texts(received)) == Counter(f"after {i}" for i in range(40))
        assert {m.queue_id for m in received if m.broker == name} == {0, 1}
        other.stop()
    finally:
        other.kill()


@pytest.mark.parametrize("makers", MIXTURES, ids=lambda makers: "-".join(makers))
def test_each_member_of_a_mixed_group_leads_in_turn(
    makers: Sequence[Maker], start_quorum: StartQuorum, driver: Driver
) -> None:
    quorum = start_quorum(*makers)
    queues = quorum.new_topic("mixed", 2)
    for member in quorum.members:
        quorum.wait_until_caught_up(member, queues)
    sent: Counter[str] = Counter()
    with driver.push_consumer(quorum.namesrv, "mixed-c", {"mixed": "*"}) as consumer:
        for member in quorum.members:
            quorum.make_master(member)
            bodies = [f"{mode} {i} under {member.id}" for mode in ("sync", "batch") for i in range(20)]
            send(driver, quorum, "mixed", [message(body, keys=body) for body in bodies[:20]])
            send(driver, quorum, "mixed", [message(body, keys=body) for body in bodies[20:]], mode="batch")
            sent.update(bodies)
            received = Counter(texts(consumer.poll(40)))
            assert received == Counter(bodies)
    logs = []
    for member in quorum.members:
        quorum.wait_until_caught_up(member, queues)
        logs.append({queue.queue_id: quorum.bodies(member, queue) for queue in queues})
    assert logs[0] == logs[1] == logs[2]
    assert Counter(body for queue in logs[0].values() for _, body in queue) == sent
    quorum.stop()
    check_equal_stores(driver, quorum.members, {f"mixed/{id}": len(log) for id, log in logs[0].items()})


@pytest.mark.parametrize(("old", "new"), UPGRADES)
def test_rolling_upgrade_under_load_and_back(
    old: Maker, new: Maker, start_quorum: StartQuorum, driver: Driver
) -> None:
    quorum = start_quorum(old, old, old)
    queues = quorum.new_topic("rolling", 4)
    with running_load(quorum, queues, pollMs=1000) as load:
        load.wait()
        for maker in (new, old):
            for number, member in enumerate(followers_first(quorum)):
                if quorum.leader() is member:
                    quorum.make_master(quorum.others(member)[0])
                # Java finds what a crash of ours has left in the log, but not all of it for its queues.
                if number and member.maker == "java":
                    member.kill()
                else:
                    member.stop()
                load.wait()
                member.start(maker)
                quorum.wait_until_caught_up(member, queues)
                load.wait()
            assert {member.maker for member in quorum.members} == {maker}
        log = load.finish()
        for member in quorum.members:
            quorum.wait_until_caught_up(member, queues)
            assert load.log(member) == log, member.id
    quorum.stop()
    check_equal_stores(driver, quorum.members, {f"rolling/{id}": len(rows) for id, rows in log.items()})


def followers_first(quorum: Quorum) -> list[Member]:
    leader = quorum.wait_for_master()
    return [*quorum.others(leader), leader]


@pytest.mark.parametrize(("before", "after"), STORES)
def test_the_store_of_a_master_becomes_a_group(
    before: Maker, after: Maker, start_quorum: StartQuorum, java: JavaPrograms, driver: Driver, tmp_path: Path
) -> None:
    """In place: each member begins with a copy, as a slave that has everything has it."""
    config = {**SMALL_INDEX, "brokerName": GROUP}
    queues = [Queue("old", GROUP, queue_id) for queue_id in range(2)]

    def serve_alone(quorum: Quorum) -> None:
        broker = Broker(before, tmp_path / "alone", java, quorum.namesrv, config)
        broker.start()
        try:
            driver.wait_for_broker(quorum.namesrv, GROUP)
            alone = Cluster(quorum.name_server, broker)
            driver.new_topic(alone, "old", 2)
            send(driver, quorum, "old", [message(f"read {i}", keys=f"key-{i}") for i in range(40)])
            with driver.push_consumer(quorum.namesrv, "old-c", {"old": "*"}) as consumer:
                assert len(consumer.poll(40)) == 40
            driver.check_all_consumed(alone, "old-c", queues)
            send(driver, quorum, "old", [message(f"unread {i}") for i in range(10)])
            broker.stop()
        finally:
            broker.kill()
        driver.forget(quorum.namesrv)
        for member in quorum.members:
            shutil.copytree(broker.store, member.store)

    quorum = start_quorum(after, after, after, prepare=serve_alone)
    master = quorum.wait_for_master()
    assert "old" in quorum.topics(master)
    assert "old-c" in quorum.groups(master)
    driver.wait_for_route(quorum.namesrv, "old")
    send(driver, quorum, "old", [message(f"new {i}", keys=f"new-{i}") for i in range(20)])
    for kill in (False, True):
        master = replace_leader(quorum) if kill else quorum.wait_for_master()
        assert progress(quorum, master, "old-c", queues) == [20, 20]
        [found] = eventually(lambda: driver.query_key(quorum.namesrv, "old", "key-17"), what="an old key")
        assert found.body == b"read 17"
        [found] = eventually(lambda: driver.query_key(quorum.namesrv, "old", "new-7"), what="a new key")
        assert found.body == b"new 7"
        for member in quorum.members:
            quorum.wait_until_caught_up(member, queues)
            logs = [quorum.bodies(member, queue) for queue in queues]
            assert [[offset for offset, _ in log] for log in logs] == [list(range(35)), list(range(35))]
            kinds = [body.split()[0] for log in logs for _, body in log]
            assert Counter(kinds) == {"read": 40, "unread": 10, "new": 20}
    with driver.push_consumer(quorum.namesrv, "old-c", {"old": "*"}) as consumer:
        received = Counter(texts(consumer.poll(30)))
    expected = [f"unread {i}" for i in range(10)] + [f"new {i}" for i in range(20)]
    assert received == Counter(expected)
