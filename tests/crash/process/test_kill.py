"""Producers at full speed, kill -9 at a random point, restart: what was acknowledged is there once, at its
offsets.

LEDGERMQ_CRASH_ROUNDS   how many kills (default 5; `make crash` has 50)
LEDGERMQ_CRASH_SEED     the seed of the first store (default 1). A store takes five rounds; what a round does
                        follows from its seed, where exactly the broker is hit does not.
"""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path

import pytest
from bench.brokers import Cluster, Side
from tests.crash.process.checks import check_acknowledged_bytes, check_answers, check_files
from tests.crash.process.producers import History, Producers

from bench import wire
from ledgermq.testing.local_broker import ANY_DISK

ROUNDS = int(os.environ.get("LEDGERMQ_CRASH_ROUNDS", "5"))
FIRST_SEED = int(os.environ.get("LEDGERMQ_CRASH_SEED", "1"))
ROUNDS_PER_STORE = 5

TOPICS = {"alpha": 4, "beta": 2, "gamma": 1}
QUEUES = [(topic, queue_id) for topic, count in TOPICS.items() for queue_id in range(count)]
SLOT_COUNT = 500

# Small files, so that a round rolls over some of each kind.
CONFIG = {
    "mappedFileSizeCommitLog": str(1 << 20),
    "mappedFileSizeConsumeQueue": str(200 * 20),
    "maxHashSlotNum": str(SLOT_COUNT),
    "maxIndexNum": "2000",
    "maxMessageSize": "65536",
    "flushIntervalCommitLog": "50",
    **ANY_DISK,
}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + -(-ROUNDS // ROUNDS_PER_STORE)))
def test_what_was_acknowledged_survives_kills(seed: int, tmp_path: Path) -> None:
    rounds = min(ROUNDS_PER_STORE, ROUNDS - (seed - FIRST_SEED) * ROUNDS_PER_STORE)
    crash_rounds(Cluster(Side("ledgermq"), tmp_path, None), seed, rounds)


def crash_rounds(broker: Cluster, seed: int, rounds: int) -> None:
    random_source = random.Random(seed)
    history = History()
    try:
        _start(broker, random_source, topics=True)
        for number in range(rounds):
            _produce_until_killed(broker, history, random_source, number)
            check_acknowledged_bytes(broker.store, history)
            if random_source.random() < 0.3:
                _kill_while_it_starts(broker, random_source)
            _start(broker, random_source)
            queues = check_files(
                broker.store, history, slot_count=SLOT_COUNT, in_order=not broker.side.is_java
            )
            check_answers(broker.address, queues, history, random_source)
    finally:
        broker.kill_broker()


def _start(broker: Cluster, random_source: random.Random, *, topics: bool = False) -> None:
    broker.config = CONFIG | {"flushDiskType": random_source.choice(("ASYNC_FLUSH", "SYNC_FLUSH"))}
    broker.start_broker()
    broker.wait_until_listening()
    if topics:
        with wire.Peer(broker.address) as peer:
            for topic, queue_count in TOPICS.items():
                wire.create_topic(peer, topic, queue_count)


def _kill_while_it_starts(broker: Cluster, random_source: random.Random) -> None:
    broker.start_broker()
    time.sleep(random_source.uniform(0, 0.6))  # anywhere from the interpreter's start to serving
    broker.kill_broker()


def _produce_until_killed(
    broker: Cluster, history: History, random_source: random.Random, number: int
) -> None:
    enough = random_source.randrange(1, 3000)
    delay_s = random_source.uniform(0, 0.02)
    killer = threading.Timer(delay_s, broker.kill_broker)

    def on_progress(acknowledged: int) -> None:
        if acknowledged >= enough and killer.ident is None:
            killer.start()

    producers = Producers(broker.address, QUEUES, history, random_source, round_number=number)
    producers.run(on_progress)
    assert killer.ident is not None, f"the broker closed its connections by itself:\n{broker_output(broker)}"
    killer.join()


def broker_output(broker: Cluster) -> str:
    return (broker.folder / "broker.out").read_text()[-4000:]
